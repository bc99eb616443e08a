//! The seam to time. Everything that waits or asks what time it is does so through a
//! [`Clock`], so that a test or the simulator can decide.
//!
//! Measure with [`Clock::monotonic`], store [`Clock::now`].

mod manual;

use std::{fmt, sync::Arc, time::Duration};

use escapement_engine::{Monotonic, Timestamp};
use futures_util::future::BoxFuture;

/// Longest single sleep towards a wall-clock instant: after at most this long a step of the
/// wall clock is noticed.
pub const WALL_SLEEP_MAX: Duration = Duration::from_millis(250);

/// One node's clock.
pub trait Clock: Send + Sync + fmt::Debug + 'static {
    /// Wall time. May step in either direction.
    fn now(&self) -> Timestamp;

    /// Monotonic time of this process. Never goes back.
    fn monotonic(&self) -> Monotonic;

    /// Resolves once [`Clock::monotonic`] has advanced by at least `span`.
    fn sleep(&self, span: Duration) -> BoxFuture<'static, ()>;

    /// As [`Clock::sleep`], but a clock that knows when its wall time is set may resolve then:
    /// the caller looks again.
    fn sleep_or_step(&self, span: Duration) -> BoxFuture<'static, ()> {
        self.sleep(span)
    }
}

pub use self::manual::ManualClock;

/// A clock that many parts share.
pub type SharedClock = Arc<dyn Clock>;

//! The seam to time. Everything that waits or asks what time it is does so through a
//! [`Clock`], so that a test or the simulator can decide.
//!
//! Measure with [`Clock::monotonic`], store [`Clock::now`]. Whether a due instant has come is a matter of
//! the *earliest* time that it may be, which depends on how wrong the clock may be
//! ([`Clock::bounds`]) and on what other nodes' clocks say (`escapement_engine::cluster_time`).

mod manual;

use std::{fmt, sync::Arc, time::Duration};

use escapement_engine::{Monotonic, Timestamp, cluster_time::Bounds};
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

    /// How wrong the wall time may be, and what the machine says of leap seconds. Cheap: asked at
    /// each look. A clock that does not know is taken at its word.
    fn bounds(&self) -> Bounds {
        Bounds::default()
    }

    /// True time is not before this, says the machine.
    fn earliest(&self) -> Timestamp {
        self.now().saturating_sub(self.bounds().error)
    }

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

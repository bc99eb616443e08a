//! The clock of the machine, or of the simulated node.

use std::time::{Duration, SystemTime};

use escapement_engine::{Monotonic, Timestamp};
use futures_util::{FutureExt as _, future::BoxFuture};
use tokio::time::Instant;

use crate::clock::Clock;

/// The operating system's clocks. In the simulator, both follow simulated time.
#[derive(Clone, Copy, Debug)]
pub struct SystemClock {
    start: Instant,
}

impl SystemClock {
    /// A clock whose monotonic time counts from now.
    #[expect(clippy::disallowed_methods, reason = "this is the clock")]
    #[expect(clippy::new_without_default, reason = "reads the time")]
    pub fn new() -> Self {
        Self { start: Instant::now() }
    }
}

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the clock")]
    fn now(&self) -> Timestamp {
        let ms = match SystemTime::now().duration_since(SystemTime::UNIX_EPOCH) {
            Ok(after) => i64::try_from(after.as_millis()).unwrap_or(i64::MAX),
            // Rounded down as well: the clock never runs ahead of itself.
            Err(before) => -i64::try_from(before.duration().as_nanos().div_ceil(1_000_000)).unwrap_or(i64::MAX),
        };
        Timestamp::from_unix_ms(ms)
    }

    fn monotonic(&self) -> Monotonic {
        Monotonic::from_nanos(u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }

    #[allow(clippy::disallowed_methods, reason = "this is the clock; the simulator's sleep has another path")]
    fn sleep(&self, span: Duration) -> BoxFuture<'static, ()> {
        tokio::time::sleep(span).boxed()
    }
}

//! The clock of the machine, or of the simulated node.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use escapement_engine::{
    Monotonic, Timestamp,
    cluster_time::{Bounds, Discipline},
};
use futures_util::{FutureExt as _, future::BoxFuture};
use tokio::time::Instant;

use super::kernel_clock;
use crate::clock::Clock;

/// The kernel is asked at most this often.
const KERNEL_PAUSE: Duration = Duration::from_secs(1);

/// The operating system's clocks. In the simulator, both follow simulated time.
#[derive(Debug)]
pub struct SystemClock {
    start: Instant,
    /// `None`: the wall clock is taken at its word.
    kernel: Option<Mutex<Kernel>>,
}

#[derive(Debug, Default)]
struct Kernel {
    asked: Option<Monotonic>,
    discipline: Discipline,
    bounds: Bounds,
}

impl SystemClock {
    /// A clock whose monotonic time counts from now. Its wall time is taken at its word.
    #[expect(clippy::disallowed_methods, reason = "this is the clock")]
    #[expect(clippy::new_without_default, reason = "reads the time")]
    pub fn new() -> Self {
        Self { start: Instant::now(), kernel: None }
    }

    /// As [`SystemClock::new`], but asks the kernel, once a second, how wrong its wall time may be.
    pub fn with_kernel() -> Self {
        Self { kernel: Some(Mutex::default()), ..Self::new() }
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

    fn bounds(&self) -> Bounds {
        let Some(kernel) = &self.kernel else { return Bounds::default() };
        let now = self.monotonic();
        let mut kernel = kernel.lock().unwrap_or_else(PoisonError::into_inner);
        if kernel.asked.is_none_or(|asked| now.since(asked) >= KERNEL_PAUSE) {
            kernel.asked = Some(now);
            if let Some(word) = kernel_clock::ask() {
                kernel.bounds = kernel.discipline.observe(word, now);
            }
        }
        Bounds { error: kernel.discipline.error_at(now), ..kernel.bounds }
    }

    #[allow(clippy::disallowed_methods, reason = "this is the clock; the simulator's sleep has another path")]
    fn sleep(&self, span: Duration) -> BoxFuture<'static, ()> {
        tokio::time::sleep(span).boxed()
    }
}

#[cfg(test)]
mod tests {
    use escapement_engine::cluster_time::SyncState;

    use super::*;

    #[test]
    fn the_kernel_says_how_wrong_its_clock_may_be_or_that_it_does_not_know() {
        let clock = SystemClock::with_kernel();
        let (bounds, now) = (clock.bounds(), clock.now());
        // True on every machine: what nobody keeps right is taken at its word.
        if bounds.sync != SyncState::Synchronised {
            assert_eq!(bounds.error, Duration::ZERO);
        }
        assert!(clock.earliest() <= clock.now() && bounds.error < Duration::from_secs(3600), "{bounds:?} {now}");
        assert_eq!(SystemClock::new().bounds(), Bounds::default());
    }
}

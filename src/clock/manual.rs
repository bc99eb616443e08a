//! A wall clock under a test's control.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use escapement_engine::{Monotonic, Timestamp, cluster_time::Bounds};
use futures_util::{FutureExt as _, future::BoxFuture};
use tokio::sync::watch;

use super::{Clock, SharedClock};

/// Wall time stands still until it is set; monotonic time is that of another clock. So a year
/// passes in a test while leases and renewals run as ever.
#[derive(Debug)]
pub struct ManualClock {
    wall: Mutex<Timestamp>,
    bounds: Mutex<Bounds>,
    steps: watch::Sender<u64>,
    monotonic: SharedClock,
}

impl ManualClock {
    /// A clock that stands at `wall` and measures by `monotonic`.
    pub fn new(wall: Timestamp, monotonic: SharedClock) -> Self {
        Self { wall: Mutex::new(wall), bounds: Mutex::default(), steps: watch::channel(0).0, monotonic }
    }

    /// Sets the wall clock, forward or back, and wakes those who wait for it.
    pub fn set(&self, wall: Timestamp) {
        *self.wall.lock().unwrap_or_else(PoisonError::into_inner) = wall;
        self.steps.send_modify(|steps| *steps += 1);
    }

    /// Sets what the machine says of the clock, and wakes those who wait for it.
    pub fn set_bounds(&self, bounds: Bounds) {
        *self.bounds.lock().unwrap_or_else(PoisonError::into_inner) = bounds;
        self.steps.send_modify(|steps| *steps += 1);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        *self.wall.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn monotonic(&self) -> Monotonic {
        self.monotonic.monotonic()
    }

    fn bounds(&self) -> Bounds {
        *self.bounds.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn sleep(&self, span: Duration) -> BoxFuture<'static, ()> {
        self.monotonic.sleep(span)
    }

    fn sleep_or_step(&self, span: Duration) -> BoxFuture<'static, ()> {
        let mut steps = self.steps.subscribe();
        let sleep = self.monotonic.sleep(span);
        async move {
            tokio::select! {
                biased;
                _ = steps.changed() => {}
                () = sleep => {}
            }
        }
        .boxed()
    }
}

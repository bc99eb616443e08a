//! A clock that moves only when the test says so.

use std::{
    future::Future,
    sync::{Arc, Mutex},
    time::Duration,
};

use escapement::clock::Clock;
use escapement_engine::{Monotonic, Timestamp};
use futures_util::future::BoxFuture;
use tokio::sync::oneshot;

use crate::server::soon;

/// Milliseconds, counted from an instant in 2026.
const EPOCH_UNIX_MS: i64 = 1_790_000_000_000;

#[derive(Clone, Debug, Default)]
pub(crate) struct ManualClock(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    now_ms: u64,
    sleepers: Vec<(u64, oneshot::Sender<()>)>,
}

impl ManualClock {
    pub(crate) fn advance_ms(&self, ms: u64) {
        let mut state = self.0.lock().unwrap();
        state.now_ms += ms;
        let now_ms = state.now_ms;
        let (due, rest) = std::mem::take(&mut state.sleepers).into_iter().partition(|(at, _)| *at <= now_ms);
        state.sleepers = rest;
        drop(state);
        let due: Vec<(u64, oneshot::Sender<()>)> = due;
        for (_, sleeper) in due {
            // It may have been given up.
            let _ = sleeper.send(());
        }
    }

    /// Time passes, but the timers are late: as after SIGSTOP and SIGCONT, when what came in
    /// meanwhile may be seen first.
    pub(crate) fn jump_ms(&self, ms: u64) {
        self.0.lock().unwrap().now_ms += ms;
    }

    pub(crate) fn elapsed_ms(&self) -> u64 {
        self.0.lock().unwrap().now_ms
    }

    /// Lets time pass until this resolves, ten times as fast as it really does.
    pub(crate) async fn pass_until<T>(&self, what: impl Future<Output = T>) -> T {
        self.steps_until(20, what).await
    }

    /// Lets time pass slowly until this resolves: for what waits for a short backoff, and
    /// must not see a lease run out because the machine is busy.
    pub(crate) async fn nudge_until<T>(&self, what: impl Future<Output = T>) -> T {
        self.steps_until(1, what).await
    }

    async fn steps_until<T>(&self, step_ms: u64, what: impl Future<Output = T>) -> T {
        tokio::pin!(what);
        soon(async {
            loop {
                match tokio::time::timeout(Duration::from_millis(2), &mut what).await {
                    Ok(value) => return value,
                    Err(_) => self.advance_ms(step_ms),
                }
            }
        })
        .await
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_unix_ms(EPOCH_UNIX_MS + i64::try_from(self.elapsed_ms()).unwrap())
    }

    fn monotonic(&self) -> Monotonic {
        Monotonic::from_nanos(self.elapsed_ms() * 1_000_000)
    }

    fn sleep(&self, span: Duration) -> BoxFuture<'static, ()> {
        let mut state = self.0.lock().unwrap();
        let at = state.now_ms + u64::try_from(span.as_nanos().div_ceil(1_000_000)).unwrap();
        if at == state.now_ms {
            return Box::pin(std::future::ready(()));
        }
        let (sender, woken) = oneshot::channel();
        state.sleepers.push((at, sender));
        Box::pin(async move {
            let _ = woken.await;
        })
    }
}

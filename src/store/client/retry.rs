//! `on_error`: which errors may be tried again, and after how long.

use std::{sync::Arc, time::Duration};

use futures_util::FutureExt as _;

use super::{ClientTransaction, State};
use crate::store::{RetryClass, StoreError};

/// Growth of the backoff (`BACKOFF_GROWTH_RATE`).
const BACKOFF_GROWTH: u32 = 2;
/// Longest backoff while proxies are out of memory (`RESOURCE_CONSTRAINED_MAX_BACKOFF`).
const BACKOFF_CONSTRAINED_MAX: Duration = Duration::from_secs(30);
/// Wait after a version that was too old or too new (`FUTURE_VERSION_RETRY_DELAY`).
const VERSION_RETRY_DELAY: Duration = Duration::from_millis(10);

impl ClientTransaction {
    pub(super) async fn back_off(&self, error: StoreError) -> Result<(), StoreError> {
        let (epoch, deadline, delay) = {
            let mut state = self.lock();
            self.check_alive(&state)?;
            let exhausted = state.settings.retries_max.is_some_and(|max| state.retries >= max);
            state.retries += 1;
            if exhausted || error.class() == RetryClass::Fatal {
                // Whoever goes on to use the transaction after that is told so.
                state.epoch.end(StoreError::new(StoreError::TRANSACTION_CANCELLED));
                return Err(error);
            }
            (Arc::clone(&state.epoch), state.deadline(), self.delay(&mut state, error.code))
        };
        if !delay.is_zero() {
            let sleep = self.clock.sleep(delay);
            self.bounded(&epoch, deadline, sleep.map(Ok)).await?;
        }
        let mut state = self.lock();
        if Arc::ptr_eq(&state.epoch, &epoch) {
            let next = State {
                settings: state.settings.for_retry(),
                retries: state.retries,
                backoff: state.backoff,
                ..State::new(state.created)
            };
            state.replace(next);
        }
        Ok(())
    }

    /// How long to wait now; the next wait is twice as long, before chance.
    fn delay(&self, state: &mut State, code: i32) -> Duration {
        let max = state.settings.retry_delay_max;
        match code {
            StoreError::TRANSACTION_TOO_OLD | StoreError::FUTURE_VERSION => VERSION_RETRY_DELAY.min(max),
            code => {
                let constrained =
                    matches!(code, StoreError::COMMIT_PROXY_MEMORY_LIMIT | StoreError::GRV_PROXY_MEMORY_LIMIT);
                let delay = state.backoff;
                let max = if constrained { BACKOFF_CONSTRAINED_MAX } else { max };
                state.backoff = (delay * BACKOFF_GROWTH).min(max);
                self.part_of(delay)
            }
        }
    }

    /// A random part of `span`, so that those who met do not meet again.
    fn part_of(&self, span: Duration) -> Duration {
        let nanos = (span.as_nanos() * u128::from(self.rng.u32())) >> u32::BITS;
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}

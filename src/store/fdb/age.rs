//! How old a transaction is, which may be older than the client's own beneath it.
//!
//! The client counts time and retries in a transaction of its own. Where there is none to go on
//! with, a new one takes its place, and would count both anew: a transaction whose every commit
//! gets lost would never come to its end. So it is told what is left.

use std::time::Duration;

use escapement_engine::Monotonic;

use crate::store::{TransactionOption, client::settings::Settings};

/// Time and retries of a transaction since it was made or reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Age {
    /// What the timeout counts from.
    born: Monotonic,
    retries: u64,
    /// What of both lies before the client's own transaction.
    before: Duration,
    retries_before: u64,
}

impl Age {
    pub(super) fn new(born: Monotonic) -> Self {
        Self { born, retries: 0, before: Duration::ZERO, retries_before: 0 }
    }

    /// After a backoff.
    pub(super) fn retried(self) -> Self {
        Self { retries: self.retries + 1, ..self }
    }

    /// The client's own transaction is replaced.
    pub(super) fn on_another(self, now: Monotonic) -> Self {
        Self { before: now.since(self.born), retries_before: self.retries, ..self }
    }

    /// The option as it has to be told to the client's own transaction.
    pub(super) fn option(&self, option: TransactionOption) -> TransactionOption {
        match option {
            TransactionOption::TimeoutMs(ms) if ms > 0 => {
                let before = u64::try_from(self.before.as_millis()).unwrap_or(u64::MAX);
                // 0 would mean that there is no limit.
                TransactionOption::TimeoutMs(ms.saturating_sub(before).max(1))
            }
            TransactionOption::RetryLimit(limit) if limit >= 0 => {
                let before = i64::try_from(self.retries_before).unwrap_or(i64::MAX);
                TransactionOption::RetryLimit((limit - before).max(0))
            }
            other => other,
        }
    }

    /// Options that survive a retry, for another transaction of the client.
    pub(super) fn surviving(&self, settings: &Settings) -> [TransactionOption; 3] {
        let whole = |span: Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
        let limit = settings.retries_max.map_or(-1, |max| i64::try_from(max).unwrap_or(i64::MAX));
        [
            self.option(TransactionOption::TimeoutMs(settings.timeout.map_or(0, whole))),
            self.option(TransactionOption::RetryLimit(limit)),
            TransactionOption::MaxRetryDelayMs(whole(settings.retry_delay_max)),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Monotonic {
        Monotonic::from_nanos(ms * 1_000_000)
    }

    #[test]
    fn another_transaction_of_the_client_is_told_what_is_left_of_time_and_retries() {
        let settings = Settings {
            timeout: Some(Duration::from_millis(1000)),
            retries_max: Some(3),
            retry_delay_max: Duration::from_millis(50),
            ..Settings::default()
        };
        let young = Age::new(at(5000)).retried().retried();
        let all = |timeout, retries| {
            [
                TransactionOption::TimeoutMs(timeout),
                TransactionOption::RetryLimit(retries),
                TransactionOption::MaxRetryDelayMs(50),
            ]
        };
        assert_eq!(young.surviving(&settings), all(1000, 3), "its own transaction counts by itself");
        let replaced = young.on_another(at(5400));
        assert_eq!(replaced.surviving(&settings), all(600, 1));
        assert_eq!(replaced.retried().surviving(&settings), all(600, 1), "until it is replaced again");
        let late = replaced.retried().retried().on_another(at(9000));
        assert_eq!(late.surviving(&settings), all(1, 0), "over, which is not the same as without limit");
        let unlimited = Settings { timeout: None, retries_max: None, ..settings };
        assert_eq!(late.surviving(&unlimited), all(0, -1));
    }
}

//! When a failed task is tried again.

use std::time::Duration;

use crate::{
    Timestamp,
    limits::{ATTEMPTS_MAX, NON_RETRYABLE_ERRORS_MAX},
    planted::{Bug, planted},
};

/// How often and how late a failed task is tried again. Exponential backoff with jitter, as
/// in Brooker, "Exponential Backoff And Jitter" (2015): the jitter only shortens the wait.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Attempts in all, 1 to 1000.
    pub max_attempts: u32,
    /// Wait before the second attempt.
    pub initial_backoff: Duration,
    /// Growth of the wait from attempt to attempt, in thousandths: 1000 to 100,000.
    pub multiplier_milli: u32,
    /// The longest wait.
    pub max_backoff: Duration,
    /// The share of the wait that chance may take off, in thousandths: 0 to 1000.
    pub jitter_milli: u32,
    /// Kinds of error after which no attempt follows.
    pub non_retryable_errors: Vec<String>,
}

impl Default for RetryPolicy {
    /// 5 attempts; 1 s, doubled up to 5 min; a fifth of jitter.
    fn default() -> Self {
        Self {
            max_attempts: 5,
            initial_backoff: Duration::from_secs(1),
            multiplier_milli: 2000,
            max_backoff: Duration::from_secs(300),
            jitter_milli: 200,
            non_retryable_errors: Vec::new(),
        }
    }
}

/// Which bound a retry policy breaks.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field} is {value}, but must be {limit}")]
pub struct InvalidRetryPolicy {
    /// Field as the API names it.
    pub field: &'static str,
    /// What was given.
    pub value: String,
    /// What is allowed.
    pub limit: &'static str,
}

const DAY: Duration = Duration::from_secs(24 * 3600);

impl RetryPolicy {
    /// # Errors
    /// Names the first field that is out of bounds.
    pub fn validate(&self) -> Result<(), InvalidRetryPolicy> {
        let fail = |field, value: String, limit| Err(InvalidRetryPolicy { field, value, limit });
        if !(1..=ATTEMPTS_MAX).contains(&self.max_attempts) {
            return fail("max_attempts", self.max_attempts.to_string(), "1 to 1000");
        }
        if self.initial_backoff < Duration::from_millis(1) || self.initial_backoff > DAY {
            return fail("initial_backoff", format!("{:?}", self.initial_backoff), "1 ms to 1 day");
        }
        if !(1000..=100_000).contains(&self.multiplier_milli) {
            let value = f64::from(self.multiplier_milli) / 1000.0;
            return fail("backoff_multiplier", value.to_string(), "1.0 to 100.0");
        }
        if self.max_backoff < self.initial_backoff || self.max_backoff > DAY * 30 {
            return fail("max_backoff", format!("{:?}", self.max_backoff), "at least initial_backoff, at most 30 days");
        }
        if self.jitter_milli > 1000 {
            let value = f64::from(self.jitter_milli) / 1000.0;
            return fail("jitter", value.to_string(), "0.0 to 1.0");
        }
        if self.non_retryable_errors.len() > NON_RETRYABLE_ERRORS_MAX {
            return fail("non_retryable_errors", self.non_retryable_errors.len().to_string(), "at most 64 kinds");
        }
        Ok(())
    }

    /// The wait after attempt number `attempt` (from 1) failed. `random` are any 32 random bits.
    pub fn backoff(&self, attempt: u32, random: u32) -> Duration {
        let max_us = self.max_backoff.as_micros();
        let mut wait_us = self.initial_backoff.as_micros();
        for _ in 1..attempt {
            if wait_us >= max_us || self.multiplier_milli == 1000 {
                break;
            }
            wait_us = wait_us * u128::from(self.multiplier_milli) / 1000;
        }
        wait_us = wait_us.min(max_us);
        let jitter_us = wait_us * u128::from(self.jitter_milli) / 1000 * u128::from(random) / u128::from(u32::MAX);
        Duration::from_micros(u64::try_from(wait_us - jitter_us).unwrap_or(u64::MAX))
    }
}

/// What follows a failed attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AfterFailure {
    /// Another attempt at this instant.
    Retry(Timestamp),
    /// No attempt could help, or none may start any more: the task has failed.
    Failed,
    /// The policy's attempts are used up.
    DeadLettered,
}

/// A failed attempt, as far as the decision needs it.
#[derive(Clone, Copy, Debug)]
pub struct Failure<'a> {
    /// Number of the attempt, from 1.
    pub attempt: u32,
    /// Kind of its error.
    pub kind: &'a str,
    /// The handler said that another attempt cannot help.
    pub non_retryable: bool,
    /// The next attempt waits at least this long (Retry-After); zero: as the policy says.
    pub retry_after: Duration,
}

impl RetryPolicy {
    /// Decides what follows `failure` at `now` for a task that must not start after `deadline`.
    pub fn after_failure(
        &self,
        failure: Failure<'_>,
        deadline: Option<Timestamp>,
        now: Timestamp,
        random: u32,
    ) -> AfterFailure {
        if failure.non_retryable || self.non_retryable_errors.iter().any(|kind| kind == failure.kind) {
            return AfterFailure::Failed;
        }
        if failure.attempt >= self.max_attempts + u32::from(planted(Bug::AttemptsOffByOne)) {
            return AfterFailure::DeadLettered;
        }
        let wait = self.backoff(failure.attempt, random).max(failure.retry_after);
        let next = now.saturating_add(wait);
        match deadline {
            Some(deadline) if next > deadline => AfterFailure::Failed,
            _ => AfterFailure::Retry(next),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy() -> RetryPolicy {
        RetryPolicy {
            max_attempts: 4,
            jitter_milli: 500,
            non_retryable_errors: vec!["bad-input".into()],
            ..RetryPolicy::default()
        }
    }

    #[test]
    fn backoff_doubles_up_to_its_cap_and_jitter_only_shortens_it() {
        let check =
            |attempt, random, ms| assert_eq!(policy().backoff(attempt, random).as_millis(), ms, "{attempt} {random}");
        check(1, 0, 1000);
        check(1, u32::MAX, 500);
        check(2, 0, 2000);
        check(9, 0, 256_000);
        check(10, 0, 300_000);
        check(1000, u32::MAX, 150_000);
    }

    #[test]
    fn dead_letter_is_reached_only_by_using_up_the_attempts() {
        let now = Timestamp::from_unix_ms(10_000);
        let check = |attempt, kind, non_retryable, deadline: Option<i64>, expect| {
            let failure = Failure { attempt, kind, non_retryable, retry_after: Duration::ZERO };
            let got = policy().after_failure(failure, deadline.map(Timestamp::from_unix_ms), now, 0);
            assert_eq!(got, expect, "attempt {attempt} {kind}");
        };
        check(1, "io", false, None, AfterFailure::Retry(Timestamp::from_unix_ms(11_000)));
        check(3, "io", false, None, AfterFailure::Retry(Timestamp::from_unix_ms(14_000)));
        check(4, "io", false, None, AfterFailure::DeadLettered);
        check(4, "bad-input", false, None, AfterFailure::Failed);
        check(1, "io", true, None, AfterFailure::Failed);
        check(1, "io", false, Some(11_000), AfterFailure::Retry(Timestamp::from_unix_ms(11_000)));
        check(1, "io", false, Some(10_999), AfterFailure::Failed);
    }

    #[test]
    fn retry_after_lengthens_the_wait_but_never_shortens_it() {
        let now = Timestamp::from_unix_ms(0);
        let after = |secs| {
            let failure =
                Failure { attempt: 1, kind: "busy", non_retryable: false, retry_after: Duration::from_secs(secs) };
            policy().after_failure(failure, None, now, 0)
        };
        assert_eq!(after(7), AfterFailure::Retry(Timestamp::from_unix_ms(7000)));
        assert_eq!(after(0), AfterFailure::Retry(Timestamp::from_unix_ms(1000)));
    }

    #[test]
    fn out_of_bounds_policies_name_the_field() {
        let check = |change: fn(&mut RetryPolicy), field| {
            let mut policy = policy();
            change(&mut policy);
            assert_eq!(policy.validate().map_err(|e| e.field), Err(field));
        };
        check(|p| p.max_attempts = 0, "max_attempts");
        check(|p| p.max_attempts = 1001, "max_attempts");
        check(|p| p.initial_backoff = Duration::ZERO, "initial_backoff");
        check(|p| p.multiplier_milli = 999, "backoff_multiplier");
        check(|p| p.max_backoff = Duration::from_millis(1), "max_backoff");
        check(|p| p.jitter_milli = 1001, "jitter");
    }
}

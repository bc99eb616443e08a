//! Retry policies.

use std::time::Duration;

use escapement_engine::{
    limits::{ERROR_KIND_BYTES_MAX, NON_RETRYABLE_ERRORS_MAX},
    retry::RetryPolicy,
};
use escapement_proto::v1;

use super::{
    Path, Violations,
    scalar::{duration, text},
};

const DAY: Duration = Duration::from_secs(24 * 3600);
const INITIAL_BACKOFF: std::ops::RangeInclusive<Duration> = Duration::from_millis(1)..=DAY;
const MAX_BACKOFF_MAX: Duration = Duration::from_secs(30 * 24 * 3600);

/// Absent means the default policy; so does each absent field of a policy.
pub(super) fn retry_policy(
    path: &Path<'_>,
    policy: Option<v1::RetryPolicy>,
    v: &mut Violations,
) -> Option<RetryPolicy> {
    let default = RetryPolicy::default();
    let Some(policy) = policy else { return Some(default) };

    let max_attempts = match policy.max_attempts {
        0 => Some(default.max_attempts),
        n if n <= escapement_engine::limits::ATTEMPTS_MAX => Some(n),
        n => {
            v.add(&path.field("max_attempts"), n, "must be 1 to 1000, or 0 for 5");
            None
        }
    };
    let (initial_backoff, max_backoff) = backoffs(path, &policy, &default, v);
    let multiplier_milli = match policy.backoff_multiplier {
        0.0 => Some(default.multiplier_milli),
        multiplier => milli(&path.field("backoff_multiplier"), multiplier, 1.0, 100.0, v),
    };
    let jitter_milli = match policy.jitter {
        None => Some(default.jitter_milli),
        Some(jitter) => milli(&path.field("jitter"), jitter, 0.0, 1.0, v),
    };
    let non_retryable_errors = error_kinds(&path.field("non_retryable_errors"), policy.non_retryable_errors, v);

    let policy = RetryPolicy {
        max_attempts: max_attempts?,
        initial_backoff: initial_backoff?,
        multiplier_milli: multiplier_milli?,
        max_backoff: max_backoff?,
        jitter_milli: jitter_milli?,
        non_retryable_errors: non_retryable_errors?,
    };
    // The engine states the same bounds; should they drift apart, it has the last word.
    match policy.validate() {
        Ok(()) => Some(policy),
        Err(error) => {
            v.add(&path.field(error.field), error.value, format!("must be {}", error.limit));
            None
        }
    }
}

fn backoffs(
    path: &Path<'_>,
    policy: &v1::RetryPolicy,
    default: &RetryPolicy,
    v: &mut Violations,
) -> (Option<Duration>, Option<Duration>) {
    let initial = match &policy.initial_backoff {
        None => Some(default.initial_backoff),
        Some(value) => duration(&path.field("initial_backoff"), value, INITIAL_BACKOFF, "must be 1 ms to 1 day", v),
    };
    // When the first is invalid, the second is held to its own bounds only.
    let least = initial.unwrap_or(Duration::ZERO);
    let max = match &policy.max_backoff {
        // Who names only a long first wait does not mean a shorter longest one.
        None => Some(default.max_backoff.max(least)),
        Some(value) => {
            let limit = "must be at least initial_backoff, at most 30 days";
            duration(&path.field("max_backoff"), value, least..=MAX_BACKOFF_MAX, limit, v)
        }
    };
    (initial, max)
}

/// In thousandths. Neither NaN nor an infinity is in any range.
fn milli(path: &Path<'_>, value: f64, min: f64, max: f64, v: &mut Violations) -> Option<u32> {
    if !(min..=max).contains(&value) {
        v.add(path, value, format!("must be {min:.1} to {max:.1}"));
        return None;
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 100,000")]
    Some((value * 1000.0).round() as u32)
}

fn error_kinds(path: &Path<'_>, kinds: Vec<String>, v: &mut Violations) -> Option<Vec<String>> {
    if kinds.len() > NON_RETRYABLE_ERRORS_MAX {
        v.add(path, format!("{} kinds", kinds.len()), format!("must be at most {NON_RETRYABLE_ERRORS_MAX} kinds"));
        return None;
    }
    let mut valid = true;
    for (index, kind) in kinds.iter().enumerate() {
        let path = path.index(index);
        if kind.is_empty() {
            v.add(&path, "", "must not be empty");
            valid = false;
        }
        valid &= text(&path, kind, ERROR_KIND_BYTES_MAX, v).is_some();
    }
    valid.then_some(kinds)
}

//! The engine's planted bugs do what their names say, and only while they are planted. In a
//! program of its own: what is planted holds for the whole process.

#![expect(clippy::unwrap_used, reason = "a test may fail by panic")]

use std::time::Duration;

use escapement_engine::{
    Timestamp,
    calendar::{CronExpr, Rule, Zone},
    cluster_time::{Bounds, Stamp},
    leap::{Mode, Watch},
    planted::{Bug, plant},
    retry::{AfterFailure, Failure, RetryPolicy},
};

fn at(text: &str) -> Timestamp {
    let at = chrono::DateTime::parse_from_rfc3339(text).unwrap();
    Timestamp::from_unix_ms(at.timestamp_millis())
}

/// Occurrences of 02:30 in Berlin in the night of a shift.
fn nights(date: &str) -> usize {
    let rule =
        Rule::Cron { expr: "30 2 * * *".parse::<CronExpr>().unwrap(), zone: Zone::new("Europe/Berlin").unwrap() };
    let (from, until) = (at(&format!("{date}T00:00:00Z")), at(&format!("{date}T12:00:00Z")));
    rule.upcoming(from).take_while(|next| *next < until).count()
}

fn third_failure_of_three() -> AfterFailure {
    let policy = RetryPolicy { max_attempts: 3, ..RetryPolicy::default() };
    let failure = Failure { attempt: 3, kind: "io", non_retryable: false, retry_after: Duration::ZERO };
    policy.after_failure(failure, None, Timestamp::UNIX_EPOCH, 0)
}

/// Half a second into the leap second before 2017, on a clock that nobody told.
fn held() -> bool {
    let mut watch = Watch::new(Mode::Pause);
    let now =
        |text: &str, ms: u64| Stamp { wall: at(text), mono: escapement_engine::Monotonic::from_nanos(ms * 1_000_000) };
    watch.observe(now("2016-12-31T23:59:59Z", 0), &Bounds::default());
    watch.observe(now("2017-01-01T00:00:00.5Z", 1500), &Bounds::default()).held_for.is_some()
}

#[test]
fn a_planted_bug_does_what_its_name_says_until_it_is_taken_out() {
    let right = || (nights("2025-10-26"), nights("2025-03-30"), third_failure_of_three(), held());
    let sound = right();
    assert_eq!(sound, (1, 1, AfterFailure::DeadLettered, true));
    plant(Some(Bug::FoldFiredTwice));
    assert_eq!(nights("2025-10-26"), 2);
    plant(Some(Bug::GapLost));
    assert_eq!((nights("2025-03-30"), nights("2025-10-26")), (0, 1));
    plant(Some(Bug::AttemptsOffByOne));
    assert!(matches!(third_failure_of_three(), AfterFailure::Retry(_)));
    plant(Some(Bug::LeapNotHeld));
    assert!(!held());
    plant(None);
    assert_eq!(right(), sound);
}

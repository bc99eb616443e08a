//! The next instants of a rule, computed without the store.

use std::time::Duration;

use escapement_engine::Timestamp;

use super::validate::Timing;
use crate::{
    error::{ApiError, Reason},
    model::ScheduleView,
};

const STEP: Duration = Duration::from_millis(1);

/// At most `count` occurrences strictly after `after`, from the start on and before the end.
///
/// # Errors
/// `INTERNAL` when the rule was stored by a version that knew more.
pub(super) fn instants(timing: &Timing, after: Timestamp, count: u32) -> Result<Vec<Timestamp>, ApiError> {
    let rule = timing.rule.compile(&timing.time_zone);
    let rule =
        rule.map_err(|error| ApiError::new(Reason::Internal, format!("the stored rule is unreadable: {error}")))?;
    // An occurrence at the very start counts.
    let after = timing.start.map_or(after, |start| after.max(start.saturating_sub(STEP)));
    let before_end = |at: &Timestamp| timing.end.is_none_or(|end| *at < end);
    Ok(rule.upcoming(after).take_while(before_end).take(count as usize).collect())
}

impl From<ScheduleView> for Timing {
    fn from(view: ScheduleView) -> Self {
        let spec = view.spec;
        Self { rule: spec.rule, time_zone: spec.time_zone, start: spec.start.or(Some(view.created)), end: spec.end }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::RuleSpec;

    #[test]
    fn previews_keep_between_start_and_end() {
        let rule = RuleSpec::Interval { every: Duration::from_secs(10), anchor: Timestamp::from_unix_ms(5_000) };
        let check = |start: Option<i64>, end: Option<i64>, after, count, expect: &[i64]| {
            let [start, end] = [start, end].map(|ms| ms.map(Timestamp::from_unix_ms));
            let timing = Timing { rule: rule.clone(), time_zone: "UTC".into(), start, end };
            let found = instants(&timing, Timestamp::from_unix_ms(after), count).unwrap();
            assert_eq!(found.iter().map(|at| at.unix_ms()).collect::<Vec<_>>(), expect);
        };
        check(None, None, 0, 3, &[5_000, 15_000, 25_000]);
        check(None, None, 5_000, 1, &[15_000]);
        check(Some(15_000), None, 0, 2, &[15_000, 25_000]);
        check(Some(15_001), None, 0, 1, &[25_000]);
        check(Some(15_000), None, 15_000, 1, &[25_000]);
        check(None, Some(25_000), 0, 9, &[5_000, 15_000]);
        check(None, Some(25_001), 0, 9, &[5_000, 15_000, 25_000]);
    }

    #[test]
    fn a_rule_that_cannot_be_read_is_an_error_of_the_server() {
        let rule = RuleSpec::Cron("0 3 * * *".into());
        let timing = Timing { rule, time_zone: "Mars/Olympus".into(), start: None, end: None };
        assert_eq!(instants(&timing, Timestamp::UNIX_EPOCH, 1).map_err(|e| e.reason), Err(Reason::Internal));
    }
}

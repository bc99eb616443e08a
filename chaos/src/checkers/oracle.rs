//! Which instants a schedule's rule means, worked out a second time: by going through every
//! second (or minute) of the run, asking another time zone implementation (chrono-tz) for its
//! local time, and looking it up in sets cut from the expression's text. Slow, and unlike the
//! engine, which searches by fields.
//!
//! The rule on shifts is stated in docs (and in the engine's `calendar`): a fixed-time expression
//! is due once for each matching local time, at the end of a gap or in the first pass of a
//! fold; one whose minute or hour begins with `*` is due whenever the local time shown matches.
//! Plain fields only (numbers, names, lists, ranges, steps): workloads write no others.

use std::collections::BTreeSet;

use chrono::{DateTime, Datelike as _, NaiveDateTime, TimeDelta, TimeZone as _, Timelike as _, Utc};
use chrono_tz::Tz;

const MONTHS: [&str; 12] = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const WEEKDAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

/// What makes the occurrences of a schedule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Rule {
    /// An expression of five or six fields, read in a zone.
    Cron { expr: String, zone: String },
    /// Milliseconds, and where they count from.
    Every { every_ms: u64, anchor_unix_ms: i64 },
}

impl Rule {
    /// All occurrences after `after` and up to `until`, Unix milliseconds.
    ///
    /// # Errors
    /// When the oracle cannot read the rule.
    pub(crate) fn between(&self, after_unix_ms: i64, until_unix_ms: i64) -> Result<BTreeSet<i64>, String> {
        match self {
            Self::Every { every_ms, anchor_unix_ms } => every(*every_ms, *anchor_unix_ms, after_unix_ms, until_unix_ms),
            Self::Cron { expr, zone } => {
                let expr = Fields::parse(expr)?;
                let zone: Tz = zone.parse().map_err(|_| format!("no time zone `{zone}`"))?;
                let time = |ms| DateTime::from_timestamp_millis(ms).ok_or_else(|| format!("no instant {ms}"));
                let (after, until) = (time(after_unix_ms)?, time(until_unix_ms)?);
                let due = if expr.fixed { expr.fixed(zone, after, until) } else { expr.elapsed(zone, after, until) };
                let due = due.into_iter().map(|at| at.timestamp_millis());
                Ok(due.filter(|at| after_unix_ms < *at && *at <= until_unix_ms).collect())
            }
        }
    }
}

/// Whether the local time that this zone shows at the instant is shown twice.
pub(crate) fn in_fold(zone: &str, unix_ms: i64) -> bool {
    let (Ok(zone), Some(at)) = (zone.parse::<Tz>(), DateTime::from_timestamp_millis(unix_ms)) else { return false };
    let local = at.with_timezone(&zone).naive_local();
    matches!(zone.from_local_datetime(&local), chrono::LocalResult::Ambiguous(..))
}

fn every(every_ms: u64, anchor: i64, after: i64, until: i64) -> Result<BTreeSet<i64>, String> {
    let every = i64::try_from(every_ms).ok().filter(|every| *every > 0).ok_or("an interval of no length")?;
    let mut due = BTreeSet::new();
    let mut at = anchor;
    while at <= until {
        if at > after {
            due.insert(at);
        }
        // Far ahead of the anchor nobody counts one by one.
        at = if at < after - every { at + (after - at) / every * every } else { at + every };
    }
    Ok(due)
}

struct Fields {
    seconds: BTreeSet<u32>,
    minutes: BTreeSet<u32>,
    hours: BTreeSet<u32>,
    days: BTreeSet<u32>,
    months: BTreeSet<u32>,
    weekdays: BTreeSet<u32>,
    /// A star in either field of days: both must match, otherwise one of them.
    both_days: bool,
    fixed: bool,
    step: TimeDelta,
}

impl Fields {
    fn parse(expr: &str) -> Result<Self, String> {
        let mut fields: Vec<&str> = expr.split_whitespace().collect();
        let step = if fields.len() == 5 { TimeDelta::minutes(1) } else { TimeDelta::seconds(1) };
        if fields.len() == 5 {
            fields.insert(0, "0");
        }
        let [second, minute, hour, day, month, weekday] = fields[..] else {
            return Err(format!("`{expr}` has not five or six fields"));
        };
        let mut weekdays = set(weekday, 0, 7, &WEEKDAYS)?;
        if weekdays.remove(&7) {
            weekdays.insert(0);
        }
        Ok(Self {
            seconds: set(second, 0, 59, &[])?,
            minutes: set(minute, 0, 59, &[])?,
            hours: set(hour, 0, 23, &[])?,
            days: set(day, 1, 31, &[])?,
            months: set(month, 1, 12, &MONTHS)?,
            weekdays,
            both_days: day.starts_with('*') || weekday.starts_with('*'),
            fixed: !minute.starts_with('*') && !hour.starts_with('*'),
            step,
        })
    }

    fn matches(&self, at: NaiveDateTime) -> bool {
        let (day, weekday) =
            (self.days.contains(&at.day()), self.weekdays.contains(&at.weekday().num_days_from_sunday()));
        self.minutes.contains(&at.minute())
            && self.hours.contains(&at.hour())
            && self.seconds.contains(&at.second())
            && self.months.contains(&at.month())
            && if self.both_days { day && weekday } else { day || weekday }
    }

    /// Each instant whose local time matches.
    fn elapsed(&self, zone: Tz, after: DateTime<Utc>, until: DateTime<Utc>) -> BTreeSet<DateTime<Utc>> {
        let shown = |at: &DateTime<Utc>| self.matches(at.with_timezone(&zone).naive_local());
        steps(whole_minute(after), until, self.step).filter(shown).collect()
    }

    /// Each matching local time once.
    fn fixed(&self, zone: Tz, after: DateTime<Utc>, until: DateTime<Utc>) -> BTreeSet<DateTime<Utc>> {
        // Local times that instants of the span show, or skip: by what these are ahead of UTC, from a
        // step before the span on, as its first instant may end a gap.
        let before = whole_minute(after) - self.step;
        let ahead = |at: DateTime<Utc>| at.with_timezone(&zone).naive_local() - at.naive_utc();
        let all = || steps(before, until, self.step).map(ahead);
        let (Some(least), Some(most)) = (all().min(), all().max()) else { return BTreeSet::new() };
        let local = steps(before + least, until + most, self.step).map(|at| at.naive_utc());
        local.filter(|at| self.matches(*at)).map(|local| self.first_showing(zone, local, most)).collect()
    }

    /// The first instant that shows this local time or, if it is skipped, a later one. Local time is at
    /// most that much ahead of UTC.
    fn first_showing(&self, zone: Tz, local: NaiveDateTime, most: TimeDelta) -> DateTime<Utc> {
        if let Some(at) = zone.from_local_datetime(&local).earliest() {
            return at.to_utc();
        }
        let mut at = local.and_utc() - most;
        while at.with_timezone(&zone).naive_local() <= local {
            at += self.step;
        }
        at
    }
}

fn whole_minute(at: DateTime<Utc>) -> DateTime<Utc> {
    at - TimeDelta::milliseconds(at.timestamp_millis().rem_euclid(60_000))
}

fn steps(from: DateTime<Utc>, to: DateTime<Utc>, step: TimeDelta) -> impl Iterator<Item = DateTime<Utc>> {
    std::iter::successors(Some(from), move |at| Some(*at + step)).take_while(move |at| *at <= to)
}

fn set(field: &str, first: u32, last: u32, names: &[&str]) -> Result<BTreeSet<u32>, String> {
    let number = |text: &str| {
        let named = names.iter().position(|name| text.eq_ignore_ascii_case(name));
        let named = named.and_then(|at| u32::try_from(at).ok()).map(|at| at + first);
        named.or_else(|| text.parse().ok()).ok_or_else(|| format!("the oracle does not know `{field}`"))
    };
    let mut values = BTreeSet::new();
    for item in field.split(',') {
        let (range, step) = item.split_once('/').map_or((item, None), |(range, step)| (range, Some(step)));
        let (from, to) = match range.split_once('-') {
            Some((from, to)) => (number(from)?, number(to)?),
            None if range == "*" => (first, last),
            None => (number(range)?, if step.is_some() { last } else { number(range)? }),
        };
        let step = step.map_or(Ok(1), number)?;
        if step == 0 || from > to || to > last {
            return Err(format!("the oracle does not know `{field}`"));
        }
        values.extend((from..=to).step_by(step as usize));
    }
    Ok(values)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(expr: &str, after: &str, until: &str, expect: &[&str]) {
        let time = |text: &str| DateTime::parse_from_rfc3339(text).unwrap().timestamp_millis();
        let rule = Rule::Cron { expr: expr.to_owned(), zone: "Europe/Berlin".to_owned() };
        let due = rule.between(time(after), time(until)).unwrap();
        assert_eq!(due, expect.iter().map(|at| time(at)).collect(), "{expr}");
    }

    #[test]
    fn what_is_skipped_and_what_is_shown_twice() {
        let (spring, summer) = ("2025-03-30T00:00:00Z", "2025-03-30T02:00:00Z");
        check("30 2 * * *", spring, summer, &["2025-03-30T01:00:00Z"]);
        check("*/30 2 * * *", spring, summer, &[]);
        let (autumn, winter) = ("2025-10-26T00:00:00Z", "2025-10-26T02:00:00Z");
        check("30 2 * * *", autumn, winter, &["2025-10-26T00:30:00Z"]);
        check(
            "*/30 2 * * *",
            autumn,
            winter,
            &["2025-10-26T00:30:00Z", "2025-10-26T01:00:00Z", "2025-10-26T01:30:00Z"],
        );
        check("20 0 3 * * sun", spring, summer, &["2025-03-30T01:00:20Z"]);
    }

    #[test]
    fn short_spans_have_together_what_a_long_one_has() {
        let time = |text: &str| DateTime::parse_from_rfc3339(text).unwrap().timestamp_millis();
        let check = |zone: &str, expr: &str, noon: &str, count: usize| {
            let rule = Rule::Cron { expr: expr.to_owned(), zone: zone.to_owned() };
            let (after, until) = (time(noon) - 86_400_000, time(noon) + 86_400_000);
            let whole = rule.between(after, until).unwrap();
            assert_eq!(whole.len(), count, "{zone} {expr}");
            // Spans that begin and end at the transition, around it, and off the minute.
            for length in [450_000, 1_800_000, 5_000_001] {
                let spans = (0..).map(|turn| after + turn * length).take_while(|from| *from < until);
                let parts = spans.flat_map(|from| rule.between(from, (from + length).min(until)).unwrap());
                assert_eq!(parts.collect::<BTreeSet<_>>(), whole, "{zone} {expr} by {length} ms");
            }
        };
        for expr in ["30 2 * * *", "0 3 * * *", "59 1 * * *"] {
            check("Europe/Berlin", expr, "2025-03-30T12:00:00Z", 2);
            check("Europe/Berlin", expr, "2025-10-26T12:00:00Z", 2);
            check("Australia/Lord_Howe", expr, "2025-04-05T12:00:00Z", 2);
        }
        check("Australia/Lord_Howe", "15 2 * * *", "2025-10-05T00:00:00Z", 2);
        // A whole day was skipped: its two times come at once, when the next day begins.
        check("Pacific/Apia", "15,45 7 * * *", "2011-12-30T12:00:00Z", 5);
    }

    #[test]
    fn intervals_count_from_their_anchor() {
        let rule = Rule::Every { every_ms: 1000, anchor_unix_ms: 300 };
        assert_eq!(rule.between(5_300, 7_300).unwrap(), BTreeSet::from([6_300, 7_300]));
        assert_eq!(rule.between(-5, 1_300).unwrap(), BTreeSet::from([300, 1_300]));
        assert!(Rule::Cron { expr: "0 0 L * *".to_owned(), zone: "UTC".to_owned() }.between(0, 1).is_err());
    }

    #[test]
    fn a_fold_is_known_by_both_its_passes() {
        let time = |text: &str| DateTime::parse_from_rfc3339(text).unwrap().timestamp_millis();
        let fold = |text: &str| in_fold("Europe/Berlin", time(text));
        assert!(fold("2025-10-26T00:30:00Z") && fold("2025-10-26T01:30:00Z"));
        assert!(!fold("2025-10-25T23:59:00Z") && !fold("2025-10-26T02:00:00Z"));
    }
}

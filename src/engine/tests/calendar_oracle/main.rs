//! The occurrences of cron rules, compared with an oracle that shares nothing with the engine: it
//! goes through every minute (or second) of a year, asks a second time zone implementation
//! (chrono-tz) for the local time, and matches it against sets cut from the expression's text.

#![expect(clippy::unwrap_used, reason = "a test may fail by panic")]

mod expressions;
mod fields;

use std::collections::BTreeSet;

use chrono::{DateTime, NaiveDateTime, TimeDelta, TimeZone as _, Utc};
use chrono_tz::Tz;
use escapement_engine::{
    Timestamp,
    calendar::{CronExpr, Rule, Zone},
};
use expressions::{CHOSEN, generated, generated_for_croner};
use fields::Oracle;
use proptest::{prelude::ProptestConfig, prop_assert_eq, prop_assume, proptest};

/// A stretch of time in one zone, with the local time of each step worked out once.
struct Span {
    zone: Tz,
    step: TimeDelta,
    start: DateTime<Utc>,
    end: DateTime<Utc>,
    local: Vec<NaiveDateTime>,
}

impl Span {
    fn new(zone: &str, start: &str, end: &str, step: TimeDelta) -> Self {
        let zone: Tz = zone.parse().unwrap();
        let at = |text: &str| DateTime::parse_from_rfc3339(&format!("{text}:00Z")).unwrap().to_utc();
        let (start, end) = (at(start), at(end));
        let steps = (end - start).num_seconds() / step.num_seconds();
        let local = (0..steps).map(|i| (start + step * i32::try_from(i).unwrap()).with_timezone(&zone).naive_local());
        Self { zone, step, start, end, local: local.collect() }
    }

    /// A year of UTC, minute by minute.
    fn year(zone: &str, year: i32) -> Self {
        Self::new(zone, &format!("{year}-01-01T00:00"), &format!("{}-01-01T00:00", year + 1), TimeDelta::minutes(1))
    }

    fn instant(&self, index: usize) -> DateTime<Utc> {
        self.start + self.step * i32::try_from(index).unwrap()
    }

    /// Occurrences after the start and before the end.
    fn expected(&self, expression: &str) -> BTreeSet<DateTime<Utc>> {
        let oracle = Oracle::new(expression);
        let due = if oracle.is_fixed() { self.fixed(&oracle) } else { self.elapsed(&oracle) };
        due.into_iter().filter(|at| self.start < *at && *at < self.end).collect()
    }

    /// Each instant whose local time matches.
    fn elapsed(&self, oracle: &Oracle) -> BTreeSet<DateTime<Utc>> {
        let mut day = DayCache::default();
        let matching = self.local.iter().enumerate().filter(|(_, local)| oracle.time_matches(**local));
        matching.filter(|(_, local)| day.matches(oracle, **local)).map(|(index, _)| self.instant(index)).collect()
    }

    /// Each matching local time once: the first of two, or the first instant that shows a later one.
    fn fixed(&self, oracle: &Oracle) -> BTreeSet<DateTime<Utc>> {
        let mut day = DayCache::default();
        let mut due = BTreeSet::new();
        let mut local = *self.local.first().unwrap() - TimeDelta::days(2);
        let last = *self.local.last().unwrap() + TimeDelta::days(2);
        while local <= last {
            if oracle.time_matches(local) && day.matches(oracle, local) {
                due.insert(self.first_showing(local));
            }
            local += self.step;
        }
        due
    }

    fn first_showing(&self, local: NaiveDateTime) -> DateTime<Utc> {
        if let Some(at) = self.zone.from_local_datetime(&local).earliest() {
            return at.to_utc();
        }
        let mut at = local.and_utc() - TimeDelta::hours(36);
        while at.with_timezone(&self.zone).naive_local() <= local {
            at += self.step;
        }
        at
    }

    fn found(&self, expression: &str) -> BTreeSet<DateTime<Utc>> {
        let expr = CronExpr::parse(expression).unwrap_or_else(|e| panic!("{expression}: {e}"));
        let rule = Rule::Cron { expr, zone: Zone::new(self.zone.name()).unwrap() };
        let instants = rule.upcoming(Timestamp::from_unix_ms(self.start.timestamp_millis()));
        instants
            .map(|at| DateTime::from_timestamp_millis(at.unix_ms()).unwrap())
            .take_while(|at| *at < self.end)
            .collect()
    }

    fn check(&self, expression: &str) -> usize {
        let (expected, found) = (self.expected(expression), self.found(expression));
        let missing: Vec<_> = expected.difference(&found).take(5).collect();
        let extra: Vec<_> = found.difference(&expected).take(5).collect();
        let zone = self.zone;
        assert!(missing.is_empty() && extra.is_empty(), "{expression} in {zone}: missing {missing:?}, extra {extra:?}");
        found.len()
    }
}

/// Days are asked once each.
#[derive(Default)]
struct DayCache {
    last: Option<(chrono::NaiveDate, bool)>,
}

impl DayCache {
    fn matches(&mut self, oracle: &Oracle, at: NaiveDateTime) -> bool {
        match self.last {
            Some((date, matches)) if date == at.date() => matches,
            _ => {
                let matches = oracle.day_matches(at.date());
                self.last = Some((at.date(), matches));
                matches
            }
        }
    }
}

fn chosen_expressions_agree(zone: &str, year: i32) {
    let span = Span::year(zone, year);
    let occurrences: usize = CHOSEN.iter().map(|expression| span.check(expression)).sum();
    assert!(occurrences > 200_000, "{occurrences} occurrences say little");
}

#[test]
fn a_year_in_berlin_equals_the_oracle() {
    chosen_expressions_agree("Europe/Berlin", 2025);
}

#[test]
fn a_year_in_new_york_equals_the_oracle() {
    chosen_expressions_agree("America/New_York", 2024);
}

#[test]
fn a_year_on_lord_howe_with_its_half_hour_shift_equals_the_oracle() {
    chosen_expressions_agree("Australia/Lord_Howe", 2025);
}

#[test]
fn a_year_in_havana_where_midnight_is_skipped_equals_the_oracle() {
    chosen_expressions_agree("America/Havana", 2025);
}

#[test]
fn weeks_with_odd_shifts_equal_the_oracle() {
    let weeks = [
        ("Pacific/Apia", "2011-12-27T00:00", "2012-01-03T00:00"),
        ("Antarctica/Troll", "2025-03-27T00:00", "2025-04-02T00:00"),
        ("Antarctica/Troll", "2025-10-23T00:00", "2025-10-29T00:00"),
        ("Africa/Casablanca", "2025-02-20T00:00", "2025-04-10T00:00"),
        ("Asia/Beirut", "2024-03-28T00:00", "2024-04-02T00:00"),
        ("Asia/Beirut", "2024-10-24T00:00", "2024-10-29T00:00"),
        ("Asia/Kathmandu", "1985-12-30T00:00", "1986-01-02T00:00"),
        ("Asia/Pyongyang", "2018-05-03T00:00", "2018-05-06T00:00"),
        ("Asia/Pyongyang", "2015-08-13T00:00", "2015-08-16T00:00"),
        ("Pacific/Kwajalein", "1993-08-19T00:00", "1993-08-23T00:00"),
        ("America/Caracas", "2007-12-08T00:00", "2007-12-11T00:00"),
        ("Europe/Dublin", "2025-10-25T00:00", "2025-10-28T00:00"),
        ("UTC", "2024-02-28T00:00", "2024-03-02T00:00"),
    ];
    for (zone, start, end) in weeks {
        let span = Span::new(zone, start, end, TimeDelta::minutes(1));
        for expression in CHOSEN {
            span.check(expression);
        }
    }
}

#[test]
fn seconds_equal_the_oracle_over_both_shifts() {
    let expressions = [
        "0 30 2 * * *",
        "*/7 30 2 * * *",
        "* 59 1 * * *",
        "30 * * * * *",
        "*/20 */10 2-3 * * *",
        "15,45 0 0-4 * * SUN",
        "59 59 23 * * *",
        "0 0 0 * * *",
        "* 30 1-2 * * SUNL",
    ];
    let nights = [
        ("Europe/Berlin", "2025-03-29T22:00", "2025-03-30T04:00"),
        ("Europe/Berlin", "2025-10-25T22:00", "2025-10-26T04:00"),
        ("America/New_York", "2025-03-09T04:00", "2025-03-09T10:00"),
        ("America/New_York", "2025-11-02T03:00", "2025-11-02T09:00"),
        ("Australia/Lord_Howe", "2025-04-05T13:00", "2025-04-05T17:00"),
        ("Australia/Lord_Howe", "2025-10-04T13:00", "2025-10-04T17:00"),
    ];
    for (zone, start, end) in nights {
        let span = Span::new(zone, start, end, TimeDelta::seconds(1));
        for expression in expressions {
            span.check(expression);
        }
    }
}

#[test]
fn any_start_gives_the_next_of_the_same_occurrences() {
    // From every second minute around both shifts, one call each.
    for (start, end) in [("2025-03-29T22:00", "2025-03-30T04:00"), ("2025-10-25T22:00", "2025-10-26T04:00")] {
        let span = Span::new("Europe/Berlin", start, end, TimeDelta::minutes(1));
        for expression in ["30 2 * * *", "*/25 * * * *", "0-59/25 2-3 * * *", "* 2 * * *", "0 */2 * * *"] {
            let rule = Rule::Cron { expr: expression.parse().unwrap(), zone: Zone::new("Europe/Berlin").unwrap() };
            let expected = span.expected(expression);
            for seconds in (0..(span.end - span.start).num_seconds()).step_by(97) {
                let from = span.start + TimeDelta::seconds(seconds) + TimeDelta::milliseconds(1);
                let next = rule.next_after(Timestamp::from_unix_ms(from.timestamp_millis())).unwrap();
                let next = DateTime::from_timestamp_millis(next.unix_ms()).unwrap();
                match expected.range(from..).next() {
                    Some(expect) => assert_eq!(next, *expect, "{expression} after {from}"),
                    None => assert!(next >= span.end, "{expression} after {from}: {next}"),
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn generated_expressions_equal_the_oracle(expression in generated(), zone in 0..4usize) {
        let (zone, shifts) = [
            ("Europe/Berlin", ["2025-03-28", "2025-10-24"]),
            ("America/New_York", ["2025-03-07", "2025-10-31"]),
            ("Australia/Lord_Howe", ["2025-04-03", "2025-10-02"]),
            ("America/Havana", ["2025-03-07", "2025-10-31"]),
        ][zone];
        prop_assume!(CronExpr::parse(&expression).is_ok());
        for shift in shifts {
            let start: chrono::NaiveDate = shift.parse().unwrap();
            let end = start + TimeDelta::days(35);
            let span = Span::new(zone, &format!("{start}T00:00"), &format!("{end}T00:00"), TimeDelta::minutes(1));
            span.check(&expression);
        }
    }

    #[test]
    fn croner_agrees_in_utc(expression in generated_for_croner()) {
        prop_assume!(CronExpr::parse(&expression).is_ok());
        let rule = Rule::Cron { expr: expression.parse().unwrap(), zone: Zone::utc() };
        let croner = croner::parser::CronParser::builder().sloppy_ranges(true).build().parse(&expression).unwrap();
        let start = Utc.with_ymd_and_hms(2026, 1, 1, 0, 0, 0).unwrap();
        let ours = rule.upcoming(Timestamp::from_unix_ms(start.timestamp_millis())).take(50);
        let ours: Vec<_> = ours.map(|at| DateTime::from_timestamp_millis(at.unix_ms()).unwrap()).collect();
        let theirs: Vec<_> = croner.iter_after(start).take(50).collect();
        prop_assert_eq!(ours, theirs, "{}", expression);
    }
}

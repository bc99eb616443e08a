use std::time::Duration;

use jiff::tz::TimeZoneDatabase;

use super::*;

fn at(text: &str) -> Timestamp {
    Timestamp::from_unix_ms(text.parse::<jiff::Timestamp>().unwrap().as_millisecond())
}

fn cron(expr: &str, zone: &str) -> Rule {
    Rule::Cron { expr: expr.parse().unwrap(), zone: Zone::new(zone).unwrap() }
}

/// Local times with their offsets, without the year.
fn upcoming(rule: &Rule, after: &str, count: usize) -> String {
    let Rule::Cron { zone, .. } = rule else { panic!("no zone") };
    let show = |at: Timestamp| {
        let at = jiff::Timestamp::from_millisecond(at.unix_ms()).unwrap().to_zoned_datetime(zone.tz().clone());
        let seconds = if at.second() == 0 { "" } else { ":%S" };
        at.strftime(&format!("%m-%dT%H:%M{seconds}%:z")).to_string()
    };
    rule.upcoming(at(after)).take(count).map(show).collect::<Vec<_>>().join(" ")
}

fn check(zone: &str, expr: &str, after: &str, expect: &str) {
    let rule = cron(expr, zone);
    assert_eq!(upcoming(&rule, after, expect.split(' ').count()), expect, "{expr} in {zone} after {after}");
}

#[test]
fn a_fixed_time_in_a_gap_is_due_at_its_end() {
    let berlin = |expr, expect| check("Europe/Berlin", expr, "2025-03-29T00:00:00Z", expect);
    berlin("30 2 * * *", "03-29T02:30+01:00 03-30T03:00+02:00 03-31T02:30+02:00");
    berlin(
        "0,20,40 2 * * *",
        "03-29T02:00+01:00 03-29T02:20+01:00 03-29T02:40+01:00 03-30T03:00+02:00 03-31T02:00+02:00",
    );
    berlin("0 2,3 * * *", "03-29T02:00+01:00 03-29T03:00+01:00 03-30T03:00+02:00 03-31T02:00+02:00");
    berlin("30 2,3 * * SUN", "03-30T03:00+02:00 03-30T03:30+02:00 04-06T02:30+02:00");
    berlin("* 30 2 * * SUN", "03-30T03:00+02:00 04-06T02:30+02:00 04-06T02:30:01+02:00");
    check("America/Havana", "@daily", "2025-03-08T00:00:00Z", "03-08T00:00-05:00 03-09T01:00-04:00 03-10T00:00-04:00");
    check("Asia/Beirut", "@daily", "2024-03-30T00:00:00Z", "03-31T01:00+03:00 04-01T00:00+03:00");
    check("Australia/Lord_Howe", "15 2 * * *", "2025-10-04T00:00:00Z", "10-05T02:30+11:00 10-06T02:15+11:00");
    check("Antarctica/Troll", "0 2 * * *", "2025-03-29T12:00:00Z", "03-30T03:00+02:00 03-31T02:00+02:00");
}

#[test]
fn a_fixed_time_in_a_fold_is_due_in_the_first_pass() {
    let berlin = |expr, expect| check("Europe/Berlin", expr, "2025-10-25T12:00:00Z", expect);
    berlin("30 2 * * *", "10-26T02:30+02:00 10-27T02:30+01:00");
    berlin("0 2,3 * * *", "10-26T02:00+02:00 10-26T03:00+01:00 10-27T02:00+01:00");
    check("America/New_York", "30 1 * * *", "2025-11-02T00:00:00Z", "11-02T01:30-04:00 11-03T01:30-05:00");
    check("America/Havana", "@daily", "2025-11-01T12:00:00Z", "11-02T00:00-04:00 11-03T00:00-05:00");
    check("Antarctica/Troll", "30 1 * * *", "2025-10-25T12:00:00Z", "10-26T01:30+02:00 10-27T01:30+00:00");
    // Asked from within either pass, and from between them.
    for after in ["2025-10-26T00:30:00Z", "2025-10-26T00:59:59.999Z", "2025-10-26T01:00:00Z", "2025-10-26T01:45:00Z"] {
        check("Europe/Berlin", "30 2 * * *", after, "10-27T02:30+01:00");
    }
}

#[test]
fn interval_like_rules_follow_elapsed_time() {
    let berlin = |expr, after, expect| check("Europe/Berlin", expr, after, expect);
    berlin("*/30 * * * *", "2025-03-30T00:15:00Z", "03-30T01:30+01:00 03-30T03:00+02:00 03-30T03:30+02:00");
    berlin("*/30 2 * * *", "2025-03-29T12:00:00Z", "03-31T02:00+02:00 03-31T02:30+02:00");
    berlin(
        "*/30 2 * * *",
        "2025-10-25T12:00:00Z",
        "10-26T02:00+02:00 10-26T02:30+02:00 10-26T02:00+01:00 10-26T02:30+01:00 10-27T02:00+01:00",
    );
    berlin("@hourly", "2025-10-25T23:30:00Z", "10-26T02:00+02:00 10-26T02:00+01:00 10-26T03:00+01:00");
    berlin("0 */2 * * *", "2025-10-25T23:30:00Z", "10-26T02:00+02:00 10-26T02:00+01:00 10-26T04:00+01:00");
    // The second pass may match before the place in the first pass from which it is asked.
    berlin("10 */1 * * *", "2025-10-26T00:40:00Z", "10-26T02:10+01:00 10-26T03:10+01:00");
    check(
        "Australia/Lord_Howe",
        "*/15 * * * *",
        "2025-04-05T14:30:00Z",
        "04-06T01:45+11:00 04-06T01:30+10:30 04-06T01:45+10:30 04-06T02:00+10:30",
    );
}

#[test]
fn the_day_that_samoa_left_out_is_a_gap_like_any_other() {
    let apia = |expr, expect| check("Pacific/Apia", expr, "2011-12-30T00:00:00Z", expect);
    apia("0 12 * * *", "12-31T00:00+14:00 12-31T12:00+14:00");
    apia("0 */12 * * *", "12-31T00:00+14:00 12-31T12:00+14:00");
    apia("0 9 30 12 *", "12-31T00:00+14:00 12-30T09:00+14:00");
    apia("*/5 9 30 12 *", "12-30T09:00+14:00");
}

#[test]
fn occurrences_come_strictly_after_the_instant_to_the_millisecond() {
    let rule = cron("30 2 * * *", "UTC");
    let check = |after: &str, expect: &str| assert_eq!(rule.next_after(at(after)), Some(at(expect)), "{after}");
    check("2026-01-01T02:29:59.999Z", "2026-01-01T02:30:00Z");
    check("2026-01-01T02:30:00Z", "2026-01-02T02:30:00Z");
    check("2026-01-01T02:30:00.001Z", "2026-01-02T02:30:00Z");
    // Before 1970, too.
    assert_eq!(cron("* * * * *", "UTC").next_after(at("1969-12-31T23:59:59.999Z")), Some(at("1970-01-01T00:00:00Z")));
}

#[test]
fn rules_end_where_time_does() {
    let rule = cron("@yearly", "Europe/Berlin");
    assert_eq!(rule.next_after(Timestamp::MAX), None);
    assert_eq!(rule.next_after(at("9999-06-01T00:00:00Z")), None);
    assert_eq!(rule.next_after(at("9998-06-01T00:00:00Z")), Some(at("9998-12-31T23:00:00Z")));
    assert!(rule.next_after(Timestamp::MIN).is_some());
    // Since 2007 the second Sunday of March has no 02:15 in New York.
    assert_eq!(cron("*/15 2 * 3 SUN#2", "America/New_York").next_after(at("2026-01-01T00:00:00Z")), None);
    assert!(cron("15 2 * 3 SUN#2", "America/New_York").next_after(at("2026-01-01T00:00:00Z")).is_some());
}

#[test]
fn intervals_count_from_their_anchor() {
    let every = Every::new(Duration::from_millis(1500)).unwrap();
    let rule = Rule::Interval { every, anchor: Timestamp::from_unix_ms(10_000) };
    let check = |after: i64, expect: i64| {
        assert_eq!(rule.next_after(Timestamp::from_unix_ms(after)), Some(Timestamp::from_unix_ms(expect)), "{after}");
    };
    check(i64::MIN, 10_000);
    check(9_999, 10_000);
    check(10_000, 11_500);
    check(11_499, 11_500);
    check(11_500, 13_000);
    check(1_000_000_000_400, 1_000_000_001_500);
    assert_eq!(rule.next_after(Timestamp::MAX), None);
}

#[test]
fn intervals_out_of_bounds_are_refused() {
    let check = |value: Duration, ok| assert_eq!(Every::new(value).is_ok(), ok, "{value:?}");
    check(Duration::from_secs(1), true);
    check(Duration::from_secs(366 * 24 * 3600), true);
    check(Duration::from_millis(1001), true);
    check(Duration::ZERO, false);
    check(Duration::from_millis(999), false);
    check(Duration::from_nanos(1_000_000_001), false);
    check(Duration::from_secs(366 * 24 * 3600 + 1), false);
    check(Duration::MAX, false);
    let error = Every::new(Duration::ZERO).unwrap_err();
    assert_eq!(error.to_string(), "every is 0ns, but must be 1 s to 366 days in whole milliseconds");
}

/// What the search relies on: see `resolve.rs`.
#[test]
fn no_two_shifts_of_a_zone_overlap() {
    let until: jiff::Timestamp = "2200-01-01T00:00:00Z".parse().unwrap();
    for name in TimeZoneDatabase::bundled().available() {
        let zone = Zone::new(name.as_str()).unwrap();
        let tz = zone.tz();
        let mut offset = tz.to_offset(jiff::Timestamp::MIN).seconds();
        let mut last: Option<(jiff::Timestamp, i32)> = None;
        for transition in tz.following(jiff::Timestamp::MIN).take_while(|t| t.timestamp() < until) {
            let size = (transition.offset().seconds() - offset).abs();
            offset = transition.offset().seconds();
            if size == 0 {
                continue;
            }
            if let Some((at, last_size)) = last {
                let apart = transition.timestamp().duration_since(at).as_secs();
                assert!(apart > i64::from(size + last_size), "{name}: {at} and {}", transition.timestamp());
            }
            last = Some((transition.timestamp(), size));
        }
    }
}

proptest::proptest! {
    #[test]
    fn intervals_never_skip_and_never_repeat(every in 1000u64..100_000_000, anchor in -1_000_000_000_000i64..4_000_000_000_000, after in -1_000_000_000_000i64..4_000_000_000_000) {
        let rule = Rule::Interval { every: Every::new(Duration::from_millis(every)).unwrap(), anchor: Timestamp::from_unix_ms(anchor) };
        let next = rule.next_after(Timestamp::from_unix_ms(after)).unwrap().unix_ms();
        proptest::prop_assert!(next > after && next >= anchor);
        proptest::prop_assert_eq!((next - anchor) % i64::try_from(every).unwrap(), 0);
        proptest::prop_assert!(next - i64::try_from(every).unwrap() <= after || next == anchor);
    }
}

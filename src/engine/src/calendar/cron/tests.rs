use insta::assert_snapshot;
use jiff::civil::DateTime;

use super::*;

fn parse(text: &str) -> CronExpr {
    CronExpr::parse(text).unwrap_or_else(|e| panic!("{text}: {e}"))
}

/// The first matches from the start of 2026, a year that starts on a Thursday.
fn matches(text: &str, count: usize) -> String {
    let expr = parse(text);
    let mut from: DateTime = "2026-01-01T00:00:00".parse().unwrap();
    let mut found = Vec::new();
    while found.len() < count {
        let next = expr.at_or_after(from).unwrap();
        let format = if next.second() == 0 { "%m-%dT%H:%M" } else { "%m-%dT%H:%M:%S" };
        found.push(next.strftime(format).to_string());
        from = next.checked_add(jiff::SignedDuration::from_secs(1)).unwrap();
    }
    found.join(" ")
}

#[test]
fn values_lists_ranges_and_steps_match_in_order() {
    let check = |text: &str, expect: &str| {
        let count = expect.split(' ').count();
        assert_eq!(matches(text, count), expect, "{text}");
    };
    check("30 2 * * *", "01-01T02:30 01-02T02:30");
    check("*/20 * * * *", "01-01T00:00 01-01T00:20 01-01T00:40 01-01T01:00");
    check("5/25 8 * * *", "01-01T08:05 01-01T08:30 01-01T08:55 01-02T08:05");
    check("1-9/4,30 8 * * *", "01-01T08:01 01-01T08:05 01-01T08:09 01-01T08:30 01-02T08:01");
    check("0 22-2/2 * * *", "01-01T00:00 01-01T02:00 01-01T22:00 01-02T00:00");
    check("50-10/10 8 * * *", "01-01T08:00 01-01T08:10 01-01T08:50 01-02T08:00");
    check("0 0 1 NOV-FEB *", "01-01T00:00 02-01T00:00 11-01T00:00 12-01T00:00");
    check("0 0 1 jan,Mar *", "01-01T00:00 03-01T00:00 01-01T00:00");
    check("*/60 */24 */31 */12 *", "01-01T00:00 01-01T00:00");
    check("0 0 31 * *", "01-31T00:00 03-31T00:00 05-31T00:00 07-31T00:00");
    check("  0\t0  1 1 * ", "01-01T00:00");
}

#[test]
fn seconds_stand_in_front_of_six_fields() {
    assert_eq!(matches("15/30 59 23 * * *", 3).replace("01-", ""), "01T23:59:15 01T23:59:45 02T23:59:15");
    assert_eq!(matches("*/20 0 0 1 1 *", 4), "01-01T00:00 01-01T00:00:20 01-01T00:00:40 01-01T00:00");
}

#[test]
fn weekdays_have_names_and_two_sundays() {
    let check = |text: &str, days: &str| {
        let got = matches(&format!("0 0 * * {text}"), days.split(' ').count()).replace("01-", "").replace("T00:00", "");
        assert_eq!(got, days, "{text}");
    };
    check("0", "04 11");
    check("7", "04 11");
    check("sun", "04 11");
    check("MON-FRI", "01 02 05 06 07 08 09 12");
    check("FRI-MON", "02 03 04 05 09 10");
    check("SAT-SUN", "03 04 10");
    check("5-7", "02 03 04 09");
    check("0-7", "01 02 03 04 05");
    check("7-2", "04 05 06 11");
    check("*/3", "03 04 07 10");
    check("5/1", "02 03 09");
    check("2-1/3", "02 05 06 09");
}

#[test]
fn last_nearest_and_nth_days_follow_the_month() {
    let check = |text: &str, expect: &str| {
        let count = expect.split(' ').count();
        assert_eq!(matches(text, count).replace("T00:00", ""), expect, "{text}");
    };
    check("0 0 L * *", "01-31 02-28 03-31 04-30");
    check("0 0 L-3 * *", "01-28 02-25 03-28 04-27");
    check("0 0 L-30 * *", "01-01 03-01 05-01");
    check("0 0 l-0 * *", "01-31 02-28");
    check("0 0 LW * *", "01-30 02-27 03-31 04-30 05-29");
    check("0 0 15W * *", "01-15 02-16 03-16 04-15 05-15 06-15 07-15 08-14");
    check("0 0 1W * *", "01-01 02-02 03-02 04-01 05-01 06-01 07-01 08-03");
    check("0 0 31W * *", "01-30 03-31 05-29 07-31 08-31");
    check("0 0 15w,L * *", "01-15 01-31 02-16 02-28");
    check("0 0 * * FRIL", "01-30 02-27 03-27");
    check("0 0 * * 7L", "01-25 02-22");
    check("0 0 * * MON#2", "01-12 02-09");
    check("0 0 * * 4#5,sun#1", "01-04 01-29 02-01 03-01 04-05 04-30");
}

#[test]
fn two_restricted_day_fields_match_either_but_a_star_makes_it_both() {
    let check = |text: &str, expect: &str| {
        let count = expect.split(' ').count();
        assert_eq!(matches(text, count).replace("T00:00", ""), expect, "{text}");
    };
    check("0 0 1,15 * FRI", "01-01 01-02 01-09 01-15 01-16");
    check("0 0 13 * *", "01-13 02-13");
    check("0 0 * * FRI", "01-02 01-09");
    check("0 0 ? * FRI", "01-02 01-09");
    check("0 0 13 * ?", "01-13 02-13");
    // Every other day, as far as it is a Friday.
    check("0 0 */2 * FRI", "01-09 01-23 02-13 02-27");
    check("0 0 13 * */5", "02-13 03-13 09-13 11-13 12-13");
    check("0 0 1-31/2 * FRI", "01-01 01-02 01-03 01-05");
}

#[test]
fn nicknames_mean_their_fields() {
    for (name, fields) in NICKNAMES {
        let (nickname, plain) = (parse(name), parse(fields));
        assert_eq!(nickname.as_str(), name);
        let meaning = |expr: &CronExpr| {
            let times = (expr.seconds, expr.minutes, expr.hours, expr.months, expr.fixed_time);
            (times, expr.days_of_month, expr.days_of_week, expr.both_days, expr.extended)
        };
        assert_eq!(meaning(&nickname), meaning(&plain));
        assert!(!nickname.is_extended());
    }
    assert_eq!(parse(" @Daily ").to_string(), "@daily");
    assert!(parse("@daily").is_fixed_time());
    assert!(!parse("@hourly").is_fixed_time());
}

#[test]
fn rare_days_are_found_and_impossible_ones_refused() {
    let next = |text: &str, from: &str| parse(text).at_or_after(from.parse().unwrap()).map(|at| at.to_string());
    let midnight = |date: &str| Some(format!("{date}T00:00:00"));
    assert_eq!(next("0 0 29 2 *", "2097-01-01T00:00"), midnight("2104-02-29"));
    assert_eq!(next("0 0 29 2 */7", "2026-01-01T00:00"), midnight("2032-02-29"));
    assert_eq!(next("0 0 * 2 MON#5", "2026-01-01T00:00"), midnight("2044-02-29"));
    // 2100 is no leap year.
    assert_eq!(next("0 0 * 2 MON#5", "2072-03-01T00:00"), midnight("2112-02-29"));
    assert_eq!(next("59 59 23 31 12 *", "9999-12-31T23:59:59"), Some("9999-12-31T23:59:59".into()));
    assert_eq!(next("0 0 1 1 *", "9999-01-01T00:00:01"), None);
    assert_eq!(next("0 0 1 * *", "9999-12-02T00:00"), None);
    for never in ["0 0 30 2 *", "0 0 31 4,6,9,11 *", "0 0 30-31 FEB *", "0 0 L-29 2 *", "0 0 30W 2 *"] {
        let problem = CronExpr::parse(never).map_err(|e| e.problem);
        assert_eq!(problem, Err(CronProblem::NeverMatches), "{never}");
    }
    for possible in ["0 0 29 2 *", "0 0 30 2 MON", "0 0 L-28 2 *", "0 0 * 2 SUN#5", "0 0 */29 */2 MON"] {
        parse(possible);
    }
}

#[test]
fn text_is_kept_with_single_blanks_and_capitals() {
    let check = |given: &str, text: &str| {
        assert_eq!(parse(given).to_string(), text);
        assert_eq!(parse(text), parse(given));
    };
    check(" 0\t0  * *  mon-fri ", "0 0 * * MON-FRI");
    check("0 0 l * ?", "0 0 L * ?");
    check("@HOURLY", "@hourly");
}

#[test]
fn what_cron_daemons_refuse_is_extended() {
    let check = |text: &str, extended| assert_eq!(parse(text).is_extended(), extended, "{text}");
    for plain in ["*/5 1-5,9 1-31/2 JAN-MAR sun", "0 0 * * 0-7", "0 0 * * FRI-SUN", "@weekly"] {
        check(plain, false);
    }
    for extended in [
        "0 0 0 * * *",
        "0 0 L * *",
        "0 0 1W * *",
        "0 0 * * 1#1",
        "0 0 * * 1L",
        "0 0 ? * 1",
        "5/5 * * * *",
        "0 22-2 * * *",
    ] {
        check(extended, true);
    }
}

/// One of each kind of mistake.
const BAD: &[&str] = &[
    "",
    "  ",
    "* * * *",
    "* * * * * * *",
    "60 * * * *",
    "* 24 * * *",
    "* * 0 * *",
    "* * 32 * *",
    "* * * 13 *",
    "* * * 0 *",
    "* * * * 8",
    "0 0 60 * * *",
    "99 * * * * *",
    "* * * JANUARY *",
    "* * * * FRIDAY",
    "* * * MON *",
    "*/0 * * * *",
    "*/61 * * * *",
    "* */25 * * *",
    "* * * * */8",
    "*/ * * * *",
    "1-5/x * * * *",
    "1,,2 * * * *",
    ", * * * *",
    "1- * * * *",
    "-5 * * * *",
    "+5 * * * *",
    "1-2-3 * * * *",
    "*-5 * * * *",
    "99999999999999999999 * * * *",
    "* * 25-5 * *",
    "0~59 * * * *",
    "? * * * *",
    "L * * * *",
    "* * * L *",
    "* * * * L",
    "* * * * 15W",
    "* * MON#2 * *",
    "* * * * MON#6",
    "* * * * MON#",
    "* * * * #2",
    "* * L-31 * *",
    "* * L- * *",
    "* * W * *",
    "* * 32W * *",
    "* * 1-5W * *",
    "0 0 30 2 *",
    "@reboot",
    "@every_minute",
    "@",
    "ä * * * *",
    "* * ää * *",
    "* *\u{b}* * * *",
];

#[test]
fn errors_name_field_value_place_and_limit() {
    let shown: Vec<_> =
        BAD.iter().map(|text| format!("{text:?}: {}", CronExpr::parse(text).expect_err(text))).collect();
    assert_snapshot!(shown.join("\n"));
}

#[test]
fn errors_say_where_in_the_text_as_given() {
    let check = |text: &str, field, value: &str, position| {
        let error = CronExpr::parse(text).unwrap_err();
        assert_eq!((error.field, error.value.as_str(), error.position), (Some(field), value, position), "{text}");
    };
    check("  0   0 1,2,77 * *", CronField::DayOfMonth, "77", 12);
    check("0 0 * * MON,TUX-FRI", CronField::DayOfWeek, "TUX", 12);
    check("0 10-20/99 * * *", CronField::Hour, "99", 8);
    check("0\t0 * 1-MAI *", CronField::Month, "MAI", 8);
}

#[test]
fn overlong_expressions_are_refused() {
    let long = format!("{} * * * *", vec!["1"; 600].join(","));
    let error = CronExpr::parse(&long).unwrap_err();
    assert_eq!(error.problem, CronProblem::TooLong { bytes: long.len(), max: 1024 });
    assert_eq!(error.value.len(), 64);
}

proptest::proptest! {
    #[test]
    fn no_text_makes_the_parser_panic(text in "[-0-9*/,?LW#~@A-Za-z \t]{0,40}|\\PC{0,30}") {
        if let Ok(expr) = CronExpr::parse(&text) {
            proptest::prop_assert_eq!(CronExpr::parse(expr.as_str()), Ok(expr));
        }
    }

    #[test]
    fn the_next_match_is_never_before_its_start(
        fields in ("[0-9]|[1-5][0-9]|\\*", "[0-9]|1[0-9]|\\*/[1-9]", "[1-9]|2[0-8]|L|\\*", "[1-9]|1[0-2]|\\*", "[0-7]|\\*"),
        second in 0i64..20_000_000_000,
    ) {
        let (minute, hour, day, month, weekday) = fields;
        let expr = parse(&format!("{minute} {hour} {day} {month} {weekday}"));
        let from = jiff::Timestamp::from_second(second).unwrap().to_zoned_datetime(jiff::tz::TimeZone::UTC).datetime();
        let next = expr.at_or_after(from).unwrap();
        proptest::prop_assert!(next >= from);
        proptest::prop_assert_eq!(expr.at_or_after(next), Some(next));
    }
}

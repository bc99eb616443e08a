//! Expressions to try: some chosen, some generated.

use proptest::{
    prelude::{Just, Strategy, any},
    prop_oneof,
    sample::select,
};

/// Chosen for what they do near a shift of local time, and for each kind of item.
pub(crate) const CHOSEN: &[&str] = &[
    "0 0 * * *",
    "30 0 * * *",
    "59 23 * * *",
    "0 1 * * *",
    "30 1 * * *",
    "15 2 * * *",
    "30 2 * * *",
    "0,15,30,45 2 * * *",
    "0 3 * * *",
    "0 2,3 * * *",
    "1 3 * * *",
    "0-59 2 * * *",
    "0-59/7 0-23/3 * * *",
    "0-59/10 0-23 * * *",
    "*/15 * * * *",
    "*/7 * * * *",
    "7 * * * *",
    "0 */2 * * *",
    "30 */3 * * *",
    "* 2 * * *",
    "*/20 1-3 * * *",
    "*/5 0 * * SUN",
    "0 * 1 * *",
    "0 12 * * MON-FRI",
    "0 2 * * 0",
    "30 2 * * SUN#2",
    "30 2 * * SUNL",
    "30 1 * * SUN#1",
    "30 2 L MAR,OCT *",
    "15 2 30 3 *",
    "15 2 26 10 *",
    "0 0 1W * *",
    "0 0 15W * *",
    "0 0 LW * *",
    "0 0 L-2 * *",
    "0 0 31W * *",
    "0 6 1,15 * FRI",
    "0 6 */2 * FRI",
    "0 6 13 * */5",
    "0 6 ? * TUE#5",
    "0 22-2 * * FRI-MON",
    "5/10 4 * NOV-FEB *",
    "50-10/10 8 * * *",
    "0 0 29 2 *",
    "0 0 31 * *",
    "0 9 8-14 * 7",
    "0 9 * * 5-7",
    "0 9 * * 7",
    "0 9 1 JAN,Apr,jul,OCT *",
    "23 5 L,15W * wed",
];

/// A list of one to three items: single values, ranges, steps, ranges round the end if `wrap`.
fn plain_field(first: u32, last: u32, wrap: bool) -> impl Strategy<Value = String> + Clone {
    let value = first..=last;
    let step = 1..=(last - first + 1);
    let item = (value.clone(), value, step, 0..6u8).prop_map(move |(a, b, step, kind)| {
        let (from, to) = if a <= b || wrap { (a, b) } else { (b, a) };
        match kind {
            0 => format!("{from}-{to}"),
            1 => format!("{from}-{to}/{step}"),
            2 => format!("{a}/{step}"),
            _ => a.to_string(),
        }
    });
    proptest::collection::vec(item, 1..=3).prop_map(|items| items.join(","))
}

fn or_star(field: impl Strategy<Value = String> + Clone, span: u32) -> impl Strategy<Value = String> {
    prop_oneof![2 => Just("*".to_owned()), 1 => (1..=span).prop_map(|step| format!("*/{step}")), 3 => field]
}

fn days_of_month() -> impl Strategy<Value = String> {
    let special = prop_oneof![
        Just("L".to_owned()),
        Just("LW".to_owned()),
        Just("?".to_owned()),
        (0..=30u32).prop_map(|n| format!("L-{n}")),
        (1..=31u32).prop_map(|n| format!("{n}W")),
        (1..=31u32).prop_map(|n| format!("L,{n}W")),
    ];
    prop_oneof![2 => or_star(plain_field(1, 31, false), 31), 1 => special]
}

fn days_of_week() -> impl Strategy<Value = String> {
    let name = select(vec!["SUN", "mon", "Tue", "WED", "thu", "Fri", "SAT", "0", "1", "5", "7"]);
    let special = (name, 1..=5u32, any::<bool>())
        .prop_map(|(name, nth, last)| if last { format!("{name}L") } else { format!("{name}#{nth}") });
    prop_oneof![2 => or_star(plain_field(0, 6, true), 7), 1 => special]
}

/// Five fields. Hours lean to the night, when zones shift.
pub(crate) fn generated() -> impl Strategy<Value = String> {
    let hours = prop_oneof![1 => plain_field(0, 23, true), 2 => (0..=3u32).prop_map(|hour| hour.to_string())];
    let minutes = or_star(plain_field(0, 59, true), 60);
    (minutes, or_star(hours, 24), days_of_month(), or_star(plain_field(1, 12, true), 12), days_of_week())
        .prop_map(|(minute, hour, day, month, weekday)| format!("{minute} {hour} {day} {month} {weekday}"))
}

/// Five fields that mean the same to croner: no ranges round the end, no `L-3`, and no
/// `*/2` in a day field, which croner takes for a restriction.
pub(crate) fn generated_for_croner() -> impl Strategy<Value = String> {
    let days = prop_oneof![
        2 => Just("*".to_owned()),
        2 => plain_field(1, 31, false),
        1 => select(vec!["L".to_owned(), "LW".to_owned(), "?".to_owned(), "15W".to_owned(), "1W".to_owned(), "31W".to_owned(), "L,3W".to_owned()]),
    ];
    let weekdays = prop_oneof![
        2 => Just("*".to_owned()),
        1 => plain_field(0, 6, false).prop_filter("5/2 ends on Saturday here, on Sunday there", |field| !open_step(field)),
        1 => select(vec!["SUN#1".to_owned(), "MON#5".to_owned(), "FRIL".to_owned(), "7#2".to_owned(), "7".to_owned(), "MON-FRI".to_owned(), "5-7".to_owned(), "2#3,4L".to_owned()]),
    ];
    let minutes = or_star(plain_field(0, 59, false), 60);
    let hours = or_star(plain_field(0, 23, false), 24);
    (minutes, hours, days, or_star(plain_field(1, 12, false), 12), weekdays)
        .prop_map(|(minute, hour, day, month, weekday)| format!("{minute} {hour} {day} {month} {weekday}"))
}

fn open_step(field: &str) -> bool {
    field.split(',').any(|item| item.contains('/') && !item.contains('-'))
}

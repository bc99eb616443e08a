//! Which local times an expression matches, by cutting strings and collecting sets. Shares no
//! code with the engine and asks one day at a time.

use std::collections::BTreeSet;

use chrono::{Datelike, NaiveDate, NaiveDateTime, Timelike};

const MONTHS: &str = "janfebmaraprmayjunjulaugsepoctnovdec";
const WEEKDAYS: &str = "sunmontuewedthufrisat";

/// An expression of five or six fields.
pub(crate) struct Oracle {
    fields: Vec<String>,
    seconds: BTreeSet<u32>,
    minutes: BTreeSet<u32>,
    hours: BTreeSet<u32>,
    months: BTreeSet<u32>,
}

fn number(text: &str, names: &str, first: u32) -> u32 {
    text.parse().unwrap_or_else(|_| {
        let at = names.find(&text.to_lowercase()).expect("generated expressions are valid");
        u32::try_from(at).unwrap() / 3 + first
    })
}

/// The plain values of a field, collected by counting up and starting anew at the end.
fn plain(field: &str, first: u32, last: u32, names: &str) -> BTreeSet<u32> {
    let mut set = BTreeSet::new();
    for item in field.split(',') {
        let (range, step) = item.split_once('/').unwrap_or((item, ""));
        let ends: Vec<&str> = range.split('-').collect();
        let (from, to) = match ends[..] {
            ["*" | "?"] => (first, last),
            [one] => {
                let from = number(one, names, first);
                (from, if step.is_empty() { from } else { last })
            }
            [from, to] => (number(from, names, first), number(to, names, first)),
            _ => panic!("{item}"),
        };
        let step = if step.is_empty() { 1 } else { step.parse::<u32>().unwrap() };
        let mut counted = 0;
        let mut value = from;
        loop {
            if counted % step == 0 {
                set.insert(value);
            }
            if value == to {
                break;
            }
            value = if value >= last && to < from { first } else { value + 1 };
            counted += 1;
        }
    }
    set
}

fn month_length(date: NaiveDate) -> u32 {
    (28..=31).rev().find(|day| date.with_day(*day).is_some()).unwrap()
}

fn is_workday(date: NaiveDate) -> bool {
    date.weekday().number_from_monday() <= 5
}

/// The workday of the same month with the least distance to `day`.
fn nearest_workday(date: NaiveDate, day: u32) -> Option<NaiveDate> {
    date.with_day(day)?;
    let workdays = (1..=31).filter_map(|day| date.with_day(day)).filter(|date| is_workday(*date));
    workdays.min_by_key(|workday| workday.day().abs_diff(day))
}

fn day_of_month_item(item: &str, date: NaiveDate) -> bool {
    let length = month_length(date);
    let item = item.to_uppercase();
    if item == "LW" {
        let last = (1..=length).filter_map(|day| date.with_day(day)).rfind(|date| is_workday(*date));
        return last == Some(date);
    }
    if let Some(day) = item.strip_suffix('W') {
        return nearest_workday(date, day.parse().unwrap()) == Some(date);
    }
    if let Some(before) = item.strip_prefix('L') {
        let before: u32 = before.trim_start_matches('-').parse().unwrap_or(0);
        return date.day() + before == length;
    }
    plain(&item, 1, 31, "").contains(&date.day())
}

fn day_of_week_item(item: &str, date: NaiveDate) -> bool {
    let today = date.weekday().num_days_from_sunday();
    if let Some((day, nth)) = item.split_once('#') {
        let count = (1..=date.day()).filter(|day| date.with_day(*day).unwrap().weekday() == date.weekday()).count();
        return number(day, WEEKDAYS, 0) % 7 == today && count.to_string() == nth;
    }
    if let Some(day) = item.strip_suffix(['L', 'l']) {
        let next_week = date + chrono::Duration::days(7);
        return number(day, WEEKDAYS, 0) % 7 == today && next_week.month() != date.month();
    }
    let sunday_last = item.contains("-7") || item.starts_with('7');
    let set = plain(item, 0, if sunday_last { 7 } else { 6 }, WEEKDAYS);
    set.contains(&today) || (today == 0 && set.contains(&7))
}

impl Oracle {
    pub(crate) fn new(expression: &str) -> Self {
        let mut fields: Vec<String> = expression.split(' ').map(str::to_owned).collect();
        if fields.len() == 5 {
            fields.insert(0, "0".to_owned());
        }
        Self {
            seconds: plain(&fields[0], 0, 59, ""),
            minutes: plain(&fields[1], 0, 59, ""),
            hours: plain(&fields[2], 0, 23, ""),
            months: plain(&fields[4], 1, 12, MONTHS),
            fields,
        }
    }

    /// Neither minute nor hour starts with a star.
    pub(crate) fn is_fixed(&self) -> bool {
        !self.fields[1].starts_with('*') && !self.fields[2].starts_with('*')
    }

    pub(crate) fn day_matches(&self, date: NaiveDate) -> bool {
        let in_month = self.fields[3].split(',').any(|item| day_of_month_item(item, date));
        let in_week = self.fields[5].split(',').any(|item| day_of_week_item(item, date));
        let star = [&self.fields[3], &self.fields[5]].iter().any(|field| field.starts_with(['*', '?']));
        self.months.contains(&date.month()) && if star { in_month && in_week } else { in_month || in_week }
    }

    pub(crate) fn time_matches(&self, at: NaiveDateTime) -> bool {
        self.minutes.contains(&at.minute()) && self.hours.contains(&at.hour()) && self.seconds.contains(&at.second())
    }
}

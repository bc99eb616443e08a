//! What cron would have run, worked out in another way: with another time zone library, field
//! by field as sets, minute by minute or date by date.

use std::collections::BTreeSet;

use chrono::{DateTime, Datelike as _, Days, Duration, LocalResult, NaiveDate, TimeZone as _, Timelike as _, Utc};
use chrono_tz::Tz;

struct Fields {
    minute: BTreeSet<u32>,
    hour: BTreeSet<u32>,
    day: BTreeSet<u32>,
    month: BTreeSet<u32>,
    weekday: BTreeSet<u32>,
    any_day: bool,
    any_weekday: bool,
    fixed: bool,
}

fn set(text: &str, low: u32, high: u32) -> BTreeSet<u32> {
    let mut values = BTreeSet::new();
    for part in text.split(',') {
        let (range, step) = part.split_once('/').map_or((part, 1), |(range, step)| (range, step.parse().unwrap()));
        let (from, to) = match range.split_once('-') {
            _ if range == "*" => (low, high),
            Some((from, to)) => (from.parse().unwrap(), to.parse().unwrap()),
            None => (range.parse().unwrap(), range.parse().unwrap()),
        };
        values.extend((from..=to).step_by(step as usize));
    }
    values
}

impl Fields {
    fn new(expression: &str) -> Self {
        let [minute, hour, day, month, weekday] = expression.split(' ').collect::<Vec<_>>()[..] else {
            panic!("five fields: {expression}")
        };
        Self {
            minute: set(minute, 0, 59),
            hour: set(hour, 0, 23),
            day: set(day, 1, 31),
            month: set(month, 1, 12),
            weekday: set(weekday, 0, 7).into_iter().map(|day| day % 7).collect(),
            any_day: day.starts_with('*'),
            any_weekday: weekday.starts_with('*'),
            fixed: !minute.starts_with('*') && !hour.starts_with('*'),
        }
    }

    fn on(&self, date: NaiveDate) -> bool {
        let day = self.day.contains(&date.day());
        let weekday = self.weekday.contains(&date.weekday().num_days_from_sunday());
        let days = if self.any_day || self.any_weekday { day && weekday } else { day || weekday };
        self.month.contains(&date.month()) && days
    }
}

/// Unix seconds of all runs after `from`, up to and including `until`. A job at fixed times
/// that fall into a gap runs when the gap ends, and in a fold only the first time; any other
/// job goes by the minutes that really pass.
pub(crate) fn runs(expression: &str, zone: Tz, from: DateTime<Utc>, until: DateTime<Utc>) -> BTreeSet<i64> {
    let fields = Fields::new(expression);
    let mut runs = BTreeSet::new();
    if fields.fixed {
        let mut date = from.with_timezone(&zone).date_naive() - Days::new(2);
        while date <= until.with_timezone(&zone).date_naive() + Days::new(2) {
            if fields.on(date) {
                for (hour, minute) in fields.hour.iter().flat_map(|h| fields.minute.iter().map(move |m| (*h, *m))) {
                    let mut local = date.and_hms_opt(hour, minute, 0).unwrap();
                    let at = loop {
                        match zone.from_local_datetime(&local) {
                            LocalResult::Single(at) | LocalResult::Ambiguous(at, _) => break at,
                            LocalResult::None => local += Duration::minutes(1),
                        }
                    };
                    runs.insert(at.timestamp());
                }
            }
            date = date + Days::new(1);
        }
    } else {
        let mut minute = from.timestamp().div_euclid(60) * 60;
        while minute <= until.timestamp() {
            let local = Utc.timestamp_opt(minute, 0).unwrap().with_timezone(&zone);
            if fields.on(local.date_naive())
                && fields.hour.contains(&local.hour())
                && fields.minute.contains(&local.minute())
            {
                runs.insert(minute);
            }
            minute += 60;
        }
    }
    runs.retain(|at| *at > from.timestamp() && *at <= until.timestamp());
    runs
}

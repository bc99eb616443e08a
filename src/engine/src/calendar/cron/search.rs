//! The next local time that matches, found field by field.

use jiff::civil::{Date, DateTime, Time};

use super::{CronExpr, days::MonthShape};

/// jiff's last year.
const YEAR_MAX: i16 = 9999;

/// A month of a year.
#[derive(Clone, Copy)]
struct Month {
    year: i16,
    /// 1 to 12.
    month: i8,
}

impl Month {
    fn next(self) -> Option<Self> {
        match (self.year, self.month) {
            (YEAR_MAX, 12) => None,
            (year, 12) => Some(Self { year: year + 1, month: 1 }),
            (year, month) => Some(Self { year, month: month + 1 }),
        }
    }

    fn first_day(self) -> Date {
        Date::new(self.year, self.month, 1).expect("a month within jiff's years")
    }

    fn date(self, day: u32) -> Date {
        let day = i8::try_from(day).expect("a day is at most 31");
        Date::new(self.year, self.month, day).expect("matching days are cut to the month's length")
    }
}

/// Lowest set bit from `from` on.
fn at_or_after(bits: u64, from: u32) -> Option<u32> {
    let rest = if from < 64 { bits >> from << from } else { 0 };
    (rest != 0).then(|| rest.trailing_zeros())
}

fn unsigned(value: i8) -> u32 {
    u32::from(value.unsigned_abs())
}

impl CronExpr {
    /// The first matching local time that is not before `from`, whose parts of a second do
    /// not count. `None` after the last year that jiff knows.
    pub(crate) fn at_or_after(&self, from: DateTime) -> Option<DateTime> {
        let start = Month { year: from.year(), month: from.month() };
        let days = self.days(start);
        let today = unsigned(from.day());
        if days & (1 << today) != 0
            && let Some(time) = self.time_at_or_after(from)
        {
            return Some(DateTime::from_parts(from.date(), time));
        }
        if let Some(day) = at_or_after(days.into(), today + 1) {
            return Some(DateTime::from_parts(start.date(day), self.first_time()));
        }
        // Within 400 years the calendar has every month it can have, and some day matches.
        let mut month = start.next()?;
        loop {
            month = self.month_at_or_after(month)?;
            if let Some(day) = at_or_after(self.days(month).into(), 1) {
                return Some(DateTime::from_parts(month.date(day), self.first_time()));
            }
            month = month.next()?;
        }
    }

    fn days(&self, month: Month) -> u32 {
        if self.months & (1 << month.month) == 0 {
            return 0;
        }
        let first = month.first_day();
        let first_weekday = unsigned(first.weekday().to_sunday_zero_offset());
        self.days_in(MonthShape { first_weekday, length: unsigned(first.days_in_month()) })
    }

    fn month_at_or_after(&self, from: Month) -> Option<Month> {
        if let Some(month) = at_or_after(self.months.into(), unsigned(from.month)) {
            return Some(Month { month: i8::try_from(month).ok()?, ..from });
        }
        let year = Month { month: 12, ..from }.next()?;
        let month = self.months.trailing_zeros();
        Some(Month { month: i8::try_from(month).ok()?, ..year })
    }

    fn first_time(&self) -> Time {
        time(self.hours.trailing_zeros(), self.minutes.trailing_zeros(), self.seconds.trailing_zeros())
    }

    fn time_at_or_after(&self, from: DateTime) -> Option<Time> {
        let (hour, minute, second) = (unsigned(from.hour()), unsigned(from.minute()), unsigned(from.second()));
        let (first_minute, first_second) = (self.minutes.trailing_zeros(), self.seconds.trailing_zeros());
        if self.hours & (1 << hour) != 0 {
            if self.minutes & (1 << minute) != 0
                && let Some(second) = at_or_after(self.seconds, second)
            {
                return Some(time(hour, minute, second));
            }
            if let Some(minute) = at_or_after(self.minutes, minute + 1) {
                return Some(time(hour, minute, first_second));
            }
        }
        let hour = at_or_after(self.hours.into(), hour + 1)?;
        Some(time(hour, first_minute, first_second))
    }
}

fn time(hour: u32, minute: u32, second: u32) -> Time {
    let part = |value: u32| i8::try_from(value).expect("parts of a time are below 60");
    Time::new(part(hour), part(minute), part(second), 0).expect("bits are set only within a field's limits")
}

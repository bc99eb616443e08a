//! Which days of a month match: bit n of a `u32` is day n.

use super::CronExpr;

/// The day-of-month field.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct DaysOfMonth {
    /// Bit n: day n.
    pub(super) days: u32,
    /// Bit n: n days before the last.
    pub(super) from_end: u32,
    /// Bit n: the weekday nearest to day n.
    pub(super) nearest_weekday: u32,
    /// The last weekday.
    pub(super) last_weekday: bool,
}

/// The day-of-week field. Bit n: weekday n, Sunday is 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct DaysOfWeek {
    /// All of the month's.
    pub(super) days: u8,
    /// The month's last.
    pub(super) last: u8,
    /// At index n: the month's (n + 1)th.
    pub(super) nth: [u8; 5],
}

/// A month, as far as its days are concerned.
#[derive(Clone, Copy, Debug)]
pub(super) struct MonthShape {
    /// Weekday of the first, Sunday is 0.
    pub(super) first_weekday: u32,
    /// 28 to 31.
    pub(super) length: u32,
}

/// Days 1, 8, 15, 22, 29.
const WEEKLY: u32 = 1 << 1 | 1 << 8 | 1 << 15 | 1 << 22 | 1 << 29;
const SUNDAY: u32 = 0;
const SATURDAY: u32 = 6;

/// Set bits from the lowest on.
pub(super) fn ones(mut bits: u32) -> impl Iterator<Item = u32> {
    std::iter::from_fn(move || {
        let lowest = bits.trailing_zeros();
        bits &= bits.wrapping_sub(1);
        (lowest < 32).then_some(lowest)
    })
}

impl MonthShape {
    /// All days.
    const fn mask(self) -> u32 {
        (u32::MAX >> (31 - self.length)) & !1
    }

    const fn weekday(self, day: u32) -> u32 {
        (self.first_weekday + day - 1) % 7
    }

    const fn all_of(self, weekday: u32) -> u32 {
        (WEEKLY << ((weekday + 7 - self.first_weekday) % 7)) & self.mask()
    }

    /// The day from Monday to Friday nearest to `day`, within the month.
    const fn nearest_weekday(self, day: u32) -> u32 {
        match self.weekday(day) {
            SATURDAY if day == 1 => 3,
            SATURDAY => day - 1,
            SUNDAY if day == self.length => day - 2,
            SUNDAY => day + 1,
            _ => day,
        }
    }

    /// The last day from Monday to Friday.
    const fn last_weekday(self) -> u32 {
        match self.weekday(self.length) {
            SATURDAY => self.length - 1,
            SUNDAY => self.length - 2,
            _ => self.length,
        }
    }
}

impl DaysOfMonth {
    fn in_month(&self, month: MonthShape) -> u32 {
        let mut days = self.days;
        for before_last in ones(self.from_end) {
            if before_last < month.length {
                days |= 1 << (month.length - before_last);
            }
        }
        for day in ones(self.nearest_weekday & month.mask()) {
            days |= 1 << month.nearest_weekday(day);
        }
        if self.last_weekday {
            days |= 1 << month.last_weekday();
        }
        days & month.mask()
    }
}

impl DaysOfWeek {
    fn in_month(&self, month: MonthShape) -> u32 {
        let mut days = 0;
        for weekday in ones(self.days.into()) {
            days |= month.all_of(weekday);
        }
        for weekday in ones(self.last.into()) {
            days |= 1 << month.all_of(weekday).ilog2();
        }
        for (nth, weekdays) in self.nth.iter().enumerate() {
            for weekday in ones((*weekdays).into()) {
                if let Some(day) = ones(month.all_of(weekday)).nth(nth) {
                    days |= 1 << day;
                }
            }
        }
        days
    }
}

impl CronExpr {
    /// The matching days of a month of this shape, if the month itself matches.
    pub(super) fn days_in(&self, month: MonthShape) -> u32 {
        let by_month = self.days_of_month.in_month(month);
        let by_week = self.days_of_week.in_month(month);
        if self.both_days { by_month & by_week } else { by_month | by_week }
    }

    /// Tries the 14 different years that the calendar has.
    pub(super) fn matches_some_day(&self) -> bool {
        (0..7).any(|first_weekday| [28, 29].into_iter().any(|february| self.matches_in_year(first_weekday, february)))
    }

    fn matches_in_year(&self, mut first_weekday: u32, february: u32) -> bool {
        let lengths = [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
        (1..=12).zip(lengths).any(|(month, length)| {
            let shape = MonthShape { first_weekday, length };
            first_weekday = (first_weekday + length) % 7;
            self.months & (1 << month) != 0 && self.days_in(shape) != 0
        })
    }
}

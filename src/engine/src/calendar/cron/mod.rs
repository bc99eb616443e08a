//! Cron expressions: parsing, and which local times they match.
//!
//! Five fields (`minute hour day-of-month month day-of-week`), six with `second` in front, or a
//! nickname: `@yearly @annually @monthly @weekly @daily @midnight @hourly`. A field is a list,
//! separated by commas, of:
//!
//! | item | where | meaning |
//! |---|---|---|
//! | `*` | everywhere | every value; `?` is the same, in the two day fields |
//! | `5`, `MON`, `JAN` | everywhere; names for months and weekdays | that value; Sunday is 0 or 7 |
//! | `1-5` | everywhere | from, to, both included |
//! | `22-2`, `FRI-MON`, `NOV-FEB` | all but day of month | a range round the end: 22, 23, 0, 1, 2 |
//! | `*/5`, `1-30/2` | everywhere | every fifth value of the range, counted from its start |
//! | `5/10` | everywhere | from 5 to the end of the field in steps of 10 |
//! | `L`, `L-3` | day of month | the last day of the month; three days before it |
//! | `15W` | day of month | the weekday (Monday to Friday) of that month nearest to the 15th |
//! | `LW` | day of month | the last weekday (Monday to Friday) of the month |
//! | `5L`, `FRIL` | day of week | the last Friday of the month |
//! | `5#2`, `FRI#2` | day of week | the second Friday of the month |
//!
//! A range round the end of the days of a month is refused, since months differ in length:
//! write `25-31,1-5`. So are steps greater than the field's number of values: `*/90` minutes
//! would not mean what it seems to. `31W` matches nothing in a month of 30 days.
//!
//! Upper and lower case are alike. As in Vixie's cron, where both day fields are restricted
//! (neither starts with `*` or `?`), a day matches when *either* does; otherwise when both do.
//! An expression that can match no day of any year (`0 0 30 2 *`) is refused.

mod days;
mod error;
mod field;
mod item;
mod search;
#[cfg(test)]
mod tests;

use std::{fmt, str::FromStr, sync::Arc};

pub use error::{CronField, CronProblem, InvalidCron};

use self::{
    days::{DaysOfMonth, DaysOfWeek},
    field::FieldText,
};

/// Bytes of a cron expression.
pub const CRON_EXPRESSION_BYTES_MAX: usize = 1024;

/// A cron expression that matches at least some local times. Cheap to clone. Equal are those of
/// equal text; `@daily` and `0 0 * * *` are not.
#[derive(Clone)]
pub struct CronExpr {
    text: Arc<str>,
    /// Bit n: value n.
    seconds: u64,
    minutes: u64,
    hours: u32,
    months: u16,
    days_of_month: DaysOfMonth,
    days_of_week: DaysOfWeek,
    /// One of the day fields starts with `*`: a day must match both.
    both_days: bool,
    fixed_time: bool,
    extended: bool,
}

const NICKNAMES: [(&str, &str); 7] = [
    ("@yearly", "0 0 1 1 *"),
    ("@annually", "0 0 1 1 *"),
    ("@monthly", "0 0 1 * *"),
    ("@weekly", "0 0 * * 0"),
    ("@daily", "0 0 * * *"),
    ("@midnight", "0 0 * * *"),
    ("@hourly", "0 * * * *"),
];

const FIELDS: [CronField; 6] = [
    CronField::Second,
    CronField::Minute,
    CronField::Hour,
    CronField::DayOfMonth,
    CronField::Month,
    CronField::DayOfWeek,
];

impl CronExpr {
    /// Parses an expression of five or six fields, or a nickname.
    ///
    /// # Errors
    /// Names the field, the part of it that is wrong and where it stands, and what is allowed;
    /// refuses what can never match.
    pub fn parse(text: &str) -> Result<Self, InvalidCron> {
        if text.len() > CRON_EXPRESSION_BYTES_MAX {
            let problem = CronProblem::TooLong { bytes: text.len(), max: CRON_EXPRESSION_BYTES_MAX };
            return Err(InvalidCron::whole(text, problem));
        }
        let trimmed = text.trim();
        if trimmed.starts_with('@') {
            return Self::parse_nickname(trimmed);
        }
        let fields = split_fields(text);
        match fields.len() {
            5 | 6 => Self::parse_fields(text, &fields),
            0 => Err(InvalidCron::whole(text, CronProblem::Empty)),
            count => Err(InvalidCron::whole(trimmed, CronProblem::FieldCount { count })),
        }
    }

    fn parse_nickname(text: &str) -> Result<Self, InvalidCron> {
        let lower = text.to_ascii_lowercase();
        let Some((name, fields)) = NICKNAMES.into_iter().find(|(name, _)| *name == lower) else {
            let problem = if lower == "@reboot" { CronProblem::Reboot } else { CronProblem::Nickname };
            return Err(InvalidCron::whole(text, problem));
        };
        let plain = Self::parse(fields)?;
        Ok(Self { text: name.into(), extended: text != name, ..plain })
    }

    fn parse_fields(text: &str, fields: &[(usize, &str)]) -> Result<Self, InvalidCron> {
        let mut parsed = Self {
            text: canonical(fields).into(),
            seconds: 1,
            minutes: 0,
            hours: 0,
            months: 0,
            days_of_month: DaysOfMonth::default(),
            days_of_week: DaysOfWeek::default(),
            both_days: false,
            fixed_time: true,
            extended: fields.len() == 6,
        };
        let names = FIELDS.into_iter().skip(FIELDS.len() - fields.len());
        for (name, &(position, part)) in names.zip(fields) {
            parsed.set_field(&FieldText { field: name, text: part, position })?;
        }
        if parsed.matches_some_day() {
            Ok(parsed)
        } else {
            Err(InvalidCron::whole(text.trim(), CronProblem::NeverMatches))
        }
    }

    fn set_field(&mut self, field: &FieldText<'_>) -> Result<(), InvalidCron> {
        let star = field.text.starts_with(['*', '?']);
        let parsed = field.parse()?;
        self.extended |= parsed.extended;
        match field.field {
            CronField::Second => self.seconds = parsed.values,
            CronField::Minute => {
                self.minutes = parsed.values;
                self.fixed_time &= !star;
            }
            CronField::Hour => {
                self.hours = low_32(parsed.values);
                self.fixed_time &= !star;
            }
            CronField::Month => self.months = u16::try_from(parsed.values).expect("months are bits 1 to 12"),
            CronField::DayOfMonth => {
                self.days_of_month = parsed.days_of_month();
                self.both_days |= star;
            }
            CronField::DayOfWeek => {
                self.days_of_week = parsed.days_of_week();
                self.both_days |= star;
            }
        }
        Ok(())
    }

    /// The expression, with single blanks between fields and names in capitals.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Neither the minute nor the hour field starts with `*`; see the
    /// [module](crate::calendar) on what that means where local time is shifted.
    pub fn is_fixed_time(&self) -> bool {
        self.fixed_time
    }

    /// Uses something that the cron daemons of Debian and of cronie would refuse, or read
    /// differently: seconds, `L`, `W`, `#`, `?`, `5/10`, ranges round the end, nicknames in capitals.
    pub fn is_extended(&self) -> bool {
        self.extended
    }
}

fn low_32(bits: u64) -> u32 {
    u32::try_from(bits).expect("hours and days are below bit 32")
}

/// The fields with the byte at which each starts.
fn split_fields(text: &str) -> Vec<(usize, &str)> {
    text.trim()
        .split([' ', '\t'])
        .filter(|part| !part.is_empty())
        .map(|part| {
            let position = part.as_ptr().addr() - text.as_ptr().addr();
            (position, part)
        })
        .collect()
}

fn canonical(fields: &[(usize, &str)]) -> String {
    let parts: Vec<_> = fields.iter().map(|(_, part)| part.to_ascii_uppercase()).collect();
    parts.join(" ")
}

impl PartialEq for CronExpr {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for CronExpr {}

impl FromStr for CronExpr {
    type Err = InvalidCron;

    fn from_str(text: &str) -> Result<Self, InvalidCron> {
        Self::parse(text)
    }
}

impl fmt::Display for CronExpr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for CronExpr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CronExpr({})", self.text)
    }
}

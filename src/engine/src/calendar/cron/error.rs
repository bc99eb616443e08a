//! Why an expression is refused.

use std::fmt;

/// A field of a cron expression.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CronField {
    /// 0 to 59.
    Second,
    /// 0 to 59.
    Minute,
    /// 0 to 23.
    Hour,
    /// 1 to 31.
    DayOfMonth,
    /// 1 to 12, or JAN to DEC.
    Month,
    /// 0 to 7, where both 0 and 7 are Sunday, or SUN to SAT.
    DayOfWeek,
}

impl CronField {
    /// Least and greatest value that may be written.
    pub const fn limits(self) -> (u32, u32) {
        match self {
            Self::Second | Self::Minute => (0, 59),
            Self::Hour => (0, 23),
            Self::DayOfMonth => (1, 31),
            Self::Month => (1, 12),
            Self::DayOfWeek => (0, 7),
        }
    }

    /// Number of different values, which is also the greatest step.
    pub const fn span(self) -> u32 {
        match self {
            Self::DayOfWeek => 7,
            _ => self.limits().1 - self.limits().0 + 1,
        }
    }

    pub(super) const fn names(self) -> &'static [&'static str] {
        match self {
            Self::Month => &["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"],
            Self::DayOfWeek => &["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"],
            _ => &[],
        }
    }

    const fn allowed(self) -> &'static str {
        match self {
            Self::Second | Self::Minute => "0 to 59",
            Self::Hour => "0 to 23",
            Self::DayOfMonth => "1 to 31",
            Self::Month => "1 to 12 or JAN to DEC",
            Self::DayOfWeek => "0 to 7 (0 and 7 are Sunday) or SUN to SAT",
        }
    }
}

impl fmt::Display for CronField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Second => "second",
            Self::Minute => "minute",
            Self::Hour => "hour",
            Self::DayOfMonth => "day of month",
            Self::Month => "month",
            Self::DayOfWeek => "day of week",
        })
    }
}

/// What is wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CronProblem {
    /// Nothing is there.
    #[error("is empty")]
    Empty,
    /// A value is missing: before, behind or between the separators.
    #[error("is incomplete: a value is missing")]
    Incomplete,
    /// The expression is too long.
    #[error("has {bytes} bytes, at most {max} are allowed")]
    TooLong {
        /// How many there are.
        bytes: usize,
        /// How many there may be.
        max: usize,
    },
    /// Neither five nor six fields.
    #[error(
        "has {count} fields, but must have 5 (minute, hour, day of month, month, day of week), or 6 with seconds in front"
    )]
    FieldCount {
        /// How many there are.
        count: usize,
    },
    /// No known name after the `@`.
    #[error("is not one of @yearly, @annually, @monthly, @weekly, @daily, @midnight, @hourly")]
    Nickname,
    /// `@reboot` has no place in time.
    #[error(
        "means the start of a machine, which is no instant that a schedule could name: let that machine's init run the command, such as a systemd unit"
    )]
    Reboot,
    /// Neither a number nor a name.
    #[error("is not a value: must be {}", .0.allowed())]
    NotAValue(CronField),
    /// A number outside of the field's limits.
    #[error("is out of range: must be {}", .0.allowed())]
    OutOfRange(CronField),
    /// A step of nothing, or of more than the field has.
    #[error("is not a step: must be 1 to {max}")]
    Step {
        /// Greatest step of the field.
        max: u32,
    },
    /// A day range that would run round the end of the month.
    #[error("runs backwards: months differ in length, so write the two parts, such as 25-31,1-5")]
    Backwards,
    /// The n of `MON#n`.
    #[error("is not a week of the month: must be 1 to 5")]
    Nth,
    /// The n of `L-n`.
    #[error("is too far from the end of the month: must be 0 to 30 days")]
    FromEnd,
    /// `L`, `W`, `#` or `?` where it means nothing.
    #[error("is not allowed here: {0}")]
    Misplaced(&'static str),
    /// A random value, as OpenBSD and cronie know it.
    #[error("asks for a random value, which would differ from node to node: choose one")]
    Random,
    /// No day of any year matches.
    #[error("never happens: none of its months has such a day")]
    NeverMatches,
}

/// A cron expression is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidCron {
    /// The field; `None` when it is about the whole expression.
    pub field: Option<CronField>,
    /// The part that is wrong, cut to 64 characters.
    pub value: String,
    /// Byte of the expression, from 0, at which that part starts.
    pub position: usize,
    /// What is wrong with it.
    pub problem: CronProblem,
}

impl InvalidCron {
    pub(super) fn whole(value: &str, problem: CronProblem) -> Self {
        Self { field: None, value: cut(value), position: 0, problem }
    }

    pub(super) fn part(field: CronField, value: &str, position: usize, problem: CronProblem) -> Self {
        Self { field: Some(field), value: cut(value), position, problem }
    }
}

fn cut(value: &str) -> String {
    value.chars().take(64).collect()
}

impl std::error::Error for InvalidCron {}

impl fmt::Display for InvalidCron {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { field, value, position, problem } = self;
        match field {
            Some(field) => write!(f, "{field}: `{value}` at column {} {problem}", position + 1),
            None => write!(f, "cron expression `{value}` {problem}"),
        }
    }
}

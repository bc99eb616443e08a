//! Rules and their occurrences.

use std::{fmt, time::Duration};

use super::{CronExpr, Zone, resolve::next_instant};
use crate::{
    Timestamp,
    limits::{INTERVAL_MAX, INTERVAL_MIN},
};

/// A distance between occurrences: 1 s to 366 days in whole milliseconds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Every {
    ms: u64,
}

/// The distance is out of bounds.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("every is {value:?}, but must be 1 s to 366 days in whole milliseconds")]
pub struct InvalidEvery {
    /// What was given.
    pub value: Duration,
}

impl Every {
    /// # Errors
    /// When it is not from 1 s to 366 days, or has parts of a millisecond.
    pub fn new(value: Duration) -> Result<Self, InvalidEvery> {
        let whole = value.subsec_nanos().is_multiple_of(1_000_000);
        match u64::try_from(value.as_millis()) {
            Ok(ms) if whole && (INTERVAL_MIN..=INTERVAL_MAX).contains(&value) => Ok(Self { ms }),
            _ => Err(InvalidEvery { value }),
        }
    }

    /// Milliseconds.
    pub const fn as_millis(self) -> u64 {
        self.ms
    }

    /// As a span of time.
    pub const fn duration(self) -> Duration {
        Duration::from_millis(self.ms)
    }
}

impl fmt::Debug for Every {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Every({:?})", self.duration())
    }
}

/// What makes occurrences.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rule {
    /// The local times of a zone that an expression matches.
    Cron {
        /// The expression.
        expr: CronExpr,
        /// Where it is read.
        zone: Zone,
    },
    /// `anchor`, `anchor + every`, `anchor + 2 * every`, ..., in elapsed time, for ever.
    Interval {
        /// From one to the next.
        every: Every,
        /// The first.
        anchor: Timestamp,
    },
}

impl Rule {
    /// The first occurrence strictly after `after`; `None` when there is none up to the end of
    /// the year 9999. A search by fields, not by trial: about a microsecond, whatever the rule.
    pub fn next_after(&self, after: Timestamp) -> Option<Timestamp> {
        match self {
            Self::Cron { expr, zone } => next_cron(expr, zone, after),
            Self::Interval { every, anchor } => next_interval(*every, *anchor, after),
        }
    }

    /// All occurrences strictly after `after`, in order.
    pub fn upcoming(&self, after: Timestamp) -> Upcoming<'_> {
        Upcoming { rule: self, after }
    }
}

fn next_cron(expr: &CronExpr, zone: &Zone, after: Timestamp) -> Option<Timestamp> {
    // Occurrences are whole seconds: later than a part of a second is later than the second.
    let second = after.unix_ms().div_euclid(1000);
    if second > jiff::Timestamp::MAX.as_second() {
        return None;
    }
    let second = jiff::Timestamp::from_second(second).unwrap_or(jiff::Timestamp::MIN);
    let next = next_instant(expr, zone.tz(), second)?;
    Some(Timestamp::from_unix_ms(next.as_millisecond()))
}

fn next_interval(every: Every, anchor: Timestamp, after: Timestamp) -> Option<Timestamp> {
    if after < anchor {
        return Some(anchor);
    }
    let every = i128::from(every.ms);
    let anchor = i128::from(anchor.unix_ms());
    let passed = (i128::from(after.unix_ms()) - anchor) / every;
    let next = anchor + (passed + 1) * every;
    i64::try_from(next).ok().map(Timestamp::from_unix_ms)
}

/// The occurrences of a rule from some instant on.
#[derive(Clone, Debug)]
pub struct Upcoming<'a> {
    rule: &'a Rule,
    after: Timestamp,
}

impl Iterator for Upcoming<'_> {
    type Item = Timestamp;

    fn next(&mut self) -> Option<Timestamp> {
        let next = self.rule.next_after(self.after)?;
        assert!(next > self.after, "an occurrence lies after the one before it");
        self.after = next;
        Some(next)
    }
}

#[cfg(test)]
#[path = "rule_tests.rs"]
mod tests;

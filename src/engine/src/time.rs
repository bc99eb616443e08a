//! Instants. Wall time ([`Timestamp`]) is stored and compared with due instants;
//! monotonic time ([`Monotonic`]) measures, and is never stored.

use std::{fmt, time::Duration};

/// An instant of UTC in whole milliseconds since 1970-01-01T00:00:00Z, leap seconds not counted.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The start of Unix time.
    pub const UNIX_EPOCH: Self = Self(0);
    /// Later than every instant in use.
    pub const MAX: Self = Self(i64::MAX);
    /// Earlier than every instant in use.
    pub const MIN: Self = Self(i64::MIN);

    /// From milliseconds since the epoch.
    pub const fn from_unix_ms(ms: i64) -> Self {
        Self(ms)
    }

    /// From seconds and nanoseconds; a part of a millisecond counts as a whole one, so that
    /// nothing becomes earlier. `None` when out of range or `nanos` is above 999,999,999.
    pub fn from_unix_parts_ceil(seconds: i64, nanos: u32) -> Option<Self> {
        if nanos > 999_999_999 {
            return None;
        }
        let ms = i64::from(nanos.div_ceil(1_000_000));
        seconds.checked_mul(1000)?.checked_add(ms).map(Self)
    }

    /// Milliseconds since the epoch.
    pub const fn unix_ms(self) -> i64 {
        self.0
    }

    /// This much later; stops at [`Timestamp::MAX`]. A part of a millisecond counts as a whole one.
    #[must_use]
    pub fn saturating_add(self, span: Duration) -> Self {
        Self(self.0.saturating_add(millis_ceil(span)))
    }

    /// This much earlier; stops at [`Timestamp::MIN`].
    #[must_use]
    pub fn saturating_sub(self, span: Duration) -> Self {
        Self(self.0.saturating_sub(millis_ceil(span)))
    }

    /// Time from `earlier` to here; zero if that is in fact later.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

fn millis_ceil(span: Duration) -> i64 {
    let ms = span.as_nanos().div_ceil(1_000_000);
    i64::try_from(ms).unwrap_or(i64::MAX)
}

impl fmt::Display for Timestamp {
    /// RFC 3339 in UTC with milliseconds.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_millisecond(self.0) {
            Ok(at) => write!(f, "{at:.3}"),
            Err(_) => write!(f, "{}ms", self.0),
        }
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A reading of one process's monotonic clock, in nanoseconds since some instant of its own.
/// Readings of two processes cannot be compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Monotonic(u64);

impl Monotonic {
    /// The instant that the clock counts from.
    pub const ZERO: Self = Self(0);

    /// From nanoseconds.
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since the clock's own start.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// Whole milliseconds since the clock's own start.
    pub const fn as_millis(self) -> u64 {
        self.0 / 1_000_000
    }

    /// This much later.
    #[must_use]
    pub fn saturating_add(self, span: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)))
    }

    /// Time from `earlier` to here; zero if that is in fact later.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_of_a_millisecond_never_makes_an_instant_earlier() {
        let check = |seconds, nanos, ms| {
            assert_eq!(Timestamp::from_unix_parts_ceil(seconds, nanos).map(Timestamp::unix_ms), ms);
        };
        check(1, 0, Some(1000));
        check(1, 1, Some(1001));
        check(1, 999_999_999, Some(2000));
        check(-1, 500_000_000, Some(-500));
        check(1, 1_000_000_000, None);
        check(i64::MAX, 0, None);
    }

    #[test]
    fn timestamps_read_as_rfc_3339() {
        assert_eq!(Timestamp::from_unix_ms(1_794_000_000_123).to_string(), "2026-11-06T21:20:00.123Z");
    }
}

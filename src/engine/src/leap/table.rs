//! The leap seconds that are known, and until when nothing can be missing.

use std::{sync::OnceLock, time::Duration};

use crate::Timestamp;

/// Seconds from 1900-01-01 to 1970-01-01.
const NTP_TO_UNIX: i64 = 2_208_988_800;

/// The age of the table is a matter for people this long before its expiry. IERS tells half a
/// year ahead, so a release with a newer table has been there for months by then.
pub const EXPIRY_WARNING: Duration = Duration::from_secs(60 * 86_400);

/// What a leap second does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sign {
    /// 23:59:60 is inserted.
    Insert,
    /// 23:59:59 is left out.
    Delete,
}

/// One leap second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leap {
    /// 00:00:00 of the day after it, so the end of an inserted second.
    pub at: Timestamp,
    /// What it does.
    pub sign: Sign,
}

/// How current a table is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TableAge {
    /// It holds.
    Valid,
    /// It holds, but not for much longer than this.
    Expiring(Duration),
    /// A leap second may be missing.
    Expired,
}

/// The leap seconds that are known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeapTable {
    leaps: Vec<Leap>,
    expires: Timestamp,
}

/// A line that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line} of the leap second table is `{text}`, but must be {limit}")]
pub struct TableError {
    /// From 1.
    pub line: usize,
    /// As it is.
    pub text: String,
    /// What would be right.
    pub limit: &'static str,
}

impl LeapTable {
    /// The table that this version brings.
    pub fn embedded() -> &'static Self {
        static TABLE: OnceLock<LeapTable> = OnceLock::new();
        TABLE.get_or_init(|| {
            Self::parse(include_str!("leap-seconds.list")).expect("the table of this version can be read")
        })
    }

    /// These leap seconds, with nothing missing before `expires`.
    ///
    /// # Panics
    /// When they are not in order.
    pub fn new(leaps: Vec<Leap>, expires: Timestamp) -> Self {
        assert!(leaps.is_sorted_by(|a, b| a.at < b.at), "leap seconds are in order");
        Self { leaps, expires }
    }

    /// Reads the format of IERS's `leap-seconds.list`.
    ///
    /// # Errors
    /// Names the first line that cannot be read, or line 0 when the expiry is missing.
    pub fn parse(text: &str) -> Result<Self, TableError> {
        let mut leaps: Vec<Leap> = Vec::new();
        let mut difference: Option<i64> = None;
        let mut expires = None;
        for (n, line) in text.lines().enumerate() {
            let fail = |limit| TableError { line: n + 1, text: line.to_owned(), limit };
            if let Some(rest) = line.strip_prefix("#@") {
                expires = Some(ntp(rest.trim()).ok_or_else(|| fail("#@ and NTP seconds"))?);
                continue;
            }
            let facts = line.split('#').next().unwrap_or_default().trim();
            if facts.is_empty() {
                continue;
            }
            let parsed = facts.split_once(char::is_whitespace);
            let parsed = parsed.and_then(|(at, tai)| Some((ntp(at)?, tai.trim().parse::<i64>().ok()?)));
            let (at, tai) = parsed.ok_or_else(|| fail("NTP seconds and TAI - UTC in seconds"))?;
            if leaps.last().is_some_and(|last| last.at >= at) {
                return Err(fail("later than the line before"));
            }
            let sign = match difference.replace(tai).map(|before| tai - before) {
                // The first line only says what held from the beginning.
                None => continue,
                Some(1) => Sign::Insert,
                Some(-1) => Sign::Delete,
                Some(_) => return Err(fail("one second more or less than the line before")),
            };
            leaps.push(Leap { at, sign });
        }
        let missing = TableError { line: 0, text: String::new(), limit: "a table with a line #@ for its expiry" };
        Ok(Self { leaps, expires: expires.ok_or(missing)? })
    }

    /// Leap seconds, in order.
    pub fn leaps(&self) -> &[Leap] {
        &self.leaps
    }

    /// Until when nothing can be missing.
    pub fn expires(&self) -> Timestamp {
        self.expires
    }

    /// The first leap second that ends after `after`.
    pub fn next(&self, after: Timestamp) -> Option<Leap> {
        let n = self.leaps.partition_point(|leap| leap.at <= after);
        self.leaps.get(n).copied()
    }

    /// Whether this very leap second is listed.
    pub fn lists(&self, leap: Leap) -> bool {
        self.leaps.binary_search_by_key(&leap.at, |it| it.at).is_ok_and(|n| self.leaps[n].sign == leap.sign)
    }

    /// How current it is at `now`.
    pub fn age(&self, now: Timestamp) -> TableAge {
        let left = self.expires.since(now);
        if left.is_zero() {
            TableAge::Expired
        } else if left <= EXPIRY_WARNING {
            TableAge::Expiring(left)
        } else {
            TableAge::Valid
        }
    }
}

fn ntp(seconds: &str) -> Option<Timestamp> {
    let unix = seconds.parse::<i64>().ok()?.checked_sub(NTP_TO_UNIX)?;
    unix.checked_mul(1000).map(Timestamp::from_unix_ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_embedded_table_has_every_leap_second_since_1972() {
        let table = LeapTable::embedded();
        assert_eq!(table.leaps().len(), 27);
        assert!(table.leaps().iter().all(|leap| leap.sign == Sign::Insert));
        // Independent of the file: the ends of June and December, and nothing else.
        for leap in table.leaps() {
            let text = leap.at.to_string();
            assert!(text.ends_with("-01-01T00:00:00.000Z") || text.ends_with("-07-01T00:00:00.000Z"), "{text}");
        }
        let last = table.leaps().last().unwrap().at.to_string();
        assert_eq!(
            (last.as_str(), table.expires().to_string().as_str()),
            ("2017-01-01T00:00:00.000Z", "2027-06-28T00:00:00.000Z")
        );
    }

    #[test]
    fn a_table_warns_before_it_expires() {
        let table = LeapTable::embedded();
        let day = Duration::from_secs(86_400);
        assert_eq!(table.age(table.expires().saturating_sub(day * 61)), TableAge::Valid);
        assert_eq!(table.age(table.expires().saturating_sub(day * 60)), TableAge::Expiring(day * 60));
        assert_eq!(table.age(table.expires()), TableAge::Expired);
    }

    #[test]
    fn a_shrinking_difference_is_a_deleted_second() {
        let table = LeapTable::parse("#@ 4000000000\n3000000000 37 # start\n3100000000\t36").unwrap();
        let at = Timestamp::from_unix_ms((3_100_000_000 - NTP_TO_UNIX) * 1000);
        assert_eq!(table.leaps(), [Leap { at, sign: Sign::Delete }]);
        assert!(table.lists(table.leaps()[0]) && !table.lists(Leap { at, sign: Sign::Insert }));
        assert_eq!(
            (table.next(at), table.next(at.saturating_sub(Duration::from_millis(1))).map(|it| it.at)),
            (None, Some(at))
        );
    }

    #[test]
    fn a_line_that_cannot_be_read_is_named() {
        let check = |text, line, limit| {
            let error = LeapTable::parse(text).unwrap_err();
            assert_eq!((error.line, error.limit), (line, limit));
        };
        check("3000000000 37", 0, "a table with a line #@ for its expiry");
        check("#@ soon", 1, "#@ and NTP seconds");
        check("#@ 1\n3000000000", 2, "NTP seconds and TAI - UTC in seconds");
        check("#@ 1\n3000000000 37\n3000000001 39", 3, "one second more or less than the line before");
        check("#@ 1\n3000000000 37\n3000000001 38\n3000000001 39", 4, "later than the line before");
    }
}

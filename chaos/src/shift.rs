//! Instants at which a zone's clock is set, and schedules that meet them: what S6 is about
//! shows there only.

use serde::{Deserialize, Serialize};

/// A change of a zone's offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Shift {
    /// 2026-03-29: 02:00 to 03:00 is left out.
    BerlinGap,
    /// 2026-10-25: 02:00 to 03:00 is shown twice.
    BerlinFold,
    /// 2026-03-08: 02:00 to 03:00 is left out.
    NewYorkGap,
    /// 2026-11-01: 01:00 to 02:00 is shown twice.
    NewYorkFold,
    /// 2026-10-04: 02:00 to 02:30 is left out.
    LordHoweGap,
    /// 2026-04-05: 01:30 to 02:00 is shown twice.
    LordHoweFold,
}

impl Shift {
    /// All of them.
    pub const ALL: &'static [Self] = &[
        Self::BerlinGap,
        Self::BerlinFold,
        Self::NewYorkGap,
        Self::NewYorkFold,
        Self::LordHoweGap,
        Self::LordHoweFold,
    ];

    /// The first instant with the new offset, Unix milliseconds.
    pub const fn at_unix_ms(self) -> i64 {
        match self {
            Self::BerlinGap => 1_774_746_000_000,
            Self::BerlinFold => 1_792_890_000_000,
            Self::NewYorkGap => 1_772_953_200_000,
            Self::NewYorkFold => 1_793_512_800_000,
            Self::LordHoweGap => 1_791_041_400_000,
            Self::LordHoweFold => 1_775_314_800_000,
        }
    }

    /// IANA name of the zone.
    pub const fn zone(self) -> &'static str {
        match self {
            Self::BerlinGap | Self::BerlinFold => "Europe/Berlin",
            Self::NewYorkGap | Self::NewYorkFold => "America/New_York",
            Self::LordHoweGap | Self::LordHoweFold => "Australia/Lord_Howe",
        }
    }

    /// A fixed-time expression. Some of its times are left out, and some follow within seconds;
    /// or some come just before the second pass, and the same again as its first.
    pub const fn fixed(self) -> &'static str {
        match self {
            Self::BerlinGap | Self::NewYorkGap => "2,5,8,12,17,23 0 2,3 * * *",
            Self::LordHoweGap => "2,5,8,12,17,23 0,30 2 * * *",
            Self::BerlinFold => "*/3 0,59 2 * * *",
            Self::NewYorkFold => "*/3 0,59 1 * * *",
            Self::LordHoweFold => "*/3 30,59 1 * * *",
        }
    }

    /// One that follows elapsed time: it is due whenever the local time matches.
    pub const fn elapsed(self) -> &'static str {
        match self {
            Self::BerlinGap | Self::NewYorkGap | Self::BerlinFold | Self::NewYorkFold => "*/5 * 1-3 * * *",
            Self::LordHoweGap | Self::LordHoweFold => "*/5 * 1,2 * * *",
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::Shift::{self, *};
    use crate::checkers::oracle::Rule;

    /// Occurrences within half a minute of the shift, in seconds from it.
    fn around(shift: Shift, expr: &str) -> Vec<i64> {
        let rule = Rule::Cron { expr: expr.to_owned(), zone: shift.zone().to_owned() };
        let at = shift.at_unix_ms();
        let due: BTreeSet<i64> = rule.between(at - 10_001, at + 30_000).unwrap();
        due.into_iter().map(|due| (due - at) / 1000).collect()
    }

    #[test]
    fn what_a_gap_leaves_out_is_due_at_its_end_and_more_follows_soon() {
        for gap in [BerlinGap, NewYorkGap, LordHoweGap] {
            assert_eq!(around(gap, gap.fixed()), [0, 2, 5, 8, 12, 17, 23], "{gap:?}");
            assert_eq!(around(gap, gap.elapsed()), [-10, -5, 0, 5, 10, 15, 20, 25, 30], "{gap:?}");
        }
    }

    #[test]
    fn what_a_fold_repeats_is_due_in_its_first_pass_only_unless_it_follows_elapsed_time() {
        for fold in [BerlinFold, NewYorkFold, LordHoweFold] {
            assert_eq!(around(fold, fold.fixed()), [-9, -6, -3], "{fold:?}");
            assert_eq!(around(fold, fold.elapsed()), [-10, -5, 0, 5, 10, 15, 20, 25, 30], "{fold:?}");
        }
    }
}

//! What holds for a whole run, and how its true time relates to UTC.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::TrueTime;

/// The first line of a history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// Format of the file: 1.
    pub format: u32,
    /// Seed of the run; of its random choices where it was a run of real processes.
    pub seed: u64,
    /// Name of the scenario.
    pub scenario: String,
    /// How true time relates to UTC.
    pub scale: TimeScale,
    /// What the source of the history could see.
    pub sees: Sees,
    /// How much earlier than due a handler may start, in nanoseconds: what clocks may be
    /// wrong by beyond the bounds that they state. 0 while clocks are honest.
    #[serde(default)]
    pub early_ns_max: u64,
    /// Rates of all clocks stayed within bounds and no process was suspended: two sessions
    /// never run one task.
    pub rates_in_bounds: bool,
    /// Length of a worker session's lease, milliseconds.
    pub session_lease_ms: u64,
    /// After everything has healed, all that is due is over within this many milliseconds.
    pub drain_ms_max: u64,
    /// The transaction that fires a task may be in flight for as long as this, milliseconds, with all
    /// that can hold it up while faults last.
    #[serde(default)]
    pub fire_ms_max: u64,
    /// Queues that stay without workers, and queues whose every task is poison.
    #[serde(default)]
    pub dead_queues: Vec<String>,
}

impl Header {
    /// Least value of [`Header::fire_ms_max`] that counts, milliseconds: some round trips and some
    /// tries, when nothing holds a firing up.
    pub const FIRE_MS_MIN: u64 = 1000;

    /// Longest that a transaction of a scheduler is tried, milliseconds, before it is given up and begun
    /// anew: what holds one up while faults last does so for no longer after they have ended.
    pub const TRIED_MS_MAX: u64 = 31_000;
}

/// What a source of histories can see.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sees {
    /// Every commit, in commit order.
    pub commits: bool,
    /// Every row of the store at the end.
    pub rows: bool,
    /// Every task through the API at the end.
    pub tasks: bool,
    /// When handlers begin and end.
    pub handlers: bool,
}

/// A leap second: one second more, or one less, before the instant `unix_s`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leap {
    /// The first second after it, Unix seconds.
    pub unix_s: i64,
    /// +1: inserted; -1: deleted.
    pub sign: i8,
}

/// How true time relates to UTC.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimeScale {
    /// UTC at the beginning, Unix milliseconds.
    pub epoch_unix_ms: i64,
    /// Leap seconds after that.
    #[serde(default)]
    pub leaps: Vec<Leap>,
    /// Instants mean smeared time: 86,401 (86,399) true seconds are told as 86,400, from noon to noon.
    #[serde(default)]
    pub smeared: bool,
}

/// Half of a smear: from noon before the leap second to noon after it.
const SMEAR_HALF: Duration = Duration::from_secs(12 * 3600);

impl TimeScale {
    /// The true time of a UTC instant. The first true instant that bears the name: 23:59:60
    /// has none of its own, and the instant after it comes a second later than Unix time counts.
    /// What lies in a second that is left out comes with the second after it.
    /// `None` before the beginning.
    pub fn true_time(&self, unix_ms: i64) -> Option<TrueTime> {
        let mut nanos = (i128::from(unix_ms) - i128::from(self.epoch_unix_ms)) * 1_000_000;
        for leap in &self.leaps {
            nanos += self.shift(leap, i128::from(unix_ms) * 1_000_000);
        }
        u64::try_from(nanos).ok().map(TrueTime)
    }

    /// True nanoseconds that the leap adds before this instant.
    fn shift(&self, leap: &Leap, unix_ns: i128) -> i128 {
        let at = i128::from(leap.unix_s) * 1_000_000_000;
        let whole = i128::from(leap.sign) * 1_000_000_000;
        if !self.smeared {
            // A second that is left out has no instants: all its names mean its end.
            let left_out = unix_ns - (at + whole.min(0));
            return if unix_ns >= at { whole } else { -left_out.max(0) };
        }
        let half = i128::try_from(SMEAR_HALF.as_nanos()).unwrap_or(i128::MAX);
        let into = (unix_ns - (at - half)).clamp(0, 2 * half);
        whole * into / (2 * half)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scale(sign: i8, smeared: bool) -> TimeScale {
        TimeScale { epoch_unix_ms: 1_000_000_000, leaps: vec![Leap { unix_s: 1_000_100, sign }], smeared }
    }

    #[test]
    fn an_inserted_second_delays_what_comes_after_it_and_nothing_before() {
        let check = |sign, unix_ms, ns| assert_eq!(scale(sign, false).true_time(unix_ms), ns, "{sign} {unix_ms}");
        check(1, 1_000_000_000, Some(TrueTime(0)));
        check(1, 1_000_099_999, Some(TrueTime(99_999_000_000)));
        check(1, 1_000_100_000, Some(TrueTime(101_000_000_000)));
        check(-1, 1_000_098_999, Some(TrueTime(98_999_000_000)));
        check(-1, 1_000_099_000, Some(TrueTime(99_000_000_000)));
        check(-1, 1_000_099_700, Some(TrueTime(99_000_000_000)));
        check(-1, 1_000_100_000, Some(TrueTime(99_000_000_000)));
        check(1, 999_999_999, None);
    }

    #[test]
    fn a_smear_spreads_the_second_from_noon_to_noon() {
        let noon_before = (1_000_100 - 12 * 3600) * 1000;
        let scale = TimeScale { epoch_unix_ms: noon_before, ..scale(1, true) };
        let at = |ms_after_noon: i64| scale.true_time(noon_before + ms_after_noon).unwrap().0;
        assert_eq!(at(0), 0);
        assert_eq!(at(12 * 3_600_000), 12 * 3_600_000_000_000 + 500_000_000);
        assert_eq!(at(24 * 3_600_000), 24 * 3_600_000_000_000 + 1_000_000_000);
        assert_eq!(at(30 * 3_600_000), 30 * 3_600_000_000_000 + 1_000_000_000);
    }
}

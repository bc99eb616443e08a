//! True time: UTC with its leap second, as a function of what has elapsed since the run began.

use std::time::Duration;

use escapement_engine::Timestamp;

use super::plan::{ClockPlan, LeapSign, TrueLeap};

pub(super) const SECOND_NS: i128 = 1_000_000_000;

/// Converts between what has elapsed and UTC. Shares no code with the engine.
#[derive(Clone, Copy, Debug)]
pub struct Timeline {
    epoch_ms: i64,
    leap: Option<TrueLeap>,
}

impl Timeline {
    /// Of this plan.
    pub fn of(plan: &ClockPlan) -> Self {
        Self { epoch_ms: plan.epoch_unix_ms, leap: plan.leap }
    }

    /// True Unix nanoseconds as Linux counts them: 23:59:59 twice, or not at all.
    pub(super) fn unix_ns(&self, elapsed: i128) -> i128 {
        let free = i128::from(self.epoch_ms) * 1_000_000 + elapsed;
        match self.leap {
            Some(leap) if elapsed >= self.leap_begins(leap) => free + Self::shift(leap.sign),
            _ => free,
        }
    }

    /// The leap second that there is.
    pub(super) fn leap(&self) -> Option<TrueLeap> {
        self.leap
    }

    /// How much the count of seconds is set forward by a leap second.
    pub(super) fn shift(sign: LeapSign) -> i128 {
        match sign {
            LeapSign::Insert => -SECOND_NS,
            LeapSign::Delete => SECOND_NS,
        }
    }

    /// What has elapsed when a leap second changes the count.
    pub(super) fn leap_begins(&self, leap: TrueLeap) -> i128 {
        let at = i128::from(leap.at_unix_ms - self.epoch_ms) * 1_000_000;
        match leap.sign {
            LeapSign::Insert => at,
            LeapSign::Delete => at - SECOND_NS,
        }
    }

    /// When an instant of UTC comes, as what has elapsed since the run began; zero if it was before. An
    /// instant in a second that is left out comes with the next second.
    pub fn elapsed_at(&self, instant: Timestamp) -> Duration {
        let free = i128::from(instant.unix_ms() - self.epoch_ms) * 1_000_000;
        let elapsed = match self.leap {
            Some(TrueLeap { at_unix_ms, sign }) => match sign {
                LeapSign::Insert if instant.unix_ms() >= at_unix_ms => free + SECOND_NS,
                LeapSign::Delete if instant.unix_ms() >= at_unix_ms => free - SECOND_NS,
                LeapSign::Delete if instant.unix_ms() >= at_unix_ms - 1000 => {
                    i128::from(at_unix_ms - 1000 - self.epoch_ms) * 1_000_000
                }
                _ => free,
            },
            None => free,
        };
        Duration::from_nanos(u64::try_from(elapsed).unwrap_or(0))
    }

    /// True UTC of this moment as a clock on the wall shows it, with 23:59:60, in milliseconds.
    pub fn label(&self, elapsed: Duration) -> String {
        let elapsed = i128::from(u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX));
        let unix_ms = i64::try_from(self.unix_ns(elapsed).div_euclid(1_000_000)).unwrap_or(i64::MAX);
        let text = Timestamp::from_unix_ms(unix_ms).to_string();
        let time = text.split_once('T').map_or(text.as_str(), |(_, time)| time).trim_end_matches('Z').to_owned();
        let inserted = self.leap.is_some_and(|leap| {
            let begins = self.leap_begins(leap);
            leap.sign == LeapSign::Insert && (begins..begins + SECOND_NS).contains(&elapsed)
        });
        if inserted { time.replacen("23:59:59", "23:59:60", 1) } else { time }
    }
}

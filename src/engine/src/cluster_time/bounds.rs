//! What a machine says about its own clock.

use std::time::Duration;

use crate::Monotonic;

/// Growth of a disciplined clock's error between two corrections: 15 ppm, the frequency
/// tolerance of NTP (RFC 5905, `PHI`). The kernel's own figure grows by 500 ppm, the worst that a
/// clock without any discipline does; with a daemon that corrects each half hour that would be a
/// whole second.
pub const DISCIPLINED_PPM_MAX: u32 = 15;

/// Growth of the kernel's figure: 500 microseconds with each second (`MAXFREQ` in Linux).
const KERNEL_PPM: u32 = 500;

/// Whether somebody keeps a machine's clock right.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SyncState {
    /// A time daemon does, and the kernel knows it.
    Synchronised,
    /// The kernel says that nobody does, or a daemon does that does not tell the kernel.
    Unsynchronised,
    /// There is no such kernel interface here.
    #[default]
    Unknown,
}

/// What the kernel says about a leap second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LeapFlag {
    /// Nothing.
    #[default]
    None,
    /// At the end of this day of UTC one is inserted.
    Insert,
    /// At the end of this day of UTC one is deleted.
    Delete,
    /// One is being inserted at this moment.
    Inserting,
    /// One has been dealt with, and the announcement was not yet taken back.
    Done,
}

/// What a machine says about its own clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bounds {
    /// The clock is off by at most this much, says the machine. Zero where nobody knows: such a
    /// clock is taken at its word (see [`Discipline`]).
    pub error: Duration,
    /// Whether somebody keeps it right.
    pub sync: SyncState,
    /// Leap second announced.
    pub leap: LeapFlag,
}

/// One answer of the kernel (`adjtimex` of Linux).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KernelWord {
    /// `maxerror`, and what of a correction is still being slewed.
    pub error: Duration,
    /// Not `STA_UNSYNC`.
    pub synchronised: bool,
    /// Its clock state.
    pub leap: LeapFlag,
}

/// Makes error bounds of the kernel's answers.
///
/// The kernel's bound jumps down when a daemon corrects the clock, and then grows by 500 ppm. Here
/// it grows by [`DISCIPLINED_PPM_MAX`] instead.
///
/// A clock that nobody has kept right in the life of this process has no bound that anyone
/// knows. Laptops and containers are like this, and must work: such a clock is taken at its word, with
/// an error of zero, and its status says so. But a clock that *was* kept right goes on from its
/// last bound, which then grows without end: losing the time daemon never makes a clock look better.
#[derive(Clone, Copy, Debug, Default)]
pub struct Discipline {
    known: Option<Known>,
}

#[derive(Clone, Copy, Debug)]
struct Known {
    /// Bound when the daemon last corrected the clock, and when that was.
    fresh: (Duration, Monotonic),
    /// The kernel's figure at the last look, and when that was.
    raw: (Duration, Monotonic),
}

impl Discipline {
    /// The bounds at `now`, given the kernel's answer of this moment.
    pub fn observe(&mut self, word: KernelWord, now: Monotonic) -> Bounds {
        let sync = if word.synchronised { SyncState::Synchronised } else { SyncState::Unsynchronised };
        if word.synchronised {
            let known = self.known.get_or_insert(Known { fresh: (word.error, now), raw: (word.error, now) });
            // The kernel counts in whole seconds.
            let grown = known.raw.0 + aged(now.since(known.raw.1) + Duration::from_secs(2), KERNEL_PPM);
            if word.error < known.raw.0 || word.error > grown || word.error < known.error_at(now) {
                known.fresh = (word.error, now);
            }
            known.raw = (word.error, now);
        }
        Bounds { error: self.error_at(now), sync, leap: word.leap }
    }

    /// The error at `now`, if the kernel was not asked since.
    pub fn error_at(&self, now: Monotonic) -> Duration {
        self.known.as_ref().map_or(Duration::ZERO, |known| known.error_at(now))
    }
}

impl Known {
    fn error_at(&self, now: Monotonic) -> Duration {
        self.fresh.0 + aged(now.since(self.fresh.1), DISCIPLINED_PPM_MAX)
    }
}

/// What an error of `ppm` parts in a million amounts to after `span`, rounded up.
pub(super) fn aged(span: Duration, ppm: u32) -> Duration {
    let nanos = (span.as_nanos() * u128::from(ppm)).div_ceil(1_000_000);
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Monotonic {
        Monotonic::from_nanos(seconds * 1_000_000_000)
    }

    fn word(micros: u64, synchronised: bool) -> KernelWord {
        KernelWord { error: Duration::from_micros(micros), synchronised, leap: LeapFlag::None }
    }

    #[test]
    fn a_clock_that_nobody_keeps_right_is_taken_at_its_word() {
        let mut discipline = Discipline::default();
        let bounds = discipline.observe(word(16_000_000, false), at(1));
        assert_eq!(bounds, Bounds { error: Duration::ZERO, sync: SyncState::Unsynchronised, leap: LeapFlag::None });
    }

    #[test]
    fn the_bound_grows_by_15_ppm_from_the_last_correction() {
        let mut discipline = Discipline::default();
        let mut error = |micros, seconds| discipline.observe(word(micros, true), at(seconds)).error.as_micros();
        assert_eq!(error(2_000, 0), 2_000);
        // The kernel's figure has grown by half a second.
        assert_eq!(error(502_000, 1000), 17_000);
        // The daemon corrected the clock.
        assert_eq!(error(1_000, 1010), 1_000);
        // The daemon has become less sure: more than the kernel adds by itself.
        assert_eq!(error(100_000, 1020), 100_000);
    }

    #[test]
    fn losing_the_daemon_never_makes_a_clock_look_better() {
        let mut discipline = Discipline::default();
        discipline.observe(word(2_000, true), at(0));
        let bounds = discipline.observe(word(16_000_000, false), at(100_000));
        assert_eq!(bounds.error, Duration::from_millis(1502));
        assert_eq!(bounds.sync, SyncState::Unsynchronised);
    }
}

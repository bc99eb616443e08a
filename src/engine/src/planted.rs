//! Bugs on purpose: the simulation must find each of them, or it would not find one like it.
//!
//! A call site asks [`planted`] whether to do the wrong thing. Without the feature
//! `planted-bugs`, and in every build without debug assertions (so in every release build, whatever
//! its features), that is the constant `false` and nothing of it is compiled. With it, whoever runs
//! the program plants one bug by [`plant`], once, at the start: this crate reads no environment.
//!
//! A bug is one condition at one place, as a slip of the hand would be; its line says what
//! must catch it.

/// The environment variable in which programs that can plant bugs look for the name of one.
pub const VARIABLE: &str = "ESCAPEMENT_PLANTED_BUG";

macro_rules! bugs {
    ($($(#[doc = $what:literal])+ $variant:ident = $name:literal,)*) => {
        /// A bug that can be planted.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum Bug {
            $($(#[doc = $what])+ $variant,)*
        }

        impl Bug {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The name by which it is chosen.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }

            /// What it does, in a line.
            pub const fn what(self) -> &'static str {
                match self {
                    $(Self::$variant => concat!($($what),+),)*
                }
            }
        }
    };
}

bugs! {
    /// The next attempt gets the token of the last one (S3).
    TokenNotRaised = "token-not-raised",
    /// An owner's transactions do not check that the shards are still its own (S3, S8).
    FenceNotChecked = "fence-not-checked",
    /// The silence of a session is measured on the wall clock (S5).
    LeaseByWallClock = "lease-by-wall-clock",
    /// A session is taken for silent one renewal too early (S5).
    SessionExpiresEarly = "session-expires-early",
    /// A session that falls silent keeps what it holds (L1).
    SilentSessionKept = "silent-session-kept",
    /// A worker whose lease is out lets its handlers run on (S5).
    HandlersOutliveLease = "handlers-outlive-lease",
    /// A completion counts under any token (S4).
    CompletionNotChecked = "completion-not-checked",
    /// A completion that counted is refused when it comes again, as if it had not (S4).
    RepeatRefused = "repeat-refused",
    /// A cancellation leaves the lease of a running attempt (S4, S7).
    CancelLeavesLease = "cancel-leaves-lease",
    /// Firing leaves the due entry (S8).
    DueEntryLeft = "due-entry-left",
    /// The row of an earlier attempt is not kept (S9).
    HistoryRowDropped = "history-row-dropped",
    /// A retry begins to count attempts anew (S8, S9).
    RetryForgetsAttempts = "retry-forgets-attempts",
    /// One attempt more than the policy allows: `>` for `>=` (S9).
    AttemptsOffByOne = "attempts-off-by-one",
    /// The idempotency key of a submission is not written (S1).
    IdempotencyDropped = "idempotency-dropped",
    /// A submission whose commit was unknown is written again without a look (S4, S8).
    RetriedWithoutMarker = "retried-without-marker",
    /// A submission is acknowledged before its commit (S1, D1).
    AcknowledgedEarly = "acknowledged-early",
    /// What a lost hint left out is never looked for (L1).
    HintsTrusted = "hints-trusted",
    /// A better priority does not go first (S10).
    PriorityIgnored = "priority-ignored",
    /// The clock's best guess decides what is due, not its earliest (S2).
    BestGuessFires = "best-guess-fires",
    /// Nothing is held for a leap second (S2).
    LeapNotHeld = "leap-not-held",
    /// A fixed time that a fold shows twice is due twice (S6).
    FoldFiredTwice = "fold-fired-twice",
    /// A fixed time that a gap skips is lost (S6).
    GapLost = "gap-lost",
    /// Instants of a schedule that passed while the server was down are lost (S6).
    MissedInstantsLost = "missed-instants-lost",
    /// A pause is acknowledged and not made (S7).
    PauseLost = "pause-lost",
    /// A store of a newer format is served as if it had today's (FORMAT).
    NewerFormatServed = "newer-format-served",
}

impl Bug {
    /// The bug of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|bug| bug.name() == name)
    }
}

#[cfg(not(all(feature = "planted-bugs", debug_assertions)))]
mod switch {
    /// Whether this build can plant bugs.
    pub const CAN_PLANT: bool = false;

    /// Whether this bug is planted: never, in this build.
    #[inline(always)]
    pub const fn planted(_: super::Bug) -> bool {
        false
    }

    /// Plants nothing, in this build.
    pub const fn plant(_: Option<super::Bug>) {}
}

#[cfg(all(feature = "planted-bugs", debug_assertions))]
mod switch {
    use std::sync::atomic::{AtomicU8, Ordering::Relaxed};

    /// Whether this build can plant bugs.
    pub const CAN_PLANT: bool = true;

    const NONE: u8 = u8::MAX;
    static PLANTED: AtomicU8 = AtomicU8::new(NONE);

    /// Whether this bug is planted.
    pub fn planted(bug: super::Bug) -> bool {
        PLANTED.load(Relaxed) == bug as u8
    }

    /// Plants this bug in the whole process, in place of the one before; `None`: none.
    pub fn plant(bug: Option<super::Bug>) {
        PLANTED.store(bug.map_or(NONE, |bug| bug as u8), Relaxed);
    }
}

pub use switch::*;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bug_is_found_by_its_name_and_says_what_it_does() {
        for bug in Bug::ALL {
            assert_eq!(Bug::named(bug.name()), Some(*bug));
            assert!(bug.what().contains('('), "{bug:?} names what must catch it: {}", bug.what());
        }
        assert_eq!(Bug::named("none"), None);
    }

    #[test]
    fn nothing_is_planted_unless_somebody_plants_it() {
        assert!(Bug::ALL.iter().all(|bug| !planted(*bug)));
    }

    #[test]
    fn a_build_without_debug_assertions_plants_nothing() {
        assert_eq!(CAN_PLANT, cfg!(feature = "planted-bugs") && cfg!(debug_assertions));
    }
}

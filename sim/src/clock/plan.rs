//! What is wrong with each node's clock, as data that can be printed, edited and replayed.

use std::{collections::BTreeMap, fmt};

use rand::{RngExt as _, rngs::StdRng};
use serde::{Deserialize, Serialize};

/// Clocks of a whole run. Times named `at_ms` are true milliseconds since the run began.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClockPlan {
    /// True UTC when the run begins, in Unix milliseconds. The simulator's own cannot be chosen.
    pub epoch_unix_ms: i64,
    /// The leap second that there is in truth.
    pub leap: Option<TrueLeap>,
    /// Nodes by name. One that is not named has a clock that is right, and was told of the leap second.
    pub nodes: BTreeMap<String, NodePlan>,
}

/// A leap second.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrueLeap {
    /// 00:00:00 after it, in Unix milliseconds.
    pub at_unix_ms: i64,
    /// What it does.
    pub sign: LeapSign,
}

/// What a leap second does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LeapSign {
    /// 23:59:60 is inserted.
    Insert,
    /// 23:59:59 is left out.
    Delete,
}

/// One node's clock.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodePlan {
    /// How fast it is when the run begins; negative is slow.
    pub offset_us: i64,
    /// How much too fast its oscillator is: wall and monotonic clock gain, sleeps are too short.
    pub drift_ppm: i32,
    /// Each reading is off by up to this much, either way. The monotonic clock never goes back.
    pub jitter_us: u32,
    /// What its kernel says of its clock.
    pub claim: Claim,
    /// Who keeps it right.
    pub daemon: Option<Daemon>,
    /// What it does about leap seconds.
    pub leap: LeapPlan,
    /// What goes wrong, and when; in any order.
    pub events: Vec<ClockEvent>,
}

/// What a kernel says of its clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Claim {
    /// That nobody keeps it right.
    #[default]
    Unsynchronised,
    /// Its true error and this much more, except for a leap second that nobody told it of.
    Honest {
        /// More.
        slack_us: u32,
    },
    /// This, whatever is true.
    Fixed {
        /// The bound.
        error_us: u32,
    },
}

/// A time daemon: once in an interval it learns how wrong the clock is, not quite exactly.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Daemon {
    /// When it first does.
    pub first_ms: u64,
    /// How often: 60 s in the specification.
    pub interval_ms: u64,
    /// What it learns is off by up to this much: 10 ms in the specification.
    pub accuracy_us: u32,
    /// What it does about it.
    pub correct: Correct,
}

/// How a daemon corrects a clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Correct {
    /// Sets the wall clock.
    Step,
    /// Lets both clocks run slower or faster by this much until it is right.
    Slew {
        /// How much.
        ppm: u32,
    },
}

/// What a node does about leap seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum LeapPlan {
    /// Its kernel was told of the true one and steps when its own clock comes there.
    #[default]
    Step,
    /// Its time source spreads the true one over 24 hours, from noon to noon.
    Smear,
    /// Nobody told it; its daemon finds a clock that is a second off.
    Unannounced,
    /// Its kernel was told of this one, which is not true, and steps.
    False(TrueLeap),
    /// As `Step`; then its timers fire early, as Linux' did in 2012.
    Early {
        /// By how much they are early: a second in 2012.
        by_ms: u64,
        /// For how long they are: until somebody sets the clock.
        for_ms: u64,
    },
}

/// Something that goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClockEvent {
    /// When, in true time.
    pub at_ms: u64,
    /// What.
    pub fault: ClockFault,
}

/// What can go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ClockFault {
    /// Somebody sets the wall clock.
    Step {
        /// Forward, or back when negative.
        by_us: i64,
    },
    /// The oscillator changes its rate.
    Drift {
        /// How much too fast it is from now on.
        ppm: i32,
    },
    /// Readings become noisy, or calm again.
    Jitter {
        /// Up to this much, either way.
        us: u32,
    },
    /// The kernel says something else from now on.
    Claim(Claim),
    /// The machine is suspended and resumed: nothing runs, and the monotonic clock stands still.
    Suspend {
        /// How long.
        for_ms: u64,
        /// The wall clock is read from the battery's clock on resuming; else it stood still, too.
        wall_goes_on: bool,
    },
}

impl fmt::Display for ClockPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&serde_json::to_string_pretty(self).map_err(|_| fmt::Error)?)
    }
}

impl NodePlan {
    /// A clock with some of everything, whose bounds are honest. `span_ms` is the length of the run. Never
    /// more than half a second off and 300 ppm fast or slow, so within what a cluster works with.
    pub fn honest(rng: &mut StdRng, span_ms: u64) -> Self {
        let correct = if rng.random() { Correct::Step } else { Correct::Slew { ppm: 500 } };
        let daemon =
            Daemon { first_ms: rng.random_range(0..60_000), interval_ms: 60_000, accuracy_us: 10_000, correct };
        let mut events = Vec::new();
        for _ in 0..rng.random_range(0..4) {
            let fault = match rng.random_range(0..3) {
                0 => ClockFault::Step { by_us: rng.random_range(-150_000..150_000) },
                1 => ClockFault::Drift { ppm: rng.random_range(-300..=300) },
                _ => ClockFault::Jitter { us: rng.random_range(0..2_000) },
            };
            events.push(ClockEvent { at_ms: rng.random_range(0..span_ms), fault });
        }
        Self {
            offset_us: rng.random_range(-50_000..50_000),
            drift_ppm: rng.random_range(-300..=300),
            jitter_us: rng.random_range(0..2_000),
            claim: Claim::Honest { slack_us: rng.random_range(3_000..20_000) },
            daemon: rng.random::<bool>().then_some(daemon),
            leap: LeapPlan::Step,
            events,
        }
    }
}

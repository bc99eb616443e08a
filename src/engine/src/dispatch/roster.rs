//! Who may take work from a lane, best choice first.

use std::collections::BTreeSet;

/// How a session is chosen among those that may take a task.
///
/// A policy of ranks: the session of the lowest rank takes the next task; among equals the one
/// that was chosen longest ago. A weighted policy is another rank. Consistent hashing, which
/// also looks at the task, would choose elsewhere than in [`Roster::best`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Placement {
    /// The session whose capacity is least in use, in steps of 1/16, so that few changes move it in the
    /// rosters of all its lanes.
    #[default]
    LeastLoaded,
    /// Each in its turn, as long as it has credit.
    RoundRobin,
}

/// What a placement policy knows of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    /// Tasks that the session would still take; at least 1.
    pub free: u64,
    /// Attempts that it has, being fired or running.
    pub busy: u32,
}

impl Placement {
    /// Lower takes first.
    pub fn rank(self, load: Load) -> u32 {
        match self {
            Self::LeastLoaded => {
                let busy = u128::from(load.busy);
                let rank = busy * 16 / (busy + u128::from(load.free)).max(1);
                u32::try_from(rank).expect("a share of 16")
            }
            Self::RoundRobin => 0,
        }
    }
}

/// A session's place among those of its lane: its rank, and when it was chosen last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Seat {
    pub(super) rank: u32,
    pub(super) turn: u64,
}

/// The sessions that have credit for a lane.
#[derive(Debug, Default)]
pub(super) struct Roster {
    seats: BTreeSet<(Seat, u32)>,
    turns: u64,
}

impl Roster {
    pub(super) fn is_empty(&self) -> bool {
        self.seats.is_empty()
    }

    /// The slot of the session to choose.
    pub(super) fn best(&self) -> Option<u32> {
        self.seats.first().map(|(_, session)| *session)
    }

    pub(super) fn insert(&mut self, seat: Seat, session: u32) {
        self.seats.insert((seat, session));
    }

    pub(super) fn remove(&mut self, seat: Seat, session: u32) {
        self.seats.remove(&(seat, session));
    }

    pub(super) fn next_turn(&mut self) -> u64 {
        self.turns += 1;
        self.turns
    }

    pub(super) fn memory_bytes(&self) -> usize {
        // A node of a BTreeSet is at least half full.
        self.seats.len() * size_of::<(Seat, u32)>() * 3 / 2
    }
}

//! Versions: handed out in order, about a million a second.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicU64, Ordering},
};

use escapement_engine::Monotonic;

use crate::{clock::SharedClock, store::Version};

/// Versions in a second, as in FoundationDB.
pub(crate) const VERSIONS_PER_SECOND: u64 = 1_000_000;

/// Versions never run further ahead of the last logged commit than this (an hour, then they
/// stand still until the next commit), and a restart goes on twice as far beyond it. So no version that
/// anybody saw is given out again, though read versions are not logged. The time that they stood
/// still is lost to them: catching up would make a transaction of a moment ago too old.
const VERSION_LEAD: u64 = 3600 * VERSIONS_PER_SECOND;

/// An idle store's read version lags behind the clock by at most this much.
const IDLE_LAG: u64 = VERSIONS_PER_SECOND / 10;

/// The version counter of one engine.
#[derive(Debug)]
pub(crate) struct Versions {
    clock: SharedClock,
    start: Monotonic,
    first: AtomicU64,
    /// Versions for which they stood still.
    lost: AtomicU64,
    readable: AtomicU64,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// Newest version that anything was given.
    assigned: u64,
    /// Newest version of a durable commit.
    logged: u64,
}

impl Versions {
    /// Goes on from `first`, which is durable already.
    pub(crate) fn new(clock: SharedClock, first: u64) -> Self {
        let start = clock.monotonic();
        let state = Mutex::new(State { assigned: first, logged: first });
        let [first, readable] = [first; 2].map(AtomicU64::new);
        Self { clock, start, first, lost: AtomicU64::new(0), readable, state }
    }

    /// The version that the clock alone would give.
    fn clock_version(&self) -> u64 {
        let micros = self.clock.monotonic().since(self.start).as_micros();
        let ran = self.first.load(Ordering::Acquire).saturating_add(u64::try_from(micros).unwrap_or(u64::MAX));
        ran.saturating_sub(self.lost.load(Ordering::Acquire))
    }

    /// The same, up to the ceiling. What would be beyond is lost.
    fn clock_version_within(&self, state: &State) -> u64 {
        let version = self.clock_version();
        let beyond = version.saturating_sub(state.logged.saturating_add(VERSION_LEAD));
        self.lost.fetch_add(beyond, Ordering::AcqRel);
        version - beyond
    }

    /// Newest version that may be read.
    pub(crate) fn readable(&self) -> u64 {
        self.readable.load(Ordering::Acquire)
    }

    /// A version for a batch of commits, above every other. Not readable until published.
    pub(crate) fn assign(&self) -> Version {
        let mut state = self.lock();
        state.assigned = self.clock_version_within(&state).max(state.assigned + 1);
        Version(state.assigned)
    }

    /// Commits up to `version` are durable; unless `logged`, it has none itself.
    pub(crate) fn publish(&self, version: Version, logged: bool) {
        let mut state = self.lock();
        if logged {
            state.logged = state.logged.max(version.0);
        }
        self.readable.fetch_max(version.0, Ordering::AcqRel);
    }

    /// Goes on `count` further. No batch of commits may be under way.
    pub(crate) fn skip(&self, count: u64) {
        let mut state = self.lock();
        self.first.fetch_add(count, Ordering::AcqRel);
        state.assigned = state.assigned.saturating_add(count);
        state.logged = state.assigned;
        self.readable.store(state.assigned, Ordering::Release);
    }

    /// Everything assigned and not published has been undone: those versions equal the last
    /// published one, so they may be read.
    pub(crate) fn settle(&self) {
        let state = self.lock();
        self.readable.fetch_max(state.assigned, Ordering::AcqRel);
    }

    /// Newest readable version; follows the clock while no commit is in flight.
    pub(crate) fn read(&self) -> u64 {
        let readable = self.readable();
        let clock_version = self.clock_version();
        if clock_version < readable.saturating_add(IDLE_LAG) {
            return readable;
        }
        let mut state = self.lock();
        let readable = self.readable();
        if state.assigned != readable {
            return readable;
        }
        let next = self.clock_version_within(&state).max(readable);
        state.assigned = next;
        self.readable.store(next, Ordering::Release);
        next
    }

    /// Whether `version` would be older than `span` by the clock.
    pub(crate) fn is_older_by_clock(&self, version: u64, span: u64) -> bool {
        self.clock_version() > version.saturating_add(span)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where to go on when the newest version found after a restart is `logged`.
pub(crate) fn after_restart(logged: u64) -> u64 {
    logged.saturating_add(2 * VERSION_LEAD)
}

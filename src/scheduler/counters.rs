//! What a scheduler has done since it started.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counts, each only growing.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) submitted: AtomicU64,
    pub(crate) started: AtomicU64,
    pub(crate) accepted: AtomicU64,
    pub(crate) refused: AtomicU64,
    pub(crate) expired: AtomicU64,
    /// Tasks and schedules left as they are because a record of theirs cannot be read, each time.
    pub(crate) unreadable: AtomicU64,
}

/// Adds to a count.
pub(crate) fn add(counter: &AtomicU64, n: usize) {
    counter.fetch_add(n as u64, Ordering::Relaxed);
}

/// Reads a count.
pub(crate) fn read(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

//! What transactions do, counted by kind. Plain atomics: counting costs nanoseconds.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use super::StoreError;

/// Codes after which transactions are tried again, each with a counter of its own.
const RETRY_CODES: [i32; 12] = [
    StoreError::TRANSACTION_TOO_OLD,
    StoreError::FUTURE_VERSION,
    StoreError::NOT_COMMITTED,
    StoreError::COMMIT_UNKNOWN_RESULT,
    StoreError::PROCESS_BEHIND,
    StoreError::DATABASE_LOCKED,
    StoreError::CLUSTER_VERSION_CHANGED,
    StoreError::COMMIT_PROXY_MEMORY_LIMIT,
    StoreError::BATCH_TRANSACTION_THROTTLED,
    StoreError::GRV_PROXY_MEMORY_LIMIT,
    StoreError::TAG_THROTTLED,
    StoreError::PROXY_TAG_THROTTLED,
];

/// How long something took: how often, in all, at most.
#[derive(Debug, Default)]
pub struct Latency {
    count: AtomicU64,
    nanos: AtomicU64,
    nanos_max: AtomicU64,
}

impl Latency {
    /// Counts one.
    pub fn record(&self, span: Duration) {
        let nanos = u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
        self.count.fetch_add(1, Relaxed);
        self.nanos.fetch_add(nanos, Relaxed);
        self.nanos_max.fetch_max(nanos, Relaxed);
    }

    fn snapshot(&self) -> LatencySnapshot {
        LatencySnapshot {
            count: self.count.load(Relaxed),
            sum: Duration::from_nanos(self.nanos.load(Relaxed)),
            max: Duration::from_nanos(self.nanos_max.load(Relaxed)),
        }
    }
}

/// A [`Latency`] at some moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LatencySnapshot {
    /// How often.
    pub count: u64,
    /// All of them together.
    pub sum: Duration,
    /// The longest.
    pub max: Duration,
}

/// Counters of one kind of transaction.
#[derive(Debug, Default)]
pub struct KindMetrics {
    pub(super) started: AtomicU64,
    pub(super) committed: AtomicU64,
    pub(super) refused: AtomicU64,
    pub(super) maybe_committed: AtomicU64,
    pub(super) failed: AtomicU64,
    retries: [AtomicU64; RETRY_CODES.len()],
    retries_other: AtomicU64,
    /// Answers to requests for a read version.
    pub read_version: Latency,
    /// Answers to commits that succeeded.
    pub commit: Latency,
}

impl KindMetrics {
    pub(super) fn count_retry(&self, code: i32) {
        let place = RETRY_CODES.iter().position(|known| *known == code);
        place.map_or(&self.retries_other, |place| &self.retries[place]).fetch_add(1, Relaxed);
    }

    fn snapshot(&self) -> KindSnapshot {
        let retries = RETRY_CODES.iter().zip(&self.retries);
        let mut retries: BTreeMap<i32, u64> =
            retries.map(|(code, count)| (*code, count.load(Relaxed))).filter(|(_, count)| *count > 0).collect();
        if self.retries_other.load(Relaxed) > 0 {
            retries.insert(0, self.retries_other.load(Relaxed));
        }
        KindSnapshot {
            started: self.started.load(Relaxed),
            committed: self.committed.load(Relaxed),
            refused: self.refused.load(Relaxed),
            maybe_committed: self.maybe_committed.load(Relaxed),
            failed: self.failed.load(Relaxed),
            retries,
            read_version: self.read_version.snapshot(),
            commit: self.commit.snapshot(),
        }
    }
}

/// [`KindMetrics`] at some moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KindSnapshot {
    /// Calls of the retry runner.
    pub started: u64,
    /// Those that committed.
    pub committed: u64,
    /// Those whose body refused.
    pub refused: u64,
    /// Tries of which the store could not say whether they were committed.
    pub maybe_committed: u64,
    /// Those that gave up.
    pub failed: u64,
    /// Tries after which another followed, by the store's code; 0: any other code.
    pub retries: BTreeMap<i32, u64>,
    /// Answers to requests for a read version.
    pub read_version: LatencySnapshot,
    /// Answers to commits that succeeded.
    pub commit: LatencySnapshot,
}

impl KindSnapshot {
    /// Tries that lost against another transaction (1020).
    pub fn conflicts(&self) -> u64 {
        self.retries.get(&StoreError::NOT_COMMITTED).copied().unwrap_or(0)
    }
}

/// Counters of every kind of transaction.
#[derive(Debug, Default)]
pub struct Metrics(Mutex<BTreeMap<&'static str, Arc<KindMetrics>>>);

impl Metrics {
    /// Those of one kind.
    pub fn kind(&self, name: &'static str) -> Arc<KindMetrics> {
        Arc::clone(self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(name).or_default())
    }

    /// All of them now.
    pub fn snapshot(&self) -> BTreeMap<&'static str, KindSnapshot> {
        let kinds = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kinds.iter().map(|(name, metrics)| (*name, metrics.snapshot())).collect()
    }
}

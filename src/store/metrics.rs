//! What transactions do, counted by kind. Plain atomics: counting costs nanoseconds.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use super::{Database, StoreError};
use crate::clock::SharedClock;

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

impl LatencySnapshot {
    /// What came after `earlier`; the longest is of both.
    fn since(&self, earlier: &Self) -> Self {
        Self { count: self.count - earlier.count, sum: self.sum.saturating_sub(earlier.sum), max: self.max }
    }
}

/// The mean, and the longest so far.
impl fmt::Display for LatencySnapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mean = self.sum / u32::try_from(self.count).unwrap_or(u32::MAX).max(1);
        write!(f, "{} (mean {mean:.1?}, longest so far {:.1?})", self.count, self.max)
    }
}

/// For the log: what is zero is left out.
impl fmt::Display for KindSnapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "started {}, committed {}", self.started, self.committed)?;
        let rare = [("refused", self.refused), ("maybe committed", self.maybe_committed), ("failed", self.failed)];
        for (name, count) in rare.into_iter().filter(|(_, count)| *count > 0) {
            write!(f, ", {name} {count}")?;
        }
        for (code, count) in &self.retries {
            write!(f, ", retried after {code}: {count}")?;
        }
        for (name, latency) in [("read versions", &self.read_version), ("commits", &self.commit)] {
            if latency.count > 0 {
                write!(f, ", {name} {latency}")?;
            }
        }
        Ok(())
    }
}

impl KindSnapshot {
    /// What came after `earlier`, a snapshot of the same counters.
    pub fn since(&self, earlier: &Self) -> Self {
        let before = |code: &i32| earlier.retries.get(code).copied().unwrap_or(0);
        let retries = self.retries.iter().map(|(code, count)| (*code, count - before(code)));
        Self {
            started: self.started - earlier.started,
            committed: self.committed - earlier.committed,
            refused: self.refused - earlier.refused,
            maybe_committed: self.maybe_committed - earlier.maybe_committed,
            failed: self.failed - earlier.failed,
            retries: retries.filter(|(_, count)| *count > 0).collect(),
            read_version: self.read_version.since(&earlier.read_version),
            commit: self.commit.since(&earlier.commit),
        }
    }

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

/// How often [`log`] says what the store did.
const LOG_INTERVAL: Duration = Duration::from_secs(60);

/// Writes to the debug log, once a minute, what each kind of transaction did since the last time.
/// Never ends.
pub async fn log(db: &Database, clock: &SharedClock) {
    let mut before = db.metrics();
    loop {
        clock.sleep(LOG_INTERVAL).await;
        let now = db.metrics();
        for (kind, did) in changes(&before, &now) {
            tracing::debug!(target: "escapement::store", kind, "transactions in the last minute: {did}");
        }
        before = now;
    }
}

/// What the kinds did that did anything.
fn changes(
    before: &BTreeMap<&'static str, KindSnapshot>,
    now: &BTreeMap<&'static str, KindSnapshot>,
) -> Vec<(&'static str, KindSnapshot)> {
    let none = KindSnapshot::default();
    let did = now.iter().map(|(kind, now)| (*kind, now.since(before.get(kind).unwrap_or(&none))));
    let did_something = |did: &KindSnapshot| did.started > 0 || did.read_version.count > 0 || did.commit.count > 0;
    did.filter(|(_, did)| did_something(did)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_tells_what_each_kind_did_since_the_last_time() {
        let metrics = Metrics::default();
        let (fire, idle) = (metrics.kind("fire"), metrics.kind("idle"));
        let add = |counter: &AtomicU64, count| counter.fetch_add(count, Relaxed);
        add(&fire.started, 5);
        add(&idle.started, 1);
        fire.commit.record(Duration::from_millis(7));
        let before = metrics.snapshot();
        add(&fire.started, 3);
        add(&fire.committed, 2);
        add(&fire.failed, 1);
        fire.count_retry(1020);
        fire.count_retry(1020);
        fire.count_retry(4711);
        fire.commit.record(Duration::from_millis(2));
        fire.commit.record(Duration::from_millis(4));
        let said: Vec<_> =
            changes(&before, &metrics.snapshot()).iter().map(|(kind, did)| format!("{kind}: {did}")).collect();
        let expected = "fire: started 3, committed 2, failed 1, retried after 0: 1, retried after 1020: 2, \
                        commits 2 (mean 3.0ms, longest so far 7.0ms)";
        assert_eq!(said, [expected]);
        assert!(changes(&metrics.snapshot(), &metrics.snapshot()).is_empty());
    }
}

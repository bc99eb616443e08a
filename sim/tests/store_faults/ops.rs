//! What clients do: increments of several kinds, readers, watches. Each leaves its name in
//! the store, so that the log of commits tells how often it happened.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use bytes::Bytes;
use escapement::{
    rng::Rng,
    store::{
        Abort, Committed, Database, MutationKind, RangeOptions, RetryClass, RunError, StoreError, Transaction,
        TransactionKind, TransactionOption, Try, Version,
    },
};
use futures_util::future::BoxFuture;

/// Time for one operation, shorter than the longest stalls.
const TOTAL_MAX: Duration = Duration::from_secs(8);
const MARKED: TransactionKind = TransactionKind::idempotent("marked").total_max(TOTAL_MAX);
const HOT: TransactionKind = TransactionKind::idempotent("hot").total_max(TOTAL_MAX);
const PLAIN: TransactionKind = TransactionKind::new("plain").total_max(TOTAL_MAX);
const READ: TransactionKind = TransactionKind::idempotent("read").total_max(TOTAL_MAX);
const WATCH: TransactionKind = TransactionKind::idempotent("watch").total_max(TOTAL_MAX);

/// Watches that one operation sets.
const WATCHES: usize = 6;

/// A counter, and the keys that its increments leave. Counter and number of keys are equal at
/// every version.
pub(crate) const FAMILIES: [(&str, &str); 3] = [("counter", "marker/"), ("hot", "hot-marker/"), ("plain", "once/")];

/// What is deliberately wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mutant {
    None,
    /// A transaction without a marker is run again whenever `on_error` allows it.
    RunsAgain,
    /// A body leaves a marker and never looks for it.
    NeverLooks,
    /// A body looks for its marker only in later tries, so its first commit does not conflict
    /// with the marker.
    LooksLate,
}

/// What a client knows of its operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Outcome {
    Acknowledged,
    NotDone,
    Unknown,
}

/// What all clients know together, outside the nodes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ledger {
    /// By the key that the operation leaves.
    outcomes: Arc<Mutex<BTreeMap<String, Outcome>>>,
    broken: Arc<Mutex<Vec<String>>>,
    acknowledged: Arc<AtomicU64>,
    pub(crate) reads: Arc<AtomicU64>,
    pub(crate) watches_fired: Arc<AtomicU64>,
    /// Readers that accept the risk, and got a version below one acknowledged before.
    pub(crate) stale_reads: Arc<AtomicU64>,
    /// Tries after which another followed, by code.
    retries: Arc<Mutex<BTreeMap<i32, u64>>>,
}

impl Ledger {
    pub(crate) fn outcomes(&self) -> BTreeMap<String, Outcome> {
        self.outcomes.lock().unwrap().clone()
    }

    pub(crate) fn broken(&self) -> Vec<String> {
        self.broken.lock().unwrap().clone()
    }

    pub(crate) fn accuse(&self, what: String) {
        self.broken.lock().unwrap().push(what);
    }

    /// Adds what a client's retry runner met.
    pub(crate) fn note_retries(&self, db: &Database) {
        let mut retries = self.retries.lock().unwrap();
        for (code, count) in db.metrics().into_values().flat_map(|kind| kind.retries) {
            *retries.entry(code).or_default() += count;
        }
    }

    pub(crate) fn retries(&self) -> BTreeMap<i32, u64> {
        self.retries.lock().unwrap().clone()
    }

    fn acknowledge(&self, version: Option<Version>) {
        if let Some(Version(version)) = version {
            self.acknowledged.fetch_max(version, Relaxed);
        }
    }

    fn note<T, E>(&self, key: &str, result: Result<Committed<T>, RunError<E>>) {
        let outcome = match result {
            Ok(committed) => {
                self.acknowledge(committed.version);
                Outcome::Acknowledged
            }
            Err(RunError::MaybeCommitted { .. }) => Outcome::Unknown,
            Err(RunError::Store { .. } | RunError::Refused(_)) => Outcome::NotDone,
        };
        self.set(key, outcome);
    }

    fn set(&self, key: &str, outcome: Outcome) {
        self.outcomes.lock().unwrap().insert(key.to_owned(), outcome);
    }
}

/// One of several things that a client does at once.
pub(crate) struct Lane {
    pub(crate) db: Database,
    pub(crate) ledger: Ledger,
    pub(crate) mutant: Mutant,
    pub(crate) name: String,
    pub(crate) rng: Rng,
}

type Body = Result<(), Abort<String>>;

impl Lane {
    /// The operation of this number.
    pub(crate) async fn step(&self, number: usize) {
        let id = format!("{}/{number}", self.name);
        match number % 7 {
            0 | 1 => self.marked(&format!("marker/{id}")).await,
            2 => self.hot(&format!("hot-marker/{id}")).await,
            3 => self.plain(&format!("once/{id}")).await,
            4 => self.cancelled(&format!("marker/{id}")).await,
            5 => self.read(&id, number.is_multiple_of(2)).await,
            _ => self.watch(&id).await,
        }
    }

    /// A blind increment with a marker.
    async fn marked(&self, key: &str) {
        let body = async |tx: Transaction, attempt: Try| -> Body {
            let looks = match self.mutant {
                Mutant::NeverLooks => false,
                Mutant::LooksLate => attempt.maybe_committed,
                Mutant::None | Mutant::RunsAgain => true,
            };
            if looks && tx.get(key.to_owned()).await?.is_some() {
                return Ok(());
            }
            increment(&tx, "counter")?;
            Ok(tx.set(key.to_owned(), attempt.number.to_string())?)
        };
        self.ledger.note(key, self.db.run(MARKED, |tx, attempt| boxed(body(tx, attempt))).await);
    }

    /// Reads and writes what all others read and write.
    async fn hot(&self, key: &str) {
        let body = async |tx: Transaction| -> Body {
            if tx.get(key.to_owned()).await?.is_some() {
                return Ok(());
            }
            let before = number(tx.get("hot").await?);
            tx.set("hot", (before + 1).to_le_bytes().to_vec())?;
            Ok(tx.set(key.to_owned(), "")?)
        };
        self.ledger.note(key, self.db.run(HOT, |tx, _| boxed(body(tx))).await);
    }

    /// Leaves no marker that it looks for, so it must not be run again.
    async fn plain(&self, key: &str) {
        let body = async |tx: Transaction| -> Body {
            increment(&tx, "plain")?;
            Ok(tx.set(key.to_owned(), "")?)
        };
        if self.mutant != Mutant::RunsAgain {
            self.ledger.note(key, self.db.run(PLAIN, |tx, _| boxed(body(tx))).await);
            return;
        }
        let tx = self.db.begin();
        tx.raw().set_option(TransactionOption::TimeoutMs(TOTAL_MAX.as_millis() as u64)).unwrap();
        loop {
            let _ = body(tx.clone()).await;
            let Err(error) = tx.raw().commit().await else { return self.ledger.set(key, Outcome::Acknowledged) };
            if tx.raw().on_error(error).await.is_err() {
                return self.ledger.set(key, Outcome::Unknown);
            }
        }
    }

    /// Gives its commit up after a moment.
    async fn cancelled(&self, key: &str) {
        let patience = Duration::from_millis(u64::from(self.rng.u32() % 30));
        let tx = self.db.begin();
        tx.raw().set_option(TransactionOption::TimeoutMs(TOTAL_MAX.as_millis() as u64)).unwrap();
        let found = tx.get(key.to_owned()).await;
        let written = found.and_then(|_| increment(&tx, "counter")).and_then(|()| tx.set(key.to_owned(), ""));
        if written.is_err() {
            return self.ledger.set(key, Outcome::NotDone);
        }
        let mut commit = tx.raw().commit();
        let result = tokio::select! {
            biased;
            result = &mut commit => result,
            () = tokio::time::sleep(patience) => {
                tx.raw().cancel();
                commit.await
            }
        };
        let outcome = match result {
            Ok(()) => {
                self.ledger.acknowledge(tx.raw().committed_version().ok());
                Outcome::Acknowledged
            }
            Err(error) if error.class() == RetryClass::Retry => Outcome::NotDone,
            Err(_) => Outcome::Unknown,
        };
        self.ledger.set(key, outcome);
    }

    /// Background work that compares each counter with its keys, all at one version.
    async fn read(&self, id: &str, risky: bool) {
        let body = async |tx: Transaction| -> Result<Version, Abort<String>> {
            tx.raw().set_option(TransactionOption::Tag("scan".to_owned()))?;
            if risky {
                tx.raw().set_option(TransactionOption::CausalReadRisky)?;
            }
            let acknowledged = self.ledger.acknowledged.load(Relaxed);
            let version = tx.raw().read_version().await?;
            if !risky && version.0 < acknowledged {
                return Err(Abort::Refuse(format!("{version:?} was read after {acknowledged} was acknowledged")));
            }
            if version.0 < acknowledged {
                self.ledger.stale_reads.fetch_add(1, Relaxed);
            }
            for (counter, prefix) in FAMILIES {
                let (value, keys) = (number(tx.get(counter).await?), count(&tx, prefix).await?);
                if value != keys && self.mutant == Mutant::None {
                    return Err(Abort::Refuse(format!("{counter} is {value} with {keys} keys at {version:?}")));
                }
            }
            Ok(version)
        };
        match self.db.run(READ.batch(), |tx, _| boxed(body(tx))).await {
            Ok(_) => drop(self.ledger.reads.fetch_add(1, Relaxed)),
            Err(RunError::Refused(what)) => self.ledger.accuse(format!("reader {id}: {what}")),
            Err(RunError::Store { .. } | RunError::MaybeCommitted { .. }) => {}
        }
    }

    /// Sets watches and changes what they watch. They are hints, so that nothing follows from
    /// their silence.
    async fn watch(&self, id: &str) {
        let keys: Vec<String> = (0..WATCHES).map(|number| format!("watched/{id}/{number}")).collect();
        let set = async |tx: Transaction| -> Result<_, Abort<String>> {
            tx.set(format!("watcher/{id}"), "")?;
            Ok(keys.iter().map(|key| tx.raw().watch(key.clone().into())).collect::<Vec<_>>())
        };
        let Ok(Committed { value: watches, .. }) = self.db.run(WATCH, |tx, _| boxed(set(tx))).await else { return };
        let fired = watches.into_iter().map(|watch| {
            let (fired, patience) = (self.ledger.watches_fired.clone(), tokio::time::sleep(TOTAL_MAX));
            tokio::spawn(async move {
                tokio::select! {
                    biased;
                    result = watch => if result.is_ok() { fired.fetch_add(1, Relaxed); },
                    () = patience => {}
                }
            })
        });
        let fired: Vec<_> = fired.collect();
        let change =
            async |tx: Transaction| -> Body { Ok(keys.iter().try_for_each(|key| tx.set(key.clone(), "changed"))?) };
        let _ = self.db.run(WATCH, |tx, _| boxed(change(tx))).await;
        for watch in fired {
            watch.await.unwrap();
        }
    }
}

fn boxed<'a, T>(body: impl Future<Output = T> + Send + 'a) -> BoxFuture<'a, T> {
    Box::pin(body)
}

fn increment(tx: &Transaction, counter: &'static str) -> Result<(), StoreError> {
    tx.raw().mutate(MutationKind::Add, counter.into(), Bytes::copy_from_slice(&1u64.to_le_bytes()))
}

pub(crate) fn number(value: Option<Bytes>) -> u64 {
    value.map_or(0, |bytes| u64::from_le_bytes(bytes[..].try_into().unwrap()))
}

/// Keys with this prefix, page by page.
pub(crate) async fn keys(tx: &Transaction, prefix: &str) -> Result<Vec<Bytes>, StoreError> {
    let (mut begin, end) = (Bytes::copy_from_slice(prefix.as_bytes()), format!("{prefix}\u{7f}"));
    let mut keys = Vec::new();
    loop {
        let page = tx.get_range_snapshot(RangeOptions::new(begin, end.clone())).await?;
        let Some((last, _)) = page.rows.last() else { return Ok(keys) };
        begin = [&last[..], b"\0"].concat().into();
        keys.extend(page.rows.into_iter().map(|(key, _)| key));
        if !page.more {
            return Ok(keys);
        }
    }
}

async fn count(tx: &Transaction, prefix: &str) -> Result<u64, StoreError> {
    Ok(keys(tx, prefix).await?.len() as u64)
}

//! The transaction above an engine that is plainly right.

mod conflicts;
mod limits;
mod model;
mod own_writes;
mod reference;
mod retry;
mod runner;
mod selectors;
mod versionstamps;
mod watches;

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use bytes::Bytes;
use escapement_engine::{Monotonic, Timestamp};
use futures_util::{FutureExt as _, future::BoxFuture};

use self::reference::Reference;
use super::{Database, KeySelector, MutationKind, RangeOptions, StoreError, Transaction, engine::KeyRange};
use crate::{clock::Clock, rng::Rng};

/// Time that passes only while somebody sleeps, and then at once.
#[derive(Debug, Default)]
struct SleepClock {
    nanos: AtomicU64,
    slept: Mutex<Vec<Duration>>,
}

impl Clock for SleepClock {
    fn now(&self) -> Timestamp {
        Timestamp::UNIX_EPOCH.saturating_add(Duration::from_nanos(self.nanos.load(Relaxed)))
    }

    fn monotonic(&self) -> Monotonic {
        Monotonic::from_nanos(self.nanos.load(Relaxed))
    }

    fn sleep(&self, span: Duration) -> BoxFuture<'static, ()> {
        self.slept.lock().unwrap().push(span);
        self.advance(span);
        async {}.boxed()
    }
}

impl SleepClock {
    fn advance(&self, span: Duration) {
        self.nanos.fetch_add(u64::try_from(span.as_nanos()).unwrap(), Relaxed);
    }
}

/// A database above the reference engine.
struct Setup {
    engine: Arc<Reference>,
    clock: Arc<SleepClock>,
    db: Database,
}

fn setup(rows: &[(&'static str, &'static str)]) -> Setup {
    let (engine, clock) = (Arc::new(Reference::default()), Arc::new(SleepClock::default()));
    let db = Database::over(engine.clone(), clock.clone(), Rng::from_seed(7));
    let setup = Setup { engine, clock, db };
    if !rows.is_empty() {
        let tx = setup.db.begin();
        for (key, value) in rows {
            tx.set(*key, *value).unwrap();
        }
        commit(&tx).unwrap();
        setup.engine.inner().requests.clear();
        setup.engine.inner().version_requests.clear();
    }
    setup
}

impl Setup {
    /// Writes one key in a transaction of its own.
    fn write(&self, key: &'static str, value: &'static str) {
        let tx = self.db.begin();
        tx.set(key, value).unwrap();
        commit(&tx).unwrap();
    }

    /// Read conflicts of the last commit that was sent.
    fn read_conflicts(&self) -> Vec<String> {
        show(&self.engine.inner().requests.last().expect("a commit was sent").read_conflicts)
    }

    /// Write conflicts, likewise.
    fn write_conflicts(&self) -> Vec<String> {
        show(&self.engine.inner().requests.last().expect("a commit was sent").write_conflicts)
    }

    fn dump(&self) -> Vec<String> {
        self.engine.rows().iter().map(|(key, value)| format!("{}={}", text(key), text(value))).collect()
    }
}

fn show(ranges: &[KeyRange]) -> Vec<String> {
    ranges.iter().map(|range| format!("{}..{}", text(&range.begin), text(&range.end))).collect()
}

fn text(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}

/// The result of what is ready at once, as everything above the reference engine is.
fn now<T>(future: impl Future<Output = T>) -> T {
    future.now_or_never().expect("ready at once")
}

fn commit(tx: &Transaction) -> Result<(), StoreError> {
    now(tx.raw().commit())
}

fn get(tx: &Transaction, key: &'static str) -> Result<Option<String>, StoreError> {
    Ok(now(tx.get(key))?.map(|value| text(&value)))
}

fn code<T>(result: Result<T, StoreError>) -> i32 {
    result.map(|_| ()).expect_err("fails").code
}

fn keys(tx: &Transaction, range: RangeOptions) -> Result<Vec<String>, StoreError> {
    Ok(now(tx.get_range(range))?.rows.iter().map(|(key, _)| text(key)).collect())
}

fn rows(tx: &Transaction, range: RangeOptions) -> Vec<String> {
    let page = now(tx.get_range(range)).unwrap();
    page.rows.iter().map(|(key, value)| format!("{}={}", text(key), text(value))).collect()
}

fn key_at(tx: &Transaction, selector: KeySelector) -> String {
    text(&now(tx.raw().get_key(selector, false)).unwrap())
}

fn mutate(tx: &Transaction, kind: MutationKind, key: &'static str, operand: &'static [u8]) -> Result<(), StoreError> {
    tx.raw().mutate(kind, Bytes::from(key), Bytes::from(operand))
}

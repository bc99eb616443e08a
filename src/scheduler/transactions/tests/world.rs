//! A store in memory whose commits end as the test says, and time that passes while one sleeps.

use std::{
    collections::VecDeque,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use escapement_engine::{Epoch, Monotonic};
use futures_util::{FutureExt as _, future::BoxFuture, future::ready};

use super::*;
use crate::{
    clock::Clock,
    rng::Rng,
    scheduler::room::PayloadRoom,
    store::{
        Database, MemoryEngine, RangePage, StoreError, Version,
        engine::{CommitReceipt, CommitRequest, Engine, Mutation, RangeRead, ReadVersionRequest},
    },
};

#[derive(Debug, Default)]
struct SleepClock(AtomicU64);

impl Clock for SleepClock {
    fn now(&self) -> Timestamp {
        NOW
    }

    fn monotonic(&self) -> Monotonic {
        Monotonic::from_nanos(self.0.load(Relaxed))
    }

    fn sleep(&self, span: Duration) -> BoxFuture<'static, ()> {
        self.0.fetch_add(u64::try_from(span.as_nanos()).unwrap(), Relaxed);
        ready(()).boxed()
    }
}

/// How a commit ends whose outcome its client does not learn.
#[derive(Debug)]
pub(super) enum Fault {
    /// It is applied, and then this is, by somebody else.
    Applied(Vec<Mutation>),
    /// It is not, but this is, by somebody else.
    Lost(Vec<Mutation>),
    /// It is on its way until [`World::land`].
    Late,
}

#[derive(Debug)]
struct Faulty {
    inner: MemoryEngine,
    faults: Mutex<VecDeque<Fault>>,
    late: Mutex<Vec<CommitRequest>>,
}

impl Faulty {
    fn apply(&self, request: CommitRequest) -> Result<CommitReceipt, StoreError> {
        self.inner.commit_batch(&[request]).pop().unwrap()
    }

    fn commit_now(&self, request: CommitRequest) -> Result<CommitReceipt, StoreError> {
        let fault = self.faults.lock().unwrap().pop_front();
        let (mutations, code) = match fault {
            None => return self.apply(request),
            Some(Fault::Applied(mutations)) => {
                self.apply(request).unwrap();
                (mutations, StoreError::COMMIT_UNKNOWN_RESULT)
            }
            Some(Fault::Lost(mutations)) => (mutations, StoreError::COMMIT_UNKNOWN_RESULT),
            Some(Fault::Late) => {
                self.late.lock().unwrap().push(request);
                // After this one, unlike 1021, the commit may still land.
                (Vec::new(), StoreError::CLUSTER_VERSION_CHANGED)
            }
        };
        if !mutations.is_empty() {
            self.apply(CommitRequest { mutations, ..CommitRequest::default() }).unwrap();
        }
        Err(StoreError::new(code))
    }
}

impl Engine for Faulty {
    fn read_version(&self, request: &ReadVersionRequest) -> BoxFuture<'_, Result<Version, StoreError>> {
        self.inner.read_version(request)
    }

    fn get_many(&self, keys: Vec<Bytes>, version: Version) -> BoxFuture<'_, Result<Vec<Option<Bytes>>, StoreError>> {
        self.inner.get_many(keys, version)
    }

    fn get_range(&self, read: RangeRead, version: Version) -> BoxFuture<'_, Result<RangePage, StoreError>> {
        self.inner.get_range(read, version)
    }

    fn commit(&self, request: CommitRequest) -> BoxFuture<'static, Result<CommitReceipt, StoreError>> {
        ready(self.commit_now(request)).boxed()
    }

    fn watch(&self, key: Bytes, value: Option<Bytes>, version: Version) -> BoxFuture<'static, Result<(), StoreError>> {
        self.inner.watch(key, value, version)
    }

    fn exclusive(&self) -> bool {
        true
    }

    fn kind(&self) -> &'static str {
        "faulty"
    }
}

pub(super) struct World {
    pub(super) db: Database,
    pub(super) ownership: Ownership,
    pub(super) room: PayloadRoom,
    engine: Arc<Faulty>,
}

/// The value of a future that waits for nothing.
pub(super) fn now<T>(future: impl Future<Output = T>) -> T {
    future.now_or_never().expect("nothing waits here")
}

impl World {
    pub(super) fn new() -> Self {
        let clock = Arc::new(SleepClock::default());
        let inner = MemoryEngine::new(Arc::clone(&clock) as _);
        let engine = Arc::new(Faulty { inner, faults: Mutex::default(), late: Mutex::default() });
        let db = Database::over(Arc::clone(&engine) as _, clock, Rng::from_seed(1));
        let ownership = now(take_shards(&db, session(9), SHARDS, Takeover::All)).unwrap();
        assert!(ownership.shards.values().all(|epoch| *epoch == Epoch(1)));
        Self { db, ownership, room: PayloadRoom::default(), engine }
    }

    /// How the next commits end.
    pub(super) fn fail(&self, faults: impl IntoIterator<Item = Fault>) {
        self.engine.faults.lock().unwrap().extend(faults);
    }

    /// Whether every fault was met.
    pub(super) fn failed(&self) -> bool {
        self.engine.faults.lock().unwrap().is_empty()
    }

    /// Lets the commits land that are on their way; tells how each ends.
    pub(super) fn land(&self) -> Vec<Result<CommitReceipt, StoreError>> {
        let late = std::mem::take(&mut *self.engine.late.lock().unwrap());
        late.into_iter().map(|request| self.engine.apply(request)).collect()
    }

    /// Writes a row as somebody else would.
    pub(super) fn put(&self, key: Bytes, value: impl Into<Bytes>) {
        let mutations = vec![Mutation::Set(key, value.into())];
        self.engine.apply(CommitRequest { mutations, ..CommitRequest::default() }).unwrap();
    }

    pub(super) fn clear(&self, key: Bytes) {
        let mutations = vec![Mutation::Clear(key)];
        self.engine.apply(CommitRequest { mutations, ..CommitRequest::default() }).unwrap();
    }

    pub(super) fn row(&self, key: Bytes) -> Option<Bytes> {
        let version = now(self.engine.read_version(&ReadVersionRequest::default())).unwrap();
        now(self.engine.get_many(vec![key], version)).unwrap().pop().unwrap()
    }

    pub(super) fn read<R: Record>(&self, key: Bytes) -> Option<R> {
        self.row(key).map(|value| R::decode(&value).unwrap())
    }

    pub(super) fn submit(&self, tasks: &[NewTask]) {
        for task in tasks {
            let results = now(submit(&self.db, SHARDS, Arc::from([task.clone()]))).unwrap();
            assert!(results[0].as_ref().unwrap().created);
        }
    }

    pub(super) fn fire(&self, requests: Vec<FireRequest>, at: Timestamp) -> Vec<FireOutcome> {
        now(fire(&self.db, &self.ownership, requests.into(), at)).unwrap()
    }

    /// Submits these tasks and fires them for session 1.
    pub(super) fn running(&self, tasks: &[NewTask]) {
        self.submit(tasks);
        let room = self.room.stream();
        let outcomes = self.fire(tasks.iter().map(|task| request(task, &room)).collect(), NOW);
        assert!(outcomes.iter().all(|it| matches!(it, FireOutcome::Fired(_))), "{outcomes:?}");
    }

    pub(super) fn lease(&self, task: &NewTask) -> Option<Lease> {
        self.read(keyspace::lease(shard(task.id), task.id))
    }

    pub(super) fn head(&self, task: &NewTask) -> Option<Head> {
        self.read(keyspace::head(shard(task.id), task.id))
    }
}

//! A store in memory whose commits end as the test says, and time that passes while one sleeps.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use escapement_engine::{Epoch, Monotonic};
use futures_util::{FutureExt as _, future::BoxFuture, future::ready};

use super::{
    unlucky::{Fate, Unlucky},
    *,
};
use crate::{
    clock::Clock,
    rng::Rng,
    scheduler::room::PayloadRoom,
    store::{
        Database, MemoryEngine, StoreError,
        engine::{CommitReceipt, Engine as _, Mutation, ReadVersionRequest},
    },
};

/// Time that passes only while somebody sleeps, and then at once.
#[derive(Debug, Default)]
pub(super) struct SleepClock(AtomicU64);

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

pub(super) struct World {
    pub(super) db: Database,
    pub(super) ownership: Ownership,
    pub(super) room: PayloadRoom,
    engine: Arc<Unlucky>,
}

/// The value of a future that waits for nothing.
pub(super) fn now<T>(future: impl Future<Output = T>) -> T {
    future.now_or_never().expect("nothing waits here")
}

impl World {
    pub(super) fn new() -> Self {
        let clock = Arc::new(SleepClock::default());
        let engine = Arc::new(Unlucky::new(MemoryEngine::new(Arc::clone(&clock) as _)));
        let db = Database::over(Arc::clone(&engine) as _, clock, Rng::from_seed(1));
        let ownership = now(take_shards(&db, session(9), SHARDS, Takeover::All)).unwrap();
        assert!(ownership.shards.values().all(|epoch| *epoch == Epoch(1)));
        Self { db, ownership, room: PayloadRoom::default(), engine }
    }

    /// How the next commits end.
    pub(super) fn fail(&self, faults: impl IntoIterator<Item = Fault>) {
        for fault in faults {
            let (fate, mutations) = match fault {
                Fault::Applied(mutations) => (Fate::Done, mutations),
                Fault::Lost(mutations) => (Fate::NotDone, mutations),
                Fault::Late => (Fate::Held, Vec::new()),
            };
            let engine = Arc::clone(&self.engine);
            self.engine.strike(fate, Some(Box::new(move || engine.change(mutations))));
        }
    }

    /// Whether every fault was met.
    pub(super) fn failed(&self) -> bool {
        self.engine.has_struck()
    }

    /// Reads that this takes, one after the other.
    pub(super) fn reads_of(&self, work: impl FnOnce()) -> u64 {
        let before = self.engine.reads();
        work();
        self.engine.reads() - before
    }

    /// Lets the commits land that are on their way; tells how each ends.
    pub(super) fn land(&self) -> Vec<Result<CommitReceipt, StoreError>> {
        self.engine.land_held()
    }

    /// Writes a row as somebody else would.
    pub(super) fn put(&self, key: Bytes, value: impl Into<Bytes>) {
        self.engine.change(vec![Mutation::Set(key, value.into())]);
    }

    pub(super) fn clear(&self, key: Bytes) {
        self.engine.change(vec![Mutation::Clear(key)]);
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

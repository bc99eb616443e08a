//! The store in memory, with a say in what a client is told of one commit.

use std::{
    collections::VecDeque,
    fmt,
    sync::{Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use futures_util::{FutureExt as _, future::BoxFuture};

use crate::store::{
    MemoryEngine, RangePage, StoreError, Version,
    engine::{CommitReceipt, CommitRequest, Engine, Mutation, RangeRead, ReadVersionRequest},
};

/// What becomes of a commit whose outcome its client does not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// 1021, and it happened.
    Done,
    /// 1021, and it did not happen.
    NotDone,
    /// 1039, and it happens just before the next commit.
    JustBeforeTheNext,
    /// 1039, and it happens just after the next commit.
    JustAfterTheNext,
    /// 1039, and it happens when the test says so.
    Held,
    /// Somebody else is faster: it is refused if it conflicts with that.
    Overtaken,
}

impl Fate {
    /// Those of which the client cannot tell the outcome.
    pub(super) const UNKNOWN: [Self; 4] = [Self::Done, Self::NotDone, Self::JustBeforeTheNext, Self::JustAfterTheNext];
}

/// What somebody else does before the client has heard of its commit.
type Meanwhile = Box<dyn FnOnce() + Send>;

#[derive(Default)]
struct State {
    commits: u64,
    reads: u64,
    /// Of the next commits, in their order.
    strikes: VecDeque<(Fate, Option<Meanwhile>)>,
    /// On its way until just before or after the next commit.
    late: Option<(CommitRequest, Fate)>,
    /// On their way until the test says so.
    held: Vec<CommitRequest>,
    /// What became of the late commit, once it landed.
    landed: Option<Result<(), i32>>,
}

pub(super) struct Unlucky {
    engine: MemoryEngine,
    state: Mutex<State>,
}

impl fmt::Debug for Unlucky {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Unlucky")
    }
}

impl Unlucky {
    pub(super) fn new(engine: MemoryEngine) -> Self {
        Self { engine, state: Mutex::default() }
    }

    /// The next commit that is not struck yet has this fate, and `meanwhile` happens before its client hears.
    pub(super) fn strike(&self, fate: Fate, meanwhile: Option<Meanwhile>) {
        self.state().strikes.push_back((fate, meanwhile));
    }

    /// Whether every commit that was to be struck was.
    pub(super) fn has_struck(&self) -> bool {
        self.state().strikes.is_empty()
    }

    /// Lets the held commits happen; tells how each ends.
    pub(super) fn land_held(&self) -> Vec<Result<CommitReceipt, StoreError>> {
        let held = std::mem::take(&mut self.state().held);
        held.into_iter().map(|request| self.apply(request)).collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Commits that were asked for so far.
    pub(super) fn commits(&self) -> u64 {
        self.state().commits
    }

    /// Reads of keys that were asked for so far, each of any number of keys at once.
    pub(super) fn reads(&self) -> u64 {
        self.state().reads
    }

    /// What became of a late commit: `Err` is the code by which it was refused.
    pub(super) fn landed(&self) -> Option<Result<(), i32>> {
        self.state().landed
    }

    fn apply(&self, request: CommitRequest) -> Result<CommitReceipt, StoreError> {
        self.engine.commit(request).now_or_never().expect("a commit in memory is ready at once")
    }

    /// Changes rows as somebody else would.
    pub(super) fn change(&self, mutations: Vec<Mutation>) {
        if !mutations.is_empty() {
            self.apply(CommitRequest { mutations, ..CommitRequest::default() }).expect("nothing to conflict with");
        }
    }

    fn land(&self, request: CommitRequest) {
        let result = self.apply(request).map(drop).map_err(|error| error.code);
        self.state().landed = Some(result);
    }

    fn decide(&self, request: CommitRequest) -> Result<CommitReceipt, StoreError> {
        let (late, struck) = {
            let mut state = self.state();
            state.commits += 1;
            (state.late.take(), state.strikes.pop_front())
        };
        if let Some((fate, meanwhile)) = struck {
            return self.struck(request, fate, meanwhile);
        }
        match late {
            Some((late, Fate::JustBeforeTheNext)) => {
                self.land(late);
                self.apply(request)
            }
            Some((late, _)) => {
                let result = self.apply(request);
                self.land(late);
                result
            }
            None => self.apply(request),
        }
    }

    fn struck(
        &self,
        request: CommitRequest,
        fate: Fate,
        meanwhile: Option<Meanwhile>,
    ) -> Result<CommitReceipt, StoreError> {
        let meanwhile = || meanwhile.into_iter().for_each(|meanwhile| meanwhile());
        let code = match fate {
            Fate::Overtaken => {
                meanwhile();
                return self.apply(request);
            }
            Fate::Done => {
                // A conflict is no unknown outcome.
                self.apply(request)?;
                StoreError::COMMIT_UNKNOWN_RESULT
            }
            Fate::NotDone => StoreError::COMMIT_UNKNOWN_RESULT,
            // After this one, unlike 1021, the commit may still happen.
            Fate::Held => {
                self.state().held.push(request);
                StoreError::CLUSTER_VERSION_CHANGED
            }
            Fate::JustBeforeTheNext | Fate::JustAfterTheNext => {
                self.state().late = Some((request, fate));
                StoreError::CLUSTER_VERSION_CHANGED
            }
        };
        meanwhile();
        Err(StoreError::new(code))
    }
}

impl Engine for Unlucky {
    fn read_version(&self, request: &ReadVersionRequest) -> BoxFuture<'_, Result<Version, StoreError>> {
        self.engine.read_version(request)
    }

    fn get_many(&self, keys: Vec<Bytes>, version: Version) -> BoxFuture<'_, Result<Vec<Option<Bytes>>, StoreError>> {
        self.state().reads += 1;
        self.engine.get_many(keys, version)
    }

    fn get_range(&self, read: RangeRead, version: Version) -> BoxFuture<'_, Result<RangePage, StoreError>> {
        self.engine.get_range(read, version)
    }

    fn commit(&self, request: CommitRequest) -> BoxFuture<'static, Result<CommitReceipt, StoreError>> {
        let result = self.decide(request);
        async move { result }.boxed()
    }

    fn watch(&self, key: Bytes, value: Option<Bytes>, version: Version) -> BoxFuture<'static, Result<(), StoreError>> {
        self.engine.watch(key, value, version)
    }

    fn exclusive(&self) -> bool {
        self.engine.exclusive()
    }

    fn kind(&self) -> &'static str {
        "unlucky"
    }
}

//! The store in memory, with a say in what a client is told of one commit.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;
use futures_util::{FutureExt as _, future::BoxFuture};

use crate::store::{
    MemoryEngine, RangePage, StoreError, Version,
    engine::{CommitReceipt, CommitRequest, Engine, RangeRead, ReadVersionRequest},
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
    /// The commit of this number, from 0.
    unlucky: Option<(u64, Fate, Option<Meanwhile>)>,
    held: Option<(CommitRequest, Fate)>,
    /// What became of the commit that was held, once it landed.
    landed: Option<Result<(), i32>>,
}

pub(super) struct Unlucky {
    engine: MemoryEngine,
    state: Arc<Mutex<State>>,
}

impl fmt::Debug for Unlucky {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Unlucky")
    }
}

impl Unlucky {
    pub(super) fn new(engine: MemoryEngine) -> Self {
        Self { engine, state: Arc::default() }
    }

    /// The next commit but `skip` has this fate, and `meanwhile` happens before its client hears.
    pub(super) fn strike(&self, skip: u64, fate: Fate, meanwhile: Option<Meanwhile>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let number = state.commits + skip;
        state.unlucky = Some((number, fate, meanwhile));
    }

    /// Whether a commit was struck since.
    pub(super) fn has_struck(&self) -> bool {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).unlucky.is_none()
    }

    /// Commits that were asked for so far.
    pub(super) fn commits(&self) -> u64 {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).commits
    }

    /// What became of a held commit: `Err` is the code by which it was refused.
    pub(super) fn landed(&self) -> Option<Result<(), i32>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).landed
    }

    fn apply(&self, request: CommitRequest) -> Result<CommitReceipt, StoreError> {
        self.engine.commit(request).now_or_never().expect("a commit in memory is ready at once")
    }

    fn land(&self, request: CommitRequest) {
        let result = self.apply(request).map(drop).map_err(|error| error.code);
        self.state.lock().unwrap_or_else(PoisonError::into_inner).landed = Some(result);
    }

    fn decide(&self, request: CommitRequest) -> Result<CommitReceipt, StoreError> {
        let (held, struck) = {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            let number = state.commits;
            state.commits += 1;
            let struck = state.unlucky.take_if(|(at, ..)| *at == number);
            (state.held.take(), struck)
        };
        if let Some((_, fate, meanwhile)) = struck {
            match fate {
                Fate::Overtaken => {
                    meanwhile.into_iter().for_each(|meanwhile| meanwhile());
                    return self.apply(request);
                }
                // A conflict is no unknown outcome.
                Fate::Done => drop(self.apply(request)?),
                Fate::NotDone => {}
                Fate::JustBeforeTheNext | Fate::JustAfterTheNext => {
                    self.state.lock().unwrap_or_else(PoisonError::into_inner).held = Some((request, fate));
                }
            }
            if let Some(meanwhile) = meanwhile {
                meanwhile();
            }
            let late = matches!(fate, Fate::JustBeforeTheNext | Fate::JustAfterTheNext);
            let code = if late { StoreError::CLUSTER_VERSION_CHANGED } else { StoreError::COMMIT_UNKNOWN_RESULT };
            return Err(StoreError::new(code));
        }
        match held {
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
}

impl Engine for Unlucky {
    fn read_version(&self, request: &ReadVersionRequest) -> BoxFuture<'_, Result<Version, StoreError>> {
        self.engine.read_version(request)
    }

    fn get_many(&self, keys: Vec<Bytes>, version: Version) -> BoxFuture<'_, Result<Vec<Option<Bytes>>, StoreError>> {
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

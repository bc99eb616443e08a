//! The engine of tests and of the simulator: nothing is durable, nothing waits, no threads.

use std::{
    collections::BTreeMap,
    ops::Bound,
    sync::{Arc, Mutex, PoisonError, RwLock},
};

use bytes::Bytes;
use futures_util::{
    FutureExt as _,
    future::{BoxFuture, ready},
};

use super::{
    RangePage, StoreError, Version,
    engine::{CommitReceipt, CommitRequest, Engine, RangeRead, ReadVersionRequest},
    mvcc::{Base, Core, Stage, VERSIONS_PER_SECOND, Versions, Visit, Window},
};
use crate::clock::SharedClock;

/// Versions that stay readable: five seconds.
const SPAN: u64 = 5 * VERSIONS_PER_SECOND;
/// Watches at once, FoundationDB's default.
pub(crate) const WATCHES_MAX: usize = 10_000;
/// Keys that one commit moves out of the window.
const FLUSH_KEYS: usize = 4096;

/// A strictly serializable store in memory. Clones are the same store.
#[derive(Clone, Debug)]
pub struct MemoryEngine(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    core: Core<MemoryBase>,
    stage: Mutex<Stage>,
}

impl MemoryEngine {
    /// An empty store. Versions follow the clock's monotonic time.
    pub fn new(clock: SharedClock) -> Self {
        Self::with_span(clock, SPAN)
    }

    /// An empty store whose versions stay readable for `span` of them.
    pub(crate) fn with_span(clock: SharedClock, span: u64) -> Self {
        let versions = Versions::new(clock, 1);
        let core = Core::new(MemoryBase::default(), versions, Window::default(), span, WATCHES_MAX);
        Self(Arc::new(Shared { core, stage: Mutex::default() }))
    }

    fn commit_now(&self, request: &CommitRequest) -> Result<CommitReceipt, StoreError> {
        let core = &self.0.core;
        let mut stage = self.0.stage.lock().unwrap_or_else(PoisonError::into_inner);
        let (version, results) = core.process(&mut stage, std::iter::once(request), |_| ());
        core.publish(version, true);
        // One batch in, at most a few out: the work of a commit stays bounded.
        core.flush(core.flush_limit(), FLUSH_KEYS)?;
        results.into_iter().next().expect("one request, one result")
    }
}

impl Engine for MemoryEngine {
    fn read_version(&self, _request: &ReadVersionRequest) -> BoxFuture<'_, Result<Version, StoreError>> {
        ready(Ok(Version(self.0.core.versions.read()))).boxed()
    }

    fn get_many(&self, keys: Vec<Bytes>, version: Version) -> BoxFuture<'_, Result<Vec<Option<Bytes>>, StoreError>> {
        ready(self.0.core.get_many(&keys, version)).boxed()
    }

    fn get_range(&self, read: RangeRead, version: Version) -> BoxFuture<'_, Result<RangePage, StoreError>> {
        ready(self.0.core.get_range(&read, version)).boxed()
    }

    fn commit(&self, request: CommitRequest) -> BoxFuture<'static, Result<CommitReceipt, StoreError>> {
        ready(self.commit_now(&request)).boxed()
    }

    fn watch(&self, key: Bytes, value: Option<Bytes>, _version: Version) -> BoxFuture<'static, Result<(), StoreError>> {
        match self.0.core.watch(key, value) {
            Ok(registered) => registered.wait().boxed(),
            Err(refused) => ready(Err(refused)).boxed(),
        }
    }

    fn exclusive(&self) -> bool {
        true
    }

    fn kind(&self) -> &'static str {
        "memory"
    }
}

/// A base in memory.
#[derive(Debug, Default)]
pub(crate) struct MemoryBase(RwLock<BTreeMap<Bytes, Bytes>>);

impl Base for MemoryBase {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        Ok(self.0.read().unwrap_or_else(PoisonError::into_inner).get(key).cloned())
    }

    fn scan(
        &self,
        begin: &[u8],
        end: &[u8],
        reverse: bool,
        visit: &mut dyn FnMut(&[u8], &[u8]) -> Visit,
    ) -> Result<Visit, StoreError> {
        let rows = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let mut range = rows.range::<[u8], _>((Bound::Included(begin), Bound::Excluded(end)));
        while let Some((key, value)) = if reverse { range.next_back() } else { range.next() } {
            let wish = visit(key, value);
            if wish != Visit::Next {
                return Ok(wish);
            }
        }
        Ok(Visit::Next)
    }

    fn advance(
        &self,
        _version: u64,
        cleared: &[(Bytes, Bytes)],
        changes: Vec<(Bytes, Option<Bytes>)>,
    ) -> Result<(), StoreError> {
        let mut rows = self.0.write().unwrap_or_else(PoisonError::into_inner);
        for (begin, end) in cleared {
            let range = rows.range::<Bytes, _>((Bound::Included(begin), Bound::Excluded(end)));
            let gone: Vec<Bytes> = range.map(|(key, _)| key.clone()).collect();
            for key in gone {
                rows.remove(&key);
            }
        }
        for (key, value) in changes {
            match value {
                Some(value) => rows.insert(key, value),
                None => rows.remove(&key),
            };
        }
        Ok(())
    }
}

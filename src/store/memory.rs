//! The engine of tests and of the simulator: nothing is durable, nothing waits, no threads.

use std::{
    collections::BTreeMap,
    ops::Bound,
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::Duration,
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

/// Watches at once, FoundationDB's default.
pub(crate) const WATCHES_MAX: usize = 10_000;
/// Keys that one commit moves out of the window.
const FLUSH_KEYS: usize = 4096;

/// How an engine in memory differs from FoundationDB's defaults.
#[derive(Clone, Copy, Debug)]
pub struct MemoryOptions {
    /// How long versions stay readable; in whole microseconds, at least one.
    pub window: Duration,
    /// Watches at once; 1032 beyond.
    pub watches_max: usize,
}

impl Default for MemoryOptions {
    fn default() -> Self {
        Self { window: Duration::from_secs(5), watches_max: WATCHES_MAX }
    }
}

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
        Self::with_options(clock, MemoryOptions::default())
    }

    /// An empty store with these settings.
    pub fn with_options(clock: SharedClock, options: MemoryOptions) -> Self {
        let micros = u64::try_from(options.window.as_micros()).unwrap_or(u64::MAX);
        let span = (micros.saturating_mul(VERSIONS_PER_SECOND) / 1_000_000).max(1);
        let versions = Versions::new(clock, 1);
        let core = Core::new(MemoryBase::default(), versions, Window::default(), span, options.watches_max);
        Self(Arc::new(Shared { core, stage: Mutex::default() }))
    }

    /// Commits `requests` in their order as one batch: at one version, in one instant.
    pub fn commit_batch(&self, requests: &[CommitRequest]) -> Vec<Result<CommitReceipt, StoreError>> {
        let core = &self.0.core;
        let mut stage = self.0.stage.lock().unwrap_or_else(PoisonError::into_inner);
        let (version, results) = core.process(&mut stage, requests.iter(), |_| ());
        core.publish(version, true);
        // One batch in, at most a few out: the work of a commit stays bounded.
        core.flush(core.flush_limit(), FLUSH_KEYS).expect("memory does not fail");
        results
    }

    /// Goes on `count` versions further, as FoundationDB does in a recovery: what was read
    /// before is too old afterwards if `count` is greater than the window.
    pub fn skip_versions(&self, count: u64) {
        let _stage = self.0.stage.lock().unwrap_or_else(PoisonError::into_inner);
        self.0.core.versions.skip(count);
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
        let result = self.commit_batch(&[request]).pop().expect("one request, one result");
        ready(result).boxed()
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

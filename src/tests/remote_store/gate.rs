//! An engine whose commits can be held up.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering},
};

use bytes::Bytes;
use escapement::store::{
    MemoryEngine, RangePage, StoreError, Version,
    engine::{CommitReceipt, CommitRequest, Engine, RangeRead, ReadVersionRequest},
};
use futures_util::{FutureExt as _, future::BoxFuture};
use tokio::sync::watch;

use super::world::clock;

/// Holds commits between their beginning and their taking effect.
#[derive(Debug)]
pub(crate) struct Gate {
    inner: MemoryEngine,
    open: watch::Sender<bool>,
    begun: AtomicUsize,
    ended: Arc<AtomicUsize>,
    /// Whether each request for a read version, and each commit, was lock-aware.
    lock_aware: Mutex<Vec<(&'static str, bool)>>,
}

impl Gate {
    pub(crate) fn new() -> Arc<Self> {
        let (inner, open) = (MemoryEngine::new(clock()), watch::channel(true).0);
        Arc::new(Self { inner, open, begun: AtomicUsize::new(0), ended: Arc::default(), lock_aware: Mutex::default() })
    }

    /// From now on commits wait, or all go on.
    pub(crate) fn set_open(&self, open: bool) {
        self.open.send_replace(open);
    }

    /// What was asked for since the last look, and whether it was lock-aware.
    pub(crate) fn take_lock_aware(&self) -> Vec<(&'static str, bool)> {
        std::mem::take(&mut self.lock_aware.lock().unwrap())
    }

    /// Commits that began, and that ended.
    pub(crate) fn commits(&self) -> (usize, usize) {
        (self.begun.load(Ordering::SeqCst), self.ended.load(Ordering::SeqCst))
    }
}

impl Engine for Gate {
    fn read_version(&self, request: &ReadVersionRequest) -> BoxFuture<'_, Result<Version, StoreError>> {
        self.lock_aware.lock().unwrap().push(("read version", request.lock_aware));
        self.inner.read_version(request)
    }

    fn get_many(&self, keys: Vec<Bytes>, version: Version) -> BoxFuture<'_, Result<Vec<Option<Bytes>>, StoreError>> {
        self.inner.get_many(keys, version)
    }

    fn get_range(&self, read: RangeRead, version: Version) -> BoxFuture<'_, Result<RangePage, StoreError>> {
        self.inner.get_range(read, version)
    }

    fn commit(&self, request: CommitRequest) -> BoxFuture<'static, Result<CommitReceipt, StoreError>> {
        self.lock_aware.lock().unwrap().push(("commit", request.lock_aware));
        self.begun.fetch_add(1, Ordering::SeqCst);
        let (inner, mut open, ended) = (self.inner.clone(), self.open.subscribe(), Arc::clone(&self.ended));
        async move {
            let _ = open.wait_for(|open| *open).await;
            let result = inner.commit(request).await;
            ended.fetch_add(1, Ordering::SeqCst);
            result
        }
        .boxed()
    }

    fn watch(&self, key: Bytes, value: Option<Bytes>, version: Version) -> BoxFuture<'static, Result<(), StoreError>> {
        self.inner.watch(key, value, version)
    }

    fn exclusive(&self) -> bool {
        true
    }

    fn kind(&self) -> &'static str {
        "gate"
    }
}

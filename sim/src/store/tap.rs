//! Listens at a client: which commits it sends, and what it is told.

use std::{fmt, sync::Arc};

use bytes::Bytes;
use escapement::store::{
    RangePage, StoreError, Version,
    engine::{CommitReceipt, CommitRequest, Engine, RangeRead, ReadVersionRequest},
};
use futures_util::{FutureExt as _, future::BoxFuture};

use super::{
    cluster::true_time,
    log::{CommitLog, SendId, Told},
};

/// An engine whose commits are noted in the log. Changes nothing.
pub struct Tap {
    engine: Arc<dyn Engine>,
    log: CommitLog,
    node: String,
}

impl fmt::Debug for Tap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tap").field("engine", &self.engine).field("node", &self.node).finish_non_exhaustive()
    }
}

impl Tap {
    /// Listens to the client of the node called `node`.
    pub fn new(engine: Arc<dyn Engine>, log: CommitLog, node: &str) -> Self {
        Self { engine, log, node: node.to_owned() }
    }
}

impl Engine for Tap {
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
        let mut waiting = Waiting { id: self.log.send(&self.node, true_time(), &request), log: Some(self.log.clone()) };
        let answer = self.engine.commit(request);
        async move {
            let answer = answer.await;
            waiting.told(match &answer {
                Ok(receipt) => Told::Acknowledged(receipt.version),
                Err(error) => Told::Failed(error.code),
            });
            answer
        }
        .boxed()
    }

    fn watch(&self, key: Bytes, value: Option<Bytes>, version: Version) -> BoxFuture<'static, Result<(), StoreError>> {
        self.engine.watch(key, value, version)
    }

    fn exclusive(&self) -> bool {
        self.engine.exclusive()
    }

    fn kind(&self) -> &'static str {
        self.engine.kind()
    }
}

/// A commit without an answer. Dropping it means that nobody waits any more.
struct Waiting {
    id: SendId,
    log: Option<CommitLog>,
}

impl Waiting {
    fn told(&mut self, told: Told) {
        if let Some(log) = self.log.take() {
            log.tell(self.id, true_time(), told);
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.told(Told::CutOff);
    }
}

//! Tests of the embedded store.

mod base;
mod disk;
mod faults;
mod files;
mod power;
mod recovery;
mod segments;
mod store;
mod synced;
mod versions;

use std::{path::Path, sync::Arc, time::Duration};

use bytes::Bytes;

use super::{EmbeddedEngine, EmbeddedOptions, OpenError};
use crate::{
    edge::SystemClock,
    store::{
        StoreError, Version,
        engine::{CommitReceipt, CommitRequest, Engine as _, RangeRead, ReadVersionRequest},
        mvcc::tests::bytes,
    },
};

fn open_with(dir: &Path, options: EmbeddedOptions) -> Result<EmbeddedEngine, OpenError> {
    EmbeddedEngine::open(dir, options, Arc::new(SystemClock::new()))
}

fn open(dir: &Path) -> EmbeddedEngine {
    open_with(dir, EmbeddedOptions::default()).unwrap()
}

/// Longer than anything takes here, however busy the machine is.
const PATIENCE: Duration = Duration::from_secs(60);

/// Waits for something that must come, or else panics with its name.
#[track_caller]
fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let come = runtime.block_on(async { tokio::time::timeout(PATIENCE, future).await });
    come.unwrap_or_else(|_| panic!("still not after {PATIENCE:?}: {what}"))
}

#[track_caller]
fn wait<T>(future: impl Future<Output = T>) -> T {
    soon("what this line waits for", future)
}

#[track_caller]
fn commit(engine: &EmbeddedEngine, request: CommitRequest) -> Result<CommitReceipt, StoreError> {
    wait(engine.commit(request))
}

fn newest(engine: &EmbeddedEngine) -> Version {
    wait(engine.read_version(&ReadVersionRequest::default())).unwrap()
}

fn value(engine: &EmbeddedEngine, key: &str) -> Option<Bytes> {
    wait(engine.get_many(vec![bytes(key)], newest(engine))).unwrap().remove(0)
}

fn all(engine: &EmbeddedEngine) -> Vec<(Bytes, Bytes)> {
    let read = RangeRead { begin: bytes(""), end: bytes("\u{7f}"), limit: 0, target_bytes: 0, reverse: false };
    wait(engine.get_range(read, newest(engine))).unwrap().rows
}

/// Waits for a condition that the store's own threads bring about.
fn until(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..3000 {
        if holds() {
            return;
        }
        std::thread::park_timeout(Duration::from_millis(10));
    }
    panic!("it never came to this: {what}");
}

//! Tests of the embedded store.

mod disk;
mod faults;
mod files;
mod power;
mod recovery;
mod segments;
mod store;

use std::{path::Path, sync::Arc};

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

fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

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
        std::thread::park_timeout(std::time::Duration::from_millis(10));
    }
    panic!("it never came to this: {what}");
}

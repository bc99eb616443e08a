//! Tests of the window, the resolver and versions, and what they share with the engines' own.

mod meanwhile;
mod memory;
pub(crate) mod reads;
mod resolver;
mod versions;
mod watches;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use escapement_engine::{Monotonic, Timestamp};
use futures_util::{
    FutureExt as _,
    future::{BoxFuture, pending},
};

use crate::{
    clock::Clock,
    store::engine::{CommitRequest, KeyRange, Mutation},
};

/// A clock that stands until it is moved.
#[derive(Debug, Default)]
pub(crate) struct TestClock(AtomicU64);

impl TestClock {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self::default())
    }

    pub(crate) fn advance(&self, span: Duration) {
        self.0.fetch_add(u64::try_from(span.as_nanos()).unwrap(), Ordering::SeqCst);
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_unix_ms(0)
    }

    fn monotonic(&self) -> Monotonic {
        Monotonic::from_nanos(self.0.load(Ordering::SeqCst))
    }

    fn sleep(&self, _span: Duration) -> BoxFuture<'static, ()> {
        pending().boxed()
    }
}

pub(crate) fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

pub(crate) fn one(key: &Bytes) -> KeyRange {
    KeyRange { begin: key.clone(), end: super::window::successor(key) }
}

/// A blind write of one key, with its conflict range.
pub(crate) fn set(key: &str, value: &str) -> CommitRequest {
    CommitRequest {
        write_conflicts: vec![one(&bytes(key))],
        mutations: vec![Mutation::Set(bytes(key), bytes(value))],
        ..CommitRequest::default()
    }
}

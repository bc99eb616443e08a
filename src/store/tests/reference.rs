//! An engine so simple that it is plainly right: a copy of everything for each version.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Mutex, MutexGuard},
};

use bytes::Bytes;
use futures_util::{FutureExt as _, future::BoxFuture};
use tokio::sync::oneshot;

use crate::store::{
    MutationKind, RangePage, StoreError, Version, atomic,
    engine::{CommitReceipt, CommitRequest, Engine, KeyRange, Mutation, RangeRead, ReadVersionRequest},
    versionstamp,
};

pub(super) type Rows = BTreeMap<Bytes, Bytes>;

/// What goes wrong with a commit.
#[derive(Clone, Copy, Debug)]
pub(super) enum CommitFault {
    /// Fails with this code, not applied.
    Fails(i32),
    /// Is applied and fails with this code.
    AppliesAndFails(i32),
    /// Never answers.
    Hangs,
}

#[derive(Debug, Default)]
pub(super) struct Inner {
    /// Every version that ever was; the first is empty.
    pub(super) versions: Vec<(Version, Rows)>,
    writes: Vec<(Version, Vec<KeyRange>)>,
    pub(super) requests: Vec<CommitRequest>,
    pub(super) commit_faults: VecDeque<CommitFault>,
    pub(super) version_faults: VecDeque<i32>,
    pub(super) read_faults: VecDeque<i32>,
    /// Read versions that were asked for.
    pub(super) version_requests: Vec<ReadVersionRequest>,
    /// Reads by key and by range.
    pub(super) reads: usize,
    pub(super) range_reads: Vec<RangeRead>,
    pub(super) hangs: bool,
    /// Rows of a page at most, whatever was asked for.
    pub(super) page_rows_max: usize,
    watches: Vec<(Bytes, Option<Bytes>, oneshot::Sender<()>)>,
}

#[derive(Debug)]
pub(super) struct Reference(Mutex<Inner>);

impl Default for Reference {
    fn default() -> Self {
        let versions = vec![(Version(100), Rows::new())];
        Self(Mutex::new(Inner { versions, page_rows_max: usize::MAX, ..Inner::default() }))
    }
}

impl Reference {
    pub(super) fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap()
    }

    pub(super) fn rows(&self) -> Rows {
        self.inner().versions.last().unwrap().1.clone()
    }
}

impl Inner {
    fn rows_at(&self, version: Version) -> Result<&Rows, StoreError> {
        let (newest, _) = self.versions.last().unwrap();
        if version > *newest {
            return Err(StoreError::new(StoreError::FUTURE_VERSION));
        }
        let found = self.versions.iter().rev().find(|(at, _)| *at <= version);
        found.map(|(_, rows)| rows).ok_or_else(|| StoreError::new(StoreError::TRANSACTION_TOO_OLD))
    }

    fn commit(&mut self, request: CommitRequest) -> Result<CommitReceipt, StoreError> {
        let (newest, rows) = self.versions.last().unwrap().clone();
        let receipt = CommitReceipt { version: Version(newest.0 + 10), batch_index: 3 };
        let mut written = request.write_conflicts.clone();
        self.requests.push(request.clone());
        if !request.read_conflicts.is_empty() {
            let read_at = request.read_version.expect("reads have a version");
            let later = self.writes.iter().filter(|(at, _)| *at > read_at).flat_map(|(_, ranges)| ranges);
            for write in later {
                if request.read_conflicts.iter().any(|read| read.begin < write.end && write.begin < read.end) {
                    return Err(StoreError::new(StoreError::NOT_COMMITTED));
                }
            }
        }
        let mut rows = rows;
        for mutation in request.mutations {
            if let Some(key) = apply(&mut rows, mutation, receipt)? {
                let end = [&key[..], &[0]].concat().into();
                written.push(KeyRange { begin: key, end });
            }
        }
        self.writes.push((receipt.version, written));
        self.watches.retain(|(key, seen, _)| rows.get(key) == seen.as_ref());
        self.versions.push((receipt.version, rows));
        Ok(receipt)
    }
}

/// Applies one mutation; gives back the key of a versionstamped one.
fn apply(rows: &mut Rows, mutation: Mutation, receipt: CommitReceipt) -> Result<Option<Bytes>, StoreError> {
    let stamp = receipt.versionstamp();
    match mutation {
        Mutation::Set(key, value) => drop(rows.insert(key, value)),
        Mutation::Clear(key) => drop(rows.remove(&key)),
        Mutation::ClearRange(begin, end) => rows.retain(|key, _| *key < begin || *key >= end),
        Mutation::Atomic(MutationKind::SetVersionstampedKey, key, value) => {
            let key = versionstamp::resolve_key(&key, stamp)?;
            rows.insert(key.clone(), value);
            return Ok(Some(key));
        }
        Mutation::Atomic(MutationKind::SetVersionstampedValue, key, value) => {
            rows.insert(key, versionstamp::resolve_value(&value, stamp)?);
        }
        Mutation::Atomic(kind, key, operand) => {
            match atomic::apply(kind, rows.get(&key).map(|value| &**value), &operand) {
                Some(value) => drop(rows.insert(key, value)),
                None => drop(rows.remove(&key)),
            }
        }
    }
    Ok(None)
}

fn ready<T: Send + 'static>(result: Result<T, StoreError>) -> BoxFuture<'static, Result<T, StoreError>> {
    async { result }.boxed()
}

impl Engine for Reference {
    fn read_version(&self, request: &ReadVersionRequest) -> BoxFuture<'_, Result<Version, StoreError>> {
        let mut inner = self.inner();
        inner.version_requests.push(request.clone());
        if let Some(code) = inner.version_faults.pop_front() {
            return ready(Err(StoreError::new(code)));
        }
        ready(Ok(inner.versions.last().unwrap().0))
    }

    fn get_many(&self, keys: Vec<Bytes>, version: Version) -> BoxFuture<'_, Result<Vec<Option<Bytes>>, StoreError>> {
        let mut inner = self.inner();
        inner.reads += 1;
        if inner.hangs {
            return futures_util::future::pending().boxed();
        }
        if let Some(code) = inner.read_faults.pop_front() {
            return ready(Err(StoreError::new(code)));
        }
        let rows = inner.rows_at(version);
        ready(rows.map(|rows| keys.iter().map(|key| rows.get(key).cloned()).collect()))
    }

    fn get_range(&self, read: RangeRead, version: Version) -> BoxFuture<'_, Result<RangePage, StoreError>> {
        let mut inner = self.inner();
        inner.range_reads.push(read.clone());
        assert!(read.begin < read.end, "the transaction asks for no empty range");
        if inner.hangs {
            return futures_util::future::pending().boxed();
        }
        let limit = if read.limit == 0 { usize::MAX } else { read.limit }.min(inner.page_rows_max);
        let rows = match inner.rows_at(version) {
            Ok(rows) => rows.range(read.begin.clone()..read.end.clone()),
            Err(error) => return ready(Err(error)),
        };
        let mut all: Vec<_> = rows.map(|(key, value)| (key.clone(), value.clone())).collect();
        if read.reverse {
            all.reverse();
        }
        let more = all.len() > limit;
        all.truncate(limit);
        ready(Ok(RangePage { rows: all, more }))
    }

    fn commit(&self, request: CommitRequest) -> BoxFuture<'static, Result<CommitReceipt, StoreError>> {
        let mut inner = self.inner();
        match inner.commit_faults.pop_front() {
            None => ready(inner.commit(request)),
            Some(CommitFault::Fails(code)) => ready(Err(StoreError::new(code))),
            Some(CommitFault::AppliesAndFails(code)) => ready(inner.commit(request).and(Err(StoreError::new(code)))),
            Some(CommitFault::Hangs) => futures_util::future::pending().boxed(),
        }
    }

    fn watch(&self, key: Bytes, value: Option<Bytes>, _: Version) -> BoxFuture<'static, Result<(), StoreError>> {
        let mut inner = self.inner();
        if inner.versions.last().unwrap().1.get(&key) != value.as_ref() {
            return ready(Ok(()));
        }
        let (alive, gone) = oneshot::channel();
        inner.watches.push((key, value, alive));
        // The engine drops its end once the value differs.
        gone.map(|_| Ok(())).boxed()
    }

    fn exclusive(&self) -> bool {
        true
    }

    fn kind(&self) -> &'static str {
        "reference"
    }
}

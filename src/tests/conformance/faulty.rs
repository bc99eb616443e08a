//! Engines with a fault each, to show that the checks find it.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use bytes::Bytes;
use escapement::store::{
    MemoryEngine, MutationKind, RangePage, StoreError, Version,
    engine::{CommitReceipt, CommitRequest, Engine, Mutation, RangeRead, ReadVersionRequest},
};
use futures_util::{
    FutureExt as _,
    future::{BoxFuture, ready},
};

/// What an engine does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The resolver is not told what was read.
    IgnoresReads,
    /// Nor what a range read found to be empty: only single keys conflict.
    IgnoresRanges,
    /// Read versions lag behind.
    ReadsTheBeforeLast,
    /// The first mutation of a larger commit is lost.
    LosesTheFirst,
    /// Additions add one too many.
    AddsOneMore,
    /// A page from the end leaves its first row out, when there is a limit.
    SkipsWhenReversed,
    /// The end of a cleared range is cleared, too.
    ClearsTheEnd,
    /// A refused commit is applied all the same.
    AppliesWhatItRefuses,
    /// This one of its reads and commits, counted from 0, comes too late, as on a busy machine.
    IsLateOnce(u64),
}

/// The store in memory, with a fault.
#[derive(Debug)]
pub(crate) struct Faulty {
    pub(crate) engine: MemoryEngine,
    pub(crate) fault: Fault,
    /// Reads and commits so far.
    pub(crate) calls: AtomicU64,
}

/// How far read versions lag: more than the commits of one instant.
const LAG: u64 = 200;

impl Faulty {
    /// Fails the call that is to be late.
    fn in_time(&self) -> Result<(), StoreError> {
        let number = self.calls.fetch_add(1, Relaxed);
        match self.fault {
            Fault::IsLateOnce(late) if late == number => Err(StoreError::new(StoreError::TRANSACTION_TOO_OLD)),
            _ => Ok(()),
        }
    }

    fn spoil(&self, request: &mut CommitRequest) {
        match self.fault {
            Fault::IgnoresReads => request.read_conflicts.clear(),
            Fault::IgnoresRanges => {
                request.read_conflicts.retain(|range| range.end.strip_prefix(&range.begin[..]) == Some(&[0]));
            }
            Fault::LosesTheFirst if request.mutations.len() > 2 => drop(request.mutations.remove(0)),
            Fault::AddsOneMore => {
                for mutation in &mut request.mutations {
                    if let Mutation::Atomic(MutationKind::Add, _, operand) = mutation
                        && let Some(first) = operand.first()
                    {
                        *operand = [&[first.wrapping_add(1)], &operand[1..]].concat().into();
                    }
                }
            }
            Fault::ClearsTheEnd => {
                for mutation in &mut request.mutations {
                    if let Mutation::ClearRange(_, end) = mutation {
                        *end = [&end[..], &[0]].concat().into();
                    }
                }
            }
            _ => {}
        }
    }
}

impl Engine for Faulty {
    fn read_version(&self, request: &ReadVersionRequest) -> BoxFuture<'_, Result<Version, StoreError>> {
        let newest = self.engine.read_version(request);
        let lag = if self.fault == Fault::ReadsTheBeforeLast { LAG } else { 0 };
        newest.map(move |version| version.map(|version| Version(version.0.saturating_sub(lag).max(1)))).boxed()
    }

    fn get_many(&self, keys: Vec<Bytes>, version: Version) -> BoxFuture<'_, Result<Vec<Option<Bytes>>, StoreError>> {
        match self.in_time() {
            Ok(()) => self.engine.get_many(keys, version),
            Err(late) => ready(Err(late)).boxed(),
        }
    }

    fn get_range(&self, read: RangeRead, version: Version) -> BoxFuture<'_, Result<RangePage, StoreError>> {
        if let Err(late) = self.in_time() {
            return ready(Err(late)).boxed();
        }
        let skips = self.fault == Fault::SkipsWhenReversed && read.reverse && read.limit > 0;
        let page = self.engine.get_range(read, version);
        page.map(move |page| {
            page.map(|mut page| {
                if skips && page.rows.len() > 1 {
                    page.rows.remove(0);
                }
                page
            })
        })
        .boxed()
    }

    fn commit(&self, mut request: CommitRequest) -> BoxFuture<'static, Result<CommitReceipt, StoreError>> {
        if let Err(late) = self.in_time() {
            return ready(Err(late)).boxed();
        }
        self.spoil(&mut request);
        if self.fault != Fault::AppliesWhatItRefuses {
            return self.engine.commit(request);
        }
        let engine = self.engine.clone();
        async move {
            let result = engine.commit(request.clone()).await;
            if result.is_err() {
                request.read_conflicts.clear();
                engine.commit(request).await?;
            }
            result
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
        "faulty"
    }
}

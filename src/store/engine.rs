//! What lies beneath our client-side transaction: the small part of a database that the
//! embedded, in-memory, simulated and remote stores each do in their own way.

use std::fmt;

use bytes::Bytes;
use futures_util::future::BoxFuture;

use super::{MutationKind, RangePage, StoreError, Version, Versionstamp};

/// Keys from `begin` (inclusive) to `end` (exclusive).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct KeyRange {
    /// First key.
    pub begin: Bytes,
    /// First key beyond.
    pub end: Bytes,
}

/// One change of a commit, in the order in which it is applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mutation {
    /// Key and value.
    Set(Bytes, Bytes),
    /// One key.
    Clear(Bytes),
    /// Keys from the first (inclusive) to the second (exclusive).
    ClearRange(Bytes, Bytes),
    /// An atomic operation on a key, with its operand. The engine computes it on the value
    /// of the moment; versionstamped kinds carry their placeholder and offset.
    Atomic(MutationKind, Bytes, Bytes),
}

/// How a transaction asks for its read version.
#[derive(Clone, Debug, Default)]
pub struct ReadVersionRequest {
    /// Served after everything else.
    pub batch_priority: bool,
    /// Served before everything else.
    pub immediate: bool,
    /// May lag, but costs less.
    pub causal_read_risky: bool,
    /// Works on a locked database.
    pub lock_aware: bool,
    /// For throttling by tag.
    pub tags: Vec<String>,
}

/// A range read at a version.
#[derive(Clone, Debug)]
pub struct RangeRead {
    /// First key.
    pub begin: Bytes,
    /// First key beyond.
    pub end: Bytes,
    /// Rows at most; 0: no limit.
    pub limit: usize,
    /// Bytes of keys and values after which the page ends (at least one row); 0: no limit.
    pub target_bytes: usize,
    /// From the end backwards.
    pub reverse: bool,
}

/// A transaction that asks to be committed.
#[derive(Clone, Debug, Default)]
pub struct CommitRequest {
    /// Version that its reads were of; `None` when it read nothing.
    pub read_version: Option<Version>,
    /// What it read. Any of it written after `read_version`: 1020.
    pub read_conflicts: Vec<KeyRange>,
    /// What later transactions conflict with. Versionstamped keys are not among them: whoever
    /// resolves the stamp adds the key that comes out.
    pub write_conflicts: Vec<KeyRange>,
    /// What it changes.
    pub mutations: Vec<Mutation>,
    /// Works on a locked database.
    pub lock_aware: bool,
}

/// A commit that has happened, durably.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommitReceipt {
    /// Version of its batch.
    pub version: Version,
    /// Its place in the batch: the low two bytes of its versionstamp.
    pub batch_index: u16,
}

impl CommitReceipt {
    /// What the commit's versionstamped keys and values hold.
    pub fn versionstamp(&self) -> Versionstamp {
        Versionstamp::new(self.version, self.batch_index)
    }
}

/// A strictly serializable, multi-version key-value engine.
///
/// A read version is at least the version of every commit that was acknowledged before it
/// was asked for (unless `causal_read_risky`). Reads at versions older than about five
/// seconds are refused with 1007, newer than the newest with 1009.
pub trait Engine: Send + Sync + fmt::Debug + 'static {
    /// The newest version that is known to be durable.
    fn read_version(&self, request: &ReadVersionRequest) -> BoxFuture<'_, Result<Version, StoreError>>;

    /// Values of `keys` at `version`, in their order.
    fn get_many(&self, keys: Vec<Bytes>, version: Version) -> BoxFuture<'_, Result<Vec<Option<Bytes>>, StoreError>>;

    /// Rows of a range at `version`. A page may end before the limits of `read`, after at least
    /// one row and with [`RangePage::more`].
    fn get_range(&self, read: RangeRead, version: Version) -> BoxFuture<'_, Result<RangePage, StoreError>>;

    /// Checks conflicts, applies and makes durable; resolves only then. Runs to its end even
    /// if the future is dropped.
    fn commit(&self, request: CommitRequest) -> BoxFuture<'static, Result<CommitReceipt, StoreError>>;

    /// Resolves once the value of `key` differs from `value`, which it had at `version`. A
    /// hint: may come late or spuriously. 1032 when there are too many.
    fn watch(&self, key: Bytes, value: Option<Bytes>, version: Version) -> BoxFuture<'static, Result<(), StoreError>>;

    /// Only one process can have this store open, so whoever opens it may take every lease at
    /// once: their holders are dead.
    fn exclusive(&self) -> bool;

    /// For people: "embedded", "memory", "remote", ...
    fn kind(&self) -> &'static str;
}

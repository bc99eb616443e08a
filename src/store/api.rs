//! The contract as Rust types: what FoundationDB's C API offers, no more and no less.

use std::{fmt, sync::Arc};

use bytes::Bytes;
use futures_util::future::BoxFuture;

use super::StoreError;

/// A position in the order of commits. Versions order; they do not measure time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(pub u64);

/// Ten bytes that order all committed mutations: commit version (8) and number within the
/// batch (2), big-endian.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Versionstamp(pub [u8; 10]);

impl Versionstamp {
    /// The stamp of the commit at this version and place in its batch.
    pub fn new(version: Version, batch_index: u16) -> Self {
        let mut stamp = [0; 10];
        stamp[..8].copy_from_slice(&version.0.to_be_bytes());
        stamp[8..].copy_from_slice(&batch_index.to_be_bytes());
        Self(stamp)
    }
}

/// Names a key by its place beside another: the first key greater than (or equal to) `key`,
/// moved by `offset` keys. FoundationDB's terms: `or_equal` and `offset` as in `fdb_c.h`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeySelector {
    /// Reference key.
    pub key: Bytes,
    /// Whether the reference key itself counts as before the selected place.
    pub or_equal: bool,
    /// Keys to move: 1 is the first after the place, 0 the last before it.
    pub offset: i32,
}

impl KeySelector {
    /// The last key less than `key`.
    pub fn last_less_than(key: impl Into<Bytes>) -> Self {
        Self { key: key.into(), or_equal: false, offset: 0 }
    }

    /// The last key less than or equal to `key`.
    pub fn last_less_or_equal(key: impl Into<Bytes>) -> Self {
        Self { key: key.into(), or_equal: true, offset: 0 }
    }

    /// The first key greater than `key`.
    pub fn first_greater_than(key: impl Into<Bytes>) -> Self {
        Self { key: key.into(), or_equal: true, offset: 1 }
    }

    /// The first key greater than or equal to `key`.
    pub fn first_greater_or_equal(key: impl Into<Bytes>) -> Self {
        Self { key: key.into(), or_equal: false, offset: 1 }
    }
}

/// How eagerly a range read fetches. A hint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StreamingMode {
    /// Everything, soon.
    WantAll,
    /// Growing pages.
    #[default]
    Iterator,
    /// As many rows as the limit says, at once.
    Exact,
    /// Little, cheaply.
    Small,
    /// Middling.
    Medium,
    /// Much.
    Large,
    /// As fast as can be.
    Serial,
}

/// A range read: from `begin` (inclusive) to `end` (exclusive), in key order.
#[derive(Clone, Debug)]
pub struct RangeOptions {
    /// First key.
    pub begin: KeySelector,
    /// First key beyond.
    pub end: KeySelector,
    /// Rows at most; 0: no limit of rows.
    pub limit: usize,
    /// Bytes of keys and values after which a page ends (it has at least one row); 0: the
    /// implementation's choice.
    pub target_bytes: usize,
    /// From the end backwards.
    pub reverse: bool,
    /// How eagerly.
    pub mode: StreamingMode,
}

impl RangeOptions {
    /// All keys from `begin` (inclusive) to `end` (exclusive).
    pub fn new(begin: impl Into<Bytes>, end: impl Into<Bytes>) -> Self {
        Self {
            begin: KeySelector::first_greater_or_equal(begin),
            end: KeySelector::first_greater_or_equal(end),
            limit: 0,
            target_bytes: 0,
            reverse: false,
            mode: StreamingMode::Iterator,
        }
    }

    /// With at most `rows` rows, fetched at once.
    #[must_use]
    pub fn limit(mut self, rows: usize) -> Self {
        self.limit = rows;
        self.mode = StreamingMode::Exact;
        self
    }

    /// From the end backwards.
    #[must_use]
    pub fn reverse(mut self) -> Self {
        self.reverse = true;
        self
    }
}

/// Rows of a range read, in the order asked for.
#[derive(Clone, Debug, Default)]
pub struct RangePage {
    /// Keys and values.
    pub rows: Vec<(Bytes, Bytes)>,
    /// The range may hold more rows beyond these.
    pub more: bool,
}

/// FoundationDB's atomic operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MutationKind {
    /// Little-endian addition.
    Add,
    /// Bitwise and.
    And,
    /// Bitwise or.
    Or,
    /// Bitwise exclusive or.
    Xor,
    /// Appends while the value stays within the limit.
    AppendIfFits,
    /// Larger of two little-endian numbers.
    Max,
    /// Smaller of two little-endian numbers.
    Min,
    /// Larger of two byte strings.
    ByteMax,
    /// Smaller of two byte strings.
    ByteMin,
    /// Clears the key if its value equals the operand.
    CompareAndClear,
    /// Sets the key with ten bytes of it replaced by the commit's versionstamp; the last
    /// four bytes of the key are the little-endian offset of the place.
    SetVersionstampedKey,
    /// Sets the value, likewise.
    SetVersionstampedValue,
}

/// Which conflicts a range takes part in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConflictKind {
    /// As if the range had been read.
    Read,
    /// As if the range had been written.
    Write,
}

/// Settings of one transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TransactionOption {
    /// Milliseconds until the transaction fails with 1031; 0: never. Survives `on_error`.
    TimeoutMs(u64),
    /// `on_error` calls that retry; -1: no limit. Survives `on_error`.
    RetryLimit(i64),
    /// Longest backoff of `on_error`, milliseconds. Survives `on_error`.
    MaxRetryDelayMs(u64),
    /// Bytes at commit above which 2101 is raised: 32 to 10,000,000.
    SizeLimit(usize),
    /// The next write gets no write conflict range.
    NextWriteNoWriteConflictRange,
    /// Reads do not see this transaction's own writes.
    ReadYourWritesDisable,
    /// Snapshot reads do not see this transaction's own writes.
    SnapshotRywDisable,
    /// Background work: served after everything else.
    PriorityBatch,
    /// Served before everything else.
    PrioritySystemImmediate,
    /// A read version that may lag, but costs less.
    CausalReadRisky,
    /// Name for throttling by tag.
    Tag(String),
    /// Runs even when the database is locked.
    LockAware,
}

/// What FoundationDB's transaction can do. Object-safe; [`Transaction`] is the handle that
/// code uses.
///
/// Reads run concurrently with each other; a call after [`Transact::commit`] has begun is
/// refused with 2017.
pub trait Transact: Send + Sync + fmt::Debug {
    /// Sets an option.
    fn set_option(&self, option: TransactionOption) -> Result<(), StoreError>;

    /// The version that reads are of; the same for the whole transaction.
    fn read_version(&self) -> BoxFuture<'_, Result<Version, StoreError>>;

    /// Reads at `version` instead of the newest. Without effect once something was read.
    fn set_read_version(&self, version: Version);

    /// Values of `keys`, in their order, fetched at once.
    fn get_many<'a>(
        &'a self,
        keys: Vec<Bytes>,
        snapshot: bool,
    ) -> BoxFuture<'a, Result<Vec<Option<Bytes>>, StoreError>>;

    /// The key that the selector names; empty before the first, `\xff` beyond the last.
    fn get_key(&self, selector: KeySelector, snapshot: bool) -> BoxFuture<'_, Result<Bytes, StoreError>>;

    /// One page of a range read.
    fn get_range(&self, range: RangeOptions, snapshot: bool) -> BoxFuture<'_, Result<RangePage, StoreError>>;

    /// Sets a key.
    fn set(&self, key: Bytes, value: Bytes) -> Result<(), StoreError>;

    /// Clears a key.
    fn clear(&self, key: Bytes) -> Result<(), StoreError>;

    /// Clears the keys from `begin` (inclusive) to `end` (exclusive).
    fn clear_range(&self, begin: Bytes, end: Bytes) -> Result<(), StoreError>;

    /// An atomic operation, which reads nothing as far as conflicts go.
    fn mutate(&self, kind: MutationKind, key: Bytes, operand: Bytes) -> Result<(), StoreError>;

    /// Adds a conflict range.
    fn add_conflict_range(&self, begin: Bytes, end: Bytes, kind: ConflictKind) -> Result<(), StoreError>;

    /// Resolves after the commit of a later change of `key`; only a hint. Lives on after the
    /// transaction's commit; fails if it is not committed.
    fn watch(&self, key: Bytes) -> BoxFuture<'static, Result<(), StoreError>>;

    /// Commits. Afterwards only [`Transact::committed_version`], [`Transact::versionstamp`],
    /// [`Transact::on_error`] and [`Transact::reset`] may be called.
    fn commit(&self) -> BoxFuture<'_, Result<(), StoreError>>;

    /// Version of the last commit that succeeded; 2021 if there was none, or it wrote nothing. As in
    /// FoundationDB, what fails, is cancelled, reset or tried again afterwards does not change it.
    fn committed_version(&self) -> Result<Version, StoreError>;

    /// Versionstamp of the commit; to be asked for before the commit, resolves after it.
    fn versionstamp(&self) -> BoxFuture<'static, Result<Versionstamp, StoreError>>;

    /// Waits as FoundationDB's backoff does and resets the transaction if the error may be
    /// retried; gives the error back if not.
    fn on_error(&self, error: StoreError) -> BoxFuture<'_, Result<(), StoreError>>;

    /// Bytes that the commit would count against the limit.
    fn approximate_size(&self) -> BoxFuture<'_, Result<usize, StoreError>>;

    /// Back to the beginning, with default options.
    fn reset(&self);

    /// Ends everything outstanding with 1025.
    fn cancel(&self);
}

/// A handle on one transaction; clones are the same transaction.
#[derive(Clone, Debug)]
pub struct Transaction(Arc<dyn Transact>);

impl Transaction {
    /// Wraps an implementation.
    pub fn new(inner: Arc<dyn Transact>) -> Self {
        Self(inner)
    }

    /// The implementation, for the less common calls.
    pub fn raw(&self) -> &dyn Transact {
        &*self.0
    }

    /// Value of `key`; conflicts with later writes to it.
    ///
    /// # Errors
    /// As FoundationDB: 1007, 1009, 1036, 1037, ...
    pub async fn get(&self, key: impl Into<Bytes>) -> Result<Option<Bytes>, StoreError> {
        let values = self.0.get_many(vec![key.into()], false).await?;
        Ok(values.into_iter().next().flatten())
    }

    /// Value of `key`, without a conflict.
    ///
    /// # Errors
    /// As [`Transaction::get`].
    pub async fn get_snapshot(&self, key: impl Into<Bytes>) -> Result<Option<Bytes>, StoreError> {
        let values = self.0.get_many(vec![key.into()], true).await?;
        Ok(values.into_iter().next().flatten())
    }

    /// Values of `keys`, in their order, fetched at once; conflicts with later writes to them.
    ///
    /// # Errors
    /// As [`Transaction::get`].
    pub async fn get_many(&self, keys: Vec<Bytes>) -> Result<Vec<Option<Bytes>>, StoreError> {
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        self.0.get_many(keys, false).await
    }

    /// One page of a range.
    ///
    /// # Errors
    /// As [`Transaction::get`].
    pub async fn get_range(&self, range: RangeOptions) -> Result<RangePage, StoreError> {
        self.0.get_range(range, false).await
    }

    /// One page of a range, without conflicts.
    ///
    /// # Errors
    /// As [`Transaction::get`].
    pub async fn get_range_snapshot(&self, range: RangeOptions) -> Result<RangePage, StoreError> {
        self.0.get_range(range, true).await
    }

    /// Sets a key.
    ///
    /// # Errors
    /// 2102, 2103 on size; 2004 outside the legal range; 2017 during commit.
    pub fn set(&self, key: impl Into<Bytes>, value: impl Into<Bytes>) -> Result<(), StoreError> {
        self.0.set(key.into(), value.into())
    }

    /// Clears a key.
    ///
    /// # Errors
    /// As [`Transaction::set`].
    pub fn clear(&self, key: impl Into<Bytes>) -> Result<(), StoreError> {
        self.0.clear(key.into())
    }

    /// Clears the keys from `begin` (inclusive) to `end` (exclusive).
    ///
    /// # Errors
    /// As [`Transaction::set`]; 2005 if `begin` is after `end`.
    pub fn clear_range(&self, begin: impl Into<Bytes>, end: impl Into<Bytes>) -> Result<(), StoreError> {
        self.0.clear_range(begin.into(), end.into())
    }
}

/// What [`super::Database::run`] gives back once its transaction is committed.
#[derive(Clone, Debug)]
pub struct Committed<T> {
    /// What the body computed, in the try that was committed.
    pub value: T,
    /// Version of the commit; `None` for a transaction that wrote nothing.
    pub version: Option<Version>,
}

/// Tells a transaction's body which try this is.
#[derive(Clone, Copy, Debug)]
pub struct Try {
    /// From 1.
    pub number: u32,
    /// An earlier try may have been committed: look for its marker first.
    pub maybe_committed: bool,
}

/// Why a transaction's body gave up.
#[derive(Debug)]
pub enum Abort<E> {
    /// The store failed; the runner decides whether to try again.
    Store(StoreError),
    /// The body refuses: nothing is committed, and this goes to the caller.
    Refuse(E),
}

impl<E> From<StoreError> for Abort<E> {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

//! The reading half: keys are fetched at once, selectors become ranges under the prefix.

use std::sync::Arc;

use bytes::{BufMut as _, Bytes, BytesMut};
use escapement_engine::Monotonic;
use escapement_fdb_client::foundationdb::{
    FdbResult, RangeOption, Transaction,
    future::FdbValues,
    options::{StreamingMode as Native, TransactionOption as NativeOption},
};
use futures_util::{
    FutureExt as _, TryFutureExt as _,
    future::{BoxFuture, Either, select, try_join_all},
};

use super::{
    Prefix,
    transaction::{FdbTransaction, State, store_error},
};
use crate::store::{
    ConflictKind, KeySelector, RangeOptions, RangePage, StoreError, StreamingMode, Version,
    client::{
        epoch::Epoch,
        ranges::key_after,
        reads::{Place, page_bytes, selector_conflicts},
        scan::Scan,
        writes::check_legal,
    },
};

impl FdbTransaction {
    /// The one read version of this life.
    pub(super) async fn version(&self) -> Result<Version, StoreError> {
        let asked = self.clock.monotonic();
        let started = self.while_open(|tx, state| {
            state.has_asked = true;
            (tx.get_read_version(), Arc::clone(&state.epoch))
        });
        match started {
            Some((version, epoch)) => self.learn(&epoch, asked, version.await),
            // A commit does not end it: it has a version still.
            None => self.late_version()?.await.and_then(to_version),
        }
    }

    /// Takes the time of the first read version of a life.
    fn learn(&self, epoch: &Epoch, asked: Monotonic, version: FdbResult<i64>) -> Result<Version, StoreError> {
        let version = to_version(version.map_err(store_error)?)?;
        if epoch.version.set(version).is_ok() {
            self.metrics.read_version.record(self.clock.monotonic().since(asked));
        }
        Ok(version)
    }

    /// Waits for a read that has been started. The client asks for the read version by itself;
    /// this only looks when it comes. It is not looked for once something has been written: a
    /// read that is answered from that needs no version, and must not fix one.
    async fn measured<T>(
        &self,
        reading: Reading,
        read: impl Future<Output = FdbResult<T>> + Unpin,
    ) -> Result<T, StoreError> {
        let Reading { epoch, version } = reading;
        let read = read.map_err(store_error);
        let Some(version) = version else { return read.await };
        let asked = self.clock.monotonic();
        match select(version, read).await {
            Either::Left((version, read)) => {
                // What kept the version from coming keeps the read from coming, too, and that
                // is what counts.
                let _ = self.learn(&epoch, asked, version);
                read.await
            }
            // It was answered from what this transaction wrote.
            Either::Right((read, _)) => read,
        }
    }

    pub(super) async fn read_keys(&self, keys: Vec<Bytes>, snapshot: bool) -> Result<Vec<Option<Bytes>>, StoreError> {
        let mut values = vec![None; keys.len()];
        let (slots, reading, reads) = self.enter(|tx, state| {
            let mut slots = Vec::with_capacity(keys.len());
            let mut reads = Vec::with_capacity(keys.len());
            for (slot, key) in keys.into_iter().enumerate() {
                check_legal(&key, false)?;
                // There is no longer key.
                if key.len() <= self.prefix.key_bytes_max() {
                    reads.push(tx.get(&self.prefix.key(&key), snapshot));
                    slots.push(slot);
                }
            }
            Ok::<_, StoreError>((slots, state.reading(tx, !reads.is_empty()), reads))
        })??;
        let read = self.measured(reading, try_join_all(reads)).await?;
        for (slot, value) in slots.into_iter().zip(read) {
            values[slot] = value.map(|value| Bytes::copy_from_slice(&value));
        }
        Ok(values)
    }

    pub(super) async fn read_key(&self, selector: KeySelector, snapshot: bool) -> Result<Bytes, StoreError> {
        self.find(&Place::of(selector)?, Reads::of(snapshot)).await
    }

    pub(super) async fn read_range(&self, range: RangeOptions, snapshot: bool) -> Result<RangePage, StoreError> {
        page_bytes(&range)?;
        let RangeOptions { limit, target_bytes, reverse, mode, .. } = range;
        let (begin, end) = (Place::of(range.begin)?, Place::of(range.end)?);
        if begin.offset >= end.offset && begin.key >= end.key {
            return self.enter(|_, _| RangePage::default());
        }
        // A page that stops early does not depend on where its far end lies, so that one is found
        // without conflicts, and those there are, are added afterwards.
        let finds = if snapshot { Reads::Snapshot } else { Reads::Unnoted };
        let first = if begin.is_bound() { begin.key.clone() } else { self.find(&begin, finds).await? };
        let beyond = if end.is_bound() { end.key.clone() } else { self.find(&end, finds).await? };
        let page = if first < beyond {
            let (first, beyond) = (self.prefix.key(&first), self.prefix.key(&beyond));
            let mut native = RangeOption::from((&*first, &*beyond));
            native.limit = (limit > 0).then_some(limit);
            native.target_bytes = target_bytes;
            native.reverse = reverse;
            native.mode = native_mode(mode);
            self.page(&native, Reads::of(snapshot)).await?
        } else {
            self.enter(|_, _| RangePage::default())?
        };
        if !snapshot {
            for (from, to) in selector_conflicts((&begin, &first), (&end, &beyond), page.more, reverse) {
                self.note_conflict(from, to, ConflictKind::Read)?;
            }
        }
        Ok(page)
    }

    /// The key at a place, among the keys under the prefix. Reads the rows that it counts, which
    /// notes the same conflicts as the client's own `get_key`, but never beyond the prefix.
    async fn find(&self, place: &Place, reads: Reads) -> Result<Bytes, StoreError> {
        let (Scan { mut begin, mut end, rows_max, reverse, .. }, otherwise) = place.scan();
        let mut left = rows_max;
        while left > 0 && begin < end {
            let (first, beyond) = (self.prefix.key(&begin), self.prefix.key(&end));
            let mut native = RangeOption::from((&*first, &*beyond));
            native.limit = Some(left);
            native.reverse = reverse;
            native.mode = Native::Exact;
            let RangePage { mut rows, more } = self.page(&native, reads).await?;
            left -= rows.len();
            let Some((last, _)) = rows.pop() else { break };
            if left == 0 {
                return Ok(last);
            }
            if !more {
                break;
            }
            if reverse {
                end = last;
            } else {
                begin = key_after(&last);
            }
        }
        // Not even a read was needed to know that there is none.
        self.enter(|_, state| state.has_read = true)?;
        Ok(otherwise)
    }

    async fn page(&self, range: &RangeOption<'_>, reads: Reads) -> Result<RangePage, StoreError> {
        let (reading, read) = self.enter(|tx, state| {
            // The client takes up calls in their order, so this is for the one read.
            let lets_see = reads == Reads::Unnoted && !state.settings.snapshots_see_alike();
            if lets_see {
                tx.set_option(NativeOption::SnapshotRywEnable).map_err(store_error)?;
            }
            // Pages are asked for one by one, so each is the first.
            let read = tx.get_range(range, 1, reads != Reads::Conflicting);
            if lets_see {
                tx.set_option(NativeOption::SnapshotRywDisable).map_err(store_error)?;
            }
            Ok::<_, StoreError>((state.reading(tx, true), read))
        })??;
        let values = self.measured(reading, read).await?;
        Ok(RangePage { rows: rows(&self.prefix, &values), more: values.more() })
    }
}

/// How rows are read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reads {
    Conflicting,
    Snapshot,
    /// Without conflicts, and yet with own writes wherever [`Reads::Conflicting`] has them.
    Unnoted,
}

impl Reads {
    fn of(snapshot: bool) -> Self {
        if snapshot { Self::Snapshot } else { Self::Conflicting }
    }
}

/// What a read holds on to while it is under way.
struct Reading {
    epoch: Arc<Epoch>,
    /// The read version, until it is known.
    version: Option<BoxFuture<'static, FdbResult<i64>>>,
}

impl State {
    /// Comes after reads have been started, if there were any.
    fn reading(&mut self, tx: &Transaction, any: bool) -> Reading {
        self.has_read |= any;
        let looks = any && !self.has_written && !self.epoch.version.initialized();
        Reading { epoch: Arc::clone(&self.epoch), version: looks.then(|| tx.get_read_version().boxed()) }
    }
}

pub(super) fn to_version(version: i64) -> Result<Version, StoreError> {
    let wrong = |_| StoreError::with(StoreError::OPERATION_FAILED, "a read version is not negative");
    u64::try_from(version).map(Version).map_err(wrong)
}

/// The rows of a page, in one piece of memory, as the page's own is the library's.
fn rows(prefix: &Prefix, values: &FdbValues) -> Vec<(Bytes, Bytes)> {
    let rows = || values.iter().map(|row| (prefix.strip(row.key()), row.value()));
    let mut memory = BytesMut::with_capacity(rows().map(|(key, value)| key.len() + value.len()).sum());
    for (key, value) in rows() {
        memory.put_slice(key);
        memory.put_slice(value);
    }
    let mut memory = memory.freeze();
    rows().map(|(key, value)| (memory.split_to(key.len()), memory.split_to(value.len()))).collect()
}

/// Iterator counts its pages, and ours come one by one: as with our own client each is as
/// large as Serial's.
fn native_mode(mode: StreamingMode) -> Native {
    match mode {
        StreamingMode::WantAll => Native::WantAll,
        StreamingMode::Iterator | StreamingMode::Serial => Native::Serial,
        StreamingMode::Exact => Native::Exact,
        StreamingMode::Small => Native::Small,
        StreamingMode::Medium => Native::Medium,
        StreamingMode::Large => Native::Large,
    }
}

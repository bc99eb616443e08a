//! The reading half: point reads, key selectors and range reads, and the conflicts they note.

use std::sync::Arc;

use bytes::Bytes;
use escapement_engine::Monotonic;

use super::{
    ClientTransaction, Phase, State,
    epoch::Epoch,
    limits::{KEY_BYTES_MAX, KEY_END, RANGE_OVERHEAD_BYTES},
    overlay::{Pending, View, apply_all},
    ranges::key_after,
    scan::{Scan, Scanned},
    writes::check_legal,
};
use crate::store::{KeySelector, RangeOptions, RangePage, StoreError, StreamingMode};

/// Bytes of a page, unless the caller wants fewer (`SERIAL` in `fdb_c.cpp`).
const PAGE_BYTES: usize = 80_000;

/// What one read holds on to while it is under way.
pub(super) struct Reader {
    pub(super) epoch: Arc<Epoch>,
    pub(super) deadline: Option<Monotonic>,
    /// Whether it sees the transaction's own writes.
    pub(super) sees_writes: bool,
}

/// A selector in the one form `first_greater_or_equal(key) + (offset - 1)`.
pub(in crate::store) struct Place {
    pub(in crate::store) key: Bytes,
    pub(in crate::store) offset: i32,
}

impl Place {
    pub(in crate::store) fn of(selector: KeySelector) -> Result<Self, StoreError> {
        check_legal(&selector.key, true)?;
        let key = if selector.or_equal { key_after(&selector.key) } else { selector.key };
        Ok(Self { key: key.min(Bytes::from_static(KEY_END)), offset: selector.offset })
    }

    /// As the bound of a range, it is its own key, whatever keys there are.
    pub(in crate::store) fn is_bound(&self) -> bool {
        self.offset == 1
    }

    /// The keys on which it depends that the place is at `found`.
    fn depends_on(&self, found: &Bytes) -> (Bytes, Bytes) {
        match self.offset {
            ..=0 => (found.clone(), self.key.clone()),
            1.. => (self.key.clone(), key_after(found).min(Bytes::from_static(KEY_END))),
        }
    }

    /// The scan whose last row is at the place, and where the place is if there are too few.
    pub(in crate::store) fn scan(&self) -> (Scan, Bytes) {
        let (begin, end) = (Bytes::new(), Bytes::from_static(KEY_END));
        let steps = usize::try_from(self.offset.unsigned_abs()).unwrap_or(usize::MAX);
        let scan = |begin, end, rows_max, reverse| Scan { begin, end, rows_max, bytes_max: usize::MAX, reverse };
        match self.offset {
            ..=0 => (scan(begin.clone(), self.key.clone(), steps + 1, true), begin),
            1.. => (scan(self.key.clone(), end.clone(), steps, false), end),
        }
    }
}

/// On what the ends of a range read depend, which has `stopped` early or not. Where it did, what
/// lies beyond has not been read. A selector on that side still was, unless it could never have
/// come to lie within the page.
pub(in crate::store) fn selector_conflicts(
    (begin, first): (&Place, &Bytes),
    (end, beyond): (&Place, &Bytes),
    stopped: bool,
    reverse: bool,
) -> Vec<(Bytes, Bytes)> {
    let mut conflicts = Vec::with_capacity(3);
    let spares = stopped && begin.key < end.key;
    let (spares_begin, spares_end) = (spares && reverse, spares && !reverse);
    if !(begin.is_bound() || spares_begin && begin.offset <= 1) {
        conflicts.push(begin.depends_on(first));
    }
    if !(end.is_bound() || spares_end && end.offset > 0) {
        conflicts.push(end.depends_on(beyond));
    }
    conflicts
}

impl ClientTransaction {
    /// Values of `keys`, those that the transaction does not know itself in one call.
    pub(super) async fn read_keys(&self, keys: Vec<Bytes>, snapshot: bool) -> Result<Vec<Option<Bytes>>, StoreError> {
        let mut values = vec![None; keys.len()];
        let mut unknown: Vec<Bytes> = Vec::with_capacity(keys.len());
        let mut slots: Vec<(usize, Vec<Pending>)> = Vec::with_capacity(keys.len());
        let reader = {
            let (mut state, reader) = self.begin_read(snapshot)?;
            let State { overlay, read_conflicts, bytes, used, .. } = &mut *state;
            for (slot, key) in keys.into_iter().enumerate() {
                check_legal(&key, false)?;
                if key.len() > KEY_BYTES_MAX {
                    // There is no such key.
                    continue;
                }
                *used = true;
                let view = if reader.sees_writes { overlay.view(&key) } else { View::Unwritten };
                let stack = match view {
                    View::Unwritten => Vec::new(),
                    View::Stacked(stack) => stack.to_vec(),
                    View::Unreadable => return Err(StoreError::new(StoreError::ACCESSED_UNREADABLE)),
                    View::Known(value) => {
                        values[slot] = value;
                        continue;
                    }
                };
                if !snapshot {
                    // FoundationDB's estimate knows nothing of what is read past it.
                    *bytes += if reader.sees_writes { RANGE_OVERHEAD_BYTES + 2 * key.len() + 1 } else { 0 };
                    read_conflicts.add_key(key.clone());
                }
                unknown.push(key);
                slots.push((slot, stack));
            }
            reader
        };
        if unknown.is_empty() {
            return Ok(values);
        }
        let version = self.version(&reader.epoch).await?;
        let read = self.bounded(&reader.epoch, reader.deadline, self.engine.get_many(unknown, version)).await?;
        assert_eq!(read.len(), slots.len(), "the engine answers each key");
        for ((slot, stack), value) in slots.into_iter().zip(read) {
            values[slot] = apply_all(&stack, value);
        }
        Ok(values)
    }

    /// The key at a selector's place.
    pub(super) async fn read_key(&self, selector: KeySelector, snapshot: bool) -> Result<Bytes, StoreError> {
        let place = Place::of(selector)?;
        let reader = {
            let (mut state, reader) = self.begin_read(snapshot)?;
            state.used = true;
            reader
        };
        let found = self.find(&reader, &place).await?;
        self.note_reads(&reader, snapshot, [place.depends_on(&found)].into_iter())?;
        Ok(found)
    }

    /// A page of a range.
    pub(super) async fn read_range(&self, range: RangeOptions, snapshot: bool) -> Result<RangePage, StoreError> {
        let bytes_max = page_bytes(&range)?;
        let RangeOptions { limit, reverse, .. } = range;
        let (begin, end) = (Place::of(range.begin)?, Place::of(range.end)?);
        let reader = {
            let (mut state, reader) = self.begin_read(snapshot)?;
            if begin.offset >= end.offset && begin.key >= end.key {
                // Nothing needs to be read to know that it is empty.
                return Ok(RangePage::default());
            }
            state.used = true;
            reader
        };
        let first = if begin.is_bound() { begin.key.clone() } else { self.find(&reader, &begin).await? };
        let beyond = if end.is_bound() { end.key.clone() } else { self.find(&reader, &end).await? };
        let rows_max = if limit == 0 { usize::MAX } else { limit };
        let scan = Scan { begin: first.clone(), end: beyond.clone(), rows_max, bytes_max, reverse };
        let Scanned { rows, stopped } = self.scan(&reader, scan).await?;

        let mut conflicts = selector_conflicts((&begin, &first), (&end, &beyond), stopped, reverse);
        conflicts.push(match rows.last().filter(|_| stopped) {
            Some((last, _)) if reverse => (last.clone(), beyond),
            Some((last, _)) => (first, key_after(last)),
            None => (first, beyond),
        });
        self.note_reads(&reader, snapshot, conflicts.into_iter())?;
        Ok(RangePage { rows, more: stopped })
    }

    /// Runs a read. What it fails with, the commit fails with, too: FoundationDB's commit
    /// waits for all reads (`reading` in `ReadYourWrites.actor.cpp`). A call that is refused
    /// for its arguments (2000 and above) is no read.
    pub(super) async fn noting_failure<T>(
        &self,
        read: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let epoch = Arc::clone(&self.lock().epoch);
        let result = read.await;
        if let Err(error) = &result
            && error.code < StoreError::CLIENT_INVALID_OPERATION
        {
            let mut state = self.lock();
            if Arc::ptr_eq(&state.epoch, &epoch) {
                state.failed_read.get_or_insert_with(|| error.clone());
            }
        }
        result
    }

    fn begin_read(&self, snapshot: bool) -> Result<(std::sync::MutexGuard<'_, State>, Reader), StoreError> {
        let state = self.enter()?;
        let settings = &state.settings;
        let sees_writes = settings.sees_writes && (!snapshot || settings.snapshot_sees_writes);
        let reader = Reader { epoch: Arc::clone(&state.epoch), deadline: state.deadline(), sees_writes };
        Ok((state, reader))
    }

    /// Notes conflicts once it is known what was read. Refused if the commit has begun
    /// without them.
    fn note_reads(
        &self,
        reader: &Reader,
        snapshot: bool,
        ranges: impl Iterator<Item = (Bytes, Bytes)>,
    ) -> Result<(), StoreError> {
        if snapshot {
            return Ok(());
        }
        let mut state = self.lock();
        if !Arc::ptr_eq(&state.epoch, &reader.epoch) {
            return reader.epoch.check();
        }
        if state.phase != Phase::Open {
            return Err(StoreError::new(StoreError::USED_DURING_COMMIT));
        }
        for (begin, end) in ranges {
            state.note_read(&begin, &end);
        }
        Ok(())
    }

    async fn find(&self, reader: &Reader, place: &Place) -> Result<Bytes, StoreError> {
        let (scan, otherwise) = place.scan();
        let Scanned { mut rows, stopped } = self.scan(reader, scan).await?;
        Ok(rows.pop().filter(|_| stopped).map_or(otherwise, |(key, _)| key))
    }
}

/// Bytes after which a page ends, as `fdb_c.cpp` makes them of mode and target.
pub(in crate::store) fn page_bytes(range: &RangeOptions) -> Result<usize, StoreError> {
    let mode_bytes = match range.mode {
        StreamingMode::Exact if range.limit == 0 && range.target_bytes == 0 => {
            return Err(StoreError::new(StoreError::EXACT_MODE_WITHOUT_LIMITS));
        }
        StreamingMode::Exact => usize::MAX,
        StreamingMode::Small => 256,
        StreamingMode::Medium => 1000,
        StreamingMode::Large => 4096,
        StreamingMode::Serial | StreamingMode::WantAll | StreamingMode::Iterator => PAGE_BYTES,
    };
    Ok(if range.target_bytes == 0 { mode_bytes } else { mode_bytes.min(range.target_bytes) })
}

//! The window: committed changes of the last seconds, every version of each key.
//!
//! Above a base that holds the state of an older version, the window knows for each key its
//! values since, and which ranges were cleared. A range needs to be remembered only from its
//! *first* clear on: keys set inside it later are in the window themselves, and a later clear
//! marks those. So the cleared ranges are disjoint, each with one version. (FoundationDB's
//! `VersionedMap` keeps a persistent tree for each version instead.)

use std::{
    collections::{BTreeMap, VecDeque},
    ops::Bound,
};

use bytes::Bytes;

use super::chains::{Chain, Chains, Entry};

/// Bytes that one version of one key costs beyond key and value: nodes, records, buffers.
/// Measured, with what the resolver counts: about 450 in all for keys of 27 bytes.
const ENTRY_OVERHEAD: usize = 300;

/// What happens to the keys of a commit, atomic operations and versionstamps worked out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Set(Bytes, Bytes),
    Clear(Bytes),
    ClearRange(Bytes, Bytes),
}

/// What the window knows of a key at a version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// Its value, or that it has none.
    Here(Option<Bytes>),
    /// Unchanged since the base.
    InBase,
}

/// What one batch touched, for flushing and for undoing it.
#[derive(Debug, Default)]
struct Record {
    version: u64,
    /// Slots of the keys. One may have left, and another key have come to its slot, by the time that an old
    /// record is read: all that one's versions are newer than the record.
    keys: Vec<u32>,
    /// Begins of the cleared ranges that this batch was first to clear.
    cleared: Vec<Bytes>,
}

#[derive(Debug)]
struct Cleared {
    end: Bytes,
    version: u64,
}

/// The window. See the module.
#[derive(Debug, Default)]
pub(crate) struct Window {
    chains: Chains,
    cleared: BTreeMap<Bytes, Cleared>,
    records: VecDeque<Record>,
    bytes: usize,
}

/// A stretch of the window, for a range read.
#[derive(Debug, Default)]
pub(crate) struct Stretch {
    /// Keys that changed, in the direction of the read.
    pub(crate) entries: Vec<(Bytes, Option<Bytes>)>,
    /// Ranges whose keys in the base are gone, ascending.
    pub(crate) cleared: Vec<(Bytes, Bytes)>,
    /// The range itself: what was asked for, or less.
    pub(crate) begin: Bytes,
    /// The first key beyond.
    pub(crate) end: Bytes,
}

/// The next key after `key`.
pub(crate) fn successor(key: &[u8]) -> Bytes {
    let mut next = Vec::with_capacity(key.len() + 1);
    next.extend_from_slice(key);
    next.push(0);
    next.into()
}

impl Window {
    /// Bytes held, roughly.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Version of the oldest batch held.
    pub(crate) fn oldest(&self) -> Option<u64> {
        self.records.front().map(|record| record.version)
    }

    /// What is known of `key` at `version`.
    pub(crate) fn find(&self, key: &[u8], version: u64) -> Found {
        if let Some(entry) = self.chains.get(key).and_then(|chain| chain.at(version)) {
            return Found::Here(entry.value.clone());
        }
        if self.is_cleared(key, version) { Found::Here(None) } else { Found::InBase }
    }

    fn is_cleared(&self, key: &[u8], version: u64) -> bool {
        if self.cleared.is_empty() {
            return false;
        }
        let before = self.cleared.range::<[u8], _>((Bound::Unbounded, Bound::Included(key))).next_back();
        before.is_some_and(|(_, cleared)| cleared.version <= version && cleared.end > *key)
    }

    /// Opens the record of a batch; its version is above all others.
    pub(crate) fn begin_batch(&mut self, version: u64) {
        assert!(self.records.back().is_none_or(|last| last.version < version), "versions only grow");
        self.records.push_back(Record { version, ..Record::default() });
    }

    /// Sets or clears a key in the batch that was begun last.
    pub(crate) fn put(&mut self, key: &Bytes, value: Option<Bytes>) {
        let version = self.records.back().expect("begin_batch came before").version;
        if value.is_none() && self.chains.get(key).is_none() && self.is_cleared(key, version) {
            // The base's value is hidden already.
            return;
        }
        let entry = Entry { version, value };
        let added = cost(key, &entry);
        let slot = match self.chains.get_mut(key) {
            None => self.chains.insert(key, Chain { latest: entry, older: Vec::new() }),
            Some((slot, chain)) => {
                let before = std::mem::replace(&mut chain.latest, entry);
                if before.version == version {
                    self.bytes = self.bytes + added - cost(key, &before);
                    return;
                }
                chain.older.push(before);
                slot
            }
        };
        self.bytes += added;
        self.records.back_mut().expect("as above").keys.push(slot);
    }

    /// Clears keys from `begin` to `end` in the batch that was begun last, after at most
    /// `keys_max` of them; the key to go on from, if there are more.
    pub(crate) fn clear_range(&mut self, begin: &Bytes, end: &Bytes, keys_max: usize) -> Option<Bytes> {
        if begin >= end {
            return None;
        }
        let present: Vec<(Bytes, bool)> = self
            .chains
            .range(begin, end)
            .take(keys_max + 1)
            .map(|(key, chain)| (key.clone(), chain.latest.value.is_some()))
            .collect();
        for (key, has_value) in present.iter().take(keys_max) {
            if *has_value {
                self.put(key, None);
            }
        }
        if let Some((next, _)) = present.get(keys_max) {
            return Some(next.clone());
        }
        None
    }

    /// Hides what the base has from `begin` to `end`, from the batch begun last on. Comes
    /// after all of [`Window::clear_range`].
    pub(crate) fn hide_base(&mut self, begin: &Bytes, end: &Bytes) {
        if begin >= end {
            return;
        }
        let version = self.records.back().expect("begin_batch came before").version;
        let mut gaps = Vec::new();
        let mut from = begin.clone();
        for (start, stop) in self.cleared_within(begin, end, u64::MAX) {
            if from < start {
                gaps.push((from, start));
            }
            from = stop;
        }
        if from < *end {
            gaps.push((from, end.clone()));
        }
        for (start, stop) in gaps {
            self.bytes += start.len() + stop.len() + ENTRY_OVERHEAD;
            self.records.back_mut().expect("as above").cleared.push(start.clone());
            self.cleared.insert(start, Cleared { end: stop, version });
        }
    }

    /// Cleared ranges that meet `begin..end`, at or before `version`, ascending.
    fn cleared_within(&self, begin: &Bytes, end: &Bytes, version: u64) -> Vec<(Bytes, Bytes)> {
        if self.cleared.is_empty() {
            return Vec::new();
        }
        let before = self.cleared.range::<Bytes, _>((Bound::Unbounded, Bound::Excluded(begin))).next_back();
        let before = before.filter(|(_, cleared)| cleared.end > *begin);
        let inside = self.cleared.range::<Bytes, _>((Bound::Included(begin), Bound::Excluded(end)));
        before
            .into_iter()
            .chain(inside)
            .filter(|(_, cleared)| cleared.version <= version)
            .map(|(start, cleared)| (start.clone(), cleared.end.clone()))
            .collect()
    }

    /// The first `keys_max` keys of `begin..end` (from the end if `reverse`) at `version`.
    pub(crate) fn stretch(&self, begin: &Bytes, end: &Bytes, version: u64, reverse: bool, keys_max: usize) -> Stretch {
        let mut stretch = Stretch { begin: begin.clone(), end: end.clone(), ..Stretch::default() };
        let range = self.chains.range(begin, end);
        let mut take = |number: usize, key: &Bytes, chain: &Chain| {
            if let Some(entry) = chain.at(version) {
                stretch.entries.push((key.clone(), entry.value.clone()));
            }
            number + 1 == keys_max
        };
        if reverse {
            let last = range.rev().enumerate().find(|(number, (key, chain))| take(*number, key, chain));
            if let Some((_, (key, _))) = last {
                stretch.begin = key.clone();
            }
        } else {
            let last = range.enumerate().find(|(number, (key, chain))| take(*number, key, chain));
            if let Some((_, (key, _))) = last {
                stretch.end = successor(key);
            }
        }
        stretch.cleared = self.cleared_within(&stretch.begin, &stretch.end, version);
        stretch
    }

    /// Applies a batch read from a log.
    pub(crate) fn replay(&mut self, version: u64, changes: &[Change]) {
        self.begin_batch(version);
        for change in changes {
            match change {
                Change::Set(key, value) => self.put(key, Some(value.clone())),
                Change::Clear(key) => self.put(key, None),
                Change::ClearRange(begin, end) => {
                    self.clear_range(begin, end, usize::MAX - 1);
                    self.hide_base(begin, end);
                }
            }
        }
    }

    /// Undoes every batch after `version`.
    pub(crate) fn undo_after(&mut self, version: u64) {
        while let Some(record) = self.records.pop_back_if(|record| record.version > version) {
            for slot in &record.keys {
                self.undo_key(*slot, record.version);
            }
            for begin in &record.cleared {
                self.drop_cleared(begin);
            }
        }
    }

    fn undo_key(&mut self, slot: u32, version: u64) {
        let Some((key, chain)) = self.chains.slot_mut(slot) else { return };
        assert_eq!(chain.latest.version, version, "batches are undone newest first");
        self.bytes -= cost(key, &chain.latest);
        match chain.older.pop() {
            Some(before) => {
                chain.latest = before;
                // If only the undone version kept it, the base has it: it was spared only what
                // was durably changed again.
                if self.records.front().is_none_or(|oldest| chain.latest.version < oldest.version) {
                    self.bytes -= cost(key, &chain.latest);
                    self.chains.remove(slot);
                }
            }
            None => self.chains.remove(slot),
        }
    }

    fn drop_cleared(&mut self, begin: &Bytes) {
        if let Some(gone) = self.cleared.remove(begin) {
            self.bytes -= begin.len() + gone.end.len() + ENTRY_OVERHEAD;
        }
    }

    /// Keys and cleared ranges touched by batches after `version`.
    pub(crate) fn touched_after(&self, version: u64) -> (Vec<Bytes>, Vec<(Bytes, Bytes)>) {
        let mut keys = Vec::new();
        let mut ranges = Vec::new();
        for record in self.records.iter().rev().take_while(|record| record.version > version) {
            keys.extend(record.keys.iter().filter_map(|slot| self.chains.slot(*slot)).map(|(key, _)| key.clone()));
            for begin in &record.cleared {
                if let Some(cleared) = self.cleared.get(begin) {
                    ranges.push((begin.clone(), cleared.end.clone()));
                }
            }
        }
        (keys, ranges)
    }

    /// Version of the last batch up to `limit` that leaves the window together with those
    /// before it, if they touch about `keys_max` keys at most (one batch in any case).
    pub(crate) fn flush_point(&self, limit: u64, keys_max: usize) -> Option<(u64, usize)> {
        let mut keys = 0;
        let mut point = None;
        for (number, record) in self.records.iter().enumerate().take_while(|(_, record)| record.version <= limit) {
            keys += record.keys.len() + record.cleared.len();
            point = Some((record.version, number + 1));
            if keys >= keys_max {
                break;
            }
        }
        point
    }

    /// Newest state up to `version` of the keys of record `number` from `from` on, each key
    /// only at its newest record; and where to go on. A key that was changed again by
    /// `durable` is left out: until then the window answers for it, and after a crash the log.
    pub(crate) fn flush_part(
        &self,
        number: usize,
        from: usize,
        (version, durable): (u64, u64),
        keys_max: usize,
        out: &mut Vec<(Bytes, Option<Bytes>)>,
    ) -> Option<usize> {
        let record = self.records.get(number)?;
        let upto = record.keys.len().min(from + keys_max);
        for slot in record.keys.get(from..upto)? {
            let Some((key, chain)) = self.chains.slot(*slot).filter(|(_, chain)| !chain.has_between(version, durable))
            else {
                continue;
            };
            if let Some(entry) = chain.at(version).filter(|entry| entry.version == record.version) {
                out.push((key.clone(), entry.value.clone()));
            }
        }
        (upto < record.keys.len()).then_some(upto)
    }

    /// Ranges first cleared at or before `version`.
    pub(crate) fn cleared_upto(&self, version: u64) -> Vec<(Bytes, Bytes)> {
        let old = self.records.iter().take_while(|record| record.version <= version);
        old.flat_map(|record| &record.cleared)
            .filter_map(|begin| self.cleared.get(begin).map(|cleared| (begin.clone(), cleared.end.clone())))
            .collect()
    }

    /// The base has the state of `version`: forgets which ranges were cleared until then.
    /// Comes before [`Window::evict_keys`], whose keys these ranges must not hide.
    pub(crate) fn evict_cleared(&mut self, version: u64) {
        let upto = self.records.partition_point(|record| record.version <= version);
        for number in 0..upto {
            let Some(record) = self.records.get_mut(number) else { break };
            for begin in std::mem::take(&mut record.cleared) {
                self.drop_cleared(&begin);
            }
        }
    }

    /// The base has the state of `version`: forgets at most `keys_max` keys until then.
    /// Whether there may be more.
    pub(crate) fn evict_keys(&mut self, version: u64, mut keys_max: usize) -> bool {
        while let Some(record) = self.records.front_mut().filter(|record| record.version <= version) {
            let keep = record.keys.len().saturating_sub(keys_max);
            let gone = record.keys.split_off(keep);
            keys_max -= gone.len();
            if keep == 0 {
                self.records.pop_front();
            }
            for slot in gone {
                self.evict_key(slot, version);
            }
            if keys_max == 0 {
                return true;
            }
        }
        false
    }

    fn evict_key(&mut self, slot: u32, version: u64) {
        let Some((key, chain)) = self.chains.slot_mut(slot) else { return };
        let old = chain.older.partition_point(|entry| entry.version <= version);
        let is_done = chain.latest.version <= version;
        // With a newer version there, the base may have been spared the newest old one: it
        // stays until that one leaves as well.
        let drop = if is_done { old } else { old.saturating_sub(1) };
        self.bytes -= chain.older.drain(..drop).map(|entry| cost(key, &entry)).sum::<usize>();
        if is_done {
            self.bytes -= cost(key, &chain.latest);
            self.chains.remove(slot);
        }
    }
}

fn cost(key: &Bytes, entry: &Entry) -> usize {
    key.len() + entry.value.as_ref().map_or(0, Bytes::len) + ENTRY_OVERHEAD
}

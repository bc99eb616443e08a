//! The resolver: which transactions conflict.
//!
//! A transaction conflicts when anything that it read was written after its read version.
//! FoundationDB answers this with a skip list of key ranges and the version each was last
//! written at (`SkipList.cpp`). Nearly all of our ranges are single keys, so here a hash table
//! tells the last write of a key; written ranges stand in a small ordered map; and a range
//! that was read is looked up in the *runs*: the keys written by each batch, sorted only once
//! such a look-up comes, newest first and only back to the read version.

use std::{
    collections::{BTreeMap, VecDeque},
    hash::BuildHasher as _,
    ops::Bound,
};

use bytes::Bytes;
use escapement_engine::parted::PartedTable;
use foldhash::fast::FixedState;

use crate::store::engine::KeyRange;

/// Bytes that a written key costs beyond its own: its places in table and run.
const POINT_OVERHEAD: usize = 100;
/// Likewise for a range, whose ends stand in map and log.
const RANGE_OVERHEAD: usize = 300;

/// Expired keys taken out for each batch at least, beyond twice what the batch brings.
const EXPIRE_STEP: usize = 1024;

/// Writes of the last seconds, by key range.
#[derive(Debug)]
pub(crate) struct Resolver {
    hasher: FixedState,
    points: PartedTable<(Bytes, u64)>,
    /// Disjoint ranges by begin: end, and version of the last write of the whole range.
    ranges: BTreeMap<Bytes, (Bytes, u64)>,
    /// Written ranges in order, for expiry.
    range_log: VecDeque<(u64, KeyRange)>,
    /// Points by batch, oldest first.
    runs: VecDeque<Run>,
    /// Points of the batch that is being resolved, by transaction.
    open: Vec<Run>,
    bytes: usize,
}

impl Default for Resolver {
    fn default() -> Self {
        Self {
            hasher: FixedState::default(),
            points: PartedTable::new(super::chains::PARTS),
            ranges: BTreeMap::new(),
            range_log: VecDeque::new(),
            runs: VecDeque::new(),
            open: Vec::new(),
            bytes: 0,
        }
    }
}

#[derive(Debug)]
struct Run {
    version: u64,
    keys: Vec<Bytes>,
    sorted: bool,
}

/// The key, if the range holds only that one.
pub(crate) fn single_key(range: &KeyRange) -> Option<&Bytes> {
    let (begin, end) = (&range.begin, &range.end);
    let is_single = end.len() == begin.len() + 1 && end.last() == Some(&0) && end.starts_with(begin);
    is_single.then_some(begin)
}

fn point_cost(key: &Bytes) -> usize {
    key.len() + POINT_OVERHEAD
}

fn range_cost(range: &KeyRange) -> usize {
    2 * (range.begin.len() + range.end.len()) + RANGE_OVERHEAD
}

impl Run {
    fn new(version: u64, keys: Vec<Bytes>) -> Self {
        Self { version, keys, sorted: false }
    }

    fn touches(&mut self, range: &KeyRange) -> bool {
        if !self.sorted {
            self.keys.sort_unstable();
            self.sorted = true;
        }
        let at = self.keys.partition_point(|key| *key < range.begin);
        self.keys.get(at).is_some_and(|key| *key < range.end)
    }
}

impl Resolver {
    /// Whether any of `reads` was written after `read_version`.
    pub(crate) fn conflicts(&mut self, reads: &[KeyRange], read_version: u64) -> bool {
        reads.iter().any(|range| match single_key(range) {
            Some(key) => self.key_written_after(key, read_version),
            None => range.begin < range.end && self.range_written_after(range, read_version),
        })
    }

    /// A transaction of the batch `version` writes these. Versions never go back.
    pub(crate) fn add(&mut self, writes: &[KeyRange], version: u64) {
        let mut keys = Vec::new();
        for range in writes {
            if let Some(key) = single_key(range) {
                if self.set_point(key, version) {
                    self.bytes += point_cost(key);
                    keys.push(key.clone());
                }
            } else if range.begin < range.end {
                self.set_range(range, version);
            }
        }
        if !keys.is_empty() {
            self.open.push(Run::new(version, keys));
        }
    }

    /// A transaction of the batch `version` writes this key, which it did not know before.
    pub(crate) fn add_key(&mut self, key: &Bytes, version: u64) {
        if self.set_point(key, version) {
            self.bytes += point_cost(key);
            self.open.push(Run::new(version, vec![key.clone()]));
        }
    }

    /// The batch is complete. Forgets some of what was written at or before `floor`, below
    /// which no transaction may have its read version.
    pub(crate) fn finish_batch(&mut self, floor: u64) {
        let mut added = 0;
        let mut open = std::mem::take(&mut self.open).into_iter();
        if let Some(mut run) = open.next() {
            for mut more in open {
                run.keys.append(&mut more.keys);
                run.sorted = false;
            }
            added = run.keys.len();
            self.runs.push_back(run);
        }
        self.expire(floor, 2 * added + EXPIRE_STEP);
    }

    /// Bytes held, roughly.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Forgets all that was written at or before `floor`, for want of memory.
    pub(crate) fn expire_all(&mut self, floor: u64) {
        self.expire(floor, usize::MAX);
    }

    /// Forgets some of it, while no batches come. Whether there is more.
    pub(crate) fn expire_some(&mut self, floor: u64) -> bool {
        self.expire(floor, EXPIRE_STEP);
        self.runs.front().is_some_and(|run| run.version <= floor)
    }

    /// Keys and ranges held.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.points.len() + self.ranges.len()
    }

    fn expire(&mut self, floor: u64, mut budget: usize) {
        while budget > 0 {
            let Some(run) = self.runs.front_mut().filter(|run| run.version <= floor) else { break };
            let version = run.version;
            let keep = run.keys.len().saturating_sub(budget);
            budget -= run.keys.len() - keep;
            // From the end: a sorted run stays sorted.
            let gone = run.keys.split_off(keep);
            if keep == 0 {
                self.runs.pop_front();
            }
            for key in gone {
                self.bytes -= point_cost(&key);
                let hash = self.hasher.hash_one(&key);
                if let Ok(entry) =
                    self.points.part_mut(hash).find_entry(hash, |(point, at)| *at == version && *point == key)
                {
                    entry.remove();
                }
            }
        }
        while let Some((version, range)) = self.range_log.pop_front_if(|(version, _)| *version <= floor) {
            self.bytes -= range_cost(&range);
            self.expire_range(&range, version);
        }
    }

    fn expire_range(&mut self, range: &KeyRange, version: u64) {
        let from = (Bound::Included(range.begin.clone()), Bound::Excluded(range.end.clone()));
        let old: Vec<Bytes> =
            self.ranges.range(from).filter(|(_, (_, at))| *at <= version).map(|(begin, _)| begin.clone()).collect();
        for begin in old {
            self.ranges.remove(&begin);
        }
    }

    fn key_written_after(&self, key: &Bytes, read_version: u64) -> bool {
        let hash = self.hasher.hash_one(key);
        if self
            .points
            .part(hash)
            .find(hash, |(point, _)| point == key)
            .is_some_and(|(_, version)| *version > read_version)
        {
            return true;
        }
        if self.ranges.is_empty() {
            return false;
        }
        let before = self.ranges.range::<Bytes, _>((Bound::Unbounded, Bound::Included(key))).next_back();
        before.is_some_and(|(_, (end, version))| end > key && *version > read_version)
    }

    fn range_written_after(&mut self, range: &KeyRange, read_version: u64) -> bool {
        for (_, (end, version)) in self.ranges.range::<Bytes, _>((Bound::Unbounded, Bound::Excluded(&range.end))).rev()
        {
            if *end <= range.begin {
                break;
            }
            if *version > read_version {
                return true;
            }
        }
        let newer = self.open.iter_mut().rev().chain(self.runs.iter_mut().rev());
        newer.take_while(|run| run.version > read_version).any(|run| run.touches(range))
    }

    /// Whether the key was not yet in the open batch.
    fn set_point(&mut self, key: &Bytes, version: u64) -> bool {
        let hash = self.hasher.hash_one(key);
        let hasher = &self.hasher;
        let entry =
            self.points.part_mut(hash).entry(hash, |(point, _)| point == key, |(point, _)| hasher.hash_one(point));
        match entry {
            hashbrown::hash_table::Entry::Occupied(mut entry) => {
                let is_new = entry.get().1 != version;
                entry.get_mut().1 = version;
                is_new
            }
            hashbrown::hash_table::Entry::Vacant(entry) => {
                entry.insert((key.clone(), version));
                true
            }
        }
    }

    /// `version` is the newest of all, so it covers whatever was there.
    fn set_range(&mut self, range: &KeyRange, version: u64) {
        let (begin, end) = (&range.begin, &range.end);
        // A range that begins before keeps its left part, and its right part if it reaches beyond.
        let before = self.ranges.range::<Bytes, _>((Bound::Unbounded, Bound::Excluded(begin))).next_back();
        if let Some((left, (left_end, at))) = before.map(|(key, value)| (key.clone(), value.clone()))
            && left_end > *begin
        {
            if left_end > *end {
                self.ranges.insert(end.clone(), (left_end, at));
            }
            self.ranges.insert(left, (begin.clone(), at));
        }
        let inside: Vec<Bytes> = self
            .ranges
            .range::<Bytes, _>((Bound::Included(begin), Bound::Excluded(end)))
            .map(|(key, _)| key.clone())
            .collect();
        for key in inside {
            if let Some((inner_end, at)) = self.ranges.remove(&key)
                && inner_end > *end
            {
                self.ranges.insert(end.clone(), (inner_end, at));
            }
        }
        self.ranges.insert(begin.clone(), (end.clone(), version));
        self.bytes += range_cost(range);
        self.range_log.push_back((version, range.clone()));
    }
}

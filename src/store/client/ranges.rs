//! Sets of keys as ranges: what a transaction cleared, and what it conflicts with.

use std::{
    collections::BTreeMap,
    ops::Bound::{Excluded, Included, Unbounded},
};

use bytes::{Bytes, BytesMut};

use crate::store::engine::KeyRange;

/// The first key after `key`.
pub(in crate::store) fn key_after(key: &[u8]) -> Bytes {
    let mut after = BytesMut::with_capacity(key.len() + 1);
    after.extend_from_slice(key);
    after.extend_from_slice(&[0]);
    after.freeze()
}

/// Whether the range holds `begin` and no other key.
pub(super) fn is_single_key(begin: &[u8], end: &[u8]) -> bool {
    end.strip_prefix(begin) == Some(&[0])
}

/// Disjoint ranges that do not touch each other, by their first keys.
#[derive(Debug, Default)]
pub(super) struct RangeSet(BTreeMap<Bytes, Bytes>);

impl RangeSet {
    /// The range that holds `key`.
    pub(super) fn around(&self, key: &[u8]) -> Option<(&Bytes, &Bytes)> {
        if self.0.is_empty() {
            return None;
        }
        let before = self.0.range::<[u8], _>((Unbounded, Included(key))).next_back()?;
        (&**before.1 > key).then_some(before)
    }

    /// The range that ends at `end` or holds keys on both sides of it.
    pub(super) fn around_end(&self, end: &[u8]) -> Option<(&Bytes, &Bytes)> {
        let before = self.0.range::<[u8], _>((Unbounded, Excluded(end))).next_back()?;
        (&**before.1 >= end).then_some(before)
    }

    pub(super) fn contains(&self, key: &[u8]) -> bool {
        self.around(key).is_some()
    }

    /// Whether every key from `begin` to `end` is in the set.
    pub(super) fn covers(&self, begin: &[u8], end: &[u8]) -> bool {
        self.around(begin).is_some_and(|(_, last)| &**last >= end)
    }

    /// Ranges that share keys with `begin..end`, in order. They may stick out of it.
    pub(super) fn overlapping<'a>(
        &'a self,
        begin: &'a [u8],
        end: &'a [u8],
    ) -> impl DoubleEndedIterator<Item = (&'a Bytes, &'a Bytes)> + 'a {
        let first = self.around(begin).map_or(begin, |(first, _)| &**first);
        let inside = if begin < end { (Included(first), Excluded(end)) } else { (Included(begin), Excluded(begin)) };
        self.0.range::<[u8], _>(inside)
    }

    /// Adds a range, joined with those that it touches.
    pub(super) fn insert(&mut self, mut begin: Bytes, mut end: Bytes) {
        if begin >= end {
            return;
        }
        if let Some((first, last)) = self.0.range::<[u8], _>((Unbounded, Included(&*begin))).next_back()
            && *last >= begin
        {
            begin = first.clone();
            end = end.max(last.clone());
        }
        while let Some((first, last)) = self.0.range::<[u8], _>((Included(&*begin), Included(&*end))).next() {
            let first = first.clone();
            end = end.max(last.clone());
            self.0.remove(&first);
        }
        self.0.insert(begin, end);
    }

    /// Takes the keys from `begin` to `end` out.
    pub(super) fn remove(&mut self, begin: &Bytes, end: &Bytes) {
        let hit: Vec<_> = self.overlapping(begin, end).map(|(first, last)| (first.clone(), last.clone())).collect();
        for (first, last) in hit {
            self.0.remove(&first);
            if first < *begin {
                self.0.insert(first, begin.clone());
            }
            if last > *end {
                self.0.insert(end.clone(), last);
            }
        }
    }
}

/// One conflict, as it was noted. Most are single keys, whose ranges are built at commit.
#[derive(Debug)]
enum Conflict {
    Key(Bytes),
    Range(Bytes, Bytes),
}

/// Conflict ranges in the order in which they were noted, joined once, at commit.
#[derive(Debug, Default)]
pub(super) struct Conflicts(Vec<Conflict>);

impl Conflicts {
    pub(super) fn add_key(&mut self, key: Bytes) {
        self.0.push(Conflict::Key(key));
    }

    pub(super) fn add_range(&mut self, begin: Bytes, end: Bytes) {
        if begin < end {
            self.0.push(Conflict::Range(begin, end));
        }
    }

    /// Sorted, disjoint and not touching.
    pub(super) fn into_ranges(self) -> Vec<KeyRange> {
        let mut ranges = with_ends(self.0);
        ranges.sort_unstable();
        ranges.dedup_by(|next, kept| {
            let joined = next.begin <= kept.end;
            if joined && next.end > kept.end {
                kept.end = std::mem::take(&mut next.end);
            }
            joined
        });
        ranges
    }
}

/// Gives single keys their ends, all in one buffer: a transaction of a thousand point
/// operations would otherwise allocate a thousand times here.
fn with_ends(conflicts: Vec<Conflict>) -> Vec<KeyRange> {
    let bytes = conflicts.iter().map(|conflict| match conflict {
        Conflict::Key(key) => key.len() + 1,
        Conflict::Range(..) => 0,
    });
    let mut buffer = BytesMut::with_capacity(bytes.sum());
    for conflict in &conflicts {
        if let Conflict::Key(key) = conflict {
            buffer.extend_from_slice(key);
            buffer.extend_from_slice(&[0]);
        }
    }
    let mut ends = buffer.freeze();
    let ranges = conflicts.into_iter().map(|conflict| match conflict {
        Conflict::Key(begin) => {
            let end = ends.split_to(begin.len() + 1);
            KeyRange { begin, end }
        }
        Conflict::Range(begin, end) => KeyRange { begin, end },
    });
    ranges.collect()
}

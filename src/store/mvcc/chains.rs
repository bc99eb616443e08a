//! The keys of the window and their versions: found by hash, walked in order.
//!
//! A point read in an ordered map of a hundred thousand keys compares some seventeen of them,
//! each a miss of the cache; by hash it looks at one. So the versions stand in a slab, with a
//! hash table and an ordered map over it. Only a new key pays for both; writing a key again
//! touches the hash table alone.

use std::{collections::BTreeMap, hash::BuildHasher as _, ops::Bound};

use bytes::Bytes;
use escapement_engine::parted::PartedTable;
use foldhash::fast::FixedState;

/// Parts of the table of keys.
pub(super) const PARTS: usize = 256;

/// A key at one version.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) version: u64,
    pub(super) value: Option<Bytes>,
}

/// The versions of one key. Hardly any key has more than two in five seconds.
#[derive(Debug)]
pub(super) struct Chain {
    pub(super) latest: Entry,
    /// Ascending.
    pub(super) older: Vec<Entry>,
}

impl Chain {
    pub(super) fn at(&self, version: u64) -> Option<&Entry> {
        if self.latest.version <= version {
            return Some(&self.latest);
        }
        let upto = self.older.partition_point(|entry| entry.version <= version);
        upto.checked_sub(1).and_then(|at| self.older.get(at))
    }

    /// Whether it has a version after `after`, up to `upto`.
    pub(super) fn has_between(&self, after: u64, upto: u64) -> bool {
        self.at(upto).is_some_and(|entry| entry.version > after)
    }
}

#[derive(Debug)]
struct Slot {
    key: Bytes,
    chain: Chain,
}

/// Versions by key.
#[derive(Debug)]
pub(super) struct Chains {
    hasher: FixedState,
    slots: Vec<Option<Slot>>,
    free: Vec<u32>,
    index: PartedTable<u32>,
    order: BTreeMap<Bytes, u32>,
}

impl Default for Chains {
    fn default() -> Self {
        Self {
            hasher: FixedState::default(),
            slots: Vec::new(),
            free: Vec::new(),
            index: PartedTable::new(PARTS),
            order: BTreeMap::new(),
        }
    }
}

fn slot(slots: &[Option<Slot>], number: u32) -> &Slot {
    slots.get(number as usize).and_then(Option::as_ref).expect("an indexed slot is in use")
}

impl Chains {
    fn find(&self, key: &[u8]) -> Option<u32> {
        let hash = self.hasher.hash_one(key);
        self.index.part(hash).find(hash, |number| slot(&self.slots, *number).key == key).copied()
    }

    /// The versions of a key.
    pub(super) fn get(&self, key: &[u8]) -> Option<&Chain> {
        self.find(key).map(|number| &slot(&self.slots, number).chain)
    }

    /// The versions of a key, to be changed, and the number of its slot.
    pub(super) fn get_mut(&mut self, key: &[u8]) -> Option<(u32, &mut Chain)> {
        let number = self.find(key)?;
        self.slot_mut(number).map(|(_, chain)| (number, chain))
    }

    /// Key and versions in a slot, if it is in use.
    pub(super) fn slot(&self, number: u32) -> Option<(&Bytes, &Chain)> {
        self.slots.get(number as usize)?.as_ref().map(|slot| (&slot.key, &slot.chain))
    }

    /// The same, versions to be changed.
    pub(super) fn slot_mut(&mut self, number: u32) -> Option<(&Bytes, &mut Chain)> {
        self.slots.get_mut(number as usize)?.as_mut().map(|slot| (&slot.key, &mut slot.chain))
    }

    /// Puts in a key that is not there; the number of its slot.
    pub(super) fn insert(&mut self, key: &Bytes, chain: Chain) -> u32 {
        let used = Some(Slot { key: key.clone(), chain });
        let number = match self.free.pop() {
            Some(number) => {
                *self.slots.get_mut(number as usize).expect("a free slot is a slot") = used;
                number
            }
            None => {
                self.slots.push(used);
                u32::try_from(self.slots.len() - 1).expect("a window of 4 billion keys does not fit in memory")
            }
        };
        let replaced = self.order.insert(key.clone(), number);
        assert_eq!(replaced, None, "the key was not there");
        let (hasher, slots) = (&self.hasher, &self.slots);
        let hash_of = |number: &u32| hasher.hash_one(&*slot(slots, *number).key);
        let hash = hasher.hash_one(&**key);
        self.index.part_mut(hash).insert_unique(hash, number, hash_of);
        number
    }

    /// Takes out the key in a slot, if it is in use.
    pub(super) fn remove(&mut self, number: u32) {
        let Some(Slot { key, .. }) = self.slots.get_mut(number as usize).and_then(Option::take) else { return };
        let hash = self.hasher.hash_one(&*key);
        let entry = self.index.part_mut(hash).find_entry(hash, |other| *other == number);
        entry.expect("a slot in use is indexed").remove();
        self.order.remove(&key);
        self.free.push(number);
        if self.order.is_empty() {
            // After a flood, its room is given back.
            *self = Self::default();
        }
    }

    /// Keys from `begin` to `end`, in order.
    pub(super) fn range(&self, begin: &Bytes, end: &Bytes) -> impl DoubleEndedIterator<Item = (&Bytes, &Chain)> {
        let range = self.order.range::<Bytes, _>((Bound::Included(begin), Bound::Excluded(end)));
        range.map(|(key, number)| (key, &slot(&self.slots, *number).chain))
    }
}

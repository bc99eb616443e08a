//! Finds a slot by a 128-bit id without a second copy of the id.

use std::hash::BuildHasher as _;

use foldhash::fast::FixedState;
use hashbrown::HashTable;

/// A set of slots, hashed by the id that each slot's owner knows.
///
/// Split into tables by the hash, so that growing never rehashes more than a part at once:
/// with ten million entries a single table would stop the scheduler for a second.
#[derive(Debug)]
pub(super) struct IdIndex {
    tables: Box<[HashTable<u32>]>,
    hasher: FixedState,
}

impl IdIndex {
    /// `parts` is a power of two.
    pub(super) fn new(parts: usize) -> Self {
        assert!(parts.is_power_of_two(), "a part is chosen by a mask");
        let tables = (0..parts).map(|_| HashTable::new()).collect();
        Self { tables, hasher: FixedState::default() }
    }

    /// The hash, and the part: of bits that the table itself uses neither for buckets nor for tags.
    fn locate(&self, id: u128) -> (u64, usize) {
        let hash = self.hasher.hash_one(id);
        (hash, ((hash >> 40) & 0xffff) as usize & (self.tables.len() - 1))
    }

    pub(super) fn find(&self, id: u128, id_of: impl Fn(u32) -> u128) -> Option<u32> {
        let (hash, part) = self.locate(id);
        self.tables[part].find(hash, |slot| id_of(*slot) == id).copied()
    }

    /// Adds a slot whose id is not there yet.
    pub(super) fn insert(&mut self, id: u128, slot: u32, id_of: impl Fn(u32) -> u128) {
        let (hash, part) = self.locate(id);
        let hasher = &self.hasher;
        self.tables[part].insert_unique(hash, slot, |slot| hasher.hash_one(id_of(*slot)));
    }

    pub(super) fn remove(&mut self, id: u128, slot: u32) {
        let (hash, part) = self.locate(id);
        match self.tables[part].find_entry(hash, |found| *found == slot) {
            Ok(found) => drop(found.remove()),
            Err(_) => debug_assert!(false, "the slot was indexed under its id"),
        }
    }

    pub(super) fn memory_bytes(&self) -> usize {
        self.tables.iter().map(|table| size_of_val(table) + table.allocation_size()).sum()
    }
}

//! Finds a slot by a 128-bit id without a second copy of the id.

use std::hash::BuildHasher as _;

use foldhash::fast::FixedState;

use crate::parted::PartedTable;

/// A set of slots, hashed by the id that each slot's owner knows.
#[derive(Debug)]
pub(super) struct IdIndex {
    table: PartedTable<u32>,
    hasher: FixedState,
}

impl IdIndex {
    /// `parts` is a power of two: with ten million entries, rehashing a single table would stop the
    /// scheduler for a second.
    pub(super) fn new(parts: usize) -> Self {
        Self { table: PartedTable::new(parts), hasher: FixedState::default() }
    }

    pub(super) fn find(&self, id: u128, id_of: impl Fn(u32) -> u128) -> Option<u32> {
        let hash = self.hasher.hash_one(id);
        self.table.part(hash).find(hash, |slot| id_of(*slot) == id).copied()
    }

    /// Adds a slot whose id is not there yet.
    pub(super) fn insert(&mut self, id: u128, slot: u32, id_of: impl Fn(u32) -> u128) {
        let hasher = &self.hasher;
        let hash = hasher.hash_one(id);
        self.table.part_mut(hash).insert_unique(hash, slot, |slot| hasher.hash_one(id_of(*slot)));
    }

    pub(super) fn remove(&mut self, id: u128, slot: u32) {
        let hash = self.hasher.hash_one(id);
        match self.table.part_mut(hash).find_entry(hash, |found| *found == slot) {
            Ok(found) => drop(found.remove()),
            Err(_) => debug_assert!(false, "the slot was indexed under its id"),
        }
    }

    pub(super) fn memory_bytes(&self) -> usize {
        self.table.memory_bytes()
    }
}

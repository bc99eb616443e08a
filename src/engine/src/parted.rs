//! A hash table that grows in parts.

use hashbrown::HashTable;

/// Hash tables, one of which each hash belongs to: growing rehashes one of them at a time. A single table of
/// four million keys stops whoever inserts the next one for a quarter of a second.
#[derive(Debug)]
pub struct PartedTable<T> {
    tables: Box<[HashTable<T>]>,
}

impl<T> PartedTable<T> {
    /// An empty table of so many parts.
    ///
    /// # Panics
    /// If `parts` is not a power of two up to 65,536.
    pub fn new(parts: usize) -> Self {
        assert!(parts.is_power_of_two() && parts <= 1 << 16, "a part is chosen by 16 bits and a mask");
        Self { tables: (0..parts).map(|_| HashTable::new()).collect() }
    }

    /// Of bits that a table itself uses neither for buckets nor for tags.
    fn number(&self, hash: u64) -> usize {
        ((hash >> 40) & 0xffff) as usize & (self.tables.len() - 1)
    }

    /// The part that this hash belongs to.
    pub fn part(&self, hash: u64) -> &HashTable<T> {
        &self.tables[self.number(hash)]
    }

    /// The part that this hash belongs to, to be changed.
    pub fn part_mut(&mut self, hash: u64) -> &mut HashTable<T> {
        let number = self.number(hash);
        &mut self.tables[number]
    }

    /// Entries of all parts.
    pub fn len(&self) -> usize {
        self.tables.iter().map(HashTable::len).sum()
    }

    /// Whether no part has an entry.
    pub fn is_empty(&self) -> bool {
        self.tables.iter().all(HashTable::is_empty)
    }

    /// Bytes held, used or not.
    pub fn memory_bytes(&self) -> usize {
        self.tables.iter().map(|table| size_of_val(table) + table.allocation_size()).sum()
    }
}

#[cfg(test)]
mod tests {
    use std::hash::BuildHasher as _;

    use foldhash::fast::FixedState;

    use super::*;

    #[test]
    fn no_part_is_much_larger_than_the_others() {
        let hasher = FixedState::default();
        let hash_of = |n: &u64| hasher.hash_one(*n);
        let mut table = PartedTable::new(64);
        for n in 0..64_000 {
            table.part_mut(hash_of(&n)).insert_unique(hash_of(&n), n, hash_of);
        }
        assert_eq!((table.len(), table.is_empty()), (64_000, false));
        let largest = table.tables.iter().map(HashTable::len).max().unwrap();
        assert!(largest < 1200, "{largest} of 64000 in one of 64 parts");
        for n in 0..64_000 {
            assert_eq!(table.part(hash_of(&n)).find(hash_of(&n), |found| *found == n), Some(&n));
        }
    }
}

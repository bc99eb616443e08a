//! What is due in one lane, best first: a heap of four children that tells each entry its
//! position, so that any of them can be removed in O(log n).
//!
//! A BTreeSet would need the id beside the rest of the key, about 60 bytes an entry. Here it
//! is 16, and the id is looked up only between entries of one priority and instant.

use std::cmp::Ordering;

use crate::{
    Timestamp,
    name::Priority,
    planted::{Bug, planted},
};

use super::entries::Entries;

const CHILDREN: usize = 4;
/// An empty heap gives memory back above this.
const KEPT_ITEMS_MAX: usize = 16_384;

#[derive(Clone, Copy, Debug)]
pub(super) struct Item {
    pub(super) due: Timestamp,
    pub(super) slot: u32,
    pub(super) priority: Priority,
}

const _: () = assert!(size_of::<Item>() == 16);

#[derive(Debug, Default)]
pub(super) struct ReadyHeap {
    items: Vec<Item>,
}

fn order(entries: &Entries, a: Item, b: Item) -> Ordering {
    let rank = |item: Item| (if planted(Bug::PriorityIgnored) { Priority::Low } else { item.priority }, item.due);
    rank(a).cmp(&rank(b)).then_with(|| entries.id(a.slot).as_bytes().cmp(entries.id(b.slot).as_bytes()))
}

impl ReadyHeap {
    pub(super) fn len(&self) -> usize {
        self.items.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    pub(super) fn best(&self) -> Option<Item> {
        self.items.first().copied()
    }

    /// In no order.
    pub(super) fn items(&self) -> &[Item] {
        &self.items
    }

    pub(super) fn push(&mut self, item: Item, entries: &mut Entries) {
        self.items.push(item);
        self.rise(self.items.len() - 1, item, entries);
    }

    /// Removes the entry at the position that it was told.
    pub(super) fn remove(&mut self, position: u32, entries: &mut Entries) -> Item {
        let position = position as usize;
        let removed = self.items[position];
        let last = self.items.pop().expect("a heap that holds the entry is not empty");
        if position < self.items.len() {
            if order(entries, last, removed) == Ordering::Less {
                self.rise(position, last, entries);
            } else {
                self.sink(position, last, entries);
            }
        } else if self.items.is_empty() && self.items.capacity() > KEPT_ITEMS_MAX {
            self.items = Vec::new();
        }
        removed
    }

    fn rise(&mut self, mut position: usize, item: Item, entries: &mut Entries) {
        while position > 0 {
            let parent = (position - 1) / CHILDREN;
            if order(entries, self.items[parent], item) != Ordering::Greater {
                break;
            }
            self.put(position, self.items[parent], entries);
            position = parent;
        }
        self.put(position, item, entries);
    }

    fn sink(&mut self, mut position: usize, item: Item, entries: &mut Entries) {
        loop {
            let first = position * CHILDREN + 1;
            let last = (first + CHILDREN).min(self.items.len());
            let best = (first..last).min_by(|a, b| order(entries, self.items[*a], self.items[*b]));
            match best {
                Some(child) if order(entries, self.items[child], item) == Ordering::Less => {
                    self.put(position, self.items[child], entries);
                    position = child;
                }
                _ => break,
            }
        }
        self.put(position, item, entries);
    }

    fn put(&mut self, position: usize, item: Item, entries: &mut Entries) {
        self.items[position] = item;
        entries.set_position(item.slot, u32::try_from(position).expect("fewer than 2^32 entries"));
    }

    pub(super) fn memory_bytes(&self) -> usize {
        self.items.capacity() * size_of::<Item>()
    }
}

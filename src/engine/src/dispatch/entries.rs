//! The entries in memory: one slab, which is the wheel's own, and an index by task id.
//!
//! An entry waits in the wheel, or it is ready and stands in its lane's heap. Either way it
//! also hangs in the list of its stream, so that a stream can be dropped without a search.

use crate::{TaskId, Timestamp, wheel::Wheel};

use super::{index::IdIndex, streams::StreamId};

pub(super) use crate::wheel::NIL;

/// A due task, with the links of its stream's list. The wheel's node around it holds the due instant.
#[derive(Debug)]
pub(super) struct Entry {
    id: TaskId,
    stream: StreamId,
    next: u32,
    prev: u32,
}

/// An entry and its node are 48 bytes; with the index (5 bytes a bucket, at worst 7/16 full) below 60.
const _: () = assert!(Wheel::<Entry>::slot_bytes() == 48);

#[derive(Debug)]
pub(super) struct Entries {
    wheel: Wheel<Entry>,
    index: IdIndex,
}

/// The wheel's instants keep the order of timestamps, also of those before 1970.
fn to_wheel(at: Timestamp) -> u64 {
    at.unix_ms().cast_unsigned() ^ (1 << 63)
}

fn from_wheel(at: u64) -> Timestamp {
    Timestamp::from_unix_ms((at ^ (1 << 63)).cast_signed())
}

impl Entries {
    pub(super) fn new(now: Timestamp) -> Self {
        Self { wheel: Wheel::new(to_wheel(now)), index: IdIndex::new(64) }
    }

    /// The latest instant that was reached.
    pub(super) fn now(&self) -> Timestamp {
        from_wheel(self.wheel.now_ms())
    }

    /// Entries in memory, waiting and ready.
    pub(super) fn len(&self) -> u32 {
        self.wheel.slots_used()
    }

    /// Entries that wait for their due instant.
    pub(super) fn waiting(&self) -> usize {
        self.wheel.len()
    }

    pub(super) fn find(&self, id: TaskId) -> Option<u32> {
        self.index.find(key(id), |slot| key(self.wheel.slot_value(slot).id))
    }

    pub(super) fn id(&self, slot: u32) -> TaskId {
        self.wheel.slot_value(slot).id
    }

    pub(super) fn due(&self, slot: u32) -> Timestamp {
        from_wheel(self.wheel.slot_at(slot))
    }

    pub(super) fn stream(&self, slot: u32) -> StreamId {
        self.wheel.slot_value(slot).stream
    }

    pub(super) fn is_waiting(&self, slot: u32) -> bool {
        self.wheel.slot_waits(slot)
    }

    /// Adds an entry that neither waits nor is ready yet, at the head of its stream's list.
    pub(super) fn insert(&mut self, id: TaskId, due: Timestamp, stream: StreamId, head: &mut u32) -> u32 {
        let slot = self.wheel.slot_insert(to_wheel(due), Entry { id, stream, next: *head, prev: NIL });
        if *head != NIL {
            self.wheel.slot_value_mut(*head).prev = slot;
        }
        *head = slot;
        let wheel = &self.wheel;
        self.index.insert(key(id), slot, |slot| key(wheel.slot_value(slot).id));
        slot
    }

    /// Removes an entry from wheel, index and its stream's list. It must not be in a heap.
    pub(super) fn remove(&mut self, slot: u32, head: &mut u32) {
        let entry = self.wheel.slot_remove(slot);
        self.index.remove(key(entry.id), slot);
        if entry.prev == NIL {
            *head = entry.next;
        } else {
            self.wheel.slot_value_mut(entry.prev).next = entry.next;
        }
        if entry.next != NIL {
            self.wheel.slot_value_mut(entry.next).prev = entry.prev;
        }
    }

    /// The slots of a stream's list.
    pub(super) fn list(&self, head: u32) -> impl Iterator<Item = u32> + '_ {
        let first = (head != NIL).then_some(head);
        std::iter::successors(first, |slot| {
            let next = self.wheel.slot_value(*slot).next;
            (next != NIL).then_some(next)
        })
    }

    pub(super) fn wait(&mut self, slot: u32) {
        self.wheel.slot_link(slot);
    }

    /// Position in its lane's heap of an entry that is ready.
    pub(super) fn position(&self, slot: u32) -> u32 {
        self.wheel.slot_mark(slot)
    }

    pub(super) fn set_position(&mut self, slot: u32, position: u32) {
        self.wheel.set_slot_mark(slot, position);
    }

    /// Adds to `out` the slots of the entries whose instant has come; they wait no more.
    pub(super) fn advance(&mut self, now: Timestamp, out: &mut Vec<u32>) {
        self.wheel.advance_parking(to_wheel(now), out);
    }

    pub(super) fn rewind(&mut self, now: Timestamp) {
        self.wheel.rewind(to_wheel(now));
    }

    pub(super) fn next_expiry(&self) -> Option<Timestamp> {
        self.wheel.next_expiry().map(from_wheel)
    }

    pub(super) fn memory_bytes(&self) -> usize {
        self.wheel.memory_bytes() + self.index.memory_bytes()
    }
}

fn key(id: TaskId) -> u128 {
    id.uuid().as_u128()
}

//! A hierarchical timing wheel (Varghese and Lauck, "Hashed and Hierarchical Timing Wheels",
//! SOSP 1987, scheme 7): insert, cancel and fire at a cost that does not grow with the number
//! of entries.
//!
//! A heap would cost O(log n) for each operation and O(n) to cancel without a second index.
//! The wheel has a level of 1000 milliseconds, then 60 seconds, 60 minutes, 24 hours and
//! 30 days. What is beyond lies in overflow lists: one for each bit in which the number of its
//! 30-day turn may first differ from the current one, so that even there an entry moves only
//! down, at most 33 times in its life, and a jump of a century costs no more than what it fires.
//! Bitmaps say which lists hold something, so that empty time costs nothing.
//!
//! Instants are milliseconds since any origin that the caller keeps to. The wheel is told the
//! time; it never reads a clock. It never lets out an entry before its instant, even when the
//! caller's time goes backwards.

mod calendar;
mod slab;
#[cfg(test)]
mod tests;

use calendar::{Calendar, LATE, LISTS, NEAR_SLOTS};
pub(crate) use slab::NIL;
use slab::{PARKED, Slab};

/// Names one entry of one wheel until it is fired or cancelled; names nothing afterwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Handle {
    slot: u32,
    generation: u32,
}

/// An entry whose instant has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expired<T> {
    /// The instant that it was inserted for, in milliseconds.
    pub at: u64,
    /// What was inserted.
    pub value: T,
}

#[derive(Clone, Copy, Debug)]
struct List {
    head: u32,
    tail: u32,
}

const EMPTY: List = List { head: NIL, tail: NIL };

/// Entries that each wait for an instant. See the module's text.
///
/// Costs 20 bytes an entry and the size of `Option<T>`, rounded up to 8 (32 bytes for a `u32`).
/// Memory is kept for later entries, and returned when the wheel is dropped. At most 2^32 - 2 entries.
#[derive(Debug)]
pub struct Wheel<T> {
    slab: Slab<T>,
    calendar: Calendar,
    lists: Vec<List>,
    /// Entries in a list; the rest of the slab is parked.
    linked: u32,
    /// No entry of the late list is before this.
    late_min: u64,
}

impl<T> Wheel<T> {
    /// An empty wheel whose current instant is `now_ms`.
    pub fn new(now_ms: u64) -> Self {
        Self {
            slab: Slab::new(),
            calendar: Calendar::new(now_ms),
            lists: vec![EMPTY; LISTS],
            linked: 0,
            late_min: u64::MAX,
        }
    }

    /// The latest instant that the wheel was advanced to, in milliseconds.
    pub fn now_ms(&self) -> u64 {
        self.calendar.now()
    }

    /// Entries that wait for their instant.
    pub fn len(&self) -> usize {
        self.linked as usize
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.linked == 0
    }

    /// Adds an entry. If `at_ms` has passed already it goes out at the next [`advance`](Self::advance).
    pub fn insert(&mut self, at_ms: u64, value: T) -> Handle {
        let slot = self.slot_insert(at_ms, value);
        self.slot_link(slot);
        Handle { slot, generation: self.slab.generation(slot) }
    }

    /// Takes an entry out before its instant. `None` if it is not there any more.
    pub fn cancel(&mut self, handle: Handle) -> Option<T> {
        self.slab.holds(handle.slot, handle.generation).then(|| self.slot_remove(handle.slot))
    }

    /// Instant and value of an entry. `None` if it is not there any more.
    pub fn get(&self, handle: Handle) -> Option<(u64, &T)> {
        self.slab
            .holds(handle.slot, handle.generation)
            .then(|| (self.slab.node(handle.slot).at, self.slab.value(handle.slot)))
    }

    /// Hands out every entry with an instant up to `now_ms`, in the order of the instants, those of one
    /// instant in the order of insertion. (What was inserted late, at or before the current instant,
    /// comes first.) A `now_ms` before the current instant moves nothing.
    pub fn advance(&mut self, now_ms: u64, fire: &mut impl FnMut(Expired<T>)) {
        self.turn(now_ms, &mut |slab, slot| {
            let at = slab.node(slot).at;
            fire(Expired { at, value: slab.remove(slot) });
        });
    }

    /// An instant before which no entry goes out; `None` if nothing waits. Exact within the current
    /// second. Further ahead it may be early, never late: whoever sleeps until then, advances and asks
    /// again is woken for nothing at most once for each level.
    pub fn next_expiry(&self) -> Option<u64> {
        if self.lists[usize::from(LATE)].head != NIL {
            return Some(self.late_min);
        }
        self.calendar.next_list().map(|(start, _)| start)
    }

    /// Drops every entry; their handles name nothing any more.
    pub fn clear(&mut self) {
        let slots: Vec<u32> = self.slab.slots().collect();
        for slot in slots {
            self.slot_remove(slot);
        }
    }

    /// Takes the wheel back to an earlier instant, after the caller's clock was set back. Costs
    /// O(entries). Does nothing if `now_ms` is not earlier.
    pub fn rewind(&mut self, now_ms: u64) {
        if now_ms >= self.calendar.now() {
            return;
        }
        let mut slots = Vec::with_capacity(self.linked as usize);
        // Late entries go last: others of their instant may have been inserted before.
        for list in 0..=LATE {
            let mut slot = self.take_list(list);
            while slot != NIL {
                slots.push(slot);
                slot = self.slab.node(slot).next;
            }
        }
        self.late_min = u64::MAX;
        self.calendar.set_now(now_ms);
        for slot in slots {
            self.file(slot);
        }
    }

    /// Bytes of memory that the wheel holds, used or not.
    pub fn memory_bytes(&self) -> usize {
        self.slab.memory_bytes() + self.lists.capacity() * size_of::<List>() + size_of::<Self>()
    }

    fn turn(&mut self, now: u64, visit: &mut impl FnMut(&mut Slab<T>, u32)) {
        if self.lists[usize::from(LATE)].head != NIL {
            self.drain_late(now, visit);
        }
        if now < self.calendar.now() {
            return;
        }
        while let Some((start, list)) = self.calendar.next_list() {
            if start > now {
                break;
            }
            self.calendar.set_now(start);
            let mut slot = self.take_list(list);
            while slot != NIL {
                let next = self.slab.node(slot).next;
                if usize::from(list) < NEAR_SLOTS {
                    self.slab.node_mut(slot).set_place(PARKED);
                    self.linked -= 1;
                    visit(&mut self.slab, slot);
                } else {
                    let place = self.calendar.list_of(self.slab.node(slot).at);
                    self.append(place, slot);
                }
                slot = next;
            }
        }
        self.calendar.set_now(now);
    }

    fn drain_late(&mut self, now: u64, visit: &mut impl FnMut(&mut Slab<T>, u32)) {
        let mut due = Vec::new();
        let mut slot = self.take_list(LATE);
        self.late_min = u64::MAX;
        while slot != NIL {
            let node = self.slab.node(slot);
            let (at, next) = (node.at, node.next);
            if at <= now {
                due.push((at, slot));
            } else {
                self.late_min = self.late_min.min(at);
                self.append(LATE, slot);
            }
            slot = next;
        }
        due.sort_by_key(|(at, _)| *at);
        for (_, slot) in due {
            self.slab.node_mut(slot).set_place(PARKED);
            self.linked -= 1;
            visit(&mut self.slab, slot);
        }
    }

    /// Puts a node of no list into the one that its instant asks for.
    fn file(&mut self, slot: u32) {
        let at = self.slab.node(slot).at;
        if at <= self.calendar.now() {
            self.late_min = self.late_min.min(at);
            self.append(LATE, slot);
        } else {
            self.append(self.calendar.list_of(at), slot);
        }
    }

    fn append(&mut self, list: u16, slot: u32) {
        let tail = self.lists[usize::from(list)].tail;
        let node = self.slab.node_mut(slot);
        node.set_place(list);
        node.prev = tail;
        node.next = NIL;
        if tail == NIL {
            self.lists[usize::from(list)].head = slot;
            self.calendar.mark(list);
        } else {
            self.slab.node_mut(tail).next = slot;
        }
        self.lists[usize::from(list)].tail = slot;
    }

    /// Empties a list; its nodes keep their links.
    fn take_list(&mut self, list: u16) -> u32 {
        self.calendar.unmark(list);
        std::mem::replace(&mut self.lists[usize::from(list)], EMPTY).head
    }
}

/// For an owner within the engine that keeps entries beyond their instant: it names them by slot,
/// and a slot stays the entry's until the owner removes it.
impl<T> Wheel<T> {
    /// Adds an entry that waits for nothing yet.
    pub(crate) fn slot_insert(&mut self, at_ms: u64, value: T) -> u32 {
        self.slab.insert(at_ms, value)
    }

    /// Lets a parked entry wait for its instant.
    pub(crate) fn slot_link(&mut self, slot: u32) {
        debug_assert_eq!(self.slab.node(slot).place(), PARKED, "an entry waits once");
        self.linked += 1;
        self.file(slot);
    }

    /// Whether the entry waits for its instant.
    pub(crate) fn slot_waits(&self, slot: u32) -> bool {
        self.slab.node(slot).place() != PARKED
    }

    pub(crate) fn slot_at(&self, slot: u32) -> u64 {
        self.slab.node(slot).at
    }

    pub(crate) fn slot_value(&self, slot: u32) -> &T {
        self.slab.value(slot)
    }

    pub(crate) fn slot_value_mut(&mut self, slot: u32) -> &mut T {
        self.slab.value_mut(slot)
    }

    /// A number that the owner keeps with a parked entry, in the memory of its links.
    pub(crate) fn slot_mark(&self, slot: u32) -> u32 {
        debug_assert_eq!(self.slab.node(slot).place(), PARKED, "only parked entries have a mark");
        self.slab.node(slot).next
    }

    pub(crate) fn set_slot_mark(&mut self, slot: u32, mark: u32) {
        let node = self.slab.node_mut(slot);
        debug_assert_eq!(node.place(), PARKED, "only parked entries have a mark");
        node.next = mark;
    }

    /// Removes an entry, waiting or parked.
    pub(crate) fn slot_remove(&mut self, slot: u32) -> T {
        let node = self.slab.node(slot);
        let (list, next, prev) = (node.place(), node.next, node.prev);
        if list != PARKED {
            self.linked -= 1;
            let index = usize::from(list);
            if prev == NIL {
                self.lists[index].head = next;
            } else {
                self.slab.node_mut(prev).next = next;
            }
            if next == NIL {
                self.lists[index].tail = prev;
            } else {
                self.slab.node_mut(next).prev = prev;
            }
            if self.lists[index].head == NIL {
                self.calendar.unmark(list);
            }
            self.slab.node_mut(slot).set_place(PARKED);
        }
        self.slab.remove(slot)
    }

    /// As [`advance`](Self::advance), but the entries stay, parked; their slots are added to `out`.
    pub(crate) fn advance_parking(&mut self, now_ms: u64, out: &mut Vec<u32>) {
        self.turn(now_ms, &mut |_, slot| out.push(slot));
    }

    /// Entries, waiting or parked.
    pub(crate) fn slots_used(&self) -> u32 {
        self.slab.len()
    }

    /// Bytes of one entry.
    pub(crate) const fn slot_bytes() -> usize {
        size_of::<slab::Node<T>>()
    }
}

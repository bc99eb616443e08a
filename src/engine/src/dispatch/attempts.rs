//! Attempts of this dispatcher's sessions: being fired by a transaction, then running.

use crate::{SessionId, ShardId, TaskId, Timestamp, Token, name::Priority};

use super::{entries::NIL, index::IdIndex, lanes::LaneId};

/// Where an entry stands in the due index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Origin {
    pub(super) due: Timestamp,
    pub(super) shard: ShardId,
    pub(super) lane: LaneId,
    pub(super) priority: Priority,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// A transaction is firing it.
    InFlight {
        /// What the transaction takes out of the due index.
        origin: Origin,
        /// The task was cancelled or ended meanwhile.
        withdrawn: bool,
        /// The highest token of this task known to be over.
        ended: Token,
        /// It became due elsewhere meanwhile.
        again: Option<Origin>,
    },
    /// The session has it. `due` is what it was fired for, if it was fired here.
    Running { token: Token, lane: LaneId, due: Option<Timestamp> },
}

#[derive(Debug)]
pub(super) struct Attempt {
    pub(super) id: TaskId,
    /// Slot of the session; [`NIL`] when that is gone.
    pub(super) session: u32,
    pub(super) phase: Phase,
    next: u32,
    prev: u32,
}

impl Attempt {
    pub(super) fn lane(&self) -> LaneId {
        match self.phase {
            Phase::InFlight { origin, .. } => origin.lane,
            Phase::Running { lane, .. } => lane,
        }
    }
}

#[derive(Debug)]
pub(super) struct Attempts {
    slots: Vec<Attempt>,
    free: Vec<u32>,
    index: IdIndex,
}

impl Attempts {
    pub(super) fn new() -> Self {
        Self { slots: Vec::new(), free: Vec::new(), index: IdIndex::new(1) }
    }

    pub(super) fn find(&self, id: TaskId) -> Option<u32> {
        self.index.find(id.uuid().as_u128(), |slot| self.slots[slot as usize].id.uuid().as_u128())
    }

    pub(super) fn get(&self, slot: u32) -> &Attempt {
        &self.slots[slot as usize]
    }

    pub(super) fn get_mut(&mut self, slot: u32) -> &mut Attempt {
        &mut self.slots[slot as usize]
    }

    /// Adds an attempt of a task that has none, at the head of its session's list.
    pub(super) fn insert(&mut self, id: TaskId, phase: Phase, session: u32, head: &mut u32) {
        let attempt = Attempt { id, session, phase, next: *head, prev: NIL };
        let slot = if let Some(slot) = self.free.pop() {
            self.slots[slot as usize] = attempt;
            slot
        } else {
            self.slots.push(attempt);
            u32::try_from(self.slots.len() - 1).expect("fewer than 2^32 attempts")
        };
        if *head != NIL {
            self.slots[*head as usize].prev = slot;
        }
        *head = slot;
        let slots = &self.slots;
        self.index.insert(id.uuid().as_u128(), slot, |slot| slots[slot as usize].id.uuid().as_u128());
    }

    /// Takes an attempt out of its session's list; it stays otherwise.
    pub(super) fn unlink(&mut self, slot: u32, head: &mut u32) {
        let Attempt { next, prev, .. } = self.slots[slot as usize];
        if prev == NIL {
            *head = next;
        } else {
            self.slots[prev as usize].next = next;
        }
        if next != NIL {
            self.slots[next as usize].prev = prev;
        }
        self.slots[slot as usize].session = NIL;
    }

    /// Forgets an attempt that is in no session's list.
    pub(super) fn remove(&mut self, slot: u32) {
        debug_assert_eq!(self.slots[slot as usize].session, NIL, "it was unlinked before");
        self.index.remove(self.slots[slot as usize].id.uuid().as_u128(), slot);
        self.free.push(slot);
    }

    pub(super) fn list(&self, head: u32) -> impl Iterator<Item = (u32, &Attempt)> {
        let first = (head != NIL).then_some(head);
        std::iter::successors(first, |slot| {
            let next = self.slots[*slot as usize].next;
            (next != NIL).then_some(next)
        })
        .map(|slot| (slot, &self.slots[slot as usize]))
    }

    /// Attempts, in flight and running.
    pub(super) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    pub(super) fn memory_bytes(&self) -> usize {
        self.slots.capacity() * size_of::<Attempt>() + self.free.capacity() * 4 + self.index.memory_bytes()
    }
}

/// An attempt that is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Whose it was.
    pub session: SessionId,
    /// Its token.
    pub token: Token,
    /// Its lane.
    pub lane: LaneId,
}

//! Lanes: a queue of a namespace, by number. Each has what is ready in it and who may take it,
//! and those that have both take turns.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use crate::name::{Namespace, QueueName};

use super::{
    entries::Entries,
    ready::{Item, ReadyHeap},
    roster::Roster,
};

/// Number of a (namespace, queue) pair in one dispatcher. Never given to another pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LaneId(pub(super) u32);

impl fmt::Display for LaneId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[derive(Debug)]
pub(super) struct Lane {
    pub(super) namespace: Namespace,
    pub(super) queue: QueueName,
    pub(super) ready: ReadyHeap,
    pub(super) roster: Roster,
    pub(super) in_flight: u32,
    pub(super) running: u32,
    pub(super) sessions: u32,
    /// The turn at which the lane was served last. The lane served longest ago is next, also when it
    /// had nothing to do for a while: a ring would put whoever wakes first ahead again and again.
    served: u64,
    in_ring: bool,
}

#[derive(Debug, Default)]
pub(super) struct Lanes {
    lanes: Vec<Lane>,
    names: BTreeMap<Namespace, BTreeMap<QueueName, LaneId>>,
    /// The lanes that have, or just had, both ready entries and sessions.
    ring: BTreeSet<(u64, LaneId)>,
    turns: u64,
}

impl Lanes {
    pub(super) fn ids(&self) -> impl Iterator<Item = LaneId> + '_ {
        (0u32..).zip(&self.lanes).map(|(number, _)| LaneId(number))
    }

    pub(super) fn intern(&mut self, namespace: &Namespace, queue: &QueueName) -> LaneId {
        if let Some(lane) = self.find(namespace, queue) {
            return lane;
        }
        let id = LaneId(u32::try_from(self.lanes.len()).expect("fewer than 2^32 lanes"));
        self.lanes.push(Lane {
            namespace: namespace.clone(),
            queue: queue.clone(),
            ready: ReadyHeap::default(),
            roster: Roster::default(),
            in_flight: 0,
            running: 0,
            sessions: 0,
            served: 0,
            in_ring: false,
        });
        self.names.entry(namespace.clone()).or_default().insert(queue.clone(), id);
        id
    }

    pub(super) fn find(&self, namespace: &Namespace, queue: &QueueName) -> Option<LaneId> {
        self.names.get(namespace)?.get(queue).copied()
    }

    pub(super) fn get(&self, lane: LaneId) -> &Lane {
        &self.lanes[lane.0 as usize]
    }

    pub(super) fn get_mut(&mut self, lane: LaneId) -> &mut Lane {
        &mut self.lanes[lane.0 as usize]
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (LaneId, &Lane)> {
        (0u32..).map(LaneId).zip(&self.lanes)
    }

    pub(super) fn len(&self) -> usize {
        self.lanes.len()
    }

    pub(super) fn push_ready(&mut self, lane: LaneId, item: Item, entries: &mut Entries) {
        self.get_mut(lane).ready.push(item, entries);
        self.wake(lane);
    }

    /// Lets a lane take its turns, if it has something to do.
    pub(super) fn wake(&mut self, id: LaneId) {
        let lane = &mut self.lanes[id.0 as usize];
        if !lane.in_ring && !lane.ready.is_empty() && !lane.roster.is_empty() {
            lane.in_ring = true;
            self.ring.insert((lane.served, id));
        }
    }

    /// The lane whose turn it is, taken out of the ring. It has both ready entries and sessions.
    pub(super) fn next_turn(&mut self) -> Option<LaneId> {
        while let Some((_, id)) = self.ring.pop_first() {
            let lane = &mut self.lanes[id.0 as usize];
            lane.in_ring = false;
            if !lane.ready.is_empty() && !lane.roster.is_empty() {
                return Some(id);
            }
        }
        None
    }

    /// Notes that a lane was served, and lets it wait for its next turn.
    pub(super) fn served(&mut self, id: LaneId) {
        self.turns += 1;
        self.lanes[id.0 as usize].served = self.turns;
        self.wake(id);
    }

    pub(super) fn memory_bytes(&self) -> usize {
        let heaps: usize = self.lanes.iter().map(|lane| lane.ready.memory_bytes() + lane.roster.memory_bytes()).sum();
        heaps + self.lanes.capacity() * size_of::<Lane>()
    }
}

//! What a scheduler process decides from: which tasks are due, who may take them, what to fire next.
//!
//! It is a cache of the due index in the store. Drop it, and it can be built again: own the shards,
//! discover the streams, adopt the running attempts, read the pages that it asks for. It does
//! no I/O; it is told what was committed and what time it is, and answers with plans.
//!
//! A *lane* is a queue of a namespace. A *stream* is a (shard, lane, priority): one contiguous range of
//! the due index, ordered by due instant and task id. Of each stream memory holds the near future and
//! a bounded part of what is overdue, first come first. So a queue that nobody serves neither fills
//! memory nor is read again and again, and delays no other.
//!
//! Everything in memory is a hint. A firing transaction checks that the task is still due; what
//! is not in memory is still in the store. So the worst of a lost or late announcement is a delay until
//! the next [`Dispatcher::rescan`], and of a stale one, a plan that [`NotFired::Gone`] takes back.
//!
//! Calls: [`Dispatcher::advance`], then [`Dispatcher::plan`], as long as that yields something; report each
//! planned task by [`Dispatcher::fired`] or [`Dispatcher::not_fired`]; read what
//! [`Dispatcher::load_requests`] asks for; sleep until [`Dispatcher::next_wakeup`].

mod attempts;
mod entries;
mod index;
mod lanes;
mod load;
mod memory;
mod news;
mod plan;
mod ready;
mod roster;
mod sessions;
mod streams;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, time::Duration};

pub use attempts::Ended;
pub use lanes::LaneId;
pub use load::{LoadId, LoadOutcome, LoadRequest, Offered};
pub use plan::{Fired, NotFired, Planned};
pub use roster::{Load, Placement};
pub use sessions::{SessionState, SessionView};
pub use streams::StreamId;

use crate::{
    ShardId, Timestamp,
    name::{Namespace, Priority, QueueName},
};
use attempts::Attempts;
use entries::Entries;
use lanes::Lanes;
use news::News;
use ready::Item;
use sessions::Sessions;
use streams::Streams;

/// Bounds of a dispatcher.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// How far ahead of now entries are kept in memory.
    pub window: Duration,
    /// How long one page read ahead suffices: a stream without backlog is read about this often. Less than `window`.
    pub refresh: Duration,
    /// Entries that a stream keeps in memory; for a moment up to twice as many.
    pub stream_entries_max: u32,
    /// Entries in memory. When there are so many streams that their bounds together exceed this, each gets
    /// an equal part, but at least 16; so for a moment a quarter more, or 20 a stream, may be in memory.
    pub entries_max: u32,
    /// Rows of a page.
    pub page_rows: u32,
    /// How sessions are chosen.
    pub placement: Placement,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            window: Duration::from_secs(300),
            refresh: Duration::from_secs(60),
            stream_entries_max: 8192,
            entries_max: 1_000_000,
            page_rows: 1000,
            placement: Placement::default(),
        }
    }
}

/// A clock set back by more than this makes what was ready wait again. By less, lanes wait it out.
const STEP_BACK_MS: u64 = 1000;

#[derive(Debug)]
struct Shard {
    streams_complete: bool,
}

/// See the module's text.
#[derive(Debug)]
pub struct Dispatcher {
    options: Options,
    owned: BTreeMap<ShardId, Shard>,
    lanes: Lanes,
    streams: Streams,
    entries: Entries,
    attempts: Attempts,
    sessions: Sessions,
    news: News,
    /// When the first ready task that the last plan found too early comes due again.
    held_until: Option<Timestamp>,
    /// Slots on their way from the wheel to the heaps; kept for its memory.
    vested: Vec<u32>,
}

/// Counters of a lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LaneStats {
    /// Due tasks in memory that wait for a session.
    pub ready: usize,
    /// Whether the due index has more due tasks than memory.
    pub ready_beyond: bool,
    /// Tasks being fired.
    pub in_flight: u32,
    /// Attempts running.
    pub running: u32,
    /// Sessions that take work from it, paused ones included.
    pub sessions: u32,
}

/// Counters of a dispatcher.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stats {
    /// Due entries in memory: `waiting` and `ready`.
    pub entries: usize,
    /// Entries that wait in the wheel.
    pub waiting: usize,
    /// Entries that are due and wait for a session.
    pub ready: usize,
    /// Attempts, being fired and running.
    pub attempts: usize,
    /// Sessions known.
    pub sessions: usize,
    /// Lanes ever seen.
    pub lanes: usize,
    /// Streams known.
    pub streams: usize,
    /// Pages asked for so far.
    pub loads: u64,
    /// Pages being read.
    pub loads_in_flight: u32,
    /// Bytes of memory held.
    pub memory_bytes: usize,
}

impl Dispatcher {
    /// An empty dispatcher that owns nothing.
    ///
    /// # Panics
    /// If an option is zero, or `refresh` is not less than `window`.
    pub fn new(options: Options, now: Timestamp) -> Self {
        assert!(options.refresh < options.window, "a page must last longer than until the next");
        assert!(options.stream_entries_max >= 2, "a stream holds at least two entries");
        assert!(options.page_rows > 0 && options.entries_max > 0, "a bound of zero would hold nothing");
        Self {
            options,
            owned: BTreeMap::new(),
            lanes: Lanes::default(),
            streams: Streams::default(),
            entries: Entries::new(now),
            attempts: Attempts::new(),
            sessions: Sessions::new(),
            news: News::default(),
            held_until: None,
            vested: Vec::new(),
        }
    }

    /// The number of a lane; the same for the same names. Lanes are never forgotten.
    pub fn lane(&mut self, namespace: &Namespace, queue: &QueueName) -> LaneId {
        self.lanes.intern(namespace, queue)
    }

    /// The number of a lane that was named before.
    pub fn find_lane(&self, namespace: &Namespace, queue: &QueueName) -> Option<LaneId> {
        self.lanes.find(namespace, queue)
    }

    /// Every lane that was named so far.
    pub fn lanes(&self) -> impl Iterator<Item = LaneId> + '_ {
        self.lanes.ids()
    }

    /// The names of a lane.
    pub fn lane_names(&self, lane: LaneId) -> (&Namespace, &QueueName) {
        let lane = self.lanes.get(lane);
        (&lane.namespace, &lane.queue)
    }

    /// Lets time pass: what has come due is ready. Nothing is ready before its due instant. Time that goes
    /// backwards a little is ignored; by more than a second, what was ready waits again. Returns how
    /// many became ready.
    pub fn advance(&mut self, now: Timestamp) -> usize {
        if self.entries.now().since(now) > Duration::from_millis(STEP_BACK_MS) {
            self.rewind(now);
        }
        let mut vested = std::mem::take(&mut self.vested);
        self.entries.advance(now, &mut vested);
        let count = vested.len();
        for slot in vested.drain(..) {
            let stream = self.streams.get(self.entries.stream(slot));
            let item = Item { due: self.entries.due(slot), slot, priority: stream.priority };
            self.lanes.push_ready(stream.lane, item, &mut self.entries);
        }
        vested.shrink_to(1 << 16);
        self.vested = vested;
        count
    }

    /// Takes everything back to an earlier instant.
    fn rewind(&mut self, now: Timestamp) {
        self.entries.rewind(now);
        let lanes: Vec<LaneId> = self.lanes.iter().map(|(id, _)| id).collect();
        for lane in lanes {
            let heap = &mut self.lanes.get_mut(lane).ready;
            let early: Vec<u32> = heap.items().iter().filter(|item| item.due > now).map(|item| item.slot).collect();
            for slot in early {
                let position = self.entries.position(slot);
                heap.remove(position, &mut self.entries);
                self.entries.wait(slot);
            }
        }
    }

    /// When something is to be done that no message announces: entries come due, or a page is to be read
    /// ([`Dispatcher::next_load`]). May be earlier than needed, never later.
    pub fn next_wakeup(&self) -> Option<Timestamp> {
        [self.entries.next_expiry(), self.held_until, self.next_load()].into_iter().flatten().min()
    }

    /// When the next page wants to be read; not later than now if at once. A caller that reads as many pages as
    /// it can need not wake for this.
    pub fn next_load(&self) -> Option<Timestamp> {
        self.streams.next_load()
    }

    /// When entries come due next, at the earliest.
    pub fn next_due(&self) -> Option<Timestamp> {
        [self.entries.next_expiry(), self.held_until].into_iter().flatten().min()
    }

    fn ready_len(&self) -> usize {
        self.entries.len() as usize - self.entries.waiting()
    }

    /// Counters of a lane at `now`. Costs a look-up for each owned shard.
    pub fn lane_stats(&self, lane: LaneId, now: Timestamp) -> LaneStats {
        let priorities = [Priority::High, Priority::Medium, Priority::Low];
        let ready_beyond = self.owned.keys().any(|shard| {
            let streams = priorities.iter().filter_map(|priority| self.streams.find((*shard, lane, *priority)));
            streams.into_iter().any(|id| self.streams.get(id).beyond.is_some_and(|beyond| beyond <= now))
        });
        let state = self.lanes.get(lane);
        LaneStats {
            ready: state.ready.len(),
            ready_beyond,
            in_flight: state.in_flight,
            running: state.running,
            sessions: state.sessions,
        }
    }

    /// Counters of all. Costs a look at each lane, stream and session.
    pub fn stats(&self) -> Stats {
        Stats {
            entries: self.entries.len() as usize,
            waiting: self.entries.waiting(),
            ready: self.ready_len(),
            attempts: self.attempts.len(),
            sessions: self.sessions.len(),
            lanes: self.lanes.len(),
            streams: self.streams.len(),
            loads: self.streams.loads,
            loads_in_flight: self.streams.loads_in_flight,
            memory_bytes: self.memory_bytes(),
        }
    }

    /// Bytes of memory held, used or not.
    pub fn memory_bytes(&self) -> usize {
        self.entries.memory_bytes()
            + self.lanes.memory_bytes()
            + self.streams.memory_bytes()
            + self.attempts.memory_bytes()
            + self.sessions.memory_bytes()
            + self.news.memory_bytes()
            + self.vested.capacity() * size_of::<u32>()
    }
}

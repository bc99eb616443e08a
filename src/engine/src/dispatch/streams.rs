//! What memory knows of each contiguous range of the stored due index.
//!
//! For each stream, at all times, of every stored entry that was announced:
//! - up to the *frontier* it is in memory, or being fired;
//! - past the frontier it is in memory, or due at `beyond` or later.
//!
//! Everything here keeps to that. `beyond` need not be exact, only never too late, and not before the
//! frontier: so a stream that wants to read on has something ahead of it to read.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    num::NonZeroU32,
};

use crate::{ShardId, TaskId, Timestamp, name::Priority};

use super::{Options, entries::NIL, lanes::LaneId};

/// Number of a stream in one dispatcher, while its shard is owned; may be used again afterwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId(NonZeroU32);

impl StreamId {
    fn of(index: usize) -> Self {
        let number = u32::try_from(index + 1).ok().and_then(NonZeroU32::new);
        Self(number.expect("fewer than 2^32 streams"))
    }

    fn index(self) -> usize {
        self.0.get() as usize - 1
    }
}

/// A place in a stream.
pub(super) type Mark = (Timestamp, TaskId);

/// After every entry of this instant.
pub(super) fn end_of(at: Timestamp) -> Mark {
    (at, TaskId::from_bytes([0xff; 16]))
}

/// What a page is read for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// To move the frontier ahead.
    Ahead,
    /// To find what memory should have and has not.
    Repair,
}

/// A page that is being read.
#[derive(Debug)]
pub(super) struct Load {
    pub(super) number: u64,
    pub(super) purpose: Purpose,
    pub(super) until: Timestamp,
    /// Earliest due of what was announced meanwhile and not taken into memory.
    pub(super) beyond: Option<Timestamp>,
    /// The number of the first news after it was asked for.
    pub(super) news: u64,
    /// The frontier moved back meanwhile: the page does not join on any more.
    pub(super) void: bool,
}

#[derive(Debug)]
pub(super) struct Stream {
    pub(super) shard: ShardId,
    pub(super) lane: LaneId,
    pub(super) priority: Priority,
    /// First of the list of its entries.
    pub(super) head: u32,
    pub(super) len: u32,
    /// `None`: before everything.
    pub(super) frontier: Option<Mark>,
    /// `None`: nothing is stored past the frontier.
    pub(super) beyond: Option<Timestamp>,
    pub(super) load: Option<Load>,
    /// How far a repair has come (`Some(None)`: it begins).
    pub(super) repair: Option<Option<Mark>>,
    wake: Option<Timestamp>,
    queued: bool,
    live: bool,
}

impl Stream {
    pub(super) fn is_within(&self, mark: Mark) -> bool {
        self.frontier.is_some_and(|frontier| mark <= frontier)
    }

    /// Nothing in memory, nothing stored, nothing under way.
    pub(super) fn is_idle(&self) -> bool {
        self.len == 0 && self.beyond.is_none() && self.load.is_none() && self.repair.is_none()
    }

    pub(super) fn lower_beyond(&mut self, due: Timestamp) {
        self.beyond = Some(self.beyond.map_or(due, |beyond| beyond.min(due)));
    }

    /// When to read on, if at all.
    fn wake_at(&self, share: Share, options: &Options) -> Option<Timestamp> {
        if self.load.is_some() {
            return None;
        }
        let beyond = self.beyond?;
        if self.len <= share.entries / 2 {
            // With hysteresis, so that one read covers the refresh interval.
            Some(beyond.saturating_sub(options.window.saturating_sub(options.refresh)))
        } else if self.len + share.page <= share.entries {
            Some(beyond)
        } else {
            None
        }
    }
}

/// How much of memory a stream may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Share {
    /// Entries; it gets up to twice as many before the rest is put back.
    pub(super) entries: u32,
    /// Rows of a page.
    pub(super) page: u32,
}

/// A stream may always have this many.
const SHARE_MIN: u32 = 16;

pub(super) type Key = (ShardId, LaneId, Priority);

#[derive(Debug, Default)]
pub(super) struct Streams {
    streams: Vec<Stream>,
    free: Vec<StreamId>,
    keys: BTreeMap<Key, StreamId>,
    /// When each stream wants to read on.
    wakes: BTreeSet<(Timestamp, StreamId)>,
    /// Streams that want to read now, in the order in which they began to want it, so that one
    /// with a long backlog cannot keep others from reading.
    queue: VecDeque<StreamId>,
    /// Streams to repair, served after the others.
    pub(super) repairs: VecDeque<StreamId>,
    pub(super) loads: u64,
    pub(super) loads_in_flight: u32,
}

impl Streams {
    pub(super) fn share(&self, options: &Options) -> Share {
        let known = u32::try_from(self.keys.len().max(1)).unwrap_or(u32::MAX);
        let floor = SHARE_MIN.min(options.stream_entries_max);
        let entries = (options.entries_max / known).clamp(floor, options.stream_entries_max).max(2);
        Share { entries, page: options.page_rows.clamp(1, entries / 2) }
    }

    pub(super) fn find(&self, key: Key) -> Option<StreamId> {
        self.keys.get(&key).copied()
    }

    pub(super) fn get(&self, id: StreamId) -> &Stream {
        &self.streams[id.index()]
    }

    pub(super) fn get_mut(&mut self, id: StreamId) -> &mut Stream {
        &mut self.streams[id.index()]
    }

    /// The stream of a page that was being read; `None` if it is not the one that it waits for.
    pub(super) fn loading(&mut self, id: StreamId, number: u64) -> Option<&mut Stream> {
        let stream = self.streams.get_mut(id.index())?;
        (stream.live && stream.load.as_ref().is_some_and(|load| load.number == number)).then_some(stream)
    }

    pub(super) fn create(&mut self, key: Key, beyond: Option<Timestamp>) -> StreamId {
        let (shard, lane, priority) = key;
        let stream = Stream {
            shard,
            lane,
            priority,
            head: NIL,
            len: 0,
            frontier: None,
            beyond,
            load: None,
            repair: None,
            wake: None,
            queued: false,
            live: true,
        };
        let id = if let Some(id) = self.free.pop() {
            self.streams[id.index()] = stream;
            id
        } else {
            self.streams.push(stream);
            StreamId::of(self.streams.len() - 1)
        };
        self.keys.insert(key, id);
        id
    }

    /// Forgets a stream that has no entries. Returns the read that it was waiting for.
    pub(super) fn remove(&mut self, id: StreamId) -> Option<Load> {
        let stream = &mut self.streams[id.index()];
        debug_assert_eq!(stream.len, 0, "its entries were removed before");
        if let Some(wake) = stream.wake.take() {
            self.wakes.remove(&(wake, id));
        }
        let load = stream.load.take();
        self.loads_in_flight -= u32::from(load.is_some());
        stream.live = false;
        stream.queued = false;
        stream.repair = None;
        self.keys.remove(&(stream.shard, stream.lane, stream.priority));
        self.free.push(id);
        load
    }

    pub(super) fn of_shard(&self, shard: ShardId) -> Vec<StreamId> {
        let first = (shard, LaneId(0), Priority::High);
        let last = (shard, LaneId(u32::MAX), Priority::Low);
        self.keys.range(first..=last).map(|(_, id)| *id).collect()
    }

    pub(super) fn all(&self) -> Vec<StreamId> {
        self.keys.values().copied().collect()
    }

    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }

    /// Finds out anew when the stream wants to read on. To be called after every change of it.
    pub(super) fn refresh(&mut self, id: StreamId, options: &Options) {
        let share = self.share(options);
        let stream = &mut self.streams[id.index()];
        let wake = if stream.queued { None } else { stream.wake_at(share, options) };
        if wake != stream.wake {
            if let Some(old) = stream.wake {
                self.wakes.remove(&(old, id));
            }
            if let Some(new) = wake {
                self.wakes.insert((new, id));
            }
            stream.wake = wake;
        }
    }

    /// The next stream that wants to read on at `now`.
    pub(super) fn next_hungry(&mut self, now: Timestamp, options: &Options) -> Option<StreamId> {
        while let Some((wake, id)) = self.wakes.first().copied() {
            if wake > now {
                break;
            }
            self.wakes.remove(&(wake, id));
            let stream = &mut self.streams[id.index()];
            stream.wake = None;
            stream.queued = true;
            self.queue.push_back(id);
        }
        while let Some(id) = self.queue.pop_front() {
            let share = self.share(options);
            let stream = &mut self.streams[id.index()];
            // A stream that was removed may have left its number here.
            if !std::mem::take(&mut stream.queued) {
                continue;
            }
            if stream.wake_at(share, options).is_some_and(|at| at <= now) {
                return Some(id);
            }
            self.refresh(id, options);
        }
        None
    }

    /// When the next page wants to be read; [`Timestamp::MIN`] if at once.
    pub(super) fn next_load(&self) -> Option<Timestamp> {
        if !self.queue.is_empty() || !self.repairs.is_empty() {
            return Some(Timestamp::MIN);
        }
        self.wakes.first().map(|(wake, _)| *wake)
    }

    pub(super) fn memory_bytes(&self) -> usize {
        self.streams.capacity() * size_of::<Stream>()
            // Nodes of BTree collections are at least half full.
            + self.keys.len() * size_of::<(Key, StreamId)>() * 3 / 2
            + self.wakes.len() * size_of::<(Timestamp, StreamId)>() * 3 / 2
    }
}

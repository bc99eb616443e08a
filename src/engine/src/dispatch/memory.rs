//! Entries on their way into memory and out of it, and the bound on how many there are.

use crate::{TaskId, Timestamp};

use super::{
    Dispatcher,
    ready::Item,
    streams::{Mark, StreamId},
};

impl Dispatcher {
    pub(super) fn insert_entry(&mut self, stream_id: StreamId, id: TaskId, due: Timestamp) {
        let stream = self.streams.get_mut(stream_id);
        stream.len += 1;
        let slot = self.entries.insert(id, due, stream_id, &mut stream.head);
        if due <= self.entries.now() {
            let item = Item { due, slot, priority: stream.priority };
            self.lanes.push_ready(stream.lane, item, &mut self.entries);
        } else {
            self.entries.wait(slot);
        }
    }

    /// Removes an entry from memory, waiting or ready.
    pub(super) fn remove_entry(&mut self, slot: u32) {
        let id = self.entries.stream(slot);
        let stream = self.streams.get_mut(id);
        if !self.entries.is_waiting(slot) {
            let position = self.entries.position(slot);
            self.lanes.get_mut(stream.lane).ready.remove(position, &mut self.entries);
        }
        self.entries.remove(slot, &mut stream.head);
        stream.len -= 1;
        self.streams.refresh(id, &self.options);
    }

    pub(super) fn drop_entries(&mut self, id: StreamId) {
        let slots: Vec<u32> = self.entries.list(self.streams.get(id).head).collect();
        for slot in slots {
            self.remove_entry(slot);
        }
    }

    pub(super) fn trim_if_over(&mut self, id: StreamId) {
        let share = self.streams.share(&self.options).entries;
        let scarce = self.entries.len() > self.options.entries_max;
        let most = if scarce { share + share / 4 } else { share.saturating_mul(2) };
        if self.streams.get(id).len > most {
            self.trim(id, share);
        }
    }

    /// Streams became more, so each may have less.
    pub(super) fn trim_all(&mut self) {
        let share = self.streams.share(&self.options).entries;
        for id in self.streams.all() {
            if self.streams.get(id).len > share {
                self.trim(id, share);
            }
        }
    }

    /// Keeps the first `keep` entries of a stream and leaves the others to the due index, which has them.
    fn trim(&mut self, id: StreamId, keep: u32) {
        let list = self.entries.list(self.streams.get(id).head);
        let mut marks: Vec<(Mark, u32)> =
            list.map(|slot| ((self.entries.due(slot), self.entries.id(slot)), slot)).collect();
        let keep = keep as usize;
        if keep == 0 || marks.len() <= keep {
            return;
        }
        marks.select_nth_unstable(keep - 1);
        let last_kept = marks[keep - 1].0;
        let dropped = &marks[keep..];
        let first_dropped = dropped.iter().map(|((due, _), _)| *due).min();
        let stream = self.streams.get_mut(id);
        stream.frontier = stream.frontier.min(Some(last_kept));
        if let Some(due) = first_dropped {
            stream.lower_beyond(due);
        }
        if let Some(load) = &mut stream.load {
            load.void = true;
        }
        for (_, slot) in dropped {
            self.remove_entry(*slot);
        }
    }
}

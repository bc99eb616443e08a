//! What comes into memory: announcements of commits, and pages of the due index.

use crate::{ShardId, TaskId, Timestamp, Token, name::Priority};

use super::{
    Dispatcher, Shard,
    attempts::{Origin, Phase},
    lanes::LaneId,
    streams::{Load, Mark, Purpose, Stream, StreamId, end_of},
};

/// Names one page that is being read. What comes for another than the stream waits for is ignored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LoadId {
    stream: StreamId,
    number: u64,
}

/// A page to read: the first `limit` entries of the stream after `after`, with a due instant up to and
/// including `until`. The read version must be taken after the request was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoadRequest {
    /// To be given back with the page.
    pub load: LoadId,
    /// Shard of the stream.
    pub shard: ShardId,
    /// Lane of the stream.
    pub lane: LaneId,
    /// Priority of the stream.
    pub priority: Priority,
    /// The last entry that is known; `None` to read from the start.
    pub after: Option<(Timestamp, TaskId)>,
    /// The last due instant to read.
    pub until: Timestamp,
    /// The most rows to read.
    pub limit: u32,
}

/// Why a page ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoadOutcome {
    /// It has as many rows as the limit allows; there may be more.
    Full,
    /// It has all up to `until`.
    End {
        /// Due instant of the first entry after `until`, at the same read version; `None` if there is none.
        next_due: Option<Timestamp>,
    },
}

/// What [`Dispatcher::offer`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offered {
    /// It is in memory now.
    Held,
    /// It was known already.
    Known,
    /// It stays in the due index for now, and is read in time.
    Left,
    /// It is being fired as it was before; it is taken into account when that is over.
    InFlight,
    /// Its shard is not owned.
    NotOwned,
}

/// Shards and what they hold.
impl Dispatcher {
    /// The shard is ours from now on. Its streams come by [`discover`](Self::discover) and
    /// [`offer`](Self::offer).
    pub fn own_shard(&mut self, shard: ShardId) {
        self.owned.entry(shard).or_insert(Shard { streams_complete: false });
    }

    /// The shard is not ours any more: drops its entries and streams. What is being fired or runs stays until
    /// it is over, since it takes up credits and sessions.
    pub fn disown_shard(&mut self, shard: ShardId) {
        self.owned.remove(&shard);
        for id in self.streams.of_shard(shard) {
            self.drop_entries(id);
            if let Some(load) = self.streams.remove(id) {
                self.news.end(load.news);
            }
        }
    }

    /// Whether the shard is ours.
    pub fn owns(&self, shard: ShardId) -> bool {
        self.owned.contains_key(&shard)
    }

    /// The due index has entries of this stream, says a scan. `false` if the shard is not owned.
    pub fn discover(&mut self, shard: ShardId, lane: LaneId, priority: Priority) -> bool {
        if !self.owned.contains_key(&shard) {
            return false;
        }
        let key = (shard, lane, priority);
        let id = match self.streams.find(key) {
            Some(id) => {
                // Something is stored of which we were never told.
                let stream = self.streams.get_mut(id);
                if stream.is_idle() {
                    stream.frontier = None;
                    stream.beyond = Some(Timestamp::MIN);
                }
                id
            }
            None => self.streams.create(key, Some(Timestamp::MIN)),
        };
        self.streams.refresh(id, &self.options);
        true
    }

    /// Every stream that the shard had at some version since it was owned was discovered. So a stream
    /// that is not known yet has nothing stored but what is offered from now on.
    pub fn streams_complete(&mut self, shard: ShardId) {
        if let Some(shard) = self.owned.get_mut(&shard) {
            shard.streams_complete = true;
        }
    }

    /// Reads again, page by page, what memory should have of the shard, so that announcements that were
    /// lost are found. A rescan that is under way starts over. Drops nothing but streams with nothing in them; so the caller also scans for streams
    /// again, and calls [`discover`](Self::discover) for each.
    pub fn rescan(&mut self, shard: ShardId) {
        let complete = self.owned.get(&shard).is_some_and(|shard| shard.streams_complete);
        for id in self.streams.of_shard(shard) {
            let stream = self.streams.get_mut(id);
            if complete && stream.is_idle() {
                self.streams.remove(id);
                continue;
            }
            if stream.frontier.is_none() {
                stream.beyond = Some(Timestamp::MIN);
            } else {
                stream.repair = Some(None);
            }
            if let Some(load) = &mut stream.load {
                // It was asked for before, and is asked for again.
                load.void = true;
            } else if stream.repair.is_some() {
                self.streams.repairs.push_back(id);
            }
            self.streams.refresh(id, &self.options);
        }
    }

    /// A due entry was committed: submitted, retried, or moved to another instant. To be called for every
    /// one of an owned shard, in whatever order, as soon as it is known.
    pub fn offer(
        &mut self,
        id: TaskId,
        due: Timestamp,
        shard: ShardId,
        lane: LaneId,
        priority: Priority,
        now: Timestamp,
    ) -> Offered {
        self.news.note(id);
        self.take(id, Origin { due, shard, lane, priority }, now)
    }

    /// Takes an entry that is stored into account. That is no news by itself: it may be what was known before.
    pub(super) fn take(&mut self, id: TaskId, origin: Origin, now: Timestamp) -> Offered {
        let Origin { due, shard, lane, priority } = origin;
        let Some(state) = self.owned.get(&shard) else { return Offered::NotOwned };
        // Of a stream that was never seen, nothing is stored; unless not all were looked for.
        let beyond = (!state.streams_complete).then_some(Timestamp::MIN);
        if let Some(slot) = self.attempts.find(id) {
            match &mut self.attempts.get_mut(slot).phase {
                Phase::InFlight { origin: fired, withdrawn, ended, again } => {
                    // Once an end was told, it may be the retry of just that attempt, due at the same instant.
                    let same = *fired == origin && !*withdrawn && *ended == Token(0);
                    // Even the same: if it moved away and back, the transaction may have missed it in between.
                    *again = Some(origin);
                    return if same { Offered::Known } else { Offered::InFlight };
                }
                // A page brought the entry and it was fired before its submission was heard of.
                Phase::Running { due: Some(fired), .. } if *fired == due => return Offered::Known,
                Phase::Running { .. } => {}
            }
        }
        let key = (shard, lane, priority);
        if let Some(slot) = self.entries.find(id) {
            let known = self.entries.stream(slot);
            if self.entries.due(slot) == due && self.streams.find(key) == Some(known) {
                return Offered::Known;
            }
            self.remove_entry(slot);
        }
        let stream = match self.streams.find(key) {
            Some(stream) => stream,
            None => self.streams.create(key, beyond),
        };
        let held = self.admit(stream, id, due, now);
        self.trim_if_over(stream);
        self.streams.refresh(stream, &self.options);
        if held { Offered::Held } else { Offered::Left }
    }

    /// Takes an entry that was just committed into memory, or notes that it is not there.
    fn admit(&mut self, stream_id: StreamId, id: TaskId, due: Timestamp, now: Timestamp) -> bool {
        let share = self.streams.share(&self.options);
        let horizon = now.saturating_add(self.options.window);
        let stream = self.streams.get_mut(stream_id);
        let mark = (due, id);
        let being_read =
            stream.load.as_ref().is_some_and(|load| load.purpose == Purpose::Ahead && !load.void && due <= load.until);
        // Nothing is stored between the frontier and here: so the frontier can move here.
        let joins_on = stream.beyond.is_none_or(|beyond| due < beyond) && due <= horizon && stream.len < share.entries;
        if stream.is_within(mark) || being_read {
            self.insert_entry(stream_id, id, due);
            return true;
        }
        if joins_on {
            stream.frontier = stream.frontier.max(Some(end_of(due)));
            self.insert_entry(stream_id, id, due);
            return true;
        }
        stream.lower_beyond(due);
        if let Some(load) = &mut stream.load {
            load.beyond = Some(load.beyond.map_or(due, |beyond| beyond.min(due)));
        }
        false
    }

    /// The task is cancelled or has ended otherwise: it is not due any more. If it is being fired, its
    /// credit stays in use until the outcome is known. `false` if it was not known.
    pub fn withdraw(&mut self, id: TaskId) -> bool {
        self.news.note(id);
        let mut known = false;
        if let Some(slot) = self.attempts.find(id)
            && let Phase::InFlight { withdrawn, again, .. } = &mut self.attempts.get_mut(slot).phase
        {
            *withdrawn = true;
            *again = None;
            known = true;
        }
        if let Some(slot) = self.entries.find(id) {
            self.remove_entry(slot);
            known = true;
        }
        known
    }

    /// Pages to read next, at most `max`, and one at a time for each stream. Every one must be answered by
    /// [`loaded`](Self::loaded) or [`load_failed`](Self::load_failed).
    pub fn load_requests(&mut self, now: Timestamp, max: usize) -> Vec<LoadRequest> {
        let mut requests = Vec::new();
        if self.entries.len() > self.options.entries_max {
            self.trim_all();
        }
        while requests.len() < max {
            let Some(id) = self.streams.next_hungry(now, &self.options) else { break };
            let after = self.streams.get(id).frontier;
            let until = now.saturating_add(self.options.window);
            requests.push(self.request(id, Purpose::Ahead, after, until));
        }
        while requests.len() < max {
            let Some(id) = self.streams.repairs.pop_front() else { break };
            let stream = self.streams.get_mut(id);
            // A stream that was removed may have left its number here.
            let (Some(after), Some(frontier), None) = (stream.repair, stream.frontier, &stream.load) else {
                continue;
            };
            if after.is_some_and(|after| after >= frontier) {
                stream.repair = None;
                continue;
            }
            requests.push(self.request(id, Purpose::Repair, after, frontier.0));
        }
        requests
    }

    fn request(&mut self, id: StreamId, purpose: Purpose, after: Option<Mark>, until: Timestamp) -> LoadRequest {
        let limit = self.streams.share(&self.options).page;
        self.streams.loads += 1;
        self.streams.loads_in_flight += 1;
        let number = self.streams.loads;
        let stream = self.streams.get_mut(id);
        stream.load = Some(Load { number, purpose, until, beyond: None, news: self.news.begin(), void: false });
        let (shard, lane, priority) = (stream.shard, stream.lane, stream.priority);
        self.streams.refresh(id, &self.options);
        LoadRequest { load: LoadId { stream: id, number }, shard, lane, priority, after, until, limit }
    }

    /// A page could not be read: the stream asks for it again.
    pub fn load_failed(&mut self, load: LoadId) {
        if self.streams.loading(load.stream, load.number).is_some() {
            self.end_load(load.stream);
        }
    }

    /// Ends a read, so that the next may begin. Returns it, unless its page is of no use, and of which tasks there
    /// was news meanwhile.
    fn end_load(&mut self, id: StreamId) -> Option<(Load, Vec<TaskId>)> {
        let stream = self.streams.get_mut(id);
        let load = stream.load.take()?;
        if stream.repair.is_some() {
            self.streams.repairs.push_back(id);
        }
        self.streams.loads_in_flight -= 1;
        self.streams.refresh(id, &self.options);
        let news = self.news.end(load.news)?;
        (!load.void).then_some((load, news))
    }

    /// Adopts a page. A page that nobody waits for any more is ignored.
    ///
    /// # Panics
    /// If the rows are not in the order of the index, or a full page has none.
    pub fn loaded(&mut self, id: LoadId, rows: &[(Timestamp, TaskId)], outcome: LoadOutcome) {
        assert!(rows.is_sorted_by(|a, b| a < b), "rows come in the order of the due index");
        assert!(outcome != LoadOutcome::Full || !rows.is_empty(), "a full page has rows");
        let LoadId { stream: id, number } = id;
        if self.streams.loading(id, number).is_none() {
            return;
        }
        let Some((load, news)) = self.end_load(id) else { return };
        for (due, task) in rows {
            if news.binary_search(task).is_err() {
                self.adopt_row(id, *task, *due);
            }
        }
        let stream = self.streams.get_mut(id);
        let last = rows.last().copied();
        match (load.purpose, outcome) {
            (Purpose::Ahead, LoadOutcome::Full) => {
                stream.frontier = stream.frontier.max(last);
                stream.beyond = last.map(|(due, _)| due);
            }
            (Purpose::Ahead, LoadOutcome::End { next_due }) => {
                stream.frontier = stream.frontier.max(Some(end_of(load.until)));
                stream.beyond = [next_due, load.beyond].into_iter().flatten().min();
            }
            (Purpose::Repair, outcome) => {
                let (come_to, next_due) = match outcome {
                    LoadOutcome::Full => (last, last.map(|(due, _)| due)),
                    LoadOutcome::End { next_due } => (Some(end_of(load.until)), next_due),
                };
                // The frontier may have moved meanwhile.
                stream.repair = (come_to < stream.frontier).then_some(come_to);
                // Rows past it, and what comes after them, may be news, too.
                let first_past = rows.iter().find(|mark| Some(**mark) > stream.frontier).map(|(due, _)| *due);
                if let Some(due) =
                    [first_past, next_due].into_iter().flatten().min().filter(|_| stream.repair.is_none())
                {
                    stream.lower_beyond(due);
                }
            }
        }
        self.trim_if_over(id);
        self.streams.refresh(id, &self.options);
    }

    /// Takes a row of a page into memory. There was no news of its task since the page was asked for, so where
    /// they differ the page is right.
    fn adopt_row(&mut self, stream: StreamId, id: TaskId, due: Timestamp) {
        if let Some(slot) = self.attempts.find(id) {
            let Stream { shard, lane, priority, .. } = *self.streams.get(stream);
            match &mut self.attempts.get_mut(slot).phase {
                Phase::InFlight { origin, withdrawn, again, .. } => {
                    let row = Origin { due, shard, lane, priority };
                    // Also in place of an older announcement of where it is due again.
                    if !*withdrawn && (*origin != row || again.is_some()) {
                        *again = Some(row);
                    }
                    return;
                }
                // The page is older than the firing.
                Phase::Running { due: Some(fired), .. } if *fired == due => return,
                Phase::Running { .. } => {}
            }
        }
        if let Some(slot) = self.entries.find(id) {
            let same = self.entries.stream(slot) == stream && self.entries.due(slot) == due;
            if same {
                return;
            }
            self.remove_entry(slot);
        }
        self.insert_entry(stream, id, due);
    }
}

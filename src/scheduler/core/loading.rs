//! Filling memory from the store: at the start, as the window moves on, and in a slow rescan
//! that mends what a lost hint left out.

use std::{collections::BTreeSet, sync::Arc};

use escapement_engine::{
    Monotonic, ShardId, Timestamp,
    dispatch::{LoadOutcome, LoadRequest, Offered},
    planted::{Bug, planted},
};

use super::{Core, Now, Offer, message::Message, unix_ms};
use crate::{
    keyspace::DueStream,
    records::Lease,
    scheduler::{
        RETRY_PAUSE,
        transactions::{self, DuePage, Outcome, Refusal},
    },
    store::RunError,
};

/// Pages of the due index in flight.
const IN_FLIGHT_MAX: usize = 8;

/// Reads of the store that are on their way.
#[derive(Debug)]
pub(super) struct Loads {
    in_flight: usize,
    rescan_at: Monotonic,
    rescan_shard: usize,
    /// Shards of which something may have been missed: looked through at once.
    suspect: BTreeSet<ShardId>,
}

impl Loads {
    pub(super) fn new(rescan_at: Monotonic) -> Self {
        Self { in_flight: 0, rescan_at, rescan_shard: 0, suspect: BTreeSet::new() }
    }

    pub(super) fn rescan_at(&self) -> Monotonic {
        self.rescan_at
    }

    /// A hint about this shard may have been lost.
    pub(super) fn rescan_soon(&mut self, shard: ShardId) {
        self.suspect.insert(shard);
    }

    pub(super) fn in_flight(&self) -> usize {
        self.in_flight
    }
}

impl Core {
    /// Takes a shard over: its streams, leases and ticks.
    pub(super) async fn load_shard(&mut self, shard: ShardId) -> Outcome<()> {
        let shared = Arc::clone(&self.shared);
        let page_rows = shared.options.scan_page_rows;
        self.dispatcher.own_shard(shard);
        let streams = find_streams(&shared, shard).await?;
        self.streams_found(&streams);
        self.dispatcher.streams_complete(shard);
        let mut after = None;
        loop {
            let (rows, next) = transactions::load_leases(&shared.db, shard, after, page_rows).await?;
            after = next;
            let now = self.look();
            for (id, lease) in rows {
                self.adopt_lease(id, &lease, now);
            }
            if after.is_none() {
                break;
            }
        }
        let mut after = None;
        loop {
            let page = transactions::read_ticks(&shared.db, shard, after, page_rows).await?;
            self.ticks.read(shard, &page);
            after = page.rows.last().copied();
            if !page.more {
                return Ok(());
            }
        }
    }

    fn adopt_lease(&mut self, id: escapement_engine::TaskId, lease: &Lease, now: Now) {
        self.presume_session(lease, now);
        let lane = self.dispatcher.lane(&lease.namespace, &lease.queue);
        self.dispatcher.adopt_running(id, lease.session, lease.token, lane);
        // The attempt's start is known by a wall clock only, so this is an estimate; the
        // session's lease, counted from now, is what guards the task.
        let ran = now.wall.since(lease.started).min(lease.entry.attempt_timeout);
        let left = lease.entry.attempt_timeout - ran + self.shared.options.timeout_grace;
        self.timeouts.set(id, now.mono.saturating_add(left).as_millis(), lease.token);
    }

    /// Makes streams known that a shard's due index holds.
    pub(super) fn streams_found(&mut self, streams: &[DueStream]) {
        for stream in streams {
            let lane = self.dispatcher.lane(&stream.namespace, &stream.queue);
            self.dispatcher.discover(stream.shard, lane, stream.priority);
        }
    }

    /// A due entry was committed.
    pub(super) fn offer(&mut self, offer: Offer, now: Now) {
        let lane = self.dispatcher.lane(&offer.stream.namespace, &offer.stream.queue);
        let offered =
            self.dispatcher.offer(offer.id, offer.due, offer.stream.shard, lane, offer.stream.priority, now.due);
        // What is left in the due index has its deadline there, too.
        if let Some(deadline) = offer.deadline.filter(|_| offered != Offered::Left) {
            self.deadlines.set(offer.id, unix_ms(deadline) + 1, (offer.stream, offer.due));
        }
        self.shared.watches.changed(offer.id);
    }

    /// Reads what memory lacks, and from time to time everything of one more shard.
    pub(super) fn start_loads(&mut self, now: Now) {
        if planted(Bug::HintsTrusted) {
            self.loads.suspect.clear();
            self.loads.rescan_at = now.mono.saturating_add(self.shared.options.rescan_interval);
        }
        if now.mono >= self.loads.rescan_at {
            self.start_rescan(now);
        }
        for shard in std::mem::take(&mut self.loads.suspect) {
            self.rescan(shard);
        }
        let room = IN_FLIGHT_MAX.saturating_sub(self.loads.in_flight);
        if room == 0 {
            return;
        }
        for request in self.dispatcher.load_requests(now.due, room) {
            let stream = self.stream_of(&request);
            self.loads.in_flight += 1;
            let shared = Arc::clone(&self.shared);
            let LoadRequest { after, until, limit, .. } = request;
            self.spawn(async move {
                let result = transactions::read_due(&shared.db, &stream, after, until, limit as usize).await;
                if result.is_err() {
                    shared.clock.sleep(RETRY_PAUSE).await;
                }
                Message::DueRead { request, result }
            });
        }
    }

    /// When the next page is to be read, unless pages that are being read come first.
    pub(super) fn next_load(&self) -> Option<Timestamp> {
        self.dispatcher.next_load().filter(|_| self.loads.in_flight < IN_FLIGHT_MAX)
    }

    fn stream_of(&self, request: &LoadRequest) -> DueStream {
        let (namespace, queue) = self.dispatcher.lane_names(request.lane);
        DueStream {
            shard: request.shard,
            namespace: namespace.clone(),
            queue: queue.clone(),
            priority: request.priority,
        }
    }

    /// Adopts a page of the due index.
    pub(super) fn due_read(&mut self, request: &LoadRequest, result: Result<DuePage, RunError<Refusal>>) {
        self.loads.in_flight -= 1;
        let page = match result {
            Ok(page) => page,
            Err(error) => {
                tracing::warn!(%error, shard = request.shard.0, "reading the due index failed; trying again");
                self.dispatcher.load_failed(request.load);
                return;
            }
        };
        let stream = self.stream_of(request);
        for (due, id, deadline) in &page.rows {
            if let Some(deadline) = deadline {
                self.deadlines.set(*id, unix_ms(*deadline) + 1, (stream.clone(), *due));
            }
        }
        let rows: Vec<(Timestamp, _)> = page.rows.iter().map(|(due, id, _)| (*due, *id)).collect();
        let outcome = match page.full {
            true => LoadOutcome::Full,
            false => LoadOutcome::End { next_due: page.next },
        };
        self.dispatcher.loaded(request.load, &rows, outcome);
    }

    /// Looks through one shard again, the next one each time, so that all are looked through
    /// in one rescan interval.
    fn start_rescan(&mut self, now: Now) {
        let shards = self.shared.ownership.shards.len();
        let pause = self.shared.options.rescan_interval / u32::try_from(shards.max(1)).unwrap_or(1);
        self.loads.rescan_at = now.mono.saturating_add(pause);
        let turn = self.loads.rescan_shard % shards.max(1);
        self.loads.rescan_shard = turn + 1;
        if let Some(shard) = self.shared.ownership.shards.keys().nth(turn).copied() {
            self.rescan(shard);
        }
    }

    fn rescan(&mut self, shard: ShardId) {
        self.dispatcher.rescan(shard);
        self.look_for_strays(shard);
        let shared = Arc::clone(&self.shared);
        self.spawn(async move {
            match find_streams(&shared, shard).await {
                Ok(streams) => Message::StreamsFound { streams },
                Err(error) => {
                    tracing::warn!(%error, shard = shard.0, "rescan failed");
                    Message::StreamsFound { streams: Vec::new() }
                }
            }
        });
        let shared = Arc::clone(&self.shared);
        self.spawn(async move {
            let mut after = None;
            loop {
                match transactions::read_ticks(&shared.db, shard, after, shared.options.scan_page_rows).await {
                    Ok(page) if page.more => {
                        after = page.rows.last().copied();
                        shared.tell(Message::TicksRead { shard, page }).await;
                    }
                    Ok(page) => return Message::TicksRead { shard, page },
                    Err(error) => {
                        tracing::warn!(%error, shard = shard.0, "rescan failed");
                        return Message::StreamsFound { streams: Vec::new() };
                    }
                }
            }
        });
    }
}

async fn find_streams(shared: &Arc<super::Shared>, shard: ShardId) -> Outcome<Vec<DueStream>> {
    let mut streams: Vec<DueStream> = Vec::new();
    while let Some(stream) = transactions::next_stream(&shared.db, shard, streams.last()).await? {
        streams.push(stream);
    }
    Ok(streams)
}

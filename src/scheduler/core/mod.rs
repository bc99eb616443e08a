//! The core: everything that a scheduler decides in memory, in one task.
//!
//! It takes messages about what has happened, then looks at the clock and acts: fires what is
//! due, makes tasks of ticks, reads what memory lacks, ends what has run out of time. It
//! starts transactions and never waits for one. Each of the files beside this one is about
//! one of these.

mod ending;
mod firing;
mod loading;
mod message;
mod sessions;
mod state;
mod strays;
mod ticking;
mod time;
mod timers;

use std::{collections::BTreeMap, future::Future, panic::AssertUnwindSafe, sync::Arc, time::Duration};

use escapement_engine::{
    SessionId, ShardId, TaskId, Timestamp, Token,
    dispatch::{Dispatcher, Options},
};
use futures_util::FutureExt as _;
use tokio::sync::mpsc;

pub(crate) use self::message::{Message, Offer, Outbound, Outgoing, SessionEvent, SessionOpening};
pub(crate) use self::time::Rejected;
use self::{
    loading::Loads,
    sessions::Session,
    ticking::Ticks,
    time::{Fit, Now, Time},
    timers::Timers,
};
use super::{Shared, transactions::Outcome};
use crate::{clock::WALL_SLEEP_MAX, keyspace::DueStream};

/// Messages taken at once, so that those that belong together are decided together.
const MESSAGES_AT_ONCE: usize = 512;

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct Core {
    shared: Arc<Shared>,
    dispatcher: Dispatcher,
    sessions: BTreeMap<SessionId, Session>,
    /// When each session's silence has lasted its whole lease; monotonic milliseconds.
    silences: Timers<SessionId, ()>,
    /// When each running attempt has had its time and grace; monotonic milliseconds.
    timeouts: Timers<TaskId, Token>,
    /// When due tasks pass their deadlines; Unix milliseconds.
    deadlines: Timers<TaskId, (DueStream, Timestamp)>,
    ticks: Ticks,
    loads: Loads,
    fires_in_flight: usize,
    draining: bool,
    time: Time,
    /// What was due at the last look, to notice that the clock was set back.
    due: Timestamp,
}

impl Core {
    /// Fills memory from the store: streams of the due index, leases, ticks.
    pub(crate) async fn load(shared: Arc<Shared>) -> Outcome<Self> {
        let options = &shared.options;
        let time = Time::begin(&*shared.clock, options, &shared.clock_rejected);
        let Now { due, mono, .. } = time.now();
        let dispatcher = Dispatcher::new(
            Options {
                window: options.hot_window,
                refresh: options.hot_window / 5,
                entries_max: options.entries_max,
                stream_entries_max: options.stream_entries_max,
                page_rows: options.due_page_rows,
                ..Options::default()
            },
            due,
        );
        let mut core = Self {
            dispatcher,
            sessions: BTreeMap::new(),
            silences: Timers::new(mono.as_millis()),
            timeouts: Timers::new(mono.as_millis()),
            deadlines: Timers::new(unix_ms(due)),
            ticks: Ticks::new(unix_ms(due)),
            loads: Loads::new(mono.saturating_add(options.rescan_interval)),
            fires_in_flight: 0,
            draining: false,
            time,
            due,
            shared,
        };
        let shards: Vec<ShardId> = core.shared.ownership.shards.keys().copied().collect();
        for shard in shards {
            core.load_shard(shard).await?;
        }
        Ok(core)
    }

    /// Runs until it is told to stop.
    pub(crate) async fn run(mut self, mut messages: mpsc::Receiver<Message>) {
        let mut taken = Vec::with_capacity(MESSAGES_AT_ONCE);
        loop {
            let wait = self.wait();
            tokio::select! {
                biased;
                n = messages.recv_many(&mut taken, MESSAGES_AT_ONCE) => {
                    if n == 0 {
                        return;
                    }
                }
                () = self.shared.clock.sleep_or_step(wait) => {}
            }
            let now = self.look();
            for message in taken.drain(..) {
                if matches!(message, Message::Stop) {
                    return;
                }
                if message.tells_of_fence() {
                    tracing::error!("another scheduler has taken the shards over; this one ends");
                    return;
                }
                self.handle(message, now);
            }
            self.act(now);
        }
    }

    fn look(&mut self) -> Now {
        let now = self.time.look(&*self.shared.clock, &self.shared.clock_rejected);
        if now.due < self.due {
            // The wall clock was set back: what had come into reach is ahead again.
            self.deadlines.rewind(unix_ms(now.due));
            self.ticks.rewind(unix_ms(now.due));
        }
        self.due = now.due;
        now
    }

    /// How long nothing needs doing unless a message comes. The wall clock may be set
    /// meanwhile, so waits for its instants are short.
    fn wait(&self) -> Duration {
        let (wall_now, mono_now) = (self.shared.clock.now(), self.shared.clock.monotonic());
        let wall = [
            self.dispatcher.next_due(),
            self.next_load(),
            self.deadlines.next().map(timestamp),
            self.ticks.next_wakeup().map(timestamp),
        ];
        let mono = [self.silences.next(), self.timeouts.next(), Some(self.loads.rescan_at().as_millis() + 1)];
        // While nothing may be fired, what is due does not keep the core awake.
        let (idle, held_for) = match self.time.now().fit {
            Fit::Fire => (self.draining || !self.shared.held.at(mono_now), WALL_SLEEP_MAX),
            Fit::Leap(held_for) => (true, held_for),
            Fit::Rejected => (true, WALL_SLEEP_MAX),
        };
        let wall = wall.into_iter().flatten().map(|at| self.time.until(at, wall_now)).min();
        let wall = wall.filter(|_| !idle).unwrap_or(held_for);
        let mono_now = mono_now.as_millis();
        let mono = mono.into_iter().flatten().map(|at| Duration::from_millis(at.saturating_sub(mono_now))).min();
        // Never zero: what is due now but cannot be acted on waits for a message.
        wall.min(WALL_SLEEP_MAX).min(mono.unwrap_or(WALL_SLEEP_MAX)).max(Duration::from_millis(1))
    }

    fn handle(&mut self, message: Message, now: Now) {
        match message {
            Message::Offered(offers) => offers.into_iter().for_each(|offer| self.offer(offer, now)),
            Message::Cancelled { id, running } => self.cancelled(id, running),
            Message::TickMoved { uid, next } => self.ticks.moved(uid, next),
            Message::DueRead { request, result } => self.due_read(&request, result),
            Message::StreamsFound { streams } => self.streams_found(&streams),
            Message::TicksRead { shard, page } => self.ticks.read(shard, &page),
            Message::LeasesRead { leases, again } => self.leases_read(leases, again),
            Message::Fired { requests, result } => self.fired(&requests, result, now),
            Message::Ticked { ticks, result } => self.ticked(&ticks, result, now),
            Message::Ended { requests, verdicts_to, outcomes } => self.ended(&requests, &verdicts_to, outcomes, now),
            Message::EndFailed { requests } => self.end_failed(&requests),
            Message::Overdue(overdue) => self.overdue(overdue),
            Message::Session { session, stream, event } => self.session_event(session, stream, event, now),
            Message::Status(reply) => drop(reply.send(self.status(now))),
            Message::Suspect(shards) => shards.into_iter().for_each(|shard| self.loads.rescan_soon(shard)),
            Message::ClockMeasured { node, exchange } => self.time.measured(node, &exchange),
            Message::Members(others) => self.time.members(others),
            Message::Drain => self.drain(),
            // Ends the loop before it comes here.
            Message::Stop => {}
        }
    }

    fn act(&mut self, now: Now) {
        self.dispatcher.advance(now.due);
        self.expire_sessions(now);
        self.expire_attempts(now);
        self.fail_overdue(now);
        if !self.shared.held.at(now.mono) || self.draining || now.fit == Fit::Rejected {
            return;
        }
        self.start_loads(now);
        if now.fit != Fit::Fire {
            return;
        }
        self.start_ticks(now);
        self.start_fires(now);
    }

    /// Runs a transaction beside the core and tells the core what became of it.
    fn spawn(&self, work: impl Future<Output = Message> + Send + 'static) {
        let core = self.shared.core.clone();
        tokio::spawn(async move {
            // What panicked has broken a rule of ours: better no scheduler than a wrong one.
            let message = AssertUnwindSafe(work).catch_unwind().await.unwrap_or_else(|_| {
                tracing::error!("a transaction panicked; the scheduler ends");
                Message::Stop
            });
            let _ = core.send(message).await;
        });
    }
}

fn unix_ms(at: Timestamp) -> u64 {
    at.unix_ms().max(0).unsigned_abs()
}

fn timestamp(ms: u64) -> Timestamp {
    Timestamp::from_unix_ms(i64::try_from(ms).unwrap_or(i64::MAX))
}

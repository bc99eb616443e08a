//! Schedules' instants: held in memory, made into tasks when they come.

use std::sync::Arc;

use escapement_engine::{ScheduleUid, ShardId, Timestamp};

use super::{Core, Now, Offer, message::Message, timers::Timers, timestamp, unix_ms};
use crate::{
    scheduler::{
        RETRY_PAUSE, counters,
        transactions::{self, DueTick, Refusal, TickOutcome, TickPage},
    },
    store::RunError,
};

/// Schedules in one ticking transaction.
const TICKS_AT_ONCE: usize = 100;
/// Ticking transactions in flight.
const IN_FLIGHT_MAX: usize = 4;
/// Instants of one schedule that one transaction makes into tasks; a schedule that is further
/// behind (the server was down) catches up over several.
const INSTANTS_AT_ONCE: usize = 100;

/// The next instant of every schedule of the shards owned.
#[derive(Debug)]
pub(super) struct Ticks {
    timers: Timers<ScheduleUid, ShardId>,
    due: Vec<DueTick>,
    in_flight: usize,
}

impl Ticks {
    pub(super) fn new(now_ms: u64) -> Self {
        Self { timers: Timers::new(now_ms), due: Vec::new(), in_flight: 0 }
    }

    /// A schedule ticks at another instant, or not any more.
    pub(super) fn moved(&mut self, uid: ScheduleUid, next: Option<DueTick>) {
        // With no next instant, the tick in memory finds nothing when it comes. Messages may
        // overtake each other, so calling it off here could call off its successor.
        if let Some(tick) = next {
            self.timers.set(uid, unix_ms(tick.at), tick.shard);
        }
    }

    /// Adopts what was read from the store. A tick that memory has earlier stays: a
    /// transaction finds out if it is gone.
    pub(super) fn read(&mut self, shard: ShardId, page: &TickPage) {
        for (at, uid) in &page.rows {
            if self.timers.at(*uid).is_none_or(|known| known > unix_ms(*at)) {
                self.timers.set(*uid, unix_ms(*at), shard);
            }
        }
    }

    pub(super) fn next_wakeup(&self) -> Option<u64> {
        // What is due waits for a transaction to end, which is a message.
        self.timers.next().filter(|_| self.in_flight < IN_FLIGHT_MAX)
    }

    pub(super) fn rewind(&mut self, now_ms: u64) {
        self.timers.rewind(now_ms);
    }

    pub(super) fn len(&self) -> usize {
        self.timers.len() + self.due.len()
    }

    pub(super) fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Ticks whose instants have come by `now` and that no transaction has dealt with yet.
    pub(super) fn overdue(&self, now: Timestamp) -> usize {
        self.due.len() + usize::from(self.timers.next().is_some_and(|at| at <= unix_ms(now)))
    }
}

impl Core {
    /// Starts making tasks of the ticks whose instants have come.
    pub(super) fn start_ticks(&mut self, now: Now) {
        for (uid, at, shard) in self.ticks.timers.expired(unix_ms(now.due)) {
            self.ticks.due.push(DueTick { shard, at: timestamp(at), uid });
        }
        while self.ticks.in_flight < IN_FLIGHT_MAX && !self.ticks.due.is_empty() {
            let count = self.ticks.due.len().min(TICKS_AT_ONCE);
            let ticks: Arc<[DueTick]> = self.ticks.due.drain(..count).collect();
            self.ticks.in_flight += 1;
            let shared = Arc::clone(&self.shared);
            self.spawn(async move {
                let (db, ownership) = (&shared.db, &shared.ownership);
                let due = Arc::clone(&ticks);
                let result = transactions::tick(db, ownership, shared.shards, due, now.due, INSTANTS_AT_ONCE).await;
                if result.is_err() {
                    shared.clock.sleep(RETRY_PAUSE).await;
                }
                Message::Ticked { ticks, result }
            });
        }
    }

    /// Adopts what a ticking transaction did.
    pub(super) fn ticked(
        &mut self,
        ticks: &Arc<[DueTick]>,
        result: Result<Vec<TickOutcome>, RunError<Refusal>>,
        now: Now,
    ) {
        self.ticks.in_flight -= 1;
        let outcomes = match result {
            Ok(outcomes) => outcomes,
            Err(error) => {
                tracing::warn!(%error, ticks = ticks.len(), "making tasks of schedules failed; trying again");
                self.ticks.due.extend(ticks.iter().cloned());
                return;
            }
        };
        for (tick, outcome) in ticks.iter().zip(outcomes) {
            counters::add(&self.shared.counters.unreadable, usize::from(outcome.unreadable));
            if outcome.absent {
                // Moved by a transaction of which nobody heard, or paused.
                self.loads.rescan_soon(tick.shard);
            }
            if let Some(next) = outcome.next {
                self.ticks.moved(next.uid, Some(next));
            }
            for task in outcome.tasks {
                self.offer(Offer::of(self.shared.shards, &task), now);
            }
        }
    }
}

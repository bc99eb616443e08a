//! What to fire next and where, and what became of it.

use crate::{SessionId, ShardId, TaskId, Timestamp, Token, name::Priority};

use super::{
    Dispatcher,
    attempts::{Ended, Origin, Phase},
    entries::NIL,
    lanes::LaneId,
};

/// A task to fire: in one transaction, take it out of the due index and lease it to the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Planned {
    /// The task.
    pub id: TaskId,
    /// Its due instant, part of its key in the due index.
    pub due: Timestamp,
    /// Its queue.
    pub lane: LaneId,
    /// Its shard.
    pub shard: ShardId,
    /// Its priority.
    pub priority: Priority,
    /// Who gets it.
    pub session: SessionId,
}

/// What [`Dispatcher::fired`] says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fired {
    /// It runs: send it to the session.
    Running,
    /// It was cancelled or ended meanwhile: send nothing. The credit was given back.
    Withdrawn,
    /// The session is gone: end the attempt in the store, as those that
    /// [`Dispatcher::session_close`] returned.
    SessionGone,
    /// No such task is being fired for that session.
    Unknown,
}

/// Why a task was not fired.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotFired {
    /// The transaction did not happen: the task is still due and is planned again.
    Retry,
    /// The due index does not have it any more. If the task turned out to be due elsewhere,
    /// [`offer`](Dispatcher::offer) it.
    Gone,
}

/// The way of a task from ready to running and out.
impl Dispatcher {
    /// Chooses up to `max` tasks and a session for each. Within a lane it takes them by priority, then due
    /// instant, then id; lanes take turns, that served longest ago first. Each planned task holds a
    /// credit of its session until [`fired`](Self::fired) or [`not_fired`](Self::not_fired) is called.
    ///
    /// No task is planned before its due instant, even if the clock was set back since it became
    /// ready; its lane then waits for it. Costs O(log n) for each task.
    pub fn plan(&mut self, now: Timestamp, max: usize) -> Vec<Planned> {
        let mut planned = Vec::with_capacity(max.min(self.ready_len()));
        let mut early = Vec::new();
        self.held_until = None;
        while planned.len() < max {
            let Some(lane) = self.lanes.next_turn() else { break };
            let best = self.lanes.get(lane).ready.best().expect("a lane takes turns while it has ready entries");
            if best.due > now {
                self.held_until = Some(self.held_until.map_or(best.due, |at| at.min(best.due)));
                early.push(lane);
                continue;
            }
            planned.push(self.assign(lane));
            self.lanes.served(lane);
        }
        for lane in early {
            self.lanes.wake(lane);
        }
        planned
    }

    /// Whether [`plan`](Self::plan) may find something.
    pub fn has_work(&mut self) -> bool {
        let next = self.lanes.next_turn();
        if let Some(lane) = next {
            self.lanes.wake(lane);
        }
        next.is_some()
    }

    fn assign(&mut self, lane: LaneId) -> Planned {
        let roster = &mut self.lanes.get_mut(lane).roster;
        let session = roster.best().expect("a lane takes turns while it has sessions");
        let turn = roster.next_turn();
        let slot = self.lanes.get(lane).ready.best().expect("a lane takes turns while it has ready entries").slot;
        let (id, due) = (self.entries.id(slot), self.entries.due(slot));
        let stream = self.streams.get(self.entries.stream(slot));
        let (shard, priority) = (stream.shard, stream.priority);
        self.remove_entry(slot);
        if let Some(over) = self.attempts.find(id) {
            // It is due again, so the attempt that it had is over, although nobody said so yet.
            debug_assert!(matches!(self.attempts.get(over).phase, Phase::Running { .. }), "in flight once");
            self.drop_attempt(over);
        }
        let origin = Origin { due, shard, lane, priority };
        let phase = Phase::InFlight { origin, withdrawn: false, ended: Token(0), again: None };
        self.sessions.assign(session, lane, turn);
        self.attempts.insert(id, phase, session, &mut self.sessions.get_mut(session).attempts);
        self.lanes.get_mut(lane).in_flight += 1;
        self.reseat(session);
        Planned { id, due, lane, shard, priority, session: self.sessions.id(session) }
    }

    /// The transaction committed: the session has the task under this token. To be called before anything
    /// is sent to the session.
    pub fn fired(&mut self, id: TaskId, session: SessionId, token: Token) -> Fired {
        let Some((attempt, origin, over, again)) = self.settle(id, session, token) else { return Fired::Unknown };
        // Told of where it was fired from, and of no end since: that was before it was fired.
        let again = again.filter(|again| over || *again != origin);
        let slot = self.attempts.get(attempt).session;
        let outcome = if over {
            self.return_credit(attempt);
            Fired::Withdrawn
        } else if slot == NIL {
            self.drop_attempt(attempt);
            Fired::SessionGone
        } else {
            self.attempts.get_mut(attempt).phase = Phase::Running { token, lane: origin.lane, due: Some(origin.due) };
            let lane = self.lanes.get_mut(origin.lane);
            lane.in_flight -= 1;
            lane.running += 1;
            Fired::Running
        };
        if let Some(again) = again {
            self.readmit(id, again);
        }
        outcome
    }

    /// The transaction did not fire the task. Its credit is given back. `false` if no such task was being
    /// fired for that session.
    pub fn not_fired(&mut self, id: TaskId, session: SessionId, why: NotFired) -> bool {
        let Some((attempt, origin, over, again)) = self.settle(id, session, Token(0)) else { return false };
        self.return_credit(attempt);
        let still_due = (why == NotFired::Retry && !over).then_some(origin);
        if let Some(due) = again.or(still_due) {
            self.readmit(id, due);
        }
        true
    }

    /// What is in flight of this task for this session: attempt, origin, whether it is over already, where
    /// it is due now.
    fn settle(&self, id: TaskId, session: SessionId, token: Token) -> Option<(u32, Origin, bool, Option<Origin>)> {
        let slot = self.attempts.find(id)?;
        let attempt = self.attempts.get(slot);
        let Phase::InFlight { origin, withdrawn, ended, again } = attempt.phase else { return None };
        let same = attempt.session == NIL || self.sessions.id(attempt.session) == session;
        same.then_some((slot, origin, withdrawn || (token > Token(0) && token <= ended), again))
    }

    fn return_credit(&mut self, attempt: u32) {
        let session = self.attempts.get(attempt).session;
        if session != NIL {
            self.sessions.give_back(session);
        }
        self.drop_attempt(attempt);
    }

    /// What was due already may have fallen behind the frontier meanwhile.
    fn readmit(&mut self, id: TaskId, at: Origin) {
        self.take(id, at, self.entries.now());
    }

    /// At take-over: a session that may come back runs this attempt, says its lease record. If the session
    /// is not known yet, [`session_close`](Self::session_close) still works for it, once its lease is over.
    pub fn adopt_running(&mut self, id: TaskId, session: SessionId, token: Token, lane: LaneId) {
        if let Some(slot) = self.attempts.find(id) {
            match self.attempts.get(slot).phase {
                Phase::InFlight { .. } => return,
                Phase::Running { token: known, .. } if known >= token => return,
                Phase::Running { .. } => self.drop_attempt(slot),
            }
        }
        let slot = self.sessions.find_or_create(session);
        self.sessions.add_busy(slot, lane);
        let phase = Phase::Running { token, lane, due: None };
        self.attempts.insert(id, phase, slot, &mut self.sessions.get_mut(slot).attempts);
        self.lanes.get_mut(lane).running += 1;
        self.reseat(slot);
    }

    /// The attempt of this token is over: completed, expired or cancelled, and so are those before it.
    /// `None` if it was not running here. It gives no credit back: the session grants anew.
    pub fn finished(&mut self, id: TaskId, token: Token) -> Option<Ended> {
        let slot = self.attempts.find(id)?;
        let attempt = self.attempts.get_mut(slot);
        match &mut attempt.phase {
            Phase::InFlight { ended, .. } => {
                *ended = (*ended).max(token);
                None
            }
            Phase::Running { token: running, .. } if *running > token => None,
            Phase::Running { token: running, lane, .. } => {
                let (token, lane) = (*running, *lane);
                let session = self.sessions.id(attempt.session);
                self.drop_attempt(slot);
                Some(Ended { session, token, lane })
            }
        }
    }

    /// Whether an attempt of the task is being fired, or runs.
    pub fn has_attempt(&self, id: TaskId) -> bool {
        self.attempts.find(id).is_some()
    }

    /// Who runs a task, under which token, of which lane.
    pub fn running(&self, id: TaskId) -> Option<(SessionId, Token, LaneId)> {
        let attempt = self.attempts.get(self.attempts.find(id)?);
        match attempt.phase {
            Phase::Running { token, lane, .. } => Some((self.sessions.id(attempt.session), token, lane)),
            Phase::InFlight { .. } => None,
        }
    }
}

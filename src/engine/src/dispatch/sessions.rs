//! Worker sessions: what they take, how much, and how much they have.

use crate::{
    SessionId, TaskId, Token,
    name::{Namespace, QueueName},
};

use super::{
    Dispatcher,
    attempts::{Attempts, Phase},
    entries::NIL,
    index::IdIndex,
    lanes::{LaneId, Lanes},
    roster::{Load, Placement, Seat},
};

/// Whether a session takes work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionState {
    /// It takes what its credit allows.
    Active,
    /// It takes nothing until it is active again.
    Paused,
    /// It takes nothing more, ever, and goes when its attempts are over.
    Draining,
}

/// A queue that a session takes work from.
#[derive(Debug)]
struct Subscription {
    lane: LaneId,
    /// Attempts of this queue at the same time; 0 is no limit of its own.
    busy_max: u32,
    /// Attempts of this queue, in flight and running.
    busy: u32,
    /// Where it stands in the lane's roster, if it has credit.
    seat: Option<Seat>,
    /// When it was chosen last there.
    turn: u64,
}

#[derive(Debug)]
pub(super) struct Session {
    id: SessionId,
    /// `None` while attempts of it were adopted, but it did not come yet.
    state: Option<SessionState>,
    granted: u64,
    assigned: u64,
    /// Attempts, in flight and running.
    busy: u32,
    /// By lane, each once.
    subscriptions: Vec<Subscription>,
    /// First of the list of its attempts.
    pub(super) attempts: u32,
}

impl Session {
    fn free(&self) -> u64 {
        self.granted.saturating_sub(self.assigned)
    }

    fn subscription(&mut self, lane: LaneId) -> Option<&mut Subscription> {
        let index = self.subscriptions.binary_search_by_key(&lane, |s| s.lane).ok()?;
        Some(&mut self.subscriptions[index])
    }
}

/// What is known of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionView {
    /// `None` while it is only known from attempts that it has.
    pub state: Option<SessionState>,
    /// Sum of the credits that it granted.
    pub granted: u64,
    /// How many of them were used.
    pub assigned: u64,
    /// Attempts, in flight and running.
    pub busy: u32,
}

#[derive(Debug)]
pub(super) struct Sessions {
    slots: Vec<Option<Session>>,
    free: Vec<u32>,
    index: IdIndex,
}

impl Sessions {
    pub(super) fn new() -> Self {
        Self { slots: Vec::new(), free: Vec::new(), index: IdIndex::new(1) }
    }

    pub(super) fn find(&self, id: SessionId) -> Option<u32> {
        self.index.find(id.uuid().as_u128(), |slot| self.get(slot).id.uuid().as_u128())
    }

    pub(super) fn get(&self, slot: u32) -> &Session {
        self.slots[slot as usize].as_ref().expect("the slot of a session that is known")
    }

    pub(super) fn get_mut(&mut self, slot: u32) -> &mut Session {
        self.slots[slot as usize].as_mut().expect("the slot of a session that is known")
    }

    pub(super) fn id(&self, slot: u32) -> SessionId {
        self.get(slot).id
    }

    pub(super) fn find_or_create(&mut self, id: SessionId) -> u32 {
        if let Some(slot) = self.find(id) {
            return slot;
        }
        let session =
            Session { id, state: None, granted: 0, assigned: 0, busy: 0, subscriptions: Vec::new(), attempts: NIL };
        let slot = if let Some(slot) = self.free.pop() {
            self.slots[slot as usize] = Some(session);
            slot
        } else {
            self.slots.push(Some(session));
            u32::try_from(self.slots.len() - 1).expect("fewer than 2^32 sessions")
        };
        let Self { index, slots, .. } = self;
        let id_of = |slot: u32| slots[slot as usize].as_ref().map_or(0, |s| s.id.uuid().as_u128());
        index.insert(id.uuid().as_u128(), slot, id_of);
        slot
    }

    fn remove(&mut self, slot: u32) {
        self.index.remove(self.get(slot).id.uuid().as_u128(), slot);
        self.slots[slot as usize] = None;
        self.free.push(slot);
    }

    /// Forgets a session that never came, once it has no attempts.
    fn remove_if_absent(&mut self, slot: u32) {
        let session = self.get(slot);
        if session.state.is_none() && session.attempts == NIL {
            self.remove(slot);
        }
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    pub(super) fn memory_bytes(&self) -> usize {
        let lists: usize = self.slots.iter().flatten().map(|s| s.subscriptions.capacity()).sum();
        lists * size_of::<Subscription>()
            + self.slots.capacity() * size_of::<Option<Session>>()
            + self.free.capacity() * 4
            + self.index.memory_bytes()
    }

    /// Uses a credit of a session for a task of a lane.
    pub(super) fn assign(&mut self, slot: u32, lane: LaneId, turn: u64) {
        let session = self.get_mut(slot);
        assert!(session.assigned < session.granted, "a session is chosen only with free credit");
        session.assigned += 1;
        if let Some(subscription) = session.subscription(lane) {
            subscription.turn = turn;
        }
        self.add_busy(slot, lane);
    }

    pub(super) fn give_back(&mut self, slot: u32) {
        let session = self.get_mut(slot);
        session.assigned -= 1;
    }

    pub(super) fn add_busy(&mut self, slot: u32, lane: LaneId) {
        let session = self.get_mut(slot);
        session.busy += 1;
        if let Some(subscription) = session.subscription(lane) {
            subscription.busy += 1;
        }
    }

    fn sub_busy(&mut self, slot: u32, lane: LaneId) {
        let session = self.get_mut(slot);
        session.busy -= 1;
        if let Some(subscription) = session.subscription(lane) {
            subscription.busy -= 1;
        }
    }

    /// Puts a session where it belongs in the rosters of its lanes, after its numbers changed.
    pub(super) fn reseat(&mut self, slot: u32, lanes: &mut Lanes, placement: Placement) {
        let session = self.get_mut(slot);
        let free = session.free();
        let takes = session.state == Some(SessionState::Active) && free > 0;
        let rank = placement.rank(Load { free: free.max(1), busy: session.busy });
        for subscription in &mut session.subscriptions {
            let open = takes && (subscription.busy_max == 0 || subscription.busy < subscription.busy_max);
            let seat = open.then_some(Seat { rank, turn: subscription.turn });
            if seat == subscription.seat {
                continue;
            }
            let roster = &mut lanes.get_mut(subscription.lane).roster;
            if let Some(old) = subscription.seat {
                roster.remove(old, slot);
            }
            if let Some(new) = seat {
                roster.insert(new, slot);
            }
            subscription.seat = seat;
            lanes.wake(subscription.lane);
        }
    }

    /// Takes a session out of the rosters of its lanes and forgets what it subscribed to.
    fn unsubscribe(&mut self, slot: u32, lanes: &mut Lanes) {
        for subscription in std::mem::take(&mut self.get_mut(slot).subscriptions) {
            let lane = lanes.get_mut(subscription.lane);
            lane.sessions -= 1;
            if let Some(seat) = subscription.seat {
                lane.roster.remove(seat, slot);
            }
        }
    }

    fn subscribe(&mut self, slot: u32, wanted: &[(LaneId, u32)], lanes: &mut Lanes, attempts: &Attempts) {
        let mut subscriptions: Vec<Subscription> = wanted
            .iter()
            .map(|(lane, busy_max)| Subscription { lane: *lane, busy_max: *busy_max, busy: 0, seat: None, turn: 0 })
            .collect();
        subscriptions.sort_by_key(|s| s.lane);
        subscriptions.dedup_by_key(|s| s.lane);
        for subscription in &subscriptions {
            lanes.get_mut(subscription.lane).sessions += 1;
        }
        let session = self.get_mut(slot);
        session.subscriptions = subscriptions;
        for (_, attempt) in attempts.list(session.attempts) {
            if let Some(subscription) = session.subscription(attempt.lane()) {
                subscription.busy += 1;
            }
        }
    }
}

/// Sessions and their credits.
impl Dispatcher {
    /// A session came, or came back: it takes work of these queues of one namespace, of each at most so many
    /// at the same time (0: no limit but its credit). A queue named twice counts as it is named first.
    ///
    /// `credits_granted` is the sum of all credits that the session granted so far. That sum and the sum of
    /// what was assigned run for the life of the session, over reconnections; attempts that were adopted for
    /// it before it came take up no credit.
    pub fn session_open(
        &mut self,
        id: SessionId,
        namespace: &Namespace,
        queues: &[(QueueName, u32)],
        credits_granted: u64,
    ) {
        let wanted: Vec<_> = queues.iter().map(|(queue, max)| (self.lane(namespace, queue), *max)).collect();
        let slot = self.sessions.find_or_create(id);
        self.sessions.unsubscribe(slot, &mut self.lanes);
        self.sessions.subscribe(slot, &wanted, &mut self.lanes, &self.attempts);
        let session = self.sessions.get_mut(slot);
        session.granted = session.granted.max(credits_granted);
        if session.state != Some(SessionState::Draining) {
            session.state = Some(SessionState::Active);
        }
        self.reseat(slot);
    }

    /// The sum of all credits that a session granted so far. It only grows: a smaller one came late and is ignored.
    /// `false` if there is no such session.
    pub fn session_credits(&mut self, id: SessionId, granted_total: u64) -> bool {
        self.change_session(id, |session| session.granted = session.granted.max(granted_total))
    }

    /// Lets a session take work, or no more. What drains never takes work again.
    /// `false` if there is no such session.
    pub fn session_state(&mut self, id: SessionId, state: SessionState) -> bool {
        self.change_session(id, |session| {
            if session.state != Some(SessionState::Draining) {
                session.state = Some(state);
            }
        })
    }

    fn change_session(&mut self, id: SessionId, change: impl FnOnce(&mut Session)) -> bool {
        let Some(slot) = self.sessions.find(id) else { return false };
        if self.sessions.get(slot).state.is_none() {
            return false;
        }
        change(self.sessions.get_mut(slot));
        self.reseat(slot);
        true
    }

    /// A session is gone. Returns its running attempts, by task; whoever calls ends them in the store.
    /// Of those being fired for it, [`Dispatcher::fired`] will say so.
    pub fn session_close(&mut self, id: SessionId) -> Vec<(TaskId, Token)> {
        let Some(slot) = self.sessions.find(id) else { return Vec::new() };
        self.sessions.unsubscribe(slot, &mut self.lanes);
        let head = &mut self.sessions.get_mut(slot).attempts;
        let mut running = Vec::new();
        while *head != NIL {
            let attempt = *head;
            self.attempts.unlink(attempt, head);
            let Phase::Running { token, lane, .. } = self.attempts.get(attempt).phase else { continue };
            running.push((self.attempts.get(attempt).id, token));
            self.attempts.remove(attempt);
            self.lanes.get_mut(lane).running -= 1;
        }
        self.sessions.remove(slot);
        running.sort_unstable();
        running
    }

    /// Running attempts of a session, by task.
    pub fn running_of(&self, id: SessionId) -> Vec<(TaskId, Token)> {
        let Some(slot) = self.sessions.find(id) else { return Vec::new() };
        let attempts = self.attempts.list(self.sessions.get(slot).attempts);
        let mut running: Vec<_> = attempts
            .filter_map(|(_, attempt)| match attempt.phase {
                Phase::Running { token, .. } => Some((attempt.id, token)),
                Phase::InFlight { .. } => None,
            })
            .collect();
        running.sort_unstable();
        running
    }

    /// What is known of a session.
    pub fn session(&self, id: SessionId) -> Option<SessionView> {
        let session = self.sessions.get(self.sessions.find(id)?);
        let Session { state, granted, assigned, busy, .. } = *session;
        Some(SessionView { state, granted, assigned, busy })
    }

    pub(super) fn reseat(&mut self, slot: u32) {
        self.sessions.reseat(slot, &mut self.lanes, self.options.placement);
    }

    /// Forgets an attempt, whatever its phase; its credit is the caller's matter.
    pub(super) fn drop_attempt(&mut self, attempt: u32) {
        let (lane, session) = (self.attempts.get(attempt).lane(), self.attempts.get(attempt).session);
        match self.attempts.get(attempt).phase {
            Phase::InFlight { .. } => self.lanes.get_mut(lane).in_flight -= 1,
            Phase::Running { .. } => self.lanes.get_mut(lane).running -= 1,
        }
        if session != NIL {
            self.attempts.unlink(attempt, &mut self.sessions.get_mut(session).attempts);
            self.sessions.sub_busy(session, lane);
            self.reseat(session);
            self.sessions.remove_if_absent(session);
        }
        self.attempts.remove(attempt);
    }
}

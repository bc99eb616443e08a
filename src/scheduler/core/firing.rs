//! Firing: the engine picks, a transaction commits, and only then the workers are told.

use std::{collections::BTreeMap, sync::Arc};

use escapement_engine::{
    SessionId, Timestamp,
    dispatch::{Fired, NotFired},
};
use escapement_proto::v1::{self, Assignment, server_message};

use super::{Core, Now, Outbound, Outgoing, message::Message, sessions::Session, unix_ms};
use crate::{
    keyspace::DueStream,
    scheduler::{
        RETRY_PAUSE, counters,
        room::Taken,
        transactions::{self, FireOutcome, FireRequest, FiredAttempt, Overdue, Refusal},
    },
    store::RunError,
};

/// Assignments in one message to a worker.
const ASSIGNMENTS_AT_ONCE: usize = 100;
/// Payload bytes in one message to a worker, unless a single one is larger.
const ASSIGNMENT_BYTES_MAX: usize = 1 << 20;

impl Core {
    /// Starts firing what is due, in batches that grow while transactions are in flight.
    pub(super) fn start_fires(&mut self, now: Now) {
        while self.fires_in_flight < self.shared.options.fires_in_flight_max {
            let planned = self.dispatcher.plan(now.due, self.shared.options.fire_batch_max);
            if planned.is_empty() {
                return;
            }
            self.time.count_wait(planned.iter().map(|plan| plan.due));
            let mut requests = Vec::with_capacity(planned.len());
            for plan in planned {
                let (namespace, queue) = self.dispatcher.lane_names(plan.lane);
                let stream = DueStream {
                    shard: plan.shard,
                    namespace: namespace.clone(),
                    queue: queue.clone(),
                    priority: plan.priority,
                };
                let session = self.sessions.get(&plan.session).expect("the engine picks only open sessions");
                requests.push(FireRequest {
                    id: plan.id,
                    stream,
                    due: plan.due,
                    session: plan.session,
                    worker_name: Arc::clone(&session.name),
                    session_lease: self.shared.options.session_lease,
                    room: session.room.clone(),
                });
            }
            self.fires_in_flight += 1;
            let shared = Arc::clone(&self.shared);
            let requests: Arc<[FireRequest]> = requests.into();
            self.spawn(async move {
                let result = transactions::fire(&shared.db, &shared.ownership, Arc::clone(&requests), now.wall).await;
                if result.as_ref().map_or(true, |outcomes| nothing_done(outcomes)) {
                    shared.clock.sleep(RETRY_PAUSE).await;
                }
                Message::Fired { requests, result }
            });
        }
    }

    /// Adopts what a firing transaction did, and tells the workers.
    pub(super) fn fired(
        &mut self,
        requests: &Arc<[FireRequest]>,
        result: Result<Vec<FireOutcome>, RunError<Refusal>>,
        now: Now,
    ) {
        self.fires_in_flight -= 1;
        let outcomes = match result {
            Ok(outcomes) => outcomes,
            Err(error) => {
                tracing::warn!(%error, tasks = requests.len(), "firing failed; trying again");
                for request in requests.iter() {
                    self.loads.rescan_soon(request.stream.shard);
                    self.dispatcher.not_fired(request.id, request.session, NotFired::Retry);
                }
                return;
            }
        };
        let mut batches: BTreeMap<SessionId, Vec<FiredAttempt>> = BTreeMap::new();
        for (request, outcome) in requests.iter().zip(outcomes) {
            match outcome {
                FireOutcome::Fired(fired) => {
                    if self.adopt_fired(request, &fired, now) {
                        batches.entry(request.session).or_default().push(*fired);
                    }
                }
                FireOutcome::Leased { session, token } => {
                    self.dispatcher.not_fired(request.id, request.session, NotFired::Gone);
                    // Nobody was told of it, or memory would know it.
                    if self.dispatcher.running(request.id).is_none() {
                        self.take_back(session, request.id, token);
                    }
                }
                FireOutcome::Deferred => {
                    self.dispatcher.not_fired(request.id, request.session, NotFired::Retry);
                }
                FireOutcome::Unreadable => {
                    counters::add(&self.shared.counters.unreadable, 1);
                    // Forgotten until a rescan finds it again.
                    self.deadlines.cancel(request.id);
                    self.dispatcher.not_fired(request.id, request.session, NotFired::Gone);
                }
                FireOutcome::Gone | FireOutcome::DeadlinePassed => {
                    self.deadlines.cancel(request.id);
                    self.dispatcher.not_fired(request.id, request.session, NotFired::Gone);
                    self.shared.watches.changed(request.id);
                }
            }
        }
        for (session, fired) in batches {
            self.assign(session, fired, now);
        }
    }

    /// Whether the attempt is to be sent.
    fn adopt_fired(&mut self, request: &FireRequest, fired: &FiredAttempt, now: Now) -> bool {
        counters::add(&self.shared.counters.started, 1);
        self.deadlines.cancel(request.id);
        self.shared.watches.changed(request.id);
        match self.dispatcher.fired(request.id, request.session, fired.lease.token) {
            Fired::Running => {}
            // Cancelled while the transaction was in flight: the cancellation took the lease.
            Fired::Withdrawn => return false,
            Fired::SessionGone | Fired::Unknown => {
                self.take_back(request.session, request.id, fired.lease.token);
                return false;
            }
        }
        let patience = fired.lease.entry.attempt_timeout + self.shared.options.timeout_grace;
        self.timeouts.set(request.id, now.mono.saturating_add(patience).as_millis(), fired.lease.token);
        true
    }

    fn assign(&mut self, session: SessionId, fired: Vec<FiredAttempt>, now: Now) {
        // Without a stream now: if it comes back, it comes without them, and they are taken back.
        let Some(outbound) = self.sessions.get(&session).and_then(Session::outbound) else { return };
        let mut assignments = Vec::with_capacity(fired.len().min(ASSIGNMENTS_AT_ONCE));
        let mut rooms = Vec::new();
        let mut bytes = 0;
        let mut open = true;
        for fired in fired {
            bytes += fired.payload.data.len();
            let (assignment, room) = assignment(fired);
            assignments.push(assignment);
            rooms.push(room);
            if assignments.len() == ASSIGNMENTS_AT_ONCE || bytes > ASSIGNMENT_BYTES_MAX {
                open &= send_assignments(outbound, std::mem::take(&mut assignments), std::mem::take(&mut rooms));
                bytes = 0;
            }
        }
        if !assignments.is_empty() {
            open &= send_assignments(outbound, assignments, rooms);
        }
        if !open {
            self.cut_off(session, now);
        }
    }

    /// Fails tasks that are still due although their deadlines have passed.
    pub(super) fn fail_overdue(&mut self, now: Now) {
        let passed: Arc<[_]> = self
            .deadlines
            .expired(unix_ms(now.due))
            .into_iter()
            .map(|(id, _, (stream, due))| (stream, due, id))
            .collect();
        if passed.is_empty() {
            return;
        }
        let shared = Arc::clone(&self.shared);
        self.spawn(async move {
            let mut tries = 1;
            loop {
                match transactions::fail_overdue(&shared.db, &shared.ownership, Arc::clone(&passed), now.wall).await {
                    Ok(overdue) => return Message::Overdue(overdue),
                    Err(error) => tracing::warn!(%error, "failing overdue tasks failed; trying again"),
                }
                shared.clock.sleep((RETRY_PAUSE * tries).min(super::super::RETRY_PAUSE_MAX)).await;
                tries += 1;
            }
        });
    }

    /// Tasks failed by their deadlines.
    pub(super) fn overdue(&mut self, overdue: Overdue) {
        counters::add(&self.shared.counters.unreadable, overdue.unreadable);
        for id in overdue.failed {
            self.dispatcher.withdraw(id);
            self.shared.watches.changed(id);
        }
    }
}

/// Whether nothing became of a batch for want of room: the same one at once would fare no better.
fn nothing_done(outcomes: &[FireOutcome]) -> bool {
    outcomes.iter().all(|outcome| matches!(outcome, FireOutcome::Deferred))
}

fn send_assignments(outbound: &Outbound, assignments: Vec<Assignment>, rooms: Vec<Taken>) -> bool {
    let message = server_message::Message::Assignments(v1::Assignments { assignments });
    outbound.try_send(Outgoing::message(message).with_room(rooms)).is_ok()
}

fn assignment(fired: FiredAttempt) -> (Assignment, Taken) {
    let lease = fired.lease;
    let occurrence = lease.entry.occurrence;
    let assignment = Assignment {
        task_id: bytes::Bytes::copy_from_slice(fired.id.as_bytes()),
        token: lease.token.0,
        attempt: lease.attempt,
        max_attempts: lease.entry.max_attempts,
        queue: lease.queue.as_str().to_owned(),
        payload: Some(v1::Payload {
            data: fired.payload.data,
            content_type: fired.payload.content_type,
            truncated: fired.payload.truncated,
        }),
        due_unix_ms: lease.due.unix_ms(),
        attempt_timeout_ms: u64::try_from(lease.entry.attempt_timeout.as_millis()).unwrap_or(u64::MAX),
        deadline_unix_ms: lease.entry.deadline.map(Timestamp::unix_ms),
        schedule_id: occurrence.as_ref().map(|it| it.schedule.as_str().to_owned()).unwrap_or_default(),
        schedule_uid: occurrence
            .as_ref()
            .and_then(|it| it.uid)
            .map(|uid| bytes::Bytes::copy_from_slice(uid.as_bytes()))
            .unwrap_or_default(),
        nominal_unix_ms: occurrence.and_then(|it| it.nominal).map(Timestamp::unix_ms),
    };
    (assignment, fired.room)
}

//! Worker sessions: they open streams, renew, grant credits, and fall silent. A session that
//! is silent for its whole lease, counted here from after it was last heard, loses what it
//! holds.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use escapement_engine::{
    Monotonic, SessionId, TaskId, Timestamp, Token,
    dispatch::SessionState,
    name::{Namespace, QueueName},
    planted::{Bug, planted},
};
use escapement_proto::{
    WORKER_PROTOCOL_VERSION,
    v1::{self, CancelCause, HeldAttempt, server_message},
};
use tokio::sync::oneshot;

use super::{Core, Now, Outbound, SessionEvent, SessionOpening, unix_ms};
use crate::{
    records::Lease,
    scheduler::{
        room::StreamRoom,
        session::send,
        transactions::{EndRequest, Ending},
    },
};

/// A session as the core knows it.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) name: Arc<str>,
    pub(super) namespace: Namespace,
    pub(super) queues: Vec<QueueName>,
    pub(super) connected: Timestamp,
    /// The stream that it has now, if it has one.
    stream: Option<Stream>,
    draining: bool,
    /// Room for payloads on their way into its newest stream.
    pub(super) room: StreamRoom,
    /// Credits of this stream count from here in those of the session.
    credit_base: u64,
}

/// A stream of a session. Dropping it ends the stream.
#[derive(Debug)]
struct Stream {
    number: u64,
    outbound: Outbound,
    _hold: oneshot::Sender<()>,
}

impl Session {
    pub(super) fn outbound(&self) -> Option<&Outbound> {
        self.stream.as_ref().map(|stream| &stream.outbound)
    }
}

/// The clock by which silence is measured.
fn silence_clock(now: Now) -> Monotonic {
    if planted(Bug::LeaseByWallClock) { Monotonic::from_nanos(unix_ms(now.wall) * 1_000_000) } else { now.mono }
}

impl Core {
    /// Something that a session did on one of its streams.
    pub(super) fn session_event(&mut self, session: SessionId, stream: u64, event: SessionEvent, now: Now) {
        if let SessionEvent::Opened(opening) = event {
            return self.session_opened(session, *opening, now);
        }
        let Some(entry) = self.sessions.get_mut(&session) else { return };
        if entry.stream.as_ref().is_none_or(|current| current.number != stream) {
            // Of a stream that another one has replaced.
            return;
        }
        match event {
            SessionEvent::Opened(_) => {}
            SessionEvent::Renewed { sequence } => self.session_renewed(session, sequence, now),
            SessionEvent::Granted { credits_total } => {
                let total = entry.credit_base.saturating_add(credits_total);
                self.dispatcher.session_credits(session, total);
            }
            SessionEvent::Draining => {
                entry.draining = true;
                self.dispatcher.session_state(session, SessionState::Draining);
            }
            SessionEvent::Closed => {
                entry.stream = None;
                self.dispatcher.session_state(session, SessionState::Paused);
                if entry.draining && self.dispatcher.running_of(session).is_empty() {
                    // It said goodbye and holds nothing: gone for good.
                    self.remove_session(session);
                }
            }
        }
    }

    fn session_opened(&mut self, session: SessionId, opening: SessionOpening, now: Now) {
        // A welcome prolongs what the session holds as a renewal does: see there. Without one the
        // stream ends, and the worker looks for a scheduler that may answer.
        if !self.shared.held.at(now.mono) {
            return;
        }
        let running: BTreeMap<TaskId, Token> = self.dispatcher.running_of(session).into_iter().collect();
        let lost = opening.held.iter().filter(|(id, token)| running.get(id) != Some(token));
        let lost = lost
            .map(|(id, token)| HeldAttempt { task_id: bytes::Bytes::copy_from_slice(id.as_bytes()), token: token.0 })
            .collect();
        let missing = running.iter().filter(|(id, token)| opening.held.get(id) != Some(token));
        let missing: Vec<_> = missing.map(|(id, token)| self.expired(session, *id, *token)).collect();

        let options = &self.shared.options;
        let welcome = v1::Welcome {
            lease_ms: u32::try_from(options.session_lease.as_millis()).unwrap_or(u32::MAX),
            renew_interval_ms: u32::try_from(options.renew_interval().as_millis()).unwrap_or(u32::MAX),
            payload_bytes_max: options.payload_bytes_max as u64,
            lost,
            protocol_version: WORKER_PROTOCOL_VERSION,
            features: opening.features,
        };
        if !send(&opening.outbound, server_message::Message::Welcome(welcome)) {
            return;
        }
        let credit_base = self.credit_base(session);
        let credits = credit_base.saturating_add(opening.credits);
        self.dispatcher.session_open(session, &opening.namespace, &opening.queues, credits);
        if self.draining {
            self.dispatcher.session_state(session, SessionState::Draining);
            send(&opening.outbound, server_message::Message::Draining(v1::Draining {}));
        }
        let entry = Session {
            name: opening.worker_name,
            namespace: opening.namespace,
            queues: opening.queues.into_iter().map(|(queue, _)| queue).collect(),
            connected: now.wall,
            stream: Some(Stream { number: opening.stream, outbound: opening.outbound, _hold: opening.hold }),
            draining: false,
            room: self.shared.payload_room.stream(),
            credit_base,
        };
        tracing::info!(%session, worker = %entry.name, held = running.len(), "worker session opened");
        self.sessions.insert(session, entry);
        self.heard(session, now);
        // What it does not hold never reached it.
        self.end_all(missing);
    }

    /// What a new stream's credits are added to: all that the session was assigned so far,
    /// less what is in flight, which will take up some of what the new stream grants.
    fn credit_base(&self, session: SessionId) -> u64 {
        let Some(view) = self.dispatcher.session(session) else { return 0 };
        let running = self.dispatcher.running_of(session).len() as u64;
        let in_flight = u64::from(view.busy).saturating_sub(running);
        view.assigned.saturating_sub(in_flight)
    }

    fn session_renewed(&mut self, session: SessionId, sequence: u64, now: Now) {
        // An owner whose own lease is out must not prolong anyone's.
        if !self.shared.held.at(now.mono) {
            return;
        }
        self.heard(session, now);
        let renewed = server_message::Message::Renewed(v1::Renewed { sequence });
        let sent = self.sessions.get(&session).and_then(Session::outbound).is_some_and(|it| send(it, renewed));
        if !sent {
            self.cut_off(session, now);
        }
    }

    fn heard(&mut self, session: SessionId, now: Now) {
        let options = &self.shared.options;
        let renewal = if planted(Bug::SessionExpiresEarly) { options.renew_interval() } else { Duration::ZERO };
        self.silent_after(session, options.session_lease - renewal, now);
    }

    /// A session that a lease names, before it has come back: it has its whole lease for that,
    /// counted from now.
    pub(super) fn presume_session(&mut self, lease: &Lease, now: Now) {
        if self.sessions.contains_key(&lease.session) {
            return;
        }
        let entry = Session {
            name: lease.worker_name.as_str().into(),
            namespace: lease.namespace.clone(),
            queues: Vec::new(),
            connected: now.wall,
            stream: None,
            draining: false,
            room: self.shared.payload_room.stream(),
            credit_base: 0,
        };
        self.sessions.insert(lease.session, entry);
        self.silent_after(lease.session, lease.session_lease, now);
    }

    fn silent_after(&mut self, session: SessionId, lease: Duration, now: Now) {
        self.silences.set(session, silence_clock(now).saturating_add(lease).as_millis() + 1, ());
    }

    /// Lets go of a stream whose worker does not read. It may come back within its lease.
    pub(super) fn cut_off(&mut self, session: SessionId, _now: Now) {
        if let Some(entry) = self.sessions.get_mut(&session)
            && entry.stream.take().is_some()
        {
            tracing::warn!(%session, "worker does not read its stream; cut off");
            self.dispatcher.session_state(session, SessionState::Paused);
        }
    }

    /// Takes back what silent sessions hold.
    pub(super) fn expire_sessions(&mut self, now: Now) {
        if planted(Bug::SilentSessionKept) {
            return;
        }
        for (session, ..) in self.silences.expired(silence_clock(now).as_millis()) {
            let held = self.dispatcher.running_of(session);
            tracing::warn!(%session, attempts = held.len(), "worker session fell silent; its lease is out");
            let ends = held.iter().map(|(id, token)| self.expired(session, *id, *token)).collect();
            self.remove_session(session);
            self.end_all(ends);
        }
    }

    fn remove_session(&mut self, session: SessionId) {
        self.silences.cancel(session);
        self.sessions.remove(&session);
        for (id, _) in self.dispatcher.session_close(session) {
            self.timeouts.cancel(id);
        }
    }

    fn expired(&self, session: SessionId, id: TaskId, token: Token) -> EndRequest {
        self.end_request(session, id, token, Ending::LeaseExpired)
    }

    /// Tells a session that an attempt of its is over.
    pub(super) fn send_cancel(&mut self, session: SessionId, id: TaskId, token: Token, cause: CancelCause, now: Now) {
        let cancel = v1::CancelAttempt {
            task_id: bytes::Bytes::copy_from_slice(id.as_bytes()),
            token: token.0,
            cause: cause.into(),
        };
        let message = server_message::Message::Cancels(v1::CancelAttempts { cancels: vec![cancel] });
        let outbound = self.sessions.get(&session).and_then(Session::outbound);
        if outbound.is_some_and(|outbound| !send(outbound, message)) {
            self.cut_off(session, now);
        }
    }

    /// Nothing more is fired; the workers are told.
    pub(super) fn drain(&mut self) {
        self.draining = true;
        let sessions: Vec<SessionId> = self.sessions.keys().copied().collect();
        for session in sessions {
            self.dispatcher.session_state(session, SessionState::Draining);
            if let Some(outbound) = self.sessions.get(&session).and_then(Session::outbound) {
                send(outbound, server_message::Message::Draining(v1::Draining {}));
            }
        }
    }
}

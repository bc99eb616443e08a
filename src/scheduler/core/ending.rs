//! Ends of attempts: adopted after the commit; begun here when time has run out.

use std::{collections::BTreeMap, sync::Arc};

use escapement_engine::{SessionId, TaskId, Token};
use escapement_proto::v1::{CancelCause, CompletionVerdict, CompletionVerdicts, Verdict, server_message};

use super::{Core, Now, Offer, sessions::Session};
use crate::scheduler::{
    RETRY_PAUSE,
    completing::EndJob,
    counters,
    session::send,
    transactions::{EndOutcome, EndRequest, Ending},
};

impl Core {
    /// Adopts the ends of attempts, and sends the verdicts.
    pub(super) fn ended(
        &mut self,
        requests: &Arc<[EndRequest]>,
        verdicts_to: &[Option<SessionId>],
        outcomes: Vec<EndOutcome>,
        now: Now,
    ) {
        let mut verdicts: BTreeMap<SessionId, Vec<CompletionVerdict>> = BTreeMap::new();
        for ((request, verdict_to), outcome) in requests.iter().zip(verdicts_to).zip(outcomes) {
            if let Some(session) = verdict_to {
                verdicts.entry(*session).or_default().push(verdict(request, &outcome));
            }
            self.ended_one(request, outcome, now);
        }
        for (session, verdicts) in verdicts {
            let message = server_message::Message::Verdicts(CompletionVerdicts { verdicts });
            let outbound = self.sessions.get(&session).and_then(Session::outbound);
            if outbound.is_some_and(|outbound| !send(outbound, message)) {
                self.cut_off(session, now);
            }
        }
    }

    fn ended_one(&mut self, request: &EndRequest, outcome: EndOutcome, now: Now) {
        let EndRequest { id, session, token, .. } = *request;
        // Unless the request was about an attempt that is not there, the store no longer has
        // this one running.
        let own = self.dispatcher.running(id).is_some_and(|(holder, running, _)| (holder, running) == (session, token));
        let readable = outcome != EndOutcome::Unreadable;
        counters::add(&self.shared.counters.unreadable, usize::from(!readable));
        if own && outcome != EndOutcome::NotHeld && self.dispatcher.finished(id, token).is_some() {
            self.timeouts.cancel(id);
        }
        let counts = &self.shared.counters;
        let EndOutcome::Accepted { retry } = outcome else {
            counters::add(&counts.refused, 1);
            if readable && outcome_may_hide_a_retry(&request.ending) {
                // The attempt ended in a transaction of which we never heard.
                self.loads.rescan_soon(request.shard);
            }
            return;
        };
        if retry.is_none() && outcome_may_hide_a_retry(&request.ending) {
            self.loads.rescan_soon(request.shard);
        }
        match request.ending {
            Ending::Succeeded(_) | Ending::Failed { .. } => counters::add(&counts.accepted, 1),
            Ending::LeaseExpired => counters::add(&counts.expired, 1),
            Ending::TimedOut => {
                counters::add(&counts.expired, 1);
                self.send_cancel(session, id, token, CancelCause::TimedOut, now);
            }
        }
        self.shared.watches.changed(id);
        if let Some(retry) = retry {
            self.offer(Offer { id, stream: retry.stream, due: retry.due, deadline: retry.deadline }, now);
        }
    }

    /// The store refused for too long. Workers repeat their completions when they come back
    /// on a new stream; what the server ends itself is tried again here.
    pub(super) fn end_failed(&mut self, requests: &Arc<[EndRequest]>) {
        let mut again = Vec::new();
        for request in requests.iter() {
            match request.ending {
                Ending::TimedOut | Ending::LeaseExpired => again.push(request.clone()),
                Ending::Succeeded(_) | Ending::Failed { .. } => {
                    let now = self.look();
                    self.cut_off(request.session, now);
                }
            }
        }
        self.end_all(again);
    }

    /// A task was cancelled by a transaction that is committed.
    pub(super) fn cancelled(&mut self, id: TaskId, running: Option<(SessionId, Token)>) {
        self.dispatcher.withdraw(id);
        self.deadlines.cancel(id);
        if let Some((session, token)) = running {
            if self.dispatcher.finished(id, token).is_some() {
                self.timeouts.cancel(id);
            }
            let now = self.look();
            self.send_cancel(session, id, token, CancelCause::Cancelled, now);
        }
        self.shared.watches.changed(id);
    }

    /// Ends attempts that have had their time and the grace in which their worker should
    /// have ended them.
    pub(super) fn expire_attempts(&mut self, now: Now) {
        let mut ends = Vec::new();
        for (id, _, token) in self.timeouts.expired(now.mono.as_millis()) {
            if let Some((session, running, _)) = self.dispatcher.running(id)
                && running == token
            {
                ends.push(self.end_request(session, id, token, Ending::TimedOut));
            }
        }
        self.end_all(ends);
    }

    /// Takes an attempt back from a session that cannot have it.
    pub(super) fn take_back(&self, session: SessionId, id: TaskId, token: Token) {
        self.end_all(vec![self.lost(session, id, token)]);
    }

    pub(super) fn lost(&self, session: SessionId, id: TaskId, token: Token) -> EndRequest {
        self.end_request(session, id, token, Ending::LeaseExpired)
    }

    pub(super) fn end_request(&self, session: SessionId, id: TaskId, token: Token, ending: Ending) -> EndRequest {
        let random = self.shared.rng.u32();
        EndRequest { shard: id.shard(self.shared.shards), id, session, token, ending, random }
    }

    /// Hands attempts to the batches of ends. Beside the core, which does not wait.
    pub(super) fn end_all(&self, requests: Vec<EndRequest>) {
        if requests.is_empty() {
            return;
        }
        let shared = Arc::clone(&self.shared);
        tokio::spawn(async move {
            if shared.ends.capacity() == 0 {
                shared.clock.sleep(RETRY_PAUSE).await;
            }
            for request in requests {
                let _ = shared.ends.send(EndJob { request, verdict_to: None }).await;
            }
        });
    }
}

/// An attempt that ended so may be followed by another one.
const fn outcome_may_hide_a_retry(ending: &Ending) -> bool {
    !matches!(ending, Ending::Succeeded(_))
}

fn verdict(request: &EndRequest, outcome: &EndOutcome) -> CompletionVerdict {
    let (verdict, current_token) = match outcome {
        EndOutcome::Accepted { .. } => (Verdict::Accepted, 0),
        EndOutcome::Duplicate => (Verdict::Duplicate, 0),
        EndOutcome::Stale { current } => (Verdict::StaleToken, current.0),
        EndOutcome::Cancelled => (Verdict::Cancelled, 0),
        EndOutcome::NotHeld => (Verdict::NotHeld, 0),
        EndOutcome::Unreadable => (Verdict::Unreadable, 0),
    };
    CompletionVerdict {
        task_id: bytes::Bytes::copy_from_slice(request.id.as_bytes()),
        token: request.token.0,
        verdict: verdict.into(),
        current_token,
        message: String::new(),
    }
}

//! What the session says and hears.

use escapement_engine::Monotonic;
use escapement_proto::{
    WORKER_FEATURES, WORKER_PROTOCOL_VERSION,
    v1::{
        Goodbye, Hello, QueueSubscription, Renew, ServerMessage, WorkerMessage, server_message::Message as FromServer,
        worker_message::Message as ToServer,
    },
};
use tokio::sync::mpsc;

use super::{GREETING_TIMEOUT, Phase, Session};
use crate::worker::{
    attempt,
    book::Violation,
    handle::WorkerError,
    lease::Lease,
    link::{self, Breakage, Link, LinkEvent},
};

/// What the SDK calls itself.
const SDK: &str = concat!("escapement-rust/", env!("CARGO_PKG_VERSION"));

impl Session {
    fn wants_work(&self) -> bool {
        matches!(self.phase, Phase::Working) && !self.server_drains
    }

    pub(super) fn has_message(&self, now: Monotonic) -> bool {
        self.link.is_up()
            && (self.lease.as_ref().is_some_and(|lease| now >= lease.renew_at())
                || self.goodbye_due
                || self.book.outbox.has_unsent()
                || (self.wants_work() && self.book.has_grant())
                || (self.progress_waits && now >= self.progress_at()))
    }

    /// The most urgent message. Completions come before the credits of their slots, so that
    /// the server sees the slot free when it fills it.
    fn next_message(&mut self, now: Monotonic) -> Option<ToServer> {
        if let Some(lease) = self.lease.as_mut().filter(|lease| now >= lease.renew_at()) {
            return Some(ToServer::Renew(Renew { sequence: lease.renew(now) }));
        }
        if std::mem::take(&mut self.goodbye_due) {
            return Some(ToServer::Goodbye(Goodbye {}));
        }
        if let Some(batch) = self.book.outbox.next_batch(now) {
            return Some(ToServer::Completions(batch));
        }
        if self.wants_work() && self.book.has_grant() {
            return Some(ToServer::Grant(self.book.grant()));
        }
        if self.progress_waits && now >= self.progress_at() {
            let (reports, more) = self.book.progress();
            if !more {
                self.progress_waits = false;
                self.progress_sent = now;
            }
            return reports.map(ToServer::Progress);
        }
        None
    }

    pub(super) fn send_next(&mut self, now: Monotonic) {
        let Some(message) = self.next_message(now) else { return };
        if let Some(outgoing) = &self.outgoing {
            // There was room, and nobody else sends. On a stream that broke just now the
            // message is lost like any other; Hello of the next one makes up for it.
            let _ = outgoing.try_send(WorkerMessage { message: Some(message) });
        }
    }

    pub(super) fn on_link(&mut self, event: LinkEvent, now: Monotonic) -> Result<(), WorkerError> {
        let breakage = match event {
            LinkEvent::Connected(channel) => {
                self.introduce(channel, now);
                return Ok(());
            }
            LinkEvent::Opened(incoming) => {
                let down = Link::Down { retry_at: now };
                if let Link::Opening { hello_at, give_up_at, .. } = std::mem::replace(&mut self.link, down) {
                    self.link = Link::Greeting { incoming, hello_at, give_up_at };
                }
                return Ok(());
            }
            LinkEvent::Message(message) => match self.on_message(message, now) {
                Ok(()) => return Ok(()),
                Err(Violation(rule)) => Breakage::Violated(rule),
            },
            LinkEvent::Broken(breakage) => breakage,
        };
        if self.book.tally.welcomes == 0
            && let Some(status) = breakage.is_refusal()
        {
            return Err(WorkerError::Refused {
                endpoint: self.endpoint().to_owned(),
                code: format!("{:?}", status.code()),
                message: status.message().to_owned(),
            });
        }
        self.break_link(&breakage, now);
        Ok(())
    }

    /// Opens a stream with a Hello that tells what is held now.
    fn introduce(&mut self, channel: tonic::transport::Channel, now: Monotonic) {
        let (outgoing, messages) = mpsc::channel(1);
        self.server_drains = false;
        let hello = self.hello();
        // The channel is new and has room for one.
        let _ = outgoing.try_send(WorkerMessage { message: Some(ToServer::Hello(hello)) });
        self.outgoing = Some(outgoing);
        self.goodbye_due = !self.wants_work();
        self.link = Link::Opening {
            opened: link::open(channel, messages),
            hello_at: now,
            give_up_at: now.saturating_add(GREETING_TIMEOUT),
        };
    }

    fn hello(&mut self) -> Hello {
        let (held, credits) = self.book.begin_stream(self.wants_work());
        let queues = self.options.queues.iter().map(|(queue, subscription)| QueueSubscription {
            queue: queue.to_string(),
            concurrency_max: subscription.concurrency_max,
        });
        Hello {
            session_id: self.id.as_bytes().to_vec().into(),
            worker_name: self.options.name.clone(),
            namespace: self.options.namespace.to_string(),
            queues: queues.collect(),
            labels: self.options.labels.clone(),
            sdk: SDK.to_owned(),
            held,
            credits,
            protocol_version: WORKER_PROTOCOL_VERSION,
            features: WORKER_FEATURES.iter().map(|name| (*name).to_owned()).collect(),
        }
    }

    fn on_message(&mut self, message: ServerMessage, now: Monotonic) -> Result<(), Violation> {
        // A message of a kind that this version does not know.
        let Some(message) = message.message else { return Ok(()) };
        let down = Link::Down { retry_at: now };
        match std::mem::replace(&mut self.link, down) {
            Link::Greeting { incoming, hello_at, .. } => {
                self.link = Link::Up { incoming };
                return self.on_first_message(&message, hello_at);
            }
            link => self.link = link,
        }
        match message {
            FromServer::Welcome(_) => return Err(Violation("a second Welcome".to_owned())),
            FromServer::Renewed(renewed) => {
                if let Some(lease) = &mut self.lease {
                    lease.renewed(renewed.sequence);
                }
            }
            FromServer::Assignments(batch) if !self.link.is_closing() => {
                for assignment in batch.assignments {
                    if let Some(job) = self.book.assign(assignment)? {
                        tokio::spawn(attempt::run(job));
                    }
                }
            }
            // The stream is ending; the server takes back what it sent into it.
            FromServer::Assignments(_) => {}
            FromServer::Cancels(batch) => batch.cancels.iter().try_for_each(|cancel| self.book.cancel(cancel))?,
            FromServer::Verdicts(batch) => {
                batch.verdicts.iter().try_for_each(|verdict| self.book.answered(verdict))?;
            }
            FromServer::Draining(_) => {
                self.server_drains = true;
                self.goodbye_due = true;
            }
        }
        Ok(())
    }

    fn on_first_message(&mut self, message: &FromServer, hello_at: Monotonic) -> Result<(), Violation> {
        let FromServer::Welcome(welcome) = message else {
            return Err(Violation("the first message is not Welcome".to_owned()));
        };
        if !matches!(welcome.protocol_version, 0 | WORKER_PROTOCOL_VERSION) {
            let version = welcome.protocol_version;
            return Err(Violation(format!("version {version} of the session's rules; this worker knows 1")));
        }
        let Some(lease) = Lease::granted(hello_at, welcome.lease_ms, welcome.renew_interval_ms) else {
            return Err(Violation("a lease of 0 ms".to_owned()));
        };
        self.book.welcomed(welcome)?;
        self.lease = Some(lease);
        self.failures = 0;
        tracing::info!(session = %self.id, endpoint = self.endpoint(), lease_ms = welcome.lease_ms, "welcomed");
        Ok(())
    }
}

//! The session: one task that owns all state, waits for whatever comes first, and never
//! waits for a handler.

mod dialogue;

use std::{
    sync::{Arc, PoisonError},
    time::Duration,
};

use escapement_engine::{
    Monotonic, SessionId,
    planted::{Bug, planted},
};
use escapement_proto::v1::WorkerMessage;
use futures_util::future::BoxFuture;
use tokio::sync::{Notify, mpsc};

use super::{
    attempt::Ended,
    book::Book,
    handle::{Drained, Shared, Stats, WorkerError},
    lease::Lease,
    link::{self, Breakage, Link, LinkEvent},
    options::Options,
};

/// Longest wait for a connection, for a stream, for a Welcome.
const GREETING_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest wait for the server to end its half of a stream, and, at the end of a drain, for
/// the last verdicts.
const FAREWELL_TIMEOUT: Duration = Duration::from_secs(2);
/// First wait before connecting again; doubles with each failure.
const BACKOFF_MIN: Duration = Duration::from_millis(100);
/// Longest wait before connecting again: several tries fit into a lease.
const BACKOFF_MAX: Duration = Duration::from_secs(5);

/// Whether the worker wants work.
enum Phase {
    Working,
    Draining {
        /// Handlers that still run are cancelled then.
        cancel_at: Monotonic,
        cancelled: bool,
        /// Nothing is waited for any longer.
        give_up_at: Monotonic,
    },
}

/// What the session woke for.
enum Step {
    Stop,
    Drain,
    Tick,
    /// The stream has room for a message.
    Room,
    Ended(Ended),
    Progress,
    Link(LinkEvent),
}

pub(super) struct Session {
    options: Arc<Options>,
    shared: Arc<Shared>,
    id: SessionId,
    book: Book,
    lease: Option<Lease>,
    link: Link,
    /// Room for one message: what comes up meanwhile gathers into the next.
    outgoing: Option<mpsc::Sender<WorkerMessage>>,
    ended: mpsc::Receiver<Ended>,
    phase: Phase,
    /// Goodbye is still to be said on this stream.
    goodbye_due: bool,
    /// This server said that it is about to stop.
    server_drains: bool,
    progress_changed: Arc<Notify>,
    progress_waits: bool,
    progress_sent: Monotonic,
    /// Since the last Welcome.
    failures: u32,
    /// Index of the endpoint in use.
    endpoint: usize,
    timer: Option<(Monotonic, BoxFuture<'static, ()>)>,
}

impl Session {
    pub(super) fn new(options: Arc<Options>, shared: Arc<Shared>, id: SessionId) -> Self {
        let now = options.clock.monotonic();
        let slots = usize::try_from(options.concurrency).expect("10,000 at most");
        let (ended_sender, ended) = mpsc::channel(slots);
        let progress_changed = Arc::new(Notify::new());
        let book = Book::new(Arc::clone(&options), Arc::clone(&progress_changed), ended_sender);
        Self {
            options,
            shared,
            id,
            book,
            lease: None,
            link: Link::Down { retry_at: now },
            outgoing: None,
            ended,
            phase: Phase::Working,
            goodbye_due: false,
            server_drains: false,
            progress_changed,
            progress_waits: false,
            progress_sent: now,
            failures: 0,
            endpoint: 0,
            timer: None,
        }
    }

    /// Runs until the worker is drained, stopped, or refused for good.
    pub(super) async fn run(mut self) -> Result<Drained, WorkerError> {
        loop {
            let now = self.options.clock.monotonic();
            self.expire_lease(now);
            if let Some(drained) = self.keep_time(now) {
                return Ok(drained);
            }
            self.publish();
            let sends = self.has_message(now);
            let wake_at = self.wake_at(sends);
            let step = self.wait(wake_at, sends).await;

            // The process may have been suspended: what has come in meanwhile must not
            // hide that the lease is out.
            let now = self.options.clock.monotonic();
            let was_lost = self.expire_lease(now);
            match step {
                Step::Stop => return Ok(self.abandon()),
                Step::Drain => self.start_drain(now),
                Step::Tick => {}
                // What came over the link that was broken with the lease is of no use. A connection
                // that was still being made is not broken, and tells only once what became of it.
                Step::Room => {
                    if !was_lost {
                        self.send_next(now);
                    }
                }
                Step::Link(_) if was_lost && matches!(self.link, Link::Down { .. }) => {}
                Step::Ended(ended) => self.book.ended(ended),
                Step::Progress => self.progress_waits = true,
                Step::Link(event) => self.on_link(event, now)?,
            }
        }
    }

    async fn wait(&mut self, wake_at: Option<Monotonic>, sends: bool) -> Step {
        self.set_timer(wake_at);
        let working = matches!(self.phase, Phase::Working);
        let Self { shared, timer, outgoing, ended, progress_changed, progress_waits, link, .. } = self;
        let timer = async {
            match timer {
                Some((_, sleep)) => sleep.await,
                None => std::future::pending().await,
            }
        };
        let room = async {
            match outgoing.as_ref().filter(|_| sends) {
                // A closed channel is a broken stream; the link tells why.
                Some(outgoing) => match outgoing.reserve().await {
                    Ok(_) => Step::Room,
                    Err(_) => std::future::pending().await,
                },
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = shared.stop.wait() => Step::Stop,
            () = shared.drain.wait(), if working => Step::Drain,
            () = timer => {
                self.timer = None;
                Step::Tick
            }
            step = room => step,
            Some(ended) = ended.recv() => Step::Ended(ended),
            () = progress_changed.notified(), if !*progress_waits => Step::Progress,
            event = link.event() => Step::Link(event),
        }
    }

    fn set_timer(&mut self, wake_at: Option<Monotonic>) {
        match (wake_at, &self.timer) {
            (None, _) => self.timer = None,
            (Some(at), Some((set, _))) if at == *set => {}
            (Some(at), _) => {
                let sleep = self.options.clock.sleep(at.since(self.options.clock.monotonic()));
                self.timer = Some((at, sleep));
            }
        }
    }

    /// The next instant at which something becomes due. With `sends`, a message is due already
    /// and waits for room, not for time: a timer for it would spin.
    fn wake_at(&self, sends: bool) -> Option<Monotonic> {
        let lease = self.lease.as_ref();
        let up = lease.filter(|_| self.link.is_up());
        let retry = match self.link {
            Link::Down { retry_at } => Some(retry_at),
            _ => self.link.give_up_at(),
        };
        let phase = match self.phase {
            Phase::Working => None,
            Phase::Draining { cancelled: true, give_up_at, .. } => Some(give_up_at),
            Phase::Draining { cancel_at, .. } => Some(cancel_at),
        };
        let quiet = up.filter(|_| !sends);
        let progress = quiet.filter(|_| self.progress_waits).map(|_| self.progress_at());
        [
            lease.map(Lease::ends_at),
            up.map(Lease::silent_at),
            quiet.map(Lease::renew_at),
            up.and_then(|lease| self.book.outbox.overdue_at(lease.resend_after())),
            progress,
            retry,
            phase,
        ]
        .into_iter()
        .flatten()
        .min()
    }

    fn progress_at(&self) -> Monotonic {
        self.progress_sent.saturating_add(self.options.progress_interval)
    }

    /// Does what is due. The end of the drain, if this is it.
    fn keep_time(&mut self, now: Monotonic) -> Option<Drained> {
        if let Some(lease) = self.lease.as_ref().filter(|_| self.link.is_up()) {
            let (silent, wait) = (now >= lease.silent_at(), lease.resend_after());
            if silent {
                self.break_link(&Breakage::Silent, now);
            } else {
                self.book.resend_overdue(now, wait);
            }
        }
        if self.link.give_up_at().is_some_and(|at| now >= at) {
            self.break_link(if self.link.is_closing() { &Breakage::Closed } else { &Breakage::Silent }, now);
        }
        if self.server_drains && self.link.is_up() && self.book.is_empty() && !self.goodbye_due {
            self.close_link(now);
        }
        let drained = self.keep_draining(now);
        if drained.is_none()
            && let Link::Down { retry_at } = self.link
            && now >= retry_at
        {
            let endpoint = Arc::from(self.endpoint());
            let give_up_at = now.saturating_add(GREETING_TIMEOUT);
            self.link = Link::Connecting { connected: link::connect(endpoint), give_up_at };
        }
        drained
    }

    fn keep_draining(&mut self, now: Monotonic) -> Option<Drained> {
        let Phase::Draining { cancel_at, cancelled, give_up_at } = &mut self.phase else { return None };
        if now >= *cancel_at && !*cancelled {
            *cancelled = true;
            self.book.shut_down();
        }
        if now >= *give_up_at {
            return Some(self.abandon());
        }
        if !self.book.is_empty() {
            return None;
        }
        match self.link {
            // Goodbye goes out first.
            Link::Up { .. } if self.goodbye_due => None,
            Link::Up { .. } => {
                self.close_link(now);
                None
            }
            Link::Closing { .. } => None,
            // Nobody to take leave of.
            _ => Some(Drained::default()),
        }
    }

    fn start_drain(&mut self, now: Monotonic) {
        let cancel_at = now.saturating_add(self.options.drain_timeout);
        let give_up_at = cancel_at.saturating_add(self.options.cancel_grace + FAREWELL_TIMEOUT);
        self.phase = Phase::Draining { cancel_at, cancelled: false, give_up_at };
        self.goodbye_due = true;
        tracing::info!(running = self.book.running(), "worker drains");
    }

    fn abandon(&self) -> Drained {
        let held = self.book.running() + self.book.outbox.len();
        Drained { abandoned: u32::try_from(held).unwrap_or(u32::MAX) }
    }

    /// Stops everything when the lease is out, and becomes a new session. True if so.
    fn expire_lease(&mut self, now: Monotonic) -> bool {
        if self.lease.as_ref().is_none_or(|lease| now < lease.ends_at()) {
            return false;
        }
        tracing::warn!(session = %self.id, running = self.book.running(), "lease ran out; handlers are stopped");
        self.lease = None;
        if !planted(Bug::HandlersOutliveLease) {
            self.book.lose_everything();
        }
        self.book.tally.leases_lost += 1;
        self.id = self.options.rng.session_id(self.options.clock.now());
        if self.link.has_introduced() {
            self.break_link(&Breakage::Silent, now);
        }
        true
    }

    /// Ends this side of the stream. What was sent still arrives.
    fn close_link(&mut self, now: Monotonic) {
        self.outgoing = None;
        let down = Link::Down { retry_at: now };
        if let Link::Up { incoming } = std::mem::replace(&mut self.link, down) {
            self.link = Link::Closing { incoming, give_up_at: now.saturating_add(FAREWELL_TIMEOUT) };
        }
    }

    fn break_link(&mut self, breakage: &Breakage, now: Monotonic) {
        let wait = self.backoff();
        let orderly = self.link.is_closing();
        if orderly {
            tracing::debug!(endpoint = self.endpoint(), "stream ended");
        } else {
            tracing::warn!(endpoint = self.endpoint(), %breakage, retry_ms = wait.as_millis(), "no stream to the server");
        }
        self.failures = self.failures.saturating_add(1);
        self.endpoint = (self.endpoint + 1) % self.options.endpoints.len();
        self.outgoing = None;
        self.link = Link::Down { retry_at: now.saturating_add(wait) };
    }

    /// Exponential, its upper half random, so that a fleet does not come back at once.
    fn backoff(&self) -> Duration {
        let full = BACKOFF_MIN.saturating_mul(1 << self.failures.min(10)).min(BACKOFF_MAX);
        let half_ms = u64::try_from(full.as_millis() / 2).unwrap_or(u64::MAX);
        Duration::from_millis(half_ms + self.options.rng.u64() % (half_ms + 1))
    }

    fn endpoint(&self) -> &str {
        &self.options.endpoints[self.endpoint]
    }

    fn publish(&self) {
        let stats = Stats {
            running: u32::try_from(self.book.running()).unwrap_or(u32::MAX),
            unanswered: u32::try_from(self.book.outbox.len()).unwrap_or(u32::MAX),
            connected: self.link.is_up(),
            tally: self.book.tally,
        };
        *self.shared.visible.lock().unwrap_or_else(PoisonError::into_inner) = (self.id, stats);
    }
}

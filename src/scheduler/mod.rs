//! The scheduler: owns shards, holds the near future in memory, fires what is due, and takes
//! what comes back.
//!
//! One task, the [`core`], holds everything that is decided in memory and decides with the
//! pure engine. It never awaits the store: it starts transactions, and is told what became of
//! them. So memory changes only after a commit. Submissions and completions gather in
//! batches of their own on the way in and out ([`submitting`], [`completing`]). Whatever the
//! core holds is a cache of the store: a rescan repairs it, a restart rebuilds it.

mod backend;
mod batch;
mod completing;
mod core;
mod counters;
mod membership;
mod options;
mod room;
mod session;
mod status;
mod submitting;
mod succession;
mod transactions;
mod watch;
#[cfg(test)]
mod watch_tests;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use escapement_engine::{SessionId, Timestamp, cluster_time::Exchange};
use tokio::sync::mpsc;

use self::{
    completing::EndJob,
    core::{Message, Rejected},
    counters::Counters,
    membership::Held,
    room::PayloadRoom,
    submitting::SubmitJob,
    transactions::{Ownership, Takeover},
    watch::WatchHub,
};
pub use self::{
    options::{InvalidOption, SchedulerOptions},
    status::SchedulerStatus,
};
use crate::{
    clock::SharedClock,
    records::NewerFormat,
    rng::Rng,
    store::{Database, RunError, StoreError},
};

/// Messages to the core that wait; those who send more wait themselves.
const MESSAGES: usize = 4096;

/// Pause before something that failed is tried again, times the number of tries.
const RETRY_PAUSE: Duration = Duration::from_millis(100);

/// Pauses grow no further than this.
const RETRY_PAUSE_MAX: Duration = Duration::from_secs(5);

/// What all parts of one scheduler share.
pub(crate) struct Shared {
    db: Database,
    clock: SharedClock,
    rng: Rng,
    options: SchedulerOptions,
    shards: u32,
    ownership: Ownership,
    /// Until when this process may act as owner, by its own clock.
    held: Held,
    counters: Counters,
    /// Whether the clock is too far off to act by.
    clock_rejected: Rejected,
    watches: WatchHub,
    payload_room: PayloadRoom,
    core: mpsc::Sender<Message>,
    submits: mpsc::Sender<SubmitJob>,
    ends: mpsc::Sender<EndJob>,
    started: Timestamp,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("session", &self.ownership.session).finish_non_exhaustive()
    }
}

impl Shared {
    /// Resolves when the scheduler has ended.
    fn ended(self: &Arc<Self>) -> impl Future<Output = ()> + Send + use<> {
        let core = self.core.clone();
        async move { core.closed().await }
    }

    /// Tells the core. Waits while it is behind; nothing is lost unless it has ended.
    async fn tell(&self, message: Message) {
        if self.core.send(message).await.is_err() {
            tracing::debug!("the core has ended");
        }
    }
}

/// Why a scheduler did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A setting is out of bounds.
    #[error(transparent)]
    Option(#[from] InvalidOption),
    /// The store refused or failed.
    #[error("the store failed: {0}")]
    Store(String),
    /// The store's keyspace was written by a newer version of the program.
    #[error("the store has {0}; use a newer version of it")]
    FormatTooNew(NewerFormat),
    /// The store was made with another number of shards than the one asked for.
    #[error(
        "server.shards is `{required}`: must be {found}, or not set, since this store was made with {found} shards and \
         keeps them"
    )]
    Shards {
        /// Number asked for.
        required: u32,
        /// Number that the store has.
        found: u32,
    },
    /// Another scheduler serves the store, and lives.
    #[error(
        "store `{store}` is served by the scheduler at {address} (session {session}), which is alive; stop it first: \
         this version runs one scheduler on a store"
    )]
    Held {
        /// Kind of the store.
        store: &'static str,
        /// Who serves it.
        session: SessionId,
        /// Where it listens.
        address: String,
    },
    /// Another scheduler took the store at the same moment.
    #[error("another scheduler has just taken the store; this version runs one scheduler on a store")]
    Overtaken,
}

impl StartError {
    fn of(error: RunError<transactions::Refusal>) -> Self {
        match error {
            RunError::Refused(transactions::Refusal::FormatTooNew(newer)) => Self::FormatTooNew(newer),
            RunError::Refused(transactions::Refusal::ShardHeld(..)) => Self::Overtaken,
            error => Self::Store(error.to_string()),
        }
    }
}

/// A running scheduler; clones are the same one.
#[derive(Clone, Debug)]
pub struct Scheduler {
    shared: Arc<Shared>,
}

impl Scheduler {
    /// Opens the cluster in `db`, takes its shards, fills memory from the store, and starts.
    ///
    /// # Errors
    /// When a setting is out of bounds, the store fails, holds a newer format, or is served by
    /// another scheduler that lives. Finding that out takes up to the lease of the last one.
    pub async fn start(
        db: Database,
        clock: SharedClock,
        rng: Rng,
        options: SchedulerOptions,
    ) -> Result<Self, StartError> {
        options.validate()?;
        let started = clock.now();
        let session = rng.session_id(started);
        let cluster = transactions::open_cluster(&db, options.shards).await.map_err(StartError::of)?;
        if options.shards_required && options.shards != cluster.shards {
            return Err(StartError::Shards { required: options.shards, found: cluster.shards });
        }
        let takeover = match db.exclusive() {
            true => Takeover::All,
            false => Takeover::Of(succession::predecessors_gone(&db, &clock, cluster.shards).await?),
        };
        let held = Held::begin(&db, &clock, session, &options, started).await.map_err(StartError::of)?;
        let ownership = transactions::take_shards(&db, session, cluster.shards, takeover).await;
        let ownership = ownership.map_err(StartError::of)?;

        let (core, messages) = mpsc::channel(MESSAGES);
        let (submits, submit_jobs) = mpsc::channel(submitting::QUEUE);
        let (ends, end_jobs) = mpsc::channel(completing::QUEUE);
        let shared = Arc::new(Shared {
            db,
            clock,
            rng,
            options,
            shards: cluster.shards,
            ownership,
            held,
            counters: Counters::default(),
            clock_rejected: Rejected::default(),
            watches: WatchHub::default(),
            payload_room: PayloadRoom::default(),
            core,
            submits,
            ends,
            started,
        });
        // Before it reads what it owns: that may take longer than its lease, and whoever stands
        // by would take it for dead.
        tokio::spawn(membership::renew(Arc::clone(&shared)));
        let loaded = core::Core::load(Arc::clone(&shared)).await.map_err(StartError::of)?;
        tokio::spawn(loaded.run(messages));
        tokio::spawn(submitting::run(Arc::clone(&shared), submit_jobs));
        tokio::spawn(completing::run(Arc::clone(&shared), end_jobs));
        tokio::spawn(membership::sweep(Arc::clone(&shared)));
        tokio::spawn(watch::poll(Arc::clone(&shared)));
        tracing::info!(%session, shards = cluster.shards, "scheduler started");
        Ok(Self { shared })
    }

    /// This process's session.
    pub fn session(&self) -> SessionId {
        self.shared.ownership.session
    }

    /// Takes a measurement of another node's clock. Only schedulers that
    /// [`Scheduler::set_clock_members`] names have a vote on what time it is.
    pub async fn clock_measured(&self, node: SessionId, exchange: Exchange) {
        self.shared.tell(Message::ClockMeasured { node, exchange: Box::new(exchange) }).await;
    }

    /// The other schedulers of the cluster are these, whether they answer or not. None at the start.
    pub async fn set_clock_members(&self, others: BTreeSet<SessionId>) {
        self.shared.tell(Message::Members(others)).await;
    }

    /// How it is doing.
    pub async fn status(&self) -> SchedulerStatus {
        let (reply, status) = tokio::sync::oneshot::channel();
        self.shared.tell(Message::Status(reply)).await;
        status.await.unwrap_or_default()
    }

    /// Fires nothing more, tells the workers, and waits at most `patience` until what runs has
    /// come back. Then gives the shards back and ends; later calls are refused.
    pub async fn drain(&self, patience: Duration) {
        let clock = &self.shared.clock;
        let until = clock.monotonic().saturating_add(patience);
        self.shared.tell(Message::Drain).await;
        while clock.monotonic() < until {
            let status = self.status().await;
            if status.in_flight == 0 && status.workers.iter().all(|worker| worker.running == 0) {
                break;
            }
            clock.sleep(Duration::from_millis(20)).await;
        }
        if let Err(error) = transactions::leave(&self.shared.db, &self.shared.ownership).await {
            tracing::warn!(%error, "could not give the shards back");
        }
        self.shared.tell(Message::Stop).await;
    }

    /// Resolves when it has ended: after a drain, or because it cannot go on.
    pub async fn ended(&self) {
        self.shared.ended().await;
    }

    fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }
}

/// Whether the store failed because the disk is full.
fn storage_full<E>(error: &RunError<E>) -> bool {
    match error {
        RunError::Refused(_) => false,
        RunError::MaybeCommitted { error, .. } | RunError::Store { error, .. } => {
            error.code == StoreError::STORAGE_FULL
        }
    }
}

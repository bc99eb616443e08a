//! The grip on a running worker.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use escapement_engine::SessionId;
use tokio::task::JoinHandle;

use super::once::Once;

/// What a worker has done since it was started. A snapshot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Handlers that run now, those included that are cancelled but have not ended yet.
    pub running: u32,
    /// Completions that the server has not answered yet.
    pub unanswered: u32,
    /// The stream to the server is open and welcomed.
    pub connected: bool,
    /// What was counted.
    pub tally: Tally,
}

/// Counts of what happened; they only grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Attempts taken on.
    pub assigned: u64,
    /// Attempts whose handler succeeded.
    pub succeeded: u64,
    /// Attempts that failed, those included that timed out or panicked.
    pub failed: u64,
    /// Attempts cut off by their timeout.
    pub timed_out: u64,
    /// Attempts whose handler panicked.
    pub panicked: u64,
    /// Attempts that were cancelled or taken back, or lost with the lease.
    pub released: u64,
    /// Completions that the server refused.
    pub refused: u64,
    /// Times that a server welcomed this worker.
    pub welcomes: u64,
    /// Leases that ran out.
    pub leases_lost: u64,
}

/// How a worker ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Drained {
    /// Attempts that were still running, or whose completion the server had not answered,
    /// when the drain timeout was over. The server gives them to others.
    pub abandoned: u32,
}

/// Why a worker ended that nobody asked to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WorkerError {
    /// The server will never take this worker as it is. Only before its first Welcome.
    #[error("the server at `{endpoint}` refuses this worker: {code}: {message}")]
    Refused {
        /// The server.
        endpoint: String,
        /// Name of the gRPC status.
        code: String,
        /// What the server said.
        message: String,
    },
    /// The runtime ended, or the worker has a defect.
    #[error("the worker's session ended unexpectedly: {reason}")]
    Broken {
        /// What the runtime says.
        reason: String,
    },
}

/// What session and handle share.
#[derive(Debug)]
pub(super) struct Shared {
    /// The handle asks for an orderly end.
    pub(super) drain: Once<()>,
    /// The handle is gone: end at once.
    pub(super) stop: Once<()>,
    pub(super) visible: Mutex<(SessionId, Stats)>,
}

impl Shared {
    pub(super) fn new(session_id: SessionId) -> Self {
        Self { drain: Once::new(), stop: Once::new(), visible: Mutex::new((session_id, Stats::default())) }
    }

    fn see(&self) -> (SessionId, Stats) {
        *self.visible.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A running worker. Dropping the handle stops it at once: handlers are dropped, and the
/// server gives their attempts to others when the lease has run out. For an orderly end
/// there is [`WorkerHandle::drain`].
#[must_use = "dropping the handle stops the worker"]
pub struct WorkerHandle {
    pub(super) shared: Arc<Shared>,
    pub(super) session: JoinHandle<Result<Drained, WorkerError>>,
}

impl fmt::Debug for WorkerHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WorkerHandle").field("visible", &self.shared.see()).finish_non_exhaustive()
    }
}

impl WorkerHandle {
    /// The session under which the worker holds its attempts. A new one after each lease
    /// that ran out.
    pub fn session_id(&self) -> SessionId {
        self.shared.see().0
    }

    /// What the worker does and has done.
    pub fn stats(&self) -> Stats {
        self.shared.see().1
    }

    /// Takes nothing more, finishes what runs, completes it, and ends. Handlers that run
    /// longer than the drain timeout are cancelled with [`super::CancelCause::Shutdown`].
    ///
    /// # Errors
    /// When the worker had ended with an error before.
    pub async fn drain(mut self) -> Result<Drained, WorkerError> {
        self.shared.drain.set(());
        self.ended().await
    }

    /// Waits until the worker ends by itself, which only an error makes it do. Can be
    /// awaited again when it was dropped unresolved, but not once it resolved.
    ///
    /// # Errors
    /// That error.
    pub async fn ended(&mut self) -> Result<Drained, WorkerError> {
        match (&mut self.session).await {
            Ok(end) => end,
            Err(error) => Err(WorkerError::Broken { reason: error.to_string() }),
        }
    }
}

impl Drop for WorkerHandle {
    fn drop(&mut self) {
        self.shared.stop.set(());
    }
}

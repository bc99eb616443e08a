//! The worker SDK: handlers by queue, over one session.
//!
//! A [`Worker`] keeps one stream to a server, takes as many tasks as it has slots, runs each
//! in a task of its own, and reports what became of it. When the stream breaks it comes back
//! and goes on with what it holds.
//!
//! ```no_run
//! use escapement::{
//!     edge::signal::shutdown_signal,
//!     worker::{Context, Output, TaskFailure, Worker},
//! };
//!
//! async fn send_mail(ctx: Context) -> Result<Output, TaskFailure> {
//!     let to = std::str::from_utf8(&ctx.payload().data)
//!         .map_err(|error| TaskFailure::non_retryable("bad-address", error.to_string()))?;
//!     tokio::select! {
//!         biased;
//!         cause = ctx.cancelled() => Err(TaskFailure::retryable("stopped", cause.to_string())),
//!         // The fencing token lets the receiver refuse an attempt that is over.
//!         sent = deliver(to, ctx.token().0) => sent.map(Output::text),
//!     }
//! }
//! # async fn deliver(to: &str, token: u64) -> Result<String, TaskFailure> { Ok(format!("{to} {token}")) }
//!
//! # async fn start() -> Result<(), Box<dyn std::error::Error>> {
//! let worker = Worker::builder("http://127.0.0.1:7250")
//!     .name("mailer-1")
//!     .concurrency(64)
//!     .queue("mail", send_mail)
//!     .queue("echo", |ctx: Context| async move { Ok(Output(ctx.payload().clone())) })
//!     .build()?;
//! worker.run(shutdown_signal()).await?;
//! # Ok(())
//! # }
//! ```
//!
//! # When a handler is stopped
//!
//! | | [`CancelCause`] | grace | completion |
//! |---|---|---|---|
//! | the attempt's timeout | `TimedOut` | yes | timed out; a success within the grace stays one |
//! | a caller cancelled the task | `Cancelled` | yes | none |
//! | the worker ends, drain timeout over | `Shutdown` | yes | failed, `worker-shutdown`, retryable |
//! | the server took the attempt back | `Lost` | none | none |
//! | the lease ran out | `LeaseLost` | none | none |
//!
//! First [`Context::cancelled`] resolves; when the grace is over, the handler's future is
//! dropped. In the last two cases another worker may run the task already, or may soon, so
//! it is dropped at once: a handler cleans up in its destructors. A future is dropped only
//! where it awaits; a handler that blocks its thread cannot be stopped, and only the fencing
//! token still stands between it and its successor.
//!
//! The lease is counted as `lease.rs` tells: from before the last answered renewal was sent,
//! and a fiftieth shorter than the server said. When it is out, the worker takes a new
//! session id; completions that were not answered are discarded, since the server will
//! refuse them.
//!
//! # What is bounded
//!
//! Handlers by the slots, attempts held (running, or completed and unanswered) by twice the
//! slots, progress by one report for each attempt. A handler's slot is free when it has
//! ended, not when it was cancelled.
//!
//! # Errors
//!
//! A worker goes on through every error but one: when the first server that it reaches says
//! `InvalidArgument` or `Unimplemented` before it ever said Welcome, it ends with
//! [`WorkerError::Refused`], since asking again would not help.

mod attempt;
mod book;
mod completion;
mod context;
#[cfg(feature = "exec")]
pub mod exec;
mod handle;
mod handler;
#[cfg(feature = "http")]
pub mod http;
mod lease;
mod link;
mod once;
mod options;
mod outbox;
mod session;
mod verdict;

use std::{fmt, future::Future, sync::Arc};

pub use context::{CancelCause, Context, Occurrence, ProgressTooLarge, TaskInfo, TestAttempt};
pub use handle::{Drained, Stats, Tally, WorkerError, WorkerHandle};
pub use handler::{Handler, Output, Payload, TaskFailure};
pub use options::{
    CANCEL_GRACE_MAX, CONCURRENCY_MAX, DRAIN_TIMEOUT_MAX, ENDPOINTS_MAX, InvalidWorker, PROGRESS_INTERVAL_MAX,
    PROGRESS_INTERVAL_MIN, QueueOptions, WorkerBuilder,
};
pub use verdict::Verdict;

use self::{handle::Shared, options::Options, session::Session};

/// A worker that is ready to start.
pub struct Worker {
    options: Options,
}

impl fmt::Debug for Worker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Worker")
            .field("endpoints", &self.options.endpoints)
            .field("queues", &self.options.queues.keys().collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}

impl Worker {
    /// Starts the making of a worker for the server at `http://host:port`.
    pub fn builder(endpoint: impl Into<String>) -> WorkerBuilder {
        WorkerBuilder::new(endpoint.into())
    }

    fn new(options: Options) -> Self {
        Self { options }
    }

    /// Starts the session. It connects, and connects again, by itself.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn start(self) -> WorkerHandle {
        let options = Arc::new(self.options);
        let id = options.rng.session_id(options.clock.now());
        let shared = Arc::new(Shared::new(id));
        let session = tokio::spawn(Session::new(options, Arc::clone(&shared), id).run());
        WorkerHandle { shared, session }
    }

    /// Works until `shutdown` resolves, then drains.
    ///
    /// # Errors
    /// When the worker ended by itself.
    pub async fn run(self, shutdown: impl Future<Output = ()> + Send) -> Result<Drained, WorkerError> {
        let mut handle = self.start();
        tokio::pin!(shutdown);
        tokio::select! {
            biased;
            () = &mut shutdown => {}
            end = handle.ended() => return end,
        }
        handle.drain().await
    }
}

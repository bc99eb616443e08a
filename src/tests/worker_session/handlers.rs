//! A handler that does what the test tells it, and tells the test what it sees.

use std::sync::Arc;

use escapement::{
    rng::Rng,
    worker::{CancelCause, Context, Handler, Output, TaskFailure, Worker, WorkerBuilder},
};
use futures_util::future::BoxFuture;
use tokio::sync::{mpsc, oneshot};

use crate::{clock::ManualClock, server::soon};

/// What the test makes of an attempt.
pub(crate) type Answer = Result<Output, TaskFailure>;

/// An attempt whose handler runs until the test answers for it.
pub(crate) struct Attempt {
    pub(crate) ctx: Context,
    pub(crate) answer: oneshot::Sender<Answer>,
}

/// The handler's future was dropped or has ended; its cause of cancellation, if it had one.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Gone(pub(crate) u8, pub(crate) Option<CancelCause>);

struct Scripted {
    started: mpsc::Sender<Attempt>,
    gone: mpsc::Sender<Gone>,
}

struct Tattle(Context, mpsc::Sender<Gone>);

impl Drop for Tattle {
    fn drop(&mut self) {
        let _ = self.1.try_send(Gone(self.0.task_id().as_bytes()[0], self.0.cause()));
    }
}

impl Handler for Scripted {
    fn run(&self, ctx: Context) -> BoxFuture<'_, Answer> {
        Box::pin(async move {
            let _tattle = Tattle(ctx.clone(), self.gone.clone());
            let (answer, answered) = oneshot::channel();
            self.started.send(Attempt { ctx, answer }).await.expect("the test runs");
            answered.await.unwrap_or_else(|_| panic!("the test dropped the attempt"))
        })
    }
}

/// A worker for the queue `work`, and the test's view of it.
pub(crate) struct Bench {
    pub(crate) clock: ManualClock,
    started: mpsc::Receiver<Attempt>,
    gone: mpsc::Receiver<Gone>,
}

impl Bench {
    pub(crate) fn new(endpoint: &str, slots: u32) -> (Self, WorkerBuilder) {
        Self::with(endpoint, slots, 0)
    }

    pub(crate) fn with(endpoint: &str, slots: u32, queue_max: u32) -> (Self, WorkerBuilder) {
        let (started_sender, started) = mpsc::channel(1024);
        let (gone_sender, gone) = mpsc::channel(1024);
        let clock = ManualClock::default();
        let handler = Scripted { started: started_sender, gone: gone_sender };
        let builder = Worker::builder(endpoint)
            .name("bench")
            .concurrency(slots)
            .queue_with(escapement::worker::QueueOptions::new("work").concurrency_max(queue_max), handler)
            .clock(Arc::new(clock.clone()))
            .rng(Rng::from_seed(7));
        (Self { clock, started, gone }, builder)
    }

    /// The next attempt whose handler starts.
    pub(crate) async fn attempt(&mut self) -> Attempt {
        soon(self.started.recv()).await.expect("the worker runs")
    }

    pub(crate) fn has_started(&self) -> bool {
        !self.started.is_empty()
    }

    /// The next handler that is gone, while time passes.
    pub(crate) async fn gone(&mut self) -> Gone {
        soon(self.clock.pass_until(self.gone.recv())).await.expect("the worker runs")
    }

    /// The next handler that is gone, without any time passing.
    pub(crate) async fn gone_now(&mut self) -> Gone {
        soon(self.gone.recv()).await.expect("the worker runs")
    }

    pub(crate) fn is_any_gone(&self) -> bool {
        !self.gone.is_empty()
    }
}

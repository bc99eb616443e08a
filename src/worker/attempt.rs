//! One attempt: the task that runs a handler, and the session's grip on it.

use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::Arc,
    time::Duration,
};

use escapement_engine::{TaskId, Token};
use futures_util::FutureExt as _;
use tokio::sync::{Notify, Semaphore, mpsc};

use super::{CancelCause, Context, Handler, Output, TaskFailure, context::ProgressSlot, once::Once};

/// Names an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct AttemptKey {
    pub(super) task_id: TaskId,
    pub(super) token: Token,
}

/// The session's grip on a running attempt. Letting go of it stops the handler at once.
#[derive(Debug)]
pub(super) struct Control {
    cancel: Arc<Once<CancelCause>>,
    stop: Arc<Once<()>>,
    progress: Arc<ProgressSlot>,
}

impl Control {
    pub(super) fn new(progress_changed: Arc<Notify>) -> Self {
        Self {
            cancel: Arc::new(Once::new()),
            stop: Arc::new(Once::new()),
            progress: Arc::new(ProgressSlot::new(progress_changed)),
        }
    }

    pub(super) fn cancel_signal(&self) -> Arc<Once<CancelCause>> {
        Arc::clone(&self.cancel)
    }

    pub(super) fn stop_signal(&self) -> Arc<Once<()>> {
        Arc::clone(&self.stop)
    }

    pub(super) fn progress(&self) -> Arc<ProgressSlot> {
        Arc::clone(&self.progress)
    }

    /// The handler is told, and has the grace to end by itself.
    pub(super) fn cancel(&self, cause: CancelCause) {
        self.cancel.set(cause);
    }

    /// The handler's future is dropped as soon as it yields.
    pub(super) fn stop(&self, cause: CancelCause) {
        self.cancel.set(cause);
        self.stop.set(());
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        self.stop(CancelCause::Shutdown);
    }
}

/// How an attempt ended.
#[derive(Debug)]
pub(super) enum Ending {
    Succeeded(Output),
    Failed(TaskFailure),
    /// Cut off by its timeout.
    TimedOut(TaskFailure),
    Panicked(TaskFailure),
    /// Dropped; nobody asks for its outcome.
    Stopped,
}

/// Tells the session that an attempt no longer runs.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) key: AttemptKey,
    pub(super) ending: Ending,
}

/// All that the task of an attempt needs.
pub(super) struct Job {
    pub(super) key: AttemptKey,
    pub(super) handler: Arc<dyn Handler>,
    pub(super) context: Context,
    /// The queue's own bound, if it has one.
    pub(super) queue_slots: Option<Arc<Semaphore>>,
    pub(super) cancel: Arc<Once<CancelCause>>,
    pub(super) stop: Arc<Once<()>>,
    /// Has room for one message of each slot, so sending never waits.
    pub(super) ended: mpsc::Sender<Ended>,
}

type Running = Pin<Box<dyn Future<Output = Result<Result<Output, TaskFailure>, Box<dyn Any + Send>>> + Send>>;

/// Runs the handler to its end, and reports it.
pub(super) async fn run(job: Job) {
    let ending = drive(&job).await;
    // Nobody listens any more when the worker was dropped.
    let _ = job.ended.send(Ended { key: job.key, ending }).await;
}

async fn drive(job: &Job) -> Ending {
    let mut running = start(job);
    let clock = job.context.clock();
    let timeout = job.context.info().attempt_timeout;
    let cause = {
        // Counted from the assignment, the wait for a place in the queue included.
        let out_of_time = job.context.timeout_left().map(|span| clock.sleep(span));
        let out_of_time = async {
            match out_of_time {
                Some(sleep) => sleep.await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = job.stop.wait() => return stopped(running),
            cause = job.cancel.wait() => cause,
            result = &mut running => return finished(result),
            () = out_of_time => {
                job.cancel.set(CancelCause::TimedOut);
                job.cancel.get().unwrap_or(CancelCause::TimedOut)
            }
        }
    };
    tokio::select! {
        biased;
        () = job.stop.wait() => stopped(running),
        result = &mut running => finished_late(finished(result), cause, timeout),
        () = clock.sleep(job.context.cancel_grace()) => {
            let cut = stopped(running);
            match cause {
                CancelCause::TimedOut => Ending::TimedOut(timed_out(timeout, None)),
                CancelCause::Shutdown => Ending::Failed(shut_down(None)),
                _ => cut,
            }
        }
    }
}

fn start(job: &Job) -> Running {
    let (handler, context, slots) = (Arc::clone(&job.handler), job.context.clone(), job.queue_slots.clone());
    let work = async move {
        // The queue's bound is the server's to keep; it may free a place while a cancelled
        // handler still has its grace, and then the next one waits here.
        let _place = match &slots {
            Some(slots) => slots.acquire().await.ok(),
            None => None,
        };
        handler.run(context).await
    };
    Box::pin(AssertUnwindSafe(work).catch_unwind())
}

fn finished(result: Result<Result<Output, TaskFailure>, Box<dyn Any + Send>>) -> Ending {
    match result {
        Ok(Ok(output)) => Ending::Succeeded(output),
        Ok(Err(failure)) => Ending::Failed(failure),
        Err(panic) => Ending::Panicked(TaskFailure::retryable(
            "panic",
            format!("the handler panicked: {}", panic_text(panic.as_ref())),
        )),
    }
}

/// A handler that still ends within its grace. Work that is done is done, so a success
/// stays one; whether it comes too late is for the server to say.
fn finished_late(ending: Ending, cause: CancelCause, timeout: Option<Duration>) -> Ending {
    match (ending, cause) {
        (Ending::Failed(failure), CancelCause::TimedOut) => Ending::TimedOut(timed_out(timeout, Some(failure))),
        (Ending::Failed(failure), CancelCause::Shutdown) => Ending::Failed(shut_down(Some(failure))),
        (ending, _) => ending,
    }
}

fn timed_out(timeout: Option<Duration>, said: Option<TaskFailure>) -> TaskFailure {
    let mut message = match timeout {
        Some(span) => format!("the attempt was cut off after its timeout of {} ms", span.as_millis()),
        None => "the attempt was cut off by the server's timeout".to_owned(),
    };
    let mut failure = said.unwrap_or_else(|| TaskFailure::retryable("timed-out", ""));
    if !failure.message.is_empty() {
        message = format!("{message}; the handler said: {failure}");
    }
    failure.kind = "timed-out".into();
    failure.non_retryable = false;
    failure.message = message.into();
    failure
}

fn shut_down(said: Option<TaskFailure>) -> TaskFailure {
    let mut failure = said.unwrap_or_else(|| TaskFailure::retryable("worker-shutdown", ""));
    failure.kind = "worker-shutdown".into();
    failure.non_retryable = false;
    failure.message = "the worker ended before the attempt did".into();
    failure
}

/// Drops the handler's future. A panic in one of its destructors must not take the
/// attempt's report with it.
fn stopped(running: Running) -> Ending {
    match catch_unwind(AssertUnwindSafe(|| drop(running))) {
        Ok(()) => {}
        Err(panic) => tracing::warn!(panic = panic_text(panic.as_ref()), "a handler panicked while it was dropped"),
    }
    Ending::Stopped
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&'static str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("(no text)")
}

//! What a handler knows of its attempt.

use std::{
    fmt,
    future::Future,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use escapement_engine::{
    Monotonic, ScheduleUid, TaskId, Timestamp, Token,
    limits::PAYLOAD_BYTES_MAX,
    name::{QueueName, ScheduleId},
};
use tokio::sync::Notify;

use super::{Payload, attempt::Control, once::Once};
use crate::clock::SharedClock;

/// Why an attempt is to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CancelCause {
    /// A caller cancelled the task.
    Cancelled,
    /// The attempt ran out of its time.
    TimedOut,
    /// The server took the attempt back: another may be running.
    Lost,
    /// The worker was cut off from its server for the whole lease: another may run soon.
    LeaseLost,
    /// The worker ends and cannot wait longer.
    Shutdown,
}

impl fmt::Display for CancelCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cancelled => "the task was cancelled",
            Self::TimedOut => "the attempt ran out of time",
            Self::Lost => "the attempt was taken back",
            Self::LeaseLost => "the worker's lease ran out",
            Self::Shutdown => "the worker is ending",
        })
    }
}

/// The occurrence of a schedule that a task stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Occurrence {
    /// The schedule that made the task.
    pub schedule_id: ScheduleId,
    /// The occurrence's nominal instant; the task may run later. `None` for a task made by a trigger.
    pub nominal: Option<Timestamp>,
    /// Which schedule of that id: with `nominal`, it names the occurrence for ever. `None` from a
    /// server that does not tell.
    pub schedule_uid: Option<ScheduleUid>,
}

/// One attempt, as the server assigned it.
#[derive(Clone, Debug)]
pub struct TaskInfo {
    /// The task.
    pub task_id: TaskId,
    /// Fencing token: a later attempt of the task has a higher one. Give it to whatever the
    /// handler writes to, so that a write of an attempt that is over can be refused.
    pub token: Token,
    /// The queue it came from.
    pub queue: QueueName,
    /// What to do.
    pub payload: Payload,
    /// From 1.
    pub attempt: u32,
    /// Attempts that the retry policy allows in all.
    pub max_attempts: u32,
    /// The instant at which this attempt was due.
    pub due: Timestamp,
    /// The handler is cancelled when it has run this long. `None`: never.
    pub attempt_timeout: Option<Duration>,
    /// After this instant the task is not tried again.
    pub deadline: Option<Timestamp>,
    /// For tasks that a schedule made.
    pub occurrence: Option<Occurrence>,
}

/// A report of progress is larger than the server takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("progress has {bytes} bytes; the limit is {limit}")]
pub struct ProgressTooLarge {
    /// Bytes of the report.
    pub bytes: usize,
    /// Bytes that a payload may have.
    pub limit: usize,
}

/// What a handler knows of its attempt, and its line to the server. Cheap to clone.
#[derive(Clone)]
pub struct Context(Arc<Inner>);

struct Inner {
    info: TaskInfo,
    clock: SharedClock,
    started: Monotonic,
    cancel_grace: Duration,
    payload_bytes_max: usize,
    cancel: Arc<Once<CancelCause>>,
    progress: Arc<ProgressSlot>,
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context").field("info", &self.0.info).field("cancel", &self.cause()).finish_non_exhaustive()
    }
}

/// What is the same for all attempts of a worker.
pub(super) struct Surroundings {
    pub(super) clock: SharedClock,
    pub(super) cancel_grace: Duration,
    pub(super) payload_bytes_max: usize,
}

impl Context {
    pub(super) fn new(
        info: TaskInfo,
        around: Surroundings,
        cancel: Arc<Once<CancelCause>>,
        progress: Arc<ProgressSlot>,
    ) -> Self {
        let Surroundings { clock, cancel_grace, payload_bytes_max } = around;
        let started = clock.monotonic();
        Self(Arc::new(Inner { info, clock, started, cancel_grace, payload_bytes_max, cancel, progress }))
    }

    /// A context for calling a handler from a test, without a worker: grace of 5 s, payloads
    /// up to 1 MiB. The [`TestAttempt`] cancels it and reads its progress.
    pub fn for_test(info: TaskInfo, clock: SharedClock) -> (Self, TestAttempt) {
        let control = Control::new(Arc::new(Notify::new()));
        let around = Surroundings { clock, cancel_grace: Duration::from_secs(5), payload_bytes_max: PAYLOAD_BYTES_MAX };
        (Self::new(info, around, control.cancel_signal(), control.progress()), TestAttempt(control))
    }

    /// The whole assignment.
    pub fn info(&self) -> &TaskInfo {
        &self.0.info
    }

    /// The task.
    pub fn task_id(&self) -> TaskId {
        self.0.info.task_id
    }

    /// Fencing token of this attempt. See [`TaskInfo::token`].
    pub fn token(&self) -> Token {
        self.0.info.token
    }

    /// The queue it came from.
    pub fn queue(&self) -> &QueueName {
        &self.0.info.queue
    }

    /// What to do.
    pub fn payload(&self) -> &Payload {
        &self.0.info.payload
    }

    /// Number of this attempt, from 1.
    pub fn attempt(&self) -> u32 {
        self.0.info.attempt
    }

    /// Attempts that the retry policy allows in all.
    pub fn max_attempts(&self) -> u32 {
        self.0.info.max_attempts
    }

    /// The instant at which this attempt was due.
    pub fn due(&self) -> Timestamp {
        self.0.info.due
    }

    /// After this instant the task is not tried again.
    pub fn deadline(&self) -> Option<Timestamp> {
        self.0.info.deadline
    }

    /// The schedule's occurrence that this task stands for, if a schedule made it.
    pub fn occurrence(&self) -> Option<&Occurrence> {
        self.0.info.occurrence.as_ref()
    }

    /// The worker's clock.
    pub fn clock(&self) -> &SharedClock {
        &self.0.clock
    }

    /// Time that a handler has, after [`Context::cancelled`], to end by itself. With
    /// [`CancelCause::Lost`] and [`CancelCause::LeaseLost`] it has none.
    pub fn cancel_grace(&self) -> Duration {
        self.0.cancel_grace
    }

    /// Bytes that a result may have.
    pub fn payload_bytes_max(&self) -> usize {
        self.0.payload_bytes_max
    }

    /// Time until the attempt's timeout or the task's deadline, whichever comes first. `None`
    /// when it has neither.
    pub fn remaining(&self) -> Option<Duration> {
        let deadline = self.0.info.deadline.map(|at| at.since(self.0.clock.now()));
        self.timeout_left().into_iter().chain(deadline).min()
    }

    pub(super) fn timeout_left(&self) -> Option<Duration> {
        let ran = self.0.clock.monotonic().since(self.0.started);
        self.0.info.attempt_timeout.map(|span| span.saturating_sub(ran))
    }

    /// Resolves when the attempt is to stop, with the reason. Take it into every long wait.
    /// For a clone that outlives its handler it resolves when the handler has ended.
    pub fn cancelled(&self) -> impl Future<Output = CancelCause> + Send + 'static {
        let cancel = Arc::clone(&self.0.cancel);
        async move { cancel.wait().await }
    }

    /// Whether the attempt is to stop.
    pub fn is_cancelled(&self) -> bool {
        self.cause().is_some()
    }

    /// Why the attempt is to stop, if it is.
    pub fn cause(&self) -> Option<CancelCause> {
        self.0.cancel.get()
    }

    /// Tells the server how far the attempt is. Only the newest report counts: those that
    /// come faster than they are sent replace one another.
    ///
    /// # Errors
    /// When the report is larger than a payload may be.
    pub fn progress(&self, report: Payload) -> Result<(), ProgressTooLarge> {
        let (bytes, limit) = (report.data.len(), self.0.payload_bytes_max);
        if bytes > limit {
            return Err(ProgressTooLarge { bytes, limit });
        }
        self.0.progress.put(report);
        Ok(())
    }
}

/// The newest progress report that was not sent yet.
#[derive(Debug)]
pub(super) struct ProgressSlot {
    latest: Mutex<Option<Payload>>,
    /// Wakes the session.
    changed: Arc<Notify>,
}

impl ProgressSlot {
    pub(super) fn new(changed: Arc<Notify>) -> Self {
        Self { latest: Mutex::new(None), changed }
    }

    fn put(&self, report: Payload) {
        *self.latest.lock().unwrap_or_else(PoisonError::into_inner) = Some(report);
        self.changed.notify_one();
    }

    pub(super) fn take(&self) -> Option<Payload> {
        self.latest.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// The other end of a [`Context::for_test`]. Dropping it cancels the attempt.
#[derive(Debug)]
pub struct TestAttempt(Control);

impl TestAttempt {
    /// Tells the handler to stop. The first cause stays.
    pub fn cancel(&self, cause: CancelCause) {
        self.0.cancel(cause);
    }

    /// The newest progress report since the last call.
    pub fn progress(&self) -> Option<Payload> {
        self.0.progress().take()
    }
}

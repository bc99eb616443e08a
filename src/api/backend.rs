//! What the services ask of the scheduler.

use std::time::Duration;

use escapement_engine::{
    SessionId, TaskId, Timestamp,
    cluster_time::{Health, SyncState},
    leap::{Leap, Mode},
    name::{Namespace, QueueName, ScheduleId},
};
use futures_util::stream::BoxStream;

use crate::{
    error::ApiError,
    model::{NewTask, Payload, ScheduleSpec, ScheduleView, TaskFilter, TaskView},
};

/// A task that is durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Submitted {
    /// Its id: that of the task that was there before, when `created` is false.
    pub id: TaskId,
    /// Its due instant, as stored.
    pub due: Timestamp,
    /// False: the id or the idempotency key was submitted before, with the same content.
    pub created: bool,
}

/// Some tasks, in id order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TaskPage {
    /// Without payload, result and attempts. May be fewer than asked for, even none.
    pub tasks: Vec<TaskView>,
    /// Where the search stopped: the next page starts after this id. `None` when nothing is left.
    pub next: Option<TaskId>,
}

/// Some schedules, in id order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SchedulePage {
    /// May be fewer than asked for.
    pub schedules: Vec<ScheduleView>,
    /// Where the search stopped: the next page starts after this id. `None` when nothing is left.
    pub next: Option<ScheduleId>,
}

/// What a handler last reported. Not durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Number of the attempt, from 1.
    pub attempt: u32,
    /// As the handler put it.
    pub payload: Payload,
    /// When the server received it.
    pub reported: Timestamp,
}

/// Something that a watcher is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WatchEvent {
    /// The task at the start, and after each change.
    Task(Box<TaskView>),
    /// The newest progress of the running attempt.
    Progress(Progress),
}

/// What a watcher reads. Ends after a terminal state, or with an error.
pub type WatchStream = BoxStream<'static, Result<WatchEvent, ApiError>>;

/// One queue as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueStatus {
    /// Whose.
    pub namespace: Namespace,
    /// Kind of work.
    pub queue: QueueName,
    /// Due and waiting, as far as memory holds them.
    pub ready: u64,
    /// There are more than memory holds.
    pub ready_beyond: bool,
    /// Attempts under a lease.
    pub running: u64,
    /// Sessions that take from it.
    pub workers: u64,
}

/// One worker session as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkerStatus {
    /// Its incarnation.
    pub session: SessionId,
    /// As it calls itself.
    pub name: String,
    /// Whose tasks it runs.
    pub namespace: Namespace,
    /// Kinds of work that it takes.
    pub queues: Vec<QueueName>,
    /// Attempts that it holds.
    pub running: u64,
    /// Attempts that it would take beyond those.
    pub credits_free: u64,
    /// When its stream was opened.
    pub connected: Timestamp,
}

/// Counts since the start of the process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Tasks made durable.
    pub tasks_submitted: u64,
    /// Leases committed.
    pub attempts_started: u64,
    /// Completions that changed their task.
    pub completions_accepted: u64,
    /// Completions refused: stale, cancelled, not held, invalid.
    pub completions_refused: u64,
    /// Attempts taken back from silent sessions.
    pub attempts_expired: u64,
    /// Transactions committed.
    pub store_transactions: u64,
    /// Transactions repeated because of a conflict.
    pub store_conflicts: u64,
    /// Times that a task or schedule was left as it is because a record of it cannot be read.
    pub records_unreadable: u64,
}

/// The server's clock as it stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClockStatus {
    /// Fit to act by?
    pub health: Health,
    /// Whether somebody keeps it right.
    pub sync: SyncState,
    /// It is off by at most this much, says the machine.
    pub error: Duration,
    /// By how much it is certainly wrong, in microseconds; positive when it is fast.
    pub skew_us: i64,
    /// Whether a majority of the schedulers agrees on the time.
    pub majority: bool,
    /// Other schedulers whose clocks are measured.
    pub peers: u32,
    /// What is done about leap seconds.
    pub leap_mode: Mode,
    /// The next one, listed or announced.
    pub leap_next: Option<Leap>,
    /// Until when the list of leap seconds holds.
    pub leap_table_expires: Option<Timestamp>,
    /// How long all tasks together waited at most for the clock's error to pass.
    pub wait: Duration,
}

/// The server as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatusView {
    /// When the process started.
    pub started: Timestamp,
    /// Kind of store: "embedded", "foundationdb".
    pub store: String,
    /// Format of the stored records.
    pub format_version: u32,
    /// The scheduler's own session.
    pub session: SessionId,
    /// Shards that it owns.
    pub shards_owned: u32,
    /// Shards in all.
    pub shards_total: u32,
    /// In order of namespace and name.
    pub queues: Vec<QueueStatus>,
    /// In order of session.
    pub workers: Vec<WorkerStatus>,
    /// Tasks held in memory ahead of their instant.
    pub wheel_entries: u64,
    /// Schedules that make tasks.
    pub schedules_active: u64,
    /// The server's clock.
    pub clock: ClockStatus,
    /// Since the start.
    pub counters: Counters,
}

/// The scheduler, as the services see it. What comes in is valid. Every call may be dropped
/// half-way (the caller hung up): what it began is then either done or not.
///
/// Each call may answer `STORE_UNAVAILABLE`, `OUTCOME_UNKNOWN`, `STORAGE_FULL`, `OVERLOADED`,
/// `SHUTTING_DOWN`, `NOT_OWNER`, `CLOCK_REJECTED` and `INTERNAL`; further reasons stand at each.
pub trait Backend: Send + Sync + 'static {
    /// Makes the tasks durable; answers in their order, after commit. No two of them share an id
    /// or an idempotency key within a namespace. Each stands for itself: `TASK_EXISTS`,
    /// `IDEMPOTENCY_CONFLICT`.
    fn submit(&self, tasks: Vec<NewTask>) -> impl Future<Output = Vec<Result<Submitted, ApiError>>> + Send;

    /// The whole task, with payload, result and attempts. `TASK_NOT_FOUND`.
    fn get_task(&self, namespace: Namespace, id: TaskId) -> impl Future<Output = Result<TaskView, ApiError>> + Send;

    /// At most `limit` (1 to 1000) tasks with ids above `after`.
    fn list_tasks(
        &self,
        filter: TaskFilter,
        after: Option<TaskId>,
        limit: u32,
    ) -> impl Future<Output = Result<TaskPage, ApiError>> + Send;

    /// Ends the task. Cancelling a cancelled one changes nothing. `TASK_NOT_FOUND`,
    /// `TASK_ALREADY_ENDED`.
    fn cancel_task(
        &self,
        namespace: Namespace,
        id: TaskId,
        reason: String,
    ) -> impl Future<Output = Result<TaskView, ApiError>> + Send;

    /// The task now, then each change. `TASK_NOT_FOUND`.
    fn watch_task(
        &self,
        namespace: Namespace,
        id: TaskId,
    ) -> impl Future<Output = Result<WatchStream, ApiError>> + Send;

    /// Makes the schedule; false when it was there with the same content. `SCHEDULE_EXISTS`.
    fn create_schedule(
        &self,
        spec: ScheduleSpec,
    ) -> impl Future<Output = Result<(ScheduleView, bool), ApiError>> + Send;

    /// `SCHEDULE_NOT_FOUND`.
    fn get_schedule(
        &self,
        namespace: Namespace,
        id: ScheduleId,
    ) -> impl Future<Output = Result<ScheduleView, ApiError>> + Send;

    /// At most `limit` (1 to 1000) schedules with ids above `after`.
    fn list_schedules(
        &self,
        namespace: Namespace,
        after: Option<ScheduleId>,
        limit: u32,
    ) -> impl Future<Output = Result<SchedulePage, ApiError>> + Send;

    /// Pausing a paused schedule changes nothing. `SCHEDULE_NOT_FOUND`, `SCHEDULE_FINISHED`.
    fn pause_schedule(
        &self,
        namespace: Namespace,
        id: ScheduleId,
    ) -> impl Future<Output = Result<ScheduleView, ApiError>> + Send;

    /// Resuming an active schedule changes nothing. `SCHEDULE_NOT_FOUND`, `SCHEDULE_FINISHED`.
    fn resume_schedule(
        &self,
        namespace: Namespace,
        id: ScheduleId,
    ) -> impl Future<Output = Result<ScheduleView, ApiError>> + Send;

    /// `SCHEDULE_NOT_FOUND`.
    fn delete_schedule(
        &self,
        namespace: Namespace,
        id: ScheduleId,
    ) -> impl Future<Output = Result<(), ApiError>> + Send;

    /// Makes one task now; `task` is the caller's id for it, if it chose one.
    /// `SCHEDULE_NOT_FOUND`, `TASK_EXISTS`.
    fn trigger_schedule(
        &self,
        namespace: Namespace,
        id: ScheduleId,
        task: Option<TaskId>,
    ) -> impl Future<Output = Result<TaskId, ApiError>> + Send;

    /// Counts and sizes.
    fn status(&self) -> impl Future<Output = Result<StatusView, ApiError>> + Send;
}

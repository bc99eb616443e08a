//! Tasks, schedules and attempts as the server thinks of them: validated, in the engine's
//! types. The API converts to and from these; the store's records keep them.

use std::{collections::BTreeMap, fmt, time::Duration};

use bytes::Bytes;
use escapement_engine::{
    ScheduleUid, SessionId, TaskId, Timestamp, Token,
    calendar::{CronExpr, Every, InvalidCron, InvalidEvery, Rule, UnknownZone, Zone},
    name::{Namespace, Priority, QueueName, ScheduleId},
    retry::RetryPolicy,
};

/// Opaque bytes and their media type.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Payload {
    /// The bytes; shared, never copied.
    pub data: Bytes,
    /// Media type; may be empty.
    pub content_type: String,
    /// It was longer: this is its beginning.
    pub truncated: bool,
}

impl Payload {
    /// Neither bytes nor a type: not worth a record of its own.
    pub fn is_empty(&self) -> bool {
        self.data.is_empty() && self.content_type.is_empty()
    }
}

/// Which occurrence of which schedule a task is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Occurrence {
    /// The schedule's id, as its owner named it.
    pub schedule: ScheduleId,
    /// The instant that the rule named; `None` for a task made by a trigger.
    pub nominal: Option<Timestamp>,
    /// Which schedule of that id: with `nominal`, it names the occurrence for ever. `None` for tasks
    /// stored before this was kept.
    pub uid: Option<ScheduleUid>,
}

/// Makes a submission recognisable for a while.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Idempotency {
    /// Unique within the namespace.
    pub key: String,
    /// For how long from the submission.
    pub window: Duration,
}

/// What a task is to do: everything but its identity and its instant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    /// Kind of work.
    pub queue: QueueName,
    /// Input of the handler.
    pub payload: Payload,
    /// Which goes first.
    pub priority: Priority,
    /// When to try again.
    pub retry: RetryPolicy,
    /// Longest run of one attempt.
    pub attempt_timeout: Duration,
    /// For people and for filters.
    pub labels: BTreeMap<String, String>,
}

impl Template {
    /// Bytes of everything in it whose length its caller chose.
    pub fn variable_bytes(&self) -> usize {
        let labels: usize = self.labels.iter().map(|(key, value)| key.len() + value.len()).sum();
        let kinds: usize = self.retry.non_retryable_errors.iter().map(String::len).sum();
        self.payload.data.len() + self.payload.content_type.len() + labels + kinds
    }
}

/// A task that was validated and waits to be committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewTask {
    /// Made before the first try, by the caller where possible.
    pub id: TaskId,
    /// Whose.
    pub namespace: Namespace,
    /// What to do.
    pub template: Template,
    /// Not before this instant.
    pub due: Timestamp,
    /// No attempt starts after this instant.
    pub deadline: Option<Timestamp>,
    /// Makes a repeated submission recognisable even under another id.
    pub idempotency: Option<Idempotency>,
    /// When the server took it.
    pub submitted: Timestamp,
    /// Set for tasks that a schedule makes.
    pub occurrence: Option<Occurrence>,
    /// Equal for equal requests: tells a repetition from a different task under the same id or
    /// key. Covers what the caller wrote (a delay as a delay), not what the server made of it.
    pub content_hash: u64,
}

/// State of a task. Terminal states are for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TaskState {
    /// Waits for its instant, a worker, or its next attempt.
    Scheduled,
    /// A session holds a lease on it.
    Running,
    /// Ended well.
    Succeeded,
    /// Ended by an error that no attempt could mend, or by its deadline.
    Failed,
    /// Ended by a caller.
    Cancelled,
    /// Ended after the last attempt that its policy allows.
    DeadLettered,
}

impl TaskState {
    /// The word for it everywhere: small letters, in snake_case.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Scheduled => "scheduled",
            Self::Running => "running",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::DeadLettered => "dead_lettered",
        }
    }

    /// Nothing follows.
    pub const fn is_terminal(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Cancelled | Self::DeadLettered)
    }
}

impl fmt::Display for TaskState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// Why an attempt failed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TaskError {
    /// Short stable name.
    pub kind: String,
    /// For people.
    pub message: String,
    /// No attempt can help.
    pub non_retryable: bool,
    /// Output of the attempt.
    pub details: Payload,
}

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttemptOutcome {
    /// It completed.
    Succeeded,
    /// It reported an error.
    Failed,
    /// It ran longer than it may.
    TimedOut,
    /// Its session fell silent or came back without it.
    LeaseExpired,
    /// The task was cancelled meanwhile.
    Cancelled,
}

/// A row of a task's history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// From 1.
    pub number: u32,
    /// Its fencing token.
    pub token: Token,
    /// Who ran it.
    pub session: SessionId,
    /// As the worker called itself.
    pub worker_name: String,
    /// When the lease was committed.
    pub started: Timestamp,
    /// `None` while it runs.
    pub ended: Option<(Timestamp, AttemptOutcome)>,
    /// Of a failed attempt.
    pub error: Option<TaskError>,
}

/// A task as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskView {
    /// Identity.
    pub id: TaskId,
    /// Whose.
    pub namespace: Namespace,
    /// What it does. The payload is left empty in lists.
    pub template: Template,
    /// Of the next attempt; of the last one when running or ended.
    pub due: Timestamp,
    /// As submitted; retries do not move it.
    pub first_due: Timestamp,
    /// No attempt starts after this instant.
    pub deadline: Option<Timestamp>,
    /// As submitted; empty for none.
    pub idempotency_key: String,
    /// When the server took it.
    pub submitted: Timestamp,
    /// Set for tasks that a schedule made.
    pub occurrence: Option<Occurrence>,
    /// Where it stands.
    pub state: TaskState,
    /// Attempts started.
    pub attempts_started: u32,
    /// When it ended.
    pub finished: Option<Timestamp>,
    /// Of a task that succeeded. Left out in lists.
    pub result: Option<Payload>,
    /// The last error, unless it succeeded.
    pub error: Option<TaskError>,
    /// History, oldest first; of a long one the newest attempts. Left empty in lists.
    pub attempts: Vec<Attempt>,
    /// Attempts before those.
    pub attempts_left_out: u32,
    /// As the caller put it.
    pub cancel_reason: String,
}

/// Which tasks a list shows. Every filter that is set must hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskFilter {
    /// Whose.
    pub namespace: Namespace,
    /// Kind of work.
    pub queue: Option<QueueName>,
    /// Empty: any.
    pub states: Vec<TaskState>,
    /// Each must be there with this value.
    pub labels: BTreeMap<String, String>,
    /// Made by this schedule.
    pub schedule: Option<ScheduleId>,
    /// Due at or after.
    pub due_from: Option<Timestamp>,
    /// Due before.
    pub due_until: Option<Timestamp>,
}

/// When a schedule's occurrences are, as the caller wrote it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RuleSpec {
    /// A cron expression.
    Cron(String),
    /// Each `every` from `anchor` on.
    Interval {
        /// Distance of two occurrences.
        every: Duration,
        /// The first one.
        anchor: Timestamp,
    },
}

/// Why a rule cannot be computed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidRule {
    /// The expression.
    #[error(transparent)]
    Cron(#[from] InvalidCron),
    /// The zone in which it is read.
    #[error(transparent)]
    Zone(#[from] UnknownZone),
    /// The interval.
    #[error(transparent)]
    Every(#[from] InvalidEvery),
}

impl RuleSpec {
    /// The rule in a form that names instants.
    ///
    /// # Errors
    /// When expression, zone or interval are not valid. A rule that was validated fails only if
    /// it was stored by a version that knew more.
    pub fn compile(&self, time_zone: &str) -> Result<Rule, InvalidRule> {
        match self {
            Self::Cron(expression) => {
                Ok(Rule::Cron { expr: CronExpr::parse(expression)?, zone: Zone::new(time_zone)? })
            }
            Self::Interval { every, anchor } => Ok(Rule::Interval { every: Every::new(*every)?, anchor: *anchor }),
        }
    }
}

/// A schedule as its owner wants it; validated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScheduleSpec {
    /// Chosen by the owner.
    pub id: ScheduleId,
    /// Whose.
    pub namespace: Namespace,
    /// The rule.
    pub rule: RuleSpec,
    /// IANA name of the zone in which the rule is read.
    pub time_zone: String,
    /// What each occurrence does.
    pub template: Template,
    /// From nominal instant to overall deadline.
    pub deadline_after: Option<Duration>,
    /// No occurrence before.
    pub start: Option<Timestamp>,
    /// No occurrence at or after.
    pub end: Option<Timestamp>,
    /// As [`NewTask::content_hash`].
    pub content_hash: u64,
}

/// State of a schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScheduleState {
    /// Makes tasks.
    Active,
    /// Makes none until resumed.
    Paused,
    /// Its rule has no further occurrence.
    Finished,
}

/// A schedule as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScheduleView {
    /// As its owner wants it.
    pub spec: ScheduleSpec,
    /// Identity from creation to deletion.
    pub uid: ScheduleUid,
    /// Where it stands.
    pub state: ScheduleState,
    /// When it was made.
    pub created: Timestamp,
    /// Its next nominal instant.
    pub next: Option<Timestamp>,
    /// The last one that became a task.
    pub last: Option<Timestamp>,
    /// Occurrences that became tasks.
    pub occurrences: u64,
    /// How often it was paused or resumed.
    pub revision: u64,
}

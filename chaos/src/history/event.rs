//! Events of a history. Names and fields are read back from files that are kept: they only
//! ever gain.

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};

use super::Change;

/// True time: nanoseconds since the run began, by no node's clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TrueTime(pub u64);

impl TrueTime {
    /// The beginning.
    pub const ZERO: Self = Self(0);

    /// This much later.
    #[must_use]
    pub fn plus(self, span: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)))
    }

    /// Time from `earlier` to here; zero if that is later.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl fmt::Display for TrueTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:06} s", self.0 / 1_000_000_000, self.0 / 1_000 % 1_000_000)
    }
}

/// Name of a node; empty for what happened outside all of them.
pub type NodeName = String;

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// When.
    #[serde(rename = "t")]
    pub at: TrueTime,
    /// Where.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub node: NodeName,
    /// What.
    #[serde(flatten)]
    pub what: What,
}

/// A submission as its caller made it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Submission {
    /// Task id, made by the caller.
    pub id: String,
    /// Its queue.
    pub queue: String,
    /// Due instant in Unix milliseconds; `None` for a delay.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due_unix_ms: Option<i64>,
    /// 1 high, 2 medium, 3 low.
    pub priority: u32,
    /// Attempts that its policy allows.
    pub max_attempts: u32,
    /// Empty: none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub idempotency_key: String,
    /// No attempt starts after this instant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline_unix_ms: Option<i64>,
}

/// What the caller of a submission was told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "answer")]
pub enum SubmitAnswer {
    /// The task is durable.
    Acknowledged {
        /// Id of the task; another than the submission's when its idempotency key was known.
        task: String,
        /// The instant as stored, Unix milliseconds.
        due_unix_ms: i64,
        /// Whether this call made it.
        created: bool,
    },
    /// It certainly was not accepted.
    Refused {
        /// Stable code.
        reason: String,
    },
    /// Nobody knows.
    Unknown {
        /// What the caller saw.
        reason: String,
    },
}

/// What the caller of a cancellation was told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "answer")]
pub enum CancelAnswer {
    /// It is cancelled.
    Cancelled,
    /// It certainly was not cancelled by this call.
    Refused {
        /// Stable code.
        reason: String,
    },
    /// Nobody knows.
    Unknown {
        /// What the caller saw.
        reason: String,
    },
}

/// What somebody did to a schedule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "action")]
pub enum ScheduleAction {
    /// Made it.
    Create {
        /// Cron expression; empty for an interval.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        cron: String,
        /// Milliseconds of an interval; 0 for a cron expression.
        #[serde(default)]
        every_ms: u64,
        /// Where an interval counts from, Unix milliseconds.
        #[serde(default)]
        anchor_unix_ms: i64,
        /// IANA time zone.
        zone: String,
    },
    /// Paused it.
    Pause,
    /// Resumed it.
    Resume,
    /// Deleted it.
    Delete,
}

/// How a handler ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HandlerEnd {
    /// It returned a result.
    Returned,
    /// It returned an error.
    Failed,
    /// Its worker stopped it.
    Stopped,
}

/// What was done to a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NodeChange {
    /// Its process runs.
    Started,
    /// Its process is gone, without a word.
    Killed,
    /// Its process does not run, its memory stays.
    Suspended,
    /// Its process goes on.
    Resumed,
}

/// State of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EndState {
    /// Waits.
    Scheduled,
    /// A session has it.
    Running,
    /// Ended well.
    Succeeded,
    /// Ended by an error or its deadline.
    Failed,
    /// Ended by a caller.
    Cancelled,
    /// Attempts used up.
    DeadLettered,
}

impl EndState {
    /// Nothing follows.
    pub const fn is_terminal(self) -> bool {
        !matches!(self, Self::Scheduled | Self::Running)
    }
}

/// A row of a task's history, as the API shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttemptRow {
    /// From 1.
    pub number: u32,
    /// Its token.
    pub token: u64,
    /// Who ran it.
    pub session: String,
    /// How it ended: `succeeded`, `failed`, `timed_out`, `lease_expired`, `cancelled`; empty while it runs.
    pub outcome: String,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "event")]
pub enum What {
    /// A client sends a submission; `op` names the call.
    Submit {
        /// Call.
        op: u64,
        /// What was sent.
        task: Submission,
    },
    /// The answer came, or the client gave up.
    SubmitAnswered {
        /// Call.
        op: u64,
        /// What it was told.
        #[serde(flatten)]
        answer: SubmitAnswer,
    },
    /// A client asks for a task to be cancelled.
    Cancel {
        /// Call.
        op: u64,
        /// Task.
        id: String,
    },
    /// The answer came, or the client gave up.
    CancelAnswered {
        /// Call.
        op: u64,
        /// Task.
        id: String,
        /// What it was told.
        #[serde(flatten)]
        answer: CancelAnswer,
    },
    /// A client asks for a change of a schedule.
    ScheduleCall {
        /// Call.
        op: u64,
        /// Id.
        schedule: String,
        /// What.
        #[serde(flatten)]
        action: ScheduleAction,
    },
    /// The change is durable (`ok`), refused, or nobody knows (`unknown`).
    ScheduleAnswered {
        /// Call.
        op: u64,
        /// Id.
        schedule: String,
        /// Whether it is durable.
        ok: bool,
        /// Whether nobody knows.
        unknown: bool,
    },
    /// A handler begins.
    Started {
        /// Task.
        id: String,
        /// Fencing token.
        token: u64,
        /// From 1.
        attempt: u32,
        /// Session of the worker.
        session: String,
        /// Queue.
        queue: String,
        /// Due instant, as the handler was told, Unix milliseconds.
        due_unix_ms: i64,
        /// For occurrences: the schedule.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        schedule: String,
        /// For occurrences: the nominal instant.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        nominal_unix_ms: Option<i64>,
    },
    /// A handler is over, whatever is made of it.
    Ended {
        /// Task.
        id: String,
        /// Fencing token.
        token: u64,
        /// How.
        how: HandlerEnd,
    },
    /// A worker is told what became of its completion: `accepted`, `duplicate`, `stale_token`, ...
    Verdict {
        /// Task.
        id: String,
        /// Fencing token.
        token: u64,
        /// Verdict.
        verdict: String,
    },
    /// A handler has an effect on something that checks tokens.
    Effect {
        /// Task.
        id: String,
        /// Fencing token.
        token: u64,
        /// Whether the token was not lower than every one before.
        accepted: bool,
    },
    /// A node changes.
    Node {
        /// What was done to it.
        change: NodeChange,
    },
    /// A fault begins or ends.
    Fault {
        /// Its kind: the name under which it is counted.
        kind: String,
        /// For people.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        detail: String,
    },
    /// From here on there are no faults.
    Healed,
    /// A commit of the store, in commit order.
    Commit {
        /// Its version and place in the batch.
        version: u64,
        /// Place in the batch.
        batch_index: u16,
        /// Whether its client was told that it happened.
        acknowledged: bool,
        /// What it changed.
        changes: Vec<Change>,
    },
    /// A task as the API shows it at the end.
    FinalTask {
        /// Task.
        id: String,
        /// State.
        state: EndState,
        /// Every attempt.
        attempts: Vec<AttemptRow>,
        /// For occurrences: the schedule.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        schedule: String,
        /// For occurrences: the nominal instant.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        nominal_unix_ms: Option<i64>,
    },
    /// A row of the store at the end.
    FinalRow {
        /// The row.
        #[serde(flatten)]
        row: Change,
    },
    /// Something rare that the run is counted for.
    Rarity {
        /// Its name.
        kind: String,
        /// How often.
        count: u64,
    },
}

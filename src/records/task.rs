//! Records of a task: what was submitted (never changed), and where it stands.

use std::time::Duration;

use bytes::Bytes;
use escapement_engine::{TaskId, Timestamp, Token, limits::PAYLOAD_CHUNK_BYTES, name::Namespace, retry::RetryPolicy};
use escapement_proto::records::{
    AttemptRecord, ErrorRecord, HeadRecord, IdempotencyRecord, RetryPolicyRecord, TaskRecord,
};

use super::{
    Record, RecordError,
    lease::{read_occurrence, uid_bytes},
    millis, read_namespace, read_priority, read_queue, read_session, read_task_id,
};
use crate::{
    keyspace,
    model::{Attempt, AttemptOutcome, NewTask, Occurrence, Payload, TaskError, TaskState, Template},
};

/// Size and type of a payload or result whose bytes stand under keys of their own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PayloadMeta {
    /// Length in bytes.
    pub bytes: u64,
    /// Media type.
    pub content_type: String,
    /// It was longer. Only results can be.
    pub truncated: bool,
}

impl PayloadMeta {
    /// That of a payload.
    pub fn of(payload: &Payload) -> Self {
        let Payload { data, content_type, truncated } = payload;
        Self { bytes: data.len() as u64, content_type: content_type.clone(), truncated: *truncated }
    }

    /// Chunks that the bytes take.
    pub fn chunks(&self) -> u32 {
        u32::try_from(self.bytes.div_ceil(PAYLOAD_CHUNK_BYTES as u64)).unwrap_or(u32::MAX)
    }
}

/// Cuts bytes into stored chunks, without copying.
pub fn chunks(data: &Bytes) -> impl Iterator<Item = (u32, Bytes)> + '_ {
    (0u32..)
        .zip((0..data.len()).step_by(PAYLOAD_CHUNK_BYTES))
        .map(|(number, start)| (number, data.slice(start..data.len().min(start + PAYLOAD_CHUNK_BYTES))))
}

/// A task as submitted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredTask {
    /// Whose.
    pub namespace: Namespace,
    /// What to do; the payload's bytes are elsewhere.
    pub template: Template,
    /// Size and type of the payload; `None` for an empty one.
    pub payload: Option<PayloadMeta>,
    /// The instant of the first attempt.
    pub due: Timestamp,
    /// No attempt starts after this instant.
    pub deadline: Option<Timestamp>,
    /// Empty for none.
    pub idempotency_key: String,
    /// When the server took it.
    pub submitted: Timestamp,
    /// For occurrences.
    pub occurrence: Option<Occurrence>,
    /// Of the request.
    pub content_hash: u64,
}

impl StoredTask {
    /// What is kept of a new task, apart from its payload's bytes.
    pub fn of(task: &NewTask) -> Self {
        let payload = &task.template.payload;
        let meta = (!payload.is_empty()).then(|| PayloadMeta::of(payload));
        Self {
            namespace: task.namespace.clone(),
            template: Template { payload: Payload::default(), ..task.template.clone() },
            payload: meta,
            due: task.due,
            deadline: task.deadline,
            idempotency_key: task.idempotency.as_ref().map(|it| it.key.clone()).unwrap_or_default(),
            submitted: task.submitted,
            occurrence: task.occurrence.clone(),
            content_hash: task.content_hash,
        }
    }
}

pub(super) fn retry_message(policy: &RetryPolicy) -> Option<RetryPolicyRecord> {
    // The default is not written: most tasks have it.
    (*policy != RetryPolicy::default()).then(|| RetryPolicyRecord {
        max_attempts: policy.max_attempts,
        initial_backoff_ms: millis(policy.initial_backoff),
        multiplier_milli: policy.multiplier_milli,
        max_backoff_ms: millis(policy.max_backoff),
        jitter_milli: policy.jitter_milli,
        non_retryable_errors: policy.non_retryable_errors.clone(),
    })
}

pub(super) fn read_retry(record: &'static str, message: Option<RetryPolicyRecord>) -> Result<RetryPolicy, RecordError> {
    let Some(message) = message else { return Ok(RetryPolicy::default()) };
    let policy = RetryPolicy {
        max_attempts: message.max_attempts,
        initial_backoff: Duration::from_millis(message.initial_backoff_ms),
        multiplier_milli: message.multiplier_milli,
        max_backoff: Duration::from_millis(message.max_backoff_ms),
        jitter_milli: message.jitter_milli,
        non_retryable_errors: message.non_retryable_errors,
    };
    policy.validate().map_err(|error| RecordError::new(record, error.to_string()))?;
    Ok(policy)
}

impl Record for StoredTask {
    const NAME: &'static str = "task";
    type Message = TaskRecord;

    fn to_message(&self) -> TaskRecord {
        let occurrence = self.occurrence.as_ref();
        TaskRecord {
            namespace: self.namespace.as_str().to_owned(),
            queue: self.template.queue.as_str().to_owned(),
            due_ms: self.due.unix_ms(),
            priority: keyspace::priority_code(self.template.priority),
            retry: retry_message(&self.template.retry),
            attempt_timeout_ms: millis(self.template.attempt_timeout),
            deadline_ms: self.deadline.map(Timestamp::unix_ms),
            idempotency_key: self.idempotency_key.clone(),
            labels: self.template.labels.clone(),
            submitted_ms: self.submitted.unix_ms(),
            payload_bytes: self.payload.as_ref().map_or(0, |it| it.bytes),
            content_type: self.payload.as_ref().map(|it| it.content_type.clone()).unwrap_or_default(),
            has_payload: self.payload.is_some(),
            schedule_id: occurrence.map(|it| it.schedule.as_str().to_owned()).unwrap_or_default(),
            nominal_ms: occurrence.and_then(|it| it.nominal).map(Timestamp::unix_ms),
            schedule_uid: uid_bytes(occurrence),
            content_hash: self.content_hash,
        }
    }

    fn from_message(message: TaskRecord) -> Result<Self, RecordError> {
        if !message.has_payload && (message.payload_bytes > 0 || !message.content_type.is_empty()) {
            return Err(RecordError::new(Self::NAME, "size or type of a payload that is not there"));
        }
        Ok(Self {
            namespace: read_namespace(Self::NAME, &message.namespace)?,
            template: Template {
                queue: read_queue(Self::NAME, &message.queue)?,
                payload: Payload::default(),
                priority: read_priority(Self::NAME, message.priority)?,
                retry: read_retry(Self::NAME, message.retry)?,
                attempt_timeout: Duration::from_millis(message.attempt_timeout_ms),
                labels: message.labels,
            },
            payload: message.has_payload.then_some(PayloadMeta {
                bytes: message.payload_bytes,
                content_type: message.content_type,
                truncated: false,
            }),
            due: Timestamp::from_unix_ms(message.due_ms),
            deadline: message.deadline_ms.map(Timestamp::from_unix_ms),
            idempotency_key: message.idempotency_key,
            submitted: Timestamp::from_unix_ms(message.submitted_ms),
            occurrence: read_occurrence(Self::NAME, &message.schedule_id, message.nominal_ms, &message.schedule_uid)?,
            content_hash: message.content_hash,
        })
    }
}

/// Stored codes of the states of a head. Running is no state of a head: the lease says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TaskStateCode;

impl TaskStateCode {
    const fn of(state: TaskState) -> u32 {
        match state {
            TaskState::Scheduled | TaskState::Running => 1,
            TaskState::Succeeded => 2,
            TaskState::Failed => 3,
            TaskState::Cancelled => 4,
            TaskState::DeadLettered => 5,
        }
    }

    const fn read(code: u32) -> Option<TaskState> {
        Some(match code {
            1 => TaskState::Scheduled,
            2 => TaskState::Succeeded,
            3 => TaskState::Failed,
            4 => TaskState::Cancelled,
            5 => TaskState::DeadLettered,
            _ => return None,
        })
    }
}

/// Where a task stands after its last ended attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// `Scheduled` (for a retry) or terminal; never `Running`.
    pub state: TaskState,
    /// Attempts started.
    pub attempts: u32,
    /// Token of the last attempt; 0 if there was none.
    pub token: Token,
    /// Of the next attempt when scheduled, else of the last.
    pub due: Timestamp,
    /// When it ended.
    pub finished: Option<Timestamp>,
    /// The last attempt; earlier ones have rows of their own.
    pub last: Option<Attempt>,
    /// Of a task that succeeded with a result that is not empty.
    pub result: Option<PayloadMeta>,
    /// As the caller put it.
    pub cancel_reason: String,
    /// What ended the task, where that was not its last attempt.
    pub ended_by: Option<TaskError>,
}

impl Record for Head {
    const NAME: &'static str = "head";
    type Message = HeadRecord;

    fn to_message(&self) -> HeadRecord {
        HeadRecord {
            state: TaskStateCode::of(self.state),
            attempts: self.attempts,
            token: self.token.0,
            due_ms: self.due.unix_ms(),
            finished_ms: self.finished.map(Timestamp::unix_ms),
            last: self.last.as_ref().map(Record::to_message),
            has_result: self.result.is_some(),
            result_bytes: self.result.as_ref().map_or(0, |it| it.bytes),
            result_content_type: self.result.as_ref().map(|it| it.content_type.clone()).unwrap_or_default(),
            cancel_reason: self.cancel_reason.clone(),
            result_truncated: self.result.as_ref().is_some_and(|it| it.truncated),
            ended_by: self.ended_by.as_ref().map(error_message),
        }
    }

    fn from_message(message: HeadRecord) -> Result<Self, RecordError> {
        let state = TaskStateCode::read(message.state)
            .ok_or_else(|| RecordError::new(Self::NAME, format!("{} is no state", message.state)))?;
        if state.is_terminal() != message.finished_ms.is_some() {
            return Err(RecordError::new(Self::NAME, "a state that does not go with its end"));
        }
        if message.has_result && state != TaskState::Succeeded {
            return Err(RecordError::new(Self::NAME, "a result without success"));
        }
        let described = message.result_bytes > 0 || !message.result_content_type.is_empty() || message.result_truncated;
        if !message.has_result && described {
            return Err(RecordError::new(Self::NAME, "size or type of a result that is not there"));
        }
        Ok(Self {
            state,
            attempts: message.attempts,
            token: Token(message.token),
            due: Timestamp::from_unix_ms(message.due_ms),
            finished: message.finished_ms.map(Timestamp::from_unix_ms),
            last: message.last.map(Attempt::from_message).transpose()?,
            result: message.has_result.then_some(PayloadMeta {
                bytes: message.result_bytes,
                content_type: message.result_content_type,
                truncated: message.result_truncated,
            }),
            cancel_reason: message.cancel_reason,
            ended_by: message.ended_by.map(read_error),
        })
    }
}

fn error_message(error: &TaskError) -> ErrorRecord {
    ErrorRecord {
        kind: error.kind.clone(),
        message: error.message.clone(),
        non_retryable: error.non_retryable,
        details: error.details.data.clone(),
        details_content_type: error.details.content_type.clone(),
        details_truncated: error.details.truncated,
    }
}

fn read_error(error: ErrorRecord) -> TaskError {
    TaskError {
        kind: error.kind,
        message: error.message,
        non_retryable: error.non_retryable,
        details: Payload {
            data: error.details,
            content_type: error.details_content_type,
            truncated: error.details_truncated,
        },
    }
}

const fn outcome_code(outcome: AttemptOutcome) -> u32 {
    match outcome {
        AttemptOutcome::Succeeded => 1,
        AttemptOutcome::Failed => 2,
        AttemptOutcome::TimedOut => 3,
        AttemptOutcome::LeaseExpired => 4,
        AttemptOutcome::Cancelled => 5,
    }
}

fn read_outcome(code: u32) -> Result<AttemptOutcome, RecordError> {
    Ok(match code {
        1 => AttemptOutcome::Succeeded,
        2 => AttemptOutcome::Failed,
        3 => AttemptOutcome::TimedOut,
        4 => AttemptOutcome::LeaseExpired,
        5 => AttemptOutcome::Cancelled,
        _ => return Err(RecordError::new(Attempt::NAME, format!("{code} is no outcome"))),
    })
}

impl Record for Attempt {
    const NAME: &'static str = "attempt";
    type Message = AttemptRecord;

    /// # Panics
    /// When the attempt still runs: only ended attempts are kept.
    fn to_message(&self) -> AttemptRecord {
        let (ended, outcome) = self.ended.expect("only ended attempts are kept");
        AttemptRecord {
            number: self.number,
            token: self.token.0,
            session: Bytes::copy_from_slice(self.session.as_bytes()),
            worker_name: self.worker_name.clone(),
            started_ms: self.started.unix_ms(),
            ended_ms: ended.unix_ms(),
            outcome: outcome_code(outcome),
            error: self.error.as_ref().map(error_message),
        }
    }

    fn from_message(message: AttemptRecord) -> Result<Self, RecordError> {
        if message.number == 0 || message.token == 0 {
            return Err(RecordError::new(Self::NAME, "without a number or token"));
        }
        Ok(Self {
            number: message.number,
            token: Token(message.token),
            session: read_session(Self::NAME, &message.session)?,
            worker_name: message.worker_name,
            started: Timestamp::from_unix_ms(message.started_ms),
            ended: Some((Timestamp::from_unix_ms(message.ended_ms), read_outcome(message.outcome)?)),
            error: message.error.map(read_error),
        })
    }
}

/// Which task an idempotency key stands for, and until when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdempotencyRow {
    /// The task.
    pub task: TaskId,
    /// Of its request.
    pub content_hash: u64,
    /// Afterwards the key is free again.
    pub expires: Timestamp,
}

impl Record for IdempotencyRow {
    const NAME: &'static str = "idempotency";
    type Message = IdempotencyRecord;

    fn to_message(&self) -> IdempotencyRecord {
        IdempotencyRecord {
            task_id: Bytes::copy_from_slice(self.task.as_bytes()),
            content_hash: self.content_hash,
            expires_ms: self.expires.unix_ms(),
        }
    }

    fn from_message(message: IdempotencyRecord) -> Result<Self, RecordError> {
        Ok(Self {
            task: read_task_id(Self::NAME, &message.task_id)?,
            content_hash: message.content_hash,
            expires: Timestamp::from_unix_ms(message.expires_ms),
        })
    }
}

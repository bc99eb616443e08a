//! Records of what is due and what runs.

use std::time::Duration;

use bytes::Bytes;
use escapement_engine::{
    ScheduleUid, SessionId, Timestamp, Token,
    name::{Namespace, Priority, QueueName},
};
use escapement_proto::records::{DueRecord, LeaseRecord};

use super::{
    PayloadMeta, Record, RecordError, StoredTask, millis, read_namespace, read_priority, read_queue, read_schedule_id,
    read_session,
};
use crate::{keyspace, model::Occurrence};

/// Behind a due-index key: all that firing needs, so that it need not read the task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DueEntry {
    /// Attempts already started.
    pub attempts: u32,
    /// Token of the last attempt; 0 before the first.
    pub token: Token,
    /// Attempts that the policy allows.
    pub max_attempts: u32,
    /// Longest run of one attempt.
    pub attempt_timeout: Duration,
    /// No attempt starts after this instant.
    pub deadline: Option<Timestamp>,
    /// Size and type of the payload to fetch; `None` for an empty one.
    pub payload: Option<PayloadMeta>,
    /// For occurrences.
    pub occurrence: Option<Occurrence>,
}

impl DueEntry {
    /// The entry of a task that no attempt has been made of.
    pub fn first(task: &StoredTask) -> Self {
        Self {
            attempts: 0,
            token: Token(0),
            max_attempts: task.template.retry.max_attempts,
            attempt_timeout: task.template.attempt_timeout,
            deadline: task.deadline,
            payload: task.payload.clone(),
            occurrence: task.occurrence.clone(),
        }
    }
}

impl Record for DueEntry {
    const NAME: &'static str = "due";
    type Message = DueRecord;

    fn to_message(&self) -> DueRecord {
        let occurrence = self.occurrence.as_ref();
        DueRecord {
            attempts: self.attempts,
            token: self.token.0,
            max_attempts: self.max_attempts,
            attempt_timeout_ms: millis(self.attempt_timeout),
            deadline_ms: self.deadline.map(Timestamp::unix_ms),
            has_payload: self.payload.is_some(),
            payload_bytes: self.payload.as_ref().map_or(0, |it| it.bytes),
            content_type: self.payload.as_ref().map(|it| it.content_type.clone()).unwrap_or_default(),
            schedule_id: occurrence.map(|it| it.schedule.as_str().to_owned()).unwrap_or_default(),
            nominal_ms: occurrence.and_then(|it| it.nominal).map(Timestamp::unix_ms),
            schedule_uid: uid_bytes(occurrence),
        }
    }

    fn from_message(message: DueRecord) -> Result<Self, RecordError> {
        if message.attempts >= message.max_attempts {
            let what = format!("{} attempts made of {}, yet due", message.attempts, message.max_attempts);
            return Err(RecordError::new(Self::NAME, what));
        }
        if message.token < u64::from(message.attempts) {
            return Err(RecordError::new(Self::NAME, "fewer tokens than attempts"));
        }
        if !message.has_payload && (message.payload_bytes > 0 || !message.content_type.is_empty()) {
            return Err(RecordError::new(Self::NAME, "size or type of a payload that is not there"));
        }
        Ok(Self {
            attempts: message.attempts,
            token: Token(message.token),
            max_attempts: message.max_attempts,
            attempt_timeout: Duration::from_millis(message.attempt_timeout_ms),
            deadline: message.deadline_ms.map(Timestamp::from_unix_ms),
            payload: message.has_payload.then_some(PayloadMeta {
                bytes: message.payload_bytes,
                content_type: message.content_type,
                truncated: false,
            }),
            occurrence: read_occurrence(Self::NAME, &message.schedule_id, message.nominal_ms, &message.schedule_uid)?,
        })
    }
}

pub(super) fn uid_bytes(occurrence: Option<&Occurrence>) -> Bytes {
    let uid = occurrence.and_then(|it| it.uid);
    uid.map(|uid| Bytes::copy_from_slice(uid.as_bytes())).unwrap_or_default()
}

pub(super) fn read_occurrence(
    record: &'static str,
    schedule_id: &str,
    nominal_ms: Option<i64>,
    uid: &[u8],
) -> Result<Option<Occurrence>, RecordError> {
    let of_uid = |uid: &[u8]| {
        ScheduleUid::from_slice(uid).ok_or_else(|| RecordError::new(record, "schedule uid is not 16 bytes"))
    };
    // Absent in what was stored before it was kept.
    let uid = (!uid.is_empty()).then(|| of_uid(uid)).transpose()?;
    match (schedule_id.is_empty(), nominal_ms) {
        (true, None) if uid.is_none() => Ok(None),
        (true, _) => Err(RecordError::new(record, "a nominal instant or uid without a schedule")),
        (false, nominal) => Ok(Some(Occurrence {
            schedule: read_schedule_id(record, schedule_id)?,
            nominal: nominal.map(Timestamp::from_unix_ms),
            uid,
        })),
    }
}

/// The right of one session to run one attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// Who may run it.
    pub session: SessionId,
    /// As the worker called itself; for people.
    pub worker_name: String,
    /// Fencing token of this attempt.
    pub token: Token,
    /// Number of this attempt, from 1.
    pub attempt: u32,
    /// Whose.
    pub namespace: Namespace,
    /// Kind of work.
    pub queue: QueueName,
    /// Priority.
    pub priority: Priority,
    /// The instant at which the attempt was due.
    pub due: Timestamp,
    /// When the attempt was fired, by the owner's clock; for history.
    pub started: Timestamp,
    /// Length of the session's lease: a new owner waits this long for the session to come back.
    pub session_lease: Duration,
    /// What firing took out of the due index.
    pub entry: DueEntry,
}

impl Record for Lease {
    const NAME: &'static str = "lease";
    type Message = LeaseRecord;

    fn to_message(&self) -> LeaseRecord {
        LeaseRecord {
            session: Bytes::copy_from_slice(self.session.as_bytes()),
            token: self.token.0,
            attempt: self.attempt,
            namespace: self.namespace.as_str().to_owned(),
            queue: self.queue.as_str().to_owned(),
            priority: keyspace::priority_code(self.priority),
            due_ms: self.due.unix_ms(),
            started_ms: self.started.unix_ms(),
            worker_name: self.worker_name.clone(),
            due: Some(self.entry.to_message()),
            session_lease_ms: millis(self.session_lease),
        }
    }

    fn from_message(message: LeaseRecord) -> Result<Self, RecordError> {
        let entry = message.due.ok_or_else(|| RecordError::new(Self::NAME, "without its due entry"))?;
        let entry = DueEntry::from_message(entry)?;
        if Token(message.token) <= entry.token || message.attempt != entry.attempts + 1 {
            return Err(RecordError::new(Self::NAME, "token or attempt does not follow the last one"));
        }
        Ok(Self {
            session: read_session(Self::NAME, &message.session)?,
            worker_name: message.worker_name,
            token: Token(message.token),
            attempt: message.attempt,
            namespace: read_namespace(Self::NAME, &message.namespace)?,
            queue: read_queue(Self::NAME, &message.queue)?,
            priority: read_priority(Self::NAME, message.priority)?,
            due: Timestamp::from_unix_ms(message.due_ms),
            started: Timestamp::from_unix_ms(message.started_ms),
            session_lease: Duration::from_millis(message.session_lease_ms),
            entry,
        })
    }
}

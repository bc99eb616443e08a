//! What is submitted, and what comes of it.

use std::time::Duration;

use escapement_engine::{TaskId, Timestamp, name::Priority, retry::RetryPolicy};
use escapement_proto::v1;

use crate::error::{ApiError, Reason};

pub(super) fn to_timestamp(at: Timestamp) -> prost_types::Timestamp {
    let ms = at.unix_ms();
    let nanos = i32::try_from(ms.rem_euclid(1000) * 1_000_000).expect("below one billion");
    prost_types::Timestamp { seconds: ms.div_euclid(1000), nanos }
}

/// `None` when it is no instant.
pub(crate) fn from_timestamp(at: prost_types::Timestamp) -> Option<Timestamp> {
    Timestamp::from_unix_parts_ceil(at.seconds, u32::try_from(at.nanos).ok()?)
}

/// Longer than the API's longest is cut to what protobuf can carry; the server refuses it.
pub(super) fn to_duration(span: Duration) -> prost_types::Duration {
    let seconds = i64::try_from(span.as_secs()).unwrap_or(i64::MAX);
    prost_types::Duration { seconds, nanos: i32::try_from(span.subsec_nanos()).expect("below one billion") }
}

pub(super) const fn to_priority(priority: Priority) -> v1::Priority {
    match priority {
        Priority::High => v1::Priority::High,
        Priority::Medium => v1::Priority::Medium,
        Priority::Low => v1::Priority::Low,
    }
}

pub(super) fn to_retry(policy: &RetryPolicy) -> v1::RetryPolicy {
    v1::RetryPolicy {
        max_attempts: policy.max_attempts,
        initial_backoff: Some(to_duration(policy.initial_backoff)),
        backoff_multiplier: f64::from(policy.multiplier_milli) / 1000.0,
        max_backoff: Some(to_duration(policy.max_backoff)),
        jitter: Some(f64::from(policy.jitter_milli) / 1000.0),
        non_retryable_errors: policy.non_retryable_errors.clone(),
    }
}

/// The setters that tasks and schedules share, over a field `work: v1::TaskTemplate`.
macro_rules! work_setters {
    () => {
        /// Bytes for the handler, and their media type. At most 1 MiB, unless the server is
        /// configured otherwise.
        pub fn payload(mut self, data: impl Into<::bytes::Bytes>, content_type: impl Into<String>) -> Self {
            let payload = ::escapement_proto::v1::Payload {
                data: data.into(),
                content_type: content_type.into(),
                ..Default::default()
            };
            self.work.payload = Some(payload);
            self
        }

        /// Text for the handler.
        pub fn payload_text(self, text: impl Into<String>) -> Self {
            self.payload(text.into(), "text/plain; charset=utf-8")
        }

        /// JSON for the handler. The text is taken as it is.
        pub fn payload_json(self, text: impl Into<String>) -> Self {
            self.payload(text.into(), "application/json")
        }

        /// Which goes first when several of one queue are due. Medium unless set.
        pub fn priority(mut self, priority: ::escapement_engine::name::Priority) -> Self {
            self.work.priority = $crate::client::task::to_priority(priority).into();
            self
        }

        /// Attempts in all, 1 to 1000; 5 unless set. The rest of the policy stays as it is.
        pub fn max_attempts(mut self, attempts: u32) -> Self {
            self.work.retry.get_or_insert_default().max_attempts = attempts;
            self
        }

        /// What happens after an attempt fails.
        pub fn retry(mut self, policy: &::escapement_engine::retry::RetryPolicy) -> Self {
            self.work.retry = Some($crate::client::task::to_retry(policy));
            self
        }

        /// Longest time that one attempt may take: 10 ms to 7 days; 1 min unless set.
        pub fn attempt_timeout(mut self, span: ::std::time::Duration) -> Self {
            self.work.attempt_timeout = Some($crate::client::task::to_duration(span));
            self
        }

        /// One more label: key of 1 to 63 characters, value of at most 255 bytes; at most 32.
        pub fn label(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
            self.work.labels.insert(key.into(), value.into());
            self
        }
    };
}
pub(super) use work_setters;

/// A task to submit. The server checks it; its error names field, value and limit.
#[derive(Clone, Debug, Default, PartialEq)]
#[must_use]
pub struct NewTask {
    pub(super) work: v1::TaskTemplate,
    id: Option<TaskId>,
    namespace: String,
    when: Option<v1::task_spec::When>,
    deadline: Option<Timestamp>,
    idempotency_key: String,
    idempotency_window: Option<Duration>,
}

impl NewTask {
    /// A task of this queue (1 to 128 characters of `[A-Za-z0-9._-]`, starting with a letter
    /// or digit), due at once.
    pub fn new(queue: impl Into<String>) -> Self {
        Self { work: v1::TaskTemplate { queue: queue.into(), ..Default::default() }, ..Self::default() }
    }

    work_setters!();

    /// The id. Unless set, the client makes one. Its low 62 bits must be random.
    pub fn id(mut self, id: TaskId) -> Self {
        self.id = Some(id);
        self
    }

    /// The namespace. The client's unless set.
    pub fn namespace(mut self, namespace: impl Into<String>) -> Self {
        self.namespace = namespace.into();
        self
    }

    /// When it is due: at most 1 day in the past (then it runs at once), at most 100 years
    /// ahead. Replaces [`NewTask::delay`].
    pub fn due_at(mut self, at: Timestamp) -> Self {
        self.when = Some(v1::task_spec::When::DueAt(to_timestamp(at)));
        self
    }

    /// How long after the server takes it, by the server's clock, it is due. Replaces
    /// [`NewTask::due_at`].
    pub fn delay(mut self, span: Duration) -> Self {
        self.when = Some(v1::task_spec::When::Delay(to_duration(span)));
        self
    }

    /// No attempt starts after this instant.
    pub fn deadline(mut self, at: Timestamp) -> Self {
        self.deadline = Some(at);
        self
    }

    /// 1 to 256 bytes: a second submission under this key, in the same namespace and within
    /// the window, makes no second task.
    pub fn idempotency_key(mut self, key: impl Into<String>) -> Self {
        self.idempotency_key = key.into();
        self
    }

    /// How long the idempotency key is remembered: 1 s to 30 days; 24 h unless set.
    pub fn idempotency_window(mut self, span: Duration) -> Self {
        self.idempotency_window = Some(span);
        self
    }

    pub(super) fn into_spec(self, own_namespace: &str, make_id: impl FnOnce() -> TaskId) -> v1::TaskSpec {
        let v1::TaskTemplate { queue, payload, priority, retry, attempt_timeout, labels, deadline_after: _ } =
            self.work;
        v1::TaskSpec {
            id: self.id.unwrap_or_else(make_id).to_string(),
            namespace: if self.namespace.is_empty() { own_namespace.to_owned() } else { self.namespace },
            queue,
            payload,
            priority,
            retry,
            attempt_timeout,
            deadline: self.deadline.map(to_timestamp),
            idempotency_key: self.idempotency_key,
            idempotency_window: self.idempotency_window.map(to_duration),
            labels,
            when: self.when,
        }
    }
}

/// A task that the server has made durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Submitted {
    /// Its id; that of the earlier task when `created` is false.
    pub id: TaskId,
    /// When it is due: whole milliseconds, rounded up.
    pub due_at: Timestamp,
    /// False: the same task was submitted before, under this id or idempotency key.
    pub created: bool,
}

impl Submitted {
    pub(super) fn from_proto(response: &v1::SubmitResponse) -> Option<Self> {
        let id = response.task_id.parse().ok()?;
        Some(Self { id, due_at: from_timestamp(response.due_at?)?, created: response.created })
    }
}

/// What became of one task of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BatchOutcome {
    /// It is durable.
    Accepted(Submitted),
    /// It is well-formed, but was not accepted.
    Refused(ApiError),
}

impl BatchOutcome {
    pub(super) fn from_proto(result: v1::SubmitResult) -> Option<Self> {
        match result.outcome? {
            v1::submit_result::Outcome::Accepted(accepted) => Submitted::from_proto(&accepted).map(Self::Accepted),
            v1::submit_result::Outcome::Error(error) => {
                let reason = error.reason.parse().unwrap_or(Reason::Unknown);
                Some(Self::Refused(ApiError::new(reason, error.message)))
            }
        }
    }
}

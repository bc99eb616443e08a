//! Tasks and their templates.

use std::time::Duration;

use escapement_engine::{
    Timestamp,
    limits::{
        ATTEMPT_TIMEOUT_DEFAULT, ATTEMPT_TIMEOUT_MAX, ATTEMPT_TIMEOUT_MIN, DUE_AHEAD_MAX, DUE_PAST_MAX,
        IDEMPOTENCY_KEY_BYTES_MAX, IDEMPOTENCY_WINDOW_DEFAULT, IDEMPOTENCY_WINDOW_MAX, IDEMPOTENCY_WINDOW_MIN,
    },
};
use escapement_proto::v1::{self, task_spec::When};

use super::{Path, Violations, retry::retry_policy, scalar};
use crate::{
    api::{ApiLimits, hash},
    model::{Idempotency, NewTask, Template},
    rng::Rng,
};

/// What a task is validated against: the instant at which the server took it, and the bits for
/// the ids of tasks that have none.
#[derive(Clone, Copy, Debug)]
pub struct TaskContext<'a> {
    /// By the server's clock.
    pub now: Timestamp,
    /// Makes ids.
    pub rng: &'a Rng,
    /// As configured.
    pub limits: &'a ApiLimits,
}

/// A task as its caller wrote it.
pub fn task_spec(path: &Path<'_>, spec: v1::TaskSpec, cx: &TaskContext<'_>, v: &mut Violations) -> Option<NewTask> {
    let content_hash = hash::of_task(&spec);
    let id =
        if spec.id.is_empty() { Some(cx.rng.task_id(cx.now)) } else { scalar::task_id(&path.field("id"), &spec.id, v) };
    let namespace = scalar::namespace(&path.field("namespace"), &spec.namespace, v);
    let due = due(path, spec.when, cx.now, v);
    let deadline = deadline(&path.field("deadline"), spec.deadline.as_ref(), due, v);
    let idempotency = idempotency(path, spec.idempotency_key, spec.idempotency_window.as_ref(), v);
    let template = TemplateFields {
        queue: spec.queue,
        payload: spec.payload,
        priority: spec.priority,
        retry: spec.retry,
        attempt_timeout: spec.attempt_timeout,
        labels: spec.labels,
    };
    let template = template.validate(path, cx.limits, v);
    Some(NewTask {
        id: id?,
        namespace: namespace?,
        template: template?,
        due: due?,
        deadline: deadline?,
        idempotency: idempotency?,
        submitted: cx.now,
        occurrence: None,
        content_hash,
    })
}

/// The fields that a task and a schedule's template have in common.
pub(super) struct TemplateFields {
    pub(super) queue: String,
    pub(super) payload: Option<v1::Payload>,
    pub(super) priority: i32,
    pub(super) retry: Option<v1::RetryPolicy>,
    pub(super) attempt_timeout: Option<prost_types::Duration>,
    pub(super) labels: std::collections::BTreeMap<String, String>,
}

impl TemplateFields {
    pub(super) fn validate(self, path: &Path<'_>, limits: &ApiLimits, v: &mut Violations) -> Option<Template> {
        let queue = scalar::queue(&path.field("queue"), &self.queue, v);
        let payload = scalar::payload(&path.field("payload"), self.payload, limits, v);
        let priority = scalar::priority(&path.field("priority"), self.priority, v);
        let retry = retry_policy(&path.field("retry"), self.retry, v);
        let attempt_timeout = scalar::duration_or(
            &path.field("attempt_timeout"),
            self.attempt_timeout.as_ref(),
            ATTEMPT_TIMEOUT_DEFAULT,
            ATTEMPT_TIMEOUT_MIN..=ATTEMPT_TIMEOUT_MAX,
            "must be 10 ms to 7 days",
            v,
        );
        let labels = scalar::labels(&path.field("labels"), self.labels, v);
        Some(Template {
            queue: queue?,
            payload: payload?,
            priority: priority?,
            retry: retry?,
            attempt_timeout: attempt_timeout?,
            labels: labels?,
        })
    }
}

fn due(path: &Path<'_>, when: Option<When>, now: Timestamp, v: &mut Violations) -> Option<Timestamp> {
    match when {
        None => Some(now),
        Some(When::Delay(delay)) => {
            let limit = "must not be negative, and at most 100 years";
            let delay = scalar::duration(&path.field("delay"), &delay, Duration::ZERO..=DUE_AHEAD_MAX, limit, v)?;
            Some(now.saturating_add(delay))
        }
        Some(When::DueAt(at)) => {
            let path = path.field("due_at");
            let due = scalar::timestamp(&path, &at, v)?;
            let (earliest, latest) = (now.saturating_sub(DUE_PAST_MAX), now.saturating_add(DUE_AHEAD_MAX));
            if due < earliest || due > latest {
                let limit = "must be at most 1 day in the past and 100 years ahead";
                v.add(&path, due, format!("{limit}: {earliest} to {latest}"));
                return None;
            }
            Some(due)
        }
    }
}

/// When the due instant is itself in doubt, the deadline is not compared with it.
fn deadline(
    path: &Path<'_>,
    deadline: Option<&prost_types::Timestamp>,
    due: Option<Timestamp>,
    v: &mut Violations,
) -> Option<Option<Timestamp>> {
    let deadline = scalar::optional_timestamp(path, deadline, v)?;
    if let (Some(deadline), Some(due)) = (deadline, due)
        && deadline <= due
    {
        v.add(path, deadline, format!("must be after the due instant, {due}"));
        return None;
    }
    Some(deadline)
}

fn idempotency(
    path: &Path<'_>,
    key: String,
    window: Option<&prost_types::Duration>,
    v: &mut Violations,
) -> Option<Option<Idempotency>> {
    let window_path = path.field("idempotency_window");
    let window_given = window.is_some();
    let window = scalar::duration_or(
        &window_path,
        window,
        IDEMPOTENCY_WINDOW_DEFAULT,
        IDEMPOTENCY_WINDOW_MIN..=IDEMPOTENCY_WINDOW_MAX,
        "must be 1 s to 30 days",
        v,
    );
    if key.is_empty() {
        if window_given {
            v.add(&window_path, "", "must come with an idempotency_key");
            return None;
        }
        return window.map(|_| None);
    }
    let key = scalar::text(&path.field("idempotency_key"), &key, IDEMPOTENCY_KEY_BYTES_MAX, v);
    Some(Some(Idempotency { key: key?, window: window? }))
}

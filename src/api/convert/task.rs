//! Tasks.

use escapement_proto::v1::{self, watch_task_response::Event};

use super::{duration, payload, present_payload, priority, retry, timestamp};
use crate::{
    api::backend::{Submitted, WatchEvent},
    model::{Attempt, AttemptOutcome, Occurrence, TaskError, TaskState, TaskView, Template},
};

/// A task as it stands.
pub fn task(view: TaskView) -> v1::Task {
    let template = template(view.template, None);
    let (schedule_id, nominal_at, schedule_uid) = match view.occurrence {
        None => (String::new(), None, String::new()),
        Some(Occurrence { schedule, nominal, uid }) => {
            (schedule.to_string(), nominal.map(timestamp), uid.map(|uid| uid.to_string()).unwrap_or_default())
        }
    };
    v1::Task {
        id: view.id.to_string(),
        namespace: view.namespace.to_string(),
        queue: template.queue,
        payload: template.payload,
        due_at: Some(timestamp(view.due)),
        priority: template.priority,
        retry: template.retry,
        attempt_timeout: template.attempt_timeout,
        deadline: view.deadline.map(timestamp),
        idempotency_key: view.idempotency_key,
        labels: template.labels,
        state: state(view.state).into(),
        submitted_at: Some(timestamp(view.submitted)),
        finished_at: view.finished.map(timestamp),
        // Present once succeeded, even when there is nothing in it.
        result: view.result.map(present_payload),
        error: view.error.map(error),
        attempts: view.attempts.into_iter().map(attempt).collect(),
        attempt_count: view.attempts_started,
        schedule_id,
        nominal_at,
        cancel_reason: view.cancel_reason,
        schedule_uid,
        attempts_left_out: view.attempts_left_out,
        first_due_at: Some(timestamp(view.first_due)),
    }
}

/// What a task is to do.
pub fn template(template: Template, deadline_after: Option<std::time::Duration>) -> v1::TaskTemplate {
    v1::TaskTemplate {
        queue: template.queue.to_string(),
        payload: payload(template.payload),
        priority: priority(template.priority),
        retry: Some(retry(template.retry)),
        attempt_timeout: Some(duration(template.attempt_timeout)),
        deadline_after: deadline_after.map(duration),
        labels: template.labels,
    }
}

fn state(state: TaskState) -> v1::TaskState {
    match state {
        TaskState::Scheduled => v1::TaskState::Scheduled,
        TaskState::Running => v1::TaskState::Running,
        TaskState::Succeeded => v1::TaskState::Succeeded,
        TaskState::Failed => v1::TaskState::Failed,
        TaskState::Cancelled => v1::TaskState::Cancelled,
        TaskState::DeadLettered => v1::TaskState::DeadLettered,
    }
}

fn outcome(outcome: AttemptOutcome) -> v1::AttemptOutcome {
    match outcome {
        AttemptOutcome::Succeeded => v1::AttemptOutcome::Succeeded,
        AttemptOutcome::Failed => v1::AttemptOutcome::Failed,
        AttemptOutcome::TimedOut => v1::AttemptOutcome::TimedOut,
        AttemptOutcome::LeaseExpired => v1::AttemptOutcome::LeaseExpired,
        AttemptOutcome::Cancelled => v1::AttemptOutcome::Cancelled,
    }
}

fn error(error: TaskError) -> v1::TaskError {
    v1::TaskError {
        kind: error.kind,
        message: error.message,
        non_retryable: error.non_retryable,
        details: payload(error.details),
    }
}

fn attempt(attempt: Attempt) -> v1::Attempt {
    v1::Attempt {
        number: attempt.number,
        token: attempt.token.0,
        session_id: attempt.session.to_string(),
        worker_name: attempt.worker_name,
        started_at: Some(timestamp(attempt.started)),
        ended_at: attempt.ended.map(|(at, _)| timestamp(at)),
        outcome: attempt.ended.map_or(v1::AttemptOutcome::Unspecified, |(_, how)| outcome(how)).into(),
        error: attempt.error.map(error),
    }
}

/// A task that is durable.
pub fn submitted(submitted: Submitted) -> v1::SubmitResponse {
    v1::SubmitResponse {
        task_id: submitted.id.to_string(),
        due_at: Some(timestamp(submitted.due)),
        created: submitted.created,
    }
}

/// Something that a watcher is told.
pub fn watch_event(event: WatchEvent) -> v1::WatchTaskResponse {
    let event = match event {
        WatchEvent::Task(view) => Event::Task(task(*view)),
        WatchEvent::Progress(progress) => Event::Progress(v1::Progress {
            attempt: progress.attempt,
            payload: payload(progress.payload),
            reported_at: Some(timestamp(progress.reported)),
        }),
    };
    v1::WatchTaskResponse { event: Some(event) }
}

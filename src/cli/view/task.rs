//! Tasks as they are shown.

use std::collections::BTreeMap;

use escapement_proto::v1;
use serde::Serialize;

use super::{PayloadView, RetryView, enum_word, instant, millis, nonempty, priority};
use crate::{
    cli::{
        output::{Colour, Ui, indented, table},
        values,
    },
    client::task::from_timestamp,
    worker::exec::ExecResult,
};

#[derive(Serialize)]
pub(in crate::cli) struct TaskView {
    id: String,
    namespace: String,
    queue: String,
    state: String,
    priority: String,
    due_at: Option<String>,
    first_due_at: Option<String>,
    submitted_at: Option<String>,
    finished_at: Option<String>,
    deadline: Option<String>,
    attempt_count: u32,
    attempt_timeout_ms: Option<i64>,
    retry: Option<RetryView>,
    idempotency_key: Option<String>,
    labels: BTreeMap<String, String>,
    schedule_id: Option<String>,
    /// Tells the schedules apart that had this id one after the other.
    schedule_uid: Option<String>,
    nominal_at: Option<String>,
    cancel_reason: Option<String>,
    payload: Option<PayloadView>,
    result: Option<PayloadView>,
    error: Option<ErrorView>,
    attempts: Vec<AttemptView>,
    /// How many came before those in `attempts`.
    attempts_left_out: u32,
}

#[derive(Serialize)]
struct ErrorView {
    kind: String,
    message: String,
    non_retryable: bool,
    details: Option<PayloadView>,
}

#[derive(Serialize)]
struct AttemptView {
    number: u32,
    token: u64,
    worker_name: String,
    session_id: String,
    started_at: Option<String>,
    ended_at: Option<String>,
    /// Null while the attempt runs.
    outcome: Option<String>,
    error: Option<ErrorView>,
}

impl ErrorView {
    fn of(error: &v1::TaskError) -> Self {
        Self::with(error, error.details.as_ref())
    }

    fn with(error: &v1::TaskError, details: Option<&v1::Payload>) -> Self {
        Self {
            kind: error.kind.clone(),
            message: error.message.clone(),
            non_retryable: error.non_retryable,
            details: details.map(PayloadView::of),
        }
    }
}

/// The details of the task's error. The server keeps them with the attempt that failed, and
/// only there.
fn error_details(task: &v1::Task) -> Option<&v1::Payload> {
    let error = task.error.as_ref()?;
    let of_attempt = || {
        let failed = task.attempts.iter().rev().find_map(|attempt| attempt.error.as_ref())?;
        (failed.kind == error.kind && failed.message == error.message).then_some(failed.details.as_ref())?
    };
    error.details.as_ref().or_else(of_attempt)
}

impl AttemptView {
    fn of(attempt: &v1::Attempt) -> Self {
        let outcome = attempt.outcome();
        let ended = outcome != v1::AttemptOutcome::Unspecified;
        Self {
            number: attempt.number,
            token: attempt.token,
            worker_name: attempt.worker_name.clone(),
            session_id: attempt.session_id.clone(),
            started_at: instant(attempt.started_at),
            ended_at: instant(attempt.ended_at),
            outcome: ended.then(|| enum_word(outcome.as_str_name(), "ATTEMPT_OUTCOME_")),
            error: attempt.error.as_ref().map(ErrorView::of),
        }
    }
}

pub(in crate::cli) fn state_word(state: v1::TaskState) -> String {
    enum_word(state.as_str_name(), "TASK_STATE_")
}

const fn state_colour(state: v1::TaskState) -> Option<Colour> {
    match state {
        v1::TaskState::Succeeded => Some(Colour::Green),
        v1::TaskState::Failed | v1::TaskState::DeadLettered => Some(Colour::Red),
        v1::TaskState::Running => Some(Colour::Cyan),
        v1::TaskState::Cancelled => Some(Colour::Yellow),
        v1::TaskState::Scheduled | v1::TaskState::Unspecified => None,
    }
}

pub(in crate::cli) fn paint_state(ui: &Ui, state: v1::TaskState) -> String {
    let word = state_word(state);
    state_colour(state).map_or_else(|| word.clone(), |colour| ui.paint(colour, &word))
}

impl TaskView {
    pub(in crate::cli) fn of(task: &v1::Task) -> Self {
        Self {
            id: task.id.clone(),
            namespace: task.namespace.clone(),
            queue: task.queue.clone(),
            state: state_word(task.state()),
            priority: priority(task.priority()),
            due_at: instant(task.due_at),
            first_due_at: instant(task.first_due_at),
            submitted_at: instant(task.submitted_at),
            finished_at: instant(task.finished_at),
            deadline: instant(task.deadline),
            attempt_count: task.attempt_count,
            attempt_timeout_ms: millis(task.attempt_timeout),
            retry: task.retry.as_ref().map(RetryView::of),
            idempotency_key: nonempty(&task.idempotency_key),
            labels: task.labels.clone(),
            schedule_id: nonempty(&task.schedule_id),
            schedule_uid: nonempty(&task.schedule_uid),
            nominal_at: instant(task.nominal_at),
            cancel_reason: nonempty(&task.cancel_reason),
            payload: task.payload.as_ref().map(PayloadView::of),
            result: task.result.as_ref().map(PayloadView::of),
            error: task.error.as_ref().map(|error| ErrorView::with(error, error_details(task))),
            attempts: task.attempts.iter().map(AttemptView::of).collect(),
            attempts_left_out: task.attempts_left_out,
        }
    }

    /// The columns of a list.
    pub(in crate::cli) const COLUMNS: [&'static str; 6] = ["ID", "QUEUE", "STATE", "PRIORITY", "DUE", "ATTEMPTS"];

    pub(in crate::cli) fn row(&self) -> [String; 6] {
        let due = self.due_at.clone().unwrap_or_default();
        let attempts = self.attempt_count.to_string();
        [self.id.clone(), self.queue.clone(), self.state.clone(), self.priority.clone(), due, attempts]
    }
}

/// Everything about a task, for people.
pub(in crate::cli) fn describe(task: &v1::Task, ui: &Ui) -> String {
    let view = TaskView::of(task);
    let labels: Vec<_> = view.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    let attempts = match &view.retry {
        Some(retry) => format!("{} of at most {}", view.attempt_count, retry.max_attempts),
        None => view.attempt_count.to_string(),
    };
    // A retry has an instant of its own.
    let first_due = view.first_due_at.or_else(|| view.due_at.clone());
    let moved = view.due_at.filter(|due| Some(due) != first_due.as_ref());
    let (next, last_due) = if task.state() == v1::TaskState::Scheduled { (moved, None) } else { (None, moved) };
    let mut parts = vec![ui.fields_painting(
        ("state", state_colour(task.state())),
        [
            ("id", Some(view.id)),
            ("namespace", Some(view.namespace)),
            ("queue", Some(view.queue)),
            ("state", Some(view.state)),
            ("priority", Some(view.priority)),
            ("due", first_due),
            ("last attempt due", last_due),
            ("next attempt", next),
            ("submitted", view.submitted_at),
            ("finished", view.finished_at),
            ("deadline", view.deadline),
            ("attempts", Some(attempts)),
            ("attempt timeout", view.attempt_timeout_ms.map(show_millis)),
            ("idempotency key", view.idempotency_key),
            ("labels", nonempty(&labels.join(" "))),
            ("schedule", view.schedule_id),
            ("nominal instant", view.nominal_at),
            ("cancel reason", view.cancel_reason),
            ("payload", view.payload.as_ref().map(PayloadView::describe)),
            ("error", view.error.as_ref().map(|error| format!("{}: {}", error.kind, error.message))),
        ],
    )];
    if let Some(result) = &task.result {
        parts.push(describe_output("result", result));
    }
    if let Some(details) = error_details(task) {
        parts.push(describe_output("output of the last attempt that failed", details));
    }
    if !task.attempts.is_empty() {
        let before = match task.attempts_left_out {
            0 => String::new(),
            left_out => format!(" (without the first {left_out} attempts)"),
        };
        parts.push(format!("history{before}\n{}", history(task)));
    }
    parts.join("\n\n")
}

pub(super) fn show_millis(ms: i64) -> String {
    values::show_duration(std::time::Duration::from_millis(u64::try_from(ms).unwrap_or_default()))
}

/// What the exec worker reports is shown as a program's output; anything else as a payload.
fn describe_output(title: &str, payload: &v1::Payload) -> String {
    let Ok(exec) = serde_json::from_slice::<ExecResult>(&payload.data) else {
        return format!("{title}\n{}", indented(&PayloadView::of(payload).describe()));
    };
    let end = match (exec.exit_code, exec.signal) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("ended by signal {signal}"),
        (None, None) => "ended without a status".to_owned(),
    };
    let mut text = format!("{title}\n  {end} after {} ms", exec.duration_ms);
    for (name, tail, cut) in
        [("stdout", exec.stdout, exec.stdout_truncated), ("stderr", exec.stderr, exec.stderr_truncated)]
    {
        if !tail.is_empty() {
            let cut = if cut { " (its end)" } else { "" };
            text = format!("{text}\n  {name}{cut}\n{}", indented(&indented(&tail)));
        }
    }
    text
}

fn history(task: &v1::Task) -> String {
    let rows = task.attempts.iter().map(|attempt| {
        let view = AttemptView::of(attempt);
        let took = match (attempt.started_at.and_then(from_timestamp), attempt.ended_at.and_then(from_timestamp)) {
            (Some(start), Some(end)) => format!("{} ms", end.since(start).as_millis()),
            _ => String::new(),
        };
        [
            view.number.to_string(),
            view.token.to_string(),
            view.worker_name,
            view.started_at.unwrap_or_default(),
            took,
            view.outcome.unwrap_or_else(|| "running".to_owned()),
            view.error.map(|error| format!("{}: {}", error.kind, error.message)).unwrap_or_default(),
        ]
    });
    indented(&table(Some(["ATTEMPT", "TOKEN", "WORKER", "STARTED", "TOOK", "OUTCOME", "ERROR"]), rows))
}

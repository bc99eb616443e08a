//! `escapement task watch`.

use escapement_engine::TaskId;
use serde::Serialize;

use crate::{
    cli::{
        Context,
        error::{CliError, EXIT_TASK_NOT_SUCCEEDED},
        output::shown,
        view::{
            PayloadView, instant,
            task::{TaskView, paint_state},
        },
    },
    client::{WatchEvent, proto as v1},
    worker::exec::ExecProgress,
};

/// One line for each change.
#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum EventView {
    Task(Box<TaskView>),
    Progress { attempt: u32, reported_at: Option<String>, payload: Option<PayloadView> },
}

pub(super) async fn run(id: TaskId, context: &Context) -> Result<u8, CliError> {
    let mut watch = context.client()?.watch(id);
    let mut last = None;
    let mut shown_until = OutputShown::default();
    while let Some(event) = watch.next().await? {
        if context.ui.is_json() {
            context.ui.print_json_line(&view(&event));
        } else {
            context.ui.print(line(&event, &mut shown_until, context));
        }
        if let WatchEvent::Task(task) = event {
            last = Some(task);
        }
    }
    let Some(task) = last else { return Err(CliError::internal("the watch ended before the task did")) };
    if !context.ui.is_json() {
        context.ui.print("");
        super::show(&task, context);
    }
    Ok(exit_code(task.state()))
}

pub(super) const fn exit_code(state: v1::TaskState) -> u8 {
    if matches!(state, v1::TaskState::Succeeded) { 0 } else { EXIT_TASK_NOT_SUCCEEDED }
}

fn view(event: &WatchEvent) -> EventView {
    match event {
        WatchEvent::Task(task) => EventView::Task(Box::new(TaskView::of(task))),
        WatchEvent::Progress(progress) => EventView::Progress {
            attempt: progress.attempt,
            reported_at: instant(progress.reported_at),
            payload: progress.payload.as_ref().map(PayloadView::of),
        },
    }
}

/// How much of a program's output was shown. Reports overlap; each line is shown once.
#[derive(Default)]
struct OutputShown {
    attempt: u32,
    stdout: u64,
    stderr: u64,
}

impl OutputShown {
    /// What is new in a report of the exec worker; `None` for progress of another kind.
    fn output(&mut self, progress: &v1::Progress) -> Option<String> {
        let report: ExecProgress = serde_json::from_slice(&progress.payload.as_ref()?.data).ok()?;
        if progress.attempt != self.attempt {
            *self = Self { attempt: progress.attempt, ..Self::default() };
        }
        let streams = [
            ("stdout", &report.stdout, report.stdout_bytes, &mut self.stdout),
            ("stderr", &report.stderr, report.stderr_bytes, &mut self.stderr),
        ];
        let mut lines = Vec::new();
        for (name, tail, end, until) in streams {
            let new = usize::try_from(end.saturating_sub(*until)).unwrap_or(usize::MAX);
            if new > tail.len() {
                lines.push(format!("  {name}: ... {} bytes not shown here", new - tail.len()));
            }
            let from = tail.ceil_char_boundary(tail.len().saturating_sub(new));
            lines.extend(tail[from..].lines().map(|line| format!("  {name}: {}", shown(line))));
            *until = end.max(*until);
        }
        Some(lines.join("\n"))
    }
}

/// A change on one line: since when, what.
fn line(event: &WatchEvent, shown_until: &mut OutputShown, context: &Context) -> String {
    let task = match event {
        WatchEvent::Progress(progress) => {
            let at = instant(progress.reported_at).unwrap_or_default();
            if let Some(output) = shown_until.output(progress) {
                return format!("{at}  output of attempt {}\n{output}", progress.attempt);
            }
            let payload = progress.payload.as_ref().map(|payload| PayloadView::of(payload).describe());
            return format!("{at}  progress of attempt {}: {}", progress.attempt, shown(&payload.unwrap_or_default()));
        }
        WatchEvent::Task(task) => task,
    };
    let state = paint_state(&context.ui, task.state());
    let last = task.attempts.last();
    let ended = last.and_then(|attempt| attempt.ended_at);
    let (since, text) = match task.state() {
        v1::TaskState::Scheduled if task.attempt_count == 0 => {
            (task.submitted_at, format!("due {}", instant(task.due_at).unwrap_or_default()))
        }
        v1::TaskState::Scheduled => (
            ended,
            format!(
                "attempt {} ended: {}; next {}",
                task.attempt_count,
                error(task),
                instant(task.due_at).unwrap_or_default()
            ),
        ),
        v1::TaskState::Running => (
            last.and_then(|attempt| attempt.started_at),
            format!("attempt {} on {}", task.attempt_count, last.map(|a| shown(&a.worker_name)).unwrap_or_default()),
        ),
        v1::TaskState::Succeeded | v1::TaskState::Unspecified => (task.finished_at, String::new()),
        v1::TaskState::Cancelled => (task.finished_at, shown(&task.cancel_reason)),
        v1::TaskState::Failed | v1::TaskState::DeadLettered => (task.finished_at, error(task)),
    };
    let since = instant(since).unwrap_or_default();
    format!("{since}  {state}  {text}").trim_end().to_owned()
}

fn error(task: &v1::Task) -> String {
    match &task.error {
        Some(error) => shown(&format!("{}: {}", error.kind, error.message)),
        None => "no error was told".to_owned(),
    }
}

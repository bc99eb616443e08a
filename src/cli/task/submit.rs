//! `escapement task submit`.

use std::time::Duration;

use clap::Args;
use escapement_engine::{TaskId, Timestamp};
use serde::Serialize;

use super::{show, watch};
use crate::{
    cli::{
        Context,
        error::CliError,
        output::fields,
        values,
        work::{WorkArgs, apply_work},
    },
    client::{ClientError, NewTask, Submitted},
    error::Reason,
};

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  escapement task submit --queue exec --in 2s -- echo hello
  escapement task submit --queue http --at 2026-12-24T18:00:00+01:00 --url http://localhost:8080/ --payload hello
  escapement task submit --queue mail --payload-file letter.json --content-type application/json")]
pub(in crate::cli) struct SubmitArgs {
    #[command(flatten)]
    work: WorkArgs,
    /// The task's id, a UUID whose low 62 bits are random: repeating a submission under it is safe [default: a new one]
    #[arg(long, value_name = "UUID", value_parser = values::task_id)]
    id: Option<TaskId>,
    /// Due so long after the server takes it, such as 2s or 1h30m [default: at once]
    #[arg(long = "in", value_name = "DURATION", value_parser = values::duration, allow_hyphen_values = true)]
    delay: Option<Duration>,
    /// Due at this instant (RFC 3339)
    #[arg(long, value_name = "INSTANT", value_parser = values::instant, conflicts_with = "delay")]
    at: Option<Timestamp>,
    /// No attempt starts after this instant (RFC 3339)
    #[arg(long, value_name = "INSTANT", value_parser = values::instant)]
    deadline: Option<Timestamp>,
    /// A second submission under this key makes no second task; 1 to 256 bytes
    #[arg(long, value_name = "KEY", value_parser = values::idempotency_key)]
    idempotency_key: Option<String>,
    /// How long the key is remembered, 1s to 30d [default: 24h]
    #[arg(long, value_name = "DURATION", value_parser = values::duration, allow_hyphen_values = true, requires = "idempotency_key")]
    idempotency_window: Option<Duration>,
    /// Wait until the task has ended, and show it; exit code 8 unless it succeeded
    #[arg(long)]
    wait: bool,
    /// Print the task's id and nothing else; so it is, too, when stdout is no terminal
    #[arg(long, conflicts_with = "wait")]
    quiet: bool,
}

#[derive(Serialize)]
struct SubmittedView {
    id: String,
    due_at: String,
    created: bool,
}

pub(super) async fn run(args: SubmitArgs, context: &Context) -> Result<u8, CliError> {
    let client = context.client()?;
    // Made here, so that it can be told when the answer is lost.
    let id = args.id.unwrap_or_else(|| client.new_task_id());
    let mut task = apply_work!(NewTask::new(&args.work.queue), &args.work).id(id);
    if let Some(span) = args.delay {
        task = task.delay(span);
    }
    if let Some(at) = args.at {
        task = task.due_at(at);
    }
    if let Some(at) = args.deadline {
        task = task.deadline(at);
    }
    if let Some(key) = args.idempotency_key {
        task = task.idempotency_key(key);
    }
    if let Some(span) = args.idempotency_window {
        task = task.idempotency_window(span);
    }
    let submitted = client.submit(task).await.map_err(|error| maybe_submitted(error, id, context))?;
    if args.wait {
        context.ui.note(format_args!("submitted {}, due {}", submitted.id, submitted.due_at));
        let task = client.watch(submitted.id).ended().await.map_err(|error| {
            let mut error = CliError::from(error);
            let watch = context.command(format_args!("task watch {}", submitted.id));
            error.advice = format!("{}\nThe task was submitted; go on waiting: {watch}", error.advice);
            error.task_id = Some(Box::new(submitted.id));
            error
        })?;
        show(&task, context);
        return Ok(watch::exit_code(task.state()));
    }
    print(submitted, &args.work.queue, args.quiet, context);
    Ok(0)
}

/// Says, of a submission that may have been made, under which id to look for it.
fn maybe_submitted(error: ClientError, id: TaskId, context: &Context) -> CliError {
    let unknown = match error.reason() {
        Reason::OutcomeUnknown
        | Reason::DeadlineExceeded
        | Reason::CallCancelled
        | Reason::ServerUnreachable
        | Reason::StoreUnavailable
        | Reason::ShuttingDown
        | Reason::NotOwner => true,
        // A server that says so has changed nothing.
        _ => false,
    };
    let unknown = unknown && error.may_have_arrived();
    let mut error = CliError::from(error);
    if unknown {
        error.task_id = Some(Box::new(id));
        error.advice = format!(
            "{}\nThe task may have been submitted. Look it up: {}\nOr repeat the command with \
             --id {id}: it is then not submitted twice.",
            error.advice,
            context.command(format_args!("task get {id}"))
        );
    }
    error
}

fn print(submitted: Submitted, queue: &str, quiet: bool, context: &Context) {
    let Submitted { id, due_at, created } = submitted;
    if context.ui.is_json() {
        return context.ui.print_json(&SubmittedView { id: id.to_string(), due_at: due_at.to_string(), created });
    }
    if quiet || !context.ui.is_terminal() {
        // For `ID=$(escapement task submit ...)`.
        context.ui.print(id);
        if !quiet && !created {
            context.ui.note("nothing was changed: the same task was submitted before");
        }
    } else {
        context.ui.print(describe(submitted, queue));
    }
    if !quiet {
        let watch = context.command(format_args!("task watch {id}"));
        context.ui.note(format_args!("see what becomes of it: {watch}"));
    }
}

/// For people.
fn describe(submitted: Submitted, queue: &str) -> String {
    let Submitted { id, due_at, created } = submitted;
    let note = if created { "yes" } else { "no: the same task was submitted before" };
    fields([
        ("id", Some(id.to_string())),
        ("queue", Some(queue.to_owned())),
        ("due", Some(due_at.to_string())),
        ("created", Some(note.to_owned())),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_see_id_queue_and_instant() {
        let id = "01939f00-0000-7000-8000-000000000001".parse().unwrap();
        let submitted = Submitted { id, due_at: Timestamp::from_unix_ms(1_794_000_000_123), created: false };
        insta::assert_snapshot!(describe(submitted, "exec"), @r"
        id       01939f00-0000-7000-8000-000000000001
        queue    exec
        due      2026-11-06T21:20:00.123Z
        created  no: the same task was submitted before
        ");
    }
}

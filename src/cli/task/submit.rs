//! `escapement task submit`.

use std::time::Duration;

use clap::Args;
use escapement_engine::Timestamp;
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
    client::{NewTask, Submitted},
};

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  escapement task submit --queue exec --in 2s -- echo hello
  escapement task submit --queue http --at 2026-12-24T18:00:00+01:00 --url http://localhost:8080/ --payload hello
  escapement task submit --queue mail --payload-file letter.json --content-type application/json")]
pub(in crate::cli) struct SubmitArgs {
    #[command(flatten)]
    work: WorkArgs,
    /// Due so long after the server takes it, such as 2s or 1h30m [default: at once]
    #[arg(long = "in", value_name = "DURATION", value_parser = values::duration, allow_hyphen_values = true)]
    delay: Option<Duration>,
    /// Due at this instant (RFC 3339)
    #[arg(long, value_name = "INSTANT", value_parser = values::instant, conflicts_with = "delay")]
    at: Option<Timestamp>,
    /// No attempt starts after this instant (RFC 3339)
    #[arg(long, value_name = "INSTANT", value_parser = values::instant)]
    deadline: Option<Timestamp>,
    /// A second submission under this key makes no second task
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
    /// How long the key is remembered, 1s to 30d [default: 24h]
    #[arg(long, value_name = "DURATION", value_parser = values::duration, allow_hyphen_values = true, requires = "idempotency_key")]
    idempotency_window: Option<Duration>,
    /// Wait until the task has ended, and show it; exit code 8 unless it succeeded
    #[arg(long)]
    wait: bool,
}

#[derive(Serialize)]
struct SubmittedView {
    id: String,
    due_at: String,
    created: bool,
}

pub(super) async fn run(args: SubmitArgs, context: &Context) -> Result<u8, CliError> {
    let mut task = apply_work!(NewTask::new(&args.work.queue), &args.work);
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
    let client = context.client()?;
    let submitted = client.submit(task).await?;
    if args.wait {
        context.ui.note(format_args!("submitted {}, due {}", submitted.id, submitted.due_at));
        let task = client.watch(submitted.id).ended().await?;
        show(&task, context);
        return Ok(watch::exit_code(task.state()));
    }
    print(submitted, &args.work.queue, context);
    Ok(0)
}

fn print(submitted: Submitted, queue: &str, context: &Context) {
    let Submitted { id, due_at, created } = submitted;
    if context.ui.is_json() {
        return context.ui.print_json(&SubmittedView { id: id.to_string(), due_at: due_at.to_string(), created });
    }
    let note = if created { "yes" } else { "no: the same task was submitted before" };
    context.ui.print(fields([
        ("id", Some(id.to_string())),
        ("queue", Some(queue.to_owned())),
        ("due", Some(due_at.to_string())),
        ("created", Some(note.to_owned())),
    ]));
    context.ui.note(format_args!("see what becomes of it: escapement task watch {id}"));
}

//! `escapement task`.

mod list;
mod submit;
mod watch;

use clap::{Args, Subcommand};
use escapement_engine::TaskId;

use super::{
    Context,
    error::CliError,
    status,
    view::task::{TaskView, describe},
};
use crate::client::proto as v1;

#[derive(Debug, Subcommand)]
pub(super) enum TaskCommand {
    /// Submit a task
    Submit(submit::SubmitArgs),
    /// Show a task, its result and its history
    Get(IdArgs),
    /// List tasks, in the order in which they were submitted
    List(list::ListArgs),
    /// Cancel a task: no further attempt starts
    Cancel(CancelArgs),
    /// Show each change of a task until it has ended
    Watch(IdArgs),
}

#[derive(Debug, Args)]
pub(super) struct IdArgs {
    /// The task
    #[arg(value_name = "TASK_ID")]
    id: TaskId,
}

#[derive(Debug, Args)]
pub(super) struct CancelArgs {
    /// The task
    #[arg(value_name = "TASK_ID")]
    id: TaskId,
    /// Why; kept with the task, at most 1 KiB
    #[arg(long, value_name = "TEXT", default_value = "")]
    reason: String,
}

pub(super) async fn run(command: TaskCommand, context: &Context) -> Result<u8, CliError> {
    match command {
        TaskCommand::Submit(args) => submit::run(args, context).await,
        TaskCommand::List(args) => list::run(&args, context).await,
        TaskCommand::Watch(IdArgs { id }) => watch::run(id, context).await,
        TaskCommand::Get(IdArgs { id }) => {
            let client = context.client()?;
            let task = client.get(id).await?;
            show(&task, context);
            if task.state() == v1::TaskState::Scheduled
                && !context.ui.is_json()
                && let Some(hint) = status::stuck(&client, &task.namespace, &task.queue).await
            {
                context.ui.note(hint);
            }
            Ok(0)
        }
        TaskCommand::Cancel(CancelArgs { id, reason }) => {
            show(&context.client()?.cancel(id, &reason).await?, context);
            Ok(0)
        }
    }
}

fn show(task: &v1::Task, context: &Context) {
    if context.ui.is_json() {
        context.ui.print_json(&TaskView::of(task));
    } else {
        context.ui.print(describe(task, &context.ui));
    }
}

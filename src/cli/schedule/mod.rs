//! `escapement schedule`.

mod create;
mod preview;

use clap::{Args, Subcommand};
use serde_json::json;

use super::{
    Context,
    error::CliError,
    output::table,
    view::schedule::{ScheduleView, describe},
};
use crate::client::proto as v1;

#[derive(Debug, Subcommand)]
pub(super) enum ScheduleCommand {
    /// Create a schedule; repeating it changes nothing
    Create(Box<create::CreateArgs>),
    /// List schedules
    List,
    /// Show a schedule
    Get(IdArgs),
    /// Pause a schedule: no further occurrence becomes a task
    Pause(IdArgs),
    /// Resume a paused schedule; what passed meanwhile is not made up for
    Resume(IdArgs),
    /// Delete a schedule; tasks already made go on
    Delete(IdArgs),
    /// Make one task now, beside the rule
    Trigger(IdArgs),
    /// Show the next instants of a schedule, or of a rule that is not stored
    Preview(preview::PreviewArgs),
}

#[derive(Debug, Args)]
pub(super) struct IdArgs {
    /// The schedule
    #[arg(value_name = "SCHEDULE_ID")]
    id: String,
}

pub(super) async fn run(command: ScheduleCommand, context: &Context) -> Result<u8, CliError> {
    let client = context.client()?;
    match command {
        ScheduleCommand::Create(args) => return create::run(&args, &client, context).await,
        ScheduleCommand::Preview(args) => return preview::run(args, &client, context).await,
        ScheduleCommand::List => list(&client.list_schedules().await?, context),
        ScheduleCommand::Get(IdArgs { id }) => show(&client.get_schedule(&id).await?, context),
        ScheduleCommand::Pause(IdArgs { id }) => show(&client.pause_schedule(&id).await?, context),
        ScheduleCommand::Resume(IdArgs { id }) => show(&client.resume_schedule(&id).await?, context),
        ScheduleCommand::Delete(IdArgs { id }) => {
            client.delete_schedule(&id).await?;
            if context.ui.is_json() {
                context.ui.print_json(&json!({"id": id, "deleted": true}));
            } else {
                context.ui.print(format_args!("deleted {id}"));
            }
        }
        ScheduleCommand::Trigger(IdArgs { id }) => {
            let task_id = client.trigger_schedule(&id).await?.to_string();
            if context.ui.is_json() {
                context.ui.print_json(&json!({"task_id": task_id}));
            } else {
                context.ui.print(&task_id);
                let watch = context.command(format_args!("task watch {task_id}"));
                context.ui.note(format_args!("see what becomes of it: {watch}"));
            }
        }
    }
    Ok(0)
}

fn show(schedule: &v1::Schedule, context: &Context) {
    if context.ui.is_json() {
        context.ui.print_json(&ScheduleView::of(schedule));
    } else {
        context.ui.print(describe(schedule, &context.ui));
    }
}

fn list(schedules: &[v1::Schedule], context: &Context) {
    let views = schedules.iter().map(ScheduleView::of);
    if context.ui.is_json() {
        context.ui.print_json(&views.collect::<Vec<_>>());
    } else if schedules.is_empty() {
        context.ui.note("no schedules");
    } else {
        context.ui.print(table(Some(ScheduleView::COLUMNS), views.map(|view| view.row())));
    }
}

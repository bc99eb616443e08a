//! `escapement schedule create`.

use std::time::Duration;

use clap::Args;
use escapement_engine::Timestamp;

use super::show;
use crate::{
    cli::{
        Context,
        error::CliError,
        values,
        work::{WorkArgs, apply_work},
    },
    client::{Client, NewSchedule},
};

#[derive(Debug, Args)]
pub(super) struct RuleArgs {
    /// Cron expression of 5 or 6 fields, or @daily and the like
    #[arg(long, value_name = "EXPRESSION")]
    pub(super) cron: Option<String>,
    /// Interval, 1s to 366d
    #[arg(long, value_name = "DURATION", value_parser = values::duration, allow_hyphen_values = true, conflicts_with = "cron")]
    pub(super) every: Option<Duration>,
    /// The instant that the interval is counted from (RFC 3339) [default: now]
    #[arg(long, value_name = "INSTANT", value_parser = values::instant, requires = "every")]
    anchor: Option<Timestamp>,
    /// Time zone in which the cron expression is read, such as Europe/Berlin [default: UTC]
    #[arg(long, value_name = "ZONE")]
    pub(super) zone: Option<String>,
}

impl RuleArgs {
    pub(super) fn schedule(&self, id: &str, queue: &str) -> Result<NewSchedule, CliError> {
        let schedule = match (&self.cron, self.every) {
            (Some(expression), _) => NewSchedule::cron(id, expression, queue),
            (None, Some(every)) => NewSchedule::interval(id, every, self.anchor, queue),
            (None, None) => {
                return Err(CliError::usage(
                    "a schedule needs a rule",
                    "Add --cron, such as --cron '30 2 * * *', or --every, such as --every 15m.",
                ));
            }
        };
        Ok(match &self.zone {
            Some(zone) => schedule.time_zone(zone),
            None => schedule,
        })
    }
}

#[derive(Debug, Args)]
#[command(after_help = "Example:
  escapement schedule create backup --cron '30 2 * * *' --zone Europe/Berlin --queue exec --timeout 2h -- /usr/local/bin/backup")]
pub(in crate::cli) struct CreateArgs {
    /// Its id, which you choose: 1 to 128 characters of [A-Za-z0-9._-]
    #[arg(value_name = "SCHEDULE_ID")]
    id: String,
    #[command(flatten)]
    rule: RuleArgs,
    #[command(flatten)]
    work: WorkArgs,
    /// No occurrence before this instant (RFC 3339) [default: now]
    #[arg(long, value_name = "INSTANT", value_parser = values::instant)]
    start_at: Option<Timestamp>,
    /// No occurrence at this instant or later (RFC 3339)
    #[arg(long, value_name = "INSTANT", value_parser = values::instant)]
    end_at: Option<Timestamp>,
    /// No attempt of a task starts later than this after its instant
    #[arg(long, value_name = "DURATION", value_parser = values::duration, allow_hyphen_values = true)]
    deadline_after: Option<Duration>,
}

pub(super) async fn run(args: &CreateArgs, client: &Client, context: &Context) -> Result<u8, CliError> {
    let mut schedule = apply_work!(args.rule.schedule(&args.id, &args.work.queue)?, &args.work);
    if let Some(at) = args.start_at {
        schedule = schedule.start_at(at);
    }
    if let Some(at) = args.end_at {
        schedule = schedule.end_at(at);
    }
    if let Some(span) = args.deadline_after {
        schedule = schedule.deadline_after(span);
    }
    let created = client.create_schedule(schedule).await?;
    show(&created.schedule, context);
    if args.work.timeout.is_none() && created.created {
        context
            .ui
            .note("each attempt is stopped after 1m, the default: a longer job needs --timeout, such as --timeout 2h");
    }
    if !created.created {
        context.ui.note("nothing was changed: this schedule was there before");
    }
    Ok(0)
}

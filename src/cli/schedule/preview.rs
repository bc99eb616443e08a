//! `escapement schedule preview`.

use clap::Args;
use escapement_engine::Timestamp;
use serde_json::json;

use super::create::RuleArgs;
use crate::{
    cli::{Context, error::CliError, output::table, values},
    client::{Client, PreviewOf},
};

#[derive(Debug, Args)]
pub(in crate::cli) struct PreviewArgs {
    /// A stored schedule; or else give a rule
    #[arg(value_name = "SCHEDULE_ID", conflicts_with_all = ["cron", "every", "zone"])]
    id: Option<String>,
    #[command(flatten)]
    rule: RuleArgs,
    /// Instants to show, 1 to 1000
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    count: u32,
    /// Show those after this instant (RFC 3339) [default: now]
    #[arg(long, value_name = "INSTANT", value_parser = values::instant)]
    after: Option<Timestamp>,
}

pub(super) async fn run(args: PreviewArgs, client: &Client, context: &Context) -> Result<u8, CliError> {
    let of = match args.id {
        Some(id) => PreviewOf::Stored(id),
        // Id and queue of a rule that is not stored are ignored.
        None => PreviewOf::Rule(Box::new(args.rule.schedule("preview", "preview")?)),
    };
    let (instants, zone) = client.preview_schedule(of, args.after, args.count).await?;
    if context.ui.is_json() {
        let instants: Vec<_> = instants.iter().map(Timestamp::to_string).collect();
        context.ui.print_json(&json!({"time_zone": zone, "instants": instants}));
    } else if instants.is_empty() {
        context.ui.note("the rule has no further instant");
    } else {
        let rows = instants.iter().map(|at| [at.to_string(), values::show_local(*at, &zone).unwrap_or_default()]);
        context.ui.print(table(Some(["INSTANT", &format!("IN {zone}")]), rows));
    }
    Ok(0)
}

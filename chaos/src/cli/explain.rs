//! `explain`: what of a run is about one thing.

use escapement_chaos::run::run_plan;

use super::{child, exit};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    which: child::Which,
    /// Id of the task. Without any of these: what the first violation is about.
    #[arg(long)]
    task: Option<String>,
    /// Id of the schedule.
    #[arg(long)]
    schedule: Option<String>,
    /// Number of the shard.
    #[arg(long)]
    shard: Option<u32>,
}

pub(super) fn main(args: &Args) -> super::Outcome {
    let outcome = run_plan(&args.which.plan()?);
    let shard = args.shard.map(|shard| format!("\"shard\":{shard},"));
    let named = args.task.clone().or_else(|| args.schedule.clone()).or(shard);
    let first = outcome.report.violations.first().map(|violation| violation.subject.clone());
    let Some(subject) = named.or(first) else {
        return Err("the run is green: name a task, a schedule or a shard".to_owned());
    };
    let mut ops: Vec<String> = Vec::new();
    for line in outcome.trace.lines() {
        // An answer names its call only.
        let call = line.split("\"op\":").nth(1).and_then(|rest| rest.split([',', '}']).next());
        let is_mine = line.contains(&subject);
        if is_mine && let Some(call) = call {
            ops.push(call.to_owned());
        }
        let is_answer = call.is_some_and(|call| ops.iter().any(|op| op == call));
        let is_world = ["\"event\":\"node\"", "\"event\":\"fault\"", "\"event\":\"healed\""];
        if is_mine || is_answer || is_world.iter().any(|kind| line.contains(kind)) {
            println!("{}", shown(line, &subject));
        }
    }
    let about = outcome.report.violations.iter().filter(|violation| violation.subject.contains(&subject));
    about.for_each(|violation| println!("{violation}"));
    Ok(if outcome.is_green() { exit::GREEN } else { child::code_of(&outcome) })
}

/// Of a commit only the changes that are about the subject.
fn shown(line: &str, subject: &str) -> String {
    let Some((before, changes)) = line.split_once("\"changes\":[") else { return line.to_owned() };
    let mine: Vec<_> = changes.split("},{").filter(|change| change.contains(subject)).collect();
    format!("{before}\"changes\":[{}", mine.join(" | "))
}

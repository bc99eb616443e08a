//! `replay` and `plan`.

use std::{fs::File, io::BufWriter, path::PathBuf};

use escapement_chaos::{
    run::{self, run_plan},
    scenario::SCENARIOS,
};

use super::child;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    which: child::Which,
    /// Writes the history there, for `check` and for other programs.
    #[arg(long)]
    history: Option<PathBuf>,
    /// Prints the verdict only.
    #[arg(long)]
    quiet: bool,
}

pub(super) fn main(args: &Args) -> super::Outcome {
    let plan = args.which.plan()?;
    eprintln!("{plan}");
    let logs = args.which.logs.then(|| run::capture_logs(plan.nodes()));
    let outcome = run_plan(&plan);
    if !args.quiet {
        match logs {
            Some(logs) => print!("{}", logs.merged(&outcome.trace)),
            None => print!("{}", outcome.trace),
        }
    }
    if let Some(path) = &args.history {
        let failed = |error: std::io::Error| format!("cannot write {}: {error}", path.display());
        outcome.history.write(BufWriter::new(File::create(path).map_err(failed)?)).map_err(failed)?;
    }
    outcome.report.violations.iter().for_each(|violation| println!("{violation}"));
    if let Some(panic) = &outcome.panic {
        println!("panic: {panic}");
    }
    let state = if outcome.is_green() { "green" } else { "FAILED" };
    let checked = outcome.report.checked.join(" ");
    println!("{state} after {:.1} simulated seconds; checked: {checked}", outcome.simulated.as_secs_f64());
    Ok(child::code_of(&outcome))
}

#[derive(Debug, clap::Args)]
pub(super) struct StoreArgs {
    #[command(flatten)]
    which: child::Which,
    /// When every process is stopped, true milliseconds since the run began.
    #[arg(long, default_value_t = 12_000)]
    stop_ms: u64,
    /// Where it goes.
    #[arg(long)]
    to: PathBuf,
}

pub(super) fn store(args: &StoreArgs) -> super::Outcome {
    let plan = args.which.plan()?;
    let text = run::stop_plan(&plan, args.stop_ms).to_text();
    let failed = |error: std::io::Error| format!("cannot write {}: {error}", args.to.display());
    std::fs::write(&args.to, text).map_err(failed)?;
    Ok(super::exit::GREEN)
}

#[derive(Debug, clap::Args)]
pub(super) struct PlanArgs {
    #[command(flatten)]
    which: child::Which,
    /// Lists the scenarios instead.
    #[arg(long)]
    list: bool,
}

pub(super) fn plan(args: &PlanArgs) -> super::Outcome {
    if args.list {
        SCENARIOS.iter().for_each(|scenario| println!("{:<30} {}", scenario.name, scenario.about));
    } else {
        println!("{}", args.which.plan()?);
    }
    Ok(super::exit::GREEN)
}

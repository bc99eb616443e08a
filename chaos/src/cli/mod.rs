//! Commands. Results go to stdout, the rest to stderr.

#![expect(clippy::print_stdout, reason = "a program for the command line")]

#[cfg(madsim)]
mod child;
#[cfg(madsim)]
mod coverage;
#[cfg(madsim)]
mod determinism;
#[cfg(madsim)]
mod explain;
#[cfg(all(madsim, feature = "planted-bugs"))]
mod mutants;
#[cfg(madsim)]
mod replay;
#[cfg(madsim)]
mod run;
#[cfg(madsim)]
mod shrink;

use std::{fs::File, io::BufReader, path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};
use escapement_chaos::{checkers, history::History};

/// Exit codes, by kind of failure. docs/TESTING.md has the table.
pub(crate) mod exit {
    /// Everything held.
    pub(crate) const GREEN: u8 = 0;
    /// A checker found something that must never be.
    pub(crate) const VIOLATION: u8 = 1;
    /// The command, a file or a plan cannot be understood.
    pub(crate) const USAGE: u8 = 2;
    /// A run panicked.
    #[cfg(madsim)]
    pub(crate) const PANIC: u8 = 3;
    /// A run's process died or did not end.
    #[cfg(madsim)]
    pub(crate) const DIED: u8 = 4;
    /// One seed gave two traces.
    #[cfg(madsim)]
    pub(crate) const NOT_DETERMINISTIC: u8 = 5;
    /// A fault or a rarity never happened.
    #[cfg(madsim)]
    pub(crate) const NOT_COVERED: u8 = 6;
    /// A planted bug was not found.
    #[cfg(all(madsim, feature = "planted-bugs"))]
    pub(crate) const NOT_FOUND: u8 = 7;
}

/// Whole runs of Escapement, simulated from a seed, judged by checkers.
#[derive(Debug, Parser)]
#[command(name = "escapement-chaos", version)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Judges a history that was recorded: a file of JSON lines.
    Check {
        /// The file.
        history: PathBuf,
    },
    /// Runs many seeds of a scenario, each in a process of its own, until one fails.
    #[cfg(madsim)]
    Run(run::Args),
    /// Runs one seed again and shows everything that happened.
    #[cfg(madsim)]
    Replay(replay::Args),
    /// Makes the plan of a failing seed as small as it can be and still fail alike.
    #[cfg(madsim)]
    Shrink(shrink::Args),
    /// Tells the story of one task, schedule or shard in a run.
    #[cfg(madsim)]
    Explain(explain::Args),
    /// Runs each seed twice, in two processes, and compares the traces byte for byte.
    #[cfg(madsim)]
    Determinism(determinism::Args),
    /// Runs many seeds of the swarm, and tells which faults and rare things never happened.
    #[cfg(madsim)]
    Coverage(coverage::Args),
    /// Plants each known bug in turn, and tells how many seeds it takes to find it.
    #[cfg(all(madsim, feature = "planted-bugs"))]
    Mutants(mutants::Args),
    /// Plants each known bug in turn: in a build with the feature `planted-bugs`.
    #[cfg(all(madsim, not(feature = "planted-bugs")))]
    Mutants(NotBuilt),
    /// Prints the plan of a seed, or the names of all scenarios.
    #[cfg(madsim)]
    Plan(replay::PlanArgs),
    /// Stops a run in its midst and keeps its store and history, for runs of later versions to go on from.
    #[cfg(madsim)]
    Store(replay::StoreArgs),
    /// Runs one plan and prints a verdict for the process that started this one.
    #[cfg(madsim)]
    #[command(hide = true)]
    One(child::Which),
}

/// Whatever is asked of a command that this build does not have.
#[cfg(all(madsim, not(feature = "planted-bugs")))]
#[derive(Debug, clap::Args)]
struct NotBuilt {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, hide = true)]
    _anything: Vec<String>,
}

pub(crate) fn main() -> ExitCode {
    #[cfg(all(madsim, feature = "planted-bugs"))]
    if let Some(code) = mutants::child() {
        return code;
    }
    let Args { command } = Args::parse();
    let code = match command {
        Command::Check { history } => check(&history),
        #[cfg(madsim)]
        Command::Run(args) => run::main(&args),
        #[cfg(madsim)]
        Command::Replay(args) => replay::main(&args),
        #[cfg(madsim)]
        Command::Shrink(args) => shrink::main(&args),
        #[cfg(madsim)]
        Command::Explain(args) => explain::main(&args),
        #[cfg(madsim)]
        Command::Determinism(args) => determinism::main(&args),
        #[cfg(madsim)]
        Command::Coverage(args) => coverage::main(&args),
        #[cfg(all(madsim, feature = "planted-bugs"))]
        Command::Mutants(args) => mutants::main(&args),
        #[cfg(all(madsim, not(feature = "planted-bugs")))]
        Command::Mutants(_) => Err("this build plants no bugs: run `cargo chaos-mutants`, which builds with \
                                    `--features planted-bugs`"
            .to_owned()),
        #[cfg(madsim)]
        Command::Plan(args) => replay::plan(&args),
        #[cfg(madsim)]
        Command::Store(args) => replay::store(&args),
        #[cfg(madsim)]
        Command::One(args) => child::main(&args),
    };
    ExitCode::from(code.unwrap_or_else(|error| {
        eprintln!("error: {error}");
        exit::USAGE
    }))
}

/// A command fails with a text for people.
type Outcome = Result<u8, String>;

fn check(path: &PathBuf) -> Outcome {
    let file = File::open(path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    let history = History::read(BufReader::new(file)).map_err(|error| format!("{}: {error}", path.display()))?;
    let report = checkers::check(&history);
    report.violations.iter().for_each(|violation| println!("{violation}"));
    println!("checked: {}", report.checked.join(" "));
    if !report.not_checked.is_empty() {
        println!("not checked, as the history does not show it: {}", report.not_checked.join(" "));
    }
    Ok(if report.violations.is_empty() { exit::GREEN } else { exit::VIOLATION })
}

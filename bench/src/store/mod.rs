//! The embedded store: commits a second beside raw fjall, and reads at a version. Or, where a
//! cluster file is given, FoundationDB.
//!
//! Each contender has a new store in a new folder for each round, and the rounds of all are
//! interleaved, so that a machine that is busy for a while is busy for all of them. Shown are
//! medians over the rounds, with the lowest and highest.

mod commits;
mod foundationdb;
mod reads;
mod report;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use clap::Args;
use escapement::{
    edge::SystemClock,
    rng::Rng,
    store::{Database, EmbeddedEngine, EmbeddedOptions},
};
use serde::Serialize;

use self::report::{CommitCell, ReadCell, Report};
use crate::machine::Machine;

/// Settings.
#[derive(Args, Clone, Debug, Serialize)]
pub(crate) struct Options {
    /// Transactions in flight.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 16, 256])]
    concurrency: Vec<usize>,
    /// Keys set in one transaction.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 100])]
    keys: Vec<usize>,
    /// Bytes of each value.
    #[arg(long, default_value_t = 100)]
    value_bytes: usize,
    /// Rounds of each measurement.
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// Seconds measured in a round.
    #[arg(long, default_value_t = 1.5)]
    seconds: f64,
    /// Seconds before that in which nothing is measured.
    #[arg(long, default_value_t = 0.3)]
    warm_up: f64,
    /// Seconds of the long run, which goes on after commits have begun to leave the window; 0
    /// leaves it out.
    #[arg(long, default_value_t = 20.0)]
    sustained: f64,
    /// Keys in the store that is read.
    #[arg(long, default_value_t = 100_000)]
    read_keys: usize,
    /// Measure FoundationDB instead, on the cluster of this file (build with `--features
    /// foundationdb`). Writes under `escapement-bench/`, and clears it afterwards.
    #[arg(long)]
    #[serde(skip)]
    cluster_file: Option<PathBuf>,
    /// Where the stores are kept; the system's folder for temporary files if not given.
    #[arg(long)]
    #[serde(skip)]
    data_dir: Option<PathBuf>,
    /// Result as JSON.
    #[arg(long)]
    #[serde(skip)]
    json: bool,
}

impl Options {
    fn warm_up(&self) -> Duration {
        Duration::from_secs_f64(self.warm_up)
    }

    fn round(&self) -> Duration {
        Duration::from_secs_f64(self.seconds)
    }

    fn folder(&self) -> Result<tempfile::TempDir, String> {
        let made = self.data_dir.as_ref().map_or_else(tempfile::tempdir, tempfile::tempdir_in);
        made.map_err(|error| format!("cannot make a folder for a store: {error}"))
    }
}

pub(crate) async fn run(options: Options) -> Result<(), String> {
    if options.rounds == 0
        || options.value_bytes > 100_000
        || options.keys.iter().any(|keys| !(1..=1000).contains(keys))
    {
        return Err("--rounds is at least 1, --value-bytes at most 100000, --keys 1 to 1000".to_owned());
    }
    if let Some(cluster_file) = options.cluster_file.clone() {
        return foundationdb::run(&cluster_file, options).await;
    }
    let mut commits = Vec::new();
    for keys in &options.keys {
        for concurrency in &options.concurrency {
            commits.push(commit_cell(&options, *keys, *concurrency).await?);
        }
    }
    let sustained = if options.sustained > 0.0 { Some(sustained(&options).await?) } else { None };
    let reads = reads::measure(&options).await?;
    report::print(&Report { machine: Machine::this(), settings: options, commits, sustained, reads })
}

async fn commit_cell(options: &Options, keys: usize, concurrency: usize) -> Result<CommitCell, String> {
    let load = commits::Load { keys, concurrency, value_bytes: options.value_bytes };
    let mut cell = CommitCell::new(keys, concurrency);
    for round in 0..options.rounds {
        let time = (options.warm_up(), options.round());
        // Each goes first in turn.
        for turn in 0..3 {
            let folder = options.folder()?;
            match (round + turn) % 3 {
                0 => cell.embedded.add(commits::embedded(folder.path(), load, time).await?),
                1 => cell.fjall_each.add(commits::fjall(folder.path(), load, 1, time)?),
                _ => cell.fjall_batched.add(commits::fjall(folder.path(), load, concurrency, time)?),
            }
        }
    }
    Ok(cell)
}

/// Long enough for commits to leave the window for the base while others are measured.
async fn sustained(options: &Options) -> Result<CommitCell, String> {
    let load = commits::Load { keys: 1, concurrency: 256, value_bytes: options.value_bytes };
    let mut cell = CommitCell::new(load.keys, load.concurrency);
    let time = (Duration::from_secs(8), Duration::from_secs_f64(options.sustained));
    let (one, other) = (options.folder()?, options.folder()?);
    cell.embedded.add(commits::embedded(one.path(), load, time).await?);
    cell.fjall_batched.add(commits::fjall(other.path(), load, load.concurrency, time)?);
    Ok(cell)
}

fn open(path: &Path, options: EmbeddedOptions) -> Result<(EmbeddedEngine, Database), String> {
    let clock = Arc::new(SystemClock::new());
    let engine = EmbeddedEngine::open(path, options, clock.clone()).map_err(|error| error.to_string())?;
    let database = Database::over(Arc::new(engine.clone()), clock, Rng::from_entropy());
    Ok((engine, database))
}

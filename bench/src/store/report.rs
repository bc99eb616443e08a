//! What is shown.

use serde::Serialize;

use super::Options;
use crate::{machine::Machine, rounds::Rounds};

/// "At 256 within 1.5x of raw fjall's batched rate."
const GOAL: f64 = 1.5;

#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub(super) machine: Machine,
    pub(super) settings: Options,
    pub(super) commits: Vec<CommitCell>,
    pub(super) sustained: Option<CommitCell>,
    pub(super) reads: Vec<ReadCell>,
}

/// Transactions a second.
#[derive(Debug, Serialize)]
pub(super) struct CommitCell {
    pub(super) keys: usize,
    pub(super) concurrency: usize,
    pub(super) embedded: Rounds,
    /// A batch and a sync for each transaction, from as many threads.
    pub(super) fjall_each: Rounds,
    /// All transactions that are in flight in one batch with one sync.
    pub(super) fjall_batched: Rounds,
}

impl CommitCell {
    pub(super) fn new(keys: usize, concurrency: usize) -> Self {
        let none = Rounds::default;
        Self { keys, concurrency, embedded: none(), fjall_each: none(), fjall_batched: none() }
    }

    /// How many times the embedded store's rate fjall's batched rate is.
    fn behind_batched(&self) -> f64 {
        self.fjall_batched.median() / self.embedded.median()
    }

    fn print(&self) {
        println!(
            "{:>5} {:>7}  {:>24}  {:>24}  {:>24}  {:>8}  {:>8}",
            self.keys,
            self.concurrency,
            self.embedded.text(1.0, 0),
            self.fjall_each.text(1.0, 0),
            self.fjall_batched.text(1.0, 0),
            ratio(self.embedded.median() / self.fjall_each.median()),
            ratio(self.behind_batched()),
        );
    }
}

fn ratio(ratio: f64) -> String {
    if ratio.is_nan() { "-".to_owned() } else { format!("{ratio:.2}") }
}

/// Keys read a second.
#[derive(Debug, Serialize)]
pub(super) struct ReadCell {
    place: &'static str,
    pub(super) batch: usize,
    pub(super) threads: usize,
    pub(super) rate: Rounds,
}

impl ReadCell {
    pub(super) fn new(place: &'static str, batch: usize, threads: usize) -> Self {
        Self { place, batch, threads, rate: Rounds::default() }
    }
}

pub(super) fn print(report: &Report) -> Result<(), String> {
    if report.settings.json {
        println!("{}", serde_json::to_string_pretty(report).map_err(|error| error.to_string())?);
        return Ok(());
    }
    let settings = &report.settings;
    report.machine.print();
    println!(
        "settings: values of {} bytes, {} rounds of {} s after {} s; medians (lowest-highest)",
        settings.value_bytes, settings.rounds, settings.seconds, settings.warm_up
    );
    println!("\ntransactions a second, each acknowledged after its sync");
    println!(
        "{:>5} {:>7}  {:>24}  {:>24}  {:>24}  {:>8}  {:>8}",
        "keys", "at once", "embedded", "fjall, each synced", "fjall, one batch", "e/each", "batch/e"
    );
    report.commits.iter().for_each(CommitCell::print);
    for cell in report.commits.iter().filter(|cell| cell.concurrency == 256) {
        let verdict = if cell.behind_batched() <= GOAL { "reached" } else { "MISSED" };
        println!("goal: 256 at once, {} keys: fjall's batched rate at most {GOAL} times ours: {verdict}", cell.keys);
    }
    if let Some(cell) = &report.sustained {
        println!("\nthe same for {} s after 8 s, while commits leave the window for the base", settings.sustained);
        cell.print();
    }
    println!("\nkeys read a second at a version, in millions, of {} keys", settings.read_keys);
    println!("{:>8} {:>7} {:>8}  {:>20}", "from", "a call", "threads", "embedded");
    for cell in &report.reads {
        println!("{:>8} {:>7} {:>8}  {:>20}", cell.place, cell.batch, cell.threads, cell.rate.text(1e6, 2));
    }
    Ok(())
}

//! What is shown.

use serde::Serialize;

use super::{Figures, Options, Setting};
use crate::{machine::Machine, rounds::Rounds};

#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub(super) machine: Machine,
    #[serde(skip)]
    pub(super) json: bool,
    pub(super) settings: Options,
    pub(super) cells: Vec<Cell>,
}

/// A combination and its figures over the rounds.
#[derive(Debug, Serialize)]
pub(super) struct Cell {
    #[serde(flatten)]
    setting: Setting,
    tasks_per_second: Rounds,
    cpu_us_per_task: Rounds,
    server_cpu_us_per_task: Rounds,
    store_transactions_per_1000: Rounds,
    store_bytes_per_1000: Rounds,
    peak_rss_mib: Rounds,
}

impl Cell {
    pub(super) fn new(setting: Setting) -> Self {
        Self {
            setting,
            tasks_per_second: Rounds::default(),
            cpu_us_per_task: Rounds::default(),
            server_cpu_us_per_task: Rounds::default(),
            store_transactions_per_1000: Rounds::default(),
            store_bytes_per_1000: Rounds::default(),
            peak_rss_mib: Rounds::default(),
        }
    }

    pub(super) fn add(&mut self, figures: Figures) {
        self.tasks_per_second.add(figures.tasks_per_second);
        self.cpu_us_per_task.add(figures.cpu_us_per_task);
        self.server_cpu_us_per_task.add(figures.server_cpu_us_per_task);
        self.store_transactions_per_1000.add(figures.store_transactions_per_1000);
        self.store_bytes_per_1000.add(figures.store_bytes_per_1000);
        self.peak_rss_mib.add(figures.peak_rss_mib);
    }
}

impl Report {
    pub(super) fn print(&self) -> Result<(), String> {
        if self.json {
            println!("{}", serde_json::to_string_pretty(self).map_err(|error| error.to_string())?);
            return Ok(());
        }
        self.machine.print();
        let Options { mode, seconds, tasks, rounds, window, concurrency, callers, .. } = &self.settings;
        println!(
            "settings: {mode:?}, {rounds} rounds of {seconds} s ({tasks} tasks where drained); {callers} calls in flight,"
        );
        println!("  at most {window} tasks waiting or running, {concurrency} slots a worker; medians (lowest-highest)");
        println!();
        for cell in &self.cells {
            let Setting { batch, payload_bytes, workers } = cell.setting;
            println!("batches of {batch}, payload {payload_bytes} bytes, workers: {workers}");
            let lines = [
                ("tasks a second", &cell.tasks_per_second, 0),
                ("CPU of all processes, us a task", &cell.cpu_us_per_task, 1),
                ("CPU of the server, us a task", &cell.server_cpu_us_per_task, 1),
                ("store transactions for 1000 tasks", &cell.store_transactions_per_1000, 1),
                ("bytes written for 1000 tasks", &cell.store_bytes_per_1000, 0),
                ("peak memory of the server, MiB", &cell.peak_rss_mib, 0),
            ];
            for (name, figure, decimals) in lines {
                println!("  {name:<34} {:>28}", figure.text(1.0, decimals));
            }
        }
        Ok(())
    }
}

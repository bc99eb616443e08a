//! Submit, run, complete: how many tasks a second go through, from end to end, with the server,
//! the worker and the client as processes on one machine and each commit synced to disk.

mod report;
pub(crate) mod roles;

use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use escapement::edge::net;
use escapement_proto::v1::{StatusRequest, StatusResponse, admin_service_client::AdminServiceClient};
use serde::Serialize;
use tonic::transport::Channel;

use self::report::{Cell, Report};
use crate::{
    machine::{Machine, ProcessUse},
    process::{BenchProcess, ServerOptions, ServerProcess},
};

/// Longest wait for anything to get on.
const PATIENCE: Duration = Duration::from_secs(120);
const POLL: Duration = Duration::from_millis(10);

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Mode {
    /// Tasks are submitted while others run, as many as go through.
    EndToEnd,
    /// All tasks were submitted before the worker starts.
    Drain,
}

/// Settings. Where several values are given, each combination is measured.
#[derive(Args, Clone, Debug, Serialize)]
pub(crate) struct Options {
    /// What is measured.
    #[arg(long, value_enum, default_value = "end-to-end")]
    mode: Mode,
    /// Tasks in one submitting call.
    #[arg(long, value_delimiter = ',', default_value = "500")]
    batch: Vec<u64>,
    /// Bytes of each task's payload.
    #[arg(long, value_delimiter = ',', default_value = "0")]
    payload: Vec<usize>,
    /// Worker processes.
    #[arg(long, value_delimiter = ',', default_value = "1")]
    workers: Vec<u32>,
    /// Submitting calls in flight.
    #[arg(long, default_value_t = 8)]
    callers: u64,
    /// Slots of each worker.
    #[arg(long, default_value_t = 4000)]
    concurrency: u32,
    /// Tasks that wait or run at once.
    #[arg(long, default_value_t = 20_000)]
    window: u64,
    /// Seconds that are measured, after two of warm-up; only end to end.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Tasks that are drained.
    #[arg(long, default_value_t = 400_000)]
    tasks: u64,
    /// Measurements of each combination, in turn; the median is shown.
    #[arg(long, default_value_t = 3)]
    rounds: u32,
    /// Where stores are kept; the system's folder for such if not given.
    #[arg(long)]
    #[serde(skip)]
    dir: Option<std::path::PathBuf>,
    /// Result as JSON.
    #[arg(long)]
    #[serde(skip)]
    json: bool,
}

/// One combination.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
struct Setting {
    batch: u64,
    payload_bytes: usize,
    workers: u32,
}

pub(crate) async fn run(options: Options) -> Result<(), String> {
    let mut cells = Vec::new();
    for round in 0..options.rounds {
        let mut index = 0;
        for batch in &options.batch {
            for payload in &options.payload {
                for workers in &options.workers {
                    let setting = Setting { batch: *batch, payload_bytes: *payload, workers: *workers };
                    if round == 0 {
                        cells.push(Cell::new(setting));
                    }
                    cells[index].add(measure(&options, setting).await?);
                    index += 1;
                }
            }
        }
    }
    Report { machine: Machine::this(), json: options.json, settings: options, cells }.print()
}

/// What the processes have done and used so far.
#[derive(Clone, Copy, Debug)]
struct Snapshot {
    at: Instant,
    completed: u64,
    store_transactions: u64,
    server_cpu_us: u64,
    others_cpu_us: u64,
    store_bytes: u64,
}

/// Figures of one measurement.
#[derive(Clone, Copy, Debug)]
struct Figures {
    tasks_per_second: f64,
    cpu_us_per_task: f64,
    server_cpu_us_per_task: f64,
    store_transactions_per_1000: f64,
    store_bytes_per_1000: f64,
    peak_rss_mib: f64,
}

/// The processes of one measurement.
struct Stage {
    server: ServerProcess,
    others: Vec<BenchProcess>,
    admin: AdminServiceClient<Channel>,
}

impl Stage {
    async fn status(&mut self) -> Result<StatusResponse, String> {
        Ok(self.admin.status(StatusRequest {}).await.map_err(|status| status.to_string())?.into_inner())
    }

    async fn snapshot(&mut self) -> Result<Snapshot, String> {
        let status = self.status().await?;
        let server = ProcessUse::of(self.server.pid());
        Ok(Snapshot {
            at: Instant::now(),
            completed: status.completions_accepted,
            store_transactions: status.store_transactions,
            server_cpu_us: server.cpu_us,
            others_cpu_us: self.others.iter().map(|process| ProcessUse::of(process.pid()).cpu_us).sum(),
            store_bytes: server.written_bytes,
        })
    }

    /// Waits until `completed` tasks are done.
    async fn until_completed(&mut self, completed: u64) -> Result<(), String> {
        let begin = Instant::now();
        let mut before = (0, begin);
        loop {
            let now = self.status().await?.completions_accepted;
            if now >= completed {
                return Ok(());
            }
            if now > before.0 {
                before = (now, Instant::now());
            } else if before.1.elapsed() > PATIENCE {
                return Err(format!("only {now} of {completed} tasks were completed"));
            }
            tokio::time::sleep(POLL).await;
        }
    }

    fn start_worker(&mut self, options: &Options) -> Result<(), String> {
        let arguments = [("endpoint", self.server.endpoint()), ("concurrency", options.concurrency.to_string())];
        self.others.push(BenchProcess::start("worker", &arguments)?.0);
        Ok(())
    }

    fn start_client(&mut self, options: &Options, setting: Setting, count: u64, window: u64) -> Result<(), String> {
        let arguments = [
            ("endpoint", self.server.endpoint()),
            ("batch", setting.batch.to_string()),
            ("callers", options.callers.to_string()),
            ("payload", setting.payload_bytes.to_string()),
            ("window", window.to_string()),
            ("count", count.to_string()),
        ];
        self.others.push(BenchProcess::start("client", &arguments)?.0);
        Ok(())
    }
}

async fn measure(options: &Options, setting: Setting) -> Result<Figures, String> {
    let scratch = match &options.dir {
        Some(dir) => tempfile::tempdir_in(dir),
        None => tempfile::tempdir(),
    };
    let scratch = scratch.map_err(|error| error.to_string())?;
    let server = ServerProcess::start(&ServerOptions { data_dir: scratch.path().join("data") })?;
    let channel = net::connect(&server.endpoint()).await.map_err(|error| error.to_string())?;
    let mut stage = Stage { server, others: Vec::new(), admin: AdminServiceClient::new(channel) };
    let (before, after) = match options.mode {
        Mode::EndToEnd => end_to_end(&mut stage, options, setting).await?,
        Mode::Drain => drain(&mut stage, options, setting).await?,
    };
    Ok(figures(before, after, ProcessUse::of(stage.server.pid())))
}

async fn end_to_end(stage: &mut Stage, options: &Options, setting: Setting) -> Result<(Snapshot, Snapshot), String> {
    for _ in 0..setting.workers {
        stage.start_worker(options)?;
    }
    stage.start_client(options, setting, u64::MAX / 2, options.window)?;
    stage.until_completed(1).await?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let before = stage.snapshot().await?;
    tokio::time::sleep(Duration::from_secs(options.seconds)).await;
    Ok((before, stage.snapshot().await?))
}

async fn drain(stage: &mut Stage, options: &Options, setting: Setting) -> Result<(Snapshot, Snapshot), String> {
    stage.start_client(options, setting, options.tasks, u64::MAX)?;
    let begin = Instant::now();
    while stage.status().await?.tasks_submitted < options.tasks {
        if begin.elapsed() > PATIENCE {
            return Err(format!("{} tasks were not submitted within {PATIENCE:?}", options.tasks));
        }
        tokio::time::sleep(POLL).await;
    }
    let before = stage.snapshot().await?;
    for _ in 0..setting.workers {
        stage.start_worker(options)?;
    }
    stage.until_completed(options.tasks).await?;
    Ok((before, stage.snapshot().await?))
}

#[expect(clippy::cast_precision_loss, reason = "figures for people")]
fn figures(before: Snapshot, after: Snapshot, server: ProcessUse) -> Figures {
    let tasks = (after.completed - before.completed).max(1) as f64;
    let of = |before: u64, after: u64| after.saturating_sub(before) as f64;
    let server_cpu = of(before.server_cpu_us, after.server_cpu_us);
    let others_cpu = of(before.others_cpu_us, after.others_cpu_us);
    Figures {
        tasks_per_second: tasks / (after.at - before.at).as_secs_f64(),
        cpu_us_per_task: (server_cpu + others_cpu) / tasks,
        server_cpu_us_per_task: server_cpu / tasks,
        store_transactions_per_1000: of(before.store_transactions, after.store_transactions) / tasks * 1000.0,
        store_bytes_per_1000: of(before.store_bytes, after.store_bytes) / tasks * 1000.0,
        peak_rss_mib: server.peak_rss_mib as f64,
    }
}

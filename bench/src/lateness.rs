//! Tasks scheduled ahead: a server, a worker, and many tasks whose instants are still to come.
//! Shows the server's memory while they wait, and how late each one starts: by the handler's
//! first reading of the clock, less the due instant.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use clap::Args;
use escapement::{
    clock::SharedClock,
    edge::SystemClock,
    rng::Rng,
    worker::{Context, Output, Worker},
};
use escapement_engine::Timestamp;
use escapement_proto::v1::{TaskSpec, task_spec::When};
use hdrhistogram::Histogram;
use serde::Serialize;

use crate::{
    hiccups::{MachinePauses, Watch},
    machine::{Machine, ProcessUse, disk_bytes},
    process::{ServerOptions, ServerProcess},
    submit::Batches,
};

const QUEUE: &str = "bench";
/// "Each fires within 50 ms of its instant."
const LATE: Duration = Duration::from_millis(50);
/// Tasks noted one by one.
const NOTED_MAX: usize = 100_000;
/// Late tasks due this long after the last late one begin a stretch of their own.
const APART: Duration = Duration::from_millis(300);
/// Stretches printed for people.
const STRETCHES_SHOWN: usize = 10;

/// Settings.
#[derive(Args, Clone, Debug, Serialize)]
pub(crate) struct Options {
    /// Tasks scheduled ahead.
    #[arg(long, default_value_t = 1_000_000)]
    tasks: u64,
    /// Tasks due in each second once the first is due.
    #[arg(long, default_value_t = 4_000)]
    rate: u64,
    /// Tasks in one call.
    #[arg(long, default_value_t = 1000)]
    batch: u64,
    /// Calls in flight while submitting.
    #[arg(long, default_value_t = 4)]
    callers: u64,
    /// Slots of the worker.
    #[arg(long, default_value_t = 2000)]
    concurrency: u32,
    /// Seconds between the end of the submission (as estimated) and the first due instant.
    #[arg(long, default_value_t = 10)]
    lead: u64,
    /// Seconds that submitting is expected to take.
    #[arg(long, default_value_t = 60)]
    submit_seconds: u64,
    /// Stretches of tasks that start later than this are listed, milliseconds.
    #[arg(long, default_value_t = 50)]
    list_ms: u64,
    /// Where the store is kept; a new folder in the system's folder for such if not given.
    #[arg(long)]
    #[serde(skip)]
    data_dir: Option<std::path::PathBuf>,
    /// Result as JSON.
    #[arg(long)]
    #[serde(skip)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Report {
    machine: Machine,
    settings: Options,
    tasks: u64,
    submit_per_second: f64,
    rss_after_submit_mib: u64,
    peak_rss_mib: u64,
    disk_bytes_per_task: f64,
    fired: u64,
    early: u64,
    later_than_50_ms: u64,
    lateness_p50_ms: f64,
    lateness_p90_ms: f64,
    lateness_p99_ms: f64,
    lateness_p999_ms: f64,
    lateness_max_ms: f64,
    /// Stretches of due instants with tasks later than `list_ms`, apart by more than [`APART`].
    late_stretches: Vec<Stretch>,
    machine_meanwhile: MachinePauses,
}

/// Late tasks that were due one after the other: one pause somewhere, most likely.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
struct Stretch {
    /// Due instant of the first, Unix milliseconds.
    first_due_ms: u64,
    /// Due instant of the last.
    last_due_ms: u64,
    tasks: u64,
    max_ms: u64,
}

/// What the handlers saw.
#[derive(Debug)]
struct Seen {
    /// Later than this is listed, microseconds.
    list_us: u128,
    /// Due instant and lateness of the first [`NOTED_MAX`] of those, in milliseconds.
    late: Mutex<Vec<(u64, u64)>>,
    lateness_us: Mutex<Histogram<u64>>,
    fired: AtomicU64,
    early: AtomicU64,
}

pub(crate) async fn run(options: Options) -> Result<(), String> {
    let scratch = tempfile::tempdir().map_err(|error| error.to_string())?;
    let data_dir = options.data_dir.clone().unwrap_or_else(|| scratch.path().join("data"));
    let server = ServerProcess::start(&ServerOptions { data_dir: data_dir.clone() })?;
    let clock: SharedClock = Arc::new(SystemClock::new());

    let first_due = clock.now().saturating_add(Duration::from_secs(options.submit_seconds + options.lead));
    let begin = Instant::now();
    let rng = Rng::from_entropy();
    let batches = Batches { endpoint: server.endpoint(), batch: options.batch, callers: options.callers };
    let (rate, until) = (options.rate, options.tasks);
    batches.submit(until, move |n| spec(&rng, n, rate, first_due), || async { Ok(()) }).await?;
    let took = begin.elapsed();
    if clock.now() >= first_due {
        return Err(format!("submitting took {took:?}, longer than --submit-seconds and --lead allow"));
    }
    let after_submit = ProcessUse::of(server.pid());
    let disk = disk_bytes(&data_dir);

    let histogram = Histogram::new_with_bounds(1, 3_600_000_000, 3).map_err(|error| error.to_string())?;
    let seen = Arc::new(Seen {
        list_us: Duration::from_millis(options.list_ms).as_micros(),
        late: Mutex::default(),
        lateness_us: Mutex::new(histogram),
        fired: AtomicU64::new(0),
        early: AtomicU64::new(0),
    });
    let watch = Watch::start(scratch.path())?;
    work(&server.endpoint(), &options, &seen, &clock).await?;
    let meanwhile = watch.finish()?;
    let report = report(options, took, after_submit, ProcessUse::of(server.pid()), disk, &seen);
    print(&Report { machine_meanwhile: meanwhile, ..report })
}

fn spec(rng: &Rng, n: u64, rate: u64, first_due: Timestamp) -> TaskSpec {
    let due = first_due.saturating_add(Duration::from_micros(n * 1_000_000 / rate));
    let ms = due.unix_ms();
    let at = prost_types::Timestamp {
        seconds: ms.div_euclid(1000),
        nanos: i32::try_from(ms.rem_euclid(1000) * 1_000_000).unwrap_or(0),
    };
    TaskSpec {
        id: rng.task_id(due).to_string(),
        queue: QUEUE.to_owned(),
        when: Some(When::DueAt(at)),
        ..TaskSpec::default()
    }
}

/// Runs a worker until every task has been run.
async fn work(endpoint: &str, options: &Options, seen: &Arc<Seen>, clock: &SharedClock) -> Result<(), String> {
    let handler = {
        let seen = Arc::clone(seen);
        move |ctx: Context| {
            // Measured in microseconds: the wall clock's own resolution, not the engine's.
            let now_us = std::time::SystemTime::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_micros());
            let due_us = u128::from(ctx.due().unix_ms().unsigned_abs()) * 1000;
            if now_us < due_us {
                seen.early.fetch_add(1, Ordering::Relaxed);
            }
            let late = u64::try_from(now_us.saturating_sub(due_us)).unwrap_or(u64::MAX);
            seen.lateness_us.lock().unwrap_or_else(PoisonError::into_inner).saturating_record(late.max(1));
            if u128::from(late) > seen.list_us {
                let mut noted = seen.late.lock().unwrap_or_else(PoisonError::into_inner);
                if noted.len() < NOTED_MAX {
                    noted.push((ctx.due().unix_ms().unsigned_abs(), late / 1000));
                }
            }
            seen.fired.fetch_add(1, Ordering::Relaxed);
            async move { Ok(Output::empty()) }
        }
    };
    let worker = Worker::builder(endpoint)
        .name("bench")
        .concurrency(options.concurrency)
        .queue(QUEUE, handler)
        .build()
        .map_err(|error| error.to_string())?
        .start();
    let patience = Duration::from_secs(options.lead + options.tasks / options.rate + 120);
    let until = clock.monotonic().saturating_add(patience + Duration::from_secs(options.submit_seconds));
    while seen.fired.load(Ordering::Relaxed) < options.tasks {
        if clock.monotonic() >= until {
            let fired = seen.fired.load(Ordering::Relaxed);
            return Err(format!("only {fired} of {} tasks were run in time", options.tasks));
        }
        clock.sleep(Duration::from_millis(100)).await;
    }
    worker.drain().await.map(drop).map_err(|error| error.to_string())
}

#[expect(clippy::cast_precision_loss, reason = "figures for people")]
fn report(
    settings: Options,
    submit: Duration,
    after_submit: ProcessUse,
    at_end: ProcessUse,
    disk: u64,
    seen: &Seen,
) -> Report {
    let lateness = seen.lateness_us.lock().unwrap_or_else(PoisonError::into_inner);
    let quantile = |q| lateness.value_at_quantile(q) as f64 / 1000.0;
    let late_us = u64::try_from(LATE.as_micros()).unwrap_or(u64::MAX);
    Report {
        machine: Machine::this(),
        tasks: settings.tasks,
        submit_per_second: settings.tasks as f64 / submit.as_secs_f64(),
        rss_after_submit_mib: after_submit.rss_mib,
        peak_rss_mib: at_end.peak_rss_mib,
        disk_bytes_per_task: disk as f64 / settings.tasks as f64,
        fired: seen.fired.load(Ordering::Relaxed),
        early: seen.early.load(Ordering::Relaxed),
        later_than_50_ms: lateness.count_between(late_us, u64::MAX),
        lateness_p50_ms: quantile(0.5),
        lateness_p90_ms: quantile(0.9),
        lateness_p99_ms: quantile(0.99),
        lateness_p999_ms: quantile(0.999),
        lateness_max_ms: lateness.max() as f64 / 1000.0,
        late_stretches: stretches(seen.late.lock().unwrap_or_else(PoisonError::into_inner).clone()),
        machine_meanwhile: MachinePauses::default(),
        settings,
    }
}

fn stretches(mut late: Vec<(u64, u64)>) -> Vec<Stretch> {
    late.sort_unstable();
    let mut stretches: Vec<Stretch> = Vec::new();
    for (due, by) in late {
        match stretches.last_mut().filter(|last| u128::from(due - last.last_due_ms) <= APART.as_millis()) {
            Some(last) => {
                (last.last_due_ms, last.max_ms) = (due, last.max_ms.max(by));
                last.tasks += 1;
            }
            None => stretches.push(Stretch { first_due_ms: due, last_due_ms: due, tasks: 1, max_ms: by }),
        }
    }
    stretches
}

fn print(report: &Report) -> Result<(), String> {
    if report.settings.json {
        println!("{}", serde_json::to_string_pretty(report).map_err(|error| error.to_string())?);
        return Ok(());
    }
    report.machine.print();
    println!("settings: {} tasks, {} due a second", report.settings.tasks, report.settings.rate);
    println!("submitted          {:>12.0} tasks/s", report.submit_per_second);
    println!("memory, waiting    {:>12} MiB", report.rss_after_submit_mib);
    println!("memory, peak       {:>12} MiB", report.peak_rss_mib);
    println!("disk               {:>12.0} bytes/task", report.disk_bytes_per_task);
    println!("run                {:>12} tasks, {} early", report.fired, report.early);
    println!("later than 50 ms   {:>12} tasks", report.later_than_50_ms);
    let stretches = &report.late_stretches;
    if let Some(begin) = stretches.first().map(|first| first.first_due_ms) {
        let (count, than) = (stretches.len(), report.settings.list_ms);
        println!("later than {than} ms in {count} stretches; the largest, and when by the due instant:");
        let mut largest: Vec<&Stretch> = stretches.iter().collect();
        largest.sort_unstable_by_key(|stretch| std::cmp::Reverse(stretch.max_ms));
        for stretch in largest.into_iter().take(STRETCHES_SHOWN) {
            let (at, span) = (stretch.first_due_ms - begin, stretch.last_due_ms - stretch.first_due_ms);
            println!("  {:>8} ms: {} tasks of {span} ms, by at most {} ms", at, stretch.tasks, stretch.max_ms);
        }
    }
    println!("lateness p50       {:>12.2} ms", report.lateness_p50_ms);
    println!("lateness p90       {:>12.2} ms", report.lateness_p90_ms);
    println!("lateness p99       {:>12.2} ms", report.lateness_p99_ms);
    println!("lateness p99.9     {:>12.2} ms", report.lateness_p999_ms);
    println!("lateness max       {:>12.2} ms", report.lateness_max_ms);
    report.machine_meanwhile.print();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn late_tasks_due_shortly_after_each_other_are_one_stretch() {
        let late = vec![(1300, 55), (1000, 60), (1601, 51), (1050, 99)];
        let one = Stretch { first_due_ms: 1000, last_due_ms: 1300, tasks: 3, max_ms: 99 };
        let other = Stretch { first_due_ms: 1601, last_due_ms: 1601, tasks: 1, max_ms: 51 };
        assert_eq!(stretches(late), [one, other]);
    }
}

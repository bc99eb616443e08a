//! FoundationDB behind the same interface: commits a second and how long each took, then a long
//! run of transactions that read and write, with the memory of this process before and after.
//!
//! The keys lie under a prefix of their own, which is cleared afterwards.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use escapement::{
    clock::SharedClock,
    edge::SystemClock,
    rng::Rng,
    store::{
        Abort, Database, RangeOptions, TransactionKind, TransactionOption,
        fdb::{self, FdbOptions, Prefix},
    },
};
use hdrhistogram::Histogram;
use serde::Serialize;

use super::{
    Options,
    commits::{Keys, Load},
};
use crate::machine::{Machine, ProcessUse};

const MIXED: TransactionKind = TransactionKind::idempotent("bench-mixed");
/// In flight in the long run.
const SUSTAINED_CONCURRENCY: usize = 256;
/// Keys that the long run reads and writes: few, so that some transactions conflict.
const SHARED_KEYS: u64 = 4096;
/// Before the long run's memory is looked at for the first time: pools fill, pages are touched.
const SETTLE: Duration = Duration::from_secs(10);

#[derive(Debug, Serialize)]
struct Report {
    machine: Machine,
    settings: Options,
    commits: Vec<Cell>,
    sustained: Option<Sustained>,
}

/// Transactions that set keys and read nothing.
#[derive(Debug, Serialize)]
struct Cell {
    keys: usize,
    concurrency: usize,
    /// Transactions a second.
    rate: f64,
    p50_ms: f64,
    p99_ms: f64,
}

#[derive(Debug, Serialize)]
struct Sustained {
    transactions: u64,
    rate: f64,
    conflicts: u64,
    /// Watches that fired.
    watches: u64,
    rss_mib_before: u64,
    rss_mib_after: u64,
    peak_rss_mib: u64,
}

pub(super) async fn run(cluster_file: &Path, settings: Options) -> Result<(), String> {
    let clock: SharedClock = Arc::new(SystemClock::new());
    let prefix = format!("escapement-bench/{:016x}/", Rng::from_entropy().u64());
    let prefix = Prefix::new(prefix).map_err(|error| error.to_string())?;
    let options = FdbOptions::new(cluster_file, prefix);
    let db = fdb::open(&options, clock).await.map_err(|error| error.to_string())?;
    let measured = measure(&db, &settings).await;
    let cleared = clear(&db).await;
    let (commits, sustained) = measured?;
    cleared?;
    print(&Report { machine: Machine::this(), settings, commits, sustained })
}

async fn clear(db: &Database) -> Result<(), String> {
    let clear = |tx: escapement::store::Transaction, _| async move {
        tx.clear_range(Bytes::new(), &b"\xff"[..])?;
        Ok::<_, Abort<String>>(())
    };
    db.run(TransactionKind::idempotent("bench-clear"), clear).await.map(drop).map_err(|error| error.to_string())
}

async fn measure(db: &Database, settings: &Options) -> Result<(Vec<Cell>, Option<Sustained>), String> {
    let mut commits = Vec::new();
    for keys in &settings.keys {
        for concurrency in &settings.concurrency {
            let load = Load { keys: *keys, concurrency: *concurrency, value_bytes: settings.value_bytes };
            commits.push(cell(db, load, settings).await?);
        }
    }
    let sustained = if settings.sustained > 0.0 { Some(sustained(db, settings).await?) } else { None };
    Ok((commits, sustained))
}

/// What a round of writers shares.
#[derive(Debug, Default)]
struct Round {
    done: AtomicU64,
    watches: AtomicU64,
    stop: AtomicBool,
}

impl Round {
    fn goes_on(&self) -> bool {
        !self.stop.load(Ordering::Relaxed)
    }
}

#[expect(clippy::cast_precision_loss, reason = "figures for people")]
async fn cell(db: &Database, load: Load, settings: &Options) -> Result<Cell, String> {
    let round = Arc::new(Round::default());
    let writers: Vec<_> = (0..load.concurrency)
        .map(|writer| tokio::spawn(write(db.clone(), load, writer, settings.warm_up(), Arc::clone(&round))))
        .collect();
    tokio::time::sleep(settings.warm_up()).await;
    let (begin, before) = (Instant::now(), round.done.load(Ordering::Relaxed));
    tokio::time::sleep(settings.round()).await;
    let rate = (round.done.load(Ordering::Relaxed) - before) as f64 / begin.elapsed().as_secs_f64();
    round.stop.store(true, Ordering::Relaxed);
    let mut all = histogram()?;
    for writer in writers {
        all.add(writer.await.map_err(|error| error.to_string())??).map_err(|error| error.to_string())?;
    }
    let ms = |quantile| all.value_at_quantile(quantile) as f64 / 1000.0;
    Ok(Cell { keys: load.keys, concurrency: load.concurrency, rate, p50_ms: ms(0.5), p99_ms: ms(0.99) })
}

/// Microseconds, up to a minute.
fn histogram() -> Result<Histogram<u64>, String> {
    Histogram::new_with_bounds(1, 60_000_000, 3).map_err(|error| error.to_string())
}

async fn write(
    db: Database,
    load: Load,
    writer: usize,
    warm_up: Duration,
    round: Arc<Round>,
) -> Result<Histogram<u64>, String> {
    let mut keys = Keys::new(writer);
    let value = Bytes::from(vec![7; load.value_bytes]);
    let mut took = histogram()?;
    let started = Instant::now();
    while round.goes_on() {
        let begun = Instant::now();
        let tx = db.begin();
        for _ in 0..load.keys {
            tx.set(keys.next(), value.clone()).map_err(|error| error.to_string())?;
        }
        // Nothing is read, so a commit whose answer is lost may as well be sent again.
        while let Err(error) = tx.raw().commit().await {
            tx.raw().on_error(error).await.map_err(|error| error.to_string())?;
        }
        if started.elapsed() > warm_up {
            took.saturating_record(u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX));
        }
        round.done.fetch_add(1, Ordering::Relaxed);
    }
    Ok(took)
}

/// Everything that the adapter keeps futures for: point and range reads, conflicts and retries,
/// timeouts, watches that fire and watches that are given up.
#[expect(clippy::cast_precision_loss, reason = "figures for people")]
async fn sustained(db: &Database, settings: &Options) -> Result<Sustained, String> {
    let round = Arc::new(Round::default());
    let value = Bytes::from(vec![7; settings.value_bytes]);
    let workers: Vec<_> = (0..SUSTAINED_CONCURRENCY)
        .map(|worker| tokio::spawn(mix(db.clone(), worker, value.clone(), Arc::clone(&round))))
        .collect();
    tokio::time::sleep(SETTLE).await;
    let before = ProcessUse::of(std::process::id());
    let (begin, done_before) = (Instant::now(), round.done.load(Ordering::Relaxed));
    tokio::time::sleep(Duration::from_secs_f64(settings.sustained)).await;
    let transactions = round.done.load(Ordering::Relaxed) - done_before;
    let rate = transactions as f64 / begin.elapsed().as_secs_f64();
    let after = ProcessUse::of(std::process::id());
    round.stop.store(true, Ordering::Relaxed);
    for worker in workers {
        worker.await.map_err(|error| error.to_string())??;
    }
    Ok(Sustained {
        transactions,
        rate,
        conflicts: db.metrics().get(MIXED.name()).map_or(0, escapement::store::metrics::KindSnapshot::conflicts),
        watches: round.watches.load(Ordering::Relaxed),
        rss_mib_before: before.rss_mib,
        rss_mib_after: after.rss_mib,
        peak_rss_mib: after.peak_rss_mib,
    })
}

async fn mix(db: Database, worker: usize, value: Bytes, round: Arc<Round>) -> Result<(), String> {
    let rng = Rng::from_seed(worker as u64);
    let key = |number: u64| Bytes::from(format!("bench/shared/{:08}", number % SHARED_KEYS));
    while round.goes_on() {
        let (one, other, from, way) = (key(rng.u64()), key(rng.u64()), rng.u64() % SHARED_KEYS, rng.u64() % 16);
        let (value, watched) = (&value, &one);
        let done = db.run(MIXED, |tx, _| {
            let (one, other) = (one.clone(), other.clone());
            let range = RangeOptions::new(key(from), key(SHARED_KEYS - 1)).limit(10);
            async move {
                tx.get(one.clone()).await?;
                tx.get_range_snapshot(range).await?;
                tx.set(one, value.clone())?;
                tx.set(other, value.clone())?;
                if way == 1 {
                    // Its future is dropped with the transaction.
                    drop(tx.raw().watch(watched.clone()));
                }
                Ok::<_, Abort<String>>(tx.raw().versionstamp())
            }
        });
        done.await.map_err(|error| error.to_string())?.value.await.map_err(|error| error.to_string())?;
        if way == 0 {
            fire(&db, &one, value, worker).await?;
            round.watches.fetch_add(1, Ordering::Relaxed);
        }
        if way == 2 {
            give_up(&db, &one).await?;
        }
        round.done.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

/// Sets a watch, changes what it watches, and waits for it.
async fn fire(db: &Database, key: &Bytes, value: &Bytes, worker: usize) -> Result<(), String> {
    let own = Bytes::from([&key[..], format!("/{worker}").as_bytes()].concat());
    let told = |error: escapement::store::StoreError| error.to_string();
    let tx = db.begin();
    let watch = tx.raw().watch(own.clone());
    tx.raw().commit().await.map_err(told)?;
    let other = db.begin();
    let now = Rng::from_entropy().u64().to_be_bytes();
    loop {
        other.set(own.clone(), [&value[..], &now].concat()).map_err(told)?;
        let Err(error) = other.raw().commit().await else { break };
        other.raw().on_error(error).await.map_err(told)?;
    }
    watch.await.map_err(told)
}

/// Begins reads and drops them: by a cancel, by a timeout, by dropping all.
async fn give_up(db: &Database, key: &Bytes) -> Result<(), String> {
    let told = |error: escapement::store::StoreError| error.to_string();
    let cancelled = db.begin();
    let read = cancelled.get(key.clone());
    cancelled.raw().cancel();
    drop(read.await);
    let late = db.begin();
    late.raw().set_option(TransactionOption::TimeoutMs(1)).map_err(told)?;
    drop(late.get(key.clone()).await);
    let dropped = db.begin();
    let watch = dropped.raw().watch(key.clone());
    drop(dropped);
    drop(watch);
    Ok(())
}

fn print(report: &Report) -> Result<(), String> {
    if report.settings.json {
        println!("{}", serde_json::to_string_pretty(report).map_err(|error| error.to_string())?);
        return Ok(());
    }
    let settings = &report.settings;
    report.machine.print();
    println!(
        "settings: values of {} bytes, {} s after {} s for each line",
        settings.value_bytes, settings.seconds, settings.warm_up
    );
    println!("\ntransactions a second on FoundationDB, and milliseconds of each");
    println!("{:>5} {:>7}  {:>9}  {:>8}  {:>8}", "keys", "at once", "rate", "p50", "p99");
    for Cell { keys, concurrency, rate, p50_ms, p99_ms } in &report.commits {
        println!("{keys:>5} {concurrency:>7}  {rate:>9.0}  {p50_ms:>8.2}  {p99_ms:>8.2}");
    }
    if let Some(it) = &report.sustained {
        println!(
            "\nreads and writes, {SUSTAINED_CONCURRENCY} at once, for {} s: {} transactions, {:.0} a second, {} conflicts, \
             {} watches fired",
            settings.sustained, it.transactions, it.rate, it.conflicts, it.watches
        );
        println!(
            "memory of this process: {} MiB after {SETTLE:?}, {} MiB at the end, {} MiB at most",
            it.rss_mib_before, it.rss_mib_after, it.peak_rss_mib
        );
    }
    Ok(())
}

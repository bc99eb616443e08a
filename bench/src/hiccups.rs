//! What the machine itself did meanwhile: how late a thread wakes that only sleeps, and how long
//! a small write takes to reach the disk. Nothing above it can be more punctual than that.
//!
//! Source of the idea: Gil Tene's jHiccup.

use std::{
    fs::File,
    io::Write as _,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{JoinHandle, sleep, spawn},
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;
use serde::Serialize;

const NAP: Duration = Duration::from_millis(1);
/// Rare enough to cost the disk nothing.
const SYNC_EACH: Duration = Duration::from_millis(100);
const WRITE_BYTES: usize = 4096;

/// Figures of the machine during a measurement.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct MachinePauses {
    pub(crate) wake_p99_ms: f64,
    pub(crate) wake_p999_ms: f64,
    pub(crate) wake_max_ms: f64,
    pub(crate) sync_p99_ms: f64,
    pub(crate) sync_max_ms: f64,
}

/// Watches the machine until it is asked what it saw.
#[derive(Debug)]
pub(crate) struct Watch {
    stop: Arc<AtomicBool>,
    wakes: JoinHandle<Histogram<u64>>,
    syncs: JoinHandle<Result<Histogram<u64>, String>>,
}

impl Watch {
    /// Begins; its small file is made in `dir`.
    pub(crate) fn start(dir: &Path) -> Result<Self, String> {
        let stop = Arc::new(AtomicBool::new(false));
        let file = File::create(dir.join("machine-pauses")).map_err(|error| error.to_string())?;
        let (wakes, syncs) = (histogram()?, histogram()?);
        let (first, second) = (Arc::clone(&stop), Arc::clone(&stop));
        Ok(Self {
            stop,
            wakes: spawn(move || watch_wakes(wakes, &first)),
            syncs: spawn(move || watch_syncs(syncs, file, &second)),
        })
    }

    /// Ends; gives what it saw.
    pub(crate) fn finish(self) -> Result<MachinePauses, String> {
        self.stop.store(true, Ordering::Relaxed);
        let ended = |_| "a thread that watched the machine failed".to_owned();
        let (wakes, syncs) = (self.wakes.join().map_err(ended)?, self.syncs.join().map_err(ended)??);
        #[expect(clippy::cast_precision_loss, reason = "figures for people")]
        let ms = |us: u64| us as f64 / 1000.0;
        Ok(MachinePauses {
            wake_p99_ms: ms(wakes.value_at_quantile(0.99)),
            wake_p999_ms: ms(wakes.value_at_quantile(0.999)),
            wake_max_ms: ms(wakes.max()),
            sync_p99_ms: ms(syncs.value_at_quantile(0.99)),
            sync_max_ms: ms(syncs.max()),
        })
    }
}

impl MachinePauses {
    pub(crate) fn print(&self) {
        println!(
            "the machine meanwhile: a thread that sleeps wakes late by p99 {:.2}, p99.9 {:.2}, max {:.2} ms;",
            self.wake_p99_ms, self.wake_p999_ms, self.wake_max_ms
        );
        println!(
            "                       a small write is on disk after p99 {:.2}, max {:.2} ms",
            self.sync_p99_ms, self.sync_max_ms
        );
    }
}

fn histogram() -> Result<Histogram<u64>, String> {
    Histogram::new_with_bounds(1, 3_600_000_000, 3).map_err(|error| error.to_string())
}

fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX).max(1)
}

fn watch_wakes(mut seen: Histogram<u64>, stop: &AtomicBool) -> Histogram<u64> {
    while !stop.load(Ordering::Relaxed) {
        let begin = Instant::now();
        sleep(NAP);
        seen.saturating_record(micros(begin.elapsed().saturating_sub(NAP)));
    }
    seen
}

fn watch_syncs(mut seen: Histogram<u64>, mut file: File, stop: &AtomicBool) -> Result<Histogram<u64>, String> {
    let block = [7; WRITE_BYTES];
    while !stop.load(Ordering::Relaxed) {
        let begin = Instant::now();
        file.write_all(&block).and_then(|()| file.sync_data()).map_err(|error| error.to_string())?;
        seen.saturating_record(micros(begin.elapsed()));
        sleep(SYNC_EACH);
    }
    Ok(seen)
}

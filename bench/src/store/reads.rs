//! Reads at a version, from the window in memory and from the base below it.

use std::time::Instant;

use bytes::Bytes;
use escapement::store::{
    EmbeddedEngine, EmbeddedOptions, Version,
    engine::{CommitRequest, Engine as _, Mutation, ReadVersionRequest},
};
use futures_util::FutureExt as _;

use super::{Options, ReadCell, commits::Keys, open};

/// Keys asked for in one call.
const BATCHES: [usize; 2] = [1, 100];
const THREADS: [usize; 2] = [1, 2];

/// All combinations, in interleaved rounds.
pub(super) async fn measure(options: &Options) -> Result<Vec<ReadCell>, String> {
    let mut cells = Vec::new();
    for place in ["window", "base"] {
        let folder = options.folder()?;
        // From the window: it keeps everything for ten minutes. From the base: for a moment.
        let window_ms = if place == "window" { 600_000 } else { 1000 };
        let (engine, _) = open(folder.path(), EmbeddedOptions { window_ms, ..EmbeddedOptions::default() })?;
        let keys = fill(&engine, options).await?;
        while place == "base" && engine.stats().window_bytes > 0 {
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        let first = cells.len();
        cells.extend(BATCHES.iter().flat_map(|batch| THREADS.map(|threads| ReadCell::new(place, *batch, threads))));
        for _ in 0..options.rounds {
            for cell in &mut cells[first..] {
                read(&engine, &keys, cell, options.warm_up().as_secs_f64())?;
                let rate = read(&engine, &keys, cell, options.round().as_secs_f64())?;
                cell.rate.add(rate);
            }
        }
    }
    Ok(cells)
}

async fn fill(engine: &EmbeddedEngine, options: &Options) -> Result<Vec<Bytes>, String> {
    let mut source = Keys::new(0);
    let keys: Vec<Bytes> = (0..options.read_keys.max(1)).map(|_| source.next()).collect();
    let value = Bytes::from(vec![7; options.value_bytes]);
    for part in keys.chunks(1000) {
        let mutations = part.iter().map(|key| Mutation::Set(key.clone(), value.clone())).collect();
        let commit = engine.commit(CommitRequest { mutations, ..CommitRequest::default() });
        commit.await.map_err(|error| error.to_string())?;
    }
    Ok(keys)
}

/// Keys read a second, all threads together.
#[expect(clippy::cast_precision_loss, reason = "figures for people")]
fn read(engine: &EmbeddedEngine, keys: &[Bytes], cell: &ReadCell, seconds: f64) -> Result<f64, String> {
    let begin = Instant::now();
    let count = std::thread::scope(|scope| {
        let readers: Vec<_> = (0..cell.threads)
            .map(|reader| scope.spawn(move || read_for(engine, keys, cell.batch, reader, (begin, seconds))))
            .collect();
        readers
            .into_iter()
            .map(|reader| reader.join().map_err(|_| "a reader panicked".to_owned())?)
            .sum::<Result<u64, String>>()
    })?;
    Ok(count as f64 / begin.elapsed().as_secs_f64())
}

fn read_for(
    engine: &EmbeddedEngine,
    keys: &[Bytes],
    batch: usize,
    reader: usize,
    (begin, seconds): (Instant, f64),
) -> Result<u64, String> {
    let now = |refused: &str| format!("a read {refused}");
    let mut count = 0;
    // Far apart, in no order that a cache would know.
    let mut at = reader * 7919;
    while begin.elapsed().as_secs_f64() < seconds {
        let version: Version = engine
            .read_version(&ReadVersionRequest::default())
            .now_or_never()
            .ok_or_else(|| now("waited"))?
            .map_err(|error| error.to_string())?;
        for _ in 0..(1024 / batch).max(1) {
            let asked: Vec<Bytes> = (0..batch)
                .map(|_| {
                    at = (at + 104_729) % keys.len();
                    keys[at].clone()
                })
                .collect();
            let values = engine.get_many(asked, version).now_or_never().ok_or_else(|| now("waited"))?;
            let values = values.map_err(|error| error.to_string())?;
            if !values.iter().all(Option::is_some) {
                return Err(now("found nothing"));
            }
            count += batch as u64;
        }
    }
    Ok(count)
}

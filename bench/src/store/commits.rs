//! Commits a second.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use escapement::store::{Database, EmbeddedOptions};
use fjall::{KeyspaceCreateOptions, PersistMode};

use super::open;

/// What is written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Load {
    pub(super) keys: usize,
    pub(super) concurrency: usize,
    pub(super) value_bytes: usize,
}

/// Warm-up and the time that is measured.
pub(super) type Times = (Duration, Duration);

/// Keys as the scheduler's are: about 30 bytes, each writer's anywhere among the others'.
#[derive(Debug)]
pub(super) struct Keys {
    state: u64,
}

impl Keys {
    pub(super) fn new(writer: usize) -> Self {
        Self { state: (writer as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1 }
    }

    pub(super) fn next(&mut self) -> Bytes {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        format!("bench/task/{:018x}", self.state).into()
    }
}

/// Counts what writers have done between two moments.
#[derive(Debug, Default)]
struct Counter {
    commits: AtomicU64,
    stop: AtomicBool,
}

impl Counter {
    fn goes_on(&self) -> bool {
        !self.stop.load(Ordering::Relaxed)
    }

    fn add(&self, commits: usize) {
        self.commits.fetch_add(commits as u64, Ordering::Relaxed);
    }

    #[expect(clippy::cast_precision_loss, reason = "figures for people")]
    fn rate(&self, begin: (Instant, u64)) -> f64 {
        let commits = self.commits.load(Ordering::Relaxed) - begin.1;
        commits as f64 / begin.0.elapsed().as_secs_f64()
    }

    fn now(&self) -> (Instant, u64) {
        (Instant::now(), self.commits.load(Ordering::Relaxed))
    }
}

/// Transactions a second of the embedded store, through the client that everything uses.
pub(super) async fn embedded(path: &Path, load: Load, (warm_up, round): Times) -> Result<f64, String> {
    let (engine, database) = open(path, EmbeddedOptions::default())?;
    let counter = Arc::new(Counter::default());
    let writers: Vec<_> = (0..load.concurrency)
        .map(|writer| tokio::spawn(write(database.clone(), load, writer, Arc::clone(&counter))))
        .collect();
    tokio::time::sleep(warm_up).await;
    let begin = counter.now();
    tokio::time::sleep(round).await;
    let rate = counter.rate(begin);
    counter.stop.store(true, Ordering::Relaxed);
    for writer in writers {
        writer.await.map_err(|error| error.to_string())??;
    }
    engine.close();
    Ok(rate)
}

async fn write(database: Database, load: Load, writer: usize, counter: Arc<Counter>) -> Result<(), String> {
    let mut keys = Keys::new(writer);
    let value = Bytes::from(vec![7; load.value_bytes]);
    while counter.goes_on() {
        let transaction = database.begin();
        for _ in 0..load.keys {
            transaction.set(keys.next(), value.clone()).map_err(|error| error.to_string())?;
        }
        transaction.raw().commit().await.map_err(|error| error.to_string())?;
        counter.add(1);
    }
    Ok(())
}

/// Transactions a second of fjall: `together` of them in one batch that is synced before the
/// next begins, from as many threads as make up the concurrency.
pub(super) fn fjall(path: &Path, load: Load, together: usize, (warm_up, round): Times) -> Result<f64, String> {
    let told = |error: fjall::Error| error.to_string();
    let database = fjall::Database::builder(path).open().map_err(told)?;
    let keyspace = database.keyspace("data", KeyspaceCreateOptions::default).map_err(told)?;
    let counter = Counter::default();
    let value = vec![7; load.value_bytes];
    std::thread::scope(|scope| {
        let writers: Vec<_> = (0..load.concurrency / together)
            .map(|writer| {
                let (database, keyspace, counter, value) = (&database, &keyspace, &counter, &value);
                scope.spawn(move || {
                    let mut keys = Keys::new(writer);
                    while counter.goes_on() {
                        let mut batch = database.batch().durability(Some(PersistMode::SyncData));
                        for _ in 0..together * load.keys {
                            batch.insert(keyspace, &*keys.next(), value.as_slice());
                        }
                        batch.commit()?;
                        counter.add(together);
                    }
                    Ok::<(), fjall::Error>(())
                })
            })
            .collect();
        std::thread::sleep(warm_up);
        let begin = counter.now();
        std::thread::sleep(round);
        let rate = counter.rate(begin);
        counter.stop.store(true, Ordering::Relaxed);
        for writer in writers {
            writer.join().map_err(|_| "a writer panicked".to_owned())?.map_err(told)?;
        }
        Ok(rate)
    })
}

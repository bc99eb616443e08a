//! Every transaction body under commits of unknown outcome.

mod life;
mod schedules;
mod unlucky;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use bytes::Bytes;
use escapement_engine::{Monotonic, Timestamp, name::QueueName, retry::RetryPolicy};
use futures_util::{FutureExt as _, future::BoxFuture};

use self::unlucky::Unlucky;
use super::super::*;
use crate::{
    clock::Clock,
    model::{Payload, Template},
    rng::Rng,
    store::{Database, MemoryEngine, RangeOptions, StoreError},
};

const SHARDS: u32 = 4;
const NOW: Timestamp = Timestamp::from_unix_ms(1_794_000_000_000);

fn after(span: Duration) -> Timestamp {
    NOW.saturating_add(span)
}

/// Time that passes only while somebody sleeps, and then at once.
#[derive(Debug, Default)]
struct SleepClock(AtomicU64);

impl Clock for SleepClock {
    fn now(&self) -> Timestamp {
        after(Duration::from_nanos(self.0.load(Relaxed)))
    }

    fn monotonic(&self) -> Monotonic {
        Monotonic::from_nanos(self.0.load(Relaxed))
    }

    fn sleep(&self, span: Duration) -> BoxFuture<'static, ()> {
        self.0.fetch_add(u64::try_from(span.as_nanos()).unwrap(), Relaxed);
        async {}.boxed()
    }
}

/// A store in memory, reached through commits whose outcome is unknown when a test says so,
/// and by somebody else without such luck.
struct Setup {
    unlucky: Arc<Unlucky>,
    db: Database,
    other: Database,
}

fn setup() -> Setup {
    let clock = Arc::new(SleepClock::default());
    let engine = MemoryEngine::new(clock.clone());
    let unlucky = Arc::new(Unlucky::new(engine.clone()));
    let db = Database::over(unlucky.clone(), clock.clone(), Rng::from_seed(7));
    Setup { unlucky, db, other: Database::over(Arc::new(engine), clock, Rng::from_seed(8)) }
}

/// The result of what is ready at once, as everything above the store in memory is.
fn ready<T>(future: impl Future<Output = T>) -> T {
    future.now_or_never().expect("ready at once")
}

/// All rows.
fn rows(db: &Database) -> Vec<(Bytes, Bytes)> {
    let tx = db.begin();
    let mut rows: Vec<(Bytes, Bytes)> = Vec::new();
    loop {
        let begin = rows.last().map_or_else(Bytes::new, |(key, _)| [key, &[0][..]].concat().into());
        let page = ready(tx.get_range(RangeOptions::new(begin, &[0xff][..]))).unwrap();
        rows.extend(page.rows);
        if !page.more {
            return rows;
        }
    }
}

fn template(queue: &str) -> Template {
    Template {
        queue: QueueName::new(queue).unwrap(),
        payload: Payload::default(),
        priority: escapement_engine::name::Priority::Medium,
        retry: RetryPolicy { max_attempts: 3, ..RetryPolicy::default() },
        attempt_timeout: Duration::from_secs(60),
        labels: BTreeMap::new(),
    }
}

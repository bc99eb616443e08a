//! Every transaction body under commits of unknown outcome.

mod life;
mod schedules;

use super::{
    unlucky::{Fate, Unlucky},
    world::{SleepClock, now as ready},
    *,
};
use crate::{
    rng::Rng,
    store::{Database, MemoryEngine, RangeOptions, StoreError},
};

const MINUTE: u64 = 60_000;

/// A store in memory, reached through commits whose outcome is unknown when a test says so,
/// and by somebody else without such luck.
struct Setup {
    unlucky: Arc<Unlucky>,
    db: Database,
    other: Database,
}

fn setup() -> Setup {
    let clock = Arc::new(SleepClock::default());
    let engine = MemoryEngine::new(Arc::clone(&clock) as _);
    let unlucky = Arc::new(Unlucky::new(engine.clone()));
    let db = Database::over(Arc::clone(&unlucky) as _, Arc::clone(&clock) as _, Rng::from_seed(7));
    Setup { unlucky, db, other: Database::over(Arc::new(engine), clock, Rng::from_seed(8)) }
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

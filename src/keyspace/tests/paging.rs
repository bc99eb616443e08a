//! What is read in pages, each from where the one before it ended, is read once.

use std::sync::Arc;

use super::*;
use crate::{
    clock::SharedClock,
    edge::SystemClock,
    rng::Rng,
    store::{Database, MemoryEngine},
};

/// Rows of a page: fewer than there are, and no divisor of their number.
const PAGE_ROWS: usize = 3;
const ROWS: u32 = 10;

/// Keys of `own`, as pages of `range` after the last of the page before give them, while other
/// keys lie around.
async fn check<C>(
    own: Vec<Bytes>,
    around: Vec<Bytes>,
    range: impl Fn(Option<&C>) -> RangeOptions,
    cursor: impl Fn(&[u8]) -> C,
) {
    let clock: SharedClock = Arc::new(SystemClock::new());
    let db = Database::over(Arc::new(MemoryEngine::new(Arc::clone(&clock))), clock, Rng::from_seed(1));
    let tx = db.begin();
    for key in own.iter().chain(&around) {
        tx.set(key.clone(), Bytes::new()).unwrap();
    }
    let (mut found, mut after) = (Vec::new(), None);
    // One page more than it takes, so that a read that stands still is no endless one.
    for _ in 0..=own.len() {
        let page = tx.get_range(range(after.as_ref()).limit(PAGE_ROWS)).await.unwrap();
        found.extend(page.rows.iter().map(|(key, _)| key.clone()));
        let Some((last, _)) = page.rows.last() else { break };
        after = Some(cursor(last));
    }
    assert_eq!(found, own, "each key once, in their order");
}

fn shards() -> (ShardId, Vec<ShardId>) {
    (ShardId(3), vec![ShardId(2), ShardId(4)])
}

#[tokio::test]
async fn tasks_heads_and_leases_are_paged_without_repetition() {
    type Of = (fn(ShardId, TaskId) -> Bytes, fn(ShardId, Option<TaskId>) -> RangeOptions);
    let kinds: [Of; 3] = [(task, tasks), (head, heads), (lease, leases)];
    let (shard, others) = shards();
    for (key, range) in kinds {
        let own = (0..ROWS).map(|n| key(shard, id(n.into()))).collect();
        let around = others.iter().map(|other| key(*other, id(5))).collect();
        check(own, around, |after| range(shard, after.copied()), |key| parse_task(key).unwrap()).await;
    }
}

#[tokio::test]
async fn schedules_are_paged_without_repetition() {
    let (namespace, other) = (Namespace::default(), Namespace::new("other").unwrap());
    let name = |n: u32| ScheduleId::new(&format!("s{n}")).unwrap();
    let own = (0..ROWS).map(|n| schedule(&namespace, &name(n))).collect();
    let around = vec![schedule(&other, &name(0)), schedule_deletion(&namespace, &name(0))];
    let cursor = |key: &[u8]| match Key::parse(key) {
        Ok(Key::Schedule { id, .. }) => id,
        found => panic!("{found:?}"),
    };
    check(own, around, |after| schedules(&namespace, after), cursor).await;
}

#[tokio::test]
async fn entries_of_a_due_stream_are_paged_without_repetition() {
    let (stream, other) = (stream("a", Priority::Medium), stream("a", Priority::Low));
    // Several at one instant, in the middle of a page and at its ends.
    let at = |n: u32| (Timestamp::from_unix_ms(i64::from(n / 4) - 1), id(n.into()));
    let entry = |of: &DueStream, n| of.entry(at(n).0, at(n).1);
    let own = (0..ROWS).map(|n| entry(&stream, n)).collect();
    let cursor = |key: &[u8]| parse_due_tail(&stream, key).unwrap();
    check(own, vec![entry(&other, 0)], |after| stream.entries(after.copied()), cursor).await;
}

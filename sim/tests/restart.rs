//! A server that starts with more tasks in its store than a page of the due index holds: it reads
//! page after page, and does not leave the rest to the next rescan.

#![cfg(madsim)]
#![allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "a test: a failed step is a failed test")]

use std::{collections::BTreeMap, time::Duration};

use escapement::{
    client::{BatchOutcome, NewTask},
    scheduler::SchedulerOptions,
};
use escapement_engine::TaskId;
use escapement_sim::{Event, Trace, World, WorldOptions, queue, run, seeds::Seeds, store::FaultPlan};

const SEEDS: u64 = 3;
/// In one shard and queue, so in one stream: some three pages.
const TASKS: usize = 2500;
const BATCH: usize = 500;
const DELAY: Duration = Duration::from_secs(30);
/// By then all have begun: the workers have room for all of them. A rescan is due only a minute after the start.
const PATIENCE: Duration = Duration::from_secs(10);

fn options(seed: u64) -> WorldOptions {
    WorldOptions {
        scheduler: SchedulerOptions { shards: 1, ..SchedulerOptions::default() },
        concurrency: 2 * u32::try_from(TASKS).unwrap(),
        handler: Duration::from_millis(100),
        store: FaultPlan::calm(seed),
    }
}

async fn scenario(world: World) {
    let server = world.start_server();
    let submit = |client: escapement::client::Client, _| async move {
        for _ in 0..TASKS / BATCH {
            let tasks = (0..BATCH).map(|_| NewTask::new(queue()).delay(DELAY)).collect();
            let outcomes = client.submit_batch(tasks).await.unwrap();
            assert!(outcomes.iter().all(|outcome| matches!(outcome, BatchOutcome::Accepted(_))), "{outcomes:?}");
        }
    };
    world.with_client(submit).await;
    world.kill(&server, "server");
    let _server = world.start_server();
    let _worker = world.start_worker("worker-1", "10.0.1.1");
    world.drained().await;
}

fn check(trace: &Trace) {
    let mut began: BTreeMap<TaskId, Duration> = BTreeMap::new();
    let mut late = Duration::ZERO;
    for (at, event) in trace.events() {
        if let Event::Started { id, due, at: wall, .. } = event {
            assert!(wall >= due, "S2: {id} started at {wall:?}, before its instant {due:?}");
            assert_eq!(began.insert(id, at), None, "{id} ran twice");
            late = late.max(wall.since(due));
        }
    }
    assert_eq!(began.len(), TASKS, "each ran");
    assert!(late <= PATIENCE, "the last started {late:?} after its instant");
}

#[test]
fn a_server_that_starts_reads_all_pages_of_a_stream() {
    let seeds = Seeds::new("a_server_that_starts_reads_all_pages_of_a_stream", SEEDS);
    seeds.each(|seed| {
        let trace = run(seed, options(seed), scenario);
        check(&trace);
        trace.to_string()
    });
}

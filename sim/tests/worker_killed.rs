//! Server, workers and client as simulated nodes; a worker is killed in the middle of its
//! tasks, then the server, which keeps its state in a store on a node of its own; with clocks
//! that are right, and with clocks that differ.

#![cfg(madsim)]
#![allow(
    clippy::cast_possible_truncation,
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "a test: a failed step is a failed test"
)]

use std::{collections::BTreeMap, time::Duration};

use escapement::client::{BatchOutcome, NewTask, TaskFilter, proto::TaskState};
use escapement::scheduler::SchedulerOptions;
use escapement_engine::{TaskId, Token};
use escapement_sim::{
    Event, Trace, World, WorldOptions,
    clock::{ClockPlan, NodePlan, Timeline},
    queue, run_with_clocks,
    seeds::Seeds,
    store::FaultPlan,
};
use rand::{SeedableRng as _, rngs::StdRng};

const SEEDS: u64 = 10;
const TASKS: usize = 120;
const LEASE: Duration = Duration::from_secs(2);
/// "Within lease + 100 ms."
const SLACK: Duration = Duration::from_millis(100);
/// From a task's instant to its handler: a transaction and a message on the simulated network, whose every
/// hop takes up to 10 ms.
const ON_TIME: Duration = Duration::from_millis(100);
/// Longest way of a completion to the server.
const IN_TRANSIT: Duration = Duration::from_millis(300);
/// Seeds of runs with clocks that differ.
const CLOCK_SEEDS: u64 = 5;
/// A wall clock that is set back makes what was due wait again, by as much as a plan's clocks are ever off.
const CLOCK_SLACK: Duration = Duration::from_millis(600);
/// How long a plan's faults may come.
const FAULTS_MS: u64 = 20_000;

fn options(seed: u64) -> WorldOptions {
    WorldOptions {
        scheduler: SchedulerOptions { session_lease: LEASE, ..SchedulerOptions::default() },
        concurrency: 40,
        handler: Duration::from_millis(700),
        store: FaultPlan::calm(seed),
    }
}

async fn scenario(world: World) {
    let server = world.start_server();
    let first = world.start_worker("worker-1", "10.0.1.1");
    let _second = world.start_worker("worker-2", "10.0.1.2");
    let submit = world.with_client(|client, trace| async move {
        let tasks: Vec<_> = (0..TASKS)
            .map(|n| NewTask::new(queue()).delay(Duration::from_millis(100 * n as u64)).max_attempts(10))
            .collect();
        for outcome in client.submit_batch(tasks).await.expect("submitted in the end") {
            let BatchOutcome::Accepted(submitted) = outcome else { panic!("{outcome:?}") };
            trace.add(Event::Acknowledged { id: submitted.id, due: submitted.due_at });
        }
    });
    submit.await;
    madsim::time::sleep(Duration::from_secs(3)).await;
    world.kill(&first, "worker-1");
    madsim::time::sleep(Duration::from_secs(4)).await;
    world.kill(&server, "server");
    madsim::time::sleep(Duration::from_millis(500)).await;
    let _server = world.start_server();
    world.drained().await;
    let all = world.with_client(|client, _| async move { client.list(TaskFilter::new()).collect().await });
    let all = all.await.expect("listed");
    assert_eq!(all.len(), TASKS);
    assert!(all.iter().all(|task| task.state() == TaskState::Succeeded), "{all:?}");
}

/// Clocks that differ, drift, are set and are corrected, each by its own generator. Their bounds are honest.
fn clocks(seed: u64) -> ClockPlan {
    let names = ["server", "worker-1", "worker-2", "client"];
    let node = |(n, name): (u64, &str)| {
        let mut rng = StdRng::seed_from_u64(seed * 100 + n);
        (name.to_owned(), NodePlan::honest(&mut rng, FAULTS_MS))
    };
    ClockPlan { epoch_unix_ms: 1_795_521_600_000, leap: None, nodes: (0..).zip(names).map(node).collect() }
}

/// Before anything fails, each task starts at its instant.
fn on_time(
    starts: &BTreeMap<TaskId, Vec<(Duration, Token, String)>>,
    late: &BTreeMap<TaskId, Duration>,
    acknowledged: &BTreeMap<TaskId, Duration>,
    first_fault: Duration,
) {
    let mut judged = 0;
    for (id, runs) in starts {
        let (began, by) = (runs[0].0, late[id]);
        // What was due before its submission was acknowledged could not start at its instant.
        if began < first_fault && began.saturating_sub(by) > acknowledged[id] {
            assert!(by <= ON_TIME, "{id} started {by:?} after its instant, and nothing had failed");
            judged += 1;
        }
    }
    assert!(judged >= 10, "{judged} tasks were due before anything failed");
}

/// What must hold in every run.
fn check(trace: &Trace, clocks: Option<Timeline>) {
    let slack = if clocks.is_some() { CLOCK_SLACK } else { SLACK };
    let events = trace.events();
    let mut acknowledged = BTreeMap::new();
    let mut late: BTreeMap<TaskId, Duration> = BTreeMap::new();
    let mut starts: BTreeMap<TaskId, Vec<(Duration, Token, String)>> = BTreeMap::new();
    let mut ended: BTreeMap<(TaskId, Token), Duration> = BTreeMap::new();
    let mut killed = BTreeMap::new();
    for (at, event) in &events {
        match event {
            Event::Acknowledged { id, .. } => drop(acknowledged.insert(*id, *at)),
            Event::Started { id, token, due, at: wall, worker } => {
                match clocks {
                    Some(truth) => {
                        let due = truth.elapsed_at(*due);
                        assert!(*at >= due, "S2: {id} started at {at:?} in true time, before its instant {due:?}");
                    }
                    None => assert!(wall >= due, "S2: {id} started at {wall:?}, before its instant {due:?}"),
                }
                late.entry(*id).or_insert(wall.since(*due));
                starts.entry(*id).or_default().push((*at, *token, worker.clone()));
            }
            Event::Ended { id, token } => drop(ended.insert((*id, *token), *at)),
            Event::Node { name, what: "killed" } => drop(killed.insert(name.clone(), *at)),
            Event::Stopped { .. } | Event::Node { .. } => {}
        }
    }
    assert_eq!(acknowledged.len(), TASKS, "S1: every submission was acknowledged");
    assert!(starts.keys().eq(acknowledged.keys()), "S1: each ran, and nothing else");
    let worker_killed = killed["worker-1"];
    if clocks.is_none() {
        on_time(&starts, &late, &acknowledged, worker_killed);
    }
    let mut moved = 0;
    for (id, runs) in &starts {
        assert!(runs.is_sorted_by(|a, b| a.1 < b.1), "S3: tokens of {id} rise: {runs:?}");
        for pair in runs.windows(2) {
            let [(began, token, worker), (again, _, next)] = pair else { unreachable!() };
            // A handler that ended just before the kill may not have been heard of.
            let heard = ended.get(&(*id, *token)).is_some_and(|at| *at + IN_TRANSIT < worker_killed);
            let cut_off = worker == "worker-1" && *began <= worker_killed && !heard;
            if cut_off {
                assert_ne!(next, "worker-1", "a dead worker gets nothing");
                // The server last heard of it before it was killed.
                assert!(*again <= worker_killed + LEASE + slack, "{id} ran again only at {again:?}: {runs:?}");
                moved += 1;
            } else {
                // Otherwise only the server's death ends an attempt early, and its successor
                // gives the session its whole lease.
                assert!(*again >= killed["server"], "{id} ran twice: {runs:?}");
            }
        }
    }
    assert!(moved > 0, "the killed worker was in the middle of something");
}

#[test]
fn every_task_runs_on_time_though_a_worker_and_the_server_are_killed() {
    let seeds = Seeds::new("every_task_runs_on_time_though_a_worker_and_the_server_are_killed", SEEDS);
    let Some(traces) = seeds.each(|seed| {
        let trace = run_with_clocks(seed, options(seed), None, scenario);
        check(&trace, None);
        trace.to_string()
    }) else {
        return;
    };
    for (seed, first) in traces {
        assert!(first.contains("Started"), "seed {seed} left a trace");
        if seed % 5 == 1 {
            assert_eq!(first, seeds.child(seed), "X1: seed {seed} gives the same trace again");
        }
    }
}

#[test]
fn every_task_runs_once_and_never_early_whatever_the_clocks_do_within_their_bounds() {
    let seeds =
        Seeds::new("every_task_runs_once_and_never_early_whatever_the_clocks_do_within_their_bounds", CLOCK_SEEDS);
    let Some(traces) = seeds.each(|seed| {
        let plan = clocks(seed);
        eprintln!("{plan}");
        let timeline = Timeline::of(&plan);
        let trace = run_with_clocks(seed, options(seed), Some(plan), scenario);
        check(&trace, Some(timeline));
        trace.to_string()
    }) else {
        return;
    };
    for (seed, first) in traces {
        if seed == 1 {
            assert_eq!(first, seeds.child(seed), "X1: seed {seed} gives the same trace again");
        }
    }
}

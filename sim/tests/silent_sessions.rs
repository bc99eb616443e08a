//! Worker sessions that fall silent: for less than their lease, for longer, and for ever
//! together with the server. Neither too early nor never, and never two at once (S5).

#![cfg(madsim)]
#![allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "a test: a failed step is a failed test")]

use std::{collections::BTreeMap, time::Duration};

use escapement::{
    client::{BatchOutcome, NewTask, TaskFilter, proto::TaskState},
    scheduler::SchedulerOptions,
};
use escapement_engine::{TaskId, Token};
use escapement_sim::{Event, Trace, World, WorldOptions, queue, run, seeds::Seeds, store::FaultPlan};

const SEEDS: u64 = 5;
const TASKS: usize = 20;
const LEASE: Duration = Duration::from_secs(2);
/// Longer than every silence: an attempt outlasts it, unless somebody ends it.
const HANDLER: Duration = Duration::from_secs(9);

fn options(seed: u64) -> WorldOptions {
    WorldOptions {
        scheduler: SchedulerOptions { session_lease: LEASE, ..SchedulerOptions::default() },
        // Both workers together have room for all, one alone as well.
        concurrency: 20,
        handler: HANDLER,
        store: FaultPlan::calm(seed),
    }
}

async fn submit(world: &World) {
    let submit = |client: escapement::client::Client, _| async move {
        let tasks = (0..TASKS).map(|_| NewTask::new(queue()).max_attempts(10)).collect();
        let outcomes = client.submit_batch(tasks).await.unwrap();
        assert!(outcomes.iter().all(|outcome| matches!(outcome, BatchOutcome::Accepted(_))), "{outcomes:?}");
    };
    world.with_client(submit).await;
}

/// Waits until a handler of every task has begun.
async fn begun(world: &World) {
    for _ in 0..600 {
        if runs(world.trace()).len() == TASKS {
            return;
        }
        madsim::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("not every task began: {}", world.trace());
}

/// Waits until every task has succeeded.
async fn succeeded(world: &World) {
    let all = |client: escapement::client::Client, _| async move {
        for _ in 0..600 {
            let done = TaskFilter::new().state(TaskState::Succeeded);
            if client.list(done).collect().await.is_ok_and(|tasks| tasks.len() == TASKS) {
                return;
            }
            madsim::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("tasks are left over: {:?}", client.list(TaskFilter::new()).collect().await);
    };
    world.with_client(all).await;
}

/// One run of a handler.
#[derive(Clone, Debug)]
struct Run {
    began: Duration,
    token: Token,
    worker: String,
    over: Option<Duration>,
}

fn runs(trace: &Trace) -> BTreeMap<TaskId, Vec<Run>> {
    let mut runs: BTreeMap<TaskId, Vec<Run>> = BTreeMap::new();
    for (at, event) in trace.events() {
        match event {
            Event::Started { id, token, worker, .. } => {
                runs.entry(id).or_default().push(Run { began: at, token, worker, over: None });
            }
            Event::Ended { id, token } | Event::Stopped { id, token } => {
                let run = runs.get_mut(&id).unwrap().iter_mut().find(|run| run.token == token);
                run.unwrap().over = Some(at);
            }
            _ => {}
        }
    }
    runs
}

fn note(trace: &Trace, name: &str, what: &str) -> Duration {
    let is = |event: &Event| matches!(event, Event::Node { name: node, what: done } if node == name && *done == what);
    trace.events().into_iter().find(|(_, event)| is(event)).unwrap().0
}

#[test]
fn a_session_that_is_silent_for_less_than_its_lease_keeps_its_tasks() {
    let seeds = Seeds::new("a_session_that_is_silent_for_less_than_its_lease_keeps_its_tasks", SEEDS);
    seeds.each(|seed| {
        let trace = run(seed, options(seed), |world| async move {
            let _server = world.start_server();
            let first = world.start_worker("worker-1", "10.0.1.1");
            submit(&world).await;
            begun(&world).await;
            let _second = world.start_worker("worker-2", "10.0.1.2");
            // With the renewal before it, a quarter of the lease old at most, less than the whole.
            world.cut_off(&first, "worker-1", LEASE * 3 / 5).await;
            succeeded(&world).await;
        });
        let runs = runs(&trace);
        assert_eq!(runs.len(), TASKS);
        assert!(runs.values().all(|runs| runs.len() == 1), "each ran once: {runs:?}");
        String::new()
    });
}

#[test]
fn a_worker_that_is_cut_off_stops_its_handlers_before_their_tasks_start_elsewhere() {
    let seeds = Seeds::new("a_worker_that_is_cut_off_stops_its_handlers_before_their_tasks_start_elsewhere", SEEDS);
    seeds.each(|seed| {
        let trace = run(seed, options(seed), |world| async move {
            let _server = world.start_server();
            let first = world.start_worker("worker-1", "10.0.1.1");
            submit(&world).await;
            begun(&world).await;
            let _second = world.start_worker("worker-2", "10.0.1.2");
            world.cut_off(&first, "worker-1", LEASE * 3).await;
            succeeded(&world).await;
        });
        let cut = note(&trace, "worker-1", "cut off");
        for (id, runs) in runs(&trace) {
            let [before, after] = &runs[..] else { panic!("{id} ran twice: {runs:?}") };
            assert!(before.token < after.token, "{id}: {runs:?}");
            let stopped = before.over.unwrap_or_else(|| panic!("{id} was stopped: {runs:?}"));
            assert!(stopped <= after.began, "S5: {id} ran on both: {runs:?}");
            assert!(after.began <= cut + LEASE + Duration::from_millis(100), "{id} waited too long: {runs:?}");
        }
        String::new()
    });
}

#[test]
fn what_ran_on_a_worker_that_died_with_the_server_runs_on_another() {
    let seeds = Seeds::new("what_ran_on_a_worker_that_died_with_the_server_runs_on_another", SEEDS);
    seeds.each(|seed| {
        let trace = run(seed, options(seed), |world| async move {
            let server = world.start_server();
            let first = world.start_worker("worker-1", "10.0.1.1");
            submit(&world).await;
            begun(&world).await;
            world.kill(&first, "worker-1");
            world.kill(&server, "server");
            let _server = world.start_server();
            let _second = world.start_worker("worker-2", "10.0.1.2");
            succeeded(&world).await;
        });
        for (id, runs) in runs(&trace) {
            let workers: Vec<_> = runs.iter().map(|run| run.worker.as_str()).collect();
            assert_eq!(workers, ["worker-1", "worker-2"], "{id}: {runs:?}");
            assert!(runs[0].token < runs[1].token, "{id}: {runs:?}");
        }
        String::new()
    });
}

//! Kill -9 of the server, again and again, while tasks are being submitted and run.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use escapement::{
    client::{BatchOutcome, Client, NewTask, TaskFilter, proto::TaskState},
    rng::Rng,
};
use escapement_chaos::{
    history::{NodeChange, Submission},
    rarity::{Rarities, Rarity},
};
use escapement_engine::{TaskId, Token};

use super::{
    judge::judge,
    process::{Process, free_port, ready},
    record::{Record, Recorded},
    sink::Sink,
};

const TASKS: usize = 20_000;
const KILLS: u32 = 50;
const BATCH: usize = 50;
const QUEUE: &str = "effects";

/// The seed of the moments; `ESCAPEMENT_TEST_SEED` sets it.
pub(crate) fn seed() -> u64 {
    std::env::var("ESCAPEMENT_TEST_SEED")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or_else(|| u64::from(std::process::id()) ^ 0x5eed)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_acknowledged_task_survives_fifty_kills_of_the_server() {
    let seed = seed();
    println!("ESCAPEMENT_TEST_SEED={seed}");
    let rng = Rng::from_seed(seed);
    let dir = tempfile::tempdir().unwrap();
    let port = free_port();
    let endpoint = format!("http://127.0.0.1:{port}");
    let record = Record::begin();
    let mut server = Process::server(dir.path(), port, &[]);
    record.node("server", NodeChange::Started);
    let client = Client::builder(&endpoint).deadline(Duration::from_secs(1)).build().unwrap();
    ready(&client).await;

    let sink = Arc::new(Sink::new(&dir.path().join("effects")));
    let worker = Recorded::start(&record, &endpoint, &[QUEUE], &sink, |_| (Duration::ZERO, false));
    let kills_over = Arc::new(AtomicBool::new(false));
    let submitting = tokio::spawn(submit(client.clone(), record.clone(), rng.clone(), Arc::clone(&kills_over)));

    for kill in 0..KILLS {
        // From the first moments of a server's life, while it takes shards and leases over, to
        // long after.
        tokio::time::sleep(Duration::from_millis(u64::from(rng.u32() % 600))).await;
        server.kill();
        record.node("server", NodeChange::Killed);
        server = Process::server(dir.path(), port, &[]);
        record.node("server", NodeChange::Started);
        if kill % 2 == 0 {
            ready(&client).await;
        }
    }
    kills_over.store(true, Ordering::Relaxed);
    record.healed();
    let acknowledged = submitting.await.unwrap();
    assert_eq!(acknowledged.len(), TASKS, "every submission was acknowledged in the end");

    let pending = TaskFilter::new().state(TaskState::Scheduled).state(TaskState::Running);
    drained(&client, &pending).await;

    worker.drain().await;
    let client = Client::connect(&endpoint).unwrap();
    let tasks = record.final_tasks(&client).await;
    let ids: BTreeSet<TaskId> = tasks.keys().map(|id| id.parse().unwrap()).collect();
    assert_eq!(ids, acknowledged, "exactly the acknowledged tasks exist");
    for task in tasks.values() {
        assert_eq!(task.state(), TaskState::Succeeded, "{} has its one terminal state: {task:?}", task.id);
    }

    let effects = sink.read();
    assert_eq!(effects.keys().copied().collect::<BTreeSet<_>>(), ids, "no effect is missing, none is of no task");
    for (id, tokens) in &effects {
        assert!(tokens.is_sorted_by(|a, b| a < b), "effects of {id} under rising tokens only: {tokens:?}");
    }
    // The attempt that the store accepted is the last that had an effect.
    let retried: Vec<TaskId> = effects.iter().filter(|(_, tokens)| tokens.len() > 1).map(|(id, _)| *id).collect();
    for id in retried.iter().chain(effects.keys().step_by(97)) {
        let task = &tasks[&id.to_string()];
        let last = task.attempts.last().unwrap();
        assert_eq!(effects[id].last(), Some(&Token(last.token)), "{task:?}");
    }
    server.kill();
    record.node("server", NodeChange::Killed);
    record.final_rows(&dir.path().join("data")).await;
    let history = record.history(seed, "fifty-kills");
    let stale = Rarities::of(&history).get(Rarity::StaleTokenRefused);
    println!("{TASKS} tasks, {KILLS} kills: {} ran more than once, {stale} stale effects refused", retried.len());
    judge(&history);
}

/// Waits until nothing is pending; after two minutes, says what is.
async fn drained(client: &Client, pending: &TaskFilter) {
    for _ in 0..1200 {
        // A page may be empty and yet have a next one.
        if client.list(pending.clone()).next().await.is_ok_and(|first| first.is_none()) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let left = client.list(pending.clone()).collect().await.unwrap();
    let first = client.get(left[0].id.parse().unwrap()).await.unwrap();
    panic!("{} tasks are left, the first is {first:?}; the server: {:?}", left.len(), client.status().await.unwrap());
}

/// Submits all tasks, each batch again and again under the same ids until it is acknowledged,
/// at a pace that lasts over the kills.
async fn submit(client: Client, record: Record, rng: Rng, kills_over: Arc<AtomicBool>) -> BTreeSet<TaskId> {
    let mut acknowledged = BTreeSet::new();
    while acknowledged.len() < TASKS {
        let ids: Vec<TaskId> = (0..BATCH).map(|_| client.new_task_id()).collect();
        let delays: Vec<u64> = ids.iter().map(|_| u64::from(rng.u32() % 3000)).collect();
        loop {
            let task = |(id, delay): (&TaskId, &u64)| {
                NewTask::new(QUEUE).id(*id).delay(Duration::from_millis(*delay)).max_attempts(100)
            };
            let batch = ids.iter().zip(&delays).map(task).collect();
            let calls = record.submitting(ids.iter().map(submission));
            let answer = client.submit_batch(batch).await;
            record.submitted(&calls, &answer);
            if let Ok(outcomes) = answer {
                let accepted = |outcome: &BatchOutcome| matches!(outcome, BatchOutcome::Accepted(_));
                assert!(outcomes.iter().all(accepted), "{outcomes:?}");
                break;
            }
        }
        acknowledged.extend(ids);
        if !kills_over.load(Ordering::Relaxed) {
            tokio::time::sleep(Duration::from_millis(60)).await;
        }
    }
    acknowledged
}

fn submission(id: &TaskId) -> Submission {
    let (id, queue) = (id.to_string(), QUEUE.to_owned());
    Submission { id, queue, priority: 2, max_attempts: 100, ..Submission::default() }
}

//! Kill -9 of the server, again and again, while tasks are being submitted and run, and their worker
//! dies now and then, with effects on their way.

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
    worker::Context,
};
use escapement_chaos::{
    history::{NodeChange, Submission},
    rarity::{Rarities, Rarity},
};
use escapement_engine::{TaskId, Token};

use super::{
    judge::judge,
    process::{Process, eventually, free_port, ready},
    record::{Record, Recorded, Work},
    sink::Sink,
};

const TASKS: usize = 20_000;
const KILLS: u32 = 50;
const BATCH: usize = 50;
const QUEUE: &str = "effects";
/// With each so manieth kill of the server, its worker dies as well.
const WORKER_DIES_EACH: u32 = 10;
/// One in so many tasks has a first attempt whose effect is on its way for longer than a session's lease and the
/// backoff of a retry together.
const SLOW_ONE_IN: u8 = 64;
const SLOW: Duration = Duration::from_secs(5);
/// Each server waits anew for a silent session, so one of them is to live for longer than its lease of a second and
/// the backoff of a retry.
const AFTER_WORKER: Duration = Duration::from_secs(3);
const LEASE_MS: u64 = 1000;

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
    let lease = LEASE_MS.to_string();
    let start_server = || Process::server(dir.path(), port, &["--session-lease-ms", &lease]);
    let mut server = start_server();
    record.node("server", NodeChange::Started);
    let client = Client::builder(&endpoint).deadline(Duration::from_secs(1)).build().unwrap();
    ready(&client).await;

    let sink = Arc::new(Sink::new(&dir.path().join("effects")));
    let start_worker = || Recorded::start(&record, &endpoint, &[QUEUE], &sink, work);
    let mut worker = start_worker();
    let kills_over = Arc::new(AtomicBool::new(false));
    let submitting = tokio::spawn(submit(client.clone(), record.clone(), rng.clone(), Arc::clone(&kills_over)));

    for kill in 0..KILLS {
        // From the first moments of a server's life, while it takes shards and leases over, to
        // long after.
        tokio::time::sleep(Duration::from_millis(u64::from(rng.u32() % 600))).await;
        server.kill();
        record.node("server", NodeChange::Killed);
        let worker_dies = kill % WORKER_DIES_EACH == WORKER_DIES_EACH / 2;
        if worker_dies {
            worker.kill();
            worker = start_worker();
        }
        server = start_server();
        record.node("server", NodeChange::Started);
        if kill % 2 == 0 {
            ready(&client).await;
        }
        if worker_dies {
            tokio::time::sleep(AFTER_WORKER).await;
        }
    }
    kills_over.store(true, Ordering::Relaxed);
    record.healed();
    let acknowledged = submitting.await.unwrap();
    assert_eq!(acknowledged.len(), TASKS, "every submission was acknowledged in the end");

    let pending = TaskFilter::new().state(TaskState::Scheduled).state(TaskState::Running);
    drained(&client, &pending).await;

    worker.drain().await;
    eventually("the effects of dead workers have arrived", async || record.settled()).await;
    let client = Client::connect(&endpoint).unwrap();
    let tasks = record.final_tasks(&client).await;
    let ids: BTreeSet<TaskId> = tasks.keys().map(|id| id.parse().unwrap()).collect();
    assert_eq!(ids, acknowledged, "exactly the acknowledged tasks exist");
    for task in tasks.values() {
        assert_eq!(task.state(), TaskState::Succeeded, "{} has its one terminal state: {task:?}", task.id);
    }

    let effects = sink.read();
    assert_eq!(effects.keys().copied().collect::<BTreeSet<_>>(), ids, "no effect is missing, none is of no task");
    let (mut retried, mut stale) = (0, 0);
    for (id, arrived) in &effects {
        let accepted: Vec<Token> = arrived.iter().filter(|(_, accepted)| *accepted).map(|(token, _)| *token).collect();
        // What a resource must do that is fenced by nothing but the tokens.
        let mut highest = Token(0);
        for (token, accepted) in arrived {
            assert_eq!(*accepted, *token > highest, "{id}: {arrived:?}");
            highest = highest.max(*token);
        }
        retried += usize::from(arrived.len() > 1);
        stale += arrived.len() - accepted.len();
        // The attempt that the store accepted is the one whose effect stands.
        let last = tasks[&id.to_string()].attempts.last().unwrap();
        assert_eq!(accepted.last(), Some(&Token(last.token)), "{last:?}");
    }
    assert!(retried > 0 && stale > 0, "{retried} tasks ran more than once, {stale} stale effects: nothing was tried");
    server.kill();
    record.node("server", NodeChange::Killed);
    record.final_rows(&dir.path().join("data")).await;
    let history = record.history(seed, "fifty-kills", LEASE_MS);
    assert_eq!(Rarities::of(&history).get(Rarity::StaleTokenRefused), stale as u64);
    println!("{TASKS} tasks, {KILLS} kills: {retried} ran more than once, {stale} stale effects refused");
    judge(&history);
}

fn work(ctx: &Context) -> Work {
    let is_slow = ctx.token() == Token(1) && ctx.task_id().as_bytes()[15].is_multiple_of(SLOW_ONE_IN);
    let lasts = Duration::from_millis(u64::from(ctx.task_id().as_bytes()[14] % 30));
    Work { effect_after: if is_slow { SLOW } else { Duration::ZERO }, lasts, fails: false }
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

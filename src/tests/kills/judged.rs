//! All kinds of work at once while the server is killed, and a history of it that the checkers
//! of the simulation judge.

use std::{sync::Arc, time::Duration};

use escapement::{
    client::{Client, NewSchedule, NewTask, TaskFilter, proto::TaskState},
    error::exit,
    rng::Rng,
};
use escapement_chaos::history::{
    History,
    NodeChange::{Killed, Started},
    ScheduleAction, Submission,
};
use escapement_engine::{TaskId, Timestamp, retry::RetryPolicy};

use super::{
    judge::{every_checker_bites, judge},
    process::{Process, eventually, free_port, ready},
    record::{Record, Recorded, Work},
    server_killed::seed,
    sink::Sink,
};

const QUEUE: &str = "mixed";
const BEATS: &str = "beats";
/// Occurrences of the schedule that the whole run sees; one each second.
const BEATS_MIN: usize = 20;

/// What a run does.
#[derive(Clone, Copy)]
struct Run {
    kills: u32,
    rounds: u32,
    beats: usize,
    /// Planted in the server.
    bug: Option<&'static str>,
}

/// Attempts of a task that fail first; in its payload.
fn failing(ctx: &escapement::worker::Context) -> Work {
    let text = std::str::from_utf8(&ctx.payload().data).unwrap_or_default();
    let fail: u32 = text.parse().unwrap_or(0);
    let lasts = Duration::from_millis(ctx.token().0 % 7 * 5);
    Work { lasts, fails: ctx.attempt() <= fail, ..Work::default() }
}

async fn run(seed: u64, run: Run) -> History {
    println!("ESCAPEMENT_TEST_SEED={seed}");
    let (rng, dir, port) = (Rng::from_seed(seed), tempfile::tempdir().unwrap(), free_port());
    let start = || match run.bug {
        Some(bug) => Process::server_with_bug(dir.path(), port, bug),
        None => Process::server(dir.path(), port, &[]),
    };
    let endpoint = format!("http://127.0.0.1:{port}");
    let record = Record::begin();
    let mut server = start();
    record.node("server", Started);
    let client = Client::builder(&endpoint).deadline(Duration::from_secs(1)).build().unwrap();
    ready(&client).await;
    let sink = Arc::new(Sink::new(&dir.path().join("effects")));
    let worker = Recorded::start(&record, &endpoint, &[QUEUE, BEATS], &sink, failing);
    let kills = async {
        for _ in 0..run.kills {
            tokio::time::sleep(Duration::from_millis(u64::from(rng.u32() % 600))).await;
            server.kill();
            record.node("server", Killed);
            server = start();
            record.node("server", Started);
        }
        ready(&client).await;
        record.healed();
        server
    };
    let ((), server) = tokio::join!(work(&client, &record, &rng, run), kills);
    let beats = TaskFilter::new().schedule(BEATS);
    eventually("the schedule has made its occurrences", async || {
        client.list(beats.clone()).collect().await.is_ok_and(|made| made.len() >= run.beats)
    })
    .await;
    record.schedule(BEATS, ScheduleAction::Pause, async || client.pause_schedule(BEATS).await).await;
    let pending = TaskFilter::new().state(TaskState::Scheduled).state(TaskState::Running);
    eventually("all tasks have ended", async || {
        client.list(pending.clone()).next().await.is_ok_and(|first| first.is_none())
    })
    .await;
    worker.drain().await;
    record.final_tasks(&Client::connect(&endpoint).unwrap()).await;
    server.kill();
    record.node("server", Killed);
    record.final_rows(&dir.path().join("data")).await;
    record.history(seed, "kills", 5000)
}

async fn work(client: &Client, record: &Record, rng: &Rng, run: Run) {
    let every = |id: &str| ScheduleAction::Create {
        cron: String::new(),
        every_ms: 1000,
        anchor_unix_ms: i64::from(id == BEATS),
        zone: "UTC".to_owned(),
    };
    for id in [BEATS, "steered", "deleted"] {
        let anchor = Timestamp::from_unix_ms(i64::from(id == BEATS));
        let new = || NewSchedule::interval(id, Duration::from_secs(1), Some(anchor), BEATS).max_attempts(50);
        record.schedule(id, every(id), async || client.create_schedule(new()).await).await;
    }
    for round in 0..run.rounds {
        submit_round(client, record, rng, round).await;
        if round == run.rounds / 4 {
            record.schedule("steered", ScheduleAction::Pause, async || client.pause_schedule("steered").await).await;
        }
        if round == run.rounds / 2 {
            let mut first = true;
            let mut delete = async || match client.delete_schedule("deleted").await {
                Err(error) if !std::mem::take(&mut first) && is_gone(&error) => Ok(()),
                answer => answer,
            };
            record.schedule("deleted", ScheduleAction::Delete, &mut delete).await;
        }
    }
}

/// An earlier try, whose answer was lost, has deleted it.
fn is_gone(error: &escapement::client::ClientError) -> bool {
    error.reason() == escapement::error::Reason::ScheduleNotFound
}

/// One task of each kind.
async fn submit_round(client: &Client, record: &Record, rng: &Rng, round: u32) {
    let delay = Duration::from_millis(u64::from(rng.u32() % 2000));
    let quick = RetryPolicy { initial_backoff: Duration::from_millis(50), ..RetryPolicy::default() };
    let task = |fail: u32, max_attempts: u32| {
        let retry = RetryPolicy { max_attempts, ..quick.clone() };
        NewTask::new(QUEUE).delay(delay).payload_text(fail.to_string()).retry(&retry)
    };
    let key = format!("key-{round}");
    let keyed = || task(0, 50).idempotency_key(&key).due_at(record.epoch());
    submit(client, record, task(0, 50), 50, "").await;
    submit(client, record, task(2, 50), 50, "").await;
    submit(client, record, task(u32::MAX, 3), 3, "").await;
    submit(client, record, keyed(), 50, &key).await;
    submit(client, record, keyed(), 50, &key).await;
    let cancelled = submit(client, record, task(0, 50), 50, "").await;
    tokio::time::sleep(Duration::from_millis(u64::from(rng.u32() % 100))).await;
    record.cancel(client, cancelled).await;
}

/// Submits a task again and again, under the same id, until it is acknowledged.
async fn submit(client: &Client, record: &Record, task: NewTask, max_attempts: u32, key: &str) -> TaskId {
    let id = client.new_task_id();
    let task = task.id(id);
    loop {
        let submission = Submission {
            id: id.to_string(),
            queue: QUEUE.to_owned(),
            due_unix_ms: None,
            priority: 2,
            max_attempts,
            idempotency_key: key.to_owned(),
            deadline_unix_ms: None,
        };
        let ops = record.submitting([submission]);
        let answer = client.submit_batch(vec![task.clone()]).await;
        record.submitted(&ops, &answer);
        match answer {
            Ok(_) => return id,
            Err(error) => assert_eq!(error.reason().exit_code(), exit::TRY_AGAIN, "{error}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_history_of_the_killed_server_keeps_every_invariant_and_every_checker_could_have_told() {
    let history = run(seed(), Run { kills: 25, rounds: 100, beats: BEATS_MIN, bug: None }).await;
    judge(&history);
    every_checker_bites(&history);
}

#[cfg(feature = "planted-bugs")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_with_a_planted_bug_is_convicted_by_its_history() {
    use super::judge::broken;
    for (bug, invariant) in [("history-row-dropped", "S9"), ("pause-lost", "S7"), ("idempotency-dropped", "S1")] {
        let history = run(seed(), Run { kills: 0, rounds: 3, beats: 3, bug: Some(bug) }).await;
        let found = broken(&history);
        assert!(found.contains(invariant), "{bug} breaks {found:?}, and must break {invariant}");
    }
}

//! The states of a task, each reached as a user would.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use escapement::{
    client::{BatchOutcome, NewTask, TaskFilter, WatchEvent, proto},
    error::Reason,
    rng::Rng,
    server::{self, StoreUrl},
    worker::{Context, Output, Payload, TaskFailure, Worker},
};
use escapement_engine::{TaskId, name::Priority, retry::RetryPolicy};
use proto::{AttemptOutcome, TaskState};

use super::world::{World, options, reached, world, world_with};

fn quick() -> RetryPolicy {
    RetryPolicy { max_attempts: 3, initial_backoff: Duration::from_millis(5), ..RetryPolicy::default() }
}

async fn scripted(ctx: Context) -> Result<Output, TaskFailure> {
    let script = String::from_utf8_lossy(&ctx.payload().data).into_owned();
    match (script.as_str(), ctx.attempt()) {
        ("fail-twice", 1 | 2) | ("fail", _) => Err(TaskFailure::retryable("flaky", "not yet")),
        ("give-up", _) => Err(TaskFailure::non_retryable("hopeless", "never")),
        ("hang", 1) => {
            ctx.cancelled().await;
            Err(TaskFailure::retryable("cut-off", "was cancelled"))
        }
        ("fail-then-wait", 1) => Err(TaskFailure::retryable("flaky", "not yet")),
        ("fail-then-wait", _) => {
            ctx.cancelled().await;
            Ok(Output::empty())
        }
        ("progress", _) => {
            ctx.progress(Payload::text("half-way")).map_err(|error| TaskFailure::from_error(&error))?;
            ctx.cancelled().await;
            Ok(Output::empty())
        }
        ("panic", 1) => panic!("a handler panics"),
        _ => Ok(Output::text(format!("done by attempt {}", ctx.attempt()))),
    }
}

fn worker(endpoint: &str) -> escapement::worker::WorkerHandle {
    Worker::builder(endpoint).name("scripted").concurrency(16).queue("q", scripted).build().unwrap().start()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tasks_reach_the_states_that_their_attempts_lead_to() {
    let world = world().await;
    let _worker = worker(&world.endpoint);
    let check = async |script: &str, state: TaskState, outcomes: &[AttemptOutcome]| {
        let task = NewTask::new("q").payload_text(script).retry(&quick()).attempt_timeout(Duration::from_millis(300));
        let id = world.client.submit(task).await.unwrap().id;
        let task = reached(&world.client, id, state).await;
        let found: Vec<_> = task.attempts.iter().map(proto::Attempt::outcome).collect();
        assert_eq!(found, outcomes, "{script}: {task:?}");
        let numbers: Vec<_> = task.attempts.iter().map(|attempt| attempt.number).collect();
        assert_eq!(numbers, (1..=u32::try_from(outcomes.len()).unwrap()).collect::<Vec<_>>(), "{script}");
        assert!(task.attempts.is_sorted_by(|a, b| a.token < b.token), "{script}: {task:?}");
        task
    };
    use AttemptOutcome::{Failed, Succeeded, TimedOut};
    let task = check("ok", TaskState::Succeeded, &[Succeeded]).await;
    assert_eq!(task.result.unwrap().data, "done by attempt 1");
    let task = check("fail-twice", TaskState::Succeeded, &[Failed, Failed, Succeeded]).await;
    assert_eq!((task.error, task.attempt_count), (None, 3));
    let task = check("fail", TaskState::DeadLettered, &[Failed, Failed, Failed]).await;
    assert_eq!(task.error.unwrap().kind, "flaky");
    let task = check("give-up", TaskState::Failed, &[Failed]).await;
    assert_eq!(task.error.unwrap().kind, "hopeless");
    check("hang", TaskState::Succeeded, &[TimedOut, Succeeded]).await;
    let task = check("panic", TaskState::Succeeded, &[Failed, Succeeded]).await;
    assert_eq!(task.attempts[0].error.as_ref().unwrap().kind, "panic");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancelled_task_keeps_the_history_of_all_its_attempts() {
    let world = world().await;
    let _worker = worker(&world.endpoint);
    let task = NewTask::new("q").payload_text("fail-then-wait").retry(&quick());
    let id = world.client.submit(task).await.unwrap().id;
    let mut attempts = 0;
    while attempts < 2 {
        attempts = reached(&world.client, id, TaskState::Running).await.attempt_count;
    }
    let task = world.client.cancel(id, "enough").await.unwrap();
    let outcomes: Vec<_> = task.attempts.iter().map(proto::Attempt::outcome).collect();
    assert_eq!(outcomes, [AttemptOutcome::Failed, AttemptOutcome::Cancelled], "{task:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancelled_task_never_starts_and_a_running_one_is_cut_off() {
    let world = world().await;
    let waiting = world.client.submit(NewTask::new("q").delay(Duration::from_secs(3600))).await.unwrap().id;
    let cancelled = world.client.cancel(waiting, "changed my mind").await.unwrap();
    assert_eq!((cancelled.state(), cancelled.attempts.len()), (TaskState::Cancelled, 0));
    assert_eq!(world.client.cancel(waiting, "again").await.unwrap().cancel_reason, "changed my mind");

    let _worker = worker(&world.endpoint);
    let running = world.client.submit(NewTask::new("q").payload_text("progress")).await.unwrap().id;
    reached(&world.client, running, TaskState::Running).await;
    let cut_off = world.client.cancel(running, "").await.unwrap();
    assert_eq!(cut_off.attempts[0].outcome(), AttemptOutcome::Cancelled);

    let done = world.client.submit(NewTask::new("q")).await.unwrap().id;
    reached(&world.client, done, TaskState::Succeeded).await;
    let error = world.client.cancel(done, "").await.unwrap_err();
    assert_eq!(error.reason(), Reason::TaskAlreadyEnded);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watcher_sees_each_change_and_the_progress() {
    let world = world().await;
    let id = world.client.submit(NewTask::new("q").payload_text("progress")).await.unwrap().id;
    let mut watch = world.client.watch(id);
    let mut seen = Vec::new();
    let mut worker_handle = None;
    while let Some(event) = watch.next().await.unwrap() {
        match event {
            WatchEvent::Task(task) => {
                seen.push(format!("{:?}", task.state()));
                if worker_handle.is_none() {
                    worker_handle = Some(worker(&world.endpoint));
                }
            }
            WatchEvent::Progress(progress) => {
                seen.push(String::from_utf8_lossy(&progress.payload.unwrap().data).into_owned());
                world.client.cancel(id, "").await.unwrap();
            }
        }
    }
    assert_eq!(seen, ["Scheduled", "Running", "half-way", "Cancelled"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repeated_submission_is_recognised_by_id_and_by_key() {
    let world = world().await;
    let id = world.client.new_task_id();
    let task = |text: &str| NewTask::new("q").id(id).payload_text(text).delay(Duration::from_secs(60));
    assert!(world.client.submit(task("a")).await.unwrap().created);
    assert!(!world.client.submit(task("a")).await.unwrap().created);
    assert_eq!(world.client.submit(task("b")).await.unwrap_err().reason(), Reason::TaskExists);

    let keyed = |text: &str| NewTask::new("q").idempotency_key("k").payload_text(text).delay(Duration::from_secs(60));
    let first = world.client.submit(keyed("a")).await.unwrap();
    let second = world.client.submit(keyed("a")).await.unwrap();
    assert_eq!((first.id, first.due_at, second.created), (second.id, second.due_at, false));
    assert_eq!(world.client.submit(keyed("b")).await.unwrap_err().reason(), Reason::IdempotencyConflict);
    let mixed = world.client.submit_batch(vec![keyed("b"), NewTask::new("q")]).await.unwrap();
    assert!(matches!(mixed[0], BatchOutcome::Refused { .. }), "{mixed:?}");
    assert!(matches!(mixed[1], BatchOutcome::Accepted(_)), "each task of a batch stands for itself");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_best_priority_of_a_backlog_goes_first() {
    let world = world().await;
    let now = escapement::clock::Clock::now(&escapement::edge::SystemClock::new());
    let mut wanted = Vec::new();
    for priority in [Priority::Low, Priority::Medium, Priority::High] {
        for n in 0..5 {
            let task = NewTask::new("q")
                .priority(priority)
                .due_at(now.saturating_sub(Duration::from_millis(100 - n)))
                .payload_text(format!("{priority:?} {n}"));
            world.client.submit(task).await.unwrap();
            wanted.push((priority, n));
        }
    }
    wanted.sort();
    let order = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&order);
    let handler = move |ctx: Context| {
        noted.lock().unwrap().push(String::from_utf8_lossy(&ctx.payload().data).into_owned());
        async { Ok(Output::empty()) }
    };
    let _worker = Worker::builder(&world.endpoint).concurrency(1).queue("q", handler).build().unwrap().start();
    let pending = TaskFilter::new().state(TaskState::Scheduled).state(TaskState::Running);
    while !world.client.list_page(&pending, "").await.unwrap().0.is_empty() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let wanted: Vec<_> = wanted.iter().map(|(priority, n)| format!("{priority:?} {n}")).collect();
    assert_eq!(*order.lock().unwrap(), wanted);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_without_workers_fails_when_its_deadline_passes() {
    let world = world().await;
    let now = escapement::clock::Clock::now(&escapement::edge::SystemClock::new());
    let task = NewTask::new("nobody").deadline(now.saturating_add(Duration::from_millis(500)));
    let id = world.client.submit(task).await.unwrap().id;
    let task = reached(&world.client, id, TaskState::Failed).await;
    assert_eq!((task.error.unwrap().kind.as_str(), task.attempts.len()), ("deadline-exceeded", 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lists_filter_and_page_without_a_gap() {
    let world = world().await;
    for n in 0..250u32 {
        let task = NewTask::new(if n % 5 == 0 { "five" } else { "other" })
            .label("parity", if n % 2 == 0 { "even" } else { "odd" })
            .delay(Duration::from_secs(3600));
        world.client.submit(task).await.unwrap();
    }
    let count = async |filter: TaskFilter| {
        let rows = world.client.list(filter.page_size(7)).collect().await.unwrap();
        assert!(rows.is_sorted_by(|a, b| a.id < b.id), "in the order of ids, none twice");
        rows.len()
    };
    assert_eq!(count(TaskFilter::new()).await, 250);
    assert_eq!(count(TaskFilter::new().queue("five")).await, 50);
    assert_eq!(count(TaskFilter::new().queue("five").label("parity", "odd")).await, 25);
    assert_eq!(count(TaskFilter::new().state(TaskState::Running)).await, 0);
    assert_eq!(count(TaskFilter::new().namespace("elsewhere")).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_payload_and_result_go_through_in_one_piece() {
    let world = world().await;
    let echo = |ctx: Context| async move { Ok(Output(ctx.payload().clone())) };
    let _worker = Worker::builder(&world.endpoint).queue("echo", echo).build().unwrap().start();
    let data: Vec<u8> = (0..1 << 20).map(|n: u32| (n % 251) as u8).collect();
    let id =
        world.client.submit(NewTask::new("echo").payload(data.clone(), "application/octet-stream")).await.unwrap().id;
    let task = reached(&world.client, id, TaskState::Succeeded).await;
    assert!(task.result.as_ref().unwrap().data == data, "the result is the payload");
    assert_eq!(task.result.unwrap().content_type, "application/octet-stream");
    let error = world.client.submit(NewTask::new("echo").payload(vec![0; (1 << 20) + 1], "")).await.unwrap_err();
    assert_eq!(error.reason(), Reason::InvalidArgument);
    let violation = &error.api_error().violations[0];
    assert_eq!(violation.field, "task.payload.data");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_is_there_after_an_orderly_restart() {
    let dir = tempfile::tempdir().unwrap();
    let store = || StoreUrl::Embedded(dir.path().join("data"));
    let clock = || Arc::new(escapement::edge::SystemClock::new());
    let world = world_with(options(store()), clock()).await;
    let handle = worker(&world.endpoint);
    let done = world.client.submit(NewTask::new("q").payload_text("ok")).await.unwrap().id;
    let before = reached(&world.client, done, TaskState::Succeeded).await;
    let later = world.client.submit(NewTask::new("q").delay(Duration::from_secs(2))).await.unwrap().id;
    handle.drain().await.unwrap();
    world.server.shutdown().await.unwrap();

    // The last connections let go of the store a moment later.
    let opened = async || server::start_with(options(store()), clock(), Rng::from_entropy()).await;
    let server = loop {
        match opened().await {
            Ok(server) => break server,
            Err(server::ServerError::Open(_)) => tokio::time::sleep(Duration::from_millis(5)).await,
            Err(error) => panic!("{error}"),
        }
    };
    let world = World::of(server);
    assert_eq!(world.client.get(done).await.unwrap(), before);
    let _worker = worker(&world.endpoint);
    reached(&world.client, later, TaskState::Succeeded).await;
    let ids: Vec<TaskId> = world
        .client
        .list(TaskFilter::new())
        .collect()
        .await
        .unwrap()
        .iter()
        .map(|task| task.id.parse().unwrap())
        .collect();
    assert_eq!(ids, [done, later]);
}

#[tokio::test]
async fn a_store_keeps_its_shards_and_refuses_another_number_that_was_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let start = async |shards, required| {
        let mut options = options(StoreUrl::Embedded(dir.path().join("data")));
        options.scheduler.shards = shards;
        options.scheduler.shards_required = required;
        server::start(options).await
    };
    start(4, true).await.unwrap().shutdown().await.unwrap();
    let error = start(8, true).await.unwrap_err();
    assert_eq!(error.reason(), Reason::ConfigInvalid);
    assert_eq!(
        error.to_string(),
        "server.shards is `8`: must be 4, or not set, since this store was made with 4 shards and keeps them"
    );
    for (shards, required) in [(4, true), (32, false)] {
        start(shards, required).await.unwrap().shutdown().await.unwrap();
    }
}

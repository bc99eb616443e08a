//! Kill -9 of a served store, and of the server that uses it.

use std::{
    collections::BTreeSet,
    net::TcpListener,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use escapement::{
    client::{BatchOutcome, Client, NewTask, TaskFilter, proto::TaskState},
    worker::{Context, Output, TaskFailure, Worker},
};
use escapement_engine::TaskId;

use super::{
    child,
    process::{Process, eventually, free_port, ready},
    sink::Sink,
};

const QUEUE: &str = "effects";
const KILLS: u64 = 12;
const BATCH: usize = 20;

/// Submits batches, each again and again under the same ids until it is acknowledged.
async fn submit(client: Client, kills_over: Arc<AtomicBool>) -> BTreeSet<TaskId> {
    let mut acknowledged = BTreeSet::new();
    while !kills_over.load(Ordering::Relaxed) {
        let ids: Vec<TaskId> = (0..BATCH).map(|_| client.new_task_id()).collect();
        loop {
            let task = |id: &TaskId| NewTask::new(QUEUE).id(*id).delay(Duration::from_millis(500)).max_attempts(100);
            if let Ok(outcomes) = client.submit_batch(ids.iter().map(task).collect()).await {
                let accepted = |outcome: &BatchOutcome| matches!(outcome, BatchOutcome::Accepted(_));
                assert!(outcomes.iter().all(accepted), "{outcomes:?}");
                break;
            }
        }
        acknowledged.extend(ids);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    acknowledged
}

fn worker(endpoint: &str, sink: &Arc<Sink>) -> escapement::worker::WorkerHandle {
    let sink = Arc::clone(sink);
    let handler = move |ctx: Context| {
        let accepted = sink.accept(ctx.task_id(), ctx.token());
        async move {
            match accepted {
                true => Ok(Output::empty()),
                false => Err(TaskFailure::retryable("stale", "the sink has seen a higher token")),
            }
        }
    };
    Worker::builder(endpoint).name("sink").concurrency(100).queue(QUEUE, handler).build().unwrap().start()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_acknowledged_task_survives_kills_of_the_store_beneath_a_running_server() {
    let dir = tempfile::tempdir().unwrap();
    let (port, store_port) = (free_port(), free_port());
    let endpoint = format!("http://127.0.0.1:{port}");
    let mut store = Process::store(dir.path(), store_port);
    let mut server = Process::server_on_store(dir.path(), port, store_port);
    let client = Client::builder(&endpoint).deadline(Duration::from_secs(1)).build().unwrap();
    ready(&client).await;
    let sink = Arc::new(Sink::new(&dir.path().join("effects")));
    let worker = worker(&endpoint, &sink);
    let kills_over = Arc::new(AtomicBool::new(false));
    let submitting = tokio::spawn(submit(client.clone(), Arc::clone(&kills_over)));
    for kill in 0..KILLS {
        tokio::time::sleep(Duration::from_millis(150 + 97 * (kill % 5))).await;
        store.kill();
        store = Process::store(dir.path(), store_port);
    }
    kills_over.store(true, Ordering::Relaxed);
    let acknowledged = submitting.await.unwrap();
    assert_eq!(server.exit_code(), None, "the server went on all the while");

    let pending = TaskFilter::new().state(TaskState::Scheduled).state(TaskState::Running);
    eventually("all tasks have ended", async || {
        client.list(pending.clone()).next().await.is_ok_and(|first| first.is_none())
    })
    .await;
    let tasks = client.list(TaskFilter::new().page_size(1000)).collect().await.unwrap();
    let ids: BTreeSet<TaskId> = tasks.iter().map(|task| task.id.parse().unwrap()).collect();
    assert_eq!((ids.len(), &ids), (tasks.len(), &acknowledged), "exactly the acknowledged tasks exist, each once");
    assert!(tasks.iter().all(|task| task.state() == TaskState::Succeeded));
    let effects = sink.read();
    assert_eq!(effects.keys().copied().collect::<BTreeSet<_>>(), ids, "each had its effect");
    assert!(effects.values().flatten().all(|(_, accepted)| *accepted), "under rising tokens only: {effects:?}");
    println!("{} tasks over {KILLS} kills of the store", ids.len());
    worker.drain().await.unwrap();
    drop(store);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_server_on_a_store_is_refused_and_takes_over_once_the_first_is_dead() {
    let dir = tempfile::tempdir().unwrap();
    let (port, second_port, store_port) = (free_port(), free_port(), free_port());
    let _store = Process::store(dir.path(), store_port);
    let first = Process::server_on_store(dir.path(), port, store_port);
    let client = Client::connect(format!("http://127.0.0.1:{port}")).unwrap();
    ready(&client).await;
    let id = client.submit(NewTask::new(QUEUE).delay(Duration::from_secs(3600))).await.unwrap().id;

    let mut second = Process::server_on_store(dir.path(), second_port, store_port);
    eventually("the second server has given up", async || second.exit_code().is_some()).await;
    assert_eq!(second.exit_code(), Some(7));
    let log = std::fs::read_to_string(dir.path().join("server.log")).unwrap();
    assert!(log.contains("STORE_IN_USE") && log.contains(&format!("127.0.0.1:{port}")), "{log}");
    assert!(client.status().await.is_ok(), "the first goes on");

    first.kill();
    let _second = Process::server_on_store(dir.path(), second_port, store_port);
    let client = Client::connect(format!("http://127.0.0.1:{second_port}")).unwrap();
    ready(&client).await;
    assert!(client.get(id).await.is_ok(), "it has what the first had acknowledged");
}

#[test]
fn a_server_without_its_store_says_what_to_check_and_ends_in_time() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut serve = std::process::Command::new(env!("CARGO_BIN_EXE_escapement"));
    let output = child::output(serve.args(["serve", "--listen", "127.0.0.1:0", "--store", &format!("remote:{free}")]));
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(7), "{text}");
    let expected = format!("no store answers at {free}");
    assert!(
        text.contains("STORE_UNREACHABLE")
            && text.contains(&expected)
            && text.contains("what to do: Correct the address in server.store"),
        "{text}"
    );
}

//! Kill -9 and SIGSTOP of a worker in the middle of a task.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use bytes::Bytes;
use escapement::{
    client::{Client, NewTask, proto},
    edge::net,
};
use escapement_engine::TaskId;
use escapement_proto::v1::{
    Completion, Completions, Hello, Payload, QueueSubscription, Renew, ServerMessage, Verdict, WorkerMessage,
    completion, server_message, worker_message, worker_service_client::WorkerServiceClient,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use super::process::{Process, eventually, free_port, ready};

/// The worker of this name never renews its lease.
const SILENT: &str = "silent";
const LEASE: [&str; 2] = ["--session-lease-ms", "1000"];

struct World {
    dir: tempfile::TempDir,
    endpoint: String,
    client: Client,
    _server: Process,
}

async fn world() -> World {
    let dir = tempfile::tempdir().unwrap();
    let port = free_port();
    let server = Process::server(dir.path(), port, &LEASE);
    let endpoint = format!("http://127.0.0.1:{port}");
    let client = Client::connect(&endpoint).unwrap();
    ready(&client).await;
    World { dir, endpoint, client, _server: server }
}

/// A task whose first attempt never ends by itself, and whose later ones end at once. Each
/// appends its token to the sink when it begins; the first leaves its process id beside it.
fn task(sink: &Path) -> NewTask {
    let (pid, sink) = (pid_file(sink).display().to_string(), sink.display());
    let script = format!(
        "if [ $ESCAPEMENT_ATTEMPT = 1 ]; then echo $$ > {pid}; fi; \
         echo $ESCAPEMENT_TOKEN >> {sink}; \
         if [ $ESCAPEMENT_ATTEMPT = 1 ]; then sleep 600; fi"
    );
    let request = serde_json::json!({ "argv": ["sh", "-c", script] });
    NewTask::new("exec").payload_json(request.to_string()).attempt_timeout(Duration::from_secs(900))
}

fn pid_file(sink: &Path) -> PathBuf {
    sink.with_extension("pid")
}

/// Sends a signal to the group of the first attempt's program. Whether there was one.
fn signal_program(sink: &Path, signal: &str) -> bool {
    let pid = std::fs::read_to_string(pid_file(sink)).unwrap();
    let group = format!("-{}", pid.trim());
    Command::new("kill").args(["-s", signal, "--", &group]).stderr(Stdio::null()).status().unwrap().success()
}

fn lines(path: &Path) -> Vec<String> {
    std::fs::read_to_string(path).unwrap_or_default().lines().map(str::to_owned).collect()
}

async fn succeeded(client: &Client, id: TaskId) -> proto::Task {
    eventually("the task has succeeded", async || {
        client.get(id).await.is_ok_and(|task| task.state() == proto::TaskState::Succeeded)
    })
    .await;
    client.get(id).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_of_a_killed_worker_runs_again_on_another() {
    let world = world().await;
    let sink = world.dir.path().join("sink");
    let first = Process::exec_worker(world.dir.path(), &world.endpoint, "first");
    let id = world.client.submit(task(&sink)).await.unwrap().id;
    eventually("the first attempt has begun", async || lines(&sink).len() == 1).await;
    first.kill();
    let _second = Process::exec_worker(world.dir.path(), &world.endpoint, "second");
    let task = succeeded(&world.client, id).await;
    let workers: Vec<_> = task.attempts.iter().map(|attempt| attempt.worker_name.as_str()).collect();
    assert_eq!(workers, ["first", "second"], "{task:?}");
    assert_eq!(task.attempts[0].outcome(), proto::AttemptOutcome::LeaseExpired);
    assert_eq!(lines(&sink), ["1", "2"], "tokens rise");
    // Nobody was left to end the first attempt's program: that is what tokens are for.
    assert!(signal_program(&sink, "KILL"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopped_worker_loses_its_task_and_its_handler_when_it_goes_on() {
    let world = world().await;
    let sink = world.dir.path().join("sink");
    let first = Process::exec_worker(world.dir.path(), &world.endpoint, "first");
    let id = world.client.submit(task(&sink)).await.unwrap().id;
    eventually("the first attempt has begun", async || lines(&sink).len() == 1).await;
    first.signal("STOP");
    let _second = Process::exec_worker(world.dir.path(), &world.endpoint, "second");
    let task = succeeded(&world.client, id).await;
    assert_eq!(task.attempts.len(), 2, "{task:?}");
    let token = task.attempts[1].token;
    first.signal("CONT");
    // It finds that its lease is out, and comes back as another session.
    let session = task.attempts[0].session_id.clone();
    eventually("the first worker is back under a new session", async || {
        let status = world.client.status().await.unwrap();
        let mut names = status.workers.iter().filter(|worker| worker.worker_name == "first");
        names.any(|worker| worker.session_id != session)
    })
    .await;
    eventually("its program is gone", async || !signal_program(&sink, "0")).await;
    let after = world.client.get(id).await.unwrap();
    assert_eq!((after.state(), after.attempts.len()), (proto::TaskState::Succeeded, 2));
    assert_eq!(after.attempts[1].token, token, "nothing that the stopped worker did counted");
}

/// A worker in slow motion: speaks the protocol by hand, so that it can say what no good
/// worker says.
struct RawWorker {
    outbound: mpsc::Sender<WorkerMessage>,
    inbound: Streaming<ServerMessage>,
}

impl RawWorker {
    /// One that renews its lease, unless it is to be silent.
    async fn connect(endpoint: &str, name: &str, credits: u64) -> Self {
        Self::connect_as(endpoint, Bytes::copy_from_slice(&rand::random::<[u8; 16]>()), name, credits).await
    }

    /// The same under a session of the caller's choice, which holds nothing.
    async fn connect_as(endpoint: &str, session_id: Bytes, name: &str, credits: u64) -> Self {
        let (outbound, messages) = mpsc::channel(16);
        let queues = vec![QueueSubscription { queue: "raw".into(), concurrency_max: 0 }];
        let hello = Hello { session_id, worker_name: name.into(), queues, credits, ..Hello::default() };
        outbound.send(message(worker_message::Message::Hello(hello))).await.unwrap();
        let mut client = WorkerServiceClient::new(net::connect(endpoint).await.unwrap());
        let inbound = client.session(ReceiverStream::new(messages)).await.unwrap().into_inner();
        if name != SILENT {
            tokio::spawn(renew(outbound.clone()));
        }
        Self { outbound, inbound }
    }

    /// The next message of the kind that `pick` takes.
    async fn receive<T>(&mut self, pick: impl Fn(server_message::Message) -> Option<T>) -> T {
        loop {
            let message = self.inbound.message().await.unwrap().unwrap();
            if let Some(picked) = message.message.and_then(&pick) {
                return picked;
            }
        }
    }

    async fn assigned(&mut self) -> (Bytes, u64) {
        self.receive(|message| match message {
            server_message::Message::Assignments(batch) => {
                let first = batch.assignments.first().unwrap();
                Some((first.task_id.clone(), first.token))
            }
            _ => None,
        })
        .await
    }

    async fn complete(&mut self, task_id: Bytes, token: u64) -> (Verdict, u64) {
        let outcome = Some(completion::Outcome::Succeeded(Payload::default()));
        let completions = Completions { completions: vec![Completion { task_id, token, outcome }] };
        self.outbound.send(message(worker_message::Message::Completions(completions))).await.unwrap();
        self.receive(|message| match message {
            server_message::Message::Verdicts(batch) => {
                let first = batch.verdicts.first().unwrap();
                Some((first.verdict(), first.current_token))
            }
            _ => None,
        })
        .await
    }
}

async fn renew(outbound: mpsc::Sender<WorkerMessage>) {
    for sequence in 1.. {
        tokio::time::sleep(Duration::from_millis(200)).await;
        let renew = worker_message::Message::Renew(Renew { sequence });
        if outbound.send(message(renew)).await.is_err() {
            return;
        }
    }
}

fn message(message: worker_message::Message) -> WorkerMessage {
    WorkerMessage { message: Some(message) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_late_completion_of_a_silent_worker_is_refused_by_name() {
    let world = world().await;
    let mut silent = RawWorker::connect(&world.endpoint, SILENT, 1).await;
    let id = world.client.submit(NewTask::new("raw")).await.unwrap().id;
    let (task_id, token) = silent.assigned().await;
    assert_eq!(token, 1);
    // It never renews: its lease runs out, and the next worker gets the task.
    let mut next = RawWorker::connect(&world.endpoint, "next", 1).await;
    let (again, higher) = next.assigned().await;
    assert_eq!((&again, higher), (&task_id, 2));
    assert_eq!(next.complete(again, higher).await, (Verdict::Accepted, 0));
    assert_eq!(succeeded(&world.client, id).await.attempts.len(), 2);

    // Back on a stream of its own, it completes what it no longer has.
    let mut late = RawWorker::connect(&world.endpoint, "late", 0).await;
    assert_eq!(late.complete(task_id.clone(), token).await, (Verdict::StaleToken, 2));
    assert_eq!(late.complete(task_id.clone(), 7).await.0, Verdict::NotHeld, "a token that was never given");
    let nobody = Bytes::copy_from_slice(&rand::random::<[u8; 16]>());
    assert_eq!(late.complete(nobody, 1).await.0, Verdict::NotHeld, "a task that is not there");
    let task = world.client.get(id).await.unwrap();
    assert_eq!((task.state(), task.attempts.len()), (proto::TaskState::Succeeded, 2), "nothing changed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_completion_under_the_token_of_another_session_is_refused_by_name() {
    let world = world().await;
    let mut holder = RawWorker::connect(&world.endpoint, "holder", 1).await;
    let id = world.client.submit(NewTask::new("raw")).await.unwrap().id;
    let (task_id, token) = holder.assigned().await;
    let mut other = RawWorker::connect(&world.endpoint, "other", 0).await;
    assert_eq!(other.complete(task_id.clone(), token).await.0, Verdict::NotHeld);
    assert_eq!(world.client.get(id).await.unwrap().state(), proto::TaskState::Running, "nothing changed");
    assert_eq!(holder.complete(task_id, token).await, (Verdict::Accepted, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_completion_after_a_cancel_is_refused_by_name() {
    let world = world().await;
    let mut worker = RawWorker::connect(&world.endpoint, "raw", 1).await;
    let id = world.client.submit(NewTask::new("raw")).await.unwrap().id;
    let (task_id, token) = worker.assigned().await;
    let task = world.client.cancel(id, "no longer wanted").await.unwrap();
    assert_eq!(task.state(), proto::TaskState::Cancelled);
    assert_eq!(worker.complete(task_id, token).await.0, Verdict::Cancelled);
    let after = world.client.get(id).await.unwrap();
    assert_eq!((after.state(), after.cancel_reason.as_str()), (proto::TaskState::Cancelled, "no longer wanted"));
    assert_eq!(after.attempts[0].outcome(), proto::AttemptOutcome::Cancelled);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_late_completion_is_refused_though_its_own_session_has_the_next_attempt() {
    let world = world().await;
    let session = Bytes::copy_from_slice(&rand::random::<[u8; 16]>());
    let mut before = RawWorker::connect_as(&world.endpoint, session.clone(), "raw", 1).await;
    let id = world.client.submit(NewTask::new("raw")).await.unwrap().id;
    let (task_id, token) = before.assigned().await;
    // Back on another stream it says that it holds nothing: the attempt is taken back, and the
    // next one is given to the same session.
    let mut after = RawWorker::connect_as(&world.endpoint, session, "raw", 1).await;
    let (again, higher) = after.assigned().await;
    assert_eq!((&again, token, higher), (&task_id, 1, 2));
    assert_eq!(after.complete(task_id.clone(), token).await, (Verdict::StaleToken, 2));
    let running = world.client.get(id).await.unwrap();
    assert_eq!(running.state(), proto::TaskState::Running, "the late completion changed nothing: {running:?}");
    assert_eq!(after.complete(task_id, higher).await, (Verdict::Accepted, 0));
    let task = succeeded(&world.client, id).await;
    assert_eq!(task.attempts.len(), 2, "{task:?}");
    assert_eq!(task.attempts[0].outcome(), proto::AttemptOutcome::LeaseExpired);
}

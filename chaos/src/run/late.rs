//! A worker that is late, and follows the rules in everything else: it takes tasks, does them at once,
//! and falls silent; after its lease has run out, when others may have the tasks, it comes back
//! and reports what it did. The SDK never does that, as it throws such completions away; so nobody
//! else puts the server's check of tokens to the test.

use std::{sync::Arc, time::Duration};

use escapement::{clock::SharedClock, edge::net, rng::Rng};
use escapement_engine::{SessionId, TaskId};
use escapement_proto::v1::{
    Assignment, Completion, Completions, Goodbye, HeldAttempt, Hello, Payload, QueueSubscription, ServerMessage,
    WorkerMessage, completion::Outcome, server_message::Message as FromServer, worker_message::Message as ToServer,
    worker_service_client::WorkerServiceClient,
};
use escapement_sim::fork;
use madsim::time::TimeHandle;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use super::world::World;
use crate::history::{HandlerEnd, What};

/// Tasks that it takes at a time.
const CREDITS: u64 = 3;
/// Between two things that it does, and after one that failed.
const PAUSE: Duration = Duration::from_millis(300);
/// Longest wait for a stream, for a Welcome, for verdicts.
const ANSWER_MAX: Duration = Duration::from_secs(5);
/// Tries to report, at one server after the other.
const TRIES: usize = 6;

struct Late {
    world: Arc<World>,
    node: String,
    servers: Vec<String>,
    clock: SharedClock,
    rng: Rng,
}

/// A stream that was welcomed.
struct Line {
    up: mpsc::Sender<WorkerMessage>,
    down: Streaming<ServerMessage>,
    lease: Duration,
}

/// An attempt that was done.
struct Done {
    id: TaskId,
    token: u64,
}

impl World {
    /// One life of such a worker, on its node.
    pub(super) async fn work_late(self: Arc<Self>, node: String, servers: Vec<String>) {
        let (clock, rng) = (self.clocks.of(&node), fork(self.plan.seed, &node));
        let until = Duration::from_millis(self.plan.safety_ms);
        let late = Late { world: self, node, servers, clock, rng };
        let mut turn = 0;
        // Once everything has healed nobody is late any more.
        while TimeHandle::current().elapsed() < until {
            if let Err(status) = late.take_and_report(turn).await {
                tracing::debug!(%status, "a late worker finds nobody");
            }
            turn += 1;
            late.clock.sleep(PAUSE).await;
        }
        std::future::pending::<()>().await;
    }
}

impl Late {
    fn session_id(&self) -> SessionId {
        self.rng.session_id(self.clock.now())
    }

    async fn within<T>(&self, wait: impl Future<Output = Result<T, Status>>) -> Result<T, Status> {
        tokio::select! {
            biased;
            answer = wait => answer,
            () = self.clock.sleep(ANSWER_MAX) => Err(Status::deadline_exceeded("no answer")),
        }
    }

    async fn take_and_report(&self, turn: usize) -> Result<(), Status> {
        let session = self.session_id();
        let line = self.within(self.open(turn, session, &[], CREDITS)).await?;
        let lease = line.lease;
        let done = self.take(line, session).await;
        if done.is_empty() {
            return Ok(());
        }
        // Silent for its whole lease and longer, counted from after it was last heard.
        let late = self.rng.u64() % u64::try_from(lease.as_millis()).unwrap_or(1).max(1);
        self.clock.sleep(lease + Duration::from_millis(late)).await;
        let back_as = if self.rng.u32().is_multiple_of(2) { session } else { self.session_id() };
        for again in 0..TRIES {
            match self.within(self.report(turn + again, back_as, &done)).await {
                Ok(()) => return Ok(()),
                Err(_) => self.clock.sleep(PAUSE).await,
            }
        }
        Err(Status::unavailable("nobody takes the reports"))
    }

    /// Opens a stream that is welcomed.
    async fn open(&self, turn: usize, session: SessionId, held: &[Done], credits: u64) -> Result<Line, Status> {
        let endpoint = &self.servers[turn % self.servers.len()];
        let channel = net::connect(endpoint).await.map_err(|error| Status::unavailable(error.to_string()))?;
        let (up, messages) = mpsc::channel(4);
        let id_bytes = |id: TaskId| id.as_bytes().to_vec().into();
        let hello = Hello {
            session_id: session.as_bytes().to_vec().into(),
            worker_name: self.node.clone(),
            queues: vec![QueueSubscription { queue: "work".to_owned(), concurrency_max: 0 }],
            held: held.iter().map(|it| HeldAttempt { task_id: id_bytes(it.id), token: it.token }).collect(),
            credits,
            ..Hello::default()
        };
        // The channel is new and has room.
        let _ = up.try_send(WorkerMessage { message: Some(ToServer::Hello(hello)) });
        let mut down = WorkerServiceClient::new(channel).session(ReceiverStream::new(messages)).await?.into_inner();
        match down.message().await?.and_then(|message| message.message) {
            Some(FromServer::Welcome(welcome)) => {
                Ok(Line { up, down, lease: Duration::from_millis(welcome.lease_ms.into()) })
            }
            _ => Err(Status::unavailable("no welcome")),
        }
    }

    /// Does what comes within half a lease.
    async fn take(&self, mut line: Line, session: SessionId) -> Vec<Done> {
        let mut done = Vec::new();
        let mut end = self.clock.sleep(line.lease / 2);
        loop {
            let message = tokio::select! {
                biased;
                () = &mut end => return done,
                message = line.down.message() => message,
            };
            match message {
                Ok(Some(ServerMessage { message: Some(FromServer::Assignments(batch)) })) => {
                    done.extend(batch.assignments.into_iter().filter_map(|it| self.carry_out(it, session)));
                }
                Ok(Some(_)) => {}
                Ok(None) | Err(_) => return done,
            }
        }
    }

    fn carry_out(&self, task: Assignment, session: SessionId) -> Option<Done> {
        let id = TaskId::from_slice(&task.task_id)?;
        let started = What::Started {
            id: id.to_string(),
            token: task.token,
            attempt: task.attempt,
            session: session.to_string(),
            queue: task.queue,
            due_unix_ms: task.due_unix_ms,
            schedule: task.schedule_id,
            nominal_unix_ms: task.nominal_unix_ms,
        };
        self.world.note(&self.node, started);
        let how = HandlerEnd::Returned;
        self.world.note(&self.node, What::Ended { id: id.to_string(), token: task.token, how });
        Some(Done { id, token: task.token })
    }

    /// Reports all, and hears what became of each.
    async fn report(&self, turn: usize, session: SessionId, done: &[Done]) -> Result<(), Status> {
        let mut line = self.open(turn, session, done, 0).await?;
        let completions = done.iter().map(|it| Completion {
            task_id: it.id.as_bytes().to_vec().into(),
            token: it.token,
            outcome: Some(Outcome::Succeeded(Payload::default())),
        });
        let completions = Completions { completions: completions.collect() };
        for message in [ToServer::Completions(completions), ToServer::Goodbye(Goodbye {})] {
            line.up.send(WorkerMessage { message: Some(message) }).await.map_err(|_| Status::unavailable("broken"))?;
        }
        let mut answered = 0;
        while answered < done.len() {
            let Some(message) = line.down.message().await? else { return Err(Status::unavailable("ended")) };
            let Some(FromServer::Verdicts(batch)) = message.message else { continue };
            for verdict in batch.verdicts {
                let Some(id) = TaskId::from_slice(&verdict.task_id) else { continue };
                let told = escapement::worker::Verdict::from(verdict.verdict()).code().to_owned();
                self.world.note(&self.node, What::Verdict { id: id.to_string(), token: verdict.token, verdict: told });
                answered += 1;
            }
        }
        Ok(())
    }
}

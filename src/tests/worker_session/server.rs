//! A server whose every answer the test gives by hand, over a real connection.

use std::{
    future::Future,
    net::{SocketAddr, TcpListener},
    time::Duration,
};

use bytes::Bytes;
use escapement_proto::v1::{
    Assignment, Assignments, CancelAttempt, CancelAttempts, CancelCause, Completion, CompletionVerdict,
    CompletionVerdicts, Draining, HeldAttempt, Hello, Payload, Renewed, ServerMessage, Verdict, Welcome, WorkerMessage,
    server_message::Message as Down,
    worker_message::Message as Up,
    worker_service_server::{WorkerService, WorkerServiceServer},
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming, transport::Server};

pub(crate) const LEASE_MS: u32 = 10_000;
pub(crate) const RENEW_INTERVAL_MS: u32 = 3_000;
pub(crate) const PAYLOAD_BYTES_MAX: u64 = 1_000;

/// Fails the test instead of letting it hang.
pub(crate) async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), what).await.expect("did not happen within 20 s")
}

type Reply = Result<ServerMessage, Status>;

struct Service(mpsc::Sender<Stream>);

#[tonic::async_trait]
impl WorkerService for Service {
    type SessionStream = ReceiverStream<Reply>;

    async fn session(
        &self,
        request: Request<Streaming<WorkerMessage>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let (down, replies) = mpsc::channel(16);
        let stream = Stream { up: request.into_inner(), down };
        self.0.send(stream).await.map_err(|_| Status::unavailable("the test is over"))?;
        Ok(Response::new(ReceiverStream::new(replies)))
    }
}

pub(crate) struct FakeServer {
    pub(crate) endpoint: String,
    streams: mpsc::Receiver<Stream>,
}

impl FakeServer {
    pub(crate) async fn start() -> Self {
        loop {
            let (sender, streams) = mpsc::channel(16);
            let address = free_address();
            let server = Server::builder().add_service(WorkerServiceServer::new(Service(sender))).serve(address);
            let task = tokio::spawn(server);
            let endpoint = format!("http://{address}");
            while escapement::edge::net::connect(&endpoint).await.is_err() && !task.is_finished() {
                tokio::task::yield_now().await;
            }
            // Another test may have taken the port in between.
            if !task.is_finished() {
                return Self { endpoint, streams };
            }
        }
    }

    /// The next stream that a worker opens, with its Hello.
    pub(crate) async fn accept(&mut self) -> (Stream, Hello) {
        soon(async {
            let mut stream = self.streams.recv().await.expect("the server runs");
            match stream.next().await {
                Some(Up::Hello(hello)) => (stream, hello),
                other => panic!("not Hello: {other:?}"),
            }
        })
        .await
    }

    /// Like [`FakeServer::accept`], and welcomes the worker.
    pub(crate) async fn welcome(&mut self) -> (Stream, Hello) {
        let (stream, hello) = self.accept().await;
        stream.welcome(&[]).await;
        (stream, hello)
    }
}

fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

pub(crate) fn assignment(task: u8, token: u64) -> Assignment {
    Assignment {
        task_id: id(task),
        token,
        attempt: 1,
        max_attempts: 5,
        queue: "work".to_owned(),
        payload: Some(Payload {
            data: Bytes::from(format!("payload-{task}")),
            content_type: "text/plain".to_owned(),
            ..Default::default()
        }),
        due_unix_ms: 1_790_000_000_000,
        attempt_timeout_ms: 3_600_000,
        ..Assignment::default()
    }
}

pub(crate) fn id(task: u8) -> Bytes {
    Bytes::from(vec![task; 16])
}

pub(crate) fn held(task: u8, token: u64) -> HeldAttempt {
    HeldAttempt { task_id: id(task), token }
}

/// One stream, seen from the server. Dropping it breaks it.
pub(crate) struct Stream {
    up: Streaming<WorkerMessage>,
    down: mpsc::Sender<Reply>,
}

impl Stream {
    pub(crate) async fn send(&self, message: Down) {
        soon(self.down.send(Ok(ServerMessage { message: Some(message) }))).await.expect("the stream is open");
    }

    pub(crate) async fn refuse(self, status: Status) {
        soon(self.down.send(Err(status))).await.expect("the stream is open");
    }

    pub(crate) async fn welcome(&self, lost: &[HeldAttempt]) {
        self.send(Down::Welcome(Welcome {
            lease_ms: LEASE_MS,
            renew_interval_ms: RENEW_INTERVAL_MS,
            payload_bytes_max: PAYLOAD_BYTES_MAX,
            lost: lost.to_vec(),
            ..Welcome::default()
        }))
        .await;
    }

    pub(crate) async fn assign(&self, assignments: impl IntoIterator<Item = Assignment>) {
        self.send(Down::Assignments(Assignments { assignments: assignments.into_iter().collect() })).await;
    }

    pub(crate) async fn cancel(&self, task: u8, token: u64, cause: CancelCause) {
        let cancel = CancelAttempt { task_id: id(task), token, cause: cause.into() };
        self.send(Down::Cancels(CancelAttempts { cancels: vec![cancel] })).await;
    }

    pub(crate) async fn verdict(&self, completion: &Completion, verdict: Verdict) {
        let verdict = CompletionVerdict {
            task_id: completion.task_id.clone(),
            token: completion.token,
            verdict: verdict.into(),
            ..CompletionVerdict::default()
        };
        self.send(Down::Verdicts(CompletionVerdicts { verdicts: vec![verdict] })).await;
    }

    pub(crate) async fn accept(&self, completion: &Completion) {
        self.verdict(completion, Verdict::Accepted).await;
    }

    pub(crate) async fn renewed(&self, sequence: u64) {
        self.send(Down::Renewed(Renewed { sequence })).await;
    }

    pub(crate) async fn draining(&self) {
        self.send(Down::Draining(Draining {})).await;
    }

    /// What the worker says next. `None` when it ended or broke the stream.
    pub(crate) async fn next(&mut self) -> Option<Up> {
        soon(self.up.message()).await.ok().flatten().map(|message| message.message.expect("a message of a known kind"))
    }

    /// The next completions, each taken from its message; renewals are answered, credits
    /// passed over.
    pub(crate) async fn completions(&mut self) -> Vec<Completion> {
        match self.news().await {
            Some(Up::Completions(batch)) => batch.completions,
            other => panic!("not completions: {other:?}"),
        }
    }

    /// The only completion of the next message.
    pub(crate) async fn completion(&mut self) -> Completion {
        let mut completions = self.completions().await;
        assert_eq!(completions.len(), 1, "{completions:?}");
        completions.remove(0)
    }

    /// The next message that is neither a renewal nor a grant.
    pub(crate) async fn news(&mut self) -> Option<Up> {
        let news = async {
            loop {
                match self.next().await {
                    Some(Up::Renew(renew)) => self.renewed(renew.sequence).await,
                    Some(Up::Grant(_)) => {}
                    other => return other,
                }
            }
        };
        soon(news).await
    }
}

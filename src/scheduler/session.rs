//! The worker's side of the wire: one task for each open stream reads what the worker sends
//! and passes it on. What goes to the worker is written by the core.

use std::{
    collections::BTreeMap,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use escapement_engine::{
    SessionId, TaskId, Token, limits,
    name::{Namespace, QueueName},
    text::{cut, cut_marked},
};
use escapement_proto::{
    WORKER_FEATURES, WORKER_PROTOCOL_VERSION,
    v1::{
        self, Completion, CompletionVerdict, Hello, ServerMessage, Verdict, WorkerMessage, completion::Outcome,
        server_message, worker_message, worker_service_server::WorkerService,
    },
};
use futures_util::Stream;
use tokio::sync::{mpsc, oneshot};
use tonic::{Request, Response, Status, Streaming};

use super::{
    Scheduler, Shared,
    completing::EndJob,
    core::{Message, Outbound, Outgoing, SessionEvent, SessionOpening},
    transactions::{EndRequest, Ending},
    watch::Progress,
};
use crate::{
    error::{ApiError, Violation},
    model::{Payload, TaskError},
};

/// Messages on their way to one worker. One that does not read is cut off when they pile up.
const OUTBOUND: usize = 1024;

/// A stream that says nothing for so long after it was opened is closed.
const HELLO_MAX: Duration = Duration::from_secs(10);

/// Streams of this process, so that two of one session can be told apart.
static STREAMS: AtomicU64 = AtomicU64::new(1);

/// What goes down to one worker.
#[derive(Debug)]
pub struct ToWorker(mpsc::Receiver<Outgoing>);

impl Stream for ToWorker {
    type Item = Result<ServerMessage, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_recv(cx).map(|outgoing| outgoing.map(Outgoing::taken))
    }
}

#[tonic::async_trait]
impl WorkerService for Scheduler {
    type SessionStream = ToWorker;

    async fn session(
        &self,
        request: Request<Streaming<WorkerMessage>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let mut inbound = request.into_inner();
        let shared = Arc::clone(self.shared());
        let (outbound, messages) = mpsc::channel(OUTBOUND);
        // The answer's head goes out at once; the client may wait for it before it says hello.
        tokio::spawn(async move {
            let (hold, gone) = oneshot::channel();
            let opened = tokio::select! {
                biased;
                opened = opening(&mut inbound, &outbound, hold) => opened,
                () = shared.clock.sleep(HELLO_MAX) => Err(Status::deadline_exceeded("no Hello in 10 s")),
            };
            match opened {
                Ok(opening) => serve(&shared, opening, inbound, outbound, gone).await,
                Err(status) => drop(outbound.send(Outgoing::error(status)).await),
            }
        });
        Ok(Response::new(ToWorker(messages)))
    }
}

async fn opening(
    inbound: &mut Streaming<WorkerMessage>,
    outbound: &Outbound,
    hold: oneshot::Sender<()>,
) -> Result<SessionOpening, Status> {
    let first = inbound.message().await?.and_then(|message| message.message);
    match first {
        Some(worker_message::Message::Hello(hello)) => read_hello(hello, outbound.clone(), hold).map_err(Status::from),
        _ => Err(ApiError::invalid(vec![Violation::new("message", "", "the first message must be Hello")], 1).into()),
    }
}

fn read_hello(hello: Hello, outbound: Outbound, hold: oneshot::Sender<()>) -> Result<SessionOpening, ApiError> {
    let mut violations = Vec::new();
    let session = SessionId::from_slice(&hello.session_id);
    if session.is_none() {
        let bytes = format!("{} bytes", hello.session_id.len());
        violations.push(Violation::new("hello.session_id", bytes, "must be the 16 bytes of a UUID"));
    }
    if hello.worker_name.len() > limits::WORKER_NAME_BYTES_MAX {
        let bytes = format!("{} bytes", hello.worker_name.len());
        violations.push(Violation::new("hello.worker_name", bytes, "must be at most 128 bytes"));
    }
    // Absent: from before there were versions.
    if !matches!(hello.protocol_version, 0 | WORKER_PROTOCOL_VERSION) {
        let version = hello.protocol_version.to_string();
        let rule = format!("must be {WORKER_PROTOCOL_VERSION}, the one version that this server knows");
        violations.push(Violation::new("hello.protocol_version", version, rule));
    }
    let features = hello.features.into_iter().filter(|name| WORKER_FEATURES.contains(&name.as_str())).collect();
    let namespace = match hello.namespace.as_str() {
        "" => Some(Namespace::default()),
        text => Namespace::new(text)
            .map_err(|error| violations.push(Violation::new("hello.namespace", error.value, error.rule)))
            .ok(),
    };
    if hello.queues.is_empty() || hello.queues.len() > limits::SESSION_QUEUES_MAX {
        violations.push(Violation::new("hello.queues", hello.queues.len().to_string(), "must be 1 to 256 queues"));
    }
    let mut queues = BTreeMap::new();
    for (n, subscription) in hello.queues.iter().enumerate() {
        match QueueName::new(&subscription.queue) {
            Ok(queue) => drop(queues.insert(queue, subscription.concurrency_max)),
            Err(error) => {
                violations.push(Violation::new(format!("hello.queues[{n}].queue"), error.value, error.rule));
            }
        }
    }
    let mut held = BTreeMap::new();
    for (n, attempt) in hello.held.iter().enumerate() {
        match TaskId::from_slice(&attempt.task_id) {
            Some(id) => drop(held.insert(id, Token(attempt.token))),
            None => {
                let bytes = format!("{} bytes", attempt.task_id.len());
                violations.push(Violation::new(format!("hello.held[{n}].task_id"), bytes, "must be 16 bytes"));
            }
        }
    }
    match (session, namespace, violations.is_empty()) {
        (Some(session), Some(namespace), true) => Ok(SessionOpening {
            session,
            stream: STREAMS.fetch_add(1, Ordering::Relaxed),
            worker_name: hello.worker_name.into(),
            namespace,
            queues: queues.into_iter().collect(),
            held,
            credits: hello.credits,
            features,
            outbound,
            hold,
        }),
        _ => {
            let total = violations.len();
            Err(ApiError::invalid(violations, total))
        }
    }
}

async fn serve(
    shared: &Arc<Shared>,
    opening: SessionOpening,
    mut inbound: Streaming<WorkerMessage>,
    outbound: Outbound,
    mut gone: oneshot::Receiver<()>,
) {
    let reader = Reader { shared, session: opening.session, stream: opening.stream, outbound };
    reader.tell(SessionEvent::Opened(Box::new(opening))).await;
    loop {
        let message = tokio::select! {
            biased;
            // The core has let go of this stream, or the worker has.
            _ = &mut gone => break,
            () = reader.outbound.closed() => break,
            message = inbound.message() => message,
        };
        match message {
            Ok(Some(WorkerMessage { message: Some(message) })) => {
                if let Err(error) = reader.handle(message).await {
                    drop(reader.outbound.send(Outgoing::error(Status::from(error))).await);
                    break;
                }
            }
            // Of a newer protocol: not for us.
            Ok(Some(WorkerMessage { message: None })) => {}
            Ok(None) => break,
            Err(status) => {
                tracing::debug!(session = %reader.session, %status, "worker stream broke");
                break;
            }
        }
    }
    reader.tell(SessionEvent::Closed).await;
}

struct Reader<'a> {
    shared: &'a Arc<Shared>,
    session: SessionId,
    stream: u64,
    outbound: Outbound,
}

impl Reader<'_> {
    async fn tell(&self, event: SessionEvent) {
        self.shared.tell(Message::Session { session: self.session, stream: self.stream, event }).await;
    }

    async fn handle(&self, message: worker_message::Message) -> Result<(), ApiError> {
        match message {
            worker_message::Message::Hello(_) => {
                return Err(ApiError::invalid(vec![Violation::new("message", "", "Hello comes once, first")], 1));
            }
            worker_message::Message::Renew(renew) => {
                self.tell(SessionEvent::Renewed { sequence: renew.sequence }).await;
            }
            worker_message::Message::Grant(grant) => {
                self.tell(SessionEvent::Granted { credits_total: grant.credits_total }).await;
            }
            worker_message::Message::Completions(batch) => {
                for completion in batch.completions {
                    self.complete(completion).await;
                }
            }
            worker_message::Message::Progress(batch) => self.progress(batch),
            worker_message::Message::Goodbye(_) => self.tell(SessionEvent::Draining).await,
        }
        Ok(())
    }

    async fn complete(&self, completion: Completion) {
        let Some(id) = TaskId::from_slice(&completion.task_id) else {
            let message = format!("task_id is {} bytes, but must be 16", completion.task_id.len());
            return self.refuse(completion, message).await;
        };
        let token = Token(completion.token);
        let (ending, broken) = self.read_outcome(completion.outcome.clone());
        // A broken completion is refused with its reason at once; the attempt counts as failed.
        let verdict_to = broken.is_none().then_some(self.session);
        if let Some(message) = broken {
            self.refuse(completion, message).await;
        }
        let request = EndRequest {
            shard: id.shard(self.shared.shards),
            id,
            session: self.session,
            token,
            ending,
            random: self.shared.rng.u32(),
        };
        // Waits when the store is slower than the workers: that is their backpressure.
        let _ = self.shared.ends.send(EndJob { request, verdict_to }).await;
    }

    /// What the completion says, and if it breaks a limit, which.
    fn read_outcome(&self, outcome: Option<Outcome>) -> (Ending, Option<String>) {
        let max = self.shared.options.payload_bytes_max;
        match outcome {
            Some(Outcome::Succeeded(result)) if result.data.len() > max => {
                let message = format!("result is {} bytes, but must be at most {max}", result.data.len());
                (invalid_result("result-too-large", &message), Some(message))
            }
            Some(Outcome::Succeeded(result)) if result.content_type.len() > limits::CONTENT_TYPE_BYTES_MAX => {
                let message = format!("content_type is {} bytes, but must be at most 255", result.content_type.len());
                (invalid_result("invalid-result", &message), Some(message))
            }
            Some(Outcome::Succeeded(result)) => (Ending::Succeeded(read_payload(result)), None),
            Some(Outcome::Failed(failure)) => {
                let error = failure.error.unwrap_or_default();
                let details = error.details.map(read_payload).unwrap_or_default();
                let error = TaskError {
                    kind: cut(error.kind, limits::ERROR_KIND_BYTES_MAX),
                    message: cut_marked(error.message, limits::ERROR_MESSAGE_BYTES_MAX),
                    non_retryable: error.non_retryable,
                    details: Payload {
                        truncated: details.truncated || details.data.len() > limits::ERROR_DETAILS_BYTES_MAX,
                        data: details.data.slice(..details.data.len().min(limits::ERROR_DETAILS_BYTES_MAX)),
                        content_type: cut(details.content_type, limits::CONTENT_TYPE_BYTES_MAX),
                    },
                };
                let retry_after = Duration::from_millis(failure.retry_after_ms).min(limits::DUE_AHEAD_MAX);
                (Ending::Failed { error, retry_after, timed_out: failure.timed_out }, None)
            }
            None => {
                let message = "completion has no outcome".to_owned();
                (invalid_result("invalid-result", &message), Some(message))
            }
        }
    }

    async fn refuse(&self, completion: Completion, message: String) {
        let verdict = CompletionVerdict {
            task_id: completion.task_id,
            token: completion.token,
            verdict: Verdict::Invalid.into(),
            current_token: 0,
            message,
        };
        let message = server_message::Message::Verdicts(v1::CompletionVerdicts { verdicts: vec![verdict] });
        let _ = self.outbound.send(Outgoing::message(message)).await;
    }

    fn progress(&self, batch: v1::ProgressReports) {
        let reported = self.shared.clock.now();
        for report in batch.reports {
            let (Some(id), Some(payload)) = (TaskId::from_slice(&report.task_id), report.payload) else { continue };
            if payload.data.len() <= limits::ERROR_DETAILS_BYTES_MAX {
                let progress = Progress { token: Token(report.token), payload: read_payload(payload), reported };
                self.shared.watches.progress(id, progress);
            }
        }
    }
}

fn invalid_result(kind: &str, message: &str) -> Ending {
    let error = TaskError {
        kind: kind.to_owned(),
        message: message.to_owned(),
        non_retryable: true,
        details: Payload::default(),
    };
    Ending::Failed { error, retry_after: Duration::ZERO, timed_out: false }
}

fn read_payload(payload: v1::Payload) -> Payload {
    Payload { data: payload.data, content_type: payload.content_type, truncated: payload.truncated }
}

/// Sends what the core has for a session, without waiting: one that does not read is cut off.
pub(super) fn send(outbound: &Outbound, message: server_message::Message) -> bool {
    outbound.try_send(Outgoing::message(message)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scheduler::room::PayloadRoom;

    fn hello() -> Hello {
        let queues = vec![v1::QueueSubscription { queue: "q".to_owned(), concurrency_max: 0 }];
        Hello { session_id: bytes::Bytes::from_static(&[7; 16]), queues, ..Hello::default() }
    }

    fn read(hello: Hello) -> Result<SessionOpening, ApiError> {
        read_hello(hello, mpsc::channel(1).0, oneshot::channel().0)
    }

    #[test]
    fn a_worker_of_another_protocol_is_refused_with_the_version_that_is_known() {
        for version in [0, WORKER_PROTOCOL_VERSION] {
            let opening = read(Hello { protocol_version: version, ..hello() }).unwrap();
            assert_eq!(opening.features, Vec::<String>::new());
        }
        let error = read(Hello { protocol_version: 2, ..hello() }).unwrap_err();
        assert_eq!(
            error.to_string(),
            "hello.protocol_version must be 1, the one version that this server knows (got `2`)"
        );
        // What it can do beyond that is its own affair.
        let opening = read(Hello { features: vec!["telepathy".to_owned()], ..hello() }).unwrap();
        assert_eq!(opening.features, Vec::<String>::new());
    }

    #[test]
    fn the_room_of_payloads_is_given_back_when_the_transport_takes_them() {
        let room = PayloadRoom::default();
        let stream = room.stream();
        let (outbound, messages) = mpsc::channel(4);
        for bytes in [100, 20] {
            let message = server_message::Message::Assignments(v1::Assignments::default());
            outbound.try_send(Outgoing::message(message).with_room(vec![stream.take(bytes).unwrap()])).unwrap();
        }
        let mut messages = ToWorker(messages);
        let mut cx = Context::from_waker(std::task::Waker::noop());
        assert_eq!(room.used(), 120);
        assert!(matches!(Pin::new(&mut messages).poll_next(&mut cx), Poll::Ready(Some(Ok(_)))));
        assert_eq!(room.used(), 20);
        // A stream that breaks gives back everything.
        drop(messages);
        assert_eq!(room.used(), 0);
    }
}

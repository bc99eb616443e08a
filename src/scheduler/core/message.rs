//! What the core is told. Every message is about something that has happened already.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use escapement_engine::{
    ScheduleUid, SessionId, ShardId, TaskId, Timestamp, Token,
    cluster_time::Exchange,
    dispatch::LoadRequest,
    name::{Namespace, QueueName},
};
use escapement_proto::v1::{ServerMessage, server_message};
use tokio::sync::{mpsc, oneshot};

use super::strays::HeldLease;
use crate::{
    keyspace::DueStream,
    model::NewTask,
    scheduler::{
        room::Taken,
        status::SchedulerStatus,
        transactions::{
            DuePage, DueTick, EndOutcome, EndRequest, FireOutcome, FireRequest, Overdue, Refusal, TickOutcome,
            TickPage, due_stream,
        },
    },
    store::RunError,
};

/// A due entry that was committed.
#[derive(Clone, Debug)]
pub(crate) struct Offer {
    pub(crate) id: TaskId,
    pub(crate) stream: DueStream,
    pub(crate) due: Timestamp,
    pub(crate) deadline: Option<Timestamp>,
}

impl Offer {
    /// The first due entry of a task.
    pub(crate) fn of(shards: u32, task: &NewTask) -> Self {
        Self { id: task.id, stream: due_stream(shards, task), due: task.due, deadline: task.deadline }
    }
}

/// Where a session's messages go.
pub(crate) type Outbound = mpsc::Sender<Outgoing>;

/// Something on its way to a worker.
#[derive(Debug)]
pub(crate) struct Outgoing {
    message: Result<ServerMessage, tonic::Status>,
    /// Given back when the transport takes the message.
    rooms: Vec<Taken>,
}

impl Outgoing {
    pub(crate) fn message(message: server_message::Message) -> Self {
        Self { message: Ok(ServerMessage { message: Some(message) }), rooms: Vec::new() }
    }

    /// What ends the stream.
    pub(crate) fn error(status: tonic::Status) -> Self {
        Self { message: Err(status), rooms: Vec::new() }
    }

    pub(crate) fn with_room(self, rooms: Vec<Taken>) -> Self {
        Self { rooms, ..self }
    }

    /// The transport takes it.
    pub(crate) fn taken(self) -> Result<ServerMessage, tonic::Status> {
        drop(self.rooms);
        self.message
    }
}

/// A worker session that opens its stream.
#[derive(Debug)]
pub(crate) struct SessionOpening {
    pub(crate) session: SessionId,
    /// Tells two streams of one session apart.
    pub(crate) stream: u64,
    pub(crate) worker_name: Arc<str>,
    pub(crate) namespace: Namespace,
    /// Queue and its own bound (0: none).
    pub(crate) queues: Vec<(QueueName, u32)>,
    pub(crate) held: BTreeMap<TaskId, Token>,
    pub(crate) credits: u64,
    /// What it can do that this server uses, too.
    pub(crate) features: Vec<String>,
    pub(crate) outbound: Outbound,
    /// Dropped when the core lets go of the stream.
    pub(crate) hold: oneshot::Sender<()>,
}

/// Something a session did.
#[derive(Debug)]
pub(crate) enum SessionEvent {
    /// It opened a stream.
    Opened(Box<SessionOpening>),
    /// It renewed its lease.
    Renewed { sequence: u64 },
    /// It granted credits, counted from the start of its stream.
    Granted { credits_total: u64 },
    /// It takes nothing more.
    Draining,
    /// Its stream broke or ended.
    Closed,
}

/// What the core is told.
#[derive(Debug)]
pub(crate) enum Message {
    /// Due entries were committed.
    Offered(Vec<Offer>),
    /// A task was cancelled.
    Cancelled { id: TaskId, running: Option<(SessionId, Token)> },
    /// A schedule has a tick at another instant, or none any more.
    TickMoved { uid: ScheduleUid, next: Option<DueTick> },
    /// A page of the due index was read.
    DueRead { request: LoadRequest, result: Result<DuePage, RunError<Refusal>> },
    /// A shard was looked through for streams.
    StreamsFound { streams: Vec<DueStream> },
    /// A page of ticks was read.
    TicksRead { shard: ShardId, page: TickPage },
    /// Leases of a shard were read; `again`: those that memory did not know a moment ago.
    LeasesRead { leases: Vec<HeldLease>, again: bool },
    /// A firing transaction ended.
    Fired { requests: Arc<[FireRequest]>, result: Result<Vec<FireOutcome>, RunError<Refusal>> },
    /// A ticking transaction ended.
    Ticked { ticks: Arc<[DueTick]>, result: Result<Vec<TickOutcome>, RunError<Refusal>> },
    /// Attempts were ended.
    Ended { requests: Arc<[EndRequest]>, verdicts_to: Vec<Option<SessionId>>, outcomes: Vec<EndOutcome> },
    /// Attempts could not be ended.
    EndFailed { requests: Arc<[EndRequest]> },
    /// Tasks failed by their deadline.
    Overdue(Overdue),
    /// A session did something on this stream.
    Session { session: SessionId, stream: u64, event: SessionEvent },
    /// Somebody wants to know.
    Status(oneshot::Sender<SchedulerStatus>),
    /// Something of these shards may have been committed of which nobody heard.
    Suspect(Vec<ShardId>),
    /// The clock of another node was measured.
    ClockMeasured { node: SessionId, exchange: Box<Exchange> },
    /// The other schedulers of the cluster are these.
    Members(BTreeSet<SessionId>),
    /// Fire nothing more; tell every worker.
    Drain,
    /// End.
    Stop,
}

impl Message {
    /// Whether a transaction found the shards in other hands. They do not come back.
    pub(crate) fn tells_of_fence(&self) -> bool {
        fn fenced<T>(result: &Result<T, RunError<Refusal>>) -> bool {
            matches!(result, Err(RunError::Refused(Refusal::NotOwner(_))))
        }
        match self {
            Self::Fired { result, .. } => fenced(result),
            Self::Ticked { result, .. } => fenced(result),
            Self::DueRead { result, .. } => fenced(result),
            _ => false,
        }
    }
}

//! What workers run: handlers that do what the payload says, and the sink that they have
//! effects on, which checks fencing tokens.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use escapement::worker::{Context, Output, TaskFailure, WorkerHandle};
use escapement_engine::{TaskId, Token};
use madsim::time::TimeHandle;

use super::world::World;
use crate::{
    history::{HandlerEnd, What},
    workload::Work,
};

/// Something outside of the cluster that handlers write to. It takes a write only under a
/// token that is not lower than every one before.
#[derive(Debug, Default)]
pub(super) struct Sink(Mutex<BTreeMap<TaskId, Token>>);

impl Sink {
    /// A write before the run.
    pub(super) fn known(&self, id: &str, token: u64) {
        if let Ok(id) = id.parse() {
            self.write(id, Token(token));
        }
    }

    fn write(&self, id: TaskId, token: Token) -> bool {
        let mut highest = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let highest = highest.entry(id).or_insert(token);
        let accepted = token >= *highest;
        *highest = token.max(*highest);
        accepted
    }
}

/// One process of a worker, as its handlers see it.
#[derive(Clone)]
pub(super) struct Seat {
    pub(super) world: Arc<World>,
    pub(super) node: String,
    /// There once the worker has started.
    pub(super) handle: Arc<Mutex<Option<WorkerHandle>>>,
}

impl Seat {
    pub(super) async fn run(self, ctx: Context) -> Result<Output, TaskFailure> {
        let work: Work = serde_json::from_slice(&ctx.payload().data)
            .map_err(|error| TaskFailure::non_retryable("payload", error.to_string()))?;
        let mut running = self.begin(&ctx);
        self.effect(&ctx);
        let span = ctx.clock().sleep(Duration::from_millis(work.ms));
        tokio::select! {
            biased;
            cause = ctx.cancelled(), if !work.deaf => {
                running.end(HandlerEnd::Stopped);
                return Err(TaskFailure::retryable("stopped", cause.to_string()));
            }
            () = span => {}
        }
        self.effect(&ctx);
        if ctx.attempt() <= work.fail {
            running.end(HandlerEnd::Failed);
            return Err(TaskFailure::retryable("planned", "the plan says so"));
        }
        running.end(HandlerEnd::Returned);
        Ok(Output::empty())
    }

    fn begin(&self, ctx: &Context) -> Running {
        let (id, token) = (ctx.task_id(), ctx.token());
        let handle = self.handle.lock().unwrap_or_else(PoisonError::into_inner);
        let session = handle.as_ref().map(|handle| handle.session_id().to_string()).unwrap_or_default();
        let occurrence = ctx.occurrence();
        let started = What::Started {
            id: id.to_string(),
            token: token.0,
            attempt: ctx.attempt(),
            session,
            queue: ctx.queue().as_str().to_owned(),
            due_unix_ms: ctx.due().unix_ms(),
            schedule: occurrence.map(|made| made.schedule_id.as_str().to_owned()).unwrap_or_default(),
            nominal_unix_ms: occurrence.and_then(|made| made.nominal).map(escapement_engine::Timestamp::unix_ms),
        };
        self.world.note(&self.node, started);
        Running { seat: self.clone(), id, token, ended: false }
    }

    fn effect(&self, ctx: &Context) {
        let (id, token) = (ctx.task_id(), ctx.token());
        let accepted = self.world.sink.write(id, token);
        self.world.note(&self.node, What::Effect { id: id.to_string(), token: token.0, accepted });
    }
}

/// A handler that runs; notes its end, however it comes.
struct Running {
    seat: Seat,
    id: TaskId,
    token: Token,
    ended: bool,
}

impl Running {
    fn end(&mut self, how: HandlerEnd) {
        self.ended = true;
        self.seat.world.note(&self.seat.node, What::Ended { id: self.id.to_string(), token: self.token.0, how });
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // What is left when the simulation itself ends was not stopped by anybody.
        if !self.ended && TimeHandle::try_current().is_some() {
            self.end(HandlerEnd::Stopped);
        }
    }
}

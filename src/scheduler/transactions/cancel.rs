//! Cancelling a task, whatever it is doing. Needs no ownership: whoever commits first wins,
//! and the owner's own transactions read what this one writes.

use escapement_engine::{
    SessionId, TaskId, Timestamp, Token,
    name::Namespace,
    planted::{Bug, planted},
};

use super::{Body, Outcome, Refusal, read::assemble, read_record};
use crate::{
    keyspace::{self, DueStream},
    model::{Attempt, AttemptOutcome, TaskState, TaskView},
    records::{Head, Lease, Record as _, StoredTask},
    store::{Database, Transaction, TransactionKind},
};

/// A task that is cancelled.
#[derive(Clone, Debug)]
pub(crate) struct Cancelled {
    pub(crate) view: TaskView,
    /// The attempt that was cut off: its session should be told.
    pub(crate) running: Option<(SessionId, Token)>,
}

/// Cancels a task; one that is cancelled already stays as it is.
pub(crate) async fn cancel(
    db: &Database,
    shards: u32,
    namespace: &Namespace,
    id: TaskId,
    reason: &str,
    now: Timestamp,
) -> Outcome<Cancelled> {
    let committed = db
        .run(TransactionKind::idempotent("cancel"), |tx, attempt| {
            let (namespace, reason) = (namespace.clone(), reason.to_owned());
            async move {
                let mut cancelled = body(&tx, shards, &namespace, id, reason, now).await?;
                if attempt.maybe_committed && cancelled.running.is_none() {
                    cancelled.running = cut_off_before(&tx, shards, id, now).await?;
                }
                Ok(cancelled)
            }
        })
        .await?;
    Ok(committed.value)
}

async fn body(
    tx: &Transaction,
    shards: u32,
    namespace: &Namespace,
    id: TaskId,
    reason: String,
    now: Timestamp,
) -> Body<Cancelled> {
    let shard = id.shard(shards);
    let task = read_record::<StoredTask>(tx, keyspace::task(shard, id)).await?;
    let Some(task) = task.filter(|task| task.namespace == *namespace) else {
        return Err(Refusal::TaskNotFound(id).into());
    };
    let head = read_record::<Head>(tx, keyspace::head(shard, id)).await?;
    match head.as_ref().map(|head| head.state) {
        Some(TaskState::Cancelled) => {
            let view = assemble(tx, shards, id, task, head, None).await?;
            return Ok(Cancelled { view, running: None });
        }
        Some(state) if state.is_terminal() => return Err(Refusal::TaskEnded(id, state).into()),
        _ => {}
    }
    let lease = read_record::<Lease>(tx, keyspace::lease(shard, id)).await?;
    let due = lease.as_ref().map(|it| it.due).or(head.as_ref().map(|it| it.due)).unwrap_or(task.due);
    if lease.is_some() {
        if !planted(Bug::CancelLeavesLease) {
            tx.clear(keyspace::lease(shard, id))?;
        }
    } else {
        let stream = DueStream {
            shard,
            namespace: task.namespace.clone(),
            queue: task.template.queue.clone(),
            priority: task.template.priority,
        };
        let entry = stream.entry(due, id);
        if tx.get(entry.clone()).await?.is_none() {
            return Err(Refusal::Inconsistent(format!("task {id} has neither lease, end nor due entry")).into());
        }
        tx.clear(entry)?;
    }
    let cut_off = lease.as_ref().map(|lease| cut_off(lease, now));
    if let (Some(last), Some(_)) = (head.as_ref().and_then(|head| head.last.as_ref()), &cut_off) {
        tx.set(keyspace::history(shard, id, last.number), last.encode())?;
    }
    let head = Head {
        state: TaskState::Cancelled,
        attempts: lease.as_ref().map_or(head.as_ref().map_or(0, |it| it.attempts), |it| it.attempt),
        token: lease.as_ref().map_or(head.as_ref().map_or(Token(0), |it| it.token), |it| it.token),
        due,
        finished: Some(now),
        last: cut_off.or(head.and_then(|head| head.last)),
        result: None,
        cancel_reason: reason,
        ended_by: None,
    };
    tx.set(keyspace::head(shard, id), head.encode())?;
    let running = lease.map(|lease| (lease.session, lease.token));
    let view = assemble(tx, shards, id, task, Some(head), None).await?;
    Ok(Cancelled { view, running })
}

/// The attempt that an earlier try of this very cancellation, known by its instant, cut off:
/// its worker has not been told yet.
async fn cut_off_before(tx: &Transaction, shards: u32, id: TaskId, now: Timestamp) -> Body<Option<(SessionId, Token)>> {
    let head = read_record::<Head>(tx, keyspace::head(id.shard(shards), id)).await?;
    let last = head.filter(|head| head.finished == Some(now)).and_then(|head| head.last);
    let last = last.filter(|last| matches!(last.ended, Some((_, AttemptOutcome::Cancelled))));
    Ok(last.map(|last| (last.session, last.token)))
}

fn cut_off(lease: &Lease, now: Timestamp) -> Attempt {
    Attempt {
        number: lease.attempt,
        token: lease.token,
        session: lease.session,
        worker_name: lease.worker_name.clone(),
        started: lease.started,
        ended: Some((now.max(lease.started), AttemptOutcome::Cancelled)),
        error: None,
    }
}

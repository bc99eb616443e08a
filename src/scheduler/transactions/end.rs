//! The end of attempts: completions, timeouts and expired leases, batched. The fence is
//! checked here: a completion counts only under the token of the lease that stands.

use std::{cmp::Ordering, sync::Arc, time::Duration};

use bytes::Bytes;
use escapement_engine::{
    SessionId, ShardId, TaskId, Timestamp, Token,
    planted::{Bug, planted},
    retry::{AfterFailure, Failure},
};

use super::{Body, Outcome, Ownership, Refusal, distinct_shards, isolated};
use crate::{
    keyspace::{self, DueStream},
    model::{Attempt, AttemptOutcome, Payload, TaskError, TaskState, Template},
    records::{DueEntry, Head, Lease, PayloadMeta, Record as _, StoredTask, chunks},
    store::{Database, Transaction, TransactionKind},
};

/// How an attempt ends.
#[derive(Clone, Debug)]
pub(crate) enum Ending {
    /// The handler returned a result.
    Succeeded(Payload),
    /// The handler failed, or was cut off by its timeout.
    Failed { error: TaskError, retry_after: Duration, timed_out: bool },
    /// The server saw the attempt run out of time.
    TimedOut,
    /// The session is gone, or came back without the attempt.
    LeaseExpired,
}

/// An attempt that ends.
#[derive(Clone, Debug)]
pub(crate) struct EndRequest {
    pub(crate) shard: ShardId,
    pub(crate) id: TaskId,
    pub(crate) session: SessionId,
    pub(crate) token: Token,
    pub(crate) ending: Ending,
    /// Random bits for the jitter of a retry, drawn before the first try.
    pub(crate) random: u32,
}

/// A further attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Retry {
    pub(crate) stream: DueStream,
    pub(crate) due: Timestamp,
    pub(crate) deadline: Option<Timestamp>,
}

/// What became of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum EndOutcome {
    /// It counts. `retry` is the next attempt, if one follows.
    Accepted { retry: Option<Retry> },
    /// It counted before.
    Duplicate,
    /// Another attempt has a higher token, or this one was taken back.
    Stale { current: Token },
    /// The task was cancelled.
    Cancelled,
    /// There never was such an attempt of this session.
    NotHeld,
    /// A record of the task cannot be read: nothing was done.
    Unreadable,
}

const END: TransactionKind = TransactionKind::idempotent("end");

/// Ends a batch of attempts at the instant `now`.
pub(crate) async fn end(
    db: &Database,
    ownership: &Ownership,
    requests: Arc<[EndRequest]>,
    now: Timestamp,
) -> Outcome<Vec<EndOutcome>> {
    let committed = db
        .run(END, |tx, attempt| {
            let (ownership, requests) = (ownership.clone(), Arc::clone(&requests));
            async move { body(&tx, &ownership, &requests, now, attempt.maybe_committed).await }
        })
        .await?;
    Ok(committed.value)
}

async fn body(
    tx: &Transaction,
    ownership: &Ownership,
    requests: &[EndRequest],
    now: Timestamp,
    maybe_committed: bool,
) -> Body<Vec<EndOutcome>> {
    let shards = distinct_shards(requests.iter().map(|it| it.shard));
    let mut keys = Ownership::fence_keys(&shards);
    keys.extend(requests.iter().map(|it| keyspace::lease(it.shard, it.id)));
    let mut values = tx.get_many(keys).await?;
    let leases = values.split_off(shards.len());
    ownership.check(&shards, &values)?;

    let mut readable = Vec::with_capacity(requests.len());
    for (request, value) in requests.iter().zip(leases) {
        let lease = value.as_ref().map(Lease::decode).transpose().map_err(Into::into);
        readable.push(isolated(request.id, lease)?.map(|lease| (request, lease)));
    }
    let mut extras = read_extras(tx, readable.iter().flatten(), maybe_committed).await?.into_iter();

    let mut outcomes = Vec::with_capacity(requests.len());
    for it in readable {
        let Some((request, lease)) = it else {
            outcomes.push(EndOutcome::Unreadable);
            continue;
        };
        let extra = extras.next().expect("one for each that is readable");
        let outcome = match (extra, twin(&outcomes, requests, request)) {
            (Err(unreadable), _) => Err(unreadable),
            (Ok(_), Some(twin)) => Ok(refuse_after(twin, request)),
            (Ok(extra), None) => match lease {
                Some(lease) if holds(request, &lease) => accept(tx, request, lease, extra, now),
                lease => not_accepted(request, lease, extra, maybe_committed),
            },
        };
        outcomes.push(isolated(request.id, outcome)?.unwrap_or(EndOutcome::Unreadable));
    }
    Ok(outcomes)
}

fn not_accepted(request: &EndRequest, lease: Option<Lease>, extra: Extra, maybe_committed: bool) -> Body<EndOutcome> {
    Ok(match refuse(request, lease, extra.head.as_ref()) {
        // An earlier try of this very batch was committed.
        EndOutcome::Duplicate if maybe_committed => EndOutcome::Accepted { retry: committed_retry(request, extra)? },
        outcome => outcome,
    })
}

fn holds(request: &EndRequest, lease: &Lease) -> bool {
    (lease.token == request.token && lease.session == request.session) || planted(Bug::CompletionNotChecked)
}

/// An earlier request of this batch that has ended an attempt of the same task.
fn twin<'a>(outcomes: &[EndOutcome], requests: &'a [EndRequest], request: &EndRequest) -> Option<&'a EndRequest> {
    let mut earlier = outcomes.iter().zip(requests);
    let is_twin = |(outcome, it): &(&EndOutcome, &EndRequest)| {
        it.id == request.id && matches!(outcome, EndOutcome::Accepted { .. })
    };
    earlier.find(is_twin).map(|(_, twin)| twin)
}

/// What a request is told after its twin: the same as if that one had been committed before.
fn refuse_after(twin: &EndRequest, request: &EndRequest) -> EndOutcome {
    let repeats = (request.token, request.session) == (twin.token, twin.session)
        && by_request(ended_as(&twin.ending).0, &request.ending);
    match request.token {
        token if token > twin.token => EndOutcome::NotHeld,
        _ if repeats && !planted(Bug::RepeatRefused) => EndOutcome::Duplicate,
        _ => EndOutcome::Stale { current: twin.token },
    }
}

/// What a request needs beyond its lease. A first attempt that succeeds needs nothing.
struct Extra {
    head: Option<Head>,
    task: Option<StoredTask>,
}

impl Extra {
    fn of(head: Option<&Bytes>, task: Option<&Bytes>) -> Body<Self> {
        let head = head.map(Head::decode).transpose()?;
        let task = task.map(StoredTask::decode).transpose()?;
        Ok(Self { head, task })
    }
}

async fn read_extras<'a>(
    tx: &Transaction,
    ends: impl Iterator<Item = &'a (&'a EndRequest, Option<Lease>)>,
    maybe_committed: bool,
) -> Body<Vec<Body<Extra>>> {
    let mut keys = Vec::new();
    for (request, lease) in ends {
        let head = lease.as_ref().is_none_or(|lease| !holds(request, lease) || lease.attempt > 1);
        let may_retry = !matches!(request.ending, Ending::Succeeded(_));
        // Without a lease, an earlier try of this batch may have arranged a further attempt.
        let task = may_retry && (lease.is_some() || maybe_committed);
        keys.push(head.then(|| keyspace::head(request.shard, request.id)));
        keys.push(task.then(|| keyspace::task(request.shard, request.id)));
    }
    let values = super::read_wanted(tx, keys).await?;
    let pairs = values.chunks_exact(2);
    Ok(pairs
        .map(|pair| Extra::of(pair.first().and_then(Option::as_ref), pair.last().and_then(Option::as_ref)))
        .collect())
}

fn refuse(request: &EndRequest, lease: Option<Lease>, head: Option<&Head>) -> EndOutcome {
    if let Some(lease) = lease {
        return match lease.token.cmp(&request.token) {
            Ordering::Greater => EndOutcome::Stale { current: lease.token },
            // The same token under another session, or one that was never given.
            _ => EndOutcome::NotHeld,
        };
    }
    let Some(head) = head else { return EndOutcome::NotHeld };
    if request.token > head.token {
        return EndOutcome::NotHeld;
    }
    let last = head.last.as_ref().filter(|last| last.token == request.token && last.session == request.session);
    match last.and_then(|last| last.ended) {
        Some((_, AttemptOutcome::Cancelled)) => EndOutcome::Cancelled,
        Some((_, outcome)) if by_request(outcome, &request.ending) && !planted(Bug::RepeatRefused) => {
            EndOutcome::Duplicate
        }
        _ if head.state == TaskState::Cancelled => EndOutcome::Cancelled,
        _ => EndOutcome::Stale { current: head.token },
    }
}

/// The further attempt that an earlier try of this batch has arranged.
fn committed_retry(request: &EndRequest, Extra { head, task }: Extra) -> Body<Option<Retry>> {
    let Some(head) = head.filter(|head| head.state == TaskState::Scheduled) else { return Ok(None) };
    let task = task.ok_or_else(|| Refusal::Inconsistent(format!("a head of task {} without a task", request.id)))?;
    let Template { queue, priority, .. } = task.template;
    let stream = DueStream { shard: request.shard, namespace: task.namespace, queue, priority };
    Ok(Some(Retry { stream, due: head.due, deadline: task.deadline }))
}

/// Whether an attempt that ended so was ended by a request like this one.
fn by_request(outcome: AttemptOutcome, ending: &Ending) -> bool {
    match (outcome, ending) {
        (AttemptOutcome::Succeeded, Ending::Succeeded(_))
        | (AttemptOutcome::LeaseExpired, Ending::LeaseExpired)
        | (AttemptOutcome::TimedOut, Ending::TimedOut) => true,
        (AttemptOutcome::TimedOut, Ending::Failed { timed_out, .. }) => *timed_out,
        (AttemptOutcome::Failed, Ending::Failed { timed_out, .. }) => !timed_out,
        _ => false,
    }
}

fn accept(tx: &Transaction, request: &EndRequest, lease: Lease, extra: Extra, now: Timestamp) -> Body<EndOutcome> {
    let now = now.max(lease.started);
    let (outcome, error) = ended_as(&request.ending);
    let next = match &request.ending {
        Ending::Succeeded(_) => AfterFailure::Failed,
        _ => after_failure(request, &lease, &extra, error.as_ref(), now)?,
    };
    let state = match (&request.ending, next) {
        (Ending::Succeeded(_), _) => TaskState::Succeeded,
        (_, AfterFailure::Retry(_)) => TaskState::Scheduled,
        (_, AfterFailure::Failed) => TaskState::Failed,
        (_, AfterFailure::DeadLettered) => TaskState::DeadLettered,
    };
    let due = match next {
        AfterFailure::Retry(due) => due,
        AfterFailure::Failed | AfterFailure::DeadLettered => lease.due,
    };
    let last = Attempt {
        number: lease.attempt,
        token: lease.token,
        session: lease.session,
        worker_name: lease.worker_name.clone(),
        started: lease.started,
        ended: Some((now, outcome)),
        error,
    };
    keep_earlier(tx, request, extra.head)?;
    let head = Head {
        state,
        attempts: lease.attempt,
        token: lease.token,
        due,
        finished: state.is_terminal().then_some(now),
        last: Some(last),
        result: write_result(tx, request)?,
        cancel_reason: String::new(),
        ended_by: None,
    };
    tx.clear(keyspace::lease(request.shard, request.id))?;
    tx.set(keyspace::head(request.shard, request.id), head.encode())?;
    if state != TaskState::Scheduled {
        return Ok(EndOutcome::Accepted { retry: None });
    }
    let retry = write_retry(tx, request, lease, due)?;
    Ok(EndOutcome::Accepted { retry: Some(retry) })
}

fn ended_as(ending: &Ending) -> (AttemptOutcome, Option<TaskError>) {
    let own = |kind: &str, message: &str| {
        Some(TaskError { kind: kind.to_owned(), message: message.to_owned(), ..TaskError::default() })
    };
    match ending {
        Ending::Succeeded(_) => (AttemptOutcome::Succeeded, None),
        Ending::Failed { error, timed_out: false, .. } => (AttemptOutcome::Failed, Some(error.clone())),
        Ending::Failed { error, timed_out: true, .. } => (AttemptOutcome::TimedOut, Some(error.clone())),
        Ending::TimedOut => (AttemptOutcome::TimedOut, own("timeout", "the attempt ran longer than its timeout")),
        Ending::LeaseExpired => {
            (AttemptOutcome::LeaseExpired, own("lease-expired", "the worker session was lost while it ran the attempt"))
        }
    }
}

fn after_failure(
    request: &EndRequest,
    lease: &Lease,
    extra: &Extra,
    error: Option<&TaskError>,
    now: Timestamp,
) -> Body<AfterFailure> {
    let task = extra.task.as_ref();
    let task = task.ok_or_else(|| Refusal::Inconsistent(format!("a lease on task {} without a task", request.id)))?;
    let failure = Failure {
        attempt: lease.attempt,
        kind: error.map_or("", |error| &error.kind),
        non_retryable: error.is_some_and(|error| error.non_retryable),
        retry_after: match &request.ending {
            Ending::Failed { retry_after, .. } => *retry_after,
            _ => Duration::ZERO,
        },
    };
    let next = task.template.retry.after_failure(failure, lease.entry.deadline, now, request.random);
    Ok(match (next, &request.ending) {
        // A worker that died says nothing about the task: the next attempt need not wait.
        (AfterFailure::Retry(_), Ending::LeaseExpired) => AfterFailure::Retry(now.max(lease.due)),
        (next, _) => next,
    })
}

/// The attempt before this one stands in the head; it gets a row of its own now.
fn keep_earlier(tx: &Transaction, request: &EndRequest, head: Option<Head>) -> Body<()> {
    if let Some(last) = head.and_then(|head| head.last).filter(|_| !planted(Bug::HistoryRowDropped)) {
        tx.set(keyspace::history(request.shard, request.id, last.number), last.encode())?;
    }
    Ok(())
}

fn write_result(tx: &Transaction, request: &EndRequest) -> Body<Option<PayloadMeta>> {
    let Ending::Succeeded(result) = &request.ending else { return Ok(None) };
    if result.is_empty() {
        return Ok(None);
    }
    for (chunk, bytes) in chunks(&result.data) {
        tx.set(keyspace::result(request.shard, request.id, chunk), bytes)?;
    }
    Ok(Some(PayloadMeta::of(result)))
}

fn write_retry(tx: &Transaction, request: &EndRequest, lease: Lease, due: Timestamp) -> Body<Retry> {
    let stream =
        DueStream { shard: request.shard, namespace: lease.namespace, queue: lease.queue, priority: lease.priority };
    let attempts = if planted(Bug::RetryForgetsAttempts) { 0 } else { lease.attempt };
    let entry = DueEntry { attempts, token: lease.token, ..lease.entry };
    let value: Bytes = entry.encode();
    tx.set(stream.entry(due, request.id), value)?;
    Ok(Retry { stream, due, deadline: entry.deadline })
}

//! Firing: the due entry goes out, the lease comes in, for a whole batch at once. What was
//! fired is sent to its worker only after the commit.

use std::{sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use escapement_engine::{
    SessionId, ShardId, TaskId, Timestamp, Token,
    planted::{Bug, planted},
};

use super::{Body, Outcome, Ownership, distinct_shards};
use crate::{
    keyspace::{self, DueStream},
    model::{Payload, TaskError, TaskState},
    records::{DueEntry, Head, Lease, PayloadMeta, Record as _},
    store::{Database, Transaction, TransactionKind},
};

/// A due task and the session that is to run it.
#[derive(Clone, Debug)]
pub(crate) struct FireRequest {
    pub(crate) id: TaskId,
    pub(crate) stream: DueStream,
    pub(crate) due: Timestamp,
    pub(crate) session: SessionId,
    pub(crate) worker_name: Arc<str>,
    pub(crate) session_lease: Duration,
}

/// An attempt that may now be sent to its worker.
#[derive(Clone, Debug)]
pub(crate) struct FiredAttempt {
    pub(crate) id: TaskId,
    pub(crate) shard: ShardId,
    pub(crate) lease: Lease,
    pub(crate) payload: Payload,
}

/// What became of a request.
#[derive(Debug)]
pub(crate) enum FireOutcome {
    Fired(Box<FiredAttempt>),
    /// Its due entry is not there (any more): cancelled, or memory was behind the store.
    Gone,
    /// Its deadline had passed: it has failed.
    DeadlinePassed,
    /// It is leased already, by a transaction of which nobody heard whether it was committed.
    Leased {
        session: SessionId,
        token: Token,
    },
}

const FIRE: TransactionKind = TransactionKind::idempotent("fire");

/// Fires a batch at the instant `now`.
pub(crate) async fn fire(
    db: &Database,
    ownership: &Ownership,
    requests: Arc<[FireRequest]>,
    now: Timestamp,
) -> Outcome<Vec<FireOutcome>> {
    let committed = db
        .run(FIRE, |tx, attempt| {
            let (ownership, requests) = (ownership.clone(), Arc::clone(&requests));
            async move { body(&tx, &ownership, &requests, now, attempt.maybe_committed).await }
        })
        .await?;
    Ok(committed.value)
}

async fn body(
    tx: &Transaction,
    ownership: &Ownership,
    requests: &[FireRequest],
    now: Timestamp,
    maybe_committed: bool,
) -> Body<Vec<FireOutcome>> {
    let shards = distinct_shards(requests.iter().map(|it| it.stream.shard));
    let mut keys = Ownership::fence_keys(&shards);
    keys.extend(requests.iter().map(|it| it.stream.entry(it.due, it.id)));
    let mut values = tx.get_many(keys).await?;
    let entries = values.split_off(shards.len());
    ownership.check(&shards, &values)?;

    let mut outcomes = Vec::with_capacity(requests.len());
    for (request, entry) in requests.iter().zip(entries) {
        let entry = entry.as_ref().map(DueEntry::decode).transpose()?;
        outcomes.push(match entry {
            Some(entry) if entry.deadline.is_some_and(|deadline| deadline < now) => {
                fail_by_deadline(tx, &request.stream, request.due, request.id, &entry, now).await?;
                FireOutcome::DeadlinePassed
            }
            Some(entry) => write_lease(tx, request, entry, now)?,
            None => found_lease(tx, request, now, maybe_committed).await?,
        });
    }
    fetch_payloads(tx, &mut outcomes).await?;
    Ok(outcomes)
}

fn write_lease(tx: &Transaction, request: &FireRequest, entry: DueEntry, now: Timestamp) -> Body<FireOutcome> {
    assert!(request.due <= now, "task {} fired before its instant", request.id);
    let lease = Lease {
        session: request.session,
        worker_name: request.worker_name.as_ref().to_owned(),
        token: if planted(Bug::TokenNotRaised) { entry.token.max(Token(1)) } else { entry.token.next() },
        attempt: entry.attempts + 1,
        namespace: request.stream.namespace.clone(),
        queue: request.stream.queue.clone(),
        priority: request.stream.priority,
        due: request.due,
        started: now,
        session_lease: request.session_lease,
        entry,
    };
    if !planted(Bug::DueEntryLeft) {
        tx.clear(request.stream.entry(request.due, request.id))?;
    }
    tx.set(keyspace::lease(request.stream.shard, request.id), lease.encode())?;
    Ok(FireOutcome::Fired(Box::new(FiredAttempt::of(request, lease))))
}

/// What became of an entry that is gone. After an unknown commit it may be the lease that an
/// earlier try of this very batch wrote, known by its session and by the instant, which were
/// fixed before the first try; or that of an earlier batch that was given up.
async fn found_lease(
    tx: &Transaction,
    request: &FireRequest,
    now: Timestamp,
    maybe_committed: bool,
) -> Body<FireOutcome> {
    let key = keyspace::lease(request.stream.shard, request.id);
    let lease = super::read_record::<Lease>(tx, key).await?;
    Ok(match lease {
        Some(lease)
            if maybe_committed
                && lease.session == request.session
                && lease.due == request.due
                && lease.started == now =>
        {
            FireOutcome::Fired(Box::new(FiredAttempt::of(request, lease)))
        }
        Some(lease) => FireOutcome::Leased { session: lease.session, token: lease.token },
        None => FireOutcome::Gone,
    })
}

async fn fetch_payloads(tx: &Transaction, outcomes: &mut [FireOutcome]) -> Body<()> {
    let mut wanted: Vec<(&mut FiredAttempt, PayloadMeta)> = Vec::new();
    let mut keys = Vec::new();
    for outcome in outcomes {
        let FireOutcome::Fired(fired) = outcome else { continue };
        let Some(meta) = fired.lease.entry.payload.clone() else { continue };
        keys.extend((0..meta.chunks()).map(|chunk| fired.payload_key(chunk)));
        wanted.push((fired, meta));
    }
    if keys.is_empty() {
        return Ok(());
    }
    // Payloads never change, so reading them needs no conflict.
    let mut values = tx.raw().get_many(keys, true).await?.into_iter();
    for (fired, meta) in wanted {
        let data = join_chunks(&meta, &mut values)?;
        fired.payload = Payload { data, content_type: meta.content_type };
    }
    Ok(())
}

/// Puts the chunks of one payload together.
pub(super) fn join_chunks(meta: &PayloadMeta, values: &mut impl Iterator<Item = Option<Bytes>>) -> Body<Bytes> {
    let pieces: Vec<Bytes> = values.by_ref().take(meta.chunks() as usize).flatten().collect();
    let found: usize = pieces.iter().map(Bytes::len).sum();
    if found as u64 != meta.bytes {
        let what = format!("a payload of {} bytes has {found} bytes of chunks", meta.bytes);
        return Err(super::Refusal::Inconsistent(what).into());
    }
    let mut pieces = pieces.into_iter();
    match (pieces.next(), pieces.len()) {
        (None, _) => Ok(Bytes::new()),
        (Some(only), 0) => Ok(only),
        (Some(first), _) => {
            let mut data = BytesMut::with_capacity(found);
            data.extend_from_slice(&first);
            pieces.for_each(|piece| data.extend_from_slice(&piece));
            Ok(data.freeze())
        }
    }
}

impl FiredAttempt {
    fn of(request: &FireRequest, lease: Lease) -> Self {
        Self { id: request.id, shard: request.stream.shard, lease, payload: Payload::default() }
    }

    fn payload_key(&self, chunk: u32) -> Bytes {
        keyspace::payload(self.shard, self.id, chunk)
    }
}

/// Fails tasks that are still due although their deadline has passed, so that one without
/// workers does not wait for ever.
pub(crate) async fn fail_overdue(
    db: &Database,
    ownership: &Ownership,
    tasks: Arc<[(DueStream, Timestamp, TaskId)]>,
    now: Timestamp,
) -> Outcome<Vec<TaskId>> {
    let committed = db
        .run(TransactionKind::idempotent("fail-overdue"), |tx, _| {
            let (ownership, tasks) = (ownership.clone(), Arc::clone(&tasks));
            async move {
                let shards = distinct_shards(tasks.iter().map(|it| it.0.shard));
                let mut keys = Ownership::fence_keys(&shards);
                keys.extend(tasks.iter().map(|(stream, due, id)| stream.entry(*due, *id)));
                let mut values = tx.get_many(keys).await?;
                let entries = values.split_off(shards.len());
                ownership.check(&shards, &values)?;
                let mut failed = Vec::new();
                for ((stream, due, id), entry) in tasks.iter().zip(entries) {
                    let Some(entry) = entry.as_ref().map(DueEntry::decode).transpose()? else { continue };
                    if entry.deadline.is_some_and(|deadline| deadline < now) {
                        fail_by_deadline(&tx, stream, *due, *id, &entry, now).await?;
                        failed.push(*id);
                    }
                }
                Ok(failed)
            }
        })
        .await?;
    Ok(committed.value)
}

async fn fail_by_deadline(
    tx: &Transaction,
    stream: &DueStream,
    due: Timestamp,
    id: TaskId,
    entry: &DueEntry,
    now: Timestamp,
) -> Body<()> {
    let key = keyspace::head(stream.shard, id);
    let before = match entry.attempts {
        0 => None,
        _ => super::read_record::<Head>(tx, key.clone()).await?,
    };
    let head = Head {
        state: TaskState::Failed,
        attempts: entry.attempts,
        token: entry.token,
        due,
        finished: Some(now),
        last: before.and_then(|head| head.last),
        result: None,
        cancel_reason: String::new(),
        ended_by: Some(TaskError {
            kind: "deadline-exceeded".to_owned(),
            message: "the deadline passed before an attempt could start".to_owned(),
            non_retryable: true,
            details: Payload::default(),
        }),
    };
    tx.clear(stream.entry(due, id))?;
    tx.set(key, head.encode())?;
    Ok(())
}

//! Firing: the due entry goes out, the lease comes in, for a whole batch at once. What was
//! fired is sent to its worker only after the commit.

use std::{sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use escapement_engine::{
    SessionId, ShardId, TaskId, Timestamp, Token,
    planted::{Bug, planted},
};

use super::{Body, Outcome, Ownership, distinct_shards, isolated};
use crate::{
    keyspace::{self, DueStream},
    model::{Payload, TaskError, TaskState},
    records::{DueEntry, Head, Lease, PayloadMeta, Record as _},
    scheduler::room::{StreamRoom, TRANSACTION_BYTES_MAX, Taken},
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
    /// Room for payloads on their way to that session.
    pub(crate) room: StreamRoom,
}

/// An attempt that may now be sent to its worker.
#[derive(Debug)]
pub(crate) struct FiredAttempt {
    pub(crate) id: TaskId,
    pub(crate) shard: ShardId,
    pub(crate) lease: Lease,
    pub(crate) payload: Payload,
    /// Held while the payload is on its way.
    pub(crate) room: Taken,
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
    /// There is no room for its payload now: it is as due as before.
    Deferred,
    /// A record of it cannot be read: nothing was done.
    Unreadable,
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
    let entries: Vec<_> = entries.iter().map(due_entry).collect();
    let further = requests.iter().zip(&entries).map(|(request, entry)| match entry {
        Ok(None) => Some(keyspace::lease(request.stream.shard, request.id)),
        Ok(Some(entry)) if is_overdue(entry, now) => head_key(&request.stream, request.id, entry),
        _ => None,
    });
    let further = super::read_wanted(tx, further.collect()).await?;

    let mut gate = Gate::default();
    let mut steps = Vec::with_capacity(requests.len());
    for ((request, entry), further) in requests.iter().zip(entries).zip(further) {
        let step = entry.and_then(|entry| match entry {
            Some(entry) => step(tx, request, entry, further.as_ref(), now, &mut gate),
            None => found_lease(request, further.as_ref(), now, maybe_committed),
        });
        steps.push(isolated(request.id, step)?.unwrap_or(Step::Done(FireOutcome::Unreadable)));
    }
    fetch_payloads(tx, &mut steps).await?;
    // Nothing of a task is written before everything of it could be read.
    requests.iter().zip(steps).map(|(request, step)| finish(tx, request, step)).collect()
}

/// What is to become of a request, once its payload is there.
enum Step {
    Fire(Box<FiredAttempt>),
    /// It is leased, by an earlier try of this batch.
    Fired(Box<FiredAttempt>),
    Done(FireOutcome),
}

fn step(
    tx: &Transaction,
    request: &FireRequest,
    entry: DueEntry,
    head: Option<&Bytes>,
    now: Timestamp,
    gate: &mut Gate,
) -> Body<Step> {
    if is_overdue(&entry, now) {
        fail_by_deadline(tx, (&request.stream, request.due, request.id), &entry, head, now)?;
        return Ok(Step::Done(FireOutcome::DeadlinePassed));
    }
    let Some(room) = gate.admit(request, payload_bytes(&entry)) else {
        return Ok(Step::Done(FireOutcome::Deferred));
    };
    let lease = lease_of(request, entry, now);
    Ok(Step::Fire(Box::new(FiredAttempt::of(request, lease, room))))
}

fn payload_bytes(entry: &DueEntry) -> usize {
    entry.payload.as_ref().map_or(0, |meta| usize::try_from(meta.bytes).unwrap_or(usize::MAX))
}

/// Lets into a batch what there is room for. What comes after a task that has to wait for room
/// waits behind it, if it is of the same queue.
#[derive(Default)]
struct Gate {
    bytes: usize,
    waiting: Vec<DueStream>,
}

impl Gate {
    fn admit(&mut self, request: &FireRequest, bytes: usize) -> Option<Taken> {
        let queue = |stream: &&DueStream| {
            (&stream.namespace, &stream.queue) == (&request.stream.namespace, &request.stream.queue)
        };
        if self.waiting.iter().find(queue).is_some() {
            return None;
        }
        if bytes > 0 && self.bytes >= TRANSACTION_BYTES_MAX {
            self.waiting.push(request.stream.clone());
            return None;
        }
        // A worker that does not read its stream holds up nobody else.
        let room = request.room.take(bytes)?;
        self.bytes += bytes;
        Some(room)
    }
}

fn lease_of(request: &FireRequest, entry: DueEntry, now: Timestamp) -> Lease {
    assert!(request.due <= now, "task {} fired before its instant", request.id);
    Lease {
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
    }
}

fn finish(tx: &Transaction, request: &FireRequest, step: Step) -> Body<FireOutcome> {
    Ok(match step {
        Step::Fire(fired) => {
            if !planted(Bug::DueEntryLeft) {
                tx.clear(request.stream.entry(request.due, request.id))?;
            }
            tx.set(keyspace::lease(request.stream.shard, request.id), fired.lease.encode())?;
            FireOutcome::Fired(fired)
        }
        Step::Fired(fired) => FireOutcome::Fired(fired),
        Step::Done(outcome) => outcome,
    })
}

/// What became of an entry that is gone. After an unknown commit it may be the lease that an
/// earlier try of this very batch wrote, known by its session and by the instant, which were
/// fixed before the first try; or that of an earlier batch that was given up.
fn found_lease(request: &FireRequest, lease: Option<&Bytes>, now: Timestamp, maybe_committed: bool) -> Body<Step> {
    let lease = lease.map(Lease::decode).transpose()?;
    Ok(match lease {
        Some(lease)
            if maybe_committed
                && lease.session == request.session
                && lease.due == request.due
                && lease.started == now =>
        {
            let room = request.room.take_anyhow(payload_bytes(&lease.entry));
            Step::Fired(Box::new(FiredAttempt::of(request, lease, room)))
        }
        Some(lease) => Step::Done(FireOutcome::Leased { session: lease.session, token: lease.token }),
        None => Step::Done(FireOutcome::Gone),
    })
}

async fn fetch_payloads(tx: &Transaction, steps: &mut [Step]) -> Body<()> {
    let mut wanted: Vec<(&mut Step, PayloadMeta)> = Vec::new();
    let mut keys = Vec::new();
    for step in steps {
        let (Step::Fire(fired) | Step::Fired(fired)) = &*step else { continue };
        let Some(meta) = fired.lease.entry.payload.clone() else { continue };
        keys.extend((0..meta.chunks()).map(|chunk| fired.payload_key(chunk)));
        wanted.push((step, meta));
    }
    if keys.is_empty() {
        return Ok(());
    }
    // Payloads never change, so reading them needs no conflict.
    let mut values = tx.raw().get_many(keys, true).await?.into_iter();
    for (step, meta) in wanted {
        let (Step::Fire(fired) | Step::Fired(fired)) = &mut *step else { continue };
        match isolated(fired.id, join_chunks(&meta, &mut values))? {
            Some(data) => fired.payload = Payload { data, content_type: meta.content_type, truncated: false },
            None => *step = Step::Done(FireOutcome::Unreadable),
        }
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
    fn of(request: &FireRequest, lease: Lease, room: Taken) -> Self {
        Self { id: request.id, shard: request.stream.shard, lease, payload: Payload::default(), room }
    }

    fn payload_key(&self, chunk: u32) -> Bytes {
        keyspace::payload(self.shard, self.id, chunk)
    }
}

/// What became of tasks whose deadlines have passed.
#[derive(Debug, Default)]
pub(crate) struct Overdue {
    pub(crate) failed: Vec<TaskId>,
    /// Tasks of which a record cannot be read.
    pub(crate) unreadable: usize,
}

/// Fails tasks that are still due although their deadline has passed, so that one without
/// workers does not wait for ever.
pub(crate) async fn fail_overdue(
    db: &Database,
    ownership: &Ownership,
    tasks: Arc<[(DueStream, Timestamp, TaskId)]>,
    now: Timestamp,
) -> Outcome<Overdue> {
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
                let entries: Vec<_> = entries.iter().map(due_entry).collect();
                let heads = tasks.iter().zip(&entries).map(|((stream, _, id), entry)| match entry {
                    Ok(Some(entry)) if is_overdue(entry, now) => head_key(stream, *id, entry),
                    _ => None,
                });
                let heads = super::read_wanted(&tx, heads.collect()).await?;
                let mut overdue = Overdue::default();
                for (((stream, due, id), entry), head) in tasks.iter().zip(entries).zip(heads) {
                    let failed = entry.and_then(|entry| {
                        let Some(entry) = entry.filter(|entry| is_overdue(entry, now)) else { return Ok(false) };
                        fail_by_deadline(&tx, (stream, *due, *id), &entry, head.as_ref(), now).map(|()| true)
                    });
                    match isolated(*id, failed)? {
                        Some(true) => overdue.failed.push(*id),
                        Some(false) => {}
                        None => overdue.unreadable += 1,
                    }
                }
                Ok(overdue)
            }
        })
        .await?;
    Ok(committed.value)
}

fn due_entry(value: &Option<Bytes>) -> Body<Option<DueEntry>> {
    Ok(value.as_ref().map(DueEntry::decode).transpose()?)
}

fn is_overdue(entry: &DueEntry, now: Timestamp) -> bool {
    entry.deadline.is_some_and(|deadline| deadline < now)
}

/// Key of the head that tells of the attempts before, if there were any.
fn head_key(stream: &DueStream, id: TaskId, entry: &DueEntry) -> Option<Bytes> {
    (entry.attempts > 0).then(|| keyspace::head(stream.shard, id))
}

fn fail_by_deadline(
    tx: &Transaction,
    (stream, due, id): (&DueStream, Timestamp, TaskId),
    entry: &DueEntry,
    head: Option<&Bytes>,
    now: Timestamp,
) -> Body<()> {
    let before = head.map(Head::decode).transpose()?;
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
    tx.set(keyspace::head(stream.shard, id), head.encode())?;
    Ok(())
}

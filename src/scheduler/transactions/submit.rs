//! Submission: idempotency key, task record, payload and due entry in one transaction.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use escapement_engine::{
    TaskId, Timestamp,
    planted::{Bug, planted},
};

use super::{Body, Outcome, seen::Seen};
use crate::{
    keyspace::{self, DueStream},
    model::NewTask,
    records::{DueEntry, IdempotencyRow, Record as _, StoredTask, chunks},
    store::{Database, Transaction, TransactionKind, Try},
};

/// A task that is in the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Submitted {
    pub(crate) id: TaskId,
    pub(crate) due: Timestamp,
    /// False: it was there before, with the same content.
    pub(crate) created: bool,
}

/// Why one task of a batch was not taken; the others were.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum SubmitRefusal {
    /// Its id belongs to a task with other content.
    IdTaken(TaskId),
    /// Its idempotency key belongs to this task, with other content.
    KeyTaken(TaskId),
}

pub(crate) type SubmitResult = Result<Submitted, SubmitRefusal>;

const SUBMIT: TransactionKind = TransactionKind::idempotent("submit");

/// Commits a batch of tasks. Reading their keys first is both the check against double ids
/// and the marker of an earlier try.
pub(crate) async fn submit(db: &Database, shards: u32, tasks: Arc<[NewTask]>) -> Outcome<Vec<SubmitResult>> {
    let seen = Seen::new();
    let committed = db
        .run(SUBMIT, |tx, attempt| {
            let (tasks, seen) = (Arc::clone(&tasks), seen.clone());
            async move {
                let mut results = body(&tx, shards, &tasks, attempt).await?;
                // What an earlier try of this very transaction wrote is new to the caller.
                let first = seen.first(attempt, &results);
                for ((result, first), task) in results.iter_mut().zip(first).zip(tasks.iter()) {
                    if let (Ok(result), Ok(first)) = (result, first) {
                        result.created |= first.created && result.id == task.id;
                    }
                }
                Ok(results)
            }
        })
        .await?;
    Ok(committed.value)
}

async fn body(tx: &Transaction, shards: u32, tasks: &[NewTask], attempt: Try) -> Body<Vec<SubmitResult>> {
    let keyed = tasks.iter().filter_map(idempotency_key);
    let keys = tasks.iter().map(|task| keyspace::task(task.id.shard(shards), task.id)).chain(keyed).collect();
    let mut values = tx.get_many(keys).await?;
    let mut rows = values.split_off(tasks.len()).into_iter();
    let mut by_key = Vec::with_capacity(tasks.len());
    for task in tasks {
        let row = task.idempotency.as_ref().and_then(|_| rows.next().flatten());
        by_key.push(row.as_ref().map(IdempotencyRow::decode).transpose()?);
    }
    let firsts = by_key.iter().map(|row| row.as_ref().map(|row| keyspace::task(row.task.shard(shards), row.task)));
    let firsts = super::read_wanted(tx, firsts.collect()).await?;

    let mut batch = Batch::default();
    let mut results = Vec::with_capacity(tasks.len());
    for (((task, stored), row), first) in tasks.iter().zip(values).zip(by_key).zip(firsts) {
        let stored = stored.as_ref().map(StoredTask::decode).transpose()?;
        let known = match attempt.maybe_committed && planted(Bug::RetriedWithoutMarker) {
            true => Known::No,
            false => batch.find(task, stored.as_ref(), row),
        };
        let result = match known {
            Known::No => {
                write_task(tx, shards, task)?;
                batch.note(task);
                Ok(Submitted { id: task.id, due: task.due, created: true })
            }
            Known::Same { id, due: Some(due) } => Ok(Submitted { id, due, created: false }),
            Known::Same { id, due: None } => {
                let first = first.as_ref().map(StoredTask::decode).transpose()?;
                Ok(Submitted { id, due: first.map_or(task.due, |it| it.due), created: false })
            }
            Known::OtherById => Err(SubmitRefusal::IdTaken(task.id)),
            Known::OtherByKey(id) => Err(SubmitRefusal::KeyTaken(id)),
        };
        results.push(result);
    }
    Ok(results)
}

enum Known {
    No,
    Same { id: TaskId, due: Option<Timestamp> },
    OtherById,
    OtherByKey(TaskId),
}

/// What this batch itself has already written: a batch may name a task twice.
#[derive(Default)]
struct Batch {
    by_id: BTreeMap<TaskId, (u64, Timestamp)>,
    by_key: BTreeMap<(String, String), (TaskId, u64, Timestamp)>,
}

impl Batch {
    fn find(&self, task: &NewTask, stored: Option<&StoredTask>, row: Option<IdempotencyRow>) -> Known {
        let by_id = self.by_id.get(&task.id).copied();
        if let Some((hash, due)) = by_id.or_else(|| stored.map(|it| (it.content_hash, it.due))) {
            let same = hash == task.content_hash && stored.is_none_or(|it| it.namespace == task.namespace);
            return if same { Known::Same { id: task.id, due: Some(due) } } else { Known::OtherById };
        }
        let Some(idempotency) = &task.idempotency else { return Known::No };
        let name = (task.namespace.as_str().to_owned(), idempotency.key.clone());
        let by_key = self.by_key.get(&name).map(|&(id, hash, due)| (id, hash, Some(due)));
        // A key whose window has passed is free again.
        let row = row.filter(|row| row.expires > task.submitted).map(|row| (row.task, row.content_hash, None));
        match by_key.or(row) {
            Some((id, hash, due)) if hash == task.content_hash => Known::Same { id, due },
            Some((id, ..)) => Known::OtherByKey(id),
            None => Known::No,
        }
    }

    fn note(&mut self, task: &NewTask) {
        self.by_id.insert(task.id, (task.content_hash, task.due));
        if let Some(idempotency) = &task.idempotency {
            let name = (task.namespace.as_str().to_owned(), idempotency.key.clone());
            self.by_key.insert(name, (task.id, task.content_hash, task.due));
        }
    }
}

fn idempotency_key(task: &NewTask) -> Option<Bytes> {
    task.idempotency.as_ref().map(|it| keyspace::idempotency(&task.namespace, &it.key))
}

/// Which part of the due index a task stands in.
pub(crate) fn due_stream(shards: u32, task: &NewTask) -> DueStream {
    DueStream {
        shard: task.id.shard(shards),
        namespace: task.namespace.clone(),
        queue: task.template.queue.clone(),
        priority: task.template.priority,
    }
}

/// Writes everything of a new task.
pub(super) fn write_task(tx: &Transaction, shards: u32, task: &NewTask) -> Body<()> {
    let stored = StoredTask::of(task);
    let stream = due_stream(shards, task);
    for (chunk, bytes) in chunks(&task.template.payload.data) {
        tx.set(keyspace::payload(stream.shard, task.id, chunk), bytes)?;
    }
    tx.set(keyspace::task(stream.shard, task.id), stored.encode())?;
    tx.set(stream.entry(task.due, task.id), DueEntry::first(&stored).encode())?;
    if let (Some(key), Some(idempotency)) = (idempotency_key(task), &task.idempotency) {
        let expires = task.submitted.saturating_add(idempotency.window);
        let row = IdempotencyRow { task: task.id, content_hash: task.content_hash, expires };
        if !planted(Bug::IdempotencyDropped) {
            tx.set(key, row.encode())?;
        }
    }
    Ok(())
}

//! Reading tasks: one whole, or a page of many. Snapshot reads at one read version.

use bytes::Bytes;
use escapement_engine::{ShardId, TaskId, name::Namespace};
use futures_util::future::try_join_all;
use xxhash_rust::xxh3::Xxh3;

use super::{Body, Outcome, fire::join_chunks};
use crate::{
    keyspace,
    model::{Attempt, Payload, TaskError, TaskFilter, TaskState, TaskView, Template},
    records::{Head, Lease, PayloadMeta, Record as _, StoredTask},
    store::{Database, KeySelector, Transaction, TransactionKind},
};

/// What callers read, as often as they like: with a tag, so that it can be slowed down.
pub(super) const READ: TransactionKind = TransactionKind::idempotent("read").tag("escapement-read");

/// Bytes of the attempts that are shown of a task, exceeded by one of them at most: with a payload
/// and a result of the usual 1 MiB, the answer stays below the 4 MiB that gRPC clients accept unless
/// told otherwise.
pub(super) const HISTORY_BYTES_MAX: usize = 1 << 20;

/// Rows that one page looks at before it is handed out short.
const SCANNED_ROWS_MAX: usize = 20_000;

/// A task with payload, result and history.
pub(crate) async fn get_task(
    db: &Database,
    shards: u32,
    namespace: &Namespace,
    id: TaskId,
) -> Outcome<Option<TaskView>> {
    let committed = db
        .run(READ, |tx, _| {
            let namespace = namespace.clone();
            async move {
                let shard = id.shard(shards);
                let keys = vec![keyspace::task(shard, id), keyspace::head(shard, id), keyspace::lease(shard, id)];
                let values = tx.raw().get_many(keys, true).await?;
                let [task, head, lease] = &values[..] else { unreachable!("three keys, three values") };
                let Some(task) = task.as_ref().map(StoredTask::decode).transpose()? else { return Ok(None) };
                if task.namespace != namespace {
                    return Ok(None);
                }
                let head = head.as_ref().map(Head::decode).transpose()?;
                let lease = lease.as_ref().map(Lease::decode).transpose()?;
                assemble(&tx, shards, id, task, head, lease).await.map(Some)
            }
        })
        .await?;
    Ok(committed.value)
}

/// Puts a whole task together from its records.
pub(super) async fn assemble(
    tx: &Transaction,
    shards: u32,
    id: TaskId,
    task: StoredTask,
    head: Option<Head>,
    lease: Option<Lease>,
) -> Body<TaskView> {
    let shard = id.shard(shards);
    let payload = match &task.payload {
        Some(meta) => read_chunks(tx, meta, |chunk| keyspace::payload(shard, id, chunk)).await?,
        None => Payload::default(),
    };
    let result = match head.as_ref().map(|head| (head.state, &head.result)) {
        Some((TaskState::Succeeded, Some(meta))) => {
            Some(read_chunks(tx, meta, |chunk| keyspace::result(shard, id, chunk)).await?)
        }
        Some((TaskState::Succeeded, None)) => Some(Payload::default()),
        _ => None,
    };
    let attempts = newest_attempts(tx, shard, id, head.as_ref(), lease.as_ref()).await?;
    let mut view = summary(id, task, head, lease);
    view.template.payload = payload;
    view.result = result;
    // They are numbered without gaps.
    view.attempts_left_out = attempts.first().map_or(0, |oldest| oldest.number - 1);
    view.attempts = attempts;
    Ok(view)
}

/// Attempts from the newest back, until they have [`HISTORY_BYTES_MAX`]; the oldest first.
async fn newest_attempts(
    tx: &Transaction,
    shard: ShardId,
    id: TaskId,
    head: Option<&Head>,
    lease: Option<&Lease>,
) -> Body<Vec<Attempt>> {
    let mut attempts: Vec<Attempt> = lease.map(running_attempt).into_iter().collect();
    attempts.extend(head.and_then(|head| head.last.clone()));
    let mut bytes: usize = attempts.iter().map(attempt_bytes).sum();
    let mut range = keyspace::histories(shard, id);
    range.reverse = true;
    // The first attempt is the last to be found.
    let mut more = attempts.last().is_some_and(|oldest| oldest.number > 1);
    while more && bytes < HISTORY_BYTES_MAX {
        range.target_bytes = HISTORY_BYTES_MAX - bytes;
        let page = tx.get_range_snapshot(range.clone()).await?;
        for (key, value) in &page.rows {
            if bytes >= HISTORY_BYTES_MAX {
                break;
            }
            bytes += value.len();
            attempts.push(Attempt::decode(value)?);
            range.end = KeySelector::first_greater_or_equal(key.clone());
        }
        more = page.more;
    }
    attempts.reverse();
    Ok(attempts)
}

/// About what it takes when stored.
fn attempt_bytes(attempt: &Attempt) -> usize {
    let error = attempt.error.as_ref().map_or(0, |error| error.message.len() + error.details.data.len());
    100 + attempt.worker_name.len() + error
}

async fn read_chunks(tx: &Transaction, meta: &PayloadMeta, key: impl Fn(u32) -> bytes::Bytes) -> Body<Payload> {
    let keys: Vec<_> = (0..meta.chunks()).map(key).collect();
    let mut values = match keys.is_empty() {
        true => Vec::new(),
        false => tx.raw().get_many(keys, true).await?,
    }
    .into_iter();
    Ok(Payload {
        data: join_chunks(meta, &mut values)?,
        content_type: meta.content_type.clone(),
        truncated: meta.truncated,
    })
}

fn running_attempt(lease: &Lease) -> Attempt {
    Attempt {
        number: lease.attempt,
        token: lease.token,
        session: lease.session,
        worker_name: lease.worker_name.clone(),
        started: lease.started,
        ended: None,
        error: None,
    }
}

/// A task without payload, result and history.
fn summary(id: TaskId, task: StoredTask, head: Option<Head>, lease: Option<Lease>) -> TaskView {
    let state = match (&lease, &head) {
        (Some(_), _) => TaskState::Running,
        (None, Some(head)) => head.state,
        (None, None) => TaskState::Scheduled,
    };
    let last_error = head
        .as_ref()
        .and_then(|head| head.ended_by.clone().or_else(|| head.last.as_ref().and_then(|last| last.error.clone())));
    TaskView {
        id,
        namespace: task.namespace,
        template: Template { payload: Payload::default(), ..task.template },
        due: lease.as_ref().map(|it| it.due).or(head.as_ref().map(|it| it.due)).unwrap_or(task.due),
        first_due: task.due,
        deadline: task.deadline,
        idempotency_key: task.idempotency_key,
        submitted: task.submitted,
        occurrence: task.occurrence,
        state,
        attempts_started: lease.as_ref().map_or(head.as_ref().map_or(0, |it| it.attempts), |it| it.attempt),
        finished: head.as_ref().and_then(|it| it.finished),
        result: None,
        // A page of them must fit one answer.
        error: last_error
            .filter(|_| state != TaskState::Succeeded)
            .map(|error| TaskError { details: Payload::default(), ..error }),
        attempts: Vec::new(),
        attempts_left_out: 0,
        cancel_reason: head.map(|it| it.cancel_reason).unwrap_or_default(),
    }
}

/// For each task a number that changes whenever its state does: of its head and its lease.
pub(crate) async fn marks(db: &Database, shards: u32, tasks: &[TaskId]) -> Outcome<Vec<u64>> {
    let committed = db
        .run(TransactionKind::idempotent("watch-poll"), |tx, _| {
            let record_keys =
                |id: &TaskId| [keyspace::head(id.shard(shards), *id), keyspace::lease(id.shard(shards), *id)];
            let keys: Vec<_> = tasks.iter().flat_map(record_keys).collect();
            async move {
                let values = tx.raw().get_many(keys, true).await?;
                Ok(values.chunks_exact(2).map(mark).collect())
            }
        })
        .await?;
    Ok(committed.value)
}

fn mark(records: &[Option<Bytes>]) -> u64 {
    let mut hasher = Xxh3::new();
    for record in records {
        let bytes = record.as_deref().unwrap_or_default();
        hasher.update(&(bytes.len() as u64).to_be_bytes());
        hasher.update(bytes);
    }
    hasher.digest()
}

/// A page of tasks in id order, and the id after which the next page begins, if there may be one.
pub(crate) type TaskPage = (Vec<TaskView>, Option<TaskId>);

/// Lists the tasks after `after` that pass the filter, at most `limit` of them.
pub(crate) async fn list_tasks(
    db: &Database,
    shards: u32,
    filter: &TaskFilter,
    after: Option<TaskId>,
    limit: usize,
) -> Outcome<TaskPage> {
    let committed = db
        .run(READ, |tx, _| {
            let filter = filter.clone();
            async move { page(&tx, shards, &filter, after, limit).await }
        })
        .await?;
    Ok(committed.value)
}

async fn page(
    tx: &Transaction,
    shards: u32,
    filter: &TaskFilter,
    mut after: Option<TaskId>,
    limit: usize,
) -> Body<TaskPage> {
    let mut found = Vec::new();
    let mut scanned = 0;
    while scanned < SCANNED_ROWS_MAX {
        let per_shard = (limit * 2 / shards as usize + 8).min(1000);
        let reads = (0..shards).map(|shard| shard_rows(tx, ShardId(shard), after, per_shard));
        let pages = try_join_all(reads).await?;
        // Beyond the last row of a shard that has more, the order is not known yet.
        let horizon = pages.iter().filter(|page| page.more).filter_map(|page| page.last).min();
        let mut rows: Vec<_> = pages.into_iter().flat_map(|page| page.rows).collect();
        rows.sort_unstable_by_key(|(id, _)| *id);
        scanned += rows.len();
        rows.retain(|(id, _)| horizon.is_none_or(|horizon| *id <= horizon));
        let last = rows.last().map(|(id, _)| *id);
        let candidates = rows.into_iter().filter(|(_, task)| passes(filter, task)).collect();
        for view in with_states(tx, shards, candidates).await? {
            if !passes_state(filter, &view) {
                continue;
            }
            found.push(view);
            if found.len() == limit {
                let next = found.last().map(|view| view.id);
                return Ok((found, next));
            }
        }
        if horizon.is_none() {
            return Ok((found, None));
        }
        after = last;
    }
    Ok((found, after))
}

struct ShardRows {
    rows: Vec<(TaskId, StoredTask)>,
    last: Option<TaskId>,
    more: bool,
}

async fn shard_rows(tx: &Transaction, shard: ShardId, after: Option<TaskId>, limit: usize) -> Body<ShardRows> {
    let page = tx.get_range_snapshot(keyspace::tasks(shard, after).limit(limit)).await?;
    let mut rows = Vec::with_capacity(page.rows.len());
    for (key, value) in &page.rows {
        rows.push((keyspace::parse_task(key)?, StoredTask::decode(value)?));
    }
    Ok(ShardRows { last: rows.last().map(|(id, _)| *id), rows, more: page.more })
}

fn passes(filter: &TaskFilter, task: &StoredTask) -> bool {
    let schedule = task.occurrence.as_ref().map(|it| &it.schedule);
    task.namespace == filter.namespace
        && filter.queue.as_ref().is_none_or(|queue| *queue == task.template.queue)
        && filter.schedule.as_ref().is_none_or(|id| schedule == Some(id))
        && filter.labels.iter().all(|(key, value)| task.template.labels.get(key) == Some(value))
}

fn passes_state(filter: &TaskFilter, view: &TaskView) -> bool {
    (filter.states.is_empty() || filter.states.contains(&view.state))
        && filter.due_from.is_none_or(|from| view.due >= from)
        && filter.due_until.is_none_or(|until| view.due < until)
}

async fn with_states(tx: &Transaction, shards: u32, tasks: Vec<(TaskId, StoredTask)>) -> Body<Vec<TaskView>> {
    if tasks.is_empty() {
        return Ok(Vec::new());
    }
    let mut keys = Vec::with_capacity(tasks.len() * 2);
    for (id, _) in &tasks {
        let shard = id.shard(shards);
        keys.extend([keyspace::head(shard, *id), keyspace::lease(shard, *id)]);
    }
    let values = tx.raw().get_many(keys, true).await?;
    let mut views = Vec::with_capacity(tasks.len());
    for ((id, task), pair) in tasks.into_iter().zip(values.chunks_exact(2)) {
        let head = pair[0].as_ref().map(Head::decode).transpose()?;
        let lease = pair[1].as_ref().map(Lease::decode).transpose()?;
        views.push(summary(id, task, head, lease));
    }
    Ok(views)
}

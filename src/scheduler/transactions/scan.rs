//! Scans that fill memory from the store. Snapshot reads: what they bring is checked again by the
//! transaction that acts on it. Only the sweep, for which nobody waits, has batch priority.
//! Scans read the most rows, so they bear tags, by which FoundationDB can slow them down.

use escapement_engine::{ScheduleUid, ShardId, TaskId, Timestamp};

use super::{Outcome, isolated};
use crate::{
    keyspace::{self, DueStream},
    records::{DueEntry, IdempotencyRow, Lease, Record as _},
    store::{Database, KeySelector, TransactionKind},
};

const SCAN: TransactionKind = TransactionKind::idempotent("scan").tag("escapement-scan");
const SWEEP: TransactionKind = TransactionKind::idempotent("sweep").batch().tag("escapement-sweep");

/// A page of one stream of the due index.
#[derive(Debug)]
pub(crate) struct DuePage {
    /// Instant, task and overall deadline, in order.
    pub(crate) rows: Vec<(Timestamp, TaskId, Option<Timestamp>)>,
    /// The first instant beyond the rows, if there is one.
    pub(crate) next: Option<Timestamp>,
    /// The page was full: there may be more before `until`.
    pub(crate) full: bool,
}

/// Reads the entries after `after` that are due by `until`.
pub(crate) async fn read_due(
    db: &Database,
    stream: &DueStream,
    after: Option<(Timestamp, TaskId)>,
    until: Timestamp,
    limit: usize,
) -> Outcome<DuePage> {
    let committed = db
        .run(SCAN, |tx, _| {
            let stream = stream.clone();
            async move {
                let page = tx.get_range_snapshot(stream.entries(after).limit(limit)).await?;
                let mut rows = Vec::with_capacity(page.rows.len());
                for (key, value) in &page.rows {
                    let (due, id) = keyspace::parse_due_tail(&stream, key)?;
                    if due > until {
                        return Ok(DuePage { rows, next: Some(due), full: false });
                    }
                    // One that cannot be read holds up nothing here: firing finds out, and says so.
                    rows.push((due, id, DueEntry::decode(value).ok().and_then(|entry| entry.deadline)));
                }
                Ok(DuePage { full: page.more, rows, next: None })
            }
        })
        .await?;
    Ok(committed.value)
}

/// The stream of a shard's due index that follows `after`. Jumps from stream to stream, so
/// its cost is the number of streams, not of tasks.
pub(crate) async fn next_stream(
    db: &Database,
    shard: ShardId,
    after: Option<&DueStream>,
) -> Outcome<Option<DueStream>> {
    let committed = db
        .run(SCAN, |tx, _| {
            let range = keyspace::due_beyond(shard, after).limit(1);
            async move {
                let page = tx.get_range_snapshot(range).await?;
                Ok(page.rows.first().map(|(key, _)| keyspace::parse_due(key)).transpose()?.map(|(stream, ..)| stream))
            }
        })
        .await?;
    Ok(committed.value)
}

/// A page of a shard's leases after `after`, and the task after which the next one begins, if there
/// are more. A lease that cannot be read is left out: its task stays as it is.
pub(crate) async fn load_leases(
    db: &Database,
    shard: ShardId,
    after: Option<TaskId>,
    limit: usize,
) -> Outcome<(Vec<(TaskId, Lease)>, Option<TaskId>)> {
    let committed = db
        .run(SCAN, |tx, _| async move {
            let page = tx.get_range_snapshot(keyspace::leases(shard, after).limit(limit)).await?;
            let mut rows = Vec::with_capacity(page.rows.len());
            let mut last = None;
            for (key, value) in &page.rows {
                let id = keyspace::parse_task(key)?;
                let lease = isolated(id, Lease::decode(value).map_err(Into::into))?;
                rows.extend(lease.map(|lease| (id, lease)));
                last = Some(id);
            }
            Ok((rows, last.filter(|_| page.more)))
        })
        .await?;
    Ok(committed.value)
}

/// The leases of these tasks, of those that have one which can be read.
pub(crate) async fn read_leases(db: &Database, tasks: &[(ShardId, TaskId)]) -> Outcome<Vec<(TaskId, Lease)>> {
    let committed = db
        .run(SCAN, |tx, _| async move {
            let keys = tasks.iter().map(|(shard, id)| keyspace::lease(*shard, *id)).collect();
            let mut rows = Vec::new();
            for ((_, id), value) in tasks.iter().zip(tx.raw().get_many(keys, true).await?) {
                let lease = value.as_ref().map(Lease::decode).transpose().map_err(Into::into);
                rows.extend(isolated(*id, lease)?.flatten().map(|lease| (*id, lease)));
            }
            Ok(rows)
        })
        .await?;
    Ok(committed.value)
}

/// A page of a shard's ticks.
#[derive(Debug)]
pub(crate) struct TickPage {
    pub(crate) rows: Vec<(Timestamp, ScheduleUid)>,
    /// There are more after the last row.
    pub(crate) more: bool,
}

/// Reads the ticks of a shard after `after`, earliest first.
pub(crate) async fn read_ticks(
    db: &Database,
    shard: ShardId,
    after: Option<(Timestamp, ScheduleUid)>,
    limit: usize,
) -> Outcome<TickPage> {
    let committed = db
        .run(SCAN, |tx, _| async move {
            let mut range = keyspace::ticks(shard).limit(limit);
            if let Some((at, uid)) = after {
                range.begin = KeySelector::first_greater_than(keyspace::tick(shard, at, uid));
            }
            let page = tx.get_range_snapshot(range).await?;
            let rows = page.rows.iter().map(|(key, _)| keyspace::parse_tick(key)).collect::<Result<_, _>>()?;
            Ok(TickPage { rows, more: page.more })
        })
        .await?;
    Ok(committed.value)
}

/// Clears the idempotency keys of one page whose windows have passed. Gives the key after
/// which the next page begins, or `None` at the end.
pub(crate) async fn sweep_idempotency(
    db: &Database,
    after: Option<bytes::Bytes>,
    now: Timestamp,
    limit: usize,
) -> Outcome<Option<bytes::Bytes>> {
    let committed = db
        .run(SWEEP, |tx, _| {
            let mut range = keyspace::idempotencies().limit(limit);
            if let Some(after) = &after {
                range.begin = KeySelector::first_greater_than(after.clone());
            }
            async move {
                let page = tx.get_range_snapshot(range).await?;
                let mut expired = Vec::new();
                for (key, value) in &page.rows {
                    if IdempotencyRow::decode(value)?.expires <= now {
                        expired.push(key.clone());
                    }
                }
                // Read again with conflicts: a key may have been taken anew meanwhile.
                for (key, value) in expired.iter().zip(tx.get_many(expired.clone()).await?) {
                    if value.as_ref().map(IdempotencyRow::decode).transpose()?.is_some_and(|row| row.expires <= now) {
                        tx.clear(key.clone())?;
                    }
                }
                Ok(page.rows.last().map(|(key, _)| key.clone()).filter(|_| page.more))
            }
        })
        .await?;
    Ok(committed.value)
}

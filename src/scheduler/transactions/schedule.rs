//! Schedules: made, read, paused, resumed, deleted. The next instant is always derived from
//! the rule and the store, and stands in the tick index; pausing takes it out.

use std::sync::{Arc, OnceLock};

use escapement_engine::{
    ScheduleUid, Timestamp,
    name::{Namespace, ScheduleId},
};

use super::{Body, Outcome, Refusal, read_record};
use crate::{
    keyspace,
    model::{ScheduleSpec, ScheduleState},
    records::{Record as _, ScheduleRow, Tick},
    store::{Database, Transaction, TransactionKind},
};

/// The first instant of the schedule's rule after `after`, within its start and end.
///
/// # Errors
/// When the stored rule can no longer be read, e.g. a time zone that is gone.
pub(crate) fn next_occurrence(spec: &ScheduleSpec, after: Timestamp) -> Result<Option<Timestamp>, Refusal> {
    let rule = spec.rule.compile(&spec.time_zone);
    let rule = rule.map_err(|error| Refusal::Inconsistent(format!("rule of schedule {}: {error}", spec.id)))?;
    let start = spec.start.map_or(Timestamp::MIN, |start| Timestamp::from_unix_ms(start.unix_ms().saturating_sub(1)));
    Ok(rule.next_after(after.max(start)).filter(|next| spec.end.is_none_or(|end| *next < end)))
}

/// Makes a schedule. Making it again with the same content changes nothing (`false`).
pub(crate) async fn create_schedule(
    db: &Database,
    shards: u32,
    spec: &ScheduleSpec,
    uid: ScheduleUid,
    now: Timestamp,
) -> Outcome<(ScheduleRow, bool)> {
    let committed = db
        .run(TransactionKind::idempotent("create-schedule"), |tx, attempt| {
            let spec = spec.clone();
            async move {
                let key = keyspace::schedule(&spec.namespace, &spec.id);
                if let Some(row) = read_record::<ScheduleRow>(&tx, key).await? {
                    if row.spec.content_hash != spec.content_hash {
                        return Err(Refusal::ScheduleExists(spec.id).into());
                    }
                    let own = attempt.maybe_committed && row.uid == uid;
                    return Ok((row, own));
                }
                let next = next_occurrence(&spec, now)?;
                let state = if next.is_some() { ScheduleState::Active } else { ScheduleState::Finished };
                let row = ScheduleRow { spec, uid, state, created: now, next, last: None, occurrences: 0 };
                write(&tx, shards, &row)?;
                Ok((row, true))
            }
        })
        .await?;
    Ok(committed.value)
}

/// Writes a schedule and its tick.
fn write(tx: &Transaction, shards: u32, row: &ScheduleRow) -> Body<()> {
    tx.set(keyspace::schedule(&row.spec.namespace, &row.spec.id), row.encode())?;
    if let Some(next) = row.next {
        let tick = Tick { namespace: row.spec.namespace.clone(), id: row.spec.id.clone() };
        tx.set(keyspace::tick(row.uid.shard(shards), next, row.uid), tick.encode())?;
    }
    Ok(())
}

/// Replaces a schedule, and its tick where that moved.
pub(super) fn rewrite(tx: &Transaction, shards: u32, before: &ScheduleRow, after: &ScheduleRow) -> Body<()> {
    assert_eq!(before.uid, after.uid, "a schedule keeps its uid");
    if let Some(next) = before.next.filter(|next| after.next != Some(*next)) {
        tx.clear(keyspace::tick(before.uid.shard(shards), next, before.uid))?;
    }
    write(tx, shards, after)
}

/// One schedule.
pub(crate) async fn get_schedule(db: &Database, namespace: &Namespace, id: &ScheduleId) -> Outcome<ScheduleRow> {
    let committed = db
        .run(TransactionKind::idempotent("read"), |tx, _| {
            let (namespace, id) = (namespace.clone(), id.clone());
            async move { existing(&tx, &namespace, &id).await }
        })
        .await?;
    Ok(committed.value)
}

async fn existing(tx: &Transaction, namespace: &Namespace, id: &ScheduleId) -> Body<ScheduleRow> {
    let row = read_record(tx, keyspace::schedule(namespace, id)).await?;
    row.ok_or_else(|| Refusal::ScheduleNotFound(id.clone()).into())
}

/// A namespace's schedules after `after`, at most `limit`, and whether there are more.
pub(crate) async fn list_schedules(
    db: &Database,
    namespace: &Namespace,
    after: Option<&ScheduleId>,
    limit: usize,
) -> Outcome<(Vec<ScheduleRow>, bool)> {
    let committed = db
        .run(TransactionKind::idempotent("read"), |tx, _| {
            let range = keyspace::schedules(namespace, after).limit(limit);
            async move {
                let page = tx.get_range_snapshot(range).await?;
                let rows = page.rows.iter().map(|(_, value)| ScheduleRow::decode(value)).collect::<Result<_, _>>()?;
                Ok((rows, page.more))
            }
        })
        .await?;
    Ok(committed.value)
}

/// Stops a schedule from making tasks.
pub(crate) async fn pause_schedule(
    db: &Database,
    shards: u32,
    namespace: &Namespace,
    id: &ScheduleId,
) -> Outcome<ScheduleRow> {
    change(db, shards, "pause-schedule", namespace, id, |row| {
        if row.state == ScheduleState::Active {
            row.state = ScheduleState::Paused;
            row.next = None;
        }
        Ok(())
    })
    .await
}

/// Lets a paused schedule make tasks again, from its first instant after `now`.
pub(crate) async fn resume_schedule(
    db: &Database,
    shards: u32,
    namespace: &Namespace,
    id: &ScheduleId,
    now: Timestamp,
) -> Outcome<ScheduleRow> {
    change(db, shards, "resume-schedule", namespace, id, move |row| {
        if row.state == ScheduleState::Paused {
            // An instant that has become a task already is over, whatever the clock says.
            let after = row.last.map_or(now, |last| last.max(now));
            row.next = next_occurrence(&row.spec, after)?;
            row.state = if row.next.is_some() { ScheduleState::Active } else { ScheduleState::Finished };
        }
        Ok(())
    })
    .await
}

async fn change(
    db: &Database,
    shards: u32,
    name: &'static str,
    namespace: &Namespace,
    id: &ScheduleId,
    edit: impl Fn(&mut ScheduleRow) -> Result<(), Refusal> + Send + Sync,
) -> Outcome<ScheduleRow> {
    let edit = &edit;
    let committed = db
        .run(TransactionKind::idempotent(name), |tx, _| {
            let (namespace, id) = (namespace.clone(), id.clone());
            async move {
                let before = existing(&tx, &namespace, &id).await?;
                let mut after = before.clone();
                edit(&mut after)?;
                if after != before {
                    rewrite(&tx, shards, &before, &after)?;
                }
                Ok(after)
            }
        })
        .await?;
    Ok(committed.value)
}

/// Deletes a schedule. The tasks that it made stay.
pub(crate) async fn delete_schedule(db: &Database, shards: u32, namespace: &Namespace, id: &ScheduleId) -> Outcome<()> {
    // The schedule that the first try found: a later one of the same id is another schedule.
    let found = Arc::new(OnceLock::new());
    db.run(TransactionKind::idempotent("delete-schedule"), |tx, attempt| {
        let (namespace, id, found) = (namespace.clone(), id.clone(), Arc::clone(&found));
        async move {
            let row = read_record::<ScheduleRow>(&tx, keyspace::schedule(&namespace, &id)).await?;
            match row {
                Some(row) if attempt.maybe_committed && *found.get_or_init(|| row.uid) != row.uid => Ok(()),
                Some(row) => {
                    found.get_or_init(|| row.uid);
                    tx.clear(keyspace::schedule(&namespace, &id))?;
                    if let Some(next) = row.next {
                        tx.clear(keyspace::tick(row.uid.shard(shards), next, row.uid))?;
                    }
                    Ok(())
                }
                // An earlier try may have deleted it.
                None if attempt.maybe_committed => Ok(()),
                None => Err(Refusal::ScheduleNotFound(id).into()),
            }
        }
    })
    .await
    .map(drop)
}

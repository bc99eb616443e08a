//! Schedules: made, read, paused, resumed, deleted. The next instant is always derived from
//! the rule and the store, and stands in the tick index; pausing takes it out.
//!
//! A try after an unknown commit must not do it again when the first did it and somebody else
//! changed the schedule since. So each try that is certainly the first to be committed notes
//! what it saw ([`Seen`]), and each later one compares: as it was seen, nothing was committed;
//! otherwise the call has its place before the change that made the difference.

use escapement_engine::{
    ScheduleUid, Timestamp,
    name::{Namespace, ScheduleId},
    planted::{Bug, planted},
};

use super::{Body, Outcome, Refusal, read::READ, read_record, seen::Seen};
use crate::{
    keyspace,
    model::{ScheduleSpec, ScheduleState},
    records::{Record as _, ScheduleDeletion, ScheduleRow, Tick},
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
    let seen = Seen::new();
    let committed = db
        .run(TransactionKind::idempotent("create-schedule"), |tx, attempt| {
            let (spec, seen) = (spec.clone(), seen.clone());
            async move {
                let found = read_record::<ScheduleRow>(&tx, keyspace::schedule(&spec.namespace, &spec.id)).await?;
                let deletion = deletion(&tx, &spec.namespace, &spec.id).await?;
                let deletions = deletion.map_or(0, |deletion| deletion.deletions);
                let exists = found.is_some();
                if let Some(row) = found.filter(|row| row.spec.content_hash == spec.content_hash) {
                    let own = attempt.maybe_committed && row.uid == uid;
                    return Ok((row, own));
                }
                let next = next_occurrence(&spec, now)?;
                let state = if next.is_some() { ScheduleState::Active } else { ScheduleState::Finished };
                let row = ScheduleRow { spec, uid, state, created: now, next, last: None, occurrences: 0, revision: 0 };
                // An earlier try made it, and somebody has deleted it since.
                if deletion.is_some_and(|deletion| deletion.uid == uid) {
                    return Ok((row, true));
                }
                // Of several deletions meanwhile only the last is known: one of the others may
                // have been of what an earlier try made.
                if deletions > seen.first(attempt, &deletions).saturating_add(1) {
                    return Err(Refusal::CreationUnknown(row.spec.id).into());
                }
                if exists {
                    return Err(Refusal::ScheduleExists(row.spec.id).into());
                }
                write(&tx, shards, &row)?;
                Ok((row, true))
            }
        })
        .await?;
    Ok(committed.value)
}

async fn deletion(tx: &Transaction, namespace: &Namespace, id: &ScheduleId) -> Body<Option<ScheduleDeletion>> {
    read_record(tx, keyspace::schedule_deletion(namespace, id)).await
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
        .run(READ, |tx, _| {
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
        .run(READ, |tx, _| {
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

/// Stops a schedule from making tasks. One that has finished refuses.
pub(crate) async fn pause_schedule(
    db: &Database,
    shards: u32,
    namespace: &Namespace,
    id: &ScheduleId,
) -> Outcome<ScheduleRow> {
    change(db, shards, "pause-schedule", namespace, id, |row| {
        match row.state {
            ScheduleState::Finished => return Err(Refusal::ScheduleFinished(row.spec.id.clone())),
            ScheduleState::Active if !planted(Bug::PauseLost) => {
                row.state = ScheduleState::Paused;
                row.next = None;
            }
            ScheduleState::Active | ScheduleState::Paused => {}
        }
        Ok(())
    })
    .await
}

/// Lets a paused schedule make tasks again, from its first instant after `now`. One without
/// such an instant refuses and stays as it is, so that a repeated call gets the same answer.
pub(crate) async fn resume_schedule(
    db: &Database,
    shards: u32,
    namespace: &Namespace,
    id: &ScheduleId,
    now: Timestamp,
) -> Outcome<ScheduleRow> {
    change(db, shards, "resume-schedule", namespace, id, move |row| {
        let finished = || Refusal::ScheduleFinished(row.spec.id.clone());
        match row.state {
            ScheduleState::Finished => return Err(finished()),
            ScheduleState::Paused => {
                // An instant that has become a task already is over, whatever the clock says.
                let after = row.last.map_or(now, |last| last.max(now));
                let next = next_occurrence(&row.spec, after)?.ok_or_else(finished)?;
                (row.next, row.state) = (Some(next), ScheduleState::Active);
            }
            ScheduleState::Active => {}
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
    let (edit, seen) = (&edit, Seen::new());
    let committed = db
        .run(TransactionKind::idempotent(name), |tx, attempt| {
            let (namespace, id, seen) = (namespace.clone(), id.clone(), seen.clone());
            async move {
                let before = read_record::<ScheduleRow>(&tx, keyspace::schedule(&namespace, &id)).await?;
                let first = seen.first(attempt, &before).ok_or_else(|| Refusal::ScheduleNotFound(id.clone()))?;
                let mut after = before.as_ref().filter(|row| is_unchanged(row, &first)).cloned();
                let Some(after) = &mut after else {
                    // Somebody changed or deleted it after the first try, or that try itself did.
                    let mut changed = first;
                    edit(&mut changed)?;
                    return Ok(before.filter(|row| row.uid == changed.uid).unwrap_or(changed));
                };
                edit(after)?;
                if let Some(before) = before.filter(|before| before != after) {
                    after.revision += 1;
                    rewrite(&tx, shards, &before, after)?;
                }
                Ok(after.clone())
            }
        })
        .await?;
    Ok(committed.value)
}

/// Whether nobody but its own ticks has changed the schedule.
fn is_unchanged(row: &ScheduleRow, first: &ScheduleRow) -> bool {
    (row.uid, row.revision) == (first.uid, first.revision)
}

/// Deletes a schedule. The tasks that it made stay.
pub(crate) async fn delete_schedule(db: &Database, shards: u32, namespace: &Namespace, id: &ScheduleId) -> Outcome<()> {
    let seen = Seen::new();
    db.run(TransactionKind::idempotent("delete-schedule"), |tx, attempt| {
        let (namespace, id, seen) = (namespace.clone(), id.clone(), seen.clone());
        async move {
            let row = read_record::<ScheduleRow>(&tx, keyspace::schedule(&namespace, &id)).await?;
            let first = seen.first(attempt, &row.as_ref().map(|row| row.uid));
            let first = first.ok_or_else(|| Refusal::ScheduleNotFound(id.clone()))?;
            // Gone, or another schedule of the same id: the one that was meant is deleted.
            let Some(row) = row.filter(|row| row.uid == first) else { return Ok(()) };
            let earlier = deletion(&tx, &namespace, &id).await?.map_or(0, |deletion| deletion.deletions);
            let deletion = ScheduleDeletion { uid: row.uid, deletions: earlier.saturating_add(1) };
            tx.set(keyspace::schedule_deletion(&namespace, &id), deletion.encode())?;
            tx.clear(keyspace::schedule(&namespace, &id))?;
            if let Some(next) = row.next {
                tx.clear(keyspace::tick(row.uid.shard(shards), next, row.uid))?;
            }
            Ok(())
        }
    })
    .await
    .map(drop)
}

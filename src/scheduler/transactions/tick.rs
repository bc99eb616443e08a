//! Ticks: a schedule's instant has come, and its occurrence becomes a task. The occurrence's
//! task and the schedule's next instant are one commit, so none is missing and none is twice.

use std::sync::Arc;

use bytes::Bytes;
use escapement_engine::{
    ScheduleUid, ShardId, TaskId, Timestamp,
    planted::{Bug, planted},
};

use super::{Body, Outcome, Ownership, distinct_shards, read_wanted, schedule, submit};
use crate::{
    keyspace,
    model::{NewTask, Occurrence, ScheduleState},
    records::{Record as _, ScheduleRow, Tick},
    store::{Abort, Database, Transaction, TransactionKind},
};

/// Bytes that one transaction writes, after which it leaves what is due to the next one. A
/// single occurrence is at most a tenth of it.
const BYTES_MAX: usize = 1 << 20;
/// What a task, or a schedule that moves on, adds beside what its owner chose.
const ROW_OVERHEAD_BYTES: usize = 700;

/// A tick whose instant has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DueTick {
    pub(crate) shard: ShardId,
    pub(crate) at: Timestamp,
    pub(crate) uid: ScheduleUid,
}

/// What became of a tick.
#[derive(Debug)]
pub(crate) struct TickOutcome {
    /// Tasks made: one for each instant that has passed, up to the limit.
    pub(crate) tasks: Vec<NewTask>,
    /// The schedule's next tick.
    pub(crate) next: Option<DueTick>,
    /// The tick was not there (any more).
    pub(crate) absent: bool,
    /// A record of the schedule cannot be read: nothing was done.
    pub(crate) unreadable: bool,
}

/// Makes tasks of all instants up to `now`, at most `limit` for each schedule; what is beyond
/// stays with the next tick.
pub(crate) async fn tick(
    db: &Database,
    ownership: &Ownership,
    shards: u32,
    ticks: Arc<[DueTick]>,
    now: Timestamp,
    limit: usize,
) -> Outcome<Vec<TickOutcome>> {
    let committed = db
        .run(TransactionKind::idempotent("tick"), |tx, _| {
            let (ownership, ticks) = (ownership.clone(), Arc::clone(&ticks));
            async move { body(&tx, &ownership, shards, &ticks, now, limit).await }
        })
        .await?;
    Ok(committed.value)
}

async fn body(
    tx: &Transaction,
    ownership: &Ownership,
    shards: u32,
    ticks: &[DueTick],
    now: Timestamp,
    limit: usize,
) -> Body<Vec<TickOutcome>> {
    let owned = distinct_shards(ticks.iter().map(|it| it.shard));
    let mut keys = Ownership::fence_keys(&owned);
    keys.extend(ticks.iter().map(|it| keyspace::tick(it.shard, it.at, it.uid)));
    let mut values = tx.get_many(keys).await?;
    let rows = values.split_off(owned.len());
    ownership.check(&owned, &values)?;
    let indexes: Vec<Option<Body<Tick>>> =
        rows.iter().map(|row| row.as_ref().map(|row| Ok(Tick::decode(row)?))).collect();
    let schedules = indexes.iter().map(|index| match index {
        Some(Ok(index)) => Some(keyspace::schedule(&index.namespace, &index.id)),
        _ => None,
    });
    let schedules = read_wanted(tx, schedules.collect()).await?;

    let mut bytes = 0;
    let moves = ticks.iter().zip(indexes).zip(&schedules).map(|((tick, index), row)| {
        index.map(|index| index.and_then(|index| Move::plan(tick, &index, row.as_ref(), now, (limit, &mut bytes))))
    });
    let moves: Vec<Option<Body<Move>>> = moves.collect();
    // An occurrence that is a task already stays as it is, whatever its schedule says: it may
    // have ended, and a terminal state is for ever.
    let made = moves.iter().flatten().flatten().flat_map(|it| &it.tasks);
    let known = made.map(|task| Some(keyspace::task(task.id.shard(shards), task.id))).collect();
    let mut known = read_wanted(tx, known).await?.into_iter();

    let mut outcomes = Vec::with_capacity(ticks.len());
    for (tick, it) in ticks.iter().zip(moves) {
        let nothing = |absent, unreadable| TickOutcome { tasks: Vec::new(), next: None, absent, unreadable };
        outcomes.push(match it.map(|it| it.and_then(|it| it.write(tx, shards, tick, &mut known))) {
            // Paused, deleted, or done by an earlier try: the tick index tells what comes next.
            None => nothing(true, false),
            // One schedule that cannot be read must not hold up the others. It is tried
            // again with the next rescan.
            Some(Err(Abort::Refuse(refusal))) => {
                tracing::error!(%refusal, schedule = %tick.uid, "a schedule cannot be read");
                nothing(false, true)
            }
            Some(outcome) => outcome?,
        });
    }
    Ok(outcomes)
}

/// How a schedule moves on.
struct Move {
    before: ScheduleRow,
    after: ScheduleRow,
    tasks: Vec<NewTask>,
}

impl Move {
    fn plan(
        tick: &DueTick,
        index: &Tick,
        row: Option<&Bytes>,
        now: Timestamp,
        (limit, bytes): (usize, &mut usize),
    ) -> Body<Self> {
        let before = row.map(ScheduleRow::decode).transpose()?;
        let Some(before) = before.filter(|row| row.uid == tick.uid && row.next == Some(tick.at)) else {
            return Err(
                super::Refusal::Inconsistent(format!("a tick of schedule {} that it does not have", index.id)).into()
            );
        };
        let mut after = before.clone();
        let mut tasks = Vec::new();
        let weight = ROW_OVERHEAD_BYTES + before.spec.template.variable_bytes();
        while let Some(nominal) = after.next.filter(|next| *next <= now && tasks.len() < limit && *bytes < BYTES_MAX) {
            // The schedule's own row moves on with its first task.
            *bytes += if tasks.is_empty() { 2 * weight } else { weight };
            tasks.push(occurrence(&after, nominal, now));
            after.last = Some(nominal);
            after.occurrences += 1;
            let passed = if planted(Bug::MissedInstantsLost) { now } else { nominal };
            after.next = schedule::next_occurrence(&after.spec, passed)?;
        }
        if after.next.is_none() {
            after.state = ScheduleState::Finished;
        }
        Ok(Self { before, after, tasks })
    }

    /// Writes it; `known` has the next values of the tasks' keys.
    fn write(
        self,
        tx: &Transaction,
        shards: u32,
        tick: &DueTick,
        known: &mut impl Iterator<Item = Option<Bytes>>,
    ) -> Body<TickOutcome> {
        let Self { before, after, mut tasks } = self;
        tasks.retain(|_| known.next().is_some_and(|known| known.is_none()));
        for task in &tasks {
            submit::write_task(tx, shards, task)?;
        }
        if after != before {
            schedule::rewrite(tx, shards, &before, &after)?;
        }
        let next = after.next.map(|at| DueTick { at, ..tick.clone() });
        Ok(TickOutcome { tasks, next, absent: false, unreadable: false })
    }
}

fn occurrence(row: &ScheduleRow, nominal: Timestamp, now: Timestamp) -> NewTask {
    NewTask {
        id: TaskId::of_occurrence(row.uid, nominal),
        namespace: row.spec.namespace.clone(),
        template: row.spec.template.clone(),
        due: nominal,
        deadline: row.spec.deadline_after.map(|span| nominal.saturating_add(span)),
        idempotency: None,
        submitted: now,
        occurrence: Some(Occurrence { schedule: row.spec.id.clone(), nominal: Some(nominal), uid: Some(row.uid) }),
        content_hash: row.spec.content_hash,
    }
}

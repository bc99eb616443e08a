//! Every transaction of the scheduler, one file for each step in the way of a task.
//!
//! Each is idempotent under an unknown commit: ids, instants and random bits are fixed
//! before the first try, and what a try finds in the store tells whether an earlier one was
//! committed. Nothing here changes memory: the caller adopts what was committed.

mod cancel;
mod end;
mod fire;
mod membership;
mod read;
mod scan;
mod schedule;
mod seen;
mod submit;
mod tick;

#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use escapement_engine::{
    Epoch, SessionId, ShardId, TaskId,
    name::ScheduleId,
    planted::{Bug, planted},
};

pub(crate) use cancel::cancel;
pub(crate) use end::{EndOutcome, EndRequest, Ending, end};
pub(crate) use fire::{FireOutcome, FireRequest, FiredAttempt, Overdue, fail_overdue, fire};
pub(crate) use membership::{Takeover, beat, holders, leave, open_cluster, take_shards};
pub(crate) use read::{get_task, list_tasks, marks};
pub(crate) use scan::{
    DuePage, TickPage, load_leases, next_stream, read_due, read_leases, read_ticks, sweep_idempotency,
};
pub(crate) use schedule::{
    create_schedule, delete_schedule, get_schedule, list_schedules, pause_schedule, resume_schedule,
};
pub(crate) use submit::{SubmitRefusal, Submitted, due_stream, submit};
pub(crate) use tick::{DueTick, TickOutcome, tick};

use crate::{
    keyspace::{self, KeyError},
    model::TaskState,
    records::{NewerFormat, Record, RecordError, ShardLease},
    store::{Abort, RunError, Transaction},
};

/// Why a transaction refuses.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("shard {0} is owned by another scheduler")]
    NotOwner(ShardId),
    #[error("shard {0} is held by scheduler {1}, which may be alive")]
    ShardHeld(ShardId, SessionId),
    #[error("task {0} does not exist")]
    TaskNotFound(TaskId),
    #[error("task {0} has already ended: {1}")]
    TaskEnded(TaskId, TaskState),
    #[error("schedule {0} does not exist")]
    ScheduleNotFound(ScheduleId),
    #[error("schedule {0} has finished: its rule has no further instant")]
    ScheduleFinished(ScheduleId),
    #[error("schedule {0} exists with other content")]
    ScheduleExists(ScheduleId),
    #[error("schedule {0} was made and deleted by others meanwhile: look whether this one was made, too")]
    CreationUnknown(ScheduleId),
    #[error(transparent)]
    Record(#[from] RecordError),
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error("store has {0}")]
    FormatTooNew(NewerFormat),
    #[error("{0}")]
    Inconsistent(String),
}

impl From<RecordError> for Abort<Refusal> {
    fn from(error: RecordError) -> Self {
        Self::Refuse(error.into())
    }
}

impl From<KeyError> for Abort<Refusal> {
    fn from(error: KeyError) -> Self {
        Self::Refuse(error.into())
    }
}

impl From<Refusal> for Abort<Refusal> {
    fn from(refusal: Refusal) -> Self {
        Self::Refuse(refusal)
    }
}

/// Result of a transaction's body.
pub(crate) type Body<T> = Result<T, Abort<Refusal>>;
/// Result of a whole transaction.
pub(crate) type Outcome<T> = Result<T, RunError<Refusal>>;

/// The right by which a scheduler writes: the shards that it owns, each with its epoch.
#[derive(Clone, Debug)]
pub(crate) struct Ownership {
    pub(crate) session: SessionId,
    pub(crate) shards: Arc<BTreeMap<ShardId, Epoch>>,
}

impl Ownership {
    /// Keys of the leases of these shards, to be read together with everything else.
    pub(crate) fn fence_keys(shards: &[ShardId]) -> Vec<Bytes> {
        shards.iter().map(|shard| keyspace::shard_lease(*shard)).collect()
    }

    /// Refuses unless each shard is still owned in the same epoch. `values` are those of
    /// [`Ownership::fence_keys`], read with conflicts, so that a take-over that commits first
    /// makes this transaction fail.
    pub(crate) fn check(&self, shards: &[ShardId], values: &[Option<Bytes>]) -> Body<()> {
        assert_eq!(shards.len(), values.len(), "one lease for each shard");
        if planted(Bug::FenceNotChecked) {
            return Ok(());
        }
        for (shard, value) in shards.iter().zip(values) {
            let lease = value.as_ref().map(ShardLease::decode).transpose()?;
            let mine = lease
                .is_some_and(|lease| lease.owner == Some(self.session) && self.shards.get(shard) == Some(&lease.epoch));
            if !mine {
                return Err(Refusal::NotOwner(*shard).into());
            }
        }
        Ok(())
    }
}

/// The distinct shards of some tasks, in order.
pub(crate) fn distinct_shards(shards: impl Iterator<Item = ShardId>) -> Vec<ShardId> {
    let mut shards: Vec<_> = shards.collect();
    shards.sort_unstable();
    shards.dedup();
    shards
}

/// Of a batch: `None` for a task whose own records refuse to be read or do not fit each other, which
/// must not hold up the others. It stays as it is; the log names it, and a rescan tries it again.
fn isolated<T>(id: TaskId, outcome: Body<T>) -> Body<Option<T>> {
    match outcome {
        Ok(value) => Ok(Some(value)),
        Err(Abort::Refuse(refusal @ (Refusal::Record(_) | Refusal::Key(_) | Refusal::Inconsistent(_)))) => {
            tracing::error!(%refusal, task = %id, "a task cannot be read; left as it is");
            Ok(None)
        }
        Err(abort) => Err(abort),
    }
}

/// The values of those keys that there are, all read at once. One read after the other, for each task
/// of a batch, can outlast the version that all are read at: in every try, so that the batch never ends.
async fn read_wanted(tx: &Transaction, keys: Vec<Option<Bytes>>) -> Body<Vec<Option<Bytes>>> {
    let is_wanted: Vec<bool> = keys.iter().map(Option::is_some).collect();
    let keys: Vec<Bytes> = keys.into_iter().flatten().collect();
    if keys.is_empty() {
        return Ok(vec![None; is_wanted.len()]);
    }
    let mut values = tx.get_many(keys).await?.into_iter();
    Ok(is_wanted.into_iter().map(|wanted| if wanted { values.next().flatten() } else { None }).collect())
}

/// Reads one record, if it is there.
async fn read_record<R: Record>(tx: &Transaction, key: Bytes) -> Body<Option<R>> {
    Ok(tx.get(key).await?.as_ref().map(R::decode).transpose()?)
}

//! Keys and values of the store as rows of a history.
//!
//! This is the one place where the chaos package reads what the scheduler wrote: keys by its
//! keyspace, values by its records. What they mean is for the checkers.

use bytes::Bytes;
use escapement::{
    keyspace::{self, Key},
    model::{ScheduleState, TaskState},
    records::{DueEntry, Head, Lease, Record, RecordError, ScheduleRow, ShardLease, StoredTask},
    store::engine::{CommitRequest, Mutation},
};

use crate::history::{Change, EndState};

/// What a commit changes, without the rows that no checker looks at.
pub(super) fn changes(request: &CommitRequest) -> Vec<Change> {
    let change = |mutation: &Mutation| match mutation {
        Mutation::Set(key, value) => row(key, value),
        Mutation::Clear(key) => cleared(key),
        Mutation::ClearRange(..) | Mutation::Atomic(..) => Change::Other,
    };
    request.mutations.iter().map(change).filter(|change| *change != Change::Other).collect()
}

/// A row that stands there.
pub(super) fn row(key: &[u8], value: &Bytes) -> Change {
    let key = match Key::parse(key) {
        Ok(key) => key,
        Err(error) => return Change::Malformed { what: error.to_string() },
    };
    known(&key, value).unwrap_or_else(|error| Change::Malformed { what: format!("{key:?}: {error}") })
}

fn known(key: &Key, value: &Bytes) -> Result<Change, RecordError> {
    Ok(match key {
        Key::Task { task, .. } => {
            let stored = StoredTask::decode(value)?;
            let (schedule, nominal_unix_ms) = occurrence(stored.occurrence);
            Change::Task {
                id: task.to_string(),
                max_attempts: stored.template.retry.max_attempts,
                due_unix_ms: stored.due.unix_ms(),
                schedule,
                nominal_unix_ms,
            }
        }
        Key::Head { task, .. } => {
            let head = Head::decode(value)?;
            let state = end_state(head.state);
            Change::Head { id: task.to_string(), state, attempts: head.attempts, token: head.token.0 }
        }
        Key::Due { stream, due, task } => {
            let entry = DueEntry::decode(value)?;
            Change::Due {
                id: task.to_string(),
                shard: stream.shard.0,
                queue: stream.queue.as_str().to_owned(),
                priority: keyspace::priority_code(stream.priority),
                due_unix_ms: due.unix_ms(),
                attempts: entry.attempts,
                token: entry.token.0,
            }
        }
        Key::Lease { shard, task } => {
            let lease = Lease::decode(value)?;
            Change::Lease {
                id: task.to_string(),
                shard: shard.0,
                session: lease.session.to_string(),
                token: lease.token.0,
                attempt: lease.attempt,
                queue: lease.queue.as_str().to_owned(),
                priority: keyspace::priority_code(lease.priority),
                due_unix_ms: lease.due.unix_ms(),
            }
        }
        Key::History { task, attempt, .. } => Change::Attempt { id: task.to_string(), number: *attempt },
        Key::ShardLease { shard } => {
            let lease = ShardLease::decode(value)?;
            let owner = lease.owner.map(|owner| owner.to_string()).unwrap_or_default();
            Change::ShardLease { shard: shard.0, owner, epoch: lease.epoch.0 }
        }
        Key::Tick { at, uid, .. } => Change::Tick { uid: uid.to_string(), at_unix_ms: at.unix_ms() },
        Key::Schedule { id, .. } => {
            let schedule = ScheduleRow::decode(value)?;
            Change::Schedule {
                schedule: id.as_str().to_owned(),
                uid: schedule.uid.to_string(),
                active: schedule.state == ScheduleState::Active,
                next_unix_ms: schedule.next.map(escapement_engine::Timestamp::unix_ms),
                occurrences: schedule.occurrences,
            }
        }
        Key::Cluster
        | Key::Member { .. }
        | Key::Payload { .. }
        | Key::Result { .. }
        | Key::Idempotency { .. }
        | Key::ScheduleDeletion { .. } => Change::Other,
    })
}

fn occurrence(occurrence: Option<escapement::model::Occurrence>) -> (String, Option<i64>) {
    occurrence.map_or_else(Default::default, |made| {
        (made.schedule.as_str().to_owned(), made.nominal.map(escapement_engine::Timestamp::unix_ms))
    })
}

fn cleared(key: &[u8]) -> Change {
    match Key::parse(key) {
        Ok(Key::Due { due, task, .. }) => Change::DueCleared { id: task.to_string(), due_unix_ms: due.unix_ms() },
        Ok(Key::Lease { task, .. }) => Change::LeaseCleared { id: task.to_string() },
        Ok(Key::Tick { at, uid, .. }) => Change::TickCleared { uid: uid.to_string(), at_unix_ms: at.unix_ms() },
        Ok(Key::Schedule { id, .. }) => Change::ScheduleCleared { schedule: id.as_str().to_owned() },
        Ok(_) => Change::Other,
        Err(error) => Change::Malformed { what: error.to_string() },
    }
}

fn end_state(state: TaskState) -> EndState {
    match state {
        TaskState::Scheduled => EndState::Scheduled,
        TaskState::Running => EndState::Running,
        TaskState::Succeeded => EndState::Succeeded,
        TaskState::Failed => EndState::Failed,
        TaskState::Cancelled => EndState::Cancelled,
        TaskState::DeadLettered => EndState::DeadLettered,
    }
}

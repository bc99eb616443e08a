//! Transactions on a store in memory whose commits end as the test says.

mod ending;
mod fates;
mod firing;
mod reading;
mod rounds;
mod unknown;
mod unlucky;
mod world;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use escapement_engine::{
    ScheduleUid, SessionId, ShardId, TaskId, Timestamp, Token, limits,
    name::{Namespace, Priority, QueueName, ScheduleId},
    retry::RetryPolicy,
};

use self::world::{Fault, World};
use super::*;
use crate::{
    keyspace,
    model::{NewTask, Payload, RuleSpec, ScheduleSpec, TaskError, TaskState, Template},
    records::{Head, Lease, Member, Record as _, ScheduleRow, StoredTask},
    scheduler::room::StreamRoom,
};

const NOW: Timestamp = Timestamp::from_unix_ms(1_794_000_000_000);
const SHARDS: u32 = 4;

fn after(millis: u64) -> Timestamp {
    NOW.saturating_add(Duration::from_millis(millis))
}

fn session(n: u128) -> SessionId {
    SessionId::from_parts(NOW, n)
}

fn template(payload: &[u8]) -> Template {
    Template {
        queue: QueueName::new("q").unwrap(),
        payload: Payload { data: Bytes::copy_from_slice(payload), content_type: String::new(), ..Payload::default() },
        priority: Priority::Medium,
        retry: RetryPolicy::default(),
        attempt_timeout: Duration::from_secs(60),
        labels: BTreeMap::new(),
    }
}

/// The task of this number, due now.
fn task(n: u128) -> NewTask {
    NewTask {
        id: TaskId::from_parts(NOW, n),
        namespace: Namespace::default(),
        template: template(b""),
        due: NOW,
        deadline: None,
        idempotency: None,
        submitted: NOW,
        occurrence: None,
        content_hash: 1,
    }
}

/// A schedule of one task each minute.
fn spec() -> ScheduleSpec {
    ScheduleSpec {
        id: ScheduleId::new("nightly").unwrap(),
        namespace: Namespace::default(),
        rule: RuleSpec::Interval { every: Duration::from_secs(60), anchor: NOW },
        time_zone: "UTC".to_owned(),
        template: template(b""),
        deadline_after: None,
        start: None,
        end: None,
        content_hash: 1,
    }
}

fn uid(n: u128) -> ScheduleUid {
    ScheduleUid::from_parts(NOW, n)
}

fn with_payload(n: u128, bytes: usize) -> NewTask {
    NewTask { template: template(&vec![7; bytes]), ..task(n) }
}

fn request(task: &NewTask, room: &StreamRoom) -> FireRequest {
    FireRequest {
        id: task.id,
        stream: due_stream(SHARDS, task),
        due: task.due,
        session: session(1),
        worker_name: "w".into(),
        session_lease: Duration::from_secs(5),
        room: room.clone(),
    }
}

fn due_key(task: &NewTask) -> Bytes {
    due_stream(SHARDS, task).entry(task.due, task.id)
}

fn shard(id: TaskId) -> ShardId {
    id.shard(SHARDS)
}

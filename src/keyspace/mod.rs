//! Where everything stands in the store: the one place that knows the bytes of a key.
//!
//! Keys are tuples of FoundationDB's tuple layer, so their byte order is the order of their
//! parts. The first part names the kind ([`Kind`], with the shape of each kind's keys);
//! `docs/KEYSPACE.md` is the table of them, and a test compares the two. [`Key`] is any key.
//!
//! Parsing is strict: a key of another kind is refused, and so are bytes that the tuple layer
//! reads but would not write (an integer with a leading zero byte, say). So whatever parses
//! encodes to the same bytes again, and no key has two forms.
//!
//! Everything about a task stands under its shard, because the shard is the unit of
//! ownership. The due index is ordered by queue and priority before the instant, so that a
//! queue whose workers are gone is passed over by not reading it, never by skipping its rows.

use bytes::Bytes;
use escapement_engine::{
    ScheduleUid, SessionId, ShardId, TaskId, Timestamp,
    name::{Namespace, Priority, QueueName, ScheduleId},
};
use foundationdb_tuple::{TuplePack, TupleUnpack, Uuid, pack, unpack};

use crate::store::RangeOptions;

mod any;
mod schema;
mod strict;

pub use any::Key;
pub use schema::{Kind, Part, Value};

use strict::{is_written_as, kind_of};

/// A key does not have the shape that its place in the keyspace demands.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{kind} key {key} is malformed: {what}")]
pub struct KeyError {
    /// Kind of key that was expected.
    pub kind: &'static str,
    /// The key, in hexadecimal.
    pub key: String,
    /// What is wrong.
    pub what: String,
}

fn key<T: TuplePack>(parts: &T) -> Bytes {
    let mut out = Vec::with_capacity(64);
    foundationdb_tuple::pack_into(parts, &mut out);
    Bytes::from(out)
}

/// The parts of a key of one of `kinds`, if the bytes are what this module would write.
fn parse<'a, T: TupleUnpack<'a> + TuplePack>(kinds: &[Kind], bytes: &'a [u8]) -> Result<T, KeyError> {
    let name = kinds.first().map_or("stored", |kind| kind.name());
    let found = kind_of(bytes);
    if !found.is_some_and(|found| kinds.contains(&found)) {
        let what = found.map_or_else(|| "of no known kind".to_owned(), |found| format!("of kind {}", found.name()));
        return Err(malformed(name, bytes, what));
    }
    strictly(name, bytes)
}

/// The parts of a tuple, if the bytes are what packing them would give.
fn strictly<'a, T: TupleUnpack<'a> + TuplePack>(name: &'static str, bytes: &'a [u8]) -> Result<T, KeyError> {
    let parts: T = unpack(bytes).map_err(|error| malformed(name, bytes, error.to_string()))?;
    if !is_written_as(&parts, bytes) {
        return Err(malformed(name, bytes, "not in its one form"));
    }
    Ok(parts)
}

fn malformed(kind: &'static str, bytes: &[u8], what: impl Into<String>) -> KeyError {
    let key = bytes.iter().take(256).map(|byte| format!("{byte:02x}")).collect();
    KeyError { kind, key, what: what.into() }
}

/// All keys that extend this tuple.
fn range_of<T: TuplePack>(prefix: &T) -> RangeOptions {
    let (begin, end) = bounds_of(prefix);
    RangeOptions::new(begin, end)
}

fn bounds_of<T: TuplePack>(prefix: &T) -> (Bytes, Bytes) {
    let begin = pack(prefix);
    let mut end = begin.clone();
    end.push(0xff);
    (Bytes::from(begin), Bytes::from(end))
}

/// Where every key lies, of whatever kind: from the first (inclusive) to the second (exclusive).
pub fn bounds() -> (Bytes, Bytes) {
    // Kinds are numbers of one byte, which the tuple layer puts behind 0x15.
    (cluster(), Bytes::from_static(&[0x16]))
}

/// The cluster's own record: format version, number of shards.
pub fn cluster() -> Bytes {
    key(&(Kind::Cluster.code(),))
}

/// A live scheduler process.
pub fn member(session: SessionId) -> Bytes {
    key(&(Kind::Member.code(), session.uuid()))
}

/// All scheduler processes.
pub fn members() -> RangeOptions {
    range_of(&(Kind::Member.code(),))
}

/// The session named by a member key.
///
/// # Errors
/// When the bytes are no member key.
pub fn parse_member(bytes: &[u8]) -> Result<SessionId, KeyError> {
    let (_, session): (u32, Uuid) = parse(&[Kind::Member], bytes)?;
    Ok(SessionId::from_uuid(session))
}

/// Who owns a shard.
pub fn shard_lease(shard: ShardId) -> Bytes {
    key(&(Kind::ShardLease.code(), shard.0))
}

/// What was submitted.
pub fn task(shard: ShardId, id: TaskId) -> Bytes {
    key(&(Kind::Task.code(), shard.0, id.uuid()))
}

/// The tasks of a shard from `after` (exclusive) on, in id order.
pub fn tasks(shard: ShardId, after: Option<TaskId>) -> RangeOptions {
    rows_after(Kind::Task, shard, after)
}

/// The heads of a shard's tasks from `after` (exclusive) on, in id order.
pub fn heads(shard: ShardId, after: Option<TaskId>) -> RangeOptions {
    rows_after(Kind::Head, shard, after)
}

/// The leases of a shard from `after` (exclusive) on, in id order.
pub fn leases(shard: ShardId, after: Option<TaskId>) -> RangeOptions {
    rows_after(Kind::Lease, shard, after)
}

fn rows_after(kind: Kind, shard: ShardId, after: Option<TaskId>) -> RangeOptions {
    let mut range = range_of(&(kind.code(), shard.0));
    if let Some(after) = after {
        range.begin = crate::store::KeySelector::first_greater_than(key(&(kind.code(), shard.0, after.uuid())));
    }
    range
}

/// The task named by a task, head or lease key.
///
/// # Errors
/// When the bytes are no such key.
pub fn parse_task(bytes: &[u8]) -> Result<TaskId, KeyError> {
    let (_, _, id): (u32, u32, Uuid) = parse(&[Kind::Task, Kind::Head, Kind::Lease], bytes)?;
    Ok(TaskId::from_uuid(id))
}

/// Where the task stands; absent until an attempt has ended.
pub fn head(shard: ShardId, id: TaskId) -> Bytes {
    key(&(Kind::Head.code(), shard.0, id.uuid()))
}

/// One chunk of a payload.
pub fn payload(shard: ShardId, id: TaskId, chunk: u32) -> Bytes {
    key(&(Kind::Payload.code(), shard.0, id.uuid(), chunk))
}

/// One chunk of a result.
pub fn result(shard: ShardId, id: TaskId, chunk: u32) -> Bytes {
    key(&(Kind::Result.code(), shard.0, id.uuid(), chunk))
}

/// One ended attempt that was not the last.
pub fn history(shard: ShardId, id: TaskId, attempt: u32) -> Bytes {
    key(&(Kind::History.code(), shard.0, id.uuid(), attempt))
}

/// All such attempts of a task, oldest first.
pub fn histories(shard: ShardId, id: TaskId) -> RangeOptions {
    range_of(&(Kind::History.code(), shard.0, id.uuid()))
}

/// The lease on a running task.
pub fn lease(shard: ShardId, id: TaskId) -> Bytes {
    key(&(Kind::Lease.code(), shard.0, id.uuid()))
}

/// An idempotency key.
pub fn idempotency(namespace: &Namespace, idempotency_key: &str) -> Bytes {
    key(&(Kind::Idempotency.code(), namespace.as_str(), idempotency_key))
}

/// All idempotency keys.
pub fn idempotencies() -> RangeOptions {
    range_of(&(Kind::Idempotency.code(),))
}

/// A schedule.
pub fn schedule(namespace: &Namespace, id: &ScheduleId) -> Bytes {
    key(&(Kind::Schedule.code(), namespace.as_str(), id.as_str()))
}

/// The last schedule that was deleted under this id.
pub fn schedule_deletion(namespace: &Namespace, id: &ScheduleId) -> Bytes {
    key(&(Kind::ScheduleDeletion.code(), namespace.as_str(), id.as_str()))
}

/// A namespace's schedules from `after` (exclusive) on, in id order.
pub fn schedules(namespace: &Namespace, after: Option<&ScheduleId>) -> RangeOptions {
    let mut range = range_of(&(Kind::Schedule.code(), namespace.as_str()));
    if let Some(after) = after {
        range.begin = crate::store::KeySelector::first_greater_than(schedule(namespace, after));
    }
    range
}

/// The next instant of a schedule.
pub fn tick(shard: ShardId, at: Timestamp, uid: ScheduleUid) -> Bytes {
    key(&(Kind::Tick.code(), shard.0, at.unix_ms(), uid.uuid()))
}

/// A shard's ticks, earliest first.
pub fn ticks(shard: ShardId) -> RangeOptions {
    range_of(&(Kind::Tick.code(), shard.0))
}

/// Instant and schedule of a tick key.
///
/// # Errors
/// When the bytes are no tick key.
pub fn parse_tick(bytes: &[u8]) -> Result<(Timestamp, ScheduleUid), KeyError> {
    let (_, _, at, uid): (u32, u32, i64, Uuid) = parse(&[Kind::Tick], bytes)?;
    Ok((Timestamp::from_unix_ms(at), ScheduleUid::from_uuid(uid)))
}

/// The stored code of a priority; its order is the order of service.
pub const fn priority_code(priority: Priority) -> u32 {
    match priority {
        Priority::High => 1,
        Priority::Medium => 2,
        Priority::Low => 3,
    }
}

/// The priority of a stored code.
pub const fn priority_of(code: u32) -> Option<Priority> {
    match code {
        1 => Some(Priority::High),
        2 => Some(Priority::Medium),
        3 => Some(Priority::Low),
        _ => None,
    }
}

/// Where a stretch of the due index lies: one shard, queue and priority, in order of the instant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DueStream {
    /// Shard.
    pub shard: ShardId,
    /// Namespace of the queue.
    pub namespace: Namespace,
    /// Queue.
    pub queue: QueueName,
    /// Priority.
    pub priority: Priority,
}

impl DueStream {
    fn prefix(&self) -> (u32, u32, &str, &str, u32) {
        let priority = priority_code(self.priority);
        (Kind::Due.code(), self.shard.0, self.namespace.as_str(), self.queue.as_str(), priority)
    }

    /// An entry of the stream.
    pub fn entry(&self, due: Timestamp, id: TaskId) -> Bytes {
        let (kind, shard, namespace, queue, priority) = self.prefix();
        key(&(kind, shard, namespace, queue, priority, due.unix_ms(), id.uuid()))
    }

    /// The entries after `after` (exclusive), earliest first.
    pub fn entries(&self, after: Option<(Timestamp, TaskId)>) -> RangeOptions {
        let mut range = range_of(&self.prefix());
        if let Some((due, id)) = after {
            range.begin = crate::store::KeySelector::first_greater_than(self.entry(due, id));
        }
        range
    }

    /// The first key that lies beyond the whole stream.
    fn end(&self) -> Bytes {
        bounds_of(&self.prefix()).1
    }
}

/// The part of a shard's due index that lies beyond `stream` (all of it for `None`): its first
/// key begins the next stream.
pub fn due_beyond(shard: ShardId, stream: Option<&DueStream>) -> RangeOptions {
    let mut range = range_of(&(Kind::Due.code(), shard.0));
    if let Some(stream) = stream {
        range.begin = crate::store::KeySelector::first_greater_or_equal(stream.end());
    }
    range
}

/// Stream, instant and task of a due-index key.
///
/// # Errors
/// When the bytes are no key of the due index.
pub fn parse_due(bytes: &[u8]) -> Result<(DueStream, Timestamp, TaskId), KeyError> {
    type Parts<'a> = (u32, u32, std::borrow::Cow<'a, str>, std::borrow::Cow<'a, str>, u32, i64, Uuid);
    let (_, shard, namespace, queue, priority, due, id): Parts<'_> = parse(&[Kind::Due], bytes)?;
    let bad = |what: String| malformed("due", bytes, what);
    let stream = DueStream {
        shard: ShardId(shard),
        namespace: Namespace::new(&namespace).map_err(|error| bad(error.to_string()))?,
        queue: QueueName::new(&queue).map_err(|error| bad(error.to_string()))?,
        priority: priority_of(priority).ok_or_else(|| bad(format!("{priority} is no priority")))?,
    };
    Ok((stream, Timestamp::from_unix_ms(due), TaskId::from_uuid(id)))
}

/// Instant and task of a due-index key whose stream is known: cheaper than [`parse_due`].
///
/// # Errors
/// When the bytes do not end as a key of the due index does.
pub fn parse_due_tail(stream: &DueStream, bytes: &[u8]) -> Result<(Timestamp, TaskId), KeyError> {
    let prefix = pack(&stream.prefix());
    let tail = bytes.strip_prefix(prefix.as_slice()).ok_or_else(|| malformed("due", bytes, "of another stream"))?;
    let (due, id): (i64, Uuid) = strictly("due", tail)?;
    Ok((Timestamp::from_unix_ms(due), TaskId::from_uuid(id)))
}

#[cfg(test)]
mod tests;

//! A key of any kind: for whoever looks at the whole keyspace.

use std::borrow::Cow;

use super::{
    Bytes, DueStream, KeyError, Kind, Namespace, ScheduleId, ScheduleUid, SessionId, ShardId, TaskId, Timestamp, Uuid,
    malformed, parse, parse_due, parse_member, parse_tick, strict::kind_of,
};

/// Any key, by its kind.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are named as the parts of the key are")]
pub enum Key {
    /// See [`Kind::Cluster`].
    Cluster,
    /// See [`Kind::Member`].
    Member { session: SessionId },
    /// See [`Kind::ShardLease`].
    ShardLease { shard: ShardId },
    /// See [`Kind::Task`].
    Task { shard: ShardId, task: TaskId },
    /// See [`Kind::Head`].
    Head { shard: ShardId, task: TaskId },
    /// See [`Kind::Payload`].
    Payload { shard: ShardId, task: TaskId, chunk: u32 },
    /// See [`Kind::Result`].
    Result { shard: ShardId, task: TaskId, chunk: u32 },
    /// See [`Kind::History`].
    History { shard: ShardId, task: TaskId, attempt: u32 },
    /// See [`Kind::Due`].
    Due { stream: DueStream, due: Timestamp, task: TaskId },
    /// See [`Kind::Lease`].
    Lease { shard: ShardId, task: TaskId },
    /// See [`Kind::Idempotency`].
    Idempotency { namespace: Namespace, key: String },
    /// See [`Kind::Schedule`].
    Schedule { namespace: Namespace, id: ScheduleId },
    /// See [`Kind::ScheduleDeletion`].
    ScheduleDeletion { namespace: Namespace, id: ScheduleId },
    /// See [`Kind::Tick`].
    Tick { shard: ShardId, at: Timestamp, uid: ScheduleUid },
}

impl Key {
    /// Its kind.
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Cluster => Kind::Cluster,
            Self::Member { .. } => Kind::Member,
            Self::ShardLease { .. } => Kind::ShardLease,
            Self::Task { .. } => Kind::Task,
            Self::Head { .. } => Kind::Head,
            Self::Payload { .. } => Kind::Payload,
            Self::Result { .. } => Kind::Result,
            Self::History { .. } => Kind::History,
            Self::Due { .. } => Kind::Due,
            Self::Lease { .. } => Kind::Lease,
            Self::Idempotency { .. } => Kind::Idempotency,
            Self::Schedule { .. } => Kind::Schedule,
            Self::ScheduleDeletion { .. } => Kind::ScheduleDeletion,
            Self::Tick { .. } => Kind::Tick,
        }
    }

    /// Its bytes.
    pub fn encode(&self) -> Bytes {
        match self {
            Self::Cluster => super::cluster(),
            Self::Member { session } => super::member(*session),
            Self::ShardLease { shard } => super::shard_lease(*shard),
            Self::Task { shard, task } => super::task(*shard, *task),
            Self::Head { shard, task } => super::head(*shard, *task),
            Self::Payload { shard, task, chunk } => super::payload(*shard, *task, *chunk),
            Self::Result { shard, task, chunk } => super::result(*shard, *task, *chunk),
            Self::History { shard, task, attempt } => super::history(*shard, *task, *attempt),
            Self::Due { stream, due, task } => stream.entry(*due, *task),
            Self::Lease { shard, task } => super::lease(*shard, *task),
            Self::Idempotency { namespace, key } => super::idempotency(namespace, key),
            Self::Schedule { namespace, id } => super::schedule(namespace, id),
            Self::ScheduleDeletion { namespace, id } => super::schedule_deletion(namespace, id),
            Self::Tick { shard, at, uid } => super::tick(*shard, *at, *uid),
        }
    }

    /// The key of these bytes, whatever its kind.
    ///
    /// # Errors
    /// When the bytes are no key of any kind, or not in the one form that its kind has.
    pub fn parse(bytes: &[u8]) -> Result<Self, KeyError> {
        let kind = kind_of(bytes).ok_or_else(|| malformed("stored", bytes, "of no known kind"))?;
        let of_task = || parse::<(u32, u32, Uuid)>(&[kind], bytes).map(|(_, shard, id)| (ShardId(shard), task_id(id)));
        let numbered =
            || parse::<(u32, u32, Uuid, u32)>(&[kind], bytes).map(|(_, shard, id, n)| (ShardId(shard), task_id(id), n));
        let texts = || parse::<(u32, Cow<'_, str>, Cow<'_, str>)>(&[kind], bytes).map(|(_, one, two)| (one, two));
        let bad = |what: String| malformed(kind.name(), bytes, what);
        let namespace = |text: &str| Namespace::new(text).map_err(|error| bad(error.to_string()));
        let of_schedule = || {
            let (own, id) = texts()?;
            let id = ScheduleId::new(&id).map_err(|error| bad(error.to_string()))?;
            Ok((namespace(&own)?, id))
        };
        Ok(match kind {
            Kind::Cluster => parse::<(u32,)>(&[kind], bytes).map(|_| Self::Cluster)?,
            Kind::Member => Self::Member { session: parse_member(bytes)? },
            Kind::ShardLease => {
                let (_, shard): (u32, u32) = parse(&[kind], bytes)?;
                Self::ShardLease { shard: ShardId(shard) }
            }
            Kind::Task => of_task().map(|(shard, task)| Self::Task { shard, task })?,
            Kind::Head => of_task().map(|(shard, task)| Self::Head { shard, task })?,
            Kind::Lease => of_task().map(|(shard, task)| Self::Lease { shard, task })?,
            Kind::Payload => numbered().map(|(shard, task, chunk)| Self::Payload { shard, task, chunk })?,
            Kind::Result => numbered().map(|(shard, task, chunk)| Self::Result { shard, task, chunk })?,
            Kind::History => numbered().map(|(shard, task, attempt)| Self::History { shard, task, attempt })?,
            Kind::Due => parse_due(bytes).map(|(stream, due, task)| Self::Due { stream, due, task })?,
            Kind::Idempotency => {
                let (own, key) = texts()?;
                Self::Idempotency { namespace: namespace(&own)?, key: key.into_owned() }
            }
            Kind::Schedule => of_schedule().map(|(namespace, id)| Self::Schedule { namespace, id })?,
            Kind::ScheduleDeletion => of_schedule().map(|(namespace, id)| Self::ScheduleDeletion { namespace, id })?,
            Kind::Tick => {
                let (_, shard, ..): (u32, u32, i64, Uuid) = parse(&[kind], bytes)?;
                let (at, uid) = parse_tick(bytes)?;
                Self::Tick { shard: ShardId(shard), at, uid }
            }
        })
    }
}

fn task_id(id: Uuid) -> TaskId {
    TaskId::from_uuid(id)
}

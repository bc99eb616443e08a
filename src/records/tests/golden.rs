//! The bytes of one key and one record of every kind. A stored format is for ever: where this
//! snapshot changes for a kind that was released, old stores can no longer be read.

use std::fmt::Write as _;

use escapement_engine::{Epoch, ScheduleUid, ShardId};

use super::*;
use crate::{
    keyspace::{DueStream, Key, Kind, Value},
    model::{RuleSpec, ScheduleSpec, ScheduleState},
};

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

const SHARD: ShardId = ShardId(300);

fn task() -> TaskId {
    TaskId::from_parts(NOW, 7)
}

fn key(kind: Kind) -> Key {
    let (shard, task) = (SHARD, task());
    let namespace = Namespace::default();
    match kind {
        Kind::Cluster => Key::Cluster,
        Kind::Member => Key::Member { session: session() },
        Kind::ShardLease => Key::ShardLease { shard },
        Kind::Task => Key::Task { shard, task },
        Kind::Head => Key::Head { shard, task },
        Kind::Payload => Key::Payload { shard, task, chunk: 0 },
        Kind::Result => Key::Result { shard, task, chunk: 1 },
        Kind::History => Key::History { shard, task, attempt: 2 },
        Kind::Due => {
            let queue = QueueName::new("mail").unwrap();
            Key::Due { stream: DueStream { shard, namespace, queue, priority: Priority::Low }, due: NOW, task }
        }
        Kind::Lease => Key::Lease { shard, task },
        Kind::Idempotency => Key::Idempotency { namespace, key: "order 17".into() },
        Kind::Schedule => Key::Schedule { namespace, id: ScheduleId::new("nightly").unwrap() },
        Kind::ScheduleDeletion => Key::ScheduleDeletion { namespace, id: ScheduleId::new("nightly").unwrap() },
        Kind::Tick => Key::Tick { shard, at: NOW, uid: ScheduleUid::from_parts(NOW, 9) },
    }
}

fn schedule() -> ScheduleRow {
    ScheduleRow {
        spec: ScheduleSpec {
            id: ScheduleId::new("nightly").unwrap(),
            namespace: Namespace::default(),
            rule: RuleSpec::Cron("0 3 * * *".into()),
            time_zone: "Europe/Berlin".into(),
            template: Template {
                payload: Payload {
                    data: Bytes::from_static(b"p"),
                    content_type: "text/plain".into(),
                    truncated: false,
                },
                ..stored().template
            },
            deadline_after: Some(Duration::from_secs(60)),
            start: Some(NOW),
            end: Some(NOW),
            content_hash: 8,
        },
        uid: ScheduleUid::from_parts(NOW, 9),
        state: ScheduleState::Active,
        created: NOW,
        next: Some(NOW),
        last: Some(NOW),
        occurrences: 3,
        revision: 2,
    }
}

/// The bytes behind the key, and the name of their message.
fn value(kind: Kind) -> (Bytes, &'static str) {
    fn of<R: Record>(record: &R) -> (Bytes, &'static str) {
        let name = std::any::type_name::<R::Message>();
        (record.encode(), name.rsplit("::").next().unwrap())
    }
    let occurrence = entry().occurrence;
    match kind {
        Kind::Cluster => of(&Cluster { format_version: 1, shards: 32 }),
        Kind::Member => {
            of(&Member { beat: 5, lease: Duration::from_secs(5), address: "127.0.0.1:7171".into(), started: NOW })
        }
        Kind::ShardLease => of(&ShardLease { owner: Some(session()), epoch: Epoch(4) }),
        Kind::Task => of(&StoredTask { deadline: Some(NOW), occurrence, ..stored() }),
        Kind::Head => of(&Head {
            state: TaskState::Succeeded,
            finished: Some(NOW),
            result: Some(PayloadMeta { bytes: 3, content_type: "text/plain".into(), truncated: false }),
            cancel_reason: "no more".into(),
            ended_by: attempt().error,
            ..head()
        }),
        Kind::Payload => (Bytes::from_static(b"payload"), "payload bytes"),
        Kind::Result => (Bytes::from_static(b"result"), "result bytes"),
        Kind::History => of(&attempt()),
        Kind::Due => of(&entry()),
        Kind::Lease => of(&lease()),
        Kind::Idempotency => of(&IdempotencyRow { task: task(), content_hash: 7, expires: NOW }),
        Kind::Schedule => of(&schedule()),
        Kind::ScheduleDeletion => of(&ScheduleDeletion { uid: ScheduleUid::from_parts(NOW, 9), deletions: 2 }),
        Kind::Tick => of(&Tick { namespace: Namespace::default(), id: ScheduleId::new("nightly").unwrap() }),
    }
}

#[test]
fn stored_bytes_of_every_kind() {
    let mut text = String::new();
    for kind in Kind::ALL {
        let (key, (value, name)) = (key(*kind), value(*kind));
        assert_eq!(key.kind(), *kind);
        assert_eq!(name, kind.value().name(), "what stands behind {}", kind.shape());
        assert!(matches!(kind.value(), Value::Raw(_)) || value[0] == FORMAT);
        writeln!(text, "{} {}\n  key   {}\n  value {}", kind.name(), kind.shape(), hex(&key.encode()), hex(&value))
            .unwrap();
    }
    insta::assert_snapshot!(text);
}

use std::{collections::BTreeSet, sync::Arc};

use bytes::Bytes;
use escapement_engine::{
    ScheduleUid, SessionId, ShardId, TaskId, Timestamp,
    name::{Namespace, Priority, QueueName, ScheduleId},
};
use futures_util::{
    FutureExt as _,
    future::{BoxFuture, ready},
};

use crate::{
    clock::SharedClock,
    edge::SystemClock,
    error::Reason,
    keyspace::{self, DueStream, Key, Kind},
    records::{Cluster, Record as _},
    rng::Rng,
    store::{
        Database, MemoryEngine, RangePage, RunError, StoreError, TransactionKind, Version,
        engine::{CommitReceipt, CommitRequest, Engine, RangeRead, ReadVersionRequest},
        fdb::{OpenError, Prefix, PrefixError, check_prefix},
    },
};

/// A database that an operator has locked.
#[derive(Debug)]
struct Locked(MemoryEngine);

impl Engine for Locked {
    fn read_version(&self, _: &ReadVersionRequest) -> BoxFuture<'_, Result<Version, StoreError>> {
        ready(Err(StoreError::new(StoreError::DATABASE_LOCKED))).boxed()
    }

    fn get_many(&self, keys: Vec<Bytes>, version: Version) -> BoxFuture<'_, Result<Vec<Option<Bytes>>, StoreError>> {
        self.0.get_many(keys, version)
    }

    fn get_range(&self, read: RangeRead, version: Version) -> BoxFuture<'_, Result<RangePage, StoreError>> {
        self.0.get_range(read, version)
    }

    fn commit(&self, request: CommitRequest) -> BoxFuture<'static, Result<CommitReceipt, StoreError>> {
        self.0.commit(request)
    }

    fn watch(&self, key: Bytes, value: Option<Bytes>, version: Version) -> BoxFuture<'static, Result<(), StoreError>> {
        self.0.watch(key, value, version)
    }

    fn exclusive(&self) -> bool {
        false
    }

    fn kind(&self) -> &'static str {
        "locked"
    }
}

#[tokio::test]
async fn a_locked_database_is_said_to_be_locked_at_the_first_try() {
    let clock: SharedClock = Arc::new(SystemClock::new());
    let engine = Arc::new(Locked(MemoryEngine::new(Arc::clone(&clock))));
    let root = Database::over(engine, clock, Rng::from_seed(1));
    let once = TransactionKind::idempotent("check-prefix").tries_max(1);
    let refused = match check_prefix(&root, &Prefix::default(), once).await {
        Err(RunError::Refused(refused)) => refused,
        other => panic!("{other:?}"),
    };
    assert_eq!(refused.to_string(), "the database is locked (1038)");
    let reason = OpenError::from(refused).reason();
    assert_eq!(reason, Reason::DatabaseLocked);
    assert!(reason.advice().contains("unlock it"), "{}", reason.advice());
}

/// What the check says of `prefix` in a cluster that holds these keys.
async fn check(prefix: &'static [u8], held: &[(Bytes, Bytes)]) -> Result<(), PrefixError> {
    let clock: SharedClock = Arc::new(SystemClock::new());
    let root = Database::over(Arc::new(MemoryEngine::new(Arc::clone(&clock))), clock, Rng::from_seed(1));
    let tx = root.begin();
    for (key, value) in held {
        tx.set(key.clone(), value.clone()).unwrap();
    }
    tx.raw().commit().await.unwrap();
    let prefix = Prefix::new(prefix).unwrap();
    match check_prefix(&root, &prefix, TransactionKind::idempotent("check-prefix")).await {
        Ok(()) => Ok(()),
        Err(RunError::Refused(refused)) => Err(refused),
        Err(error) => panic!("{error}"),
    }
}

/// A deployment's first keys.
fn deployment(prefix: &'static [u8]) -> Vec<(Bytes, Bytes)> {
    let prefix = Prefix::new(prefix).unwrap();
    let record = Cluster { format_version: 1, shards: 4 }.encode();
    let key = |key: Bytes| prefix.key(&key);
    vec![(key(keyspace::cluster()), record), (key(keyspace::shard_lease(ShardId(3))), Bytes::new())]
}

/// A key of each kind, as a deployment comes to have them.
fn whole_deployment(prefix: &'static [u8]) -> Vec<(Bytes, Bytes)> {
    let (shard, at) = (ShardId(3), Timestamp::from_unix_ms(1_700_000_000_000));
    let (task, session, uid) =
        (TaskId::from_bytes([7; 16]), SessionId::from_bytes([8; 16]), ScheduleUid::from_bytes([9; 16]));
    let namespace = Namespace::default();
    let schedule = ScheduleId::new("nightly").unwrap();
    let queue = QueueName::new("mail").unwrap();
    let stream = DueStream { shard, namespace: namespace.clone(), queue, priority: Priority::Low };
    let keys = [
        keyspace::member(session),
        keyspace::task(shard, task),
        keyspace::head(shard, task),
        keyspace::payload(shard, task, 0),
        keyspace::result(shard, task, 0),
        keyspace::history(shard, task, 1),
        stream.entry(at, task),
        keyspace::lease(shard, task),
        keyspace::idempotency(&namespace, "once"),
        keyspace::schedule(&namespace, &schedule),
        keyspace::tick(shard, at, uid),
        keyspace::schedule_deletion(&namespace, &schedule),
    ];
    let under = Prefix::new(prefix).unwrap();
    let held = [deployment(prefix), keys.map(|key| (under.key(&key), Bytes::new())).to_vec()].concat();
    let kind = |(key, _): &(Bytes, Bytes)| Key::parse(under.strip(key)).unwrap().kind();
    let kinds: BTreeSet<Kind> = held.iter().map(kind).collect();
    assert!(kinds.iter().eq(Kind::ALL), "a kind is missing: {kinds:?}");
    held
}

fn foreign(key: &'static str) -> Vec<(Bytes, Bytes)> {
    vec![(Bytes::from(key), Bytes::new())]
}

#[tokio::test]
async fn a_prefix_that_holds_nothing_or_our_own_is_taken() {
    assert_eq!(check(b"", &[]).await, Ok(()));
    assert_eq!(check(b"a/", &[]).await, Ok(()));
    assert_eq!(check(b"", &deployment(b"")).await, Ok(()));
    assert_eq!(check(b"a/", &deployment(b"a/")).await, Ok(()));
    for prefix in [&b""[..], b"a/"] {
        assert_eq!(check(prefix, &whole_deployment(prefix)).await, Ok(()));
    }
    // Neighbours on both sides.
    let mut held = [deployment(b"a/"), deployment(b"b/"), foreign("a.x"), foreign("a0"), foreign("zoo")].concat();
    assert_eq!(check(b"a/", &held).await, Ok(()));
    held.retain(|(key, _)| !key.starts_with(b"b/"));
    assert_eq!(check(b"b/", &held).await, Ok(()));
}

#[tokio::test]
async fn foreign_keys_are_refused_with_one_of_them() {
    let refused = check(b"a/", &foreign("a/theirs")).await.unwrap_err();
    assert_eq!(refused.to_string(), "prefix `a/` holds keys that are not Escapement's, such as `a/theirs`");
    // Beside our own, too: whoever wrote them will go on.
    for theirs in ["a/\u{1}", "a/theirs"] {
        let refused = check(b"a/", &[deployment(b"a/"), foreign(theirs)].concat()).await.unwrap_err();
        assert!(matches!(&refused, PrefixError::Foreign { key, .. } if key == theirs.as_bytes()), "{refused}");
    }
    // What looks like our keys, but without the record that says so.
    let mut held = deployment(b"a/");
    held.remove(0);
    assert!(matches!(check(b"a/", &held).await, Err(PrefixError::Foreign { .. })));
    // Something else where our record would stand.
    let held = [(Bytes::from_static(b"a/\x15\x01"), Bytes::from_static(b"{}"))];
    assert!(matches!(check(b"a/", &held).await, Err(PrefixError::Foreign { .. })));
}

#[tokio::test]
async fn what_a_newer_version_wrote_is_told_from_foreign_keys() {
    let key = Prefix::new("a/").unwrap().key(&keyspace::cluster());
    let newer_keyspace = Cluster { format_version: 7, shards: 4 }.encode();
    let written = [
        (newer_keyspace, "prefix `a/` has keyspace format 7; this program reads up to 1; use a newer version of it"),
        // Of a record in a newer format nothing is known but the format.
        (
            "\u{2}whatever".into(),
            "prefix `a/` has record format 2; this program reads up to 1; use a newer version of it",
        ),
    ];
    for (record, text) in written {
        // Keys of kinds that we do not know are a newer version's own affair.
        let held = [(key.clone(), record.clone()), (Bytes::from("a/\u{1}"), Bytes::new())];
        let refused = check(b"a/", &held).await.unwrap_err();
        assert_eq!(refused.to_string(), text);
        assert_eq!(OpenError::from(refused).reason(), Reason::DataFormatNewer);
        assert!(matches!(check(b"a/b/", &held).await, Err(PrefixError::Within { .. })), "it is a deployment");
    }
    for theirs in [&b""[..], b"\0", b"\x01", b"\x20 ", b"\xff"] {
        let held = [(key.clone(), Bytes::copy_from_slice(theirs))];
        assert!(matches!(check(b"a/", &held).await, Err(PrefixError::Foreign { .. })), "{theirs:?}");
    }
}

#[tokio::test]
async fn deployments_do_not_nest() {
    let refused = check(b"a/b/", &deployment(b"a/")).await.unwrap_err();
    let text = "prefix `a/b/` lies within prefix `a/`, where another deployment of Escapement keeps its state";
    assert_eq!(refused.to_string(), text);
    assert!(matches!(check(b"a/", &deployment(b"")).await, Err(PrefixError::Within { .. })));
    assert!(matches!(check(b"a/", &deployment(b"a/b/")).await, Err(PrefixError::Foreign { .. })));
    assert!(matches!(check(b"", &deployment(b"a/")).await, Err(PrefixError::Foreign { .. })));
}

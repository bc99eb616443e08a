//! The in-memory engine: codes, versions, watches.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::FutureExt as _;

use super::{TestClock, bytes, one, set};
use crate::store::{
    MemoryEngine, MutationKind, StoreError, Version, Versionstamp,
    engine::{CommitRequest, Engine as _, Mutation, ReadVersionRequest},
    memory::MemoryOptions,
};

fn engine() -> (Arc<TestClock>, MemoryEngine) {
    let clock = TestClock::new();
    (clock.clone(), MemoryEngine::new(clock))
}

fn now<T>(future: impl Future<Output = T>) -> T {
    future.now_or_never().expect("the memory engine never waits")
}

fn newest(engine: &MemoryEngine) -> Version {
    now(engine.read_version(&ReadVersionRequest::default())).unwrap()
}

fn value(engine: &MemoryEngine, key: &str, version: Version) -> Result<Option<Bytes>, StoreError> {
    now(engine.get_many(vec![bytes(key)], version)).map(|mut values| values.remove(0))
}

fn code<T: std::fmt::Debug>(result: Result<T, StoreError>) -> i32 {
    result.unwrap_err().code
}

#[test]
fn a_read_is_of_its_version_and_a_commit_conflicts_with_what_changed_since() {
    let (_, engine) = engine();
    now(engine.commit(set("a", "1"))).unwrap();
    let before = newest(&engine);
    now(engine.commit(set("a", "2"))).unwrap();
    assert_eq!(value(&engine, "a", before).unwrap(), Some(bytes("1")));
    assert_eq!(value(&engine, "a", newest(&engine)).unwrap(), Some(bytes("2")));
    let mut stale = set("b", "1");
    stale.read_version = Some(before);
    stale.read_conflicts = vec![one(&bytes("a"))];
    assert_eq!(code(now(engine.commit(stale.clone()))), StoreError::NOT_COMMITTED);
    assert_eq!(value(&engine, "b", newest(&engine)).unwrap(), None);
    stale.read_version = Some(newest(&engine));
    now(engine.commit(stale)).unwrap();
}

#[test]
fn versions_grow_a_million_a_second_also_while_nothing_is_committed() {
    let (clock, engine) = engine();
    let first = now(engine.commit(set("a", "1"))).unwrap().version;
    clock.advance(Duration::from_secs(2));
    let idle = newest(&engine);
    assert!((1_999_990..2_000_010).contains(&(idle.0 - first.0)), "{first:?} {idle:?}");
    let second = now(engine.commit(set("a", "2"))).unwrap().version;
    let third = now(engine.commit(set("a", "3"))).unwrap().version;
    assert!(idle < second && second < third);
}

#[test]
fn a_transaction_older_than_five_seconds_is_refused_even_on_an_idle_store() {
    let (clock, engine) = engine();
    now(engine.commit(set("a", "1"))).unwrap();
    let old = newest(&engine);
    clock.advance(Duration::from_millis(4900));
    assert!(value(&engine, "a", old).is_ok());
    clock.advance(Duration::from_millis(200));
    assert_eq!(code(value(&engine, "a", old)), StoreError::TRANSACTION_TOO_OLD);
    let mut late = set("b", "1");
    late.read_version = Some(old);
    late.read_conflicts = vec![one(&bytes("a"))];
    assert_eq!(code(now(engine.commit(late.clone()))), StoreError::TRANSACTION_TOO_OLD);
    late.read_version = Some(newest(&engine));
    now(engine.commit(late)).unwrap();
    assert_eq!(code(value(&engine, "a", Version(u64::MAX))), StoreError::FUTURE_VERSION);
}

#[test]
fn a_store_that_was_idle_for_hours_still_commits() {
    let (clock, engine) = engine();
    now(engine.commit(set("a", "1"))).unwrap();
    for _ in 0..3 {
        clock.advance(Duration::from_secs(5 * 3600));
        let mut request = set("a", "2");
        request.read_version = Some(newest(&engine));
        request.read_conflicts = vec![one(&bytes("a"))];
        now(engine.commit(request)).unwrap();
    }
}

#[test]
fn a_versionstamped_key_conflicts_and_reads_as_the_receipt_says() {
    let (_, engine) = engine();
    let mut key = vec![b'k'; 12];
    key.extend(1u32.to_le_bytes());
    let before = newest(&engine);
    let stamped = Mutation::Atomic(MutationKind::SetVersionstampedKey, key.into(), bytes("v"));
    let request = CommitRequest { mutations: vec![stamped], ..CommitRequest::default() };
    let receipt = now(engine.commit(request)).unwrap();
    let Versionstamp(stamp) = receipt.versionstamp();
    let expected = Bytes::from([b"k", &stamp[..], b"k"].concat());
    let found = now(engine.get_many(vec![expected.clone()], newest(&engine))).unwrap();
    assert_eq!(found, [Some(bytes("v"))]);
    let mut reader = set("other", "1");
    reader.read_version = Some(before);
    reader.read_conflicts = vec![one(&expected)];
    assert_eq!(code(now(engine.commit(reader))), StoreError::NOT_COMMITTED);
    let outside = Mutation::Atomic(MutationKind::SetVersionstampedValue, bytes("x"), bytes("short"));
    let request = CommitRequest { mutations: vec![outside], ..CommitRequest::default() };
    assert_eq!(code(now(engine.commit(request))), StoreError::CLIENT_INVALID_OPERATION);
}

#[test]
fn a_watch_fires_on_a_different_value_and_not_on_the_same() {
    let (_, engine) = engine();
    now(engine.commit(set("a", "1"))).unwrap();
    let mut watch = engine.watch(bytes("a"), Some(bytes("1")), newest(&engine));
    now(engine.commit(set("a", "1"))).unwrap();
    now(engine.commit(set("b", "2"))).unwrap();
    assert!((&mut watch).now_or_never().is_none());
    now(engine.commit(set("a", "2"))).unwrap();
    assert_eq!(now(watch), Ok(()));
    let late = engine.watch(bytes("a"), Some(bytes("1")), newest(&engine));
    assert_eq!(now(late), Ok(()), "it has changed already");
}

#[test]
fn clearing_a_range_fires_watches_of_keys_that_only_the_base_has() {
    let (clock, engine) = engine();
    now(engine.commit(set("a", "1"))).unwrap();
    clock.advance(Duration::from_secs(6));
    now(engine.commit(set("z", "1"))).unwrap();
    let watch = engine.watch(bytes("a"), Some(bytes("1")), newest(&engine));
    let clear = Mutation::ClearRange(bytes(""), bytes("b"));
    now(engine.commit(CommitRequest { mutations: vec![clear], ..CommitRequest::default() })).unwrap();
    assert_eq!(now(watch), Ok(()));
}

#[test]
fn watches_are_bounded_and_a_dropped_one_makes_room() {
    let (_, engine) = engine();
    let mut watches: Vec<_> = (0..10_000).map(|_| engine.watch(bytes("a"), None, newest(&engine))).collect();
    assert_eq!(code(now(engine.watch(bytes("a"), None, newest(&engine)))), StoreError::TOO_MANY_WATCHES);
    watches.pop();
    assert!(engine.watch(bytes("a"), None, newest(&engine)).now_or_never().is_none());
}

#[test]
fn a_watch_that_fired_makes_room() {
    let options = MemoryOptions { watches_max: 3, ..MemoryOptions::default() };
    let engine = MemoryEngine::with_options(TestClock::new(), options);
    for round in 0..5 {
        let before = (round > 0).then(|| bytes(&format!("{}", round - 1)));
        let watches = [(); 3].map(|()| engine.watch(bytes("a"), before.clone(), newest(&engine)));
        assert_eq!(code(now(engine.watch(bytes("b"), None, newest(&engine)))), StoreError::TOO_MANY_WATCHES);
        now(engine.commit(set("a", &format!("{round}")))).unwrap();
        for watch in watches {
            assert_eq!(now(watch), Ok(()), "round {round}");
        }
    }
}

#[test]
fn commits_of_one_batch_share_a_version_and_conflict_in_their_order() {
    let (_, engine) = engine();
    let read_version = Some(newest(&engine));
    let reads = |key: &str, request: CommitRequest| CommitRequest {
        read_version,
        read_conflicts: vec![one(&bytes(key))],
        ..request
    };
    let results = engine.commit_batch(&[set("a", "1"), reads("a", set("b", "1")), reads("b", set("c", "1"))]);
    let [Ok(first), Err(refused), Ok(last)] = &results[..] else { panic!("{results:?}") };
    assert_eq!((first.version, first.batch_index, last.batch_index), (last.version, 0, 1));
    assert_eq!(refused.code, StoreError::NOT_COMMITTED);
    assert_eq!(value(&engine, "b", newest(&engine)).unwrap(), None);
}

#[test]
fn what_was_read_before_versions_were_skipped_is_too_old() {
    let (_, engine) = engine();
    now(engine.commit(set("a", "1"))).unwrap();
    let before = newest(&engine);
    engine.skip_versions(100_000_000);
    assert_eq!(code(value(&engine, "a", before)), StoreError::TRANSACTION_TOO_OLD);
    let after = newest(&engine);
    assert!(after.0 >= before.0 + 100_000_000, "{before:?} {after:?}");
    assert_eq!(value(&engine, "a", after).unwrap(), Some(bytes("1")));
    let receipt = now(engine.commit(set("a", "2"))).unwrap();
    assert!(receipt.version > after);
}

#[test]
fn versions_stay_readable_for_the_window_that_was_asked_for() {
    let clock = TestClock::new();
    let options = MemoryOptions { window: Duration::from_secs(1), ..MemoryOptions::default() };
    let engine = MemoryEngine::with_options(clock.clone(), options);
    let before = newest(&engine);
    clock.advance(Duration::from_millis(900));
    value(&engine, "a", before).unwrap();
    clock.advance(Duration::from_millis(200));
    assert_eq!(code(value(&engine, "a", before)), StoreError::TRANSACTION_TOO_OLD);
}

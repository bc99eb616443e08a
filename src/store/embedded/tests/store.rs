//! The store as a whole: restarts, locks, formats, flushing, many at once.

use std::{fs, sync::Arc, time::Duration};

use proptest::prelude::*;

use super::{all, commit, newest, open, open_with, soon, until, value, wait};
use crate::store::{
    EmbeddedEngine, EmbeddedOptions, MutationKind, StoreError,
    embedded::{OpenError, SystemFiles, base::FjallBase},
    engine::{CommitRequest, Engine as _, KeyRange, Mutation},
    mvcc::tests::{
        TestClock, bytes, one,
        reads::{check_reads, steps},
        set,
    },
};

#[test]
fn what_was_committed_is_there_after_a_restart_and_versions_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let mut last = newest(&open(dir.path()));
    for number in 0..5 {
        let engine = open(dir.path());
        assert!(newest(&engine) > last, "a restart goes beyond every version seen before");
        let receipt = commit(&engine, set(&format!("key {number}"), "1")).unwrap();
        last = newest(&engine);
        assert!(last >= receipt.version);
        assert_eq!(all(&engine).len(), number + 1);
    }
}

#[test]
fn a_copy_taken_while_it_runs_has_every_acknowledged_commit() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path());
    for number in 0..50 {
        commit(&engine, set(&format!("key {number}"), "1")).unwrap();
    }
    let state = all(&engine);
    // What a killed process leaves: no closing mark.
    let copy = tempfile::tempdir().unwrap();
    fs::create_dir(copy.path().join("log")).unwrap();
    fs::copy(dir.path().join("FORMAT"), copy.path().join("FORMAT")).unwrap();
    fs::write(copy.path().join("LOCK"), "").unwrap();
    for entry in fs::read_dir(dir.path().join("log")).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, copy.path().join("log").join(path.file_name().unwrap())).unwrap();
    }
    assert_eq!(all(&open(copy.path())), state);
}

#[test]
fn a_second_opening_is_refused_with_the_holder_named() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path());
    let refused = open_with(dir.path(), EmbeddedOptions::default()).unwrap_err();
    let OpenError::Locked { pid, .. } = &refused else { panic!("{refused}") };
    assert_eq!(*pid, Some(std::process::id()));
    engine.close();
    assert_eq!(commit(&engine, set("a", "1")).unwrap_err().code, StoreError::OPERATION_FAILED);
    open(dir.path());
}

#[test]
fn a_newer_format_is_refused_and_a_foreign_directory_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()));
    fs::write(dir.path().join("FORMAT"), "escapement embedded store\nformat 7\nready\n").unwrap();
    let refused = open_with(dir.path(), EmbeddedOptions::default()).unwrap_err();
    assert!(matches!(refused, OpenError::FormatTooNew { found: 7, supported: 1, .. }), "{refused}");

    let foreign = tempfile::tempdir().unwrap();
    fs::write(foreign.path().join("photo.jpg"), "x").unwrap();
    let refused = open_with(foreign.path(), EmbeddedOptions::default()).unwrap_err();
    assert!(matches!(refused, OpenError::Foreign { .. }), "{refused}");
    assert_eq!(fs::read_dir(foreign.path()).unwrap().count(), 1);
}

#[test]
fn a_log_or_base_that_is_gone_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path());
    commit(&engine, set("a", "1")).unwrap();
    drop(engine);
    fs::remove_dir_all(dir.path().join("log")).unwrap();
    let refused = open_with(dir.path(), EmbeddedOptions::default()).unwrap_err();
    assert!(matches!(refused, OpenError::LogMissing { .. }), "{refused}");
}

/// Small segments, a short window.
fn hasty() -> EmbeddedOptions {
    EmbeddedOptions { window_ms: 20, window_ms_min: 10, segment_bytes: 4096, ..EmbeddedOptions::default() }
}

#[test]
fn what_leaves_the_window_reaches_the_base_and_the_log_lets_go_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open_with(dir.path(), hasty()).unwrap();
    for number in 0..300 {
        commit(&engine, set(&format!("key {number:03}"), "value")).unwrap();
        if number % 2 == 0 {
            let clear = Mutation::Clear(bytes(&format!("key {number:03}")));
            commit(&engine, CommitRequest { mutations: vec![clear], ..CommitRequest::default() }).unwrap();
        }
    }
    until("the window is empty", || engine.stats().window_bytes == 0);
    let state = all(&engine);
    assert_eq!(state.len(), 150);
    assert!(engine.stats().base_bytes >= 150 * 12);
    let segments = || fs::read_dir(dir.path().join("log")).unwrap().count();
    until("the log's old segments are gone", || segments() <= 3);
    drop(engine);
    let engine = open_with(dir.path(), hasty()).unwrap();
    assert_eq!(all(&engine), state);
}

#[test]
fn a_key_that_comes_and_goes_within_the_window_never_reaches_the_base() {
    let dir = tempfile::tempdir().unwrap();
    let options = EmbeddedOptions { window_ms: 1500, ..EmbeddedOptions::default() };
    let engine = open_with(dir.path(), options).unwrap();
    for number in 0..50 {
        let key = format!("key {number}");
        commit(&engine, set(&key, "value")).unwrap();
        let clear = Mutation::Clear(bytes(&key));
        commit(&engine, CommitRequest { mutations: vec![clear], ..CommitRequest::default() }).unwrap();
    }
    until("the window is empty", || engine.stats().window_bytes == 0);
    assert!(engine.stats().flushes > 0);
    assert_eq!(engine.stats().base_bytes, 0);
}

#[test]
fn a_window_at_its_limit_makes_commits_wait_and_loses_none() {
    let dir = tempfile::tempdir().unwrap();
    let options = EmbeddedOptions { window_ms_min: 20, window_bytes_max: 100_000, ..EmbeddedOptions::default() };
    let engine = open_with(dir.path(), options).unwrap();
    let value = "v".repeat(5000);
    let commits: Vec<_> = (0..3000).map(|number| engine.commit(set(&format!("key {number}"), &value))).collect();
    for commit in commits {
        wait(commit).unwrap();
        // The limit, and one batch beyond it.
        assert!(engine.stats().window_bytes < 8_000_000);
    }
    assert!(engine.stats().stalls > 0);
    assert_eq!(all(&engine).len(), 3000);
}

#[test]
fn a_window_short_of_memory_keeps_its_minimum_readable_and_no_more() {
    let dir = tempfile::tempdir().unwrap();
    let clock = TestClock::new();
    let options = EmbeddedOptions {
        window_ms: 600_000,
        window_ms_min: 1000,
        window_bytes_max: 100_000,
        disk_free_bytes_min: 0,
        ..EmbeddedOptions::default()
    };
    let engine = EmbeddedEngine::open(dir.path(), options, clock.clone()).unwrap();
    let before = newest(&engine);
    clock.advance(Duration::from_millis(1));
    commit(&engine, set("old", "1")).unwrap();
    clock.advance(Duration::from_millis(500));
    let young = commit(&engine, set("young", "1")).unwrap().version;
    clock.advance(Duration::from_millis(100));
    // More than three quarters of what the window may hold: from now on it is short of memory.
    commit(&engine, set("young", &"v".repeat(90_000))).unwrap();
    assert!(engine.stats().window_bytes > 75_000);
    // The first commit is older than the minimum now, the second is not.
    clock.advance(Duration::from_millis(500));
    until("the window is flushed for want of memory", || engine.stats().flushes > 0);
    let read = |version| wait(engine.get_many(vec![bytes("old"), bytes("young")], version));
    assert_eq!(read(young).unwrap(), [Some(bytes("1")), Some(bytes("1"))], "600 ms old");
    assert_eq!(read(before).unwrap_err().code, StoreError::TRANSACTION_TOO_OLD, "1101 ms old");
    assert!(engine.stats().window_bytes > 75_000, "what is younger than the minimum stays");
}

#[test]
fn keys_of_conflicts_alone_fill_the_window_too_and_commits_wait_for_them_to_grow_old() {
    let dir = tempfile::tempdir().unwrap();
    let options = EmbeddedOptions { window_ms_min: 20, window_bytes_max: 100_000, ..EmbeddedOptions::default() };
    let engine = open_with(dir.path(), options).unwrap();
    let long = "k".repeat(5000);
    // Nothing is written: a point each, and a range.
    let commits: Vec<_> = (0..3000)
        .map(|number| {
            let write_conflicts = vec![
                one(&bytes(&format!("{long}{number}"))),
                KeyRange { begin: bytes(&format!("r{number:05}")), end: bytes(&format!("r{number:05}{long}")) },
            ];
            engine.commit(CommitRequest { write_conflicts, ..CommitRequest::default() })
        })
        .collect();
    for commit in commits {
        soon("the keys of conflicts grow old and make room for commits", commit).unwrap();
        let held = engine.stats().resolver_bytes;
        assert!(held < 16_000_000, "the limit, and one batch beyond it: {held}");
    }
    assert!(engine.stats().stalls > 0);
}

#[test]
fn conflicts_that_have_grown_old_are_forgotten_although_no_commit_comes() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open_with(dir.path(), EmbeddedOptions { window_ms: 50, ..EmbeddedOptions::default() }).unwrap();
    // More than one step forgets.
    let write_conflicts = (0..5000).map(|number| one(&bytes(&format!("key {number}")))).collect();
    commit(&engine, CommitRequest { write_conflicts, ..CommitRequest::default() }).unwrap();
    assert!(engine.stats().resolver_bytes > 5000);
    until("no commit comes, and they are gone", || engine.stats().resolver_bytes == 0);
}

#[test]
fn a_store_that_closes_while_commits_wait_for_memory_finishes_them() {
    let dir = tempfile::tempdir().unwrap();
    // The window is full and stays so.
    let options = EmbeddedOptions { window_ms: 600_000, window_ms_min: 600_000, window_bytes_max: 10_000, ..hasty() };
    let engine = open_with(dir.path(), options).unwrap();
    let large = "v".repeat(20_000);
    commit(&engine, set("first", &large)).unwrap();
    let waiting: Vec<_> = (0..3).map(|number| engine.commit(set(&format!("later {number}"), &large))).collect();
    until("the commits wait", || engine.stats().stalls > 0);
    let closing = {
        let engine = engine.clone();
        std::thread::spawn(move || engine.close())
    };
    for commit in waiting {
        soon("a commit that was queued before the store closed ends", commit).unwrap();
    }
    closing.join().unwrap();
    drop(engine);
    assert_eq!(all(&open(dir.path())).len(), 4);
}

#[test]
fn while_the_disk_is_almost_full_a_full_window_refuses_commits_and_reads_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let options = EmbeddedOptions { window_bytes_max: 100_000, disk_free_bytes_min: u64::MAX, ..hasty() };
    let engine = open_with(dir.path(), options).unwrap();
    let large = "v".repeat(20_000);
    let mut taken = 0;
    let refused = loop {
        match commit(&engine, set(&format!("key {taken:02}"), &large)) {
            Ok(_) => taken += 1,
            Err(refused) => break refused,
        }
        assert!(taken < 20, "400,000 bytes are in a window of 100,000, or were moved to the base");
    };
    assert_eq!(refused.code, StoreError::OPERATION_FAILED);
    let needed = format!("bytes of disk are free, {} needed", u64::MAX);
    assert!(refused.context.starts_with("memory is full and cannot be flushed: "), "{refused}");
    assert!(refused.context.ends_with(&needed), "{refused}");
    assert!(taken >= 4, "only a full window refuses: {taken} commits were taken");
    assert_eq!(engine.stats().flushes, 0);
    assert_eq!(all(&engine).len(), taken);
    assert_eq!(value(&engine, "key 00"), Some(bytes(&large)));
    drop(engine);
    // With room on the disk again, all that was acknowledged is there and commits go on.
    let engine = open_with(dir.path(), EmbeddedOptions { disk_free_bytes_min: 0, ..hasty() }).unwrap();
    assert_eq!(all(&engine).len(), taken);
    commit(&engine, set("more", "1")).unwrap();
}

#[test]
fn concurrent_increments_with_conflicts_and_retries_all_count() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open_with(dir.path(), hasty()).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let workers: Vec<_> = (0..16)
        .map(|_| {
            let engine = engine.clone();
            runtime.spawn(async move {
                let mut conflicts = 0;
                for _ in 0..50 {
                    while !increment(&engine).await {
                        conflicts += 1;
                    }
                }
                conflicts
            })
        })
        .collect();
    let conflicts: u64 = workers.into_iter().map(|worker| wait(worker).unwrap()).sum();
    assert!(conflicts > 0, "they did meet");
    let read = |engine: &EmbeddedEngine| {
        let number = |key| u64::from_le_bytes(<[u8; 8]>::try_from(&*value(engine, key).unwrap()).unwrap());
        (number("read and set"), number("added"))
    };
    assert_eq!(read(&engine), (800, 800));
    drop(engine);
    assert_eq!(read(&open(dir.path())), (800, 800));
}

async fn increment(engine: &EmbeddedEngine) -> bool {
    let key = bytes("read and set");
    let version = engine.read_version(&crate::store::engine::ReadVersionRequest::default()).await.unwrap();
    let found = match engine.get_many(vec![key.clone()], version).await {
        Ok(mut found) => found.remove(0),
        Err(error) => {
            assert_eq!(error.code, StoreError::TRANSACTION_TOO_OLD);
            return false;
        }
    };
    let count = found.map_or(0, |bytes| u64::from_le_bytes(<[u8; 8]>::try_from(&*bytes).unwrap()));
    let request = CommitRequest {
        read_version: Some(version),
        read_conflicts: vec![one(&key)],
        write_conflicts: vec![one(&key)],
        mutations: vec![
            Mutation::Set(key, (count + 1).to_le_bytes().to_vec().into()),
            Mutation::Atomic(MutationKind::Add, bytes("added"), 1u64.to_le_bytes().to_vec().into()),
        ],
        ..CommitRequest::default()
    };
    match engine.commit(request).await {
        Ok(_) => true,
        Err(error) if matches!(error.code, StoreError::NOT_COMMITTED | StoreError::TRANSACTION_TOO_OLD) => false,
        Err(error) => panic!("{error}"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 25, ..ProptestConfig::default() })]

    #[test]
    fn every_version_reads_right_over_the_tree_as_well(steps in steps()) {
        let dir = tempfile::tempdir().unwrap();
        check_reads(FjallBase::open(dir.path(), 1 << 20).unwrap(), steps)?;
    }
}

#[test]
fn the_tree_keeps_the_version_it_has() {
    let dir = tempfile::tempdir().unwrap();
    let base = Arc::new(FjallBase::open(dir.path(), 1 << 20).unwrap());
    assert_eq!(base.applied().unwrap(), 0);
    let change = (bytes(""), Some(bytes("the empty key")));
    crate::store::mvcc::Base::advance(&*base, 77, &[], vec![change]).unwrap();
    base.persist(&SystemFiles).unwrap();
    drop(base);
    let base = FjallBase::open(dir.path(), 1 << 20).unwrap();
    assert_eq!(base.applied().unwrap(), 77);
    assert_eq!(crate::store::mvcc::Base::get(&base, b"").unwrap(), Some(bytes("the empty key")));
}

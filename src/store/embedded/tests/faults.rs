//! What happens when the disk does not do as it is told.

use std::{io::ErrorKind, sync::Arc};

use futures_util::FutureExt;

use super::{
    all, commit,
    files::{Event, Handle, TestFiles},
    newest, open, open_with, soon, until, value, wait,
};
use crate::store::{
    EmbeddedEngine, EmbeddedOptions, StoreError,
    engine::Engine as _,
    mvcc::tests::{bytes, one, set},
};

fn faulty() -> (tempfile::TempDir, Arc<TestFiles>, EmbeddedEngine) {
    let dir = tempfile::tempdir().unwrap();
    let files = TestFiles::new();
    let options = EmbeddedOptions { files: Arc::new(Handle(Arc::clone(&files))), ..EmbeddedOptions::default() };
    let engine = open_with(dir.path(), options).unwrap();
    (dir, files, engine)
}

#[test]
fn an_acknowledgement_comes_after_the_sync_of_its_frame() {
    let (_dir, files, engine) = faulty();
    files.events.lock().unwrap().clear();
    for number in 0..20 {
        commit(&engine, set("a", &number.to_string())).unwrap();
        files.note(Event::Ack);
    }
    let events = files.events.lock().unwrap().clone();
    assert_eq!(events, [Event::Write, Event::Synced, Event::Ack].repeat(20));
}

#[test]
fn nothing_is_acknowledged_or_readable_while_its_sync_is_under_way() {
    let (_dir, files, engine) = faulty();
    commit(&engine, set("a", "1")).unwrap();
    // A store that acknowledges too early is not yet done with the first.
    until("the first commit is synced", || engine.stats().syncs == 1 && files.held() == 0);
    let _release = files.release_at_end();
    files.set(|faults| faults.hold_syncs = true);
    let mut under_way = engine.commit(set("a", "2"));
    until("the sync is under way", || files.held() == 1);
    // These are staged on top of it meanwhile.
    let mut later: Vec<_> = (0..200).map(|number| engine.commit(set("a", &format!("later {number}")))).collect();
    assert_eq!(value(&engine, "a"), Some(bytes("1")));
    let before = newest(&engine);
    let acknowledged = std::iter::once(&mut under_way).chain(&mut later).filter_map(FutureExt::now_or_never).count();
    assert_eq!(acknowledged, 0);
    assert_eq!(engine.stats().commits, 1);
    files.set(|faults| faults.hold_syncs = false);
    wait(under_way).unwrap();
    for commit in later {
        assert!(wait(commit).unwrap().version > before);
    }
    assert_eq!(value(&engine, "a"), Some(bytes("later 199")));
    assert!(engine.stats().syncs <= 5, "the 200 shared their syncs: {:?}", engine.stats());
}

#[test]
fn the_queue_is_bounded_in_bytes_and_callers_beyond_it_wait_their_turn() {
    let dir = tempfile::tempdir().unwrap();
    let files = TestFiles::new();
    let options = EmbeddedOptions {
        files: Arc::new(Handle(Arc::clone(&files))),
        queue_bytes_max: 8192,
        ..EmbeddedOptions::default()
    };
    let engine = open_with(dir.path(), options).unwrap();
    let _release = files.release_at_end();
    files.set(|faults| faults.hold_syncs = true);
    // More than a third of the queue each, so that it holds two.
    let large = "x".repeat(3000);
    let syncing = engine.commit(set("1 syncing", &large));
    until("the sync is under way", || files.held() == 1);
    let queued = engine.commit(set("2 queued", &large));
    let mut waiting = engine.commit(set("3 waiting", &large));
    // What is queued is committed though its caller gives up; what waits to be queued is not.
    drop(engine.commit(set("4 given up", &large)));
    // Of the usual size each, more than the queue in all.
    let small: Vec<_> = (0..50).map(|number| engine.commit(set(&format!("5 small {number:02}"), "1"))).collect();
    assert!((&mut waiting).now_or_never().is_none());
    files.set(|faults| faults.hold_syncs = false);
    soon("the commit under way is synced", syncing).unwrap();
    soon("the queued commit is synced", queued).unwrap();
    soon("the commit that waited is queued and synced", waiting).unwrap();
    for commit in small {
        soon("a small commit that waited is queued and synced", commit).unwrap();
    }
    let keys: Vec<_> = all(&engine).into_iter().map(|(key, _)| key).collect();
    assert_eq!(keys[..3], [bytes("1 syncing"), bytes("2 queued"), bytes("3 waiting")]);
    assert_eq!(keys.len(), 53, "the one given up was never queued: {keys:?}");
}

#[test]
fn a_full_disk_fails_the_commit_and_later_ones_work_again() {
    for partly in [0, 1, 31, 40, 1 << 20] {
        let (dir, files, engine) = faulty();
        commit(&engine, set("a", "1")).unwrap();
        files.set(|faults| faults.write = Some((partly, ErrorKind::StorageFull)));
        let refused = commit(&engine, set("a", "2 and more than a few bytes")).unwrap_err();
        assert_eq!(refused.code, StoreError::STORAGE_FULL);
        assert!(refused.context.contains("no storage space"), "{refused}");
        assert_eq!(value(&engine, "a"), Some(bytes("1")));
        files.set(|faults| faults.write = None);
        // A commit that read what the failed one wrote is not refused for ever.
        let mut request = set("b", "3");
        request.read_version = Some(newest(&engine));
        request.read_conflicts = vec![one(&bytes("a"))];
        commit(&engine, request).unwrap();
        let state = all(&engine);
        assert_eq!(state, [(bytes("a"), bytes("1")), (bytes("b"), bytes("3"))]);
        drop(engine);
        assert_eq!(all(&open(dir.path())), state);
    }
}

#[test]
fn what_was_staged_on_top_of_a_failed_write_fails_with_it() {
    let (_dir, files, engine) = faulty();
    commit(&engine, set("a", "1")).unwrap();
    let _release = files.release_at_end();
    files.set(|faults| faults.hold_syncs = true);
    let good = engine.commit(set("b", "1"));
    until("the sync is under way", || files.held() == 1);
    files.set(|faults| faults.write = Some((10, ErrorKind::StorageFull)));
    let bad: Vec<_> = (0..100).map(|_| engine.commit(set("a", "2"))).collect();
    files.set(|faults| faults.hold_syncs = false);
    wait(good).unwrap();
    for commit in bad {
        assert_eq!(wait(commit).unwrap_err().code, StoreError::STORAGE_FULL);
    }
    assert_eq!(value(&engine, "a"), Some(bytes("1")));
    files.set(|faults| faults.write = None);
    commit(&engine, set("a", "3")).unwrap();
    assert_eq!(value(&engine, "a"), Some(bytes("3")));
}

#[test]
fn a_failed_sync_ends_all_commits_until_the_store_is_opened_again() {
    let (dir, files, engine) = faulty();
    commit(&engine, set("a", "1")).unwrap();
    files.set(|faults| faults.sync = Some(ErrorKind::Other));
    assert_eq!(commit(&engine, set("a", "2")).unwrap_err().code, StoreError::OPERATION_FAILED);
    files.set(|faults| faults.sync = None);
    let refused = commit(&engine, set("a", "3")).unwrap_err();
    assert_eq!(refused.code, StoreError::OPERATION_FAILED);
    assert!(refused.context.contains("until the store is opened again"), "{refused}");
    assert_eq!(value(&engine, "a"), Some(bytes("1")), "reads go on");
    drop(engine);
    let engine = open(dir.path());
    assert!(value(&engine, "a") != Some(bytes("3")), "what was refused is not there");
    commit(&engine, set("a", "4")).unwrap();
}

#[test]
fn a_write_that_cannot_be_cut_off_ends_all_commits() {
    let (_dir, files, engine) = faulty();
    files.set(|faults| {
        faults.write = Some((5, ErrorKind::StorageFull));
        faults.set_len = true;
    });
    assert!(commit(&engine, set("a", "1")).is_err());
    files.set(|faults| faults.write = None);
    assert_eq!(commit(&engine, set("a", "2")).unwrap_err().code, StoreError::OPERATION_FAILED);
}

#[test]
fn a_segment_whose_seal_was_written_but_not_synced_is_opened_again() {
    let dir = tempfile::tempdir().unwrap();
    let files = TestFiles::new();
    let options = EmbeddedOptions {
        files: Arc::new(Handle(Arc::clone(&files))),
        segment_bytes: 4096,
        ..EmbeddedOptions::default()
    };
    let engine = open_with(dir.path(), options).unwrap();
    let large = "x".repeat(3000);
    commit(&engine, set("a", &large)).unwrap();
    // The next segment is synced, the seal of this one is not.
    files.set(|faults| (faults.sync, faults.sync_passes) = (Some(ErrorKind::Other), 1));
    assert_eq!(commit(&engine, set("b", &large)).unwrap_err().code, StoreError::OPERATION_FAILED);
    drop(engine);
    assert_eq!(all(&open(dir.path())), [(bytes("a"), bytes(&large))]);
}

#[test]
fn a_new_directory_is_synced_into_the_one_that_holds_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("new").join("deep");
    let open = || {
        let files = TestFiles::new();
        let options = EmbeddedOptions { files: Arc::new(Handle(Arc::clone(&files))), ..EmbeddedOptions::default() };
        open_with(&path, options).unwrap().close();
        files.synced_dirs.lock().unwrap().clone()
    };
    let first = open();
    assert!(first.contains(&dir.path().join("new")) && first.contains(&dir.path().to_owned()), "{first:?}");
    let again = open();
    assert!(!again.contains(&dir.path().join("new")) && !again.contains(&dir.path().to_owned()), "{again:?}");
}

//! What a transaction conflicts with: all that it read, and nothing else.

use escapement::store::{ConflictKind, KeySelector, MutationKind, RangeOptions, StoreError, TransactionOption};

use super::super::support::{Setup, Tx, Write, code};

/// Whether a transaction that did `first` still commits after another one has done `then`.
async fn commits_after(
    it: &Setup,
    first: impl AsyncFnOnce(&Tx<'_>),
    then: impl FnOnce(&Tx<'_>) -> Result<(), StoreError>,
) -> bool {
    it.write(&[("b", "1"), ("d", "1"), ("f", "1")]).await;
    let (tx, other) = (it.begin(), it.begin());
    // Both begin before either commits.
    tx.raw.raw().read_version().await.unwrap();
    first(&tx).await;
    tx.set("zz", "").unwrap();
    then(&other).unwrap();
    other.commit().await.unwrap();
    let result = tx.commit().await;
    it.wipe().await;
    match result {
        Ok(()) => true,
        Err(error) => {
            assert_eq!(error.code, StoreError::NOT_COMMITTED);
            false
        }
    }
}

pub(crate) async fn a_point_read_conflicts_on_its_key_alone(it: &Setup) {
    let read = async |tx: &Tx<'_>| drop(tx.get("d").await.unwrap());
    assert!(!commits_after(it, read, |tx| tx.set("d", "")).await);
    assert!(!commits_after(it, read, |tx| tx.clear("d")).await);
    assert!(!commits_after(it, read, |tx| tx.clear_range("a", "z")).await);
    assert!(!commits_after(it, read, |tx| tx.mutate(MutationKind::Add, "d", b"\x01")).await);
    assert!(commits_after(it, read, |tx| tx.set("d\0", "")).await);
    assert!(commits_after(it, read, |tx| tx.set("c", "")).await);
    assert!(commits_after(it, read, |tx| tx.clear_range("a", "d")).await);
    let missing = async |tx: &Tx<'_>| assert_eq!(tx.get("missing").await.unwrap(), None);
    assert!(!commits_after(it, missing, |tx| tx.set("missing", "")).await);
}

pub(crate) async fn a_range_read_conflicts_between_its_ends_alone(it: &Setup) {
    let read = async |tx: &Tx<'_>| drop(tx.rows(it.range("b", "f")).await.unwrap());
    assert!(!commits_after(it, read, |tx| tx.set("b", "")).await);
    assert!(!commits_after(it, read, |tx| tx.set("e", "")).await);
    assert!(commits_after(it, read, |tx| tx.set("f", "")).await);
    assert!(commits_after(it, read, |tx| tx.set("a", "")).await);
    assert!(commits_after(it, read, |tx| tx.clear_range("f", "z")).await);
}

pub(crate) async fn a_limited_range_read_conflicts_up_to_its_last_row(it: &Setup) {
    let two = async |tx: &Tx<'_>| {
        assert_eq!(tx.keys(it.range("a", "z").limit(2)).await.unwrap(), ["b", "d"]);
    };
    assert!(!commits_after(it, two, |tx| tx.set("c", "")).await);
    assert!(!commits_after(it, two, |tx| tx.set("d", "")).await);
    assert!(commits_after(it, two, |tx| tx.set("e", "")).await);
    let last = async |tx: &Tx<'_>| {
        assert_eq!(tx.keys(it.range("a", "z").limit(2).reverse()).await.unwrap(), ["f", "d"]);
    };
    assert!(!commits_after(it, last, |tx| tx.set("y", "")).await);
    assert!(!commits_after(it, last, |tx| tx.set("e", "")).await);
    assert!(commits_after(it, last, |tx| tx.set("c", "")).await);
}

pub(crate) async fn a_selector_conflicts_on_the_keys_it_walked_over_alone(it: &Setup) {
    let forward = async |tx: &Tx<'_>| assert_eq!(tx.key_at("b", true, 2).await.unwrap(), "f");
    assert!(!commits_after(it, forward, |tx| tx.set("c", "")).await);
    assert!(!commits_after(it, forward, |tx| tx.clear("f")).await);
    assert!(commits_after(it, forward, |tx| tx.set("g", "")).await);
    assert!(commits_after(it, forward, |tx| tx.set("b", "")).await);
    let back = async |tx: &Tx<'_>| assert_eq!(tx.key_at("f", false, 0).await.unwrap(), "d");
    assert!(!commits_after(it, back, |tx| tx.set("e", "")).await);
    assert!(!commits_after(it, back, |tx| tx.clear("d")).await);
    assert!(commits_after(it, back, |tx| tx.set("f", "")).await);
    assert!(commits_after(it, back, |tx| tx.set("c", "")).await);
}

pub(crate) async fn snapshot_reads_do_not_conflict(it: &Setup) {
    let read = async |tx: &Tx<'_>| {
        tx.get_snapshot("d").await.unwrap();
        tx.rows_snapshot(it.everything()).await.unwrap();
        let selector = escapement::store::KeySelector::last_less_than(it.key("d"));
        tx.raw.raw().get_key(selector, true).await.unwrap();
    };
    assert!(commits_after(it, read, |tx| tx.clear_range("a", "z")).await);
}

pub(crate) async fn an_explicit_read_conflict_range_counts_as_a_read(it: &Setup) {
    let declare = async |tx: &Tx<'_>| tx.conflict(ConflictKind::Read, "c", "e").unwrap();
    assert!(!commits_after(it, declare, |tx| tx.set("c", "")).await);
    assert!(!commits_after(it, declare, |tx| tx.clear("d")).await);
    assert!(commits_after(it, declare, |tx| tx.set("e", "")).await);
    let with_snapshot = async |tx: &Tx<'_>| {
        tx.get_snapshot("d").await.unwrap();
        tx.conflict(ConflictKind::Read, "d", "d\0").unwrap();
    };
    assert!(!commits_after(it, with_snapshot, |tx| tx.set("d", "")).await);
}

pub(crate) async fn an_explicit_write_conflict_range_counts_as_a_write_and_changes_nothing(it: &Setup) {
    let read = async |tx: &Tx<'_>| drop(tx.get("d").await.unwrap());
    assert!(!commits_after(it, read, |tx| tx.conflict(ConflictKind::Write, "c", "e")).await);
    assert!(commits_after(it, read, |tx| tx.conflict(ConflictKind::Write, "e", "f")).await);
    it.write(&[("d", "1")]).await;
    let tx = it.begin();
    tx.conflict(ConflictKind::Write, "a", "z").unwrap();
    tx.commit().await.unwrap();
    assert!(tx.raw.raw().committed_version().is_ok(), "others may conflict with it: it has a version");
    assert_eq!(it.dump().await, ["d=1"]);
}

pub(crate) async fn the_next_write_alone_can_be_without_conflict(it: &Setup) {
    let read = async |tx: &Tx<'_>| drop(tx.rows(it.range("a", "z")).await.unwrap());
    let quiet = |tx: &Tx<'_>| tx.option(TransactionOption::NextWriteNoWriteConflictRange);
    let writes: [Write; 4] = [
        |tx| tx.set("d", "2"),
        |tx| tx.clear("d"),
        |tx| tx.clear_range("a", "z"),
        |tx| tx.mutate(MutationKind::Or, "d", b"1"),
    ];
    for write in writes {
        let without = |tx: &Tx<'_>| {
            quiet(tx);
            write(tx)
        };
        assert!(commits_after(it, read, without).await);
        let only_the_first = |tx: &Tx<'_>| {
            quiet(tx);
            tx.set("q", "")?;
            write(tx)
        };
        assert!(!commits_after(it, read, only_the_first).await);
    }
}

pub(crate) async fn a_write_that_is_refused_was_the_next_one(it: &Setup) {
    let read = async |tx: &Tx<'_>| drop(tx.get("d").await.unwrap());
    let write = |tx: &Tx<'_>| {
        tx.option(TransactionOption::NextWriteNoWriteConflictRange);
        assert_eq!(code(tx.raw.set(&b"\xff"[..], "")), StoreError::KEY_OUTSIDE_LEGAL_RANGE);
        tx.set("d", "")
    };
    assert!(!commits_after(it, read, write).await, "the second write has its conflict");
}

pub(crate) async fn blind_writes_and_atomic_operations_never_conflict(it: &Setup) {
    let blind = async |tx: &Tx<'_>| {
        tx.set("d", "mine").unwrap();
        tx.clear("b").unwrap();
        tx.clear_range("e", "g").unwrap();
        tx.mutate(MutationKind::Add, "n", b"\x01").unwrap();
        tx.set_stamped_value("s", "").unwrap();
        tx.set_stamped_key("s/", "", "").unwrap();
    };
    assert!(commits_after(it, blind, |tx| tx.clear_range("a", "z")).await);
    for _ in 0..2 {
        let counters: Vec<_> = (0..8).map(|_| it.begin()).collect();
        for tx in &counters {
            tx.raw.raw().read_version().await.unwrap();
            tx.mutate(MutationKind::Add, "n", &[1, 0, 0, 0]).unwrap();
        }
        for tx in &counters {
            tx.commit().await.unwrap();
        }
    }
    assert_eq!(it.value("n").await.as_deref(), Some("\\x10\\x00\\x00\\x00"));
}

pub(crate) async fn reads_of_own_writes_conflict_only_where_the_database_was_needed(it: &Setup) {
    let own = async |tx: &Tx<'_>| {
        tx.set("b", "own").unwrap();
        tx.clear_range("c", "e").unwrap();
        tx.get("b").await.unwrap();
        tx.get("d").await.unwrap();
        assert_eq!(tx.rows(it.range("b", "e")).await.unwrap(), ["b=own"]);
    };
    assert!(commits_after(it, own, |tx| tx.set("b", "other")).await);
    assert!(commits_after(it, own, |tx| tx.set("d", "other")).await);
    assert!(!commits_after(it, own, |tx| tx.set("b1", "between what it wrote")).await);
    let atomic = async |tx: &Tx<'_>| {
        tx.mutate(MutationKind::Add, "d", b"\x01").unwrap();
        tx.get("d").await.unwrap();
    };
    assert!(!commits_after(it, atomic, |tx| tx.set("d", "")).await, "the sum depends on what was there");
}

pub(crate) async fn a_versionstamped_key_conflicts_with_who_read_its_range(it: &Setup) {
    let read = async |tx: &Tx<'_>| drop(tx.rows(it.range("s/", "s0")).await.unwrap());
    assert!(!commits_after(it, read, |tx| tx.set_stamped_key("s/", "", "")).await);
    assert!(commits_after(it, read, |tx| tx.set_stamped_key("t/", "", "")).await);
}

pub(crate) async fn a_watch_conflicts_on_its_key(it: &Setup) {
    for (key, commits) in [("d", false), ("e", true)] {
        let tx = it.begin();
        tx.raw.raw().read_version().await.unwrap();
        let watch = tx.raw.raw().watch(it.key("d"));
        tx.set("zz", "").unwrap();
        it.write(&[(key, "other")]).await;
        assert_eq!(tx.commit().await.is_ok(), commits, "after a change of {key}");
        drop(watch);
    }
}

pub(crate) async fn a_watch_conflicts_where_own_writes_did_not_tell_the_value(it: &Setup) {
    type Write = fn(&Tx<'_>);
    let writes: [(&str, Write, bool); 4] = [
        ("an operation on the value", |tx| tx.mutate(MutationKind::Add, "d", b"\x01").unwrap(), true),
        ("a set", |tx| tx.set("d", "1").unwrap(), false),
        ("a clear", |tx| tx.clear("d").unwrap(), false),
        (
            "an operation on what was set",
            |tx| {
                tx.set("d", "1").unwrap();
                tx.mutate(MutationKind::Add, "d", b"\x01").unwrap();
            },
            false,
        ),
    ];
    for (what, write, conflicts) in writes {
        let tx = it.begin();
        tx.raw.raw().read_version().await.unwrap();
        write(&tx);
        let watch = tx.raw.raw().watch(it.key("d"));
        it.write(&[("d", "other")]).await;
        assert_eq!(tx.commit().await.is_err(), conflicts, "after {what}");
        drop(watch);
    }
}

pub(crate) async fn a_transaction_that_only_reads_always_commits_and_has_no_version(it: &Setup) {
    it.write(&[("b", "1")]).await;
    let tx = it.begin();
    let stamp = tx.raw.raw().versionstamp();
    tx.rows(it.everything()).await.unwrap();
    it.write(&[("b", "2"), ("c", "2")]).await;
    tx.commit().await.unwrap();
    assert_eq!(code(tx.raw.raw().committed_version()), StoreError::NO_COMMIT_VERSION);
    assert_eq!(code(it.soon("the stamp fails", stamp).await), StoreError::NO_COMMIT_VERSION);
}

pub(crate) async fn conflicts_of_a_page_end_with_its_last_row(it: &Setup) {
    let one_row = async |tx: &Tx<'_>| {
        let page = tx.raw.get_range(RangeOptions { target_bytes: 1, ..it.range("a", "z") }).await.unwrap();
        assert!(page.more && page.rows.len() < 3, "{page:?}");
        assert_eq!(page.rows[0].0, it.key("b"));
    };
    assert!(!commits_after(it, one_row, |tx| tx.set("a", "")).await);
    assert!(commits_after(it, one_row, |tx| tx.set("x", "")).await);
}

pub(crate) async fn a_page_conflicts_on_a_selector_beyond_its_end_only_if_that_walked_backwards(it: &Setup) {
    // Of rows b, d, f, h a page of one: its selectors, whether it is reversed, its row, and which of
    // the gaps between the rows conflict. FoundationDB's client knows less exactly what the second and
    // the last depend on: all but the last gap conflict there.
    let selector = |key: &str, offset| KeySelector { key: it.key(key), or_equal: false, offset };
    let pages = [
        (("a", 1), ("b", 4), false, "b", [false, false, false, false]),
        (("b", 1), ("h", 0), false, "b", [false, false, true, false]),
        (("h", -2), ("i", 1), true, "h", [false, false, false, false]),
        (("b", 2), ("i", 1), true, "h", [true, false, false, false]),
    ];
    let gaps = ["c", "e", "g", "i"];
    for (begin, end, reverse, row, expected) in pages {
        for option in [None, Some(TransactionOption::SnapshotRywDisable)] {
            let mut conflicts = [false; 4];
            for (gap, conflicts) in gaps.iter().zip(&mut conflicts) {
                it.wipe().await;
                it.write(&[("b", ""), ("d", ""), ("f", ""), ("h", "")]).await;
                let tx = it.begin();
                option.iter().for_each(|option| tx.option(option.clone()));
                let range = RangeOptions { limit: 1, reverse, ..it.everything() };
                let range = RangeOptions { begin: selector(begin.0, begin.1), end: selector(end.0, end.1), ..range };
                assert_eq!(tx.keys(range).await.unwrap(), [row]);
                tx.set("z", "").unwrap();
                it.write(&[(gap, "")]).await;
                *conflicts = tx.commit().await.is_err();
            }
            assert_eq!(conflicts, expected, "{begin:?} to {end:?} with {option:?}");
        }
    }
}

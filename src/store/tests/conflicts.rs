//! What a transaction conflicts with: all that it read, and nothing else.

use super::*;
use crate::store::{ConflictKind, MutationKind as M, TransactionOption};

fn range() -> RangeOptions {
    RangeOptions::new("a", "z")
}

/// Read conflicts after `reads`, in a transaction on b, d, f that commits.
fn conflicts_of(reads: impl FnOnce(&Transaction)) -> Vec<String> {
    let it = setup(&[("b", "1"), ("d", "1"), ("f", "1")]);
    let tx = it.db.begin();
    reads(&tx);
    tx.set("zz", "").unwrap();
    commit(&tx).unwrap();
    it.read_conflicts()
}

#[test]
fn a_point_read_conflicts_on_its_key_alone() {
    let conflicts = conflicts_of(|tx| {
        get(tx, "d").unwrap();
        get(tx, "missing").unwrap();
        get(tx, "d").unwrap();
    });
    assert_eq!(conflicts, ["d..d\\x00", "missing..missing\\x00"]);
}

#[test]
fn reads_of_own_writes_conflict_only_where_the_engine_was_needed() {
    let conflicts = conflicts_of(|tx| {
        tx.set("a1", "").unwrap();
        tx.clear("b").unwrap();
        tx.clear_range("c", "d1").unwrap();
        mutate(tx, M::Add, "f", b"1").unwrap();
        mutate(tx, M::Add, "d", b"1").unwrap();
        for key in ["a1", "b", "c5", "d", "f"] {
            get(tx, key).unwrap();
        }
    });
    assert_eq!(conflicts, ["f..f\\x00"]);
}

#[test]
fn a_range_read_conflicts_on_what_was_read_without_own_writes() {
    assert_eq!(conflicts_of(|tx| drop(keys(tx, range()))), ["a..z"]);
    let conflicts = conflicts_of(|tx| {
        tx.set("c", "").unwrap();
        tx.clear_range("d", "e").unwrap();
        mutate(tx, M::Add, "f", b"1").unwrap();
        keys(tx, range()).unwrap();
    });
    assert_eq!(conflicts, ["a..c", "c\\x00..d", "e..z"]);
}

#[test]
fn a_limited_range_read_conflicts_up_to_its_last_row() {
    assert_eq!(conflicts_of(|tx| drop(keys(tx, range().limit(2)))), ["a..d\\x00"]);
    assert_eq!(conflicts_of(|tx| drop(keys(tx, range().limit(2).reverse()))), ["d..z"]);
    assert_eq!(conflicts_of(|tx| drop(keys(tx, range().limit(9)))), ["a..z"]);
}

#[test]
fn a_selector_conflicts_on_the_keys_it_walked_over() {
    let at = |selector: KeySelector| conflicts_of(|tx| drop(key_at(tx, selector)));
    assert_eq!(at(KeySelector::first_greater_or_equal("c")), ["c..d\\x00"]);
    assert_eq!(at(KeySelector::first_greater_than("b")), ["b\\x00..d\\x00"]);
    assert_eq!(at(KeySelector::last_less_than("d")), ["b..d"]);
    assert_eq!(at(KeySelector::last_less_or_equal("d")), ["d..d\\x00"]);
    assert_eq!(at(KeySelector::first_greater_than("f")), ["f\\x00..\\xff"]);
    assert_eq!(at(KeySelector::last_less_than("b")), ["..b"]);
    assert_eq!(at(KeySelector { key: "b".into(), or_equal: false, offset: 3 }), ["b..f\\x00"]);
}

#[test]
fn the_far_selector_of_a_page_that_stops_early_is_no_conflict() {
    let begin = KeySelector { key: "a".into(), or_equal: false, offset: 1 };
    let end = KeySelector { key: "a1".into(), or_equal: false, offset: 3 };
    let range = RangeOptions { begin, end, ..range() };
    assert_eq!(conflicts_of(|tx| drop(keys(tx, range.clone().limit(1)))), ["a..b\\x00"]);
    assert_eq!(conflicts_of(|tx| drop(keys(tx, range.clone()))), ["a..f\\x00"]);
    assert_eq!(conflicts_of(|tx| drop(keys(tx, range.clone().limit(1).reverse()))), ["a1..f\\x00"]);
    let inverted = RangeOptions { begin: KeySelector::last_less_than("d"), ..RangeOptions::new("", "c") };
    assert_eq!(conflicts_of(|tx| drop(keys(tx, inverted.limit(1).reverse()))), ["b..d"]);
}

#[test]
fn snapshot_reads_do_not_conflict() {
    let conflicts = conflicts_of(|tx| {
        now(tx.get_snapshot("b")).unwrap();
        now(tx.get_range_snapshot(range())).unwrap();
        now(tx.raw().get_key(KeySelector::last_less_than("d"), true)).unwrap();
    });
    assert_eq!(conflicts, [""; 0]);
}

#[test]
fn conflict_ranges_that_touch_or_overlap_are_one() {
    let conflicts = conflicts_of(|tx| {
        keys(tx, RangeOptions::new("c", "e")).unwrap();
        keys(tx, RangeOptions::new("a", "c")).unwrap();
        keys(tx, RangeOptions::new("b", "d")).unwrap();
        get(tx, "e").unwrap();
        get(tx, "g").unwrap();
    });
    assert_eq!(conflicts, ["a..e\\x00", "g..g\\x00"]);
}

#[test]
fn explicit_conflict_ranges_count_as_reads_and_writes() {
    let it = setup(&[]);
    let tx = it.db.begin();
    tx.set("c", "").unwrap();
    tx.raw().add_conflict_range("a".into(), "e".into(), ConflictKind::Read).unwrap();
    tx.raw().add_conflict_range("r".into(), "t".into(), ConflictKind::Write).unwrap();
    let inverted = tx.raw().add_conflict_range("t".into(), "r".into(), ConflictKind::Write);
    assert_eq!(code(inverted), StoreError::INVERTED_RANGE);
    let beyond = tx.raw().add_conflict_range("t".into(), b"\xff\x01"[..].into(), ConflictKind::Read);
    assert_eq!(code(beyond), StoreError::KEY_OUTSIDE_LEGAL_RANGE);
    commit(&tx).unwrap();
    assert_eq!(it.read_conflicts(), ["a..c", "c\\x00..e"]);
    assert_eq!(it.write_conflicts(), ["c..c\\x00", "r..t"]);
    // A write conflict alone is sent, too: others may wait for it.
    let tx = it.db.begin();
    tx.raw().add_conflict_range("r".into(), "t".into(), ConflictKind::Write).unwrap();
    commit(&tx).unwrap();
    assert!(tx.raw().committed_version().is_ok());
}

#[test]
fn writes_conflict_unless_the_next_one_is_told_not_to() {
    let it = setup(&[]);
    let tx = it.db.begin();
    let next_without = || tx.raw().set_option(TransactionOption::NextWriteNoWriteConflictRange).unwrap();
    next_without();
    tx.set("a", "").unwrap();
    tx.set("b", "").unwrap();
    next_without();
    tx.clear_range("c", "d").unwrap();
    tx.clear_range("e", "f").unwrap();
    next_without();
    mutate(&tx, M::Add, "g", b"1").unwrap();
    mutate(&tx, M::Add, "h", b"1").unwrap();
    mutate(&tx, M::SetVersionstampedKey, "i----------\x01\0\0\0", b"").unwrap();
    commit(&tx).unwrap();
    assert_eq!(it.write_conflicts(), ["b..b\\x00", "e..f", "h..h\\x00"]);
}

#[test]
fn a_transaction_that_only_reads_commits_without_the_engine_and_has_no_version() {
    let it = setup(&[("b", "1")]);
    let tx = it.db.begin();
    get(&tx, "b").unwrap();
    let stamp = tx.raw().versionstamp();
    it.write("b", "2");
    let sent = it.engine.inner().requests.len();
    commit(&tx).unwrap();
    assert_eq!(it.engine.inner().requests.len(), sent);
    assert_eq!(code(tx.raw().committed_version()), StoreError::NO_COMMIT_VERSION);
    assert_eq!(code(now(stamp)), StoreError::NO_COMMIT_VERSION);
}

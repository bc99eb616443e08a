//! Reads of a transaction's own writes.

use super::*;
use crate::store::{MutationKind as M, TransactionOption, Version, atomic};

fn range() -> RangeOptions {
    RangeOptions::new("a", "z")
}

#[test]
fn a_limit_counts_rows_after_own_writes_are_merged_in() {
    let it = setup(&[("b", ""), ("c", ""), ("d", ""), ("e", ""), ("f", "")]);
    it.engine.inner().page_rows_max = 2;
    let tx = it.db.begin();
    for key in ["b", "c", "d"] {
        tx.clear(key).unwrap();
    }
    tx.set("g", "").unwrap();
    let page = now(tx.get_range(range().limit(2))).unwrap();
    assert!(page.more);
    assert_eq!(page.rows.iter().map(|(key, _)| &key[..]).collect::<Vec<_>>(), [b"e", b"f"]);
    assert_eq!(keys(&tx, range().limit(2).reverse()).unwrap(), ["g", "f"]);
    let page = now(tx.get_range(range().limit(4))).unwrap();
    assert!(!page.more, "there were only three");
}

#[test]
fn a_cleared_range_is_not_read_from_the_engine() {
    let it = setup(&[("b", ""), ("c", ""), ("d", "")]);
    let tx = it.db.begin();
    tx.clear_range("a", "z").unwrap();
    tx.set("m", "1").unwrap();
    assert_eq!(rows(&tx, range()), ["m=1"]);
    assert_eq!(rows(&tx, range().reverse()), ["m=1"]);
    assert_eq!(get(&tx, "b").unwrap(), None);
    assert!(it.engine.inner().range_reads.is_empty());
    assert!(it.engine.inner().version_requests.is_empty(), "no read version was needed");
}

#[test]
fn a_transaction_asks_for_one_read_version_and_keeps_it() {
    let it = setup(&[("b", "1")]);
    let tx = it.db.begin();
    assert_eq!(get(&tx, "b").unwrap().as_deref(), Some("1"));
    it.write("b", "2");
    it.write("c", "2");
    assert_eq!(get(&tx, "b").unwrap().as_deref(), Some("1"));
    assert_eq!(rows(&tx, range()), ["b=1"]);
    assert_eq!(it.engine.inner().version_requests.len(), 1);
    let old = it.db.begin();
    old.raw().set_read_version(now(tx.raw().read_version()).unwrap());
    assert_eq!(get(&old, "b").unwrap().as_deref(), Some("1"));
    let too_new = it.db.begin();
    too_new.raw().set_read_version(Version(u64::MAX));
    assert_eq!(code(get(&too_new, "b")), StoreError::FUTURE_VERSION);
}

#[test]
fn many_keys_are_fetched_in_one_call_without_those_already_known() {
    let it = setup(&[("a", "1"), ("b", "1")]);
    let tx = it.db.begin();
    tx.set("a", "2").unwrap();
    let values = now(tx.get_many(["a", "b", "c", "b"].map(Bytes::from).into())).unwrap();
    let values: Vec<_> = values.iter().map(Option::as_deref).collect();
    assert_eq!(values, [Some(&b"2"[..]), Some(b"1"), None, Some(b"1")]);
    assert_eq!(it.engine.inner().reads, 1);
}

#[test]
fn reads_do_not_see_own_writes_where_that_is_switched_off() {
    let it = setup(&[("b", "1"), ("c", "1")]);
    let tx = it.db.begin();
    tx.raw().set_option(TransactionOption::ReadYourWritesDisable).unwrap();
    tx.set("b", "2").unwrap();
    tx.clear_range("c", "d").unwrap();
    assert_eq!(get(&tx, "b").unwrap().as_deref(), Some("1"));
    assert_eq!(rows(&tx, range()), ["b=1", "c=1"]);
    assert_eq!(code(now(tx.raw().watch("b".into()))), StoreError::WATCHES_DISABLED);
    commit(&tx).unwrap();
    assert_eq!(it.read_conflicts(), ["a..z"]);

    let tx = it.db.begin();
    tx.set("b", "3").unwrap();
    assert_eq!(now(tx.get_snapshot("b")).unwrap().as_deref(), Some(&b"3"[..]));
    tx.raw().set_option(TransactionOption::SnapshotRywDisable).unwrap();
    assert_eq!(now(tx.get_snapshot("b")).unwrap().as_deref(), Some(&b"2"[..]));
    assert_eq!(get(&tx, "b").unwrap().as_deref(), Some("3"));
    let late = tx.raw().set_option(TransactionOption::ReadYourWritesDisable);
    assert_eq!(code(late), StoreError::CLIENT_INVALID_OPERATION);
}

#[test]
fn a_write_that_makes_an_earlier_one_void_takes_it_out_of_the_commit() {
    let it = setup(&[]);
    let tx = it.db.begin();
    for _ in 0..5 {
        tx.set("a", "1").unwrap();
        mutate(&tx, M::Add, "n", &[1, 0]).unwrap();
        tx.set("r/1", "1").unwrap();
        tx.clear_range("r/", "r0").unwrap();
    }
    commit(&tx).unwrap();
    assert_eq!(it.engine.inner().requests[0].mutations.len(), 3, "a set, an addition, a cleared range");
    assert_eq!(it.dump(), ["a=1", "n=\\x05\\x00"]);

    let tx = it.db.begin();
    mutate(&tx, M::Add, "m", b"1").unwrap();
    mutate(&tx, M::Or, "m", b"1").unwrap();
    tx.clear_range("m", "n").unwrap();
    tx.clear_range("n", "p").unwrap();
    tx.clear_range("m", "p").unwrap();
    tx.clear("o").unwrap();
    commit(&tx).unwrap();
    assert_eq!(it.engine.inner().requests[1].mutations.len(), 2, "two ranges that touch");
    assert_eq!(it.dump(), ["a=1"]);
}

#[test]
fn operations_on_one_key_read_back_as_one_after_the_other_whatever_their_lengths() {
    let kinds = [M::Add, M::And, M::Or, M::Xor, M::AppendIfFits, M::Max, M::Min, M::ByteMax, M::ByteMin];
    let operands: [&'static [u8]; 6] = [&[], &[1], &[9], &[255], &[0, 1], &[9, 0]];
    let stored = ["", "\x01", "\x09\0", "\x7f\x7f", "\0\x02"].map(|value| ("k", value));
    for (kind, row) in kinds.iter().flat_map(|kind| stored.map(|row| (*kind, row))) {
        let it = setup(&[row]);
        for (first, second) in operands.iter().flat_map(|first| operands.map(|second| (*first, second))) {
            let tx = it.db.begin();
            mutate(&tx, kind, "k", first).unwrap();
            mutate(&tx, kind, "k", second).unwrap();
            let expected = atomic::apply(kind, Some(row.1.as_bytes()), first);
            let expected = atomic::apply(kind, expected.as_deref(), second);
            assert_eq!(now(tx.get("k")).unwrap(), expected, "{kind:?} of {first:?}, {second:?} on {row:?}");
        }
    }
}

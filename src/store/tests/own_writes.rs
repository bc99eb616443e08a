//! Reads of a transaction's own writes.

use super::*;
use crate::store::{MutationKind as M, TransactionOption, Version, atomic};

fn range() -> RangeOptions {
    RangeOptions::new("a", "z")
}

#[test]
fn every_mutation_kind_reads_back_as_the_commit_makes_it() {
    let kinds =
        [M::Add, M::And, M::Or, M::Xor, M::AppendIfFits, M::Max, M::Min, M::ByteMax, M::ByteMin, M::CompareAndClear];
    for kind in kinds {
        // On the engine's value, on a missing key, on an own value, on a cleared one, twice.
        let it = setup(&[("engine", "12"), ("gone", "12")]);
        let tx = it.db.begin();
        tx.set("own", "12").unwrap();
        tx.clear("gone").unwrap();
        tx.set("range/x", "1").unwrap();
        tx.clear_range("range/", "range0").unwrap();
        let keys = ["engine", "missing", "own", "gone", "range/x", "range/y"];
        for operand in [&b"3"[..], b"24", b"24", b""] {
            for key in keys {
                mutate(&tx, kind, key, operand).unwrap();
            }
        }
        let seen: Vec<_> = keys.map(|key| get(&tx, key).unwrap()).into();
        commit(&tx).unwrap();
        let after = it.db.begin();
        assert_eq!(seen, keys.map(|key| get(&after, key).unwrap()), "{kind:?}");
    }
}

#[test]
fn sets_and_clears_read_back_in_point_and_range_reads() {
    let it = setup(&[("b", "1"), ("c", "1"), ("d", "1"), ("e", "1")]);
    let tx = it.db.begin();
    tx.set("a", "2").unwrap();
    tx.set("c", "2").unwrap();
    tx.clear("d").unwrap();
    mutate(&tx, M::AppendIfFits, "e", b"2").unwrap();
    mutate(&tx, M::AppendIfFits, "f", b"2").unwrap();
    assert_eq!(rows(&tx, range()), ["a=2", "b=1", "c=2", "e=12", "f=2"]);
    assert_eq!(rows(&tx, range().reverse()), ["f=2", "e=12", "c=2", "b=1", "a=2"]);
    tx.clear_range("b", "e").unwrap();
    assert_eq!(rows(&tx, range()), ["a=2", "e=12", "f=2"]);
    tx.set("c", "3").unwrap();
    assert_eq!(rows(&tx, range()), ["a=2", "c=3", "e=12", "f=2"]);
    assert_eq!(get(&tx, "b").unwrap(), None);
    commit(&tx).unwrap();
    assert_eq!(it.dump(), ["a=2", "c=3", "e=12", "f=2"]);
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
fn a_byte_target_ends_a_page_that_has_at_least_one_row() {
    let it = setup(&[("b", "12345"), ("c", "12345"), ("d", "12345")]);
    let tx = it.db.begin();
    let page = |target_bytes| {
        let page = now(tx.get_range(RangeOptions { target_bytes, ..range() })).unwrap();
        (page.rows.len(), page.more)
    };
    assert_eq!(page(1), (1, true));
    assert_eq!(page(20), (2, true));
    assert_eq!(page(1000), (3, false));
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

const STAMPED_KEY: &str = "q----------\x01\0\0\0";
const STAMPED_VALUE: &[u8] = b"----------\0\0\0\0";

#[test]
fn a_stamped_value_cannot_be_read_before_the_commit_unless_cleared() {
    let it = setup(&[("b", "1")]);
    let tx = it.db.begin();
    mutate(&tx, M::SetVersionstampedValue, "b", STAMPED_VALUE).unwrap();
    assert_eq!(code(get(&tx, "b")), StoreError::ACCESSED_UNREADABLE);
    assert_eq!(code(keys(&tx, range())), StoreError::ACCESSED_UNREADABLE);
    assert_eq!(code(now(tx.raw().watch("b".into()))), StoreError::ACCESSED_UNREADABLE);
    assert_eq!(keys(&tx, RangeOptions::new("a", "b")).unwrap(), [""; 0]);
    // As in FoundationDB, a set does not make it readable, a clear does.
    tx.set("b", "2").unwrap();
    assert_eq!(code(get(&tx, "b")), StoreError::ACCESSED_UNREADABLE);
    tx.clear("b").unwrap();
    assert_eq!(get(&tx, "b").unwrap(), None);
}

#[test]
fn keys_where_a_stamped_key_may_come_to_lie_cannot_be_read() {
    let it = setup(&[("p", "1"), ("q", "1"), ("r", "1")]);
    let tx = it.db.begin();
    mutate(&tx, M::SetVersionstampedKey, STAMPED_KEY, b"v").unwrap();
    assert_eq!(get(&tx, "q").unwrap().as_deref(), Some("1"), "the prefix alone is no stamped key");
    assert_eq!(code(get(&tx, "q123456789a")), StoreError::ACCESSED_UNREADABLE);
    assert_eq!(code(keys(&tx, range())), StoreError::ACCESSED_UNREADABLE);
    assert_eq!(code(keys(&tx, range().reverse())), StoreError::ACCESSED_UNREADABLE);
    assert_eq!(
        code(now(tx.raw().get_key(KeySelector::first_greater_than("q"), false))),
        StoreError::ACCESSED_UNREADABLE
    );
    // What stops short of them, from either side, can.
    assert_eq!(keys(&tx, range().limit(2)).unwrap(), ["p", "q"]);
    assert_eq!(keys(&tx, range().limit(1).reverse()).unwrap(), ["r"]);
    tx.set("y", "").unwrap();
    assert_eq!(keys(&tx, range().limit(2).reverse()).unwrap(), ["y", "r"]);
    tx.clear("y").unwrap();
    commit(&tx).unwrap();
    let stamp = it.engine.inner().versions.last().unwrap().0.0.to_be_bytes();
    let key = [b"q", &stamp[..], &[0, 3]].concat();
    assert_eq!(it.engine.rows().get(&key[..]).map(|value| &value[..]), Some(&b"v"[..]));
}

#[test]
fn a_range_cleared_after_a_stamped_key_clears_it_and_can_be_read_again() {
    let it = setup(&[("q", "1")]);
    let tx = it.db.begin();
    mutate(&tx, M::SetVersionstampedKey, STAMPED_KEY, b"v").unwrap();
    tx.set("q5", "x").unwrap();
    assert_eq!(code(get(&tx, "q5")), StoreError::ACCESSED_UNREADABLE);
    tx.clear_range("q", "r").unwrap();
    tx.set("q5", "y").unwrap();
    assert_eq!(rows(&tx, range()), ["q5=y"]);
    commit(&tx).unwrap();
    assert_eq!(it.dump(), ["q5=y"]);
}

#[test]
fn a_range_cleared_before_a_stamped_key_spares_it() {
    let it = setup(&[("q", "1")]);
    let tx = it.db.begin();
    tx.clear_range("q", "r").unwrap();
    mutate(&tx, M::SetVersionstampedKey, STAMPED_KEY, b"v").unwrap();
    commit(&tx).unwrap();
    assert_eq!(it.engine.rows().len(), 1);

    // A clear of just the key that comes out comes after it, too.
    let newest = it.engine.inner().versions.last().unwrap().0.0;
    let stamped = [b"q", &(newest + 10).to_be_bytes()[..], &[0, 3]].concat();
    let tx = it.db.begin();
    tx.clear_range("q", "r").unwrap();
    mutate(&tx, M::SetVersionstampedKey, STAMPED_KEY, b"v").unwrap();
    tx.clear(stamped).unwrap();
    commit(&tx).unwrap();
    assert!(it.engine.rows().is_empty());
}

#[test]
fn a_range_cleared_after_a_stamped_value_clears_it() {
    let it = setup(&[]);
    let tx = it.db.begin();
    tx.clear_range("a", "z").unwrap();
    mutate(&tx, M::SetVersionstampedValue, "b", STAMPED_VALUE).unwrap();
    tx.clear_range("a", "z").unwrap();
    assert_eq!(get(&tx, "b").unwrap(), None);
    commit(&tx).unwrap();
    assert!(it.engine.rows().is_empty());
}

#[test]
fn keys_stamped_up_to_the_read_version_stay_readable() {
    let it = setup(&[]);
    let tx = it.db.begin();
    mutate(&tx, M::SetVersionstampedKey, STAMPED_KEY, b"v").unwrap();
    commit(&tx).unwrap();
    let tx = it.db.begin();
    now(tx.raw().read_version()).unwrap();
    mutate(&tx, M::SetVersionstampedKey, STAMPED_KEY, b"v").unwrap();
    assert_eq!(keys(&tx, range().limit(1)).unwrap().len(), 1);
    assert_eq!(code(keys(&tx, range())), StoreError::ACCESSED_UNREADABLE);
}

#[test]
fn the_stamp_that_the_transaction_is_told_is_the_one_in_its_keys() {
    let it = setup(&[]);
    let tx = it.db.begin();
    mutate(&tx, M::SetVersionstampedValue, "b", STAMPED_VALUE).unwrap();
    let stamp = tx.raw().versionstamp();
    commit(&tx).unwrap();
    let stamp = now(stamp).unwrap();
    assert_eq!(it.engine.rows()[&b"b"[..]][..], stamp.0);
    assert_eq!(tx.raw().committed_version().unwrap().0.to_be_bytes(), stamp.0[..8]);
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

//! Reads of a transaction's own writes.

use escapement::store::{ConflictKind, KeySelector, MutationKind as M, StoreError, TransactionOption};

use super::super::support::{Setup, Tx, Write, code, text};

/// All that need no versionstamp.
const ATOMIC: [M; 10] =
    [M::Add, M::And, M::Or, M::Xor, M::AppendIfFits, M::Max, M::Min, M::ByteMax, M::ByteMin, M::CompareAndClear];

pub(crate) async fn every_atomic_operation_reads_back_as_the_commit_makes_it(it: &Setup) {
    // On a stored value, on a missing key, on an own value, on a cleared key, on a cleared range.
    let keys = ["stored", "missing", "own", "gone", "range/x", "range/y"];
    let sequences = [&["3", "24", "24", ""][..], &["12"], &["3", "12"], &["12", "3"], &["12", "12", "1"], &["1"]];
    for (kind, operands) in ATOMIC.iter().flat_map(|kind| sequences.map(|operands| (*kind, operands))) {
        it.write(&[("stored", "12"), ("gone", "12"), ("range/x", "1")]).await;
        let tx = it.begin();
        tx.set("own", "12").unwrap();
        tx.clear("gone").unwrap();
        tx.clear_range("range/", "range0").unwrap();
        // The stored values themselves are among the operands.
        for operand in operands {
            for key in keys {
                tx.mutate(kind, key, operand.as_bytes()).unwrap();
            }
        }
        let mut seen = Vec::new();
        for key in keys {
            seen.push(tx.get(key).await.unwrap());
        }
        let rows = tx.rows(it.everything()).await.unwrap();
        tx.commit().await.unwrap();
        let after = it.begin();
        for (key, seen) in keys.iter().zip(&seen) {
            assert_eq!(after.get(key).await.unwrap(), *seen, "{kind:?} of {operands:?} on {key}");
        }
        assert_eq!(after.rows(it.everything()).await.unwrap(), rows, "{kind:?} of {operands:?}");
        it.wipe().await;
    }
}

pub(crate) async fn sets_and_clears_read_back_in_every_kind_of_read(it: &Setup) {
    it.write(&[("b", "1"), ("c", "1"), ("d", "1"), ("e", "1")]).await;
    let tx = it.begin();
    tx.set("a", "2").unwrap();
    tx.set("c", "2").unwrap();
    tx.clear("d").unwrap();
    tx.mutate(M::AppendIfFits, "e", b"2").unwrap();
    tx.mutate(M::AppendIfFits, "f", b"2").unwrap();
    let expected = ["a=2", "b=1", "c=2", "e=12", "f=2"];
    assert_eq!(tx.rows(it.range("a", "z")).await.unwrap(), expected);
    assert_eq!(tx.rows_snapshot(it.range("a", "z")).await.unwrap(), expected);
    let mut reversed = tx.rows(it.range("a", "z").reverse()).await.unwrap();
    reversed.reverse();
    assert_eq!(reversed, expected);
    assert_eq!(tx.get("d").await.unwrap(), None);
    assert_eq!(tx.key_at("c", true, 1).await.unwrap(), "e");
    tx.clear_range("b", "e").unwrap();
    assert_eq!(tx.rows(it.range("a", "z")).await.unwrap(), ["a=2", "e=12", "f=2"]);
    tx.set("c", "3").unwrap();
    assert_eq!(tx.get("b").await.unwrap(), None);
    assert_eq!(tx.get("c").await.unwrap().as_deref(), Some("3"));
    let expected = ["a=2", "c=3", "e=12", "f=2"];
    assert_eq!(tx.rows(it.range("a", "z")).await.unwrap(), expected);
    tx.commit().await.unwrap();
    assert_eq!(it.dump().await, expected);
}

pub(crate) async fn an_empty_value_is_not_a_missing_one(it: &Setup) {
    it.write(&[("a", "")]).await;
    let tx = it.begin();
    tx.set("b", "").unwrap();
    assert_eq!(tx.get("a").await.unwrap().as_deref(), Some(""));
    assert_eq!(tx.get("b").await.unwrap().as_deref(), Some(""));
    assert_eq!(tx.rows(it.everything()).await.unwrap(), ["a=", "b="]);
}

pub(crate) async fn a_set_and_clear_of_the_same_key_leave_what_came_last(it: &Setup) {
    it.write(&[("a", "0"), ("b", "0"), ("c", "0")]).await;
    let tx = it.begin();
    tx.clear("a").unwrap();
    tx.set("a", "1").unwrap();
    tx.set("b", "1").unwrap();
    tx.clear("b").unwrap();
    tx.set("c", "1").unwrap();
    tx.clear_range("c", "d").unwrap();
    tx.mutate(M::AppendIfFits, "c", b"2").unwrap();
    tx.mutate(M::CompareAndClear, "a", b"0").unwrap();
    assert_eq!(tx.rows(it.everything()).await.unwrap(), ["a=1", "c=2"]);
    tx.commit().await.unwrap();
    assert_eq!(it.dump().await, ["a=1", "c=2"]);
}

pub(crate) async fn a_cleared_range_has_its_first_key_and_not_its_end(it: &Setup) {
    it.write(&[("a", ""), ("b", ""), ("b\0", ""), ("c", ""), ("c\0", "")]).await;
    let tx = it.begin();
    tx.clear_range("b", "c").unwrap();
    assert_eq!(tx.keys(it.everything()).await.unwrap(), ["a", "c", "c\\x00"]);
    tx.commit().await.unwrap();
    assert_eq!(it.begin().keys(it.everything()).await.unwrap(), ["a", "c", "c\\x00"]);
}

pub(crate) async fn own_writes_are_not_seen_where_that_is_switched_off(it: &Setup) {
    it.write(&[("b", "1"), ("c", "1")]).await;
    let tx = it.begin();
    tx.option(TransactionOption::ReadYourWritesDisable);
    tx.set("b", "2").unwrap();
    tx.clear("c").unwrap();
    assert_eq!(tx.get("b").await.unwrap().as_deref(), Some("1"));
    assert_eq!(tx.rows(it.everything()).await.unwrap(), ["b=1", "c=1"]);
    assert_eq!(tx.key_at("b", true, 1).await.unwrap(), "c");
    tx.commit().await.unwrap();
    assert_eq!(it.dump().await, ["b=2"]);
}

pub(crate) async fn own_writes_can_be_switched_off_only_before_the_first_use(it: &Setup) {
    let tx = it.begin();
    tx.set("a", "").unwrap();
    let late = tx.raw.raw().set_option(TransactionOption::ReadYourWritesDisable);
    assert_eq!(code(late), StoreError::CLIENT_INVALID_OPERATION);
    let watching = it.begin();
    watching.option(TransactionOption::ReadYourWritesDisable);
    let watch = watching.raw.raw().watch(it.key("a"));
    assert_eq!(code(it.soon("the watch fails", watch).await), StoreError::WATCHES_DISABLED);
}

pub(crate) async fn what_touches_nothing_is_no_first_use(it: &Setup) {
    let off = |tx: &Tx<'_>| tx.raw.raw().set_option(TransactionOption::ReadYourWritesDisable);
    let late: [Write; 3] =
        [|tx| tx.conflict(ConflictKind::Write, "a", "b"), |tx| tx.mutate(M::Add, "a", b"\x01"), |tx| tx.clear("a")];
    for use_it in late {
        let tx = it.begin();
        use_it(&tx).unwrap();
        assert_eq!(code(off(&tx)), StoreError::CLIENT_INVALID_OPERATION);
        tx.commit().await.unwrap();
        assert_eq!(code(off(&tx)), StoreError::CLIENT_INVALID_OPERATION, "the commit does not undo it");
        tx.raw.raw().reset();
        off(&tx).unwrap();
    }
    let tx = it.begin();
    tx.raw.raw().read_version().await.unwrap();
    tx.conflict(ConflictKind::Read, "a", "b").unwrap();
    tx.conflict(ConflictKind::Write, "a", "a").unwrap();
    tx.clear_range("a", "a").unwrap();
    assert_eq!(tx.rows(it.range("b", "a")).await.unwrap(), [""; 0]);
    let far = it.key(vec![b'k'; it.key_bytes_max]);
    assert_eq!(tx.raw.get(far.clone()).await.unwrap(), None);
    tx.raw.clear(far).unwrap();
    assert_eq!(code(tx.raw.set(&b"\xff"[..], "")), StoreError::KEY_OUTSIDE_LEGAL_RANGE);
    off(&tx).unwrap();
    // Where own writes are not seen, they are no use of it, and reads are.
    tx.set("a", "").unwrap();
    off(&tx).unwrap();
    tx.get("a").await.unwrap();
    assert_eq!(code(off(&tx)), StoreError::CLIENT_INVALID_OPERATION);
    tx.commit().await.unwrap();
    assert_eq!(it.dump().await, ["a="]);
}

pub(crate) async fn a_read_that_own_writes_answer_fixes_no_read_version(it: &Setup) {
    let tx = it.begin();
    tx.clear_range("a", "n").unwrap();
    assert_eq!(tx.get("b").await.unwrap(), None);
    assert_eq!(tx.rows(it.range("b", "c")).await.unwrap(), [""; 0]);
    it.write(&[("x", "later")]).await;
    assert_eq!(tx.get("x").await.unwrap().as_deref(), Some("later"));
    tx.commit().await.unwrap();
}

pub(crate) async fn snapshot_reads_alone_can_be_without_own_writes(it: &Setup) {
    it.write(&[("b", "1")]).await;
    let tx = it.begin();
    tx.set("b", "2").unwrap();
    assert_eq!(tx.get_snapshot("b").await.unwrap().as_deref(), Some("2"));
    tx.option(TransactionOption::SnapshotRywDisable);
    assert_eq!(tx.get_snapshot("b").await.unwrap().as_deref(), Some("1"));
    assert_eq!(tx.rows_snapshot(it.everything()).await.unwrap(), ["b=1"]);
    assert_eq!(tx.get("b").await.unwrap().as_deref(), Some("2"));
    assert_eq!(tx.rows(it.everything()).await.unwrap(), ["b=2"]);
}

pub(crate) async fn own_writes_count_in_a_limit(it: &Setup) {
    it.write(&[("b", ""), ("c", ""), ("d", ""), ("e", ""), ("f", "")]).await;
    let tx = it.begin();
    for key in ["b", "c", "d"] {
        tx.clear(key).unwrap();
    }
    tx.set("g", "").unwrap();
    assert_eq!(tx.keys(it.everything().limit(2)).await.unwrap(), ["e", "f"]);
    assert_eq!(tx.keys(it.everything().limit(2).reverse()).await.unwrap(), ["g", "f"]);
    assert_eq!(tx.keys(it.everything().limit(9)).await.unwrap(), ["e", "f", "g"]);
}

pub(crate) async fn many_keys_are_read_at_once_in_their_order(it: &Setup) {
    it.write(&[("a", "1"), ("b", "1")]).await;
    let tx = it.begin();
    tx.set("a", "2").unwrap();
    let keys = ["b", "missing", "a", "b"].map(|key| it.key(key));
    let values = tx.raw.get_many(keys.into()).await.unwrap();
    let values: Vec<_> = values.iter().map(|value| value.as_deref().map(text)).collect();
    assert_eq!(values, [Some("1".to_owned()), None, Some("2".to_owned()), Some("1".to_owned())]);
}

pub(crate) async fn a_stamped_value_cannot_be_read_before_its_commit(it: &Setup) {
    it.write(&[("b", "1"), ("c", "1")]).await;
    let tx = it.begin();
    tx.set_stamped_value("b", "").unwrap();
    assert_eq!(code(tx.get("b").await), StoreError::ACCESSED_UNREADABLE);
    assert_eq!(code(tx.get_snapshot("b").await), StoreError::ACCESSED_UNREADABLE);
    assert_eq!(code(tx.rows(it.everything()).await), StoreError::ACCESSED_UNREADABLE);
    assert_eq!(code(tx.key_at("a", true, 2).await), StoreError::ACCESSED_UNREADABLE);
    assert_eq!(tx.rows(it.range("b0", "z")).await.unwrap(), ["c=1"], "beside it, all can be read");
    // A set does not make it readable again, a clear does.
    tx.set("b", "2").unwrap();
    assert_eq!(code(tx.get("b").await), StoreError::ACCESSED_UNREADABLE);
    tx.clear("b").unwrap();
    assert_eq!(tx.get("b").await.unwrap(), None);
    tx.set("b", "3").unwrap();
    assert_eq!(tx.get("b").await.unwrap().as_deref(), Some("3"));
    // Reads that failed have their price.
    assert_eq!(code(tx.commit().await), StoreError::ACCESSED_UNREADABLE);
    assert_eq!(it.dump().await, ["b=1", "c=1"]);
}

pub(crate) async fn where_a_stamped_key_may_come_to_lie_nothing_can_be_read(it: &Setup) {
    it.write(&[("p", "1"), ("q", "1"), ("r", "1")]).await;
    let tx = it.begin();
    tx.set_stamped_key("q", "!", "v").unwrap();
    assert_eq!(tx.get("q").await.unwrap().as_deref(), Some("1"), "the prefix alone is no stamped key");
    assert_eq!(code(tx.get("q123456789a!").await), StoreError::ACCESSED_UNREADABLE);
    assert_eq!(code(tx.rows(it.everything()).await), StoreError::ACCESSED_UNREADABLE);
    assert_eq!(code(tx.rows(it.everything().reverse()).await), StoreError::ACCESSED_UNREADABLE);
    let next = KeySelector::first_greater_than(it.key("q"));
    assert_eq!(code(tx.raw.raw().get_key(next, false).await), StoreError::ACCESSED_UNREADABLE);
    // What stops short of it, from either side, can be read.
    assert_eq!(tx.keys(it.everything().limit(2)).await.unwrap(), ["p", "q"]);
    assert_eq!(tx.keys(it.everything().limit(1).reverse()).await.unwrap(), ["r"]);
    // Clearing the range clears what would have come to lie there.
    tx.clear_range("q", "r").unwrap();
    assert_eq!(tx.keys(it.everything()).await.unwrap(), ["p", "r"]);
    assert_eq!(code(tx.commit().await), StoreError::ACCESSED_UNREADABLE);
    assert_eq!(it.dump().await, ["p=1", "q=1", "r=1"]);
}

pub(crate) async fn a_read_that_failed_makes_the_commit_fail(it: &Setup) {
    let tx = it.begin();
    tx.set_stamped_value("b", "").unwrap();
    assert_eq!(code(tx.get_snapshot("b").await), StoreError::ACCESSED_UNREADABLE);
    assert_eq!(code(tx.commit().await), StoreError::ACCESSED_UNREADABLE);
    tx.raw.raw().reset();
    tx.set("b", "1").unwrap();
    // A call with arguments that are refused is no read.
    assert_eq!(code(tx.raw.get(&b"\xff"[..]).await), StoreError::KEY_OUTSIDE_LEGAL_RANGE);
    tx.commit().await.unwrap();
    assert_eq!(it.dump().await, ["b=1"]);
}

pub(crate) async fn a_range_cleared_before_a_stamped_key_spares_it(it: &Setup) {
    it.write(&[("q", "1")]).await;
    let tx = it.begin();
    tx.clear_range("q", "r").unwrap();
    tx.set_stamped_key("q", "!", "v").unwrap();
    tx.set_stamped_value("q", "").unwrap();
    tx.commit().await.unwrap();
    assert_eq!(it.dump().await.len(), 2);
}

pub(crate) async fn a_range_cleared_after_stamped_writes_clears_them(it: &Setup) {
    let tx = it.begin();
    // A second clear of a range is not the same as the first.
    tx.clear_range("q", "r").unwrap();
    tx.set_stamped_value("q", "").unwrap();
    tx.set_stamped_key("q", "!", "v").unwrap();
    tx.set("q5", "x").unwrap();
    tx.clear_range("q", "r").unwrap();
    assert_eq!(tx.get("q").await.unwrap(), None);
    tx.set("q5", "y").unwrap();
    assert_eq!(tx.rows(it.everything()).await.unwrap(), ["q5=y"]);
    tx.commit().await.unwrap();
    assert_eq!(it.dump().await, ["q5=y"]);
}

pub(crate) async fn a_range_cleared_again_clears_a_stamped_value_that_came_in_between(it: &Setup) {
    it.write(&[("a", "1"), ("k", "1"), ("z", "1")]).await;
    // The second clear covers as much as the first, or less, or overlaps it.
    for (first, second) in [(("a", "z"), ("a", "z")), (("a", "z"), ("j", "l")), (("a", "m"), ("k", "z"))] {
        let tx = it.begin();
        tx.clear_range(first.0, first.1).unwrap();
        tx.set_stamped_value("k", "").unwrap();
        tx.clear_range(second.0, second.1).unwrap();
        assert_eq!(tx.get("k").await.unwrap(), None);
        tx.commit().await.unwrap();
        assert_eq!(it.dump().await, ["z=1"], "{second:?} after {first:?}");
    }
}

pub(crate) async fn a_range_cleared_again_clears_a_stamped_key_that_came_in_between(it: &Setup) {
    it.write(&[("a", "1"), ("k", "1"), ("z", "1")]).await;
    for (first, second) in [(("a", "z"), ("a", "z")), (("a", "z"), ("j", "l")), (("a", "m"), ("k", "z"))] {
        let tx = it.begin();
        tx.clear_range(first.0, first.1).unwrap();
        tx.set_stamped_key("k", "!", "v").unwrap();
        tx.clear_range(second.0, second.1).unwrap();
        assert_eq!(tx.rows(it.range("a", "z")).await.unwrap(), [""; 0]);
        tx.commit().await.unwrap();
        assert_eq!(it.dump().await, ["z=1"], "{second:?} after {first:?}");
    }
}

pub(crate) async fn a_clear_among_the_keys_that_a_stamped_key_may_become_can_be_read(it: &Setup) {
    let newest = it.begin().raw.raw().read_version().await.unwrap();
    let tx = it.begin();
    tx.clear_range("q", "r").unwrap();
    tx.set_stamped_key("q", "", "v").unwrap();
    // Whichever of these it would become: here it is none of them.
    for later in 1..4 {
        let stamp = [&(newest.0 + (later << 40)).to_be_bytes()[..], &[0, 0]].concat();
        tx.raw.clear(it.key([b"q", &stamp[..]].concat())).unwrap();
        assert_eq!(tx.raw.get(it.key([b"q", &stamp[..]].concat())).await.unwrap(), None, "a clear can be read");
    }
    tx.commit().await.unwrap();
    assert_eq!(it.dump().await.len(), 1);
}

pub(crate) async fn a_transaction_that_is_begun_anew_has_forgotten_its_writes(it: &Setup) {
    it.write(&[("a", "1")]).await;
    let tx = it.begin();
    tx.set("a", "2").unwrap();
    tx.clear_range("b", "z").unwrap();
    tx.raw.raw().reset();
    assert_eq!(tx.get("a").await.unwrap().as_deref(), Some("1"));
    tx.set("a", "3").unwrap();
    tx.on_error(StoreError::NOT_COMMITTED).await.unwrap();
    assert_eq!(tx.get("a").await.unwrap().as_deref(), Some("1"));
    tx.commit().await.unwrap();
    assert_eq!(code(tx.raw.raw().committed_version()), StoreError::NO_COMMIT_VERSION);
}

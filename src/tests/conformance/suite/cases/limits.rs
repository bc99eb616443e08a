//! Limits, each with its code.

use bytes::Bytes;
use escapement::store::{
    ConflictKind, MutationKind as M, RangeOptions, StoreError, TransactionOption,
    limits::{KEY_BYTES_MAX, TRANSACTION_BYTES_MAX, VALUE_BYTES_MAX},
};

use super::super::support::{Setup, Write, code};

/// A key of just so many bytes.
fn key_of(it: &Setup, bytes: usize) -> Bytes {
    it.key(vec![b'k'; bytes - it.space.len()])
}

pub(crate) async fn keys_and_values_are_refused_just_above_their_limits(it: &Setup) {
    let tx = it.db.begin();
    tx.set(key_of(it, it.key_bytes_max), vec![1; VALUE_BYTES_MAX]).unwrap();
    let longer = || key_of(it, it.key_bytes_max + 1);
    assert_eq!(code(tx.set(longer(), "")), StoreError::KEY_TOO_LARGE);
    assert_eq!(code(tx.set(it.key("a"), vec![1; VALUE_BYTES_MAX + 1])), StoreError::VALUE_TOO_LARGE);
    let operand = tx.raw().mutate(M::Add, it.key("a"), vec![1; VALUE_BYTES_MAX + 1].into());
    assert_eq!(code(operand), StoreError::VALUE_TOO_LARGE);
    assert_eq!(code(tx.raw().mutate(M::Add, longer(), Bytes::new())), StoreError::KEY_TOO_LARGE);
    let watch = tx.raw().watch(longer());
    assert_eq!(code(it.soon("the watch fails", watch).await), StoreError::KEY_TOO_LARGE);
    tx.raw().commit().await.unwrap();
    let after = it.db.begin();
    let value = after.get(key_of(it, it.key_bytes_max)).await.unwrap().unwrap();
    assert_eq!(value.len(), VALUE_BYTES_MAX);
}

pub(crate) async fn a_key_longer_than_any_is_never_found_and_need_not_be_cleared(it: &Setup) {
    it.write(&[("a", "1")]).await;
    let tx = it.db.begin();
    assert_eq!(tx.get(key_of(it, it.key_bytes_max + 1)).await.unwrap(), None);
    tx.clear(key_of(it, it.key_bytes_max + 1)).unwrap();
    tx.clear_range(it.key("b"), key_of(it, it.key_bytes_max + 5)).unwrap();
    tx.raw().commit().await.unwrap();
    assert_eq!(it.dump().await, ["a=1"]);
}

pub(crate) async fn keys_from_ff_on_are_outside_the_legal_range(it: &Setup) {
    let tx = it.db.begin();
    let end = || Bytes::from_static(b"\xff");
    let beyond = || Bytes::from_static(b"\xff\0");
    let outside = StoreError::KEY_OUTSIDE_LEGAL_RANGE;
    assert_eq!(code(tx.set(end(), "")), outside);
    assert_eq!(code(tx.clear(end())), outside);
    assert_eq!(code(tx.raw().mutate(M::Add, end(), Bytes::new())), outside);
    assert_eq!(code(tx.clear_range(it.key("a"), beyond())), outside);
    assert_eq!(code(tx.raw().add_conflict_range(it.key("a"), beyond(), ConflictKind::Read)), outside);
    assert_eq!(code(tx.raw().add_conflict_range(it.key("a"), beyond(), ConflictKind::Write)), outside);
    assert_eq!(code(tx.get(end()).await), outside);
    assert_eq!(code(tx.get_range(RangeOptions::new(it.key("a"), beyond())).await), outside);
    assert_eq!(code(it.soon("the watch fails", tx.raw().watch(end())).await), outside);
    // The end itself ends ranges.
    tx.raw().add_conflict_range(Bytes::from_static(b"\xfe\xff"), end(), ConflictKind::Read).unwrap();
    tx.get_range(RangeOptions::new(Bytes::from_static(b"\xfe\xff\xff"), end())).await.unwrap();
}

pub(crate) async fn inverted_ranges_are_refused_and_empty_ones_do_nothing(it: &Setup) {
    it.write(&[("a", "1"), ("b", "1")]).await;
    let tx = it.begin();
    assert_eq!(code(tx.clear_range("b", "a")), StoreError::INVERTED_RANGE);
    assert_eq!(code(tx.conflict(ConflictKind::Read, "b", "a")), StoreError::INVERTED_RANGE);
    assert_eq!(code(tx.conflict(ConflictKind::Write, "b", "a")), StoreError::INVERTED_RANGE);
    tx.clear_range("b", "b").unwrap();
    tx.conflict(ConflictKind::Read, "b", "b").unwrap();
    assert_eq!(tx.rows(it.range("b", "a")).await.unwrap(), [""; 0], "an inverted read finds nothing");
    tx.commit().await.unwrap();
    assert_eq!(it.dump().await, ["a=1", "b=1"]);
}

fn fill(it: &Setup, tx: &escapement::store::Transaction, values: usize) {
    for number in 0..values {
        tx.set(it.key(format!("{number:04}")), vec![1; VALUE_BYTES_MAX]).unwrap();
    }
}

pub(crate) async fn a_transaction_too_large_is_refused_at_its_commit(it: &Setup) {
    let tx = it.db.begin();
    fill(it, &tx, TRANSACTION_BYTES_MAX / VALUE_BYTES_MAX);
    assert_eq!(code(tx.raw().commit().await), StoreError::TRANSACTION_TOO_LARGE);
    assert_eq!(it.dump().await, [""; 0]);
}

pub(crate) async fn a_transaction_just_below_the_limit_is_committed(it: &Setup) {
    it.run(|tx| {
        fill(it, tx, TRANSACTION_BYTES_MAX / VALUE_BYTES_MAX - 1);
        Ok(())
    })
    .await;
    let keys = it.steadily(async || it.begin().keys(it.everything()).await).await;
    assert_eq!(keys.len(), TRANSACTION_BYTES_MAX / VALUE_BYTES_MAX - 1);
}

pub(crate) async fn the_size_limit_can_be_lowered_and_counts_conflict_ranges(it: &Setup) {
    let tx = it.begin();
    tx.option(TransactionOption::SizeLimit(600));
    tx.set("a", "").unwrap();
    let far = "c".repeat(600);
    tx.conflict(ConflictKind::Read, &far, "d").unwrap();
    assert_eq!(code(tx.commit().await), StoreError::TRANSACTION_TOO_LARGE);
    let tx = it.begin();
    tx.option(TransactionOption::SizeLimit(600));
    tx.set("a", "").unwrap();
    tx.commit().await.unwrap();
    for wrong in [31, TRANSACTION_BYTES_MAX + 1] {
        let refused = it.db.begin().raw().set_option(TransactionOption::SizeLimit(wrong));
        assert_eq!(code(refused), StoreError::INVALID_OPTION_VALUE, "size limit {wrong}");
    }
}

pub(crate) async fn the_size_limit_does_not_survive_a_retry(it: &Setup) {
    let tx = it.begin();
    tx.option(TransactionOption::SizeLimit(32));
    tx.set("a", "").unwrap();
    assert_eq!(code(tx.commit().await), StoreError::TRANSACTION_TOO_LARGE);
    tx.raw.raw().reset();
    tx.option(TransactionOption::SizeLimit(32));
    tx.on_error(StoreError::NOT_COMMITTED).await.unwrap();
    tx.set("a", "").unwrap();
    tx.commit().await.unwrap();
}

pub(crate) async fn the_size_estimate_grows_with_reads_and_writes(it: &Setup) {
    it.write(&[("read", "x")]).await;
    let tx = it.begin();
    let size = async || tx.raw.raw().approximate_size().await.unwrap();
    assert_eq!(size().await, 0);
    tx.set("key", &"v".repeat(1000)).unwrap();
    let set = size().await;
    assert!((1000 + it.space.len()..2000 + 4 * it.space.len()).contains(&set), "{set} after a set of 1000 bytes");
    tx.get("read").await.unwrap();
    let read = size().await;
    assert!(read > set, "a read has a conflict range: {read}");
    tx.clear_range("x", "y").unwrap();
    let cleared = size().await;
    assert!(cleared > read, "{cleared}");
    tx.conflict(ConflictKind::Write, "p", "q").unwrap();
    assert!(size().await > cleared);
    tx.raw.raw().reset();
    assert_eq!(size().await, 0);
}

pub(crate) async fn sizes_are_counted_to_the_byte_as_foundationdb_counts_them(it: &Setup) {
    // As release 7.3.80 has them: a mutation, a conflict range.
    let (mutation, range) = (44, 24);
    // A prefix counts, too.
    let key = KEY_BYTES_MAX - it.key_bytes_max + it.space.len() + 1;
    let conflict = range + 2 * key + 1;
    let table: [(&str, Write, usize); 9] = [
        ("set", |tx| tx.set("k", "value"), mutation + key + 5 + conflict),
        ("two sets", |tx| tx.set("k", "").and_then(|()| tx.set("k", "")), 2 * (mutation + key + conflict)),
        ("addition", |tx| tx.mutate(M::Add, "k", b"12"), mutation + key + 2 + conflict),
        ("clear", |tx| tx.clear("k"), 2 * conflict),
        ("clear of a range", |tx| tx.clear_range("k", "l"), mutation + range + 4 * key),
        ("stamped key", |tx| tx.set_stamped_key("k", "", "v"), mutation + key + 10 + 4 + 1),
        ("stamped value", |tx| tx.set_stamped_value("k", ""), mutation + key + 10 + 4 + conflict),
        ("read conflict", |tx| tx.conflict(ConflictKind::Read, "k", "l"), range + 2 * key),
        ("write conflict", |tx| tx.conflict(ConflictKind::Write, "k", "l"), range + 2 * key),
    ];
    for (what, write, expected) in table {
        let tx = it.begin();
        write(&tx).unwrap();
        assert_eq!(tx.raw.raw().approximate_size().await.unwrap(), expected, "{what}");
    }
    let set = mutation + key + 5 + conflict;
    for sees_writes in [true, false] {
        let fill = async |limit| {
            let tx = it.begin();
            if !sees_writes {
                tx.option(TransactionOption::ReadYourWritesDisable);
            }
            tx.option(TransactionOption::SizeLimit(limit));
            tx.get("k").await?;
            tx.set("k", "value")?;
            // Past the reads of own writes, the estimate knows nothing of reads; the limit does.
            let expected = if sees_writes { conflict + set } else { set };
            assert_eq!(tx.raw.raw().approximate_size().await?, expected, "sees its writes: {sees_writes}");
            tx.commit().await
        };
        it.steadily(async || fill(conflict + set).await).await;
        let is_refused = it.steadily(async || match fill(conflict + set - 1).await {
            Err(error) if error.code == StoreError::TRANSACTION_TOO_LARGE => Ok(true),
            other => other.map(|()| false),
        });
        assert!(is_refused.await, "sees its writes: {sees_writes}");
    }
}

pub(crate) async fn options_out_of_range_are_refused_with_their_codes(it: &Setup) {
    let tx = it.begin();
    let set = |option| tx.raw.raw().set_option(option);
    assert_eq!(code(set(TransactionOption::RetryLimit(-2))), StoreError::INVALID_OPTION_VALUE);
    assert_eq!(code(set(TransactionOption::Tag("x".repeat(17)))), StoreError::TAG_TOO_LONG);
    for tag in ["a", "b", "c", "d", "e", "a"] {
        set(TransactionOption::Tag(tag.into())).unwrap();
    }
    assert_eq!(code(set(TransactionOption::Tag("f".into()))), StoreError::TOO_MANY_TAGS);
    tx.get("a").await.unwrap();
}

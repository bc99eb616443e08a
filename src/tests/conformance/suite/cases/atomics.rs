//! Atomic operations against what FoundationDB's documentation says of each (API version 510
//! and later), in every place where a value can come from.

use bytes::Bytes;
use escapement::store::{MutationKind as M, StoreError, limits::VALUE_BYTES_MAX};

use super::super::support::Setup;

/// Kind, value before (absent: none), operand, value after (absent: none).
type Row = (M, Option<&'static [u8]>, &'static [u8], Option<&'static [u8]>);

/// The table through three places: stored values, own values of the transaction, both with
/// the result read in the transaction and after its commit.
async fn check(it: &Setup, table: &[Row]) {
    let stored = |number: usize| it.key(format!("stored/{number:03}"));
    let own = |number: usize| it.key(format!("own/{number:03}"));
    it.run(|tx| {
        for (number, (_, before, ..)) in table.iter().enumerate() {
            if let Some(before) = before {
                tx.set(stored(number), *before)?;
            } else {
                // So that it is the clear that makes it absent.
                tx.set(own(number), "to be cleared")?;
            }
        }
        Ok(())
    })
    .await;
    let compare = async |tx: &escapement::store::Transaction, when: &str| {
        for (number, (kind, before, operand, after)) in table.iter().enumerate() {
            for (key, place) in [(stored(number), "stored"), (own(number), "own")] {
                let found = tx.get(key).await?;
                assert_eq!(found.as_deref(), *after, "{kind:?} of {operand:?} on the {place} value {before:?}, {when}");
            }
        }
        Ok(())
    };
    it.steadily(async || {
        let tx = it.db.begin();
        for (number, (kind, before, operand, _)) in table.iter().enumerate() {
            match before {
                Some(before) => tx.set(own(number), *before)?,
                None => tx.clear(own(number))?,
            }
            for key in [stored(number), own(number)] {
                tx.raw().mutate(*kind, key, Bytes::from_static(operand))?;
            }
        }
        compare(&tx, "in the transaction").await?;
        tx.raw().commit().await
    })
    .await;
    it.steadily(async || compare(&it.db.begin(), "after the commit").await).await;
}

pub(crate) async fn addition_is_little_endian_wraps_and_has_the_operands_length(it: &Setup) {
    let table: [Row; 9] = [
        (M::Add, Some(&[255, 1]), &[1, 0], Some(&[0, 2])),
        (M::Add, Some(&[255, 255]), &[1, 0], Some(&[0, 0])),
        (M::Add, Some(&[5, 0, 0, 0, 0, 0, 0, 0]), &[255; 8], Some(&[4, 0, 0, 0, 0, 0, 0, 0])),
        (M::Add, Some(&[1, 2, 3]), &[1, 0], Some(&[2, 2])),
        (M::Add, Some(&[255]), &[1, 0, 0], Some(&[0, 1, 0])),
        (M::Add, None, &[5, 6], Some(&[5, 6])),
        (M::Add, Some(&[]), &[5, 6], Some(&[5, 6])),
        (M::Add, Some(&[5]), &[], Some(&[])),
        (M::Add, None, &[], Some(&[])),
    ];
    check(it, &table).await;
}

pub(crate) async fn bitwise_operations_pad_with_zeros_and_cut_to_the_operand(it: &Setup) {
    let table: [Row; 15] = [
        (M::And, Some(&[0b1100, 7]), &[0b1010], Some(&[0b1000])),
        (M::And, Some(&[0b1100]), &[0b1010, 1], Some(&[0b1000, 0])),
        (M::And, None, &[7, 8], Some(&[7, 8])),
        (M::And, Some(&[]), &[7, 8], Some(&[0, 0])),
        (M::And, Some(&[1]), &[], Some(&[])),
        (M::Or, Some(&[0b1100, 7]), &[0b1010], Some(&[0b1110])),
        (M::Or, Some(&[0b1100]), &[0b1010, 1], Some(&[0b1110, 1])),
        (M::Or, None, &[3], Some(&[3])),
        (M::Or, Some(&[]), &[3], Some(&[3])),
        (M::Or, Some(&[1]), &[], Some(&[])),
        (M::Xor, Some(&[0b1100, 7]), &[0b1010], Some(&[0b0110])),
        (M::Xor, Some(&[0b1100]), &[0b1010, 1], Some(&[0b0110, 1])),
        (M::Xor, None, &[3], Some(&[3])),
        (M::Xor, Some(&[]), &[3], Some(&[3])),
        (M::Xor, Some(&[1]), &[], Some(&[])),
    ];
    check(it, &table).await;
}

pub(crate) async fn max_and_min_compare_little_endian_numbers_of_the_operands_length(it: &Setup) {
    let table: [Row; 15] = [
        (M::Max, Some(&[1, 2]), &[2, 1], Some(&[1, 2])),
        (M::Max, Some(&[2, 1]), &[1, 2], Some(&[1, 2])),
        (M::Max, Some(&[9]), &[1, 1], Some(&[1, 1])),
        (M::Max, Some(&[9]), &[1, 0], Some(&[9, 0])),
        (M::Max, Some(&[9, 0, 1]), &[8, 0], Some(&[9, 0])),
        (M::Max, None, &[7, 8], Some(&[7, 8])),
        (M::Max, Some(&[]), &[7, 8], Some(&[7, 8])),
        (M::Max, Some(&[9]), &[], Some(&[])),
        (M::Min, Some(&[1, 2]), &[2, 1], Some(&[2, 1])),
        (M::Min, Some(&[9]), &[1, 1], Some(&[9, 0])),
        (M::Min, Some(&[9, 0, 1]), &[8, 0], Some(&[8, 0])),
        (M::Min, None, &[7, 8], Some(&[7, 8])),
        (M::Min, Some(&[]), &[7, 8], Some(&[0, 0])),
        (M::Min, Some(&[9]), &[], Some(&[])),
        (M::Min, Some(&[255, 0]), &[0, 1], Some(&[255, 0])),
    ];
    check(it, &table).await;
}

pub(crate) async fn byte_max_and_byte_min_compare_strings(it: &Setup) {
    let table: [Row; 8] = [
        (M::ByteMax, Some(b"b"), b"abc", Some(b"b")),
        (M::ByteMax, Some(b"ab"), b"abc", Some(b"abc")),
        (M::ByteMax, Some(b"a"), b"", Some(b"a")),
        (M::ByteMax, None, b"x", Some(b"x")),
        (M::ByteMin, Some(b"b"), b"abc", Some(b"abc")),
        (M::ByteMin, Some(b"ab"), b"abc", Some(b"ab")),
        (M::ByteMin, Some(b"a"), b"", Some(b"")),
        (M::ByteMin, None, b"x", Some(b"x")),
    ];
    check(it, &table).await;
}

pub(crate) async fn append_and_compare_and_clear_do_what_they_say(it: &Setup) {
    let table: [Row; 10] = [
        (M::AppendIfFits, Some(b"ab"), b"c", Some(b"abc")),
        (M::AppendIfFits, None, b"x", Some(b"x")),
        (M::AppendIfFits, Some(b""), b"x", Some(b"x")),
        (M::AppendIfFits, Some(b"x"), b"", Some(b"x")),
        (M::AppendIfFits, None, b"", Some(b"")),
        (M::CompareAndClear, Some(b"x"), b"x", None),
        (M::CompareAndClear, Some(b"x"), b"xy", Some(b"x")),
        (M::CompareAndClear, Some(b"x"), b"", Some(b"x")),
        (M::CompareAndClear, Some(b""), b"", None),
        (M::CompareAndClear, None, b"x", None),
    ];
    check(it, &table).await;
}

pub(crate) async fn append_leaves_a_value_as_it_is_that_would_grow_beyond_the_limit(it: &Setup) {
    let big = vec![b'v'; VALUE_BYTES_MAX - 1];
    it.run(|tx| tx.set(it.key("fits"), big.clone()).and_then(|()| tx.set(it.key("too much"), big.clone()))).await;
    let lengths = async |tx: &escapement::store::Transaction| {
        let mut lengths = Vec::new();
        for key in ["fits", "too much", "own"] {
            lengths.push(tx.get(it.key(key)).await?.unwrap().len());
        }
        Ok::<_, StoreError>(lengths)
    };
    let expected = [VALUE_BYTES_MAX, VALUE_BYTES_MAX - 1, VALUE_BYTES_MAX];
    it.steadily(async || {
        let tx = it.begin();
        tx.mutate(M::AppendIfFits, "fits", b"x")?;
        tx.mutate(M::AppendIfFits, "too much", b"xy")?;
        tx.set("own", "")?;
        tx.raw.raw().mutate(M::AppendIfFits, it.key("own"), vec![1; VALUE_BYTES_MAX].into())?;
        tx.mutate(M::AppendIfFits, "own", b"x")?;
        assert_eq!(lengths(&tx.raw).await?, expected);
        tx.commit().await
    })
    .await;
    assert_eq!(it.steadily(async || lengths(&it.db.begin()).await).await, expected);
}

/// Each compares with what is there: neither two of them nor one of them alone is all of them.
pub(crate) async fn several_compare_and_clears_of_one_key_are_all_of_them_compared(it: &Setup) {
    let table: [(&str, &[&str], Option<&str>); 7] = [
        ("b", &["a", "b"], None),
        ("b", &["b", "a"], None),
        ("b", &["b", "b"], None),
        ("b", &["a", "c", "b"], None),
        ("b", &["a", "a"], Some("b")),
        ("b", &["a", "c"], Some("b")),
        ("", &["a", ""], None),
    ];
    for (before, operands, expected) in table {
        it.write(&[("stored", before)]).await;
        let tx = it.begin();
        tx.set("own", before).unwrap();
        for key in ["stored", "own"] {
            for operand in operands {
                tx.mutate(M::CompareAndClear, key, operand.as_bytes()).unwrap();
            }
            let seen = tx.get(key).await.unwrap();
            assert_eq!(seen.as_deref(), expected, "{operands:?} on the {key} value {before:?}, in the transaction");
        }
        tx.commit().await.unwrap();
        for key in ["stored", "own"] {
            let left = it.value(key).await;
            assert_eq!(left.as_deref(), expected, "{operands:?} on the {key} value {before:?}, after the commit");
        }
    }
}

/// Several operations on one key, of one kind and of different kinds and lengths, are applied
/// one after the other.
pub(crate) async fn operations_on_one_key_are_applied_one_after_the_other(it: &Setup) {
    it.run(|tx| tx.set(it.key("k"), &b"\x09\0\x01"[..])).await;
    let tx = it.begin();
    let steps: [(M, &[u8], &[u8]); 8] = [
        (M::Add, &[1, 0], &[10, 0]),
        (M::Add, &[1, 0], &[11, 0]),
        (M::Add, &[1], &[12]),
        (M::AppendIfFits, &[7, 7], &[12, 7, 7]),
        (M::Xor, &[1, 1], &[13, 6]),
        (M::Max, &[0, 0, 1], &[0, 0, 1]),
        (M::ByteMin, &[5], &[0, 0, 1]),
        (M::Or, &[8, 0, 0, 1], &[8, 0, 1, 1]),
    ];
    for (kind, operand, after) in steps {
        tx.mutate(kind, "k", operand).unwrap();
        let found = tx.raw.get(it.key("k")).await.unwrap().unwrap();
        assert_eq!(found[..], *after, "after {kind:?} of {operand:?}");
    }
    tx.commit().await.unwrap();
    let found = it.begin().raw.get(it.key("k")).await.unwrap().unwrap();
    assert_eq!(found[..], [8, 0, 1, 1]);
}

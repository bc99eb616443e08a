//! Atomic operations and versionstamps as pure functions.

use crate::store::{
    MutationKind as M, StoreError, Version, Versionstamp, atomic::apply, limits::VALUE_BYTES_MAX, versionstamp,
};

#[track_caller]
fn check(kind: M, current: Option<&[u8]>, operand: &[u8], expected: Option<&[u8]>) {
    let result = apply(kind, current, operand);
    assert_eq!(result.as_deref(), expected, "{kind:?} of {operand:?} on {current:?}");
}

#[test]
fn addition_is_little_endian_carries_and_has_the_operands_length() {
    check(M::Add, Some(&[255, 1]), &[1, 0], Some(&[0, 2]));
    check(M::Add, Some(&[255, 255]), &[1, 0], Some(&[0, 0]));
    check(M::Add, Some(&[1, 2, 3]), &[1, 0], Some(&[2, 2]));
    check(M::Add, Some(&[255]), &[1, 0, 0], Some(&[0, 1, 0]));
    check(M::Add, None, &[5, 6], Some(&[5, 6]));
    check(M::Add, Some(&[]), &[5, 6], Some(&[5, 6]));
    check(M::Add, Some(&[5]), &[], Some(&[]));
}

#[test]
fn bitwise_operations_pad_with_zeros_and_cut_to_the_operand() {
    check(M::And, Some(&[0b1100, 7]), &[0b1010], Some(&[0b1000]));
    check(M::And, Some(&[0b1100]), &[0b1010, 1], Some(&[0b1000, 0]));
    check(M::Or, Some(&[0b1100, 7]), &[0b1010], Some(&[0b1110]));
    check(M::Or, Some(&[0b1100]), &[0b1010, 1], Some(&[0b1110, 1]));
    check(M::Xor, Some(&[0b1100]), &[0b1010, 1], Some(&[0b0110, 1]));
    check(M::Or, None, &[3], Some(&[3]));
    check(M::Xor, None, &[3], Some(&[3]));
}

#[test]
fn and_and_min_on_a_missing_key_are_the_operand_but_on_an_empty_one_zeros() {
    check(M::And, None, &[7, 8], Some(&[7, 8]));
    check(M::And, Some(&[]), &[7, 8], Some(&[0, 0]));
    check(M::Min, None, &[7, 8], Some(&[7, 8]));
    check(M::Min, Some(&[]), &[7, 8], Some(&[0, 0]));
    check(M::Max, Some(&[]), &[7, 8], Some(&[7, 8]));
    check(M::Max, None, &[7, 8], Some(&[7, 8]));
}

#[test]
fn max_and_min_compare_little_endian_numbers_of_the_operands_length() {
    check(M::Max, Some(&[1, 2]), &[2, 1], Some(&[1, 2]));
    check(M::Min, Some(&[1, 2]), &[2, 1], Some(&[2, 1]));
    check(M::Max, Some(&[9]), &[1, 1], Some(&[1, 1]));
    check(M::Min, Some(&[9]), &[1, 1], Some(&[9, 0]));
    check(M::Max, Some(&[9, 0, 1]), &[8, 0], Some(&[9, 0]));
    check(M::Min, Some(&[9, 0, 1]), &[8, 0], Some(&[8, 0]));
    check(M::Max, Some(&[9]), &[], Some(&[]));
    check(M::Min, Some(&[9]), &[], Some(&[]));
}

#[test]
fn byte_max_and_byte_min_compare_strings() {
    check(M::ByteMax, Some(b"b"), b"abc", Some(b"b"));
    check(M::ByteMin, Some(b"b"), b"abc", Some(b"abc"));
    check(M::ByteMax, Some(b"a"), b"", Some(b"a"));
    check(M::ByteMin, Some(b"a"), b"", Some(b""));
    check(M::ByteMin, None, b"x", Some(b"x"));
    check(M::ByteMax, None, b"x", Some(b"x"));
}

#[test]
fn append_leaves_a_value_as_it_is_that_would_grow_beyond_the_limit() {
    let big = vec![1; VALUE_BYTES_MAX - 1];
    assert_eq!(apply(M::AppendIfFits, Some(&big), b"x").unwrap().len(), VALUE_BYTES_MAX);
    check(M::AppendIfFits, Some(&big), b"xy", Some(&big));
    check(M::AppendIfFits, None, b"x", Some(b"x"));
    check(M::AppendIfFits, Some(b"x"), b"", Some(b"x"));
}

#[test]
fn compare_and_clear_clears_only_an_equal_value() {
    check(M::CompareAndClear, Some(b"x"), b"x", None);
    check(M::CompareAndClear, Some(b"x"), b"y", Some(b"x"));
    check(M::CompareAndClear, Some(b""), b"", None);
    check(M::CompareAndClear, None, b"x", None);
}

#[test]
fn a_stamp_is_put_where_the_last_four_bytes_say() {
    let stamp = Versionstamp::new(Version(0x0102), 0x0304);
    let resolved = versionstamp::resolve_key(b"k----------z\x01\0\0\0", stamp).unwrap();
    assert_eq!(&resolved[..], b"k\0\0\0\0\0\0\x01\x02\x03\x04z");
    let resolved = versionstamp::resolve_value(b"----------\0\0\0\0", stamp).unwrap();
    assert_eq!(resolved[..], stamp.0);
}

#[test]
fn a_stamp_outside_its_key_or_value_is_an_invalid_operation() {
    let stamp = Versionstamp([0; 10]);
    let offsets: [&[u8]; 5] = [b"", b"abc", b"----------\x01\0\0\0", b"----------\xff\xff\xff\xff", b"---\0\0\0\0"];
    for bytes in offsets {
        let error = versionstamp::resolve_value(bytes, stamp).unwrap_err();
        assert_eq!(error.code, StoreError::CLIENT_INVALID_OPERATION, "{bytes:?}");
        assert_eq!(versionstamp::resolve_key(bytes, stamp).unwrap_err().code, error.code);
    }
}

//! Versionstamps as pure functions.

use crate::store::{StoreError, Version, Versionstamp, versionstamp};

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

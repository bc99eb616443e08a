//! Versionstamps: ten bytes in a key or a value that the commit fills in.
//!
//! The last four bytes say, little-endian, where the ten begin; they are cut off. Source:
//! `fdb_c.h`, API version 520 and later, and `fdbclient/Atomic.h`, release 7.3.

use bytes::{Bytes, BytesMut};

use super::limits::KEY_END;
use crate::store::{StoreError, Version, Versionstamp, engine::KeyRange};

/// Bytes of the stamp itself.
pub const STAMP_BYTES: usize = 10;
/// Bytes of the offset at the end.
pub const OFFSET_BYTES: usize = 4;

/// The key that a versionstamped key becomes.
///
/// # Errors
/// 2000 if the offset is missing or points outside.
pub fn resolve_key(key: &[u8], stamp: Versionstamp) -> Result<Bytes, StoreError> {
    resolve(key, stamp, "key")
}

/// The value that a versionstamped value becomes.
///
/// # Errors
/// 2000 if the offset is missing or points outside.
pub fn resolve_value(value: &[u8], stamp: Versionstamp) -> Result<Bytes, StoreError> {
    resolve(value, stamp, "value")
}

fn resolve(bytes: &[u8], stamp: Versionstamp, what: &'static str) -> Result<Bytes, StoreError> {
    let (at, body) = split(bytes, what)?;
    let mut resolved = BytesMut::from(body);
    resolved[at..at + STAMP_BYTES].copy_from_slice(&stamp.0);
    Ok(resolved.freeze())
}

/// Refuses a versionstamped key or value whose offset is missing or points outside.
pub(in crate::store) fn check(bytes: &[u8], what: &'static str) -> Result<(), StoreError> {
    split(bytes, what).map(|_| ())
}

/// The keys that a versionstamped key can become, as FoundationDB sees it: from the read
/// version, where it is known, on; though the commit will be later.
pub(super) fn key_range(key: &[u8], read_version: Option<Version>) -> Result<KeyRange, StoreError> {
    let lowest = Versionstamp::new(Version(read_version.map_or(0, |version| version.0)), 0);
    let begin = resolve_key(key, lowest)?;
    let mut end = BytesMut::from(&*resolve_key(key, Versionstamp([0xff; STAMP_BYTES]))?);
    end.extend_from_slice(&[0]);
    let end = end.freeze();
    Ok(KeyRange { begin, end: if &*end > KEY_END { Bytes::from_static(KEY_END) } else { end } })
}

/// Where the stamp begins, and the bytes without the offset.
fn split<'a>(bytes: &'a [u8], what: &'static str) -> Result<(usize, &'a [u8]), StoreError> {
    let refuse = |why: String| StoreError::with(StoreError::CLIENT_INVALID_OPERATION, why);
    let Some((body, offset)) = bytes.split_last_chunk::<OFFSET_BYTES>() else {
        return Err(refuse(format!(
            "versionstamped {what} has {} bytes; it ends in an offset of {OFFSET_BYTES}",
            bytes.len()
        )));
    };
    let at = usize::try_from(i32::from_le_bytes(*offset)).ok();
    match at {
        Some(at) if at.checked_add(STAMP_BYTES).is_some_and(|end| end <= body.len()) => Ok((at, body)),
        _ => Err(refuse(format!(
            "versionstamped {what} has its stamp at {}, beyond its {} bytes",
            i32::from_le_bytes(*offset),
            body.len()
        ))),
    }
}

//! The prefix of a deployment: put before every key, taken off every result.
//!
//! A store's own keys are those below `\xff` (see [`KEY_END`]). Under the prefix `P` they lie from `P`
//! to `P\xff`, in the same order, so a range moves by moving its two ends. Nothing else ever
//! crosses over: key selectors are resolved within that range, so that a neighbour's keys
//! neither come out of them nor conflict with them.

use std::fmt;

use bytes::{BufMut as _, Bytes, BytesMut};

use crate::store::client::{
    limits::{KEY_BYTES_MAX, KEY_END},
    versionstamp::OFFSET_BYTES,
};

/// Bytes of a prefix. It stands in every key, index entry and conflict range.
pub const PREFIX_BYTES_MAX: usize = 64;

/// What stands before every key of one deployment. Empty: it has the cluster to itself.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Prefix(Bytes);

/// The prefix cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPrefix {
    /// Longer than [`PREFIX_BYTES_MAX`].
    #[error("prefix of {bytes} bytes; at most {PREFIX_BYTES_MAX}")]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// In FoundationDB's own part of the key space.
    #[error("prefix begins with \\xff, where FoundationDB keeps its own keys")]
    System,
}

impl Prefix {
    /// # Errors
    /// When it is too long, or begins with `\xff`.
    pub fn new(bytes: impl Into<Bytes>) -> Result<Self, InvalidPrefix> {
        let bytes = bytes.into();
        if bytes.len() > PREFIX_BYTES_MAX {
            return Err(InvalidPrefix::TooLong { bytes: bytes.len() });
        }
        if bytes.starts_with(KEY_END) {
            return Err(InvalidPrefix::System);
        }
        Ok(Self(bytes))
    }

    /// Its bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Bytes that are left for a key.
    pub fn key_bytes_max(&self) -> usize {
        KEY_BYTES_MAX - self.0.len()
    }

    /// The key under the prefix. Also for the ends of ranges: `\xff` becomes the end of them all.
    pub fn key(&self, key: &[u8]) -> Bytes {
        let mut full = BytesMut::with_capacity(self.0.len() + key.len());
        full.put_slice(&self.0);
        full.put_slice(key);
        full.freeze()
    }

    /// A versionstamped key under the prefix: the offset at its end moves with the key. It must
    /// have one; whether it points inside is for others to check.
    pub fn stamped_key(&self, key: &[u8]) -> Bytes {
        let (body, offset) = key.split_last_chunk::<OFFSET_BYTES>().expect("checked: the key ends in an offset");
        let shift = u32::try_from(self.0.len()).expect("a prefix is short");
        let mut full = BytesMut::with_capacity(self.0.len() + key.len());
        full.put_slice(&self.0);
        full.put_slice(body);
        full.put_u32_le(u32::from_le_bytes(*offset) + shift);
        full.freeze()
    }

    /// The key without the prefix.
    ///
    /// # Panics
    /// When it does not have it: then it was read out of another deployment.
    pub fn strip<'a>(&self, key: &'a [u8]) -> &'a [u8] {
        let own = key.strip_prefix(&*self.0).filter(|own| *own < KEY_END);
        own.unwrap_or_else(|| panic!("key {} is not under prefix {self}", key.escape_ascii()))
    }

    /// The prefixes within whose range this one lies, shortest first. A deployment under one of
    /// them would take our keys for its own.
    pub fn enclosing(&self) -> impl Iterator<Item = Self> + '_ {
        (0..self.0.len()).map(|len| Self(self.0.slice(..len)))
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`", self.0.escape_ascii())
    }
}

impl fmt::Debug for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

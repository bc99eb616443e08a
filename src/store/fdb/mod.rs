//! The store on FoundationDB: an adapter between our contract and its own client.
//!
//! FoundationDB's client does everything that [`super::client`] does for the other stores. What
//! is left: the prefix of a deployment, which may share the cluster; refusing at once, with the
//! same codes, what FoundationDB only refuses at the next read or at the commit; the shape of
//! calls (ours go through a shared handle, its own consume the transaction); and a start that
//! says what is wrong instead of waiting for ever.
//!
//! What it does not equal the other stores in: a key may have the prefix's length less than
//! 10,000 bytes, sizes count the prefix, and a range read that is under way when the commit
//! begins is waited for, where our own client refuses it. What it does not equal FoundationDB's
//! client in, as our own client does not: a read version that is asked for only after a commit
//! without reads is of the moment of asking.
//!
//! The parts that need no client library stand outside the feature `foundationdb`, and are
//! tested without it. `docs/foundationdb.md` is for those who run it.

#[cfg(feature = "foundationdb")]
mod age;
pub mod cluster_file;
pub mod keys;
#[cfg(feature = "foundationdb")]
mod native;
pub mod options;
mod prefix_check;
#[cfg(feature = "foundationdb")]
mod reads;
#[cfg(feature = "foundationdb")]
mod source;
#[cfg(test)]
mod tests;
#[cfg(feature = "foundationdb")]
mod transaction;
#[cfg(feature = "foundationdb")]
mod writes;

pub use keys::Prefix;
pub use options::{FdbOptions, OpenError, TlsFiles};
pub use prefix_check::{PrefixError, check_prefix};
#[cfg(feature = "foundationdb")]
pub use source::{connect, open, stop};

/// Nothing has been started: this build has no FoundationDB client.
#[cfg(not(feature = "foundationdb"))]
pub fn stop() {}

/// Opens nothing: this build has no FoundationDB client.
///
/// # Errors
/// Always [`OpenError::NotBuilt`]: no other cluster file would help.
#[cfg(not(feature = "foundationdb"))]
#[expect(clippy::unused_async, reason = "the same signature as with the feature")]
pub async fn open(_: &FdbOptions, _: crate::clock::SharedClock) -> Result<super::Database, OpenError> {
    Err(OpenError::NotBuilt)
}

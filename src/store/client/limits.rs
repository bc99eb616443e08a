//! FoundationDB's limits on what a transaction may hold.
//!
//! Source: "Known limitations" in its documentation, and `ClientKnobs.cpp`, release 7.3.

/// Bytes of a key.
pub const KEY_BYTES_MAX: usize = 10_000;
/// Bytes of a value, or of an atomic operation's operand.
pub const VALUE_BYTES_MAX: usize = 100_000;
/// Bytes of a transaction: keys and values changed, and conflict ranges.
pub const TRANSACTION_BYTES_MAX: usize = 10_000_000;
/// Smallest limit that a transaction can be given.
pub const TRANSACTION_BYTES_MAX_MIN: usize = 32;
/// Bytes of a throttling tag.
pub const TAG_BYTES_MAX: usize = 16;
/// Throttling tags of a transaction.
pub const TAGS_MAX: usize = 5;
/// Keys are below this one; from here on they are FoundationDB's own.
pub const KEY_END: &[u8] = b"\xff";

/// What a mutation counts for beyond its bytes (`sizeof(MutationRef)`, which has grown in 7.3).
pub(super) const MUTATION_OVERHEAD_BYTES: usize = 44;
/// What a conflict range counts for beyond its bytes (`sizeof(KeyRangeRef)`).
pub(super) const RANGE_OVERHEAD_BYTES: usize = 24;
/// What a row counts for against a page's byte target, beyond its key and value.
pub(super) const ROW_OVERHEAD_BYTES: usize = 8;

const _: () = assert!(KEY_BYTES_MAX + VALUE_BYTES_MAX < TRANSACTION_BYTES_MAX);

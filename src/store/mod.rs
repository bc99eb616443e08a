//! The store: FoundationDB's contract, whatever is beneath.
//!
//! A [`Database`] hands out [`Transaction`]s. They behave as FoundationDB's do (API 7.3):
//! strictly serializable, with read versions, read-your-writes, snapshot reads, key
//! selectors, paged range reads, atomic operations, versionstamps, explicit conflict ranges,
//! watches, and its limits and error codes. [`Database::run`] is the one retry loop.
//!
//! Two things implement the contract: FoundationDB's own client, and our client-side
//! transaction above a small [`engine::Engine`] (embedded, in memory, simulated, remote).

pub mod api;
pub mod client;
pub mod database;
pub mod embedded;
pub mod engine;
pub mod error;
pub mod fdb;
pub mod memory;
pub mod metrics;
pub mod mvcc;
pub mod remote;
pub mod runner;
#[cfg(test)]
mod tests;

pub use api::{
    Abort, Committed, ConflictKind, KeySelector, MutationKind, RangeOptions, RangePage, StreamingMode, Transact,
    Transaction, TransactionOption, Try, Version, Versionstamp,
};
pub use client::{atomic, limits, versionstamp};
pub use database::{Database, Source};
pub use embedded::{EmbeddedEngine, EmbeddedOptions};
pub use error::{RetryClass, StoreError};
/// The tuple layer: FoundationDB's own encoding of typed values that keeps their order.
pub use foundationdb_tuple as tuple;
pub use memory::MemoryEngine;
pub use remote::RemoteEngine;
pub use runner::{Decision, RunError, TransactionKind};

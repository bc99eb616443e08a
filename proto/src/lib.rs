//! Protocol buffers of Escapement.
//!
//! - [`v1`]: the public gRPC API. Its field numbers and names are for ever.
//! - [`store`]: the wire of the remote store.
//! - [`records`]: what the store keeps. Its evolution rules stand in the .proto file.

#![expect(missing_docs, clippy::all, reason = "generated code; its comments stand in the .proto files")]

/// Major version of the rules of a worker session (head of worker_service.proto) that this program
/// keeps, as worker and as server.
pub const WORKER_PROTOCOL_VERSION: u32 = 1;

/// What this program can do in a worker session beyond that version, by name. Nothing so far.
pub const WORKER_FEATURES: &[&str] = &[];

/// The public API, package `escapement.v1`.
pub mod v1 {
    tonic::include_proto!("escapement.v1");
}

/// The wire of the remote store, package `escapement.store.v1`.
pub mod store {
    tonic::include_proto!("escapement.store.v1");
}

/// The stored records, package `escapement.records.v1`.
pub mod records {
    include!(concat!(env!("OUT_DIR"), "/escapement.records.v1.rs"));
}

/// The compiled descriptors of [`v1`], for gRPC reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/escapement.v1.bin"));

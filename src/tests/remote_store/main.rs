//! The remote store over real gRPC on loopback: the client, the server, and what becomes of
//! requests when the stream between them breaks.

#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "tests: a failed step is a failed test, and they poll for conditions"
)]

mod bad_clients;
mod broken_streams;
mod gate;
mod operations;
mod pauses;
mod relay;
mod room;
mod world;

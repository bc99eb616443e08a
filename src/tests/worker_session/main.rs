//! The worker SDK against a server that the test plays, over real loopback connections and
//! a clock that only the test moves.

#![expect(clippy::unwrap_used, reason = "a test")]

mod clock;
mod handlers;
mod lease;
mod outcome;
mod server;
mod stream;

//! Escapement runs a task at the instant it is due, once in effect, whatever fails meanwhile.
//!
//! The crate holds the server ([`server`]), the worker SDK ([`worker`]), the client
//! ([`client`]) and the `escapement` program; each is a Cargo feature, so that a client or a
//! worker does not pull in the server. `docs/ARCHITECTURE.md` tells how the parts fit.

/// The programs of the README are compiled by the documentation tests.
#[cfg(all(doctest, feature = "worker"))]
#[doc = include_str!("../README.md")]
mod readme {}

#[cfg(feature = "server")]
pub mod api;
#[cfg(feature = "cli")]
pub mod cli;
#[cfg(feature = "client")]
pub mod client;
pub mod clock;
#[cfg(feature = "cli")]
pub mod config;
pub mod edge;
pub mod error;
#[cfg(feature = "server")]
pub mod keyspace;
#[cfg(feature = "server")]
pub mod model;
#[cfg(feature = "planted-bugs")]
pub mod planted;
#[cfg(feature = "server")]
pub mod records;
pub mod rng;
#[cfg(feature = "server")]
pub mod scheduler;
#[cfg(feature = "server")]
pub mod server;
#[cfg(feature = "server")]
pub mod store;
#[cfg(feature = "worker")]
pub mod worker;

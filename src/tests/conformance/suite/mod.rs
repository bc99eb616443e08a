//! What every implementation of the store must show, whatever is beneath.
//!
//! Nothing in here knows which implementation it runs on: a [`Setup`] is handed in, and only
//! the crate's public interface is used. Everything happens under the setup's own prefix, so
//! that a cluster can be shared. No threads, no clock but the setup's, chance only from seeds:
//! so a package that runs in the simulator includes this folder by its path and runs the same
//! cases, programs and histories there.
//!
//! - `cases`: claims about the contract, one by one.
//! - `differential`: random programs whose results must be the same everywhere.
//! - `serializability`: random concurrent transactions, replayed in the order of their commits.

pub(crate) mod cases;
pub(crate) mod differential;
pub(crate) mod serializability;
pub(crate) mod support;

pub(crate) use support::Setup;

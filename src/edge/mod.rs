//! The edges that the simulator swaps. What only one of the two builds has is told apart here
//! and nowhere else; a test counts the lines.

#[cfg(test)]
mod census;
#[cfg(feature = "exec")]
pub(crate) mod child;
#[cfg(feature = "server")]
pub mod grpc;
#[cfg(feature = "server")]
mod grpc_store;
#[cfg(test)]
#[cfg(all(feature = "server", not(madsim)))]
mod grpc_tests;
mod kernel_clock;
pub mod net;
pub mod signal;
mod system_clock;

pub use system_clock::SystemClock;

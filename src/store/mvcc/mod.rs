//! What the embedded and the in-memory engine share: a multi-version window of the last
//! seconds above a base, and the resolver of conflicts.
//!
//! This is how FoundationDB's storage server works: new commits live in memory, every version
//! of them, and only what is older than any transaction may be goes down to the disk's
//! structure, newest state only. A key that is set and cleared within the window never gets
//! there at all.

mod base;
mod chains;
mod core;
mod range;
mod resolver;
mod versions;
mod watches;
mod window;

pub(crate) use self::core::{Core, Stage};
pub(crate) use base::{Base, Visit};
pub(crate) use versions::{VERSIONS_PER_SECOND, Versions, after_restart};
pub(crate) use window::{Change, Window};

#[cfg(test)]
pub(crate) mod tests;

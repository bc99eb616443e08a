//! A simulated FoundationDB: a node of the simulated network, in memory, with every fault
//! that a client of FoundationDB can see.
//!
//! The state ([`SimStore`]) lives outside the nodes, as disks do. What serves it is the
//! production code: the remote store's server on the store's node, its client on the others,
//! so partitions, latency and kills hit the store as they hit everything else. Between server
//! and state stands the [`FaultyEngine`], which does what a [`FaultPlan`] says.
//!
//! - A plan is data: it can be printed, edited and replayed. Chance only makes it, and decides
//!   when a fault strikes; each fault draws from its own generator, so that switching one on
//!   does not reshuffle the others.
//! - Every fault that took effect is counted ([`Fault`]), and so is what came of it ([`Effect`]).
//! - Every commit is logged in the order of commits, with the true time, who sent it and what
//!   that client was told ([`CommitLog`]). The log checks the store's own promises as well: a
//!   simulated database that breaks them would accuse the innocent.
//!
//! What it never does: lose an acknowledged commit, apply half of one, or apply one after its
//! client was told that it certainly was not, or (1021) is no longer, in flight.

mod cluster;
mod commits;
mod dice;
mod engine;
mod log;
mod node;
mod pages;
mod plan;
mod presets;
mod recovery;
mod tap;

pub use self::{
    cluster::SimStore,
    dice::Effect,
    engine::FaultyEngine,
    log::{CommitEntry, CommitLog, Sent, Told},
    plan::{Fault, FaultPlan, Knobs, PlanError, Span, Switch},
    tap::Tap,
};

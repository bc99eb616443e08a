//! Clocks that lie: each node has a wall and a monotonic clock of its own over the simulator's true time.
//!
//! The simulator gives every node the same clock, without steps, drift or leap seconds, and starts it at a
//! second of its own choosing. Here a [`ClockPlan`] says what is wrong with which node's clock and when,
//! as data; [`Clocks`] makes the production trait [`escapement::clock::Clock`] of it. What is called
//! true time, in traces and checks, is the simulator's time counted from the plan's own epoch ([`Timeline`]).
//!
//! A node's clock is a function of the plan, the node's own generator (forked from the seed by the node's
//! name, so that one node more does not reshuffle the others) and true time. Sleeps follow the node's
//! monotonic clock: drift stretches them, a suspended machine's do not end before it is resumed.
//!
//! A clock goes on when its process is killed: it is the machine's.

mod model;
mod node;
mod plan;
mod timeline;

pub use self::{
    node::Clocks,
    plan::{Claim, ClockEvent, ClockFault, ClockPlan, Correct, Daemon, LeapPlan, LeapSign, NodePlan, TrueLeap},
    timeline::Timeline,
};

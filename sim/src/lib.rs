//! The cluster inside the simulator: production services, started as in production, on nodes
//! of a simulated network. One seed decides everything that chance decides.
//!
//! Everything here exists only under `--cfg madsim` (`cargo sim-test -p escapement-sim`).

#[cfg(madsim)]
pub mod clock;
#[cfg(madsim)]
pub mod seeds;
#[cfg(madsim)]
pub mod store;
#[cfg(madsim)]
mod trace;
#[cfg(madsim)]
mod world;

#[cfg(madsim)]
pub use self::{
    seeds::{fork, simulate},
    trace::{Event, Trace},
    world::{World, WorldOptions, queue, run, run_with_clocks},
};

//! Judges whole runs of Escapement, simulated or of real processes: what happened, as an
//! outsider saw it ([`history`]), and what must always hold ([`checkers`]).
//!
//! In the simulation build it makes such runs, too: a seed and a scenario give a `Plan`, which
//! is data, and `run_plan` does what it says. Only then does this package know the simulator.

pub mod checkers;
#[cfg(madsim)]
pub mod earlier;
pub mod history;
#[cfg(feature = "planted-bugs")]
pub mod mutants;
#[cfg(madsim)]
pub mod nemesis;
#[cfg(madsim)]
pub mod plan;
pub mod rarity;
#[cfg(madsim)]
pub mod run;
#[cfg(madsim)]
pub mod scenario;
#[cfg(madsim)]
pub mod shift;
#[cfg(madsim)]
pub mod workload;

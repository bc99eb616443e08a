//! Judges whole runs of Escapement, simulated or of real processes: what happened, as an
//! outsider saw it ([`history`]), and what must always hold ([`checkers`]).

pub mod checkers;
pub mod history;
#[cfg(feature = "planted-bugs")]
pub mod mutants;
pub mod rarity;

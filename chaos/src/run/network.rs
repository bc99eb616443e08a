//! Network faults that overlap: what holds is always made of all that are going on.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use madsim::net::NetSim;

use super::world::World;
use crate::nemesis::Nemesis;

/// Latency of a healthy network, milliseconds.
const LATENCY_MS: (u64, u64) = (1, 10);

/// The faults that are going on, by the number of their strike.
#[derive(Debug, Default)]
pub(super) struct Network(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    active: BTreeMap<usize, Nemesis>,
    cut: BTreeSet<(String, String)>,
}

impl World {
    /// A fault begins (`Some`) or ends.
    pub(super) fn set_network(&self, strike: usize, fault: Option<Nemesis>) {
        let mut state = self.network.0.lock().unwrap_or_else(PoisonError::into_inner);
        match fault {
            Some(fault) => drop(state.active.insert(strike, fault)),
            None => drop(state.active.remove(&strike)),
        }
        self.settle(&mut state);
    }

    /// All of them end.
    pub(super) fn heal_network(&self) {
        let mut state = self.network.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.active.clear();
        self.settle(&mut state);
    }

    fn settle(&self, state: &mut State) {
        let (net, nodes) = (NetSim::current(), self.plan.nodes());
        let wanted: BTreeSet<_> = state.active.values().flat_map(|fault| fault.cuts(&nodes)).collect();
        for (from, to) in wanted.symmetric_difference(&state.cut) {
            let (Some(source), Some(target)) = (self.id(from), self.id(to)) else { continue };
            match wanted.contains(&(from.clone(), to.clone())) {
                true => net.clog_link(source, target),
                false => net.unclog_link(source, target),
            }
        }
        let losses = state.active.values().map(|fault| if let Nemesis::Loss { ppm } = fault { *ppm } else { 0 });
        let loss = f64::from(losses.max().unwrap_or(0)) / 1_000_000.0;
        let latencies = state.active.values().filter_map(|fault| match fault {
            Nemesis::SlowNetwork { min_ms, max_ms } => Some((*min_ms, *max_ms)),
            _ => None,
        });
        let (min_ms, max_ms) = latencies.max().unwrap_or(LATENCY_MS);
        net.update_config(|config| {
            config.packet_loss_rate = loss;
            config.send_latency = Duration::from_millis(min_ms)..Duration::from_millis(max_ms.max(min_ms + 1));
        });
        self.meddling.set(state.active.values());
        state.cut = wanted;
    }
}

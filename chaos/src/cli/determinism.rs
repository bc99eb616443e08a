//! `determinism`.

use std::sync::{Mutex, PoisonError};

use escapement_chaos::scenario::SCENARIOS;

use super::{
    child::{each, jobs, seed_args, spawn},
    exit,
};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// How many seeds, of all scenarios in turn unless one is named.
    #[arg(long, default_value_t = 20)]
    seeds: u64,
    /// The first of them.
    #[arg(long, default_value_t = 1)]
    first_seed: u64,
    /// Only this scenario.
    #[arg(long)]
    scenario: Option<String>,
    /// Processes at one time; as many as there are processors unless set.
    #[arg(long)]
    jobs: Option<usize>,
}

pub(super) fn main(args: &Args) -> super::Outcome {
    let seeds: Vec<u64> = (args.first_seed..args.first_seed + args.seeds).collect();
    let differing = Mutex::new(Vec::new());
    each(&seeds, jobs(args.jobs), |seed| {
        let turn = usize::try_from(*seed).unwrap_or(0) % SCENARIOS.len();
        let name = args.scenario.clone().unwrap_or_else(|| SCENARIOS[turn].name.to_owned());
        let mut which = seed_args(&name, *seed);
        // The logs of all processes are a finer trace than the history.
        which.push("--logs".to_owned());
        let [first, second] = [0, 1].map(|_| spawn(&which, &name, *seed));
        let alike = first.trace_hash == second.trace_hash && first.trace_hash != 0;
        if !alike {
            differing.lock().unwrap_or_else(PoisonError::into_inner).push((name, *seed));
        }
        true
    });
    let differing = differing.into_inner().unwrap_or_else(PoisonError::into_inner);
    for (name, seed) in &differing {
        println!("{name}: seed {seed} gives two traces: cargo chaos replay {seed} --scenario {name} --logs, twice");
    }
    println!("{} seeds, each twice: {} differ", seeds.len(), differing.len());
    Ok(if differing.is_empty() { exit::GREEN } else { exit::NOT_DETERMINISTIC })
}

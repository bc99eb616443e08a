//! `coverage`.

use std::collections::BTreeMap;

use escapement_chaos::run::{fault_names, rarity_names};

use super::{
    child::{Gathered, each, jobs, rate, seed_args, spawn},
    exit,
};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// How many seeds of the swarm.
    #[arg(long, default_value_t = 2000)]
    seeds: u64,
    /// The first of them.
    #[arg(long, default_value_t = 1)]
    first_seed: u64,
    /// Processes at one time; as many as there are processors unless set.
    #[arg(long)]
    jobs: Option<usize>,
}

pub(super) fn main(args: &Args) -> super::Outcome {
    let seeds: Vec<u64> = (args.first_seed..args.first_seed + args.seeds).collect();
    let gathered = Gathered::new(seeds.len(), false);
    each(&seeds, jobs(args.jobs), |seed| {
        gathered.add(spawn(&seed_args("swarm", *seed), "swarm", *seed));
        true
    });
    let verdicts = gathered.all();
    let failed = verdicts.iter().filter(|verdict| verdict.code != exit::GREEN);
    let failed =
        failed.inspect(|verdict| println!("seed {} fails: {}\n{}\n", verdict.seed, verdict.kind(), verdict.report()));
    let failed = failed.count();
    let mut never = 0;
    for (what, names) in [("fault", fault_names()), ("rarity", rarity_names())] {
        let counts = |verdict: &super::child::Verdict| {
            if what == "fault" { verdict.faults.clone() } else { verdict.rarities.clone() }
        };
        let mut hits: BTreeMap<String, (u64, u64)> = names.into_iter().map(|name| (name, (0, 0))).collect();
        for (name, count) in verdicts.iter().flat_map(counts) {
            let (seeds, times) = hits.entry(name).or_default();
            (*seeds, *times) = (*seeds + 1, *times + count);
        }
        for (name, (seeds, times)) in hits {
            let mark = if times == 0 { "NEVER" } else { "" };
            println!("{what:<7} {name:<36} {seeds:>6} seeds {times:>9} times {mark}");
            never += u64::from(times == 0);
        }
    }
    println!("{} seeds, {failed} failed, {never} never hit, {}", verdicts.len(), rate(&verdicts));
    Ok(match (never, failed) {
        (0, 0) => exit::GREEN,
        (0, _) => exit::VIOLATION,
        _ => exit::NOT_COVERED,
    })
}

//! `run`.

use escapement_chaos::scenario::SCENARIOS;

use super::{
    child::{self, Gathered, each, jobs, rate, seed_args, spawn},
    exit,
};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Name of the scenario, or `all` for every one of them.
    #[arg(long, default_value = "swarm")]
    scenario: String,
    /// How many seeds of each.
    #[arg(long, default_value_t = 100)]
    seeds: u64,
    /// The first of them.
    #[arg(long, default_value_t = 1)]
    first_seed: u64,
    /// Processes at one time; as many as there are processors unless set.
    #[arg(long)]
    jobs: Option<usize>,
    /// One JSON object a line: a verdict for each seed.
    #[arg(long)]
    json: bool,
    /// Goes on after a failure, and lists all of them.
    #[arg(long)]
    keep_going: bool,
}

pub(super) fn main(args: &Args) -> super::Outcome {
    let names: Vec<&str> = match args.scenario.as_str() {
        "all" => SCENARIOS.iter().map(|scenario| scenario.name).collect(),
        name => vec![name],
    };
    let mut worst = exit::GREEN;
    for name in names {
        worst = worst.max(one_scenario(args, name)?);
        if worst != exit::GREEN && !args.keep_going {
            break;
        }
    }
    Ok(worst)
}

fn one_scenario(args: &Args, name: &str) -> super::Outcome {
    // Tells at once when there is no such scenario.
    let named = child::Which { seed: args.first_seed, scenario: name.to_owned(), plan: None, logs: false };
    named.plan()?;
    let seeds: Vec<u64> = (args.first_seed..args.first_seed + args.seeds).collect();
    let gathered = Gathered::new(seeds.len(), args.json);
    each(&seeds, jobs(args.jobs), |seed| {
        let verdict = spawn(&seed_args(name, *seed), name, *seed);
        let green = verdict.code == exit::GREEN;
        if args.json {
            println!("{}", serde_json::to_string(&verdict).unwrap_or_default());
        }
        gathered.add(verdict);
        green || args.keep_going
    });
    let verdicts = gathered.all();
    let failed: Vec<_> = verdicts.iter().filter(|verdict| verdict.code != exit::GREEN).collect();
    for verdict in failed.iter().filter(|_| !args.json) {
        println!("{name}: seed {} fails: {}\n{}\n", verdict.seed, verdict.kind(), verdict.report());
    }
    if !args.json {
        println!("{name}: {} seeds, {} failed, {}", verdicts.len(), failed.len(), rate(&verdicts));
    }
    Ok(failed.iter().map(|verdict| verdict.code).max().unwrap_or(exit::GREEN))
}

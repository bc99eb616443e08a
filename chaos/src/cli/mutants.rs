//! `mutants`.

use std::collections::BTreeSet;

use escapement_chaos::{
    mutants::{self, Hunt, Row},
    run::run_plan,
    scenario,
};
use escapement_engine::planted::Bug;

use super::{
    child::{jobs, watch},
    exit,
};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Bugs to plant, by name; all of them unless any is named.
    bugs: Vec<String>,
    /// Starting points, from each of which every bug is hunted.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=1000))]
    hunts: u64,
    /// Seeds of one hunt, after which the bug counts as not found.
    #[arg(long, default_value_t = 300, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    seeds_max: u64,
    /// Hunts all of them in this scenario, not each in the one where it can show.
    #[arg(long)]
    scenario: Option<String>,
    /// Processes at one time; as many as there are processors unless set.
    #[arg(long)]
    jobs: Option<usize>,
    /// The table as JSON.
    #[arg(long)]
    json: bool,
    /// Lists the bugs instead.
    #[arg(long)]
    list: bool,
}

/// In a process that a hunt started: runs its seed. `None` in any other.
pub(crate) fn child() -> Option<std::process::ExitCode> {
    mutants::child(|name, seed| {
        watch();
        let plan = scenario::plan(name, seed).expect("a scenario that there is");
        let outcome = run_plan(&plan);
        let panic = outcome.panic.map(|_| mutants::PANIC.to_owned());
        outcome.report.violations.iter().map(|violation| violation.invariant.to_owned()).chain(panic).collect()
    })
}

pub(super) fn main(args: &Args) -> super::Outcome {
    if args.list {
        Bug::ALL.iter().for_each(|bug| println!("{:<24}{}", bug.name(), bug.what().trim()));
        return Ok(exit::GREEN);
    }
    let hunt = args.hunt()?;
    let rows = mutants::hunt(&hunt, mutants::look, |row: &Row| {
        let found = row.found();
        let median = row.median().map_or_else(|| "-".to_owned(), |median| median.to_string());
        eprintln!("{}: found in {found} of {} hunts, median {median}", row.bug, row.seeds.len());
    })?;
    match args.json {
        true => println!("{}", serde_json::to_string(&rows).map_err(|error| error.to_string())?),
        false => print!("{rows}"),
    }
    let missed: BTreeSet<_> = rows.0.iter().filter(|row| !row.is_found()).map(|row| row.bug).collect();
    if missed.is_empty() {
        return Ok(exit::GREEN);
    }
    eprintln!("not found by every hunt: {}", missed.into_iter().collect::<Vec<_>>().join(", "));
    Ok(exit::NOT_FOUND)
}

impl Args {
    fn hunt(&self) -> Result<Hunt, String> {
        if let Some(name) = self.scenario.as_deref().filter(|name| scenario::plan(name, 1).is_none()) {
            return Err(format!("there is no scenario `{name}`; `plan --list` prints them all"));
        }
        let named = self.bugs.iter().map(|name| {
            Bug::named(name)
                .ok_or_else(|| format!("there is no planted bug `{name}`; `mutants --list` prints them all"))
        });
        let named: Vec<Bug> = named.collect::<Result<_, _>>()?;
        let bugs = if named.is_empty() { Bug::ALL.to_vec() } else { named };
        let (starts, seeds_max, jobs) = (self.hunts, self.seeds_max, jobs(self.jobs));
        Ok(Hunt { bugs, scenario: self.scenario.clone(), starts, seeds_max, jobs })
    }
}

//! The simulated FoundationDB: every fault strikes, the production retry runner handles each
//! of them rightly, and the store itself keeps its word through kills and cuts.

#![cfg(madsim)]
#![allow(
    clippy::cast_possible_truncation,
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "a test: a failed step is a failed test"
)]

mod alone;
mod judge;
mod ops;
mod plans;
mod promises;
mod run;

use std::{collections::BTreeMap, sync::OnceLock};

use escapement_sim::{
    seeds::Seeds,
    store::{Effect, Fault},
};

use self::{ops::Mutant, run::run};

/// Enough for every fault to strike.
const SEEDS: u64 = 8;
/// Within so many a mutant has to be caught.
const MUTANT_SEEDS: u64 = 4;
/// What the retry runner of the clients must have met.
const RETRIED: [i32; 11] = [1007, 1009, 1020, 1021, 1037, 1038, 1039, 1042, 1051, 1078, 1213];

fn entry() -> Seeds {
    Seeds::new("the_same_seed_gives_the_same_trace_in_another_process", SEEDS)
}

/// What the children of all seeds printed, run once for all tests of this program.
fn runs() -> Option<&'static [(u64, String)]> {
    static RUNS: OnceLock<Option<Vec<(u64, String)>>> = OnceLock::new();
    RUNS.get_or_init(|| entry().each(|seed| run(seed, Mutant::None))).as_deref()
}

#[test]
fn the_same_seed_gives_the_same_trace_in_another_process() {
    let Some(runs) = runs() else { return };
    for (seed, first) in runs.iter().take(2) {
        assert!(first.lines().filter(|line| line.contains(" commit ")).count() > 100, "seed {seed} did something");
        assert_eq!(*first, entry().child(*seed), "X1: seed {seed} gives the same trace again");
    }
}

#[test]
fn every_fault_strikes_and_clients_meet_every_code() {
    let Some(runs) = runs() else { return };
    let counts = counts(runs);
    let faults = Fault::ALL.iter().map(|fault| format!("fault {fault:?}"));
    let effects = Effect::ALL.iter().map(|effect| format!("effect {effect:?}"));
    let rare = run::RARE.iter().map(|name| format!("rare {name}"));
    let retries = RETRIED.iter().map(|code| format!("retry {code}"));
    let missing: Vec<_> = faults
        .chain(effects)
        .chain(rare)
        .chain(retries)
        .filter(|name| counts.get(name).copied().unwrap_or(0) == 0)
        .collect();
    assert!(missing.is_empty(), "never happened in seeds 1 to {}: {missing:?}\n{counts:#?}", runs.len());
}

#[test]
fn acknowledged_increments_are_all_there_and_none_twice() {
    let Some(runs) = runs() else { return };
    for (seed, output) in runs {
        let broken: Vec<_> = output.lines().filter(|line| line.starts_with("broken")).collect();
        assert!(broken.is_empty(), "seed {seed}: {broken:#?}");
        let counts = counts(std::slice::from_ref(&(*seed, output.clone())));
        assert!(counts["outcome acknowledged"] > 100, "seed {seed}: work goes on under faults: {counts:#?}");
    }
}

#[test]
fn a_loop_that_runs_maybe_committed_transactions_again_without_a_marker_is_caught() {
    caught(
        "a_loop_that_runs_maybe_committed_transactions_again_without_a_marker_is_caught",
        Mutant::RunsAgain,
        "once/",
    );
}

#[test]
fn a_body_that_never_looks_for_its_marker_is_caught() {
    caught("a_body_that_never_looks_for_its_marker_is_caught", Mutant::NeverLooks, "marker/");
}

#[test]
fn a_marker_looked_for_only_after_trouble_does_not_stop_a_commit_that_lands_late() {
    caught(
        "a_marker_looked_for_only_after_trouble_does_not_stop_a_commit_that_lands_late",
        Mutant::LooksLate,
        "marker/",
    );
}

/// Increments that leave keys with this prefix, and no others, happen twice.
fn caught(test: &'static str, mutant: Mutant, prefix: &str) {
    let Some(runs) = Seeds::new(test, MUTANT_SEEDS).each(|seed| run(seed, mutant)) else { return };
    let twice = |output: &str| {
        let broken = output.lines().filter_map(|line| line.strip_prefix("broken: "));
        let twice: Vec<_> = broken.filter(|what| what.contains("happened twice")).map(ToOwned::to_owned).collect();
        assert!(twice.iter().all(|what| what.starts_with(prefix)), "{mutant:?}: {twice:?}");
        !twice.is_empty()
    };
    let found = runs.iter().filter(|(_, output)| twice(output)).count();
    assert!(found > 0, "{mutant:?} got away in all of {} seeds", runs.len());
}

/// Sums of the lines that end in a number.
fn counts(runs: &[(u64, String)]) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for line in runs.iter().flat_map(|(_, output)| output.lines()).filter_map(|line| line.strip_prefix("count ")) {
        let (name, count) = line.rsplit_once(' ').unwrap();
        *counts.entry(name.to_owned()).or_default() += count.parse::<u64>().unwrap();
    }
    counts
}

//! `cargo chaos mutants`: plants each bug of the engine's list, one at a time, and runs seeds
//! until one of them shows that something is wrong. A simulation that finds none of them would
//! find none like them.
//!
//! How many seeds it takes depends on where one starts; so each bug is hunted from several
//! starting points, and the table shows the median. Every seed runs in a process of its own.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    process::{Command, ExitCode},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use escapement_engine::planted::{Bug, CAN_PLANT, VARIABLE, plant};
use serde::Serialize;

/// Set for a child that runs one seed.
const CHILD: &str = "ESCAPEMENT_CHAOS_MUTANT";
/// Stands before the line in which a child says what it found.
const MARK: &str = "found: ";
/// What a run that panicked is reported under.
pub const PANIC: &str = "panic";
/// What the simulated store's own promises are reported under.
const STORE: &str = "STORE";
/// Distance of starting points.
const STRIDE: u64 = 100_000;

/// How hard to look.
#[derive(Clone, Debug)]
pub struct Hunt {
    /// Bugs to plant.
    pub bugs: Vec<Bug>,
    /// Where all of them are hunted; each in its own scenario ([`scenario_of`]) unless set.
    pub scenario: Option<String>,
    /// Starting points for each.
    pub starts: u64,
    /// Seeds from each starting point, after which the bug counts as not found.
    pub seeds_max: u64,
    /// Processes at a time.
    pub jobs: usize,
}

impl Default for Hunt {
    fn default() -> Self {
        let jobs = std::thread::available_parallelism().map_or(1, usize::from);
        Self { bugs: Bug::ALL.to_vec(), scenario: None, starts: 5, seeds_max: 300, jobs }
    }
}

impl Hunt {
    fn scenario_of(&self, bug: Bug) -> &str {
        self.scenario.as_deref().unwrap_or(scenario_of(bug))
    }
}

/// The scenario in which a bug can show. What needs a fault of its own kind has that fault's
/// scenario; the rest is left to chance.
pub const fn scenario_of(bug: Bug) -> &'static str {
    match bug {
        Bug::LeapNotHeld => "leap-insert",
        Bug::BestGuessFires => "skew-drift",
        Bug::LeaseByWallClock => "skew-step",
        Bug::FenceNotChecked | Bug::SessionExpiresEarly => "partition-halves",
        Bug::HandlersOutliveLease => "partition-one-way",
        Bug::CompletionNotChecked => "worker-late",
        Bug::SilentSessionKept => "worker-stopped",
        Bug::RetriedWithoutMarker | Bug::HintsTrusted | Bug::RepeatRefused => "unknown-commits",
        Bug::AcknowledgedEarly => "zombie-commit",
        Bug::FoldFiredTwice | Bug::GapLost => "dst-shift",
        Bug::PriorityIgnored => "overload",
        Bug::NewerFormatServed => "upgrade",
        _ => "swarm",
    }
}

/// What a hunt for one bug found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Row {
    /// The bug.
    pub bug: &'static str,
    /// Where it was hunted.
    pub scenario: String,
    /// Seeds that it took from each starting point; `None`: not found.
    pub seeds: Vec<Option<u64>>,
    /// Invariants that were broken.
    pub broken: BTreeSet<String>,
}

impl Row {
    /// Found from every starting point.
    pub fn is_found(&self) -> bool {
        self.found() == self.seeds.len()
    }

    /// From how many starting points it was found.
    pub fn found(&self) -> usize {
        self.seeds.iter().flatten().count()
    }

    /// Seeds in the middle case; those that found nothing are the longest.
    pub fn median(&self) -> Option<u64> {
        let mut seeds = self.seeds.clone();
        seeds.sort_by_key(|seeds| seeds.unwrap_or(u64::MAX));
        seeds.get(self.seeds.len() / 2).copied().flatten()
    }
}

/// All bugs, one line each.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Table(pub Vec<Row>);

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:<24}{:<20}{:>7}{:>8}  {:<20}broken", "bug", "scenario", "found", "median", "seeds")?;
        for row in &self.0 {
            let seeds = row.seeds.iter().map(|seeds| seeds.map_or("-".to_owned(), |seeds| seeds.to_string()));
            let (seeds, broken): (Vec<_>, Vec<_>) = (seeds.collect(), row.broken.iter().cloned().collect());
            let median = row.median().map_or("-".to_owned(), |median| median.to_string());
            let (seeds, broken) = (seeds.join(" "), broken.join(" "));
            let found = format!("{}/{}", row.found(), row.seeds.len());
            writeln!(f, "{:<24}{:<20}{found:>7}{median:>8}  {seeds:<20}{broken}", row.bug, row.scenario)?;
        }
        Ok(())
    }
}

/// In a child: runs its seed by `run`, which is told scenario and seed and gives the invariants
/// that were broken, and says what it found. `None` in any other process.
///
/// # Panics
/// When the environment that the parent made is not what a child expects.
pub fn child(run: impl FnOnce(&str, u64) -> BTreeSet<String>) -> Option<ExitCode> {
    let task = std::env::var(CHILD).ok()?;
    let (scenario, seed) = task.split_once(' ').expect("a scenario and a seed");
    if let Ok(name) = std::env::var(VARIABLE) {
        plant(Some(Bug::named(&name).expect("a bug of the list")));
    }
    say(&run(scenario, seed.parse().expect("a seed")));
    Some(ExitCode::SUCCESS)
}

#[expect(clippy::print_stdout, reason = "this is how a child reports")]
fn say(broken: &BTreeSet<String>) {
    println!("{MARK}{}", broken.iter().map(String::as_str).collect::<Vec<_>>().join(" "));
}

/// Runs one seed in a process of its own, with this bug; the invariants that were broken. What
/// the simulated store is blamed for is no finding about the scheduler.
pub fn look(bug: Option<Bug>, scenario: &str, seed: u64) -> BTreeSet<String> {
    let program = std::env::current_exe().expect("the program knows itself");
    let mut command = Command::new(program);
    command.env(CHILD, format!("{scenario} {seed}")).env_remove(VARIABLE);
    command.envs(bug.map(|bug| (VARIABLE, bug.name())));
    let output = command.output().expect("the program runs itself");
    let text = String::from_utf8_lossy(&output.stdout);
    match text.lines().find_map(|line| line.strip_prefix(MARK)) {
        Some(found) => found.split_whitespace().filter(|it| *it != STORE).map(str::to_owned).collect(),
        // It ended without a word: aborted, or killed.
        None => BTreeSet::from(["died".to_owned()]),
    }
}

/// Hunts all bugs by `look` ([`look`], outside of tests). `done` is told of each bug as soon as it is known.
///
/// # Errors
/// When this build plants no bugs.
pub fn hunt(
    hunt: &Hunt,
    look: impl Fn(Option<Bug>, &str, u64) -> BTreeSet<String> + Sync,
    done: impl Fn(&Row) + Sync,
) -> Result<Table, String> {
    if !CAN_PLANT {
        return Err("this build plants no bugs: it needs the feature planted-bugs, and debug assertions".to_owned());
    }
    let hunts: Vec<_> = hunt.bugs.iter().flat_map(|bug| (0..hunt.starts).map(|start| (*bug, start))).collect();
    let (next, ends) = (AtomicUsize::new(0), Mutex::new(BTreeMap::new()));
    std::thread::scope(|scope| {
        for _ in 0..hunt.jobs.clamp(1, hunts.len().max(1)) {
            scope.spawn(|| {
                while let Some((bug, start)) = hunts.get(next.fetch_add(1, Relaxed)) {
                    let end = hunt_from(hunt, *bug, *start, &look);
                    let mut ends = ends.lock().unwrap_or_else(PoisonError::into_inner);
                    let of_bug: &mut BTreeMap<u64, End> = ends.entry(*bug).or_default();
                    of_bug.insert(*start, end);
                    if of_bug.len() as u64 == hunt.starts {
                        done(&row(hunt, *bug, of_bug));
                    }
                }
            });
        }
    });
    let ends = ends.into_inner().unwrap_or_else(PoisonError::into_inner);
    Ok(Table(ends.iter().map(|(bug, ends)| row(hunt, *bug, ends)).collect()))
}

/// How one hunt ended: after how many seeds, and what was broken.
type End = (Option<u64>, BTreeSet<String>);

fn hunt_from(hunt: &Hunt, bug: Bug, start: u64, look: impl Fn(Option<Bug>, &str, u64) -> BTreeSet<String>) -> End {
    let scenario = hunt.scenario_of(bug);
    for number in 1..=hunt.seeds_max {
        let seed = start * STRIDE + number;
        let mut found = look(Some(bug), scenario, seed);
        if !found.is_empty() {
            // A seed that fails without the bug, too, says nothing about it.
            let without = look(None, scenario, seed);
            found.retain(|invariant| !without.contains(invariant));
        }
        if !found.is_empty() {
            return (Some(number), found);
        }
    }
    (None, BTreeSet::new())
}

fn row(hunt: &Hunt, bug: Bug, ends: &BTreeMap<u64, End>) -> Row {
    let seeds = ends.values().map(|(seeds, _)| *seeds).collect();
    let broken = ends.values().flat_map(|(_, broken)| broken.iter().cloned()).collect();
    Row { bug: bug.name(), scenario: hunt.scenario_of(bug).to_owned(), seeds, broken }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(seeds: &[Option<u64>]) -> Row {
        Row {
            bug: "a-bug",
            scenario: "swarm".to_owned(),
            seeds: seeds.to_vec(),
            broken: BTreeSet::from(["S1".to_owned()]),
        }
    }

    #[test]
    fn the_median_counts_what_was_not_found_as_longest() {
        assert_eq!(row(&[Some(9), Some(1), Some(3)]).median(), Some(3));
        assert_eq!(row(&[Some(9), None, Some(3)]).median(), Some(9));
        assert_eq!(row(&[None, None, Some(3)]).median(), None);
        assert!(!row(&[Some(1), None]).is_found() && row(&[Some(1)]).is_found());
    }

    #[test]
    fn a_bug_is_found_by_the_first_seed_that_fails_because_of_it() {
        let which =
            Hunt { bugs: vec![Bug::TokenNotRaised, Bug::GapLost], scenario: None, starts: 2, seeds_max: 10, jobs: 2 };
        // Every fourth seed breaks S8 whatever is planted; one of ten breaks S3 with the first bug.
        let look = |bug, _: &str, seed: u64| {
            let always = seed.is_multiple_of(4).then(|| "S8".to_owned());
            let planted = (bug == Some(Bug::TokenNotRaised) && seed % 10 == 6).then(|| "S3".to_owned());
            always.into_iter().chain(planted).collect()
        };
        let table = hunt(&which, look, |_| {}).unwrap();
        let seeds: Vec<_> = table.0.iter().map(|row| (row.bug, row.seeds.clone())).collect();
        let expected = [("token-not-raised", vec![Some(6), Some(6)]), ("gap-lost", vec![None, None])];
        assert_eq!(seeds, expected);
        assert_eq!(table.0[0].broken, BTreeSet::from(["S3".to_owned()]));
    }

    #[test]
    fn the_table_has_a_line_for_each_bug() {
        let text = Table(vec![row(&[Some(2), None])]).to_string();
        assert_eq!(
            text.lines().nth(1),
            Some("a-bug                   swarm                   1/2       -  2 -                 S1")
        );
    }
}

//! Rare things that a set of runs must have met, counted by name (X2 of the design): a green
//! result of runs in which no commit was ever unknown says little.
//!
//! What shows in a history is counted from its events; what only the world that made it can
//! know (a commit that was told as unknown and did not happen leaves no trace) it reports by
//! [`What::Rarity`] under the same names.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use serde::{Deserialize, Serialize};

use crate::{
    checkers::oracle,
    history::{Change, History, NodeChange, ScheduleAction, TrueTime, What},
};

macro_rules! rarities {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)*) => {
        /// Something rare.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
        pub enum Rarity {
            $($(#[$doc])* #[serde(rename = $name)] $variant,)*
        }

        impl Rarity {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The name under which it is counted.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }
        }
    };
}

rarities! {
    /// A commit whose client was not told that it happened.
    UnknownApplied = "unknown-commit-applied",
    /// A commit told as unknown that did not happen. Reported by the world.
    UnknownNotApplied = "unknown-commit-not-applied",
    /// A commit that landed after its client had given it up. Reported by the world.
    ZombieCommit = "zombie-commit",
    /// A completion or an effect refused for its token.
    StaleTokenRefused = "stale-token-refused",
    /// A completion that counted was sent again, as nobody had heard its verdict.
    CompletionRepeated = "completion-repeated",
    /// A shard changed its owner while the process of the one before lived.
    TwoBelievedOwners = "two-believed-owners",
    /// An occurrence fired in a local time that is shown twice.
    FireInFold = "fire-in-fold",
    /// A task whose instant lay before a leap second started after it, or ran over it.
    FireAcrossLeap = "fire-across-leap",
    /// A clock went backwards while an attempt ran.
    ClockBackInLease = "clock-back-in-lease",
    /// An attempt was lost with its session, and another followed.
    AttemptLost = "attempt-lost",
    /// A task was cancelled while an attempt ran.
    CancelWhileRunning = "cancel-while-running",
    /// A page of the due index was full, and the next went on behind it. Reported by the world.
    DuePageContinued = "due-page-continued",
    /// The same of leases.
    LeasePageContinued = "lease-page-continued",
    /// The same of schedules' instants.
    TickPageContinued = "tick-page-continued",
    /// The same of tasks that a client lists.
    TaskPageContinued = "task-page-continued",
    /// A process of today's version read a record with a field of a later one. Reported by the world.
    LaterRecordRead = "later-record-read",
    /// A scheduler did not start, as the store's format is newer. Reported by the world.
    NewerFormatRefused = "newer-format-refused",
}

/// How often each rare thing happened.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Rarities(BTreeMap<Rarity, u64>);

impl Rarities {
    /// Those of one run.
    pub fn of(history: &History) -> Self {
        let mut counts = Self::default();
        reported(history, &mut counts);
        commits(history, &mut counts);
        owners(history, &mut counts);
        tasks(history, &mut counts);
        clocks(history, &mut counts);
        counts
    }

    /// How often it happened.
    pub fn get(&self, rarity: Rarity) -> u64 {
        self.0.get(&rarity).copied().unwrap_or(0)
    }

    /// Adds those of another run.
    pub fn add(&mut self, other: &Self) {
        for (rarity, count) in &other.0 {
            self.count(*rarity, *count);
        }
    }

    /// What never happened.
    pub fn missing(&self) -> Vec<Rarity> {
        Rarity::ALL.iter().copied().filter(|rarity| self.get(*rarity) == 0).collect()
    }

    fn count(&mut self, rarity: Rarity, times: u64) {
        *self.0.entry(rarity).or_default() += times;
    }
}

/// One line for each.
impl fmt::Display for Rarities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Rarity::ALL.iter().try_for_each(|rarity| writeln!(f, "{:>10} {}", self.get(*rarity), rarity.name()))
    }
}

fn reported(history: &History, counts: &mut Rarities) {
    for event in &history.events {
        let What::Rarity { kind, count } = &event.what else { continue };
        if let Some(rarity) = Rarity::ALL.iter().find(|rarity| rarity.name() == kind) {
            counts.count(*rarity, *count);
        }
    }
}

fn commits(history: &History, counts: &mut Rarities) {
    let unheard = |what: &What| matches!(what, What::Commit { acknowledged: false, .. });
    let unheard = history.events.iter().filter(|event| unheard(&event.what)).count() as u64;
    // A world that reports them itself knows better which were told as unknown.
    if counts.get(Rarity::UnknownApplied) == 0 {
        counts.count(Rarity::UnknownApplied, unheard);
    }
}

/// Owners are known by the node that committed their lease.
fn owners(history: &History, counts: &mut Rarities) {
    let mut owners: BTreeMap<u32, (&str, &str)> = BTreeMap::new();
    let mut dead: BTreeSet<(u32, &str)> = BTreeSet::new();
    for event in &history.events {
        match &event.what {
            What::Node { change: NodeChange::Killed } => {
                let lost = owners.iter().filter(|(_, (_, node))| *node == event.node);
                dead.extend(lost.map(|(shard, (owner, _))| (*shard, *owner)));
            }
            What::Commit { changes, .. } => {
                for change in changes {
                    let Change::ShardLease { shard, owner, .. } = change else { continue };
                    let before = owners.insert(*shard, (owner, &event.node)).map(|(owner, _)| owner);
                    // An owner that leaves frees its shards first.
                    let alive = before.filter(|it| !it.is_empty() && !dead.contains(&(*shard, *it)));
                    if alive.is_some_and(|before| before != owner && !owner.is_empty()) {
                        counts.count(Rarity::TwoBelievedOwners, 1);
                    }
                }
            }
            _ => {}
        }
    }
}

fn tasks(history: &History, counts: &mut Rarities) {
    let zones = zones(history);
    let leaps: Vec<TrueTime> = history
        .header
        .scale
        .leaps
        .iter()
        .filter_map(|leap| history.header.scale.true_time(leap.unix_s * 1000))
        .collect();
    for task in history.tasks().values() {
        let stale = task.verdicts.iter().filter(|(_, _, verdict)| verdict == "stale_token").count();
        let repeated = task.verdicts.iter().filter(|(_, _, verdict)| verdict == "duplicate").count();
        counts.count(Rarity::CompletionRepeated, repeated as u64);
        let refused = task.effects.iter().filter(|(_, _, accepted)| !accepted).count();
        counts.count(Rarity::StaleTokenRefused, (stale + refused) as u64);
        let lost = task.attempts.iter().filter(|row| row.outcome == "lease_expired").count();
        counts.count(Rarity::AttemptLost, lost.min(task.starts.len()) as u64);
        let cut_off = task.attempts.iter().filter(|row| row.outcome == "cancelled").count();
        counts.count(Rarity::CancelWhileRunning, cut_off as u64);
        for start in &task.starts {
            let due = history.header.scale.true_time(start.due_unix_ms).unwrap_or_default();
            let until = start.ended.unwrap_or(start.at);
            let across = |leap: &&TrueTime| due < **leap && until >= **leap;
            counts.count(Rarity::FireAcrossLeap, leaps.iter().filter(across).count() as u64);
        }
    }
    for event in &history.events {
        let What::Started { schedule, nominal_unix_ms: Some(nominal), .. } = &event.what else { continue };
        let folded = zones.get(schedule.as_str()).is_some_and(|zone| oracle::in_fold(zone, *nominal));
        counts.count(Rarity::FireInFold, u64::from(folded));
    }
}

fn zones(history: &History) -> BTreeMap<&str, &str> {
    let creates = history.events.iter().filter_map(|event| match &event.what {
        What::ScheduleCall { schedule, action: ScheduleAction::Create { zone, .. }, .. } => {
            Some((schedule.as_str(), zone.as_str()))
        }
        _ => None,
    });
    creates.collect()
}

/// How the detail of a step begins that goes back.
const BACK: &str = "\"by_us\":-";

/// Steps back of clocks during any attempt.
fn clocks(history: &History, counts: &mut Rarities) {
    let back = |what: &What| match what {
        What::Fault { kind, detail } => kind == "clock-step" && detail.contains(BACK),
        _ => false,
    };
    let steps: Vec<TrueTime> = history.events.iter().filter(|event| back(&event.what)).map(|event| event.at).collect();
    if steps.is_empty() {
        return;
    }
    let tasks = history.tasks();
    let runs: Vec<_> = tasks.values().flat_map(|task| &task.starts).collect();
    let during = |at: &&TrueTime| runs.iter().any(|run| run.at <= **at && run.ended.is_none_or(|ended| ended > **at));
    counts.count(Rarity::ClockBackInLease, steps.iter().filter(during).count() as u64);
}

#[cfg(test)]
mod tests {
    use super::{
        Rarities,
        Rarity::{self, *},
    };
    use crate::{
        checkers::testing::Story,
        history::{Change, EndState, Leap, NodeChange, What},
    };

    fn check(tell: impl FnOnce(&mut Story), expect: &[(Rarity, u64)]) {
        let counts = Rarities::of(&Story::tell(tell));
        let found: Vec<_> =
            Rarity::ALL.iter().map(|rarity| (*rarity, counts.get(*rarity))).filter(|(_, count)| *count > 0).collect();
        assert_eq!(found, expect);
        let text = serde_json::to_string(&counts).unwrap();
        assert_eq!(serde_json::from_str::<Rarities>(&text).unwrap(), counts, "{text}");
    }

    #[test]
    fn what_shows_in_a_history_is_counted() {
        check(|_| {}, &[]);
        check(
            |story: &mut Story| {
                story.commit_unheard(Vec::new());
            },
            &[(UnknownApplied, 1)],
        );
        check(
            |story: &mut Story| {
                story.effect("a", 1, false).verdict("a", 1, "stale_token");
            },
            &[(StaleTokenRefused, 2)],
        );
        check(
            |story: &mut Story| {
                story.verdict("a", 1, "duplicate");
            },
            &[(CompletionRepeated, 1)],
        );
        check(
            |story: &mut Story| {
                story.start("a", 1, "w", 0).end_with("a", EndState::Scheduled, &[(1, "lease_expired")]);
            },
            &[(AttemptLost, 1)],
        );
        check(
            |story: &mut Story| {
                story.end_with("a", EndState::Cancelled, &[(1, "cancelled")]);
            },
            &[(CancelWhileRunning, 1)],
        );
    }

    #[test]
    fn what_only_the_world_knows_is_taken_from_its_report() {
        let report = |kind: &str| What::Rarity { kind: kind.to_owned(), count: 3 };
        check(
            |story: &mut Story| {
                story.what(report("zombie-commit")).what(report("unheard-of"));
            },
            &[(ZombieCommit, 3)],
        );
        check(
            |story: &mut Story| {
                story.what(report("unknown-commit-applied")).commit_unheard(Vec::new());
            },
            &[(UnknownApplied, 3)],
        );
    }

    #[test]
    fn two_owners_believe_in_a_shard_only_while_both_live() {
        let owns = |owner: &str| vec![Change::ShardLease { shard: 0, owner: owner.to_owned(), epoch: 1 }];
        let taken = |killed: bool, freed: bool| {
            move |story: &mut Story| {
                story.commit_of("s1", owns("one"));
                if killed {
                    story.node("s1", NodeChange::Killed);
                }
                if freed {
                    story.commit_of("s1", owns(""));
                }
                story.commit_of("s2", owns("two"));
            }
        };
        check(taken(false, false), &[(TwoBelievedOwners, 1)]);
        check(taken(true, false), &[]);
        check(taken(false, true), &[]);
    }

    #[test]
    fn folds_leaps_and_clocks_are_counted_by_what_they_meet() {
        let fold = |story: &mut Story| {
            story.header.scale.epoch_unix_ms = 1_761_436_800_000;
            story.cron("s", "*/30 2 * * *", "Europe/Berlin");
            story.start_occurrence("a", "s", 1_761_438_600_000).start_occurrence("b", "s", 1_761_444_000_000);
        };
        check(fold, &[(FireInFold, 1)]);
        let leap = |story: &mut Story| {
            story.header.scale.leaps = vec![Leap { unix_s: 10, sign: 1 }];
            story.at_ms(11_200).start("a", 1, "w", 9_500).start("b", 1, "w", 10_000);
        };
        check(leap, &[(FireAcrossLeap, 1)]);
        let back = |story: &mut Story| {
            let step = || What::Fault { kind: "clock-step".to_owned(), detail: r#"{"by_us":-5}"#.to_owned() };
            story.at_ms(1).what(step()).at_ms(2).start("a", 1, "w", 0).at_ms(3).what(step());
            story.at_ms(4).ended("a", 1, "w").at_ms(5).what(step());
        };
        check(back, &[(ClockBackInLease, 1)]);
    }
}

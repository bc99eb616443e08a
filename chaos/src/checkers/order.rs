//! S10: no dispatch passes over a strictly better ready task that was visible to it.
//!
//! Order holds within a queue of a shard: priority first, then due instant. Nobody outside sees when
//! a dispatch was planned; what is judged is its commit. The claim, exactly: when a commit leases a
//! task, no better entry of the same shard and queue stands there that is *visible*, which is one
//! that has stood, with its instant come, for so long:
//!
//! | | |
//! |---|---|
//! | [`SEEN_AFTER`] | in a run without faults, and from [`SEEN_AFTER_FAULTS`] after they healed: clocks differ, and a plan waits for its commit |
//! | [`SEEN_AFTER_FAULTS`] | while faults last, and until what was under way is over: the firing may have been planned before the entry came, and was tried for that long |
//! | [`SEEN_AFTER_UNHEARD`] | where nobody heard of the entry's commit: a rescan finds it |
//!
//! All of these count from when the shard's owner came, as it has nothing in memory at first and fires
//! what it has read while it reads the rest; and from the end of a pause of more than [`PAUSE`]
//! between two dispatches of the shard: an owner that may not act (its clock was rejected) reads
//! nothing meanwhile, and begins anew. So it says nothing about what is passed over for a shorter
//! time, nor about the order between queues or shards.

use std::{collections::BTreeMap, time::Duration};

use super::Findings;
use crate::history::{Change, History, TrueTime, What};

/// Longest way of an entry from its commit into memory and out again, when all is well.
const SEEN_AFTER: Duration = Duration::from_secs(3);
/// The same while faults last, and until what was under way is over.
const SEEN_AFTER_FAULTS: Duration = Duration::from_secs(30);
/// The same where nobody heard of the commit: a rescan finds it.
const SEEN_AFTER_UNHEARD: Duration = Duration::from_secs(60);
/// Between two dispatches of a shard: longer, and its owner may not have read meanwhile.
const PAUSE: Duration = Duration::from_secs(10);

/// Where order holds: shard and queue.
type Lane<'a> = (u32, &'a str);

#[derive(Clone, Copy)]
struct Entry {
    priority: u32,
    due_unix_ms: i64,
    /// It has stood, and its instant had come, from here on.
    ready: TrueTime,
    heard: bool,
}

/// What the commits so far have left.
#[derive(Default)]
struct Standing<'a> {
    lanes: BTreeMap<Lane<'a>, BTreeMap<&'a str, Entry>>,
    /// Owners of shards, and since when.
    owners: BTreeMap<u32, (&'a str, TrueTime)>,
    /// For each shard the last dispatch, and since when there is no long pause between two: an owner
    /// that may not act (its clock was rejected) reads nothing meanwhile, and begins anew.
    dispatches: BTreeMap<u32, (TrueTime, TrueTime)>,
}

pub(super) fn check(history: &History, findings: &mut Findings) {
    let healed = history.healed();
    // What heals at the beginning was never ill.
    let calm = if healed == TrueTime::ZERO { healed } else { healed.plus(SEEN_AFTER_FAULTS) };
    let mut standing = Standing::default();
    for event in &history.events {
        let What::Commit { changes, acknowledged, .. } = &event.what else { continue };
        standing.clear(changes);
        let seen_after = if event.at >= calm { SEEN_AFTER } else { SEEN_AFTER_FAULTS };
        standing.dispatched(changes, event.at);
        standing.judge(changes, event.at, seen_after, findings);
        for change in changes {
            match change {
                Change::ShardLease { shard, owner, .. } => standing.owned(*shard, owner, event.at),
                Change::Due { id, shard, queue, priority, due_unix_ms, .. } => {
                    let due = history.header.scale.true_time(*due_unix_ms).unwrap_or_default();
                    let (ready, heard) = (event.at.max(due), *acknowledged);
                    let entry = Entry { priority: *priority, due_unix_ms: *due_unix_ms, ready, heard };
                    standing.lanes.entry((*shard, queue)).or_default().insert(id, entry);
                }
                _ => {}
            }
        }
    }
}

impl<'a> Standing<'a> {
    fn clear(&mut self, changes: &[Change]) {
        for change in changes {
            let Change::DueCleared { id, .. } = change else { continue };
            for lane in self.lanes.values_mut() {
                lane.remove(id.as_str());
            }
        }
    }

    fn owned(&mut self, shard: u32, owner: &'a str, at: TrueTime) {
        if self.owners.get(&shard).is_none_or(|(known, _)| *known != owner) {
            self.owners.insert(shard, (owner, at));
        }
    }

    fn dispatched(&mut self, changes: &[Change], at: TrueTime) {
        for change in changes {
            let Change::Lease { shard, .. } = change else { continue };
            let (last, since) = self.dispatches.get(shard).copied().unwrap_or_default();
            let since = if at.since(last) > PAUSE { at } else { since };
            self.dispatches.insert(*shard, (at, since));
        }
    }

    /// The worst dispatch of a commit in each lane, against the best that stands there.
    fn judge(&self, changes: &[Change], at: TrueTime, seen_after: Duration, findings: &mut Findings) {
        let mut fired: BTreeMap<Lane<'_>, (u32, i64, &str)> = BTreeMap::new();
        for change in changes {
            let Change::Lease { id, shard, queue, priority, due_unix_ms, .. } = change else { continue };
            let worst = fired.entry((*shard, queue)).or_insert((*priority, *due_unix_ms, id));
            *worst = (*worst).max((*priority, *due_unix_ms, id));
        }
        for (lane, (priority, due_unix_ms, id)) in fired {
            let owned = self.owners.get(&lane.0).map_or(TrueTime::ZERO, |(_, since)| *since);
            let owned = owned.max(self.dispatches.get(&lane.0).map_or(TrueTime::ZERO, |(_, since)| *since));
            let seen = |entry: &Entry| {
                let after = if entry.heard { seen_after } else { SEEN_AFTER_UNHEARD };
                entry.ready.max(owned).plus(after) <= at
            };
            let standing = self.lanes.get(&lane).into_iter().flatten().filter(|(_, entry)| seen(entry));
            let best = standing.min_by_key(|(_, entry)| (entry.priority, entry.due_unix_ms));
            if let Some((better, entry)) = best
                && (entry.priority, entry.due_unix_ms) < (priority, due_unix_ms)
            {
                let what = format!(
                    "was passed over by {id} (priority {priority}, due {due_unix_ms}), though it was better \
                     (priority {}, due {})",
                    entry.priority, entry.due_unix_ms
                );
                findings.add(better, at, what);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::{
        checkers::testing::{Story, check_as},
        history::{Change, What},
    };

    fn due(id: &str, queue: &str, priority: u32, due_unix_ms: i64) -> Change {
        let (id, queue) = (id.to_owned(), queue.to_owned());
        Change::Due { id, shard: 0, queue, priority, due_unix_ms, attempts: 0, token: 0 }
    }

    fn fire(id: &str, queue: &str, priority: u32, due_unix_ms: i64) -> Vec<Change> {
        let lease = Change::Lease {
            id: id.to_owned(),
            shard: 0,
            session: "w".to_owned(),
            token: 1,
            attempt: 1,
            queue: queue.to_owned(),
            priority,
            due_unix_ms,
        };
        vec![Change::DueCleared { id: id.to_owned(), due_unix_ms }, lease]
    }

    /// Something of another queue of the shard is fired every few seconds.
    fn busy(story: &mut Story, from_s: u64, until_s: u64) {
        for at in (from_s..until_s).step_by(5) {
            story.at_ms(at * 1000).commit(fire(&format!("other-{at}"), "others", 1, 0));
        }
    }

    #[test]
    fn what_is_better_and_has_long_been_ready_goes_first() {
        let run = |better: (&'static str, u32, i64), fired_ms| {
            move |story: &mut Story| {
                let (queue, priority, due_ms) = better;
                story
                    .at_ms(0)
                    .what(What::Healed)
                    .at_ms(100_000)
                    .commit(vec![due("a", queue, priority, due_ms), due("b", "q", 2, 500)]);
                busy(story, 100, 111);
                story.at_ms(fired_ms).commit(fire("b", "q", 2, 500));
            }
        };
        check_as("S10", run(("q", 1, 900), 111_000), 1);
        check_as("S10", run(("q", 2, 499), 111_000), 1);
        check_as("S10", run(("q", 2, 500), 111_000), 0);
        check_as("S10", run(("q", 3, 100), 111_000), 0);
        check_as("S10", run(("another", 1, 100), 111_000), 0);
        check_as("S10", run(("q", 1, 107_500), 111_000), 1);
        check_as("S10", run(("q", 1, 108_500), 111_000), 0);
    }

    #[test]
    fn a_run_without_faults_excuses_nothing_from_its_beginning() {
        let overload = |healed_ms| {
            move |story: &mut Story| {
                story.at_ms(healed_ms).what(What::Healed).at_ms(1000);
                story.commit(vec![due("a", "q", 1, 0), due("b", "q", 2, 0)]);
                busy(story, 1, 7);
                story.at_ms(7000).commit(fire("b", "q", 2, 0));
            }
        };
        check_as("S10", overload(0), 1);
        check_as("S10", overload(500), 0);
    }

    #[test]
    fn a_new_owner_is_given_time_to_read() {
        let taken = |fired_ms| {
            move |story: &mut Story| {
                story.at_ms(0).commit(vec![due("a", "q", 1, 0), due("b", "q", 2, 0)]);
                let lease = Change::ShardLease { shard: 0, owner: "another".to_owned(), epoch: 2 };
                story.at_ms(30_000).commit(vec![lease]);
                busy(story, 30, 59);
                story.at_ms(fired_ms).commit(fire("b", "q", 2, 0));
            }
        };
        check_as("S10", taken(59_000), 0);
        check_as("S10", taken(61_000), 1);
    }

    #[test]
    fn an_owner_that_has_paused_is_given_time_to_read() {
        let paused = |story: &mut Story| {
            story.at_ms(0).what(What::Healed).at_ms(100_000).commit(vec![due("a", "q", 1, 0), due("b", "q", 2, 0)]);
            story.at_ms(130_000).commit(fire("b", "q", 2, 0));
        };
        check_as("S10", paused, 0);
    }

    #[test]
    fn what_was_fired_is_not_passed_over() {
        let both = |story: &mut Story| {
            story.at_ms(0).commit(vec![due("a", "q", 1, 0), due("b", "q", 2, 0)]);
            story.at_ms(90_000).commit([fire("a", "q", 1, 0), fire("b", "q", 2, 0)].concat());
        };
        check_as("S10", both, 0);
    }
}

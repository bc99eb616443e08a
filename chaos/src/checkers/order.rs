//! S10: no dispatch passes over a strictly better ready task that was visible to it.
//!
//! Order holds within a queue of a shard: priority first, then due instant. An owner keeps it when
//! it plans; several firings are in flight at a time, and each commits when the store lets it, so
//! that of two that were planned in order the second may be committed first. Nobody outside sees
//! when a firing was planned: what is judged is its commit, and for how long one may be in flight
//! (`fire_ms_max` of the header, computed from what the run's plan can hold it up by).
//!
//! The claim, exactly: a commit that leases a task *passes over* each better entry of the same shard
//! and queue that stands there and is *visible*: one that has stood, with its instant come, for
//! [`SEEN_AFTER`] ([`SEEN_AFTER_UNHEARD`] where nobody heard of the entry's commit, so that a rescan
//! finds it) and for as long as a firing may be in flight, as the worse one may have been planned
//! before. An entry that was passed over has to be gone within the time that a firing may be in
//! flight: then it was in flight itself, planned before the worse one. If it stands for longer, it
//! was passed over indeed.
//!
//! All of these count from when the shard's owner came, as it has nothing in memory at first and fires
//! what it has read while it reads the rest; and from the end of a pause of more than [`PAUSE`]
//! between two dispatches of the shard: an owner that may not act (its clock was rejected) reads
//! nothing meanwhile, and begins anew. So it says nothing about what is passed over for a shorter
//! time, nor about the order between queues or shards.

use std::{collections::BTreeMap, time::Duration};

use super::Findings;
use crate::history::{Change, Header, History, TrueTime, What};

/// Longest way of an entry from its commit into memory, and by how much clocks may differ.
const SEEN_AFTER: Duration = Duration::from_secs(2);
/// The same where nobody heard of the commit: a rescan finds it.
const SEEN_AFTER_UNHEARD: Duration = Duration::from_secs(30);
/// Longest that a firing is in flight when nothing holds it up.
const FIRE: Duration = Duration::from_millis(Header::FIRE_MS_MIN);
/// Between two dispatches of a shard: longer, and its owner may not have read meanwhile.
const PAUSE: Duration = Duration::from_secs(10);

/// Where order holds: shard and queue.
type Lane<'a> = (u32, &'a str);

#[derive(Clone)]
struct Entry {
    priority: u32,
    due_unix_ms: i64,
    /// It has stood, and its instant had come, from here on.
    ready: TrueTime,
    heard: bool,
    /// By what it was passed over first, and until when it may stand after that.
    passed: Option<(String, TrueTime)>,
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
    let held_up = Duration::from_millis(history.header.fire_ms_max).max(FIRE);
    // What was in flight when everything healed is over by then. What heals at the beginning was
    // never ill.
    let healed = history.healed();
    let calm = if healed == TrueTime::ZERO { healed } else { healed.plus(held_up) };
    let mut standing = Standing::default();
    for event in &history.events {
        let What::Commit { changes, acknowledged, .. } = &event.what else { continue };
        let in_flight = if event.at >= calm { FIRE } else { held_up };
        standing.clear(changes, event.at, findings);
        standing.dispatched(changes, event.at);
        standing.pass(changes, event.at, in_flight);
        for change in changes {
            match change {
                Change::ShardLease { shard, owner, .. } => standing.owned(*shard, owner, event.at),
                Change::Due { id, shard, queue, priority, due_unix_ms, .. } => {
                    let due = history.header.scale.true_time(*due_unix_ms).unwrap_or_default();
                    let (ready, heard) = (event.at.max(due), *acknowledged);
                    let (priority, due_unix_ms) = (*priority, *due_unix_ms);
                    let entry = Entry { priority, due_unix_ms, ready, heard, passed: None };
                    standing.lanes.entry((*shard, queue)).or_default().insert(id, entry);
                }
                _ => {}
            }
        }
    }
    standing.finish(history.end(), findings);
}

/// Whether an entry that is gone now, or at the end, had stood for too long.
fn judge(id: &str, entry: &Entry, gone: TrueTime, findings: &mut Findings) {
    let Some((by, until)) = entry.passed.as_ref().filter(|(_, until)| gone > *until) else { return };
    let (priority, due) = (entry.priority, entry.due_unix_ms);
    let what = format!(
        "was passed over by {by}, though it was better (priority {priority}, due {due}), and stood until {gone}"
    );
    findings.add(id, *until, what);
}

impl<'a> Standing<'a> {
    fn clear(&mut self, changes: &[Change], at: TrueTime, findings: &mut Findings) {
        for change in changes {
            let Change::DueCleared { id, .. } = change else { continue };
            for lane in self.lanes.values_mut() {
                if let Some(entry) = lane.remove(id.as_str()) {
                    judge(id, &entry, at, findings);
                }
            }
        }
    }

    fn finish(&self, end: TrueTime, findings: &mut Findings) {
        for (id, entry) in self.lanes.values().flatten() {
            judge(id, entry, end, findings);
        }
    }

    fn owned(&mut self, shard: u32, owner: &'a str, at: TrueTime) {
        if self.owners.get(&shard).is_none_or(|(known, _)| *known != owner) {
            self.owners.insert(shard, (owner, at));
            self.forgive(shard);
        }
    }

    fn dispatched(&mut self, changes: &[Change], at: TrueTime) {
        for change in changes {
            let Change::Lease { shard, .. } = change else { continue };
            let (last, since) = self.dispatches.get(shard).copied().unwrap_or_default();
            let paused = at.since(last) > PAUSE;
            self.dispatches.insert(*shard, (at, if paused { at } else { since }));
            if paused {
                self.forgive(*shard);
            }
        }
    }

    /// Who begins anew is not to blame for what was before.
    fn forgive(&mut self, shard: u32) {
        let lanes = self.lanes.iter_mut().filter(|((of, _), _)| *of == shard);
        lanes.flat_map(|(_, lane)| lane.values_mut()).for_each(|entry| entry.passed = None);
    }

    /// The worst dispatch of a commit in each lane, against all that stands there.
    fn pass(&mut self, changes: &'a [Change], at: TrueTime, in_flight: Duration) {
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
                let after = if entry.heard { SEEN_AFTER } else { SEEN_AFTER_UNHEARD };
                entry.ready.max(owned).plus(after + in_flight) <= at
            };
            let standing = self.lanes.get_mut(&lane).into_iter().flat_map(BTreeMap::values_mut);
            let better = standing.filter(|entry| (entry.priority, entry.due_unix_ms) < (priority, due_unix_ms));
            for entry in better.filter(|entry| entry.passed.is_none() && seen(entry)) {
                let by = format!("{id} (priority {priority}, due {due_unix_ms}) at {at}");
                entry.passed = Some((by, at.plus(in_flight)));
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
        let run = |better: (&'static str, u32, i64), fired_ms: u64| {
            move |story: &mut Story| {
                let (queue, priority, due_ms) = better;
                story
                    .at_ms(0)
                    .what(What::Healed)
                    .at_ms(100_000)
                    .commit(vec![due("a", queue, priority, due_ms), due("b", "q", 2, 500)]);
                busy(story, 100, 111);
                story.at_ms(111_000).commit(fire("b", "q", 2, 500));
                story.at_ms(fired_ms).commit(fire("a", queue, priority, due_ms));
            }
        };
        check_as("S10", run(("q", 1, 900), 112_500), 1);
        check_as("S10", run(("q", 2, 499), 112_500), 1);
        check_as("S10", run(("q", 2, 500), 112_500), 0);
        check_as("S10", run(("q", 3, 100), 112_500), 0);
        check_as("S10", run(("another", 1, 100), 112_500), 0);
        check_as("S10", run(("q", 1, 107_500), 112_500), 1);
        check_as("S10", run(("q", 1, 108_500), 112_500), 0);
        // It was in flight itself: planned first, and committed second.
        check_as("S10", run(("q", 1, 900), 111_900), 0);
    }

    #[test]
    fn what_is_never_fired_was_passed_over() {
        let forgotten = |story: &mut Story| {
            story.at_ms(0).what(What::Healed).commit(vec![due("a", "q", 1, 0), due("b", "q", 2, 0)]);
            busy(story, 1, 7);
            story.at_ms(7000).commit(fire("b", "q", 2, 0));
            busy(story, 8, 14);
        };
        check_as("S10", forgotten, 1);
    }

    #[test]
    fn a_run_without_faults_excuses_nothing_from_its_beginning() {
        let overload = |healed_ms| {
            move |story: &mut Story| {
                story.header.fire_ms_max = 30_000;
                story.at_ms(healed_ms).what(What::Healed).at_ms(1000);
                story.commit(vec![due("a", "q", 1, 0), due("b", "q", 2, 0)]);
                busy(story, 1, 7);
                story.at_ms(7000).commit(fire("b", "q", 2, 0));
                story.at_ms(9000).commit(fire("a", "q", 1, 0));
            }
        };
        check_as("S10", overload(0), 1);
        check_as("S10", overload(500), 0);
    }

    #[test]
    fn what_a_plan_can_hold_up_is_excused_for_so_long_and_no_longer() {
        let held = |fire_ms_max, passed_s: u64, fired_s: u64| {
            move |story: &mut Story| {
                story.header.fire_ms_max = fire_ms_max;
                story.at_ms(0).commit(vec![due("a", "q", 1, 0), due("b", "q", 2, 0)]);
                busy(story, 0, passed_s);
                story.at_ms(passed_s * 1000).commit(fire("b", "q", 2, 0));
                busy(story, passed_s, fired_s);
                story.at_ms(fired_s * 1000).commit(fire("a", "q", 1, 0)).at_ms(200_000).what(What::Healed);
            }
        };
        check_as("S10", held(0, 4, 6), 1);
        check_as("S10", held(20_000, 20, 90), 0);
        check_as("S10", held(20_000, 23, 42), 0);
        check_as("S10", held(20_000, 23, 44), 1);
        check_as("S10", held(50_000, 23, 44), 0);
        check_as("S10", held(50_000, 53, 104), 1);
    }

    #[test]
    fn a_new_owner_is_given_time_to_read() {
        let taken = |fired_ms| {
            move |story: &mut Story| {
                story.header.fire_ms_max = 28_000;
                story.at_ms(0).commit(vec![due("a", "q", 1, 0), due("b", "q", 2, 0)]);
                let lease = Change::ShardLease { shard: 0, owner: "another".to_owned(), epoch: 2 };
                story.at_ms(30_000).commit(vec![lease]);
                busy(story, 30, 59);
                story.at_ms(fired_ms).commit(fire("b", "q", 2, 0));
                busy(story, 62, 94);
            }
        };
        check_as("S10", taken(59_000), 0);
        check_as("S10", taken(61_000), 1);
    }

    #[test]
    fn a_new_owner_is_not_to_blame_for_the_one_before() {
        let taken = |owner: &'static str, expected| {
            let tell = move |story: &mut Story| {
                let lease = |owner: &str, epoch| Change::ShardLease { shard: 0, owner: owner.to_owned(), epoch };
                story.at_ms(0).what(What::Healed).commit(vec![lease("one", 1)]);
                story.commit(vec![due("a", "q", 1, 0), due("b", "q", 2, 0)]);
                busy(story, 1, 7);
                story.at_ms(7000).commit(fire("b", "q", 2, 0)).at_ms(7500).commit(vec![lease(owner, 2)]);
                story.at_ms(9000).commit(fire("a", "q", 1, 0));
            };
            check_as("S10", tell, expected);
        };
        taken("another", 0);
        taken("one", 1);
    }

    #[test]
    fn an_owner_that_has_paused_is_given_time_to_read() {
        let paused = |story: &mut Story| {
            story.at_ms(0).what(What::Healed).at_ms(100_000).commit(vec![due("a", "q", 1, 0), due("b", "q", 2, 0)]);
            story.at_ms(130_000).commit(fire("b", "q", 2, 0));
            busy(story, 131, 140);
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

//! S10: no dispatch passes over a strictly better ready task that was visible to it.
//!
//! Order holds within a queue of a shard: priority first, then due instant. A task is visible
//! once its due entry has stood for some time in which its instant had come: what is being
//! fired by another transaction, or is on its way into memory, is not passed over. An entry
//! whose writer never heard of its commit may stay unseen until the slow rescan; and a new owner of
//! a shard has nothing in memory at first, and fires what it has read while it reads the rest.

use std::{collections::BTreeMap, time::Duration};

use super::Findings;
use crate::history::{Change, History, TrueTime, What};

/// Longest way of an entry from the commit into memory, and longest firing.
const VISIBLE_AFTER: Duration = Duration::from_secs(10);
/// The same where nobody heard of the commit: a rescan finds it.
const UNHEARD_VISIBLE_AFTER: Duration = Duration::from_secs(120);

/// Where order holds: shard and queue.
type Lane<'a> = (u32, &'a str);

#[derive(Clone, Copy)]
struct Entry {
    priority: u32,
    due_unix_ms: i64,
    visible: TrueTime,
}

pub(super) fn check(history: &History, findings: &mut Findings) {
    let mut lanes: BTreeMap<Lane<'_>, BTreeMap<&str, Entry>> = BTreeMap::new();
    let mut owners: BTreeMap<u32, (&str, TrueTime)> = BTreeMap::new();
    for event in &history.events {
        let What::Commit { changes, acknowledged, .. } = &event.what else { continue };
        let cleared = changes.iter().filter_map(|change| match change {
            Change::DueCleared { id, .. } => Some(id.as_str()),
            _ => None,
        });
        for id in cleared {
            for lane in lanes.values_mut() {
                lane.remove(id);
            }
        }
        judge(&lanes, &owners, changes, event.at, findings);
        let delay = if *acknowledged { VISIBLE_AFTER } else { UNHEARD_VISIBLE_AFTER };
        for change in changes {
            if let Change::ShardLease { shard, owner, .. } = change
                && owners.get(shard).is_none_or(|(known, _)| known != owner)
            {
                owners.insert(*shard, (owner, event.at.plus(VISIBLE_AFTER)));
            }
            let Change::Due { id, shard, queue, priority, due_unix_ms, .. } = change else { continue };
            let due = history.header.scale.true_time(*due_unix_ms).unwrap_or_default();
            let entry =
                Entry { priority: *priority, due_unix_ms: *due_unix_ms, visible: event.at.max(due).plus(delay) };
            lanes.entry((*shard, queue)).or_default().insert(id, entry);
        }
    }
}

/// The worst dispatch of a commit in each lane, against the best that stands there.
fn judge(
    lanes: &BTreeMap<Lane<'_>, BTreeMap<&str, Entry>>,
    owners: &BTreeMap<u32, (&str, TrueTime)>,
    changes: &[Change],
    at: TrueTime,
    findings: &mut Findings,
) {
    let mut fired: BTreeMap<Lane<'_>, (u32, i64, &str)> = BTreeMap::new();
    for change in changes {
        let Change::Lease { id, shard, queue, priority, due_unix_ms, .. } = change else { continue };
        let worst = fired.entry((*shard, queue)).or_insert((*priority, *due_unix_ms, id));
        *worst = (*worst).max((*priority, *due_unix_ms, id));
    }
    let knows = |shard| owners.get(&shard).is_none_or(|(_, from)| *from <= at);
    for (lane, (priority, due_unix_ms, id)) in fired.into_iter().filter(|((shard, _), _)| knows(*shard)) {
        let standing = lanes.get(&lane).into_iter().flatten();
        let visible = standing.filter(|(_, entry)| entry.visible <= at);
        let best = visible.min_by_key(|(_, entry)| (entry.priority, entry.due_unix_ms));
        if let Some((better, entry)) = best
            && (entry.priority, entry.due_unix_ms) < (priority, due_unix_ms)
        {
            let what = format!(
                "was passed over by {id} (priority {priority}, due {due_unix_ms}), though it was better (priority {}, due {})",
                entry.priority, entry.due_unix_ms
            );
            findings.add(better, at, what);
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::{
        checkers::testing::{Story, check_as},
        history::Change,
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

    #[test]
    fn what_is_better_and_has_long_been_ready_goes_first() {
        let run = |better: (&'static str, u32, i64), fired_ms| {
            move |story: &mut Story| {
                let (queue, priority, due_ms) = better;
                story.at_ms(0).commit(vec![due("a", queue, priority, due_ms), due("b", "q", 2, 500)]);
                story.at_ms(fired_ms).commit(fire("b", "q", 2, 500));
            }
        };
        check_as("S10", run(("q", 1, 900), 11_000), 1);
        check_as("S10", run(("q", 2, 499), 11_000), 1);
        check_as("S10", run(("q", 2, 500), 11_000), 0);
        check_as("S10", run(("q", 3, 100), 11_000), 0);
        check_as("S10", run(("another", 1, 100), 11_000), 0);
        check_as("S10", run(("q", 1, 5_000), 11_000), 0);
    }

    #[test]
    fn a_new_owner_is_given_time_to_read() {
        let taken = |fired_ms| {
            move |story: &mut Story| {
                story.at_ms(0).commit(vec![due("a", "q", 1, 0), due("b", "q", 2, 0)]);
                let lease = Change::ShardLease { shard: 0, owner: "another".to_owned(), epoch: 2 };
                story.at_ms(30_000).commit(vec![lease]).at_ms(fired_ms).commit(fire("b", "q", 2, 0));
            }
        };
        check_as("S10", taken(39_000), 0);
        check_as("S10", taken(41_000), 1);
    }

    #[test]
    fn what_was_fired_is_not_passed_over() {
        let both = |story: &mut Story| {
            story.at_ms(0).commit(vec![due("a", "q", 1, 0), due("b", "q", 2, 0)]);
            story.at_ms(20_000).commit([fire("a", "q", 1, 0), fire("b", "q", 2, 0)].concat());
        };
        check_as("S10", both, 0);
    }
}

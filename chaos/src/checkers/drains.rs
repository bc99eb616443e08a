//! L1: when faults have healed, everything due drains within the bound that the header states:
//! what is due by then has ended, what starts later starts in time, no instant of a schedule
//! waits, and shards of a dead owner have a living one. The attempts of a dead worker are over
//! soon after its lease, not only when they run out of time.

use std::{collections::BTreeMap, time::Duration};

use super::Findings;
use crate::history::{Change, Header, History, NodeChange, TaskStory, TrueTime, What};

pub(super) fn check(history: &History, findings: &mut Findings) {
    let queues = queues(history);
    let live = |id: &str| queues.get(id).is_none_or(|queue| !history.header.dead_queues.iter().any(|it| it == queue));
    let waiting = waiting(history);
    for (id, task) in history.tasks().iter().filter(|(id, _)| live(id)) {
        left_over(history, id, task, waiting.get(id.as_str()).copied(), findings);
        late(history, id, task, findings);
    }
    ticks(history, findings);
    takeovers(history, findings);
    dead_sessions(history, findings);
}

/// Two leases, as a new owner gives a session its whole lease anew, and some time for what the
/// faults have left undone; and, for a worker that died while they lasted, the transaction that takes
/// its tasks back may be in flight when all heals.
fn dead_session_over(history: &History, lost: TrueTime) -> Duration {
    let header = &history.header;
    let in_flight_ms = if lost > history.healed() { 0 } else { header.fire_ms_max.min(Header::TRIED_MS_MAX) };
    Duration::from_millis(2 * header.session_lease_ms + in_flight_ms) + Duration::from_secs(20)
}

fn dead_sessions(history: &History, findings: &mut Findings) {
    let mut running: BTreeMap<&str, (&str, u64)> = BTreeMap::new();
    let mut lost: BTreeMap<&str, TrueTime> = BTreeMap::new();
    for event in &history.events {
        match &event.what {
            What::Started { id, token, .. } => {
                running.insert(id, (&event.node, *token));
            }
            What::Ended { id, token, .. } if running.get(id.as_str()).is_some_and(|(_, last)| last == token) => {
                running.remove(id.as_str());
            }
            What::Node { change: NodeChange::Killed } => {
                let here = running.iter().filter(|(_, (node, _))| *node == event.node).map(|(id, _)| *id);
                let here: Vec<&str> = here.collect();
                running.retain(|_, (node, _)| *node != event.node);
                lost.extend(here.into_iter().map(|id| (id, event.at)));
            }
            What::Commit { changes, .. } => {
                for change in changes {
                    let Change::LeaseCleared { id } = change else { continue };
                    let Some(since) = lost.remove(id.as_str()) else { continue };
                    over(history, id, since, event.at, findings);
                }
            }
            _ => {}
        }
    }
    // What is still to be taken back at the end.
    for (id, since) in lost.into_iter().filter(|_| history.header.sees.commits) {
        let leased = |what: &What| matches!(what, What::FinalRow { row: Change::Lease { id: it, .. } } if it == id);
        if history.first(leased).is_some() {
            over(history, id, since, history.end(), findings);
        }
    }
}

fn over(history: &History, id: &str, lost: TrueTime, at: TrueTime, findings: &mut Findings) {
    let since = lost.max(history.healed());
    let late = at.since(since);
    if late > dead_session_over(history, lost) {
        findings.add(id, at, format!("its worker died at {lost}, and still had it {late:?} after {since}"));
    }
}

fn patience(history: &History) -> Duration {
    Duration::from_millis(history.header.drain_ms_max)
}

/// Queues of tasks, as far as anything tells.
pub(super) fn queues(history: &History) -> BTreeMap<&str, &str> {
    let mut queues = BTreeMap::new();
    for event in &history.events {
        match &event.what {
            What::Submit { task, .. } => drop(queues.insert(task.id.as_str(), task.queue.as_str())),
            What::Started { id, queue, .. } => drop(queues.insert(id, queue)),
            What::FinalRow { row: Change::Due { id, queue, .. } | Change::Lease { id, queue, .. } } => {
                queues.insert(id, queue);
            }
            What::Commit { changes, .. } => {
                for change in changes {
                    if let Change::Due { id, queue, .. } | Change::Lease { id, queue, .. } = change {
                        queues.insert(id, queue);
                    }
                }
            }
            _ => {}
        }
    }
    queues
}

/// Due instants of the tasks that still wait at the end, where rows are seen.
fn waiting(history: &History) -> BTreeMap<&str, i64> {
    let entries = history.events.iter().filter_map(|event| match &event.what {
        What::FinalRow { row: Change::Due { id, due_unix_ms, .. } } => Some((id.as_str(), *due_unix_ms)),
        _ => None,
    });
    entries.collect()
}

/// The first due instant of a task that was ever stated.
fn first_due(task: &TaskStory) -> Option<i64> {
    let stated = task.submitted.iter().find_map(|(_, task)| task.due_unix_ms);
    task.acknowledged.map(|(_, due)| due).or(stated).or(task.nominal_unix_ms)
}

/// When an attempt due at this instant could start: due, submitted, and nothing broken.
fn ready(history: &History, task: &TaskStory, due_unix_ms: i64) -> TrueTime {
    let due = history.header.scale.true_time(due_unix_ms).unwrap_or_default();
    let known = task.acknowledged.map(|(at, _)| at).or_else(|| task.submitted.last().map(|(at, _)| *at));
    due.max(history.healed()).max(known.unwrap_or_default())
}

fn left_over(history: &History, id: &str, task: &TaskStory, waits_for: Option<i64>, findings: &mut Findings) {
    let Some(state) = task.end.filter(|end| !end.is_terminal()) else { return };
    let last = task.starts.last().map(|start| start.due_unix_ms);
    let Some(due) = waits_for.or(last).or_else(|| first_due(task)) else { return };
    let ready = ready(history, task, due);
    let waited = history.end().since(ready);
    if waited > patience(history) {
        findings.add(id, history.end(), format!("is still {state:?}, though it could have run since {ready}"));
    }
}

fn late(history: &History, id: &str, task: &TaskStory, findings: &mut Findings) {
    for start in task.starts.iter().filter(|start| start.at > history.healed()) {
        let ready = ready(history, task, start.due_unix_ms);
        // An attempt before it may have kept it, by right, until it was given up.
        let before = task.starts.iter().filter(|it| it.token < start.token).map(|it| it.ended.unwrap_or(it.at)).max();
        let late = start.at.since(ready.max(before.unwrap_or_default()));
        if late > patience(history) {
            findings.add(id, start.at, format!("started {late:?} after it could have, at {ready}"));
        }
    }
}

fn ticks(history: &History, findings: &mut Findings) {
    for event in &history.events {
        let What::FinalRow { row: Change::Tick { uid, at_unix_ms } } = &event.what else { continue };
        let due = history.header.scale.true_time(*at_unix_ms).unwrap_or_default();
        if history.end().since(due.max(history.healed())) > patience(history) {
            findings.add(uid, history.end(), format!("its instant {at_unix_ms} still waits to become a task"));
        }
    }
}

/// Owners are known by the node that committed their lease.
fn takeovers(history: &History, findings: &mut Findings) {
    let mut owners: BTreeMap<u32, (&str, &str)> = BTreeMap::new();
    let mut orphans: BTreeMap<u32, TrueTime> = BTreeMap::new();
    for event in &history.events {
        match &event.what {
            What::Node { change: NodeChange::Killed } => {
                let lost = owners.iter().filter(|(_, (_, node))| *node == event.node).map(|(shard, _)| *shard);
                for shard in lost {
                    orphans.entry(shard).or_insert(event.at);
                }
            }
            // The clock of a take-over runs while there is somebody who could do it.
            What::Node { change: NodeChange::Started } if owners.values().any(|(_, node)| *node == event.node) => {
                orphans.values_mut().for_each(|since| *since = event.at);
            }
            What::Commit { changes, .. } if !event.node.is_empty() => {
                for change in changes {
                    let Change::ShardLease { shard, owner, .. } = change else { continue };
                    if owners.get(shard).is_none_or(|(known, _)| known != owner) {
                        taken(history, *shard, orphans.remove(shard), event.at, findings);
                    }
                    owners.insert(*shard, (owner, &event.node));
                }
            }
            _ => {}
        }
    }
    for (shard, since) in orphans {
        taken(history, shard, Some(since), history.end(), findings);
    }
}

fn taken(history: &History, shard: u32, since: Option<TrueTime>, at: TrueTime, findings: &mut Findings) {
    let Some(since) = since.map(|since| since.max(history.healed())) else { return };
    if at.since(since) > patience(history) {
        findings.add(&format!("shard {shard}"), at, format!("had no living owner from {since} on"));
    }
}

#[cfg(test)]
mod tests {
    use crate::{
        checkers::testing::{Story, check_as, cleared, due, lease},
        history::{
            Change,
            EndState::{Scheduled, Succeeded},
            NodeChange::{Killed, Started},
            What,
        },
    };

    // The stories' bound is a second.

    #[test]
    fn what_is_due_when_all_is_well_again_has_soon_ended() {
        let run = |end_ms, state| {
            move |story: &mut Story| {
                story.at_ms(0).submit("a").acknowledged("a").at_ms(5000).what(What::Healed);
                story.at_ms(end_ms).end("a", state);
            }
        };
        check_as("L1", run(7000, Succeeded), 0);
        check_as("L1", run(7000, Scheduled), 1);
        check_as("L1", run(5900, Scheduled), 0);
        let dead = |story: &mut Story| {
            story.header.dead_queues = vec!["q".to_owned()];
            run(7000, Scheduled)(story);
        };
        check_as("L1", dead, 0);
    }

    #[test]
    fn a_retry_that_is_due_later_is_left_its_time() {
        let retry = |due_ms: i64| {
            move |story: &mut Story| {
                story.at_ms(0).submit("a").acknowledged("a").what(What::Healed).at_ms(7000).end("a", Scheduled);
                let mut entry = due("a", 1, 1);
                if let Change::Due { due_unix_ms, .. } = &mut entry {
                    *due_unix_ms = due_ms;
                }
                story.rows(vec![entry]);
            }
        };
        check_as("L1", retry(6500), 0);
        check_as("L1", retry(5500), 1);
    }

    #[test]
    fn what_starts_after_the_faults_starts_in_time() {
        let run = |healed_ms, start_ms| {
            move |story: &mut Story| {
                story.at_ms(0).submit("a").acknowledged("a").at_ms(healed_ms).what(What::Healed);
                story.at_ms(start_ms).start("a", 1, "w", 0);
            }
        };
        check_as("L1", run(5000, 5900), 0);
        check_as("L1", run(5000, 6100), 1);
        check_as("L1", run(7000, 6900), 0);
    }

    #[test]
    fn a_dead_worker_does_not_keep_its_tasks() {
        // The stories' lease is a second.
        let run = |over_ms| {
            move |story: &mut Story| {
                story.at_ms(0).what(What::Healed).commit(vec![lease("a", 1)]).start("a", 1, "w", 0);
                story.at_ms(1000).node("w", Killed).at_ms(over_ms).commit(vec![cleared("a")]);
            }
        };
        check_as("L1", run(22_900), 0);
        check_as("L1", run(23_100), 1);
    }

    #[test]
    fn what_takes_a_dead_workers_tasks_back_may_be_in_flight_when_all_heals() {
        let run = |died_ms: u64, fire_ms_max, over_ms| {
            move |story: &mut Story| {
                story.header.fire_ms_max = fire_ms_max;
                story.at_ms(0).commit(vec![lease("a", 1)]).start("a", 1, "w", 0);
                let (mut steps, died) = ([5000, died_ms], died_ms);
                steps.sort_unstable();
                for at in steps {
                    story.at_ms(at);
                    if at == died {
                        story.node("w", Killed)
                    } else {
                        story.what(What::Healed)
                    };
                }
                story.at_ms(over_ms).commit(vec![cleared("a")]);
            }
        };
        check_as("L1", run(1000, 2000, 28_900), 0);
        check_as("L1", run(1000, 2000, 29_100), 1);
        // No transaction is tried for longer.
        check_as("L1", run(1000, 90_000, 57_900), 0);
        check_as("L1", run(1000, 90_000, 58_100), 1);
        // After the faults nothing holds it up.
        check_as("L1", run(6000, 90_000, 27_900), 0);
        check_as("L1", run(6000, 90_000, 28_100), 1);
    }

    #[test]
    fn no_instant_of_a_schedule_waits() {
        let tick = |at_unix_ms| {
            move |story: &mut Story| {
                story.at_ms(0).what(What::Healed).at_ms(9000);
                story.rows(vec![Change::Tick { uid: "u".to_owned(), at_unix_ms }]);
            }
        };
        check_as("L1", tick(8500), 0);
        check_as("L1", tick(7500), 1);
    }

    #[test]
    fn a_dead_owner_is_succeeded_in_time() {
        let owns = |owner: &str, epoch| vec![Change::ShardLease { shard: 3, owner: owner.to_owned(), epoch }];
        let run = |taken_ms: Option<u64>| {
            move |story: &mut Story| {
                story.at_ms(0).what(What::Healed).commit_of("s1", owns("a", 1));
                story.at_ms(1000).node("s1", Killed).at_ms(3000).node("s1", Started);
                if let Some(ms) = taken_ms {
                    story.at_ms(ms).commit_of("s1", owns("b", 2));
                }
                story.at_ms(9000).node("c", Started);
            }
        };
        check_as("L1", run(Some(3900)), 0);
        check_as("L1", run(Some(4100)), 1);
        check_as("L1", run(None), 1);
    }
}

//! D1: what was acknowledged is in the store at the end, whatever crashed and restarted
//! meanwhile: tasks, accepted completions, cancellations, schedules. Where the commit log is
//! seen, the rows at the end are those that the commits left, to the last one.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::Findings;
use crate::history::{Change, EndState, Header, History, ScheduleAction, TrueTime, What};

/// A call that its caller has given up may still take effect for this long.
const TRIED_MAX: Duration = Duration::from_millis(Header::TRIED_MS_MAX);

pub(super) fn check(history: &History, findings: &mut Findings) {
    let rows = Rows::of(history);
    acknowledged(history, &rows, findings);
    schedules(history, &rows, findings);
    if history.header.sees.commits {
        commits(history, findings);
    }
}

/// The rows at the end, as far as acknowledgements speak of them.
#[derive(Default)]
struct Rows<'a> {
    tasks: BTreeSet<&'a str>,
    heads: BTreeMap<&'a str, (EndState, u64)>,
    schedules: BTreeMap<&'a str, bool>,
}

impl<'a> Rows<'a> {
    fn of(history: &'a History) -> Self {
        let mut rows = Self::default();
        for event in &history.events {
            let What::FinalRow { row } = &event.what else { continue };
            match row {
                Change::Task { id, .. } => drop(rows.tasks.insert(id)),
                Change::Head { id, state, token, .. } => drop(rows.heads.insert(id, (*state, *token))),
                Change::Schedule { schedule, active, .. } => drop(rows.schedules.insert(schedule, *active)),
                _ => {}
            }
        }
        rows
    }
}

fn acknowledged(history: &History, rows: &Rows<'_>, findings: &mut Findings) {
    let end = history.end();
    for (id, task) in history.tasks() {
        if task.acknowledged.is_some() && !rows.tasks.contains(id.as_str()) {
            findings.add(&id, end, "was acknowledged, and the store does not have it");
        }
        let head = rows.heads.get(id.as_str());
        if task.cancelled.is_some() && head.is_none_or(|(state, _)| *state != EndState::Cancelled) {
            findings.add(&id, end, format!("its cancellation was acknowledged, and the store has {head:?}"));
        }
        let told = task.verdicts.iter().filter(|(_, _, verdict)| verdict == "accepted").map(|(_, token, _)| *token);
        if let Some(token) = told.max()
            && head.is_none_or(|(_, stored)| *stored < token)
        {
            findings.add(
                &id,
                end,
                format!("a completion under token {token} was accepted, and the store has {head:?}"),
            );
        }
    }
}

/// What a schedule's callers know of its end: whether it is there, and whether it ticks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Known {
    Absent,
    There { active: Option<bool> },
}

fn schedules(history: &History, rows: &Rows<'_>, findings: &mut Findings) {
    let mut known: BTreeMap<&str, Option<Known>> = BTreeMap::new();
    let mut open: BTreeMap<u64, (&str, Known)> = BTreeMap::new();
    let mut late: BTreeMap<&str, TrueTime> = BTreeMap::new();
    for event in &history.events {
        match &event.what {
            What::ScheduleCall { op, schedule, action } => {
                let after = match action {
                    ScheduleAction::Delete => Known::Absent,
                    ScheduleAction::Pause => Known::There { active: Some(false) },
                    ScheduleAction::Resume => Known::There { active: Some(true) },
                    // Creating it again leaves a paused one paused.
                    ScheduleAction::Create { .. } => Known::There { active: None },
                };
                open.insert(*op, (schedule, after));
                known.entry(schedule).or_default();
            }
            What::ScheduleAnswered { op, ok, unknown, .. } => {
                let Some((schedule, after)) = open.remove(op) else { continue };
                // With another call under way nobody knows which came first.
                let alone = open.values().all(|(other, _)| *other != schedule);
                // Nor with one whose caller has given up, and the scheduler not yet.
                let certain = *ok && alone && late.get(schedule).is_none_or(|until| event.at > *until);
                if *unknown {
                    late.insert(schedule, event.at.plus(TRIED_MAX));
                }
                if *ok || *unknown {
                    known.insert(schedule, certain.then_some(after));
                }
            }
            _ => {}
        }
    }
    // A call without an answer may have happened at any time.
    for (schedule, _) in open.values() {
        known.insert(schedule, None);
    }
    for (schedule, known) in known {
        let row = rows.schedules.get(schedule).copied();
        let wrong = match known {
            None => false,
            Some(Known::Absent) => row.is_some(),
            Some(Known::There { active }) => row.is_none() || active.is_some_and(|active| row != Some(active)),
        };
        if wrong {
            let what = format!("its callers were told {known:?}, and the store has it active: {row:?}");
            findings.add(schedule, history.end(), what);
        }
    }
}

/// A row by what names it. Only kinds whose clearing shows in a commit, too.
fn name(row: &Change) -> Option<(&'static str, String, bool)> {
    Some(match row {
        Change::Task { id, .. } => ("task", id.clone(), true),
        Change::Head { id, .. } => ("head", id.clone(), true),
        Change::Lease { id, .. } => ("lease", id.clone(), true),
        Change::LeaseCleared { id } => ("lease", id.clone(), false),
        Change::Due { id, due_unix_ms, .. } => ("due entry", format!("{id} at {due_unix_ms}"), true),
        Change::DueCleared { id, due_unix_ms } => ("due entry", format!("{id} at {due_unix_ms}"), false),
        Change::Tick { uid, at_unix_ms } => ("tick", format!("{uid} at {at_unix_ms}"), true),
        Change::TickCleared { uid, at_unix_ms } => ("tick", format!("{uid} at {at_unix_ms}"), false),
        Change::ShardLease { shard, .. } => ("shard lease", shard.to_string(), true),
        Change::Schedule { schedule, .. } => ("schedule", schedule.clone(), true),
        Change::ScheduleCleared { schedule } => ("schedule", schedule.clone(), false),
        Change::Attempt { id, number } => ("attempt", format!("{id} number {number}"), true),
        Change::Other | Change::Malformed { .. } => return None,
    })
}

fn commits(history: &History, findings: &mut Findings) {
    let (mut left, mut found) = (BTreeMap::new(), BTreeMap::new());
    for event in &history.events {
        match &event.what {
            What::Commit { changes, .. } => {
                for change in changes {
                    match name(change) {
                        Some((kind, name, true)) => drop(left.insert((kind, name), change)),
                        Some((kind, name, false)) => drop(left.remove(&(kind, name))),
                        None => {}
                    }
                }
            }
            What::FinalRow { row } => {
                if let Some((kind, name, _)) = name(row) {
                    found.insert((kind, name), row);
                }
            }
            _ => {}
        }
    }
    for ((kind, name), row) in &left {
        match found.get(&(*kind, name.clone())) {
            None => findings.add(name, history.end(), format!("its {kind} was committed and is not there")),
            Some(other) if other != row => {
                findings.add(name, history.end(), format!("its {kind} was committed as {row:?} and is {other:?}"));
            }
            Some(_) => {}
        }
    }
    for (kind, name) in found.keys().filter(|key| !left.contains_key(*key)) {
        findings.add(name, history.end(), format!("has a {kind} that no commit left"));
    }
}

#[cfg(test)]
mod tests {
    use crate::{
        checkers::testing::{Story, check_as, cleared, head, lease, task},
        history::{
            Change,
            EndState::{Cancelled, Scheduled, Succeeded},
            ScheduleAction::{Delete, Pause, Resume},
        },
    };

    /// What the store has at the end, without a commit log.
    fn ends(tell: impl FnOnce(&mut Story), rows: Vec<Change>, expected: usize) {
        let whole = |story: &mut Story| {
            story.header.sees.commits = false;
            tell(story);
            story.rows(rows);
        };
        check_as("D1", whole, expected);
    }

    #[test]
    fn acknowledged_tasks_completions_and_cancellations_are_stored() {
        let submitted = |story: &mut Story| {
            story.submit("a").acknowledged("a");
        };
        ends(submitted, vec![task("a")], 0);
        ends(submitted, vec![], 1);
        let completed = |story: &mut Story| {
            story.verdict("a", 2, "accepted");
        };
        ends(completed, vec![task("a"), head("a", Succeeded, 2, 2)], 0);
        ends(completed, vec![task("a"), head("a", Scheduled, 1, 1)], 1);
        ends(completed, vec![task("a")], 1);
        let cancelled = |story: &mut Story| {
            story.cancelled("a");
        };
        ends(cancelled, vec![task("a"), head("a", Cancelled, 0, 0)], 0);
        ends(cancelled, vec![task("a"), head("a", Succeeded, 1, 1)], 1);
    }

    #[test]
    fn acknowledged_changes_of_schedules_are_stored() {
        let row = |active| Change::Schedule {
            schedule: "s".to_owned(),
            uid: "u".to_owned(),
            active,
            next_unix_ms: None,
            occurrences: 0,
        };
        let made = |story: &mut Story| {
            story.every("s", 1000);
        };
        ends(made, vec![row(true)], 0);
        ends(made, vec![], 1);
        let paused = |story: &mut Story| {
            story.every("s", 1000).schedule("s", Pause);
        };
        ends(paused, vec![row(false)], 0);
        ends(paused, vec![row(true)], 1);
        let deleted = |story: &mut Story| {
            story.every("s", 1000).schedule("s", Delete);
        };
        ends(deleted, vec![], 0);
        ends(deleted, vec![row(false)], 1);
        let unknown = |story: &mut Story| {
            story.every("s", 1000).schedule_unknown("s", Delete);
        };
        ends(unknown, vec![], 0);
        ends(unknown, vec![row(true)], 0);
    }

    #[test]
    fn a_change_whose_caller_gave_up_may_follow_later_ones_for_as_long_as_it_is_tried() {
        let paused = |active| Change::Schedule {
            schedule: "s".to_owned(),
            uid: "u".to_owned(),
            active,
            next_unix_ms: None,
            occurrences: 0,
        };
        let overtaken = |after_ms: u64| {
            move |story: &mut Story| {
                story.every("s", 1000).schedule_unknown("s", Resume);
                story.at_ms(after_ms).schedule("s", Pause);
            }
        };
        ends(overtaken(31_000), vec![paused(true)], 0);
        ends(overtaken(31_001), vec![paused(true)], 1);
        ends(overtaken(31_001), vec![paused(false)], 0);
    }

    #[test]
    fn the_rows_are_those_that_the_commits_left() {
        let run = |rows: Vec<Change>| {
            move |story: &mut Story| {
                story.commit(vec![task("a")]).commit(vec![lease("a", 1)]);
                story.commit(vec![cleared("a"), head("a", Succeeded, 1, 1)]).rows(rows);
            }
        };
        check_as("D1", run(vec![task("a"), head("a", Succeeded, 1, 1)]), 0);
        check_as("D1", run(vec![task("a")]), 1);
        check_as("D1", run(vec![task("a"), head("a", Scheduled, 1, 1)]), 1);
        check_as("D1", run(vec![task("a"), head("a", Succeeded, 1, 1), lease("a", 1)]), 1);
    }
}

//! S8: indexes and records agree one to one. A task that has not ended has exactly one of a due
//! entry and a lease, one that has ended has neither; an active schedule has its tick.

use std::collections::{BTreeMap, BTreeSet};

use super::Findings;
use crate::history::{Change, EndState, History, TrueTime, What};

#[derive(Default)]
struct Rows<'a> {
    tasks: BTreeSet<&'a str>,
    heads: BTreeMap<&'a str, (EndState, u32, u64)>,
    /// Attempts made and last token, as the entry says.
    dues: BTreeMap<&'a str, Vec<(u32, u64)>>,
    leases: BTreeMap<&'a str, (u32, u64)>,
    ticks: BTreeSet<(&'a str, i64)>,
    schedules: BTreeMap<&'a str, Option<i64>>,
}

pub(super) fn check(history: &History, findings: &mut Findings) {
    let mut rows = Rows::default();
    for event in &history.events {
        let What::FinalRow { row } = &event.what else { continue };
        match row {
            Change::Task { id, .. } => drop(rows.tasks.insert(id)),
            Change::Head { id, state, attempts, token } => drop(rows.heads.insert(id, (*state, *attempts, *token))),
            Change::Due { id, attempts, token, .. } => rows.dues.entry(id).or_default().push((*attempts, *token)),
            Change::Lease { id, attempt, token, .. } => drop(rows.leases.insert(id, (*attempt, *token))),
            Change::Tick { uid, at_unix_ms } => drop(rows.ticks.insert((uid, *at_unix_ms))),
            Change::Schedule { uid, next_unix_ms, .. } => drop(rows.schedules.insert(uid, *next_unix_ms)),
            Change::Malformed { what } => findings.add("a row of the store", event.at, what.clone()),
            _ => {}
        }
    }
    let end = history.end();
    rows.check_tasks(end, findings);
    rows.check_strays(end, findings);
    rows.check_ticks(end, findings);
}

impl Rows<'_> {
    fn check_tasks(&self, end: TrueTime, findings: &mut Findings) {
        for id in &self.tasks {
            let head = self.heads.get(id);
            let (dues, lease) = (self.dues.get(id).map_or(&[][..], Vec::as_slice), self.leases.get(id));
            let ended = head.is_some_and(|(state, ..)| state.is_terminal());
            let places = dues.len() + usize::from(lease.is_some());
            if places != usize::from(!ended) {
                let what = format!("{} due entries, lease {lease:?}, head {head:?}", dues.len());
                findings.add(id, end, what);
                continue;
            }
            let (attempts, token) = head.map_or((0, 0), |(_, attempts, token)| (*attempts, *token));
            if let [due] = dues
                && *due != (attempts, token)
            {
                findings.add(id, end, format!("its due entry says {due:?}, its head ({attempts}, {token})"));
            }
            if let Some((attempt, lease_token)) = lease
                && (*attempt != attempts + 1 || *lease_token <= token)
            {
                findings.add(id, end, format!("its lease is attempt {attempt}, its head has {attempts} made"));
            }
        }
    }

    /// What stands there of tasks that are not.
    fn check_strays(&self, end: TrueTime, findings: &mut Findings) {
        let heads = self.heads.keys().map(|id| (*id, "a head"));
        let dues = self.dues.keys().map(|id| (*id, "a due entry"));
        let leases = self.leases.keys().map(|id| (*id, "a lease"));
        for (id, what) in heads.chain(dues).chain(leases).filter(|(id, _)| !self.tasks.contains(id)) {
            findings.add(id, end, format!("{what} without a task"));
        }
    }

    fn check_ticks(&self, end: TrueTime, findings: &mut Findings) {
        let wanted: BTreeSet<_> = self.schedules.iter().filter_map(|(uid, next)| next.map(|at| (*uid, at))).collect();
        for (uid, at) in wanted.symmetric_difference(&self.ticks) {
            let which = if self.ticks.contains(&(*uid, *at)) { "a tick that no schedule has" } else { "no tick" };
            findings.add(uid, end, format!("{which} at {at}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::{
        checkers::testing::{check_as, due, head, lease, task},
        history::{
            Change,
            EndState::{Scheduled, Succeeded},
        },
    };

    #[test]
    fn a_task_is_in_exactly_one_place() {
        let check = |rows: Vec<Change>, expected| {
            check_as(
                "S8",
                move |story| {
                    story.rows(rows);
                },
                expected,
            )
        };
        check(vec![task("a"), due("a", 0, 0)], 0);
        check(vec![task("a"), lease("a", 1)], 0);
        check(vec![task("a"), head("a", Succeeded, 1, 1)], 0);
        check(vec![task("a")], 1);
        check(vec![task("a"), due("a", 0, 0), lease("a", 1)], 1);
        check(vec![task("a"), due("a", 0, 0), due("a", 0, 0)], 1);
        check(vec![task("a"), head("a", Succeeded, 1, 1), due("a", 1, 1)], 1);
        check(vec![due("a", 0, 0)], 1);
    }

    #[test]
    fn what_stands_twice_is_the_same() {
        let check = |rows: Vec<Change>, expected| {
            check_as(
                "S8",
                move |story| {
                    story.rows(rows);
                },
                expected,
            )
        };
        check(vec![task("a"), head("a", Scheduled, 1, 1), due("a", 1, 1)], 0);
        check(vec![task("a"), head("a", Scheduled, 1, 1), due("a", 0, 0)], 1);
        check(vec![task("a"), head("a", Scheduled, 1, 1), lease("a", 1)], 1);
    }

    #[test]
    fn an_active_schedule_has_its_tick_and_no_other() {
        let schedule = |next_unix_ms: Option<i64>| Change::Schedule {
            schedule: "s".to_owned(),
            uid: "u".to_owned(),
            active: next_unix_ms.is_some(),
            next_unix_ms,
            occurrences: 0,
        };
        let tick = |at_unix_ms| Change::Tick { uid: "u".to_owned(), at_unix_ms };
        let check = |rows: Vec<Change>, expected| {
            check_as(
                "S8",
                move |story| {
                    story.rows(rows);
                },
                expected,
            )
        };
        check(vec![schedule(Some(5)), tick(5)], 0);
        check(vec![schedule(None)], 0);
        check(vec![schedule(Some(5))], 1);
        check(vec![schedule(None), tick(5)], 1);
        check(vec![schedule(Some(5)), tick(5), tick(6)], 1);
    }
}

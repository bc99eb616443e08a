//! L2: a queue without workers, a poison task, a hot queue, watches that are all lost: others are
//! not delayed. While nothing else is wrong (before the first other fault, and after all have
//! healed), tasks of the other queues start within the bound that the header states.

use std::time::Duration;

use super::{Findings, drains::queues};
use crate::history::{History, NodeChange, TrueTime, What};

/// Faults that must not be felt begin so.
const HINTS: &str = "watch";

/// Whether the run has anything that others must not feel.
pub(super) fn can_judge(history: &History) -> bool {
    let lost = |what: &What| matches!(what, What::Fault { kind, .. } if kind.starts_with(HINTS));
    history.header.sees.handlers
        && (!history.header.dead_queues.is_empty() || history.events.iter().any(|event| lost(&event.what)))
}

pub(super) fn check(history: &History, findings: &mut Findings) {
    let bound = Duration::from_millis(history.header.drain_ms_max);
    let queues = queues(history);
    let (first_fault, healed) = (first_fault(history), history.healed());
    for (id, task) in history.tasks() {
        let queue = queues.get(id.as_str()).copied().unwrap_or_default();
        if history.header.dead_queues.iter().any(|it| it == queue) {
            continue;
        }
        // Later attempts have waited for the ends of earlier ones.
        let Some(start) = task.starts.first() else { continue };
        let due = history.header.scale.true_time(start.due_unix_ms).unwrap_or_default();
        let ready = due.max(task.submitted.first().map_or(TrueTime::ZERO, |(at, _)| *at));
        let quiet = ready.plus(bound) < first_fault || ready >= healed;
        let late = start.at.since(ready);
        if quiet && late > bound {
            findings.add(&id, start.at, format!("queue {queue}: started {late:?} after it could have, at {ready}"));
        }
    }
}

fn first_fault(history: &History) -> TrueTime {
    let disturbs = |what: &What| match what {
        What::Fault { kind, .. } => !kind.starts_with(HINTS),
        What::Node { change } => matches!(change, NodeChange::Killed | NodeChange::Suspended),
        _ => false,
    };
    history.first(disturbs).unwrap_or_else(|| history.end())
}

#[cfg(test)]
mod tests {
    use crate::{
        checkers::testing::{Story, check_as},
        history::{NodeChange::Killed, What},
    };

    fn run(dead: &'static [&'static str], start_ms: u64) -> impl FnOnce(&mut Story) {
        move |story: &mut Story| {
            story.header.dead_queues = dead.iter().map(|queue| (*queue).to_owned()).collect();
            story.at_ms(0).submit("a").at_ms(start_ms).start("a", 1, "w", 0).at_ms(60_000).node("w", Killed);
        }
    }

    #[test]
    fn live_queues_start_in_time_beside_a_dead_one() {
        check_as("L2", run(&["dead"], 900), 0);
        check_as("L2", run(&["dead"], 1100), 1);
        check_as("L2", run(&["dead", "q"], 1100), 0);
    }

    #[test]
    fn a_run_without_anything_to_feel_is_not_judged() {
        check_as("L2", run(&[], 1100), 0);
    }

    #[test]
    fn lost_watches_delay_nothing_and_excuse_nothing() {
        let lost = |story: &mut Story| {
            story.at_ms(0).what(What::Fault { kind: "watch-lost".to_owned(), detail: String::new() });
            run(&[], 1100)(story);
        };
        check_as("L2", lost, 1);
    }

    #[test]
    fn what_a_fault_may_have_delayed_is_excused() {
        let fault = |story: &mut Story| {
            story.at_ms(500).what(What::Fault { kind: "recovery".to_owned(), detail: String::new() });
            run(&["dead"], 1100)(story);
        };
        check_as("L2", fault, 0);
    }
}

//! L2: a queue without workers, a poison task, a hot queue: others are not delayed. Once all
//! faults are over, tasks of the other queues start within the bound that the header states, however
//! much of the rest is due. (While faults go on nobody can say what delayed a task; a source
//! without faults notes at its beginning that all is well.)

use std::time::Duration;

use super::{Findings, drains::queues};
use crate::history::{History, TrueTime};

/// Whether the run has anything that others must not feel.
pub(super) fn can_judge(history: &History) -> bool {
    history.header.sees.handlers && !history.header.dead_queues.is_empty()
}

pub(super) fn check(history: &History, findings: &mut Findings) {
    let bound = Duration::from_millis(history.header.drain_ms_max);
    let queues = queues(history);
    for (id, task) in history.tasks() {
        let queue = queues.get(id.as_str()).copied().unwrap_or_default();
        if history.header.dead_queues.iter().any(|it| it == queue) {
            continue;
        }
        let due = task.starts.first().map(|start| start.due_unix_ms).or(task.acknowledged.map(|(_, due)| due));
        let Some(due) = due.and_then(|due| history.header.scale.true_time(due)) else { continue };
        let submitted = task.submitted.first().map_or(TrueTime::ZERO, |(at, _)| *at);
        let ready = due.max(submitted).max(history.healed());
        // One that never started waits still, unless it was cancelled or ran out of time.
        let waits = task.end.is_none_or(|end| !end.is_terminal());
        let Some(begun) = task.starts.first().map(|start| start.at).or(waits.then(|| history.end())) else { continue };
        let late = begun.since(ready);
        if late > bound {
            findings.add(&id, begun, format!("queue {queue}: waited {late:?} beside queues that must not be felt"));
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::{
        checkers::testing::{Story, check_as},
        history::{NodeChange::Killed, What},
    };

    fn run(dead: &'static [&'static str], healed_ms: u64, start_ms: Option<u64>) -> impl FnOnce(&mut Story) {
        move |story: &mut Story| {
            story.header.dead_queues = dead.iter().map(|queue| (*queue).to_owned()).collect();
            story.at_ms(0).submit("a").acknowledged("a").at_ms(healed_ms).what(What::Healed);
            if let Some(ms) = start_ms {
                story.at_ms(ms).start("a", 1, "w", 0);
            }
            story.at_ms(60_000).node("w", Killed);
        }
    }

    #[test]
    fn live_queues_start_in_time_beside_a_dead_one() {
        check_as("L2", run(&["dead"], 0, Some(900)), 0);
        check_as("L2", run(&["dead"], 0, Some(1100)), 1);
        check_as("L2", run(&["dead"], 0, None), 1);
        check_as("L2", run(&["dead", "q"], 0, Some(1100)), 0);
    }

    #[test]
    fn a_run_without_anything_to_feel_is_not_judged() {
        check_as("L2", run(&[], 0, Some(1100)), 0);
    }

    #[test]
    fn what_a_fault_may_have_delayed_is_excused() {
        check_as("L2", run(&["dead"], 5000, Some(5900)), 0);
        check_as("L2", run(&["dead"], 5000, Some(6100)), 1);
    }
}

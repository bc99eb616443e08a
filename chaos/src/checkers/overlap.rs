//! S5: while clock rates are within bounds, two sessions never both run one task.

use super::Findings;
use crate::history::History;

pub(super) fn check(history: &History, findings: &mut Findings) {
    for (id, task) in history.tasks() {
        for pair in task.starts.windows(2) {
            let [before, after] = pair else { continue };
            let over = before.ended.is_some_and(|ended| ended <= after.at);
            if before.session != after.session && !over {
                let what = format!(
                    "session {} began under token {} while {} still ran it under {}",
                    after.session, after.token, before.session, before.token
                );
                findings.add(&id, after.at, what);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::{
        checkers::testing::{Story, check_as},
        history::NodeChange,
    };

    #[test]
    fn the_first_is_over_before_the_second_begins() {
        let run = |ended_ms: Option<u64>| {
            move |story: &mut Story| {
                story.at_ms(0).start("a", 1, "w1", 0);
                if let Some(ms) = ended_ms {
                    story.at_ms(ms).ended("a", 1, "w1");
                }
                story.at_ms(100).start("a", 2, "w2", 0);
            }
        };
        check_as("S5", run(Some(100)), 0);
        check_as("S5", run(Some(101)), 1);
        check_as("S5", run(None), 1);
    }

    #[test]
    fn a_dead_process_runs_nothing() {
        let killed = |story: &mut Story| {
            story.at_ms(0).start("a", 1, "w1", 0).at_ms(50).node("w1", NodeChange::Killed);
            story.at_ms(100).start("a", 2, "w2", 0);
        };
        check_as("S5", killed, 0);
    }

    #[test]
    fn clocks_out_of_bounds_leave_it_open() {
        let excused = |story: &mut Story| {
            story.header.rates_in_bounds = false;
            story.start("a", 1, "w1", 0).start("a", 2, "w2", 0);
        };
        check_as("S5", excused, 0);
    }
}

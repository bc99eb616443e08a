//! S7: after an acknowledged cancellation no attempt of the task starts, and none that ran is
//! accepted.

use super::Findings;
use crate::history::{EndState, History};

pub(super) fn check(history: &History, findings: &mut Findings) {
    for (id, task) in history.tasks() {
        let Some(cancelled) = task.cancelled else { continue };
        // What was on its way to its worker when the cancellation was committed may still
        // begin; it was fired before, and nothing of it is accepted. Its token shows: no later
        // one is ever given.
        let before = task.starts.iter().filter(|start| start.at <= cancelled).map(|start| start.token).max();
        let fired = before.map_or(1, |token| token + 1);
        for start in task.starts.iter().filter(|start| start.at > cancelled && start.token > fired) {
            findings.add(&id, start.at, format!("began under token {} after its cancellation", start.token));
        }
        for (at, token, _) in task.verdicts.iter().filter(|(at, _, verdict)| *at > cancelled && verdict == "accepted") {
            // Accepted before, told after: then it is the task's end, and no cancellation was.
            findings.add(&id, *at, format!("a completion under token {token} was accepted after its cancellation"));
        }
        if task.end.is_some_and(|end| end != EndState::Cancelled) {
            findings.add(&id, history.end(), format!("ended as {:?} after its cancellation", task.end));
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::{
        checkers::testing::{Story, check_as},
        history::EndState::{Cancelled, Succeeded},
    };

    #[test]
    fn nothing_starts_or_counts_after_a_cancellation() {
        let after = |what: fn(&mut Story)| {
            move |story: &mut Story| {
                story.at_ms(0).start("a", 1, "w", 0).at_ms(10).cancelled("a").at_ms(20);
                what(story);
            }
        };
        check_as(
            "S7",
            after(|story| {
                story.end("a", Cancelled);
            }),
            0,
        );
        check_as(
            "S7",
            after(|story| {
                story.verdict("a", 1, "cancelled");
            }),
            0,
        );
        check_as(
            "S7",
            after(|story| {
                story.verdict("a", 1, "accepted");
            }),
            1,
        );
        check_as(
            "S7",
            after(|story| {
                story.start("a", 3, "w", 0);
            }),
            1,
        );
        check_as(
            "S7",
            after(|story| {
                story.end("a", Succeeded);
            }),
            1,
        );
    }
}

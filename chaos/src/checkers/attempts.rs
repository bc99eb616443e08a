//! S9: attempts never exceed the policy, and the dead-letter state is reached if and only if
//! the policy says so. Rows of history are numbered without a gap, under rising tokens.

use super::Findings;
use crate::history::{AttemptRow, EndState, History};

pub(super) fn check(history: &History, findings: &mut Findings) {
    for (id, task) in history.tasks() {
        let Some(end) = task.end else { continue };
        rows(&id, &task.attempts, history, findings);
        let Some(max) = task.submitted.iter().map(|(_, task)| task.max_attempts as usize).max() else { continue };
        let made = task.attempts.len();
        if made > max {
            findings.add(&id, history.end(), format!("{made} attempts, and its policy allows {max}"));
        }
        if end == EndState::DeadLettered && made < max {
            findings.add(&id, history.end(), format!("dead-lettered after {made} attempts of {max}"));
        }
        let waits = matches!(end, EndState::Scheduled) && made >= max;
        if waits {
            findings.add(&id, history.end(), format!("waits for another attempt after {made} of {max}"));
        }
    }
}

fn rows(id: &str, rows: &[AttemptRow], history: &History, findings: &mut Findings) {
    let numbers: Vec<u32> = rows.iter().map(|row| row.number).collect();
    if !numbers.iter().copied().eq(1..=u32::try_from(rows.len()).unwrap_or(u32::MAX)) {
        findings.add(id, history.end(), format!("its history has the attempts {numbers:?}"));
    }
    if !rows.is_sorted_by(|a, b| a.token < b.token) {
        let tokens: Vec<u64> = rows.iter().map(|row| row.token).collect();
        findings.add(id, history.end(), format!("its history has the tokens {tokens:?}"));
    }
}

#[cfg(test)]
mod tests {
    use crate::{
        checkers::testing::{Story, check_as},
        history::EndState::{self, DeadLettered, Failed, Scheduled},
    };

    #[test]
    fn the_policy_decides_how_many_attempts_there_are_and_what_follows() {
        let run = |made: u64, end: EndState| {
            move |story: &mut Story| {
                let rows: Vec<_> = (1..=made).map(|token| (token, "failed")).collect();
                story.submit("a").acknowledged("a").end_with("a", end, &rows);
            }
        };
        // The stories' policy allows three.
        check_as("S9", run(3, DeadLettered), 0);
        check_as("S9", run(2, DeadLettered), 1);
        check_as("S9", run(4, DeadLettered), 1);
        check_as("S9", run(3, Scheduled), 1);
        check_as("S9", run(2, Scheduled), 0);
        check_as("S9", run(1, Failed), 0);
    }

    #[test]
    fn a_lost_row_and_a_token_that_did_not_rise_are_seen() {
        check_as(
            "S9",
            |story| {
                story.end_with_numbers("a", Failed, &[(1, 1), (3, 3)]);
            },
            1,
        );
        check_as(
            "S9",
            |story| {
                story.end_with_numbers("a", Failed, &[(1, 2), (2, 2)]);
            },
            1,
        );
    }
}

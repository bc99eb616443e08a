//! S4: at most one completion is accepted for each attempt, a task has one terminal state, and
//! a terminal state is for ever.

use std::collections::BTreeMap;

use super::Findings;
use crate::history::{Change, EndState, History, What};

pub(super) fn check(history: &History, findings: &mut Findings) {
    verdicts(history, findings);
    commits(history, findings);
}

fn verdicts(history: &History, findings: &mut Findings) {
    for (id, task) in history.tasks() {
        let mut accepted: BTreeMap<u64, usize> = BTreeMap::new();
        for (at, token, _) in task.verdicts.iter().filter(|(_, _, verdict)| verdict == "accepted") {
            let times = accepted.entry(*token).or_default();
            *times += 1;
            if *times > 1 {
                findings.add(&id, *at, format!("the completion under token {token} was accepted {times} times"));
            }
        }
        // What a worker was told must be what the API shows.
        let rows: Vec<u64> = task.attempts.iter().map(|row| row.token).collect();
        for token in accepted.keys().filter(|token| task.end.is_some() && !rows.contains(token)) {
            findings.add(&id, history.end(), format!("an accepted completion (token {token}) has no row of history"));
        }
        let succeeded = task.attempts.iter().filter(|row| row.outcome == "succeeded").count();
        if (task.end == Some(EndState::Succeeded)) != (succeeded == 1) && task.end.is_some() {
            let what = format!("ended as {:?} with {succeeded} attempts that succeeded", task.end);
            findings.add(&id, history.end(), what);
        }
    }
}

fn commits(history: &History, findings: &mut Findings) {
    let mut ended: BTreeMap<&str, EndState> = BTreeMap::new();
    for event in &history.events {
        let What::Commit { changes, .. } = &event.what else { continue };
        for change in changes {
            match change {
                Change::Head { id, state, .. } => match ended.get(id.as_str()) {
                    Some(before) if before != state => {
                        findings.add(id, event.at, format!("was {before:?} for ever, and became {state:?}"));
                    }
                    _ if state.is_terminal() => drop(ended.insert(id, *state)),
                    _ => {}
                },
                Change::Lease { id, .. } | Change::Due { id, .. } => {
                    if let Some(state) = ended.get(id.as_str()) {
                        findings.add(id, event.at, format!("was {state:?} for ever, and is to run again"));
                    }
                }
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::{
        checkers::testing::{check_as, head, lease},
        history::EndState::{Cancelled, Failed, Succeeded},
    };

    #[test]
    fn a_completion_is_accepted_once_and_shows_in_the_history() {
        let ok = |verdicts: &'static [&'static str], expected| {
            let tell = |story: &mut crate::checkers::testing::Story| {
                for verdict in verdicts {
                    story.verdict("a", 1, verdict);
                }
                story.end_with("a", Succeeded, &[(1, "succeeded")]);
            };
            check_as("S4", tell, expected);
        };
        ok(&["accepted", "duplicate"], 0);
        ok(&["accepted", "accepted"], 1);
        check_as(
            "S4",
            |story| {
                story.verdict("a", 1, "accepted").end_with("a", Failed, &[(2, "failed")]);
            },
            1,
        );
    }

    #[test]
    fn success_is_shown_by_exactly_one_attempt() {
        check_as(
            "S4",
            |story| {
                story.end_with("a", Succeeded, &[(1, "failed")]);
            },
            1,
        );
        check_as(
            "S4",
            |story| {
                story.end_with("a", Failed, &[(1, "succeeded")]);
            },
            1,
        );
        check_as(
            "S4",
            |story| {
                story.end_with("a", Succeeded, &[(1, "succeeded"), (2, "succeeded")]);
            },
            1,
        );
    }

    #[test]
    fn nothing_follows_a_terminal_state() {
        let run = |first, second| {
            move |story: &mut crate::checkers::testing::Story| {
                story.commit(vec![head("a", first, 1, 1)]).commit(second);
            }
        };
        check_as("S4", run(Succeeded, vec![head("a", Succeeded, 1, 1)]), 0);
        check_as("S4", run(Succeeded, vec![head("a", Cancelled, 1, 1)]), 1);
        check_as("S4", run(Cancelled, vec![lease("a", 2)]), 1);
    }
}

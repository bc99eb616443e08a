//! S4: at most one completion is accepted for each attempt, a task has one terminal state, and
//! a terminal state is for ever. What a worker was told of its completion is what the task's
//! history shows: an attempt whose completion was accepted ended as its handler did, and one whose
//! completion was refused did not succeed.

use std::collections::BTreeMap;

use super::Findings;
use crate::history::{Change, EndState, HandlerEnd, History, TaskStory, What};

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
        for (at, token, verdict) in task.verdicts.iter().filter(|_| task.end.is_some()) {
            if let Some(what) = contradiction(&task, *token, verdict) {
                findings.add(&id, *at, format!("a completion (token {token}) was told {verdict}: {what}"));
            }
        }
        let succeeded = task.attempts.iter().filter(|row| row.outcome == "succeeded").count();
        if (task.end == Some(EndState::Succeeded)) != (succeeded == 1) && task.end.is_some() {
            let what = format!("ended as {:?} with {succeeded} attempts that succeeded", task.end);
            findings.add(&id, history.end(), what);
        }
    }
}

/// Why what a worker was told cannot be, as the API shows the task at the end.
fn contradiction(task: &TaskStory, token: u64, verdict: &str) -> Option<String> {
    let row = task.attempts.iter().find(|row| row.token == token);
    let succeeded = row.is_some_and(|row| row.outcome == "succeeded");
    match verdict {
        "accepted" | "duplicate" => {
            let Some(row) = row else { return Some("and the attempt has no row of history".to_owned()) };
            // Still running when it was looked at: the verdict is younger. Were that wrong, D1 would find it in
            // the store's rows, and L1 that it never ends.
            if row.outcome.is_empty() {
                return None;
            }
            let returned = task.starts.iter().any(|it| it.token == token && it.how == Some(HandlerEnd::Returned));
            let by_worker = matches!(row.outcome.as_str(), "succeeded" | "failed" | "timed_out");
            let known = task.starts.iter().any(|it| it.token == token && it.how.is_some());
            let wrong = !by_worker || (known && succeeded != returned);
            wrong.then(|| format!("and the attempt ended as {} (its handler returned: {returned})", row.outcome))
        }
        "cancelled" if task.end != Some(EndState::Cancelled) => Some(format!("and the task ended as {:?}", task.end)),
        "stale_token" | "not_held" | "cancelled" if succeeded => Some("and the attempt succeeded".to_owned()),
        _ => None,
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
    fn what_a_worker_is_told_is_what_the_history_shows() {
        let told = |verdict: &'static str, outcome: &'static str, expected| {
            let tell = |story: &mut crate::checkers::testing::Story| {
                story.start("a", 1, "w", 0).ended("a", 1, "w").verdict("a", 1, verdict);
                let end = if outcome == "succeeded" { Succeeded } else { Failed };
                story.end_with("a", end, &[(1, outcome)]);
            };
            check_as("S4", tell, expected);
        };
        // The stories' handlers return a result.
        told("accepted", "succeeded", 0);
        told("accepted", "lease_expired", 1);
        told("accepted", "failed", 1);
        told("accepted", "", 0);
        told("duplicate", "succeeded", 0);
        told("duplicate", "lease_expired", 1);
        told("stale_token", "lease_expired", 0);
        told("stale_token", "succeeded", 1);
        told("not_held", "succeeded", 1);
        told("cancelled", "failed", 1);
        let cancelled = |story: &mut crate::checkers::testing::Story| {
            story.start("a", 1, "w", 0).ended("a", 1, "w").verdict("a", 1, "cancelled");
            story.end_with("a", Cancelled, &[(1, "cancelled")]);
        };
        check_as("S4", cancelled, 0);
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

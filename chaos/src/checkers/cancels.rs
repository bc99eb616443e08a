//! S7: after an acknowledged cancellation no attempt of the task starts, and none that ran is
//! accepted; after an acknowledged pause or deletion of a schedule nothing of it falls due.

use std::collections::BTreeMap;

use super::{Findings, schedules::Schedule};
use crate::history::{AttemptRow, Change, EndState, History, TrueTime, What};

pub(super) fn check(history: &History, findings: &mut Findings) {
    tasks(history, findings);
    schedules(history, findings);
}

fn schedules(history: &History, findings: &mut Findings) {
    for (id, schedule) in Schedule::all(history) {
        for nominal in schedule.made.keys() {
            let Some(at) = history.header.scale.true_time(*nominal) else { continue };
            // A clock that is fast beyond its bounds makes it that much earlier, one that is not makes it then.
            let early = TrueTime(at.0.saturating_sub(history.header.early_ns_max));
            if let (Some(why), Some(_)) = (schedule.inactive(at), schedule.inactive(early)) {
                findings.add(&id, at, format!("has an occurrence at {nominal}, {why}"));
            }
        }
    }
}

/// The token under which each cancelled task was last fired, where the store is seen: that of the last lease
/// committed before the cancellation, or, of rows alone, the one that the cancellation kept.
fn cancelled_under(history: &History) -> BTreeMap<&str, u64> {
    let (mut fired, mut tokens) = (BTreeMap::new(), BTreeMap::new());
    for event in &history.events {
        let (rows, committed) = match &event.what {
            What::Commit { changes, .. } => (changes.as_slice(), true),
            What::FinalRow { row } => (std::slice::from_ref(row), false),
            _ => continue,
        };
        for row in rows {
            match row {
                Change::Lease { id, token, .. } if committed => drop(fired.insert(id.as_str(), *token)),
                Change::Head { id, state: EndState::Cancelled, token, .. } => {
                    // What the row says is believed only where nothing else tells.
                    let last = if committed { fired.get(id.as_str()).copied().unwrap_or(0) } else { *token };
                    tokens.entry(id.as_str()).or_insert(last);
                }
                _ => {}
            }
        }
    }
    tokens
}

fn tasks(history: &History, findings: &mut Findings) {
    let stored = cancelled_under(history);
    for (id, task) in history.tasks() {
        let Some(cancelled) = task.cancelled else { continue };
        // What was on its way to its worker when the cancellation was committed may still
        // begin; it was fired before, and nothing of it is accepted. Its token shows: no later
        // one is ever given. Where the store is not seen, it is at most the next after what began.
        let before = task.starts.iter().filter(|start| start.at <= cancelled).map(|start| start.token).max();
        let fired = stored.get(id.as_str()).copied().unwrap_or_else(|| before.map_or(1, |token| token + 1));
        for start in task.starts.iter().filter(|start| start.at > cancelled && start.token > fired) {
            findings.add(&id, start.at, format!("began under token {} after its cancellation", start.token));
        }
        for (at, token, _) in task.verdicts.iter().filter(|(at, _, verdict)| *at > cancelled && verdict == "accepted") {
            // Accepted before, told after: then it is the task's end, and no cancellation was, unless
            // it was a failure that another attempt was to follow.
            let failed =
                |row: &AttemptRow| row.token == *token && matches!(row.outcome.as_str(), "failed" | "timed_out");
            if task.attempts.iter().any(failed) {
                continue;
            }
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
        checkers::testing::{Story, check_as, head, lease},
        history::{
            Change,
            EndState::{Cancelled, Succeeded},
            ScheduleAction::{self, Delete, Pause, Resume},
        },
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
                story.verdict("a", 1, "accepted").end_with("a", Cancelled, &[(1, "failed")]);
            }),
            0,
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

    #[test]
    fn what_was_fired_before_a_cancellation_may_begin_late_and_the_row_tells_what_was() {
        let begins = |token: u64, row: Vec<Change>| {
            move |story: &mut Story| {
                story.at_ms(10).cancelled("a").at_ms(20).start("a", token, "w", 0).rows(row);
            }
        };
        // The first attempt never began: its order was lost.
        check_as("S7", begins(2, vec![head("a", Cancelled, 2, 2)]), 0);
        check_as("S7", begins(2, vec![head("a", Cancelled, 1, 1)]), 1);
        check_as("S7", begins(1, vec![head("a", Cancelled, 0, 0)]), 1);
        check_as("S7", begins(2, vec![]), 1);
        let committed = |token: u64| {
            move |story: &mut Story| {
                story.commit(vec![lease("a", 1)]).commit(vec![lease("a", token)]);
                // A cancellation that keeps another token excuses nothing.
                story.commit(vec![head("a", Cancelled, 2, 2)]);
                begins(2, vec![])(story);
            }
        };
        check_as("S7", committed(2), 0);
        check_as("S7", committed(1), 1);
    }

    #[test]
    fn nothing_falls_due_of_a_schedule_that_is_paused_or_deleted_or_not_yet_made() {
        let ended = |action: ScheduleAction, made: &'static [i64]| {
            move |story: &mut Story| {
                story.at_ms(20_000).every("s", 10_000).at_ms(60_000).schedule("s", action);
                story.at_ms(120_000).occurrences("s", made);
            }
        };
        check_as("S7", ended(Pause, &[30, 40, 50]), 0);
        check_as("S7", ended(Pause, &[30, 40, 50, 70]), 1);
        let fast = |story: &mut Story| {
            story.header.early_ns_max = 11_000_000_000;
            ended(Pause, &[30, 40, 50, 70])(story);
        };
        check_as("S7", fast, 0);
        // Another clock is slow meanwhile: it makes what was due 4 s before the schedule was made.
        let slow = |story: &mut Story| {
            story.header.early_ns_max = 11_000_000_000;
            story.at_ms(24_000).every("s", 10_000).at_ms(120_000).occurrences("s", &[20]);
        };
        check_as("S7", slow, 0);
        let too_slow = |story: &mut Story| {
            story.header.early_ns_max = 11_000_000_000;
            story.at_ms(27_000).every("s", 10_000).at_ms(120_000).occurrences("s", &[20]);
        };
        check_as("S7", too_slow, 1);
        check_as("S7", ended(Delete, &[30, 80]), 1);
        check_as("S7", ended(Delete, &[10]), 1);
    }

    #[test]
    fn what_was_resumed_falls_due_again() {
        let resumed = |story: &mut Story| {
            story.at_ms(0).every("s", 10_000).at_ms(35_000).schedule("s", Pause);
            story.at_ms(75_000).schedule("s", Resume).at_ms(120_000).occurrences("s", &[30, 50, 80, 110]);
        };
        check_as("S7", resumed, 1);
    }
}

//! S1: an acknowledged submission is never lost. One whose answer was lost exists once or not
//! at all, one that was refused does not exist, and nothing exists that nobody submitted.

use std::collections::BTreeMap;

use super::Findings;
use crate::history::{History, TaskStory, TrueTime};

pub(super) fn check(history: &History, findings: &mut Findings) {
    let tasks = history.tasks();
    for (id, task) in &tasks {
        check_one(id, task, history.end(), findings);
    }
    keys(&tasks, history.end(), findings);
}

fn check_one(id: &str, task: &TaskStory, end: TrueTime, findings: &mut Findings) {
    match (&task.acknowledged, task.end) {
        (Some((at, _)), None) => findings.add(id, *at, "was acknowledged, and is not there at the end"),
        // An occurrence is submitted by its schedule; whether it should exist is S6.
        (None, Some(_)) if task.submitted.is_empty() && task.schedule.is_empty() => {
            findings.add(id, end, "is there, though nobody submitted it");
        }
        (None, Some(_)) if task.refused => findings.add(id, end, "is there, though its submission was refused"),
        _ => {}
    }
}

/// Two tasks under one idempotency key are one submission that happened twice. Workloads give
/// every submission that they mean to be another one a key of its own, or none.
fn keys(tasks: &BTreeMap<String, TaskStory>, end: TrueTime, findings: &mut Findings) {
    let mut by_key: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (id, task) in tasks.iter().filter(|(_, task)| task.end.is_some()) {
        let key = task.submitted.iter().map(|(_, task)| task.idempotency_key.as_str()).find(|key| !key.is_empty());
        if let Some(key) = key {
            by_key.entry(key).or_default().push(id);
        }
    }
    for (key, ids) in by_key.into_iter().filter(|(_, ids)| ids.len() > 1) {
        findings.add(ids[0], end, format!("idempotency key `{key}` made {} tasks: {}", ids.len(), ids.join(", ")));
    }
}

#[cfg(test)]
mod tests {
    use crate::{
        checkers::testing::{Story, check_as},
        history::EndState,
    };

    #[test]
    fn what_was_acknowledged_is_there_at_the_end() {
        check_as(
            "S1",
            |story| {
                story.submit("a").acknowledged("a").end("a", EndState::Succeeded);
            },
            0,
        );
        check_as(
            "S1",
            |story| {
                story.submit("a").acknowledged("a");
            },
            1,
        );
    }

    #[test]
    fn an_unknown_answer_allows_both_and_a_refusal_only_one() {
        check_as(
            "S1",
            |story| {
                story.submit("a").unknown("a");
            },
            0,
        );
        check_as(
            "S1",
            |story| {
                story.submit("a").unknown("a").end("a", EndState::Scheduled);
            },
            0,
        );
        check_as(
            "S1",
            |story| {
                story.submit("a").refused("a");
            },
            0,
        );
        check_as(
            "S1",
            |story| {
                story.submit("a").refused("a").end("a", EndState::Scheduled);
            },
            1,
        );
    }

    #[test]
    fn nothing_is_there_that_nobody_submitted_and_no_key_makes_two() {
        check_as(
            "S1",
            |story| {
                story.end("stray", EndState::Succeeded);
            },
            1,
        );
        let twice = |story: &mut Story| {
            story.submit_with_key("a", "key").unknown("a").submit_with_key("b", "key").acknowledged("b");
            story.end("a", EndState::Succeeded).end("b", EndState::Succeeded);
        };
        check_as("S1", twice, 1);
    }
}

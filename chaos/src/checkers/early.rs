//! S2: no attempt starts before its task is due, in true time. What clocks may be wrong by
//! beyond the bounds that they state is in the header; for honest clocks it is nothing.

use std::time::Duration;

use super::Findings;
use crate::history::{History, What};

pub(super) fn check(history: &History, findings: &mut Findings) {
    let slack = Duration::from_nanos(history.header.early_ns_max);
    for event in &history.events {
        let What::Started { id, due_unix_ms, .. } = &event.what else { continue };
        // Due before the run began: it cannot be early.
        let Some(due) = history.header.scale.true_time(*due_unix_ms) else { continue };
        if event.at.plus(slack) < due {
            let early = due.since(event.at);
            findings.add(id, event.at, format!("started {early:?} before it was due, at {due}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::{
        checkers::testing::{Story, check_as},
        history::Leap,
    };

    #[test]
    fn a_start_before_the_due_instant_is_found_to_the_nanosecond() {
        check_as(
            "S2",
            |story| {
                story.at_ms(1000).start("a", 1, "w", 1000);
            },
            0,
        );
        check_as(
            "S2",
            |story| {
                story.at_ns(999_999_999).start("a", 1, "w", 1000);
            },
            1,
        );
        check_as(
            "S2",
            |story| {
                story.at_ms(0).start("a", 1, "w", -5);
            },
            0,
        );
    }

    #[test]
    fn wrong_clocks_excuse_as_much_as_the_header_says() {
        let start = |at_ms, slack_ns| {
            move |story: &mut Story| {
                story.header.early_ns_max = slack_ns;
                story.at_ms(at_ms).start("a", 1, "w", 1000);
            }
        };
        check_as("S2", start(990, 10_000_000), 0);
        check_as("S2", start(989, 10_000_000), 1);
    }

    #[test]
    fn a_task_after_an_inserted_second_is_due_a_second_later() {
        let start = |at_ms| {
            move |story: &mut Story| {
                story.header.scale.leaps = vec![Leap { unix_s: 10, sign: 1 }];
                story.at_ms(at_ms).start("a", 1, "w", 10_000);
            }
        };
        check_as("S2", start(11_000), 0);
        check_as("S2", start(10_999), 1);
    }
}

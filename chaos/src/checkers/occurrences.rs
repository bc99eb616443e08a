//! S6: the occurrences of a schedule are those of an independent oracle: none is missing, none
//! is there twice, none is made up. An instant at which a schedule may or may not have been active (a
//! call was under way) is allowed and not demanded.

use std::{collections::BTreeSet, time::Duration};

use super::{
    Findings,
    schedules::{Active, Schedule},
};
use crate::history::{History, TrueTime};

pub(super) fn check(history: &History, findings: &mut Findings) {
    for (id, schedule) in Schedule::all(history) {
        if let Err(error) = check_one(history, &id, &schedule, findings) {
            findings.add(&id, history.end(), format!("its rule cannot be judged: {error}"));
        }
    }
}

fn check_one(history: &History, id: &str, schedule: &Schedule, findings: &mut Findings) -> Result<(), String> {
    let (begin, end) = unix_span(history);
    let mut allowed = BTreeSet::new();
    for rule in schedule.rules() {
        allowed.extend(rule.between(begin, end)?);
    }
    for (nominal, tasks) in &schedule.made {
        let at = history.header.scale.true_time(*nominal).unwrap_or_default();
        if !allowed.contains(nominal) {
            findings.add(id, at, format!("has an occurrence at {nominal}, which its rule does not mean"));
        }
        if tasks.len() > 1 {
            findings.add(id, at, format!("its occurrence at {nominal} is {} tasks: {tasks:?}", tasks.len()));
        }
    }
    for active in schedule.active() {
        missing(history, id, schedule, &active, findings)?;
    }
    Ok(())
}

/// All occurrences of one stretch of activity are there: up to the last that was made, as they
/// are made in order, and up to what there was time for.
fn missing(
    history: &History,
    id: &str,
    schedule: &Schedule,
    active: &Active,
    findings: &mut Findings,
) -> Result<(), String> {
    let (begin, end) = unix_span(history);
    let scale = &history.header.scale;
    let within = |nominal: &i64| {
        scale.true_time(*nominal).is_some_and(|at| at > active.from && active.until.is_none_or(|until| at < until))
    };
    let last = schedule.made.keys().copied().filter(within).max();
    let patience = Duration::from_millis(history.header.drain_ms_max);
    let until = active.until.unwrap_or_else(|| history.end());
    for nominal in active.rule.between(begin, end)?.into_iter().filter(within) {
        let at = scale.true_time(nominal).unwrap_or_default();
        let had_time = at.max(history.healed()).plus(patience) <= until;
        let wanted = had_time || last.is_some_and(|last| nominal < last);
        if wanted && !schedule.made.contains_key(&nominal) {
            findings.add(id, at, format!("its occurrence at {nominal} is missing"));
        }
    }
    Ok(())
}

/// The run in Unix milliseconds, and a little more.
fn unix_span(history: &History) -> (i64, i64) {
    let begin = history.header.scale.epoch_unix_ms;
    let length = history.end().since(TrueTime::ZERO).as_millis();
    (begin - 1, begin.saturating_add(i64::try_from(length).unwrap_or(i64::MAX / 2)) + 2000)
}

#[cfg(test)]
mod tests {
    use crate::{
        checkers::testing::{Story, check_as},
        history::{
            NodeChange::Killed,
            ScheduleAction::{Delete, Pause, Resume},
            What,
        },
    };

    /// Every 10 s, made at once, over a run of two minutes with these occurrences.
    fn run(made_s: &'static [i64]) -> impl FnOnce(&mut Story) {
        move |story: &mut Story| {
            story.at_ms(0).what(What::Healed).every("s", 10_000).at_ms(120_000).occurrences("s", made_s);
        }
    }

    #[test]
    fn every_occurrence_is_there_once_and_no_other() {
        check_as("S6", run(&[10, 20, 30, 40, 50, 60, 70, 80, 90, 100, 110]), 0);
        check_as("S6", run(&[10, 20, 30, 50, 60, 70, 80, 90, 100, 110]), 1);
        check_as("S6", run(&[10, 20, 30, 35, 40, 50, 60, 70, 80, 90, 100, 110]), 1);
        check_as("S6", run(&[10, 20, 30, 40, 50, 60, 70, 80, 90]), 2);
    }

    #[test]
    fn two_tasks_for_one_occurrence_are_found() {
        let twice = |story: &mut Story| {
            story
                .at_ms(0)
                .what(What::Healed)
                .every("s", 60_000)
                .at_ms(100_000)
                .occurrences("s", &[60])
                .occurrence("s", 60, "another");
        };
        check_as("S6", twice, 1);
    }

    #[test]
    fn what_was_paused_or_deleted_owes_nothing_for_that_time() {
        let paused = |made: &'static [i64]| {
            move |story: &mut Story| {
                story.at_ms(0).what(What::Healed).every("s", 10_000).at_ms(35_000).schedule("s", Pause);
                story.at_ms(85_000).schedule("s", Resume).at_ms(130_000).occurrences("s", made);
            }
        };
        check_as("S6", paused(&[10, 20, 30, 100, 110, 120]), 0);
        check_as("S6", paused(&[10, 30, 100, 110, 120]), 1);
        check_as("S6", paused(&[10, 20, 30, 110, 120]), 1);
        let deleted = |story: &mut Story| {
            story.at_ms(0).what(What::Healed).every("s", 10_000).at_ms(35_000).schedule("s", Delete).at_ms(90_000);
            story.occurrences("s", &[10, 20, 30]);
        };
        check_as("S6", deleted, 0);
    }

    #[test]
    fn a_fold_gives_a_fixed_time_once_and_a_gap_gives_it_its_end() {
        // Berlin, 26 October 2025, 02:30 twice: at 00:30 UTC and at 01:30 UTC. Run from 00:00 UTC.
        let fold = |made: &'static [i64]| {
            move |story: &mut Story| {
                story.header.scale.epoch_unix_ms = 1_761_436_800_000;
                story.at_ms(0).what(What::Healed).cron("s", "30 2 * * *", "Europe/Berlin").at_ms(7_200_000);
                story.node("w", Killed).occurrences("s", made);
            }
        };
        check_as("S6", fold(&[1800]), 0);
        check_as("S6", fold(&[1800, 5400]), 1);
        check_as("S6", fold(&[]), 1);
        // 30 March 2025: 02:00 to 03:00 is skipped at 01:00 UTC.
        let gap = |made: &'static [i64]| {
            move |story: &mut Story| {
                story.header.scale.epoch_unix_ms = 1_743_292_800_000;
                story.at_ms(0).what(What::Healed).cron("s", "30 2 * * *", "Europe/Berlin").at_ms(7_200_000);
                story.node("w", Killed).occurrences("s", made);
            }
        };
        check_as("S6", gap(&[3600]), 0);
        check_as("S6", gap(&[]), 1);
    }
}

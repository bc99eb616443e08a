//! Judges a recorded history, and shows that each checker could have found something in it.

use std::collections::BTreeSet;

use escapement_chaos::{
    checkers::{self, Report},
    history::{AttemptRow, CancelAnswer, Change, EndState, Event, History, What},
};

/// Invariants that a history of the real server shows. S10 needs the log of commits, which a
/// real store does not show, and L2 a queue that must not be felt.
pub(crate) const JUDGED: [&str; 11] = ["S1", "S2", "S3", "S4", "S5", "S6", "S7", "S8", "S9", "D1", "L1"];

/// Fails, with the history in a file that stays, unless all that can be judged is as it must be.
pub(crate) fn judge(history: &History) {
    let report = checkers::check(history);
    assert_eq!(report.checked, JUDGED, "not judged: {:?}", report.not_checked);
    if report.violations.is_empty() {
        return;
    }
    let shown: Vec<_> = report.violations.iter().take(20).map(ToString::to_string).collect();
    let path = std::env::temp_dir().join(format!("escapement-kills-{}.jsonl", history.header.seed));
    history.write(std::io::BufWriter::new(std::fs::File::create(&path).unwrap())).unwrap();
    panic!("{} violations; history in {}:\n{}", report.violations.len(), path.display(), shown.join("\n"));
}

/// Invariants that a history breaks.
pub(crate) fn broken(history: &History) -> BTreeSet<&'static str> {
    let Report { violations, .. } = checkers::check(history);
    violations.iter().map(|violation| violation.invariant).collect()
}

/// Bends one fact of a good history for each invariant, and asks whether its checker notices.
pub(crate) fn every_checker_bites(history: &History) {
    assert_eq!(broken(history), BTreeSet::new());
    for invariant in JUDGED {
        let mut bent = history.clone();
        bend(invariant, &mut bent);
        let found = broken(&bent);
        assert!(found.contains(invariant), "{invariant} saw nothing in a history that breaks it; others: {found:?}");
    }
}

/// A task that was submitted, ran once and succeeded.
fn victim(history: &History) -> String {
    let tasks = history.tasks();
    let plain = |(id, task): (&String, &escapement_chaos::history::TaskStory)| {
        let good = task.acknowledged.is_some() && task.end == Some(EndState::Succeeded) && task.starts.len() == 1;
        good.then(|| id.clone())
    };
    tasks.iter().find_map(plain).expect("a task that ran once")
}

fn bend(invariant: &str, history: &mut History) {
    let victim = victim(history);
    let start = history.events.iter().position(|it| matches!(&it.what, What::Started { id, .. } if *id == victim));
    let start = start.unwrap();
    match invariant {
        "S1" => history.events.retain(|it| !matches!(&it.what, What::FinalTask { id, .. } if *id == victim)),
        "S2" => {
            if let What::Started { due_unix_ms, .. } = &mut history.events[start].what {
                *due_unix_ms += 600_000;
            }
        }
        "S3" => begin_elsewhere(history, start, 0),
        "S5" => begin_elsewhere(history, start, 1),
        "S4" => at_the_end(history, &victim, |state, _| *state = EndState::Failed),
        "S6" => lose_an_occurrence(history),
        "S7" => {
            let (at, answer) = (history.events[start].at, CancelAnswer::Cancelled);
            let what = What::CancelAnswered { op: u64::MAX, id: victim, answer };
            history.events.insert(start + 1, Event { at, node: "client".to_owned(), what });
        }
        "S8" => rows(history, |row| matches!(row, Change::Head { id, .. } if *id == victim)),
        "S9" => at_the_end(history, &victim, |_, attempts| attempts[0].number = 2),
        "D1" => rows(history, |row| matches!(row, Change::Task { id, .. } if *id == victim)),
        "L1" => {
            at_the_end(history, &victim, |state, _| *state = EndState::Scheduled);
            history.header.drain_ms_max = 0;
        }
        _ => panic!("{invariant} is not judged"),
    }
}

/// The handler begins a second time, in another session and under a token that is higher by so much.
fn begin_elsewhere(history: &mut History, start: usize, higher: u64) {
    let mut again = history.events[start].clone();
    if let What::Started { token, session, .. } = &mut again.what {
        *token += higher;
        *session = "another".to_owned();
    }
    history.events.insert(start + 1, again);
}

/// What the API shows of a task is different.
fn at_the_end(history: &mut History, victim: &str, change: impl FnOnce(&mut EndState, &mut Vec<AttemptRow>)) {
    let mut shown = history.events.iter_mut().filter_map(|event| match &mut event.what {
        What::FinalTask { id, state, attempts, .. } if id == victim => Some((state, attempts)),
        _ => None,
    });
    let (state, attempts) = shown.next().unwrap();
    change(state, attempts);
}

/// These rows are not in the store.
fn rows(history: &mut History, lost: impl Fn(&Change) -> bool) {
    history.events.retain(|event| !matches!(&event.what, What::FinalRow { row } if lost(row)));
}

/// An occurrence from the middle of a schedule's never was.
fn lose_an_occurrence(history: &mut History) {
    let nominal = |what: &What| match what {
        What::FinalTask { nominal_unix_ms, .. } | What::FinalRow { row: Change::Task { nominal_unix_ms, .. } } => {
            *nominal_unix_ms
        }
        _ => None,
    };
    let mut made: Vec<i64> = history.events.iter().filter_map(|event| nominal(&event.what)).collect();
    made.sort_unstable();
    let lost = made[made.len() * 3 / 4];
    history.events.retain(|event| nominal(&event.what) != Some(lost));
}

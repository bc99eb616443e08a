//! What must always hold, one file for each invariant of the design. A checker takes a
//! [`History`] and says what is wrong with it; it shares no code with what it judges.
//!
//! A checker that needs what the source of a history cannot see is not run, and the
//! [`Report`] says so: silence is never a pass.

mod apart;
mod attempts;
mod cancels;
mod drains;
mod durable;
mod early;
mod fencing;
mod index;
mod lost;
mod occurrences;
pub(crate) mod oracle;
mod order;
mod overlap;
mod schedules;
mod terminal;
#[cfg(test)]
pub(crate) mod testing;

use std::fmt;

use serde::Serialize;

use crate::history::{History, TrueTime};

/// Something that must never be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Violation {
    /// Name of the invariant: S1, S2, ...
    pub invariant: &'static str,
    /// The task, schedule or shard that it is about.
    pub subject: String,
    /// When it showed.
    pub at: TrueTime,
    /// What is wrong, for people.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} at {}: {}", self.invariant, self.subject, self.at, self.what)
    }
}

/// What the checkers found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Invariants that were checked.
    pub checked: Vec<&'static str>,
    /// Invariants that were not, as the history does not show what they need.
    pub not_checked: Vec<&'static str>,
    /// All that is wrong.
    pub violations: Vec<Violation>,
}

/// Collects what one checker finds.
#[derive(Debug)]
pub(crate) struct Findings {
    invariant: &'static str,
    found: Vec<Violation>,
}

impl Findings {
    fn add(&mut self, subject: &str, at: TrueTime, what: impl Into<String>) {
        let violation = Violation { invariant: self.invariant, subject: subject.to_owned(), at, what: what.into() };
        self.found.push(violation);
    }
}

struct Checker {
    invariant: &'static str,
    /// Whether the history shows what it needs.
    can_judge: fn(&History) -> bool,
    check: fn(&History, &mut Findings),
}

const CHECKERS: &[Checker] = &[
    Checker { invariant: "S1", can_judge: |history| history.header.sees.tasks, check: lost::check },
    Checker { invariant: "S2", can_judge: |history| history.header.sees.handlers, check: early::check },
    Checker { invariant: "S3", can_judge: |history| history.header.sees.handlers, check: fencing::check },
    Checker { invariant: "S4", can_judge: |history| history.header.sees.tasks, check: terminal::check },
    Checker {
        invariant: "S5",
        can_judge: |history| history.header.sees.handlers && history.header.rates_in_bounds,
        check: overlap::check,
    },
    Checker {
        invariant: "S6",
        can_judge: |history| history.header.sees.tasks || history.header.sees.rows,
        check: occurrences::check,
    },
    Checker { invariant: "S7", can_judge: |history| history.header.sees.handlers, check: cancels::check },
    Checker { invariant: "S8", can_judge: |history| history.header.sees.rows, check: index::check },
    Checker { invariant: "S9", can_judge: |history| history.header.sees.tasks, check: attempts::check },
    Checker { invariant: "S10", can_judge: |history| history.header.sees.commits, check: order::check },
    Checker { invariant: "D1", can_judge: |history| history.header.sees.rows, check: durable::check },
    Checker {
        invariant: "L1",
        can_judge: |history| history.header.sees.tasks && history.header.sees.handlers,
        check: drains::check,
    },
    Checker { invariant: "L2", can_judge: apart::can_judge, check: apart::check },
];

/// Runs every checker that the history lets judge.
pub fn check(history: &History) -> Report {
    let mut report = Report::default();
    for checker in CHECKERS {
        if !(checker.can_judge)(history) {
            report.not_checked.push(checker.invariant);
            continue;
        }
        let mut findings = Findings { invariant: checker.invariant, found: Vec::new() };
        (checker.check)(history, &mut findings);
        report.checked.push(checker.invariant);
        report.violations.append(&mut findings.found);
    }
    report
}

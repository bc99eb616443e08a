//! When schedules were certainly active, when certainly not, and which occurrences were made:
//! what S6 and S7 start from.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::oracle::Rule;
use crate::history::{Change, History, ScheduleAction, TrueTime, What};

/// A scheduler whose clock is further off than this makes nothing of ticks.
const CLOCK_OFF_MAX: Duration = Duration::from_secs(6);

/// A call that may have had an effect.
#[derive(Clone, Debug)]
struct Call {
    action: ScheduleAction,
    sent: TrueTime,
    /// When its effect was certain; `None`: nobody knows whether it had one.
    done: Option<TrueTime>,
}

impl Call {
    fn activates(&self) -> bool {
        matches!(self.action, ScheduleAction::Create { .. } | ScheduleAction::Resume)
    }

    /// It may have taken effect after `at`.
    fn may_follow(&self, at: TrueTime) -> bool {
        self.done.is_none_or(|done| done > at)
    }

    fn rule(&self) -> Option<Rule> {
        match &self.action {
            ScheduleAction::Create { cron, zone, .. } if !cron.is_empty() => {
                Some(Rule::Cron { expr: cron.clone(), zone: zone.clone() })
            }
            ScheduleAction::Create { every_ms, anchor_unix_ms, .. } => {
                Some(Rule::Every { every_ms: *every_ms, anchor_unix_ms: *anchor_unix_ms })
            }
            _ => None,
        }
    }
}

/// A schedule as its callers saw it, and its occurrences.
#[derive(Clone, Debug, Default)]
pub(super) struct Schedule {
    calls: Vec<Call>,
    /// Nominal instants, Unix milliseconds, and the tasks that were made for each.
    pub(super) made: BTreeMap<i64, BTreeSet<String>>,
}

/// A stretch of time in which a schedule certainly was active.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Active {
    pub(super) rule: Rule,
    pub(super) from: TrueTime,
    /// When somebody began to end it; `None`: nobody did.
    pub(super) until: Option<TrueTime>,
}

impl Schedule {
    /// All schedules of a history, by id.
    pub(super) fn all(history: &History) -> BTreeMap<String, Self> {
        let mut all: BTreeMap<String, Self> = BTreeMap::new();
        let mut answers = BTreeMap::new();
        for event in &history.events {
            if let What::ScheduleAnswered { op, ok, unknown, .. } = &event.what {
                answers.insert(*op, (event.at, *ok, *unknown));
            }
        }
        for event in &history.events {
            match &event.what {
                What::ScheduleCall { op, schedule, action } => {
                    let done = match answers.get(op) {
                        Some((at, true, _)) => Some(*at),
                        Some((_, false, false)) => continue,
                        Some((_, false, true)) | None => None,
                    };
                    let call = Call { action: action.clone(), sent: event.at, done };
                    all.entry(schedule.clone()).or_default().calls.push(call);
                }
                What::FinalTask { id, schedule, nominal_unix_ms: Some(nominal), .. }
                | What::FinalRow { row: Change::Task { id, schedule, nominal_unix_ms: Some(nominal), .. } } => {
                    made(&mut all, schedule, *nominal, id);
                }
                What::Commit { changes, .. } => {
                    for change in changes {
                        if let Change::Task { id, schedule, nominal_unix_ms: Some(nominal), .. } = change {
                            made(&mut all, schedule, *nominal, id);
                        }
                    }
                }
                _ => {}
            }
        }
        all
    }

    /// Rules that it had at any time.
    pub(super) fn rules(&self) -> impl Iterator<Item = Rule> {
        self.calls.iter().filter_map(Call::rule)
    }

    /// Stretches in which it certainly was active.
    pub(super) fn active(&self) -> Vec<Active> {
        let begins = self.calls.iter().filter(|call| call.activates());
        begins.filter_map(|call| self.active_from(call)).collect()
    }

    fn active_from(&self, begin: &Call) -> Option<Active> {
        let done = begin.done?;
        let ends = self.calls.iter().filter(|call| !call.activates() && call.may_follow(begin.sent));
        let until = ends.map(|call| call.sent).min();
        let creates = self.calls.iter().filter(|call| call.sent <= begin.sent && call.rule().is_some());
        // Of two that overlap, nobody knows which counts.
        let rules: Vec<_> = creates.filter(|call| call.done.is_some_and(|at| at <= done)).collect();
        let rule = rules.iter().max_by_key(|call| call.sent).and_then(|call| call.rule())?;
        let from = done.plus(CLOCK_OFF_MAX);
        until.is_none_or(|until| until > from).then_some(Active { rule, from, until })
    }

    /// Why nothing of it may be due at this instant, if that is certain.
    pub(super) fn inactive(&self, at: TrueTime) -> Option<&'static str> {
        let may_begin = |call: &&Call| call.activates() && call.sent <= at.plus(CLOCK_OFF_MAX);
        if !self.calls.iter().any(|call| may_begin(&call)) {
            return Some("before anybody had made the schedule");
        }
        let ends = self.calls.iter().filter(|call| !call.activates());
        let ended = ends.filter(|call| call.done.is_some_and(|done| done <= at));
        let mut certain = ended.filter(|end| {
            let again = |call: &Call| may_begin(&call) && call.may_follow(end.sent);
            !self.calls.iter().any(again)
        });
        certain.next().map(|end| match end.action {
            ScheduleAction::Delete => "after its acknowledged deletion",
            _ => "after its acknowledged pause",
        })
    }
}

fn made(all: &mut BTreeMap<String, Schedule>, schedule: &str, nominal: i64, id: &str) {
    let schedule = all.entry(schedule.to_owned()).or_default();
    schedule.made.entry(nominal).or_default().insert(id.to_owned());
}

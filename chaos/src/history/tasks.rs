//! A history sorted by task: what most checkers start from.

use std::collections::BTreeMap;

use super::{CancelAnswer, EndState, HandlerEnd, History, NodeName, Submission, SubmitAnswer, TrueTime, What};

/// A handler that began.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Start {
    /// When.
    pub at: TrueTime,
    /// On which node.
    pub node: NodeName,
    /// Fencing token.
    pub token: u64,
    /// From 1.
    pub attempt: u32,
    /// Session of the worker.
    pub session: String,
    /// Due instant, Unix milliseconds.
    pub due_unix_ms: i64,
    /// When it was over, as far as the history tells.
    pub ended: Option<TrueTime>,
    /// How, unless its process died before.
    pub how: Option<HandlerEnd>,
}

/// Everything about one task.
#[derive(Clone, Debug, Default)]
pub struct TaskStory {
    /// How it was submitted, and when.
    pub submitted: Vec<(TrueTime, Submission)>,
    /// First acknowledgement, and the due instant that it named.
    pub acknowledged: Option<(TrueTime, i64)>,
    /// A submission of it was certainly refused, and none was acknowledged or left open.
    pub refused: bool,
    /// First acknowledgement of a cancellation.
    pub cancelled: Option<TrueTime>,
    /// A cancellation may have happened.
    pub maybe_cancelled: bool,
    /// Handlers, in order.
    pub starts: Vec<Start>,
    /// Accepted and refused effects: when, token, accepted.
    pub effects: Vec<(TrueTime, u64, bool)>,
    /// Verdicts: when, token, verdict.
    pub verdicts: Vec<(TrueTime, u64, String)>,
    /// As the API shows it at the end.
    pub end: Option<EndState>,
    /// Attempts that the API shows at the end.
    pub attempts: Vec<super::AttemptRow>,
    /// Schedule that made it; empty for none.
    pub schedule: String,
    /// Nominal instant, if a schedule made it.
    pub nominal_unix_ms: Option<i64>,
}

impl History {
    /// The stories of all tasks, by id.
    pub fn tasks(&self) -> BTreeMap<String, TaskStory> {
        let mut tasks: BTreeMap<String, TaskStory> = BTreeMap::new();
        let mut calls = BTreeMap::new();
        for event in &self.events {
            match &event.what {
                What::Submit { op, task } => {
                    calls.insert(*op, task.id.clone());
                    tasks.entry(task.id.clone()).or_default().submitted.push((event.at, task.clone()));
                }
                What::SubmitAnswered { op, answer } => {
                    let own = calls.get(op).cloned().unwrap_or_default();
                    submit_answered(&mut tasks, own, event.at, answer);
                }
                What::CancelAnswered { id, answer, .. } => {
                    let task = tasks.entry(id.clone()).or_default();
                    match answer {
                        CancelAnswer::Cancelled => drop(task.cancelled.get_or_insert(event.at)),
                        CancelAnswer::Unknown { .. } => task.maybe_cancelled = true,
                        CancelAnswer::Refused { .. } => {}
                    }
                }
                What::Started { id, token, attempt, session, due_unix_ms, .. } => {
                    let start = Start {
                        at: event.at,
                        node: event.node.clone(),
                        token: *token,
                        attempt: *attempt,
                        session: session.clone(),
                        due_unix_ms: *due_unix_ms,
                        ended: None,
                        how: None,
                    };
                    tasks.entry(id.clone()).or_default().starts.push(start);
                }
                What::Ended { id, token, how } => ended(tasks.entry(id.clone()).or_default(), event, *token, *how),
                What::Verdict { id, token, verdict } => {
                    tasks.entry(id.clone()).or_default().verdicts.push((event.at, *token, verdict.clone()));
                }
                What::Effect { id, token, accepted } => {
                    tasks.entry(id.clone()).or_default().effects.push((event.at, *token, *accepted));
                }
                What::FinalTask { id, state, attempts, schedule, nominal_unix_ms } => {
                    let task = tasks.entry(id.clone()).or_default();
                    (task.end, task.attempts) = (Some(*state), attempts.clone());
                    (task.schedule, task.nominal_unix_ms) = (schedule.clone(), *nominal_unix_ms);
                }
                _ => {}
            }
        }
        self.close_by_node(&mut tasks);
        tasks
    }

    /// A handler is over when its process dies.
    fn close_by_node(&self, tasks: &mut BTreeMap<String, TaskStory>) {
        let mut deaths: BTreeMap<&str, Vec<TrueTime>> = BTreeMap::new();
        for event in &self.events {
            if matches!(event.what, What::Node { change: super::NodeChange::Killed }) {
                deaths.entry(&event.node).or_default().push(event.at);
            }
        }
        for start in tasks.values_mut().flat_map(|task| &mut task.starts) {
            let death = deaths.get(start.node.as_str()).and_then(|all| all.iter().find(|at| **at >= start.at));
            start.ended = [start.ended, death.copied()].into_iter().flatten().min();
        }
    }
}

fn submit_answered(tasks: &mut BTreeMap<String, TaskStory>, own: String, at: TrueTime, answer: &SubmitAnswer) {
    match answer {
        SubmitAnswer::Acknowledged { task, due_unix_ms, .. } => {
            let task = tasks.entry(task.clone()).or_default();
            task.acknowledged.get_or_insert((at, *due_unix_ms));
        }
        SubmitAnswer::Refused { .. } => tasks.entry(own).or_default().refused = true,
        SubmitAnswer::Unknown { .. } => {}
    }
}

fn ended(task: &mut TaskStory, event: &super::Event, token: u64, how: HandlerEnd) {
    let open = |start: &&mut Start| start.token == token && start.node == event.node && start.ended.is_none();
    if let Some(start) = task.starts.iter_mut().rev().find(open) {
        (start.ended, start.how) = (Some(event.at), Some(how));
    }
}

//! Small histories, right and wrong.

use crate::history::{
    AttemptRow, CancelAnswer, Change, EndState, Event, HandlerEnd, Header, History, NodeChange, ScheduleAction, Sees,
    Submission, SubmitAnswer, TimeScale, TrueTime, What,
};

/// A history in the making. Time stands until it is set.
pub(crate) struct Story {
    pub(crate) header: Header,
    events: Vec<Event>,
    now: TrueTime,
    version: u64,
    op: u64,
}

/// Tells a story and judges it: so many violations of this invariant, and none of its own
/// kind less.
pub(crate) fn check_as(invariant: &str, tell: impl FnOnce(&mut Story), expected: usize) {
    let history = Story::tell(tell);
    let mut written = Vec::new();
    history.write(&mut written).unwrap();
    let read = History::read(written.as_slice()).unwrap();
    assert_eq!(read, history, "what is written is read back");
    let report = super::check(&read);
    let found: Vec<_> = report.violations.iter().filter(|violation| violation.invariant == invariant).collect();
    assert_eq!(found.len(), expected, "{found:#?}");
}

impl Story {
    /// The history that the story tells.
    pub(crate) fn tell(tell: impl FnOnce(&mut Self)) -> History {
        let mut story = Self::new();
        tell(&mut story);
        History::new(story.header, story.events)
    }

    fn new() -> Self {
        let header = Header {
            format: 1,
            seed: 1,
            scenario: "test".to_owned(),
            scale: TimeScale::default(),
            sees: Sees { commits: true, rows: true, tasks: true, handlers: true },
            early_ns_max: 0,
            rates_in_bounds: true,
            session_lease_ms: 1000,
            drain_ms_max: 1000,
            fire_ms_max: 0,
            dead_queues: Vec::new(),
        };
        Self { header, events: Vec::new(), now: TrueTime::ZERO, version: 0, op: 0 }
    }

    fn add(&mut self, node: &str, what: What) -> &mut Self {
        self.events.push(Event { at: self.now, node: node.to_owned(), what });
        self
    }

    /// Any event, outside of all nodes.
    pub(crate) fn what(&mut self, what: What) -> &mut Self {
        self.add("", what)
    }

    pub(crate) fn at_ms(&mut self, ms: u64) -> &mut Self {
        self.at_ns(ms * 1_000_000)
    }

    pub(crate) fn at_ns(&mut self, ns: u64) -> &mut Self {
        self.now = TrueTime(ns);
        self
    }

    pub(crate) fn submit(&mut self, id: &str) -> &mut Self {
        self.submit_with_key(id, "")
    }

    pub(crate) fn submit_with_key(&mut self, id: &str, key: &str) -> &mut Self {
        self.op += 1;
        let task = Submission {
            id: id.to_owned(),
            queue: "q".to_owned(),
            priority: 2,
            max_attempts: 3,
            idempotency_key: key.to_owned(),
            ..Submission::default()
        };
        self.add("client", What::Submit { op: self.op, task })
    }

    fn answered(&mut self, answer: SubmitAnswer) -> &mut Self {
        self.add("client", What::SubmitAnswered { op: self.op, answer })
    }

    pub(crate) fn acknowledged(&mut self, id: &str) -> &mut Self {
        self.answered(SubmitAnswer::Acknowledged { task: id.to_owned(), due_unix_ms: 0, created: true })
    }

    pub(crate) fn refused(&mut self, _id: &str) -> &mut Self {
        self.answered(SubmitAnswer::Refused { reason: "INVALID_ARGUMENT".to_owned() })
    }

    pub(crate) fn unknown(&mut self, _id: &str) -> &mut Self {
        self.answered(SubmitAnswer::Unknown { reason: "OUTCOME_UNKNOWN".to_owned() })
    }

    pub(crate) fn cancelled(&mut self, id: &str) -> &mut Self {
        self.op += 1;
        let (op, id) = (self.op, id.to_owned());
        self.add("client", What::CancelAnswered { op, id, answer: CancelAnswer::Cancelled })
    }

    /// An acknowledged change of a schedule.
    pub(crate) fn schedule(&mut self, schedule: &str, action: ScheduleAction) -> &mut Self {
        self.schedule_call(schedule, action, true)
    }

    /// A change of a schedule of which nobody knows whether it happened.
    pub(crate) fn schedule_unknown(&mut self, schedule: &str, action: ScheduleAction) -> &mut Self {
        self.schedule_call(schedule, action, false)
    }

    fn schedule_call(&mut self, schedule: &str, action: ScheduleAction, ok: bool) -> &mut Self {
        self.op += 1;
        let (op, schedule) = (self.op, schedule.to_owned());
        self.add("client", What::ScheduleCall { op, schedule: schedule.clone(), action });
        self.add("client", What::ScheduleAnswered { op, schedule, ok, unknown: !ok })
    }

    /// Makes a schedule that counts from the beginning.
    pub(crate) fn every(&mut self, schedule: &str, every_ms: u64) -> &mut Self {
        let (cron, zone) = (String::new(), "UTC".to_owned());
        self.schedule(schedule, ScheduleAction::Create { cron, every_ms, anchor_unix_ms: 0, zone })
    }

    pub(crate) fn cron(&mut self, schedule: &str, cron: &str, zone: &str) -> &mut Self {
        let (cron, zone) = (cron.to_owned(), zone.to_owned());
        self.schedule(schedule, ScheduleAction::Create { cron, every_ms: 0, anchor_unix_ms: 0, zone })
    }

    /// Occurrences at these seconds since the beginning, each a task that succeeded.
    pub(crate) fn occurrences(&mut self, schedule: &str, at_s: &[i64]) -> &mut Self {
        for at in at_s {
            self.occurrence(schedule, *at, &format!("{schedule}-{at}"));
        }
        self
    }

    pub(crate) fn occurrence(&mut self, schedule: &str, at_s: i64, id: &str) -> &mut Self {
        let nominal = self.header.scale.epoch_unix_ms + at_s * 1000;
        let (id, schedule) = (id.to_owned(), schedule.to_owned());
        let (state, nominal_unix_ms) = (EndState::Succeeded, Some(nominal));
        self.add("", What::FinalTask { id, state, attempts: Vec::new(), schedule, nominal_unix_ms })
    }

    /// A handler begins on the node that has the session's name.
    pub(crate) fn start(&mut self, id: &str, token: u64, session: &str, due_unix_ms: i64) -> &mut Self {
        let started = What::Started {
            id: id.to_owned(),
            token,
            attempt: u32::try_from(token).unwrap(),
            session: session.to_owned(),
            queue: "q".to_owned(),
            due_unix_ms,
            schedule: String::new(),
            nominal_unix_ms: None,
        };
        self.add(session, started)
    }

    /// The handler of an occurrence begins.
    pub(crate) fn start_occurrence(&mut self, id: &str, schedule: &str, nominal_unix_ms: i64) -> &mut Self {
        let started = What::Started {
            id: id.to_owned(),
            token: 1,
            attempt: 1,
            session: "w".to_owned(),
            queue: "q".to_owned(),
            due_unix_ms: nominal_unix_ms,
            schedule: schedule.to_owned(),
            nominal_unix_ms: Some(nominal_unix_ms),
        };
        self.add("w", started)
    }

    pub(crate) fn ended(&mut self, id: &str, token: u64, node: &str) -> &mut Self {
        self.add(node, What::Ended { id: id.to_owned(), token, how: HandlerEnd::Returned })
    }

    pub(crate) fn verdict(&mut self, id: &str, token: u64, verdict: &str) -> &mut Self {
        self.add("w", What::Verdict { id: id.to_owned(), token, verdict: verdict.to_owned() })
    }

    pub(crate) fn effect(&mut self, id: &str, token: u64, accepted: bool) -> &mut Self {
        self.add("w", What::Effect { id: id.to_owned(), token, accepted })
    }

    pub(crate) fn node(&mut self, name: &str, change: NodeChange) -> &mut Self {
        self.add(name, What::Node { change })
    }

    pub(crate) fn commit(&mut self, changes: Vec<Change>) -> &mut Self {
        self.commit_of("", changes)
    }

    /// A commit whose client was not told of it.
    pub(crate) fn commit_unheard(&mut self, changes: Vec<Change>) -> &mut Self {
        self.version += 1;
        self.add("", What::Commit { version: self.version, batch_index: 0, acknowledged: false, changes })
    }

    /// A commit that this node sent.
    pub(crate) fn commit_of(&mut self, node: &str, changes: Vec<Change>) -> &mut Self {
        self.version += 1;
        self.add(node, What::Commit { version: self.version, batch_index: 0, acknowledged: true, changes })
    }

    pub(crate) fn rows(&mut self, rows: Vec<Change>) -> &mut Self {
        for row in rows {
            self.add("", What::FinalRow { row });
        }
        self
    }

    pub(crate) fn end(&mut self, id: &str, state: EndState) -> &mut Self {
        let rows: &[_] = if state == EndState::Succeeded { &[(1, "succeeded")] } else { &[] };
        self.end_with(id, state, rows)
    }

    /// Attempts in order: token and outcome.
    pub(crate) fn end_with(&mut self, id: &str, state: EndState, attempts: &[(u64, &str)]) -> &mut Self {
        let row = |(number, (token, outcome)): (u32, &(u64, &str))| AttemptRow {
            number,
            token: *token,
            session: "w".to_owned(),
            outcome: (*outcome).to_owned(),
        };
        let attempts = (1..).zip(attempts).map(row).collect();
        self.final_task(id, state, attempts)
    }

    /// Attempts in order: number and token.
    pub(crate) fn end_with_numbers(&mut self, id: &str, state: EndState, attempts: &[(u32, u64)]) -> &mut Self {
        let row = |(number, token): &(u32, u64)| AttemptRow {
            number: *number,
            token: *token,
            session: "w".to_owned(),
            outcome: "failed".to_owned(),
        };
        let attempts = attempts.iter().map(row).collect();
        self.final_task(id, state, attempts)
    }

    fn final_task(&mut self, id: &str, state: EndState, attempts: Vec<AttemptRow>) -> &mut Self {
        let id = id.to_owned();
        self.add("", What::FinalTask { id, state, attempts, schedule: String::new(), nominal_unix_ms: None })
    }
}

pub(crate) fn task(id: &str) -> Change {
    Change::Task { id: id.to_owned(), max_attempts: 3, due_unix_ms: 0, schedule: String::new(), nominal_unix_ms: None }
}

pub(crate) fn head(id: &str, state: EndState, attempts: u32, token: u64) -> Change {
    Change::Head { id: id.to_owned(), state, attempts, token }
}

pub(crate) fn due(id: &str, attempts: u32, token: u64) -> Change {
    let (id, queue) = (id.to_owned(), "q".to_owned());
    Change::Due { id, shard: 0, queue, priority: 2, due_unix_ms: 0, attempts, token }
}

/// The attempt has the token's number.
pub(crate) fn lease(id: &str, token: u64) -> Change {
    Change::Lease {
        id: id.to_owned(),
        shard: 0,
        session: "w".to_owned(),
        token,
        attempt: u32::try_from(token).unwrap(),
        queue: "q".to_owned(),
        priority: 2,
        due_unix_ms: 0,
    }
}

pub(crate) fn cleared(id: &str) -> Change {
    Change::LeaseCleared { id: id.to_owned() }
}

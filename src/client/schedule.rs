//! A rule that makes tasks, as it is given to the server.

use std::time::Duration;

use escapement_engine::Timestamp;
use escapement_proto::v1::{self, schedule_spec::Rule};

use super::task::{to_duration, to_timestamp, work_setters};

/// A schedule to create. The server checks it; its error names field, value and limit.
#[derive(Clone, Debug, Default, PartialEq)]
#[must_use]
pub struct NewSchedule {
    pub(super) work: v1::TaskTemplate,
    id: String,
    namespace: String,
    rule: Option<Rule>,
    time_zone: String,
    start_at: Option<Timestamp>,
    end_at: Option<Timestamp>,
}

impl NewSchedule {
    fn new(id: impl Into<String>, queue: impl Into<String>, rule: Rule) -> Self {
        let work = v1::TaskTemplate { queue: queue.into(), ..Default::default() };
        Self { work, id: id.into(), rule: Some(rule), ..Self::default() }
    }

    /// Makes tasks of `queue` by a cron expression: five fields, six with seconds in front, or
    /// a name such as `@daily`. The id has 1 to 128 characters of `[A-Za-z0-9._-]`, starting
    /// with a letter or digit.
    pub fn cron(id: impl Into<String>, expression: impl Into<String>, queue: impl Into<String>) -> Self {
        Self::new(id, queue, Rule::Cron(v1::CronRule { expression: expression.into() }))
    }

    /// Makes a task of `queue` every so often: 1 s to 366 days, counted from `anchor`, or
    /// else from the instant of creation.
    pub fn interval(
        id: impl Into<String>,
        every: Duration,
        anchor: Option<Timestamp>,
        queue: impl Into<String>,
    ) -> Self {
        let rule = v1::IntervalRule { every: Some(to_duration(every)), anchor: anchor.map(to_timestamp) };
        Self::new(id, queue, Rule::Interval(rule))
    }

    work_setters!();

    /// The namespace. The client's unless set.
    pub fn namespace(mut self, namespace: impl Into<String>) -> Self {
        self.namespace = namespace.into();
        self
    }

    /// IANA name of the zone in which the rule is read. `UTC` unless set.
    pub fn time_zone(mut self, name: impl Into<String>) -> Self {
        self.time_zone = name.into();
        self
    }

    /// No occurrence before this instant. Unless set, the instant of creation.
    pub fn start_at(mut self, at: Timestamp) -> Self {
        self.start_at = Some(at);
        self
    }

    /// No occurrence at this instant or later.
    pub fn end_at(mut self, at: Timestamp) -> Self {
        self.end_at = Some(at);
        self
    }

    /// Each task's overall deadline, counted from its nominal instant.
    pub fn deadline_after(mut self, span: Duration) -> Self {
        self.work.deadline_after = Some(to_duration(span));
        self
    }

    /// The id that was given.
    pub fn id(&self) -> &str {
        &self.id
    }

    pub(crate) fn into_spec(self, own_namespace: &str) -> v1::ScheduleSpec {
        v1::ScheduleSpec {
            id: self.id,
            namespace: if self.namespace.is_empty() { own_namespace.to_owned() } else { self.namespace },
            time_zone: self.time_zone,
            task: Some(self.work),
            start_at: self.start_at.map(to_timestamp),
            end_at: self.end_at.map(to_timestamp),
            rule: self.rule,
        }
    }
}

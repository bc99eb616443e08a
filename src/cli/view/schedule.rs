//! Schedules as they are shown.

use std::collections::BTreeMap;

use escapement_proto::v1::{self, schedule_spec::Rule};
use serde::Serialize;

use super::{PayloadView, RetryView, enum_word, instant, millis, nonempty, priority, task::show_millis};
use crate::cli::{
    output::{Colour, Ui},
    values,
};

#[derive(Serialize)]
pub(in crate::cli) struct ScheduleView {
    id: String,
    namespace: String,
    uid: String,
    state: String,
    cron: Option<String>,
    every_ms: Option<i64>,
    anchor: Option<String>,
    time_zone: String,
    start_at: Option<String>,
    end_at: Option<String>,
    created_at: Option<String>,
    next_at: Option<String>,
    last_at: Option<String>,
    occurrence_count: u64,
    task: Option<TemplateView>,
}

#[derive(Serialize)]
struct TemplateView {
    queue: String,
    priority: String,
    attempt_timeout_ms: Option<i64>,
    deadline_after_ms: Option<i64>,
    retry: Option<RetryView>,
    labels: BTreeMap<String, String>,
    payload: Option<PayloadView>,
}

impl TemplateView {
    fn of(task: &v1::TaskTemplate) -> Self {
        Self {
            queue: task.queue.clone(),
            priority: priority(task.priority()),
            attempt_timeout_ms: millis(task.attempt_timeout),
            deadline_after_ms: millis(task.deadline_after),
            retry: task.retry.as_ref().map(RetryView::of),
            labels: task.labels.clone(),
            payload: task.payload.as_ref().map(PayloadView::of),
        }
    }

    fn timeout(&self) -> Option<String> {
        self.attempt_timeout_ms.map(show_millis)
    }

    fn attempts(&self) -> Option<String> {
        self.retry.as_ref().map(|retry| retry.max_attempts.to_string())
    }
}

impl ScheduleView {
    pub(in crate::cli) fn of(schedule: &v1::Schedule) -> Self {
        let spec = schedule.spec.clone().unwrap_or_default();
        let (cron, every_ms, anchor) = match spec.rule {
            Some(Rule::Cron(cron)) => (Some(cron.expression), None, None),
            Some(Rule::Interval(interval)) => (None, millis(interval.every), instant(interval.anchor)),
            None => (None, None, None),
        };
        Self {
            id: spec.id,
            namespace: spec.namespace,
            uid: schedule.uid.clone(),
            state: enum_word(schedule.state().as_str_name(), "SCHEDULE_STATE_"),
            cron,
            every_ms,
            anchor,
            time_zone: spec.time_zone,
            start_at: instant(spec.start_at),
            end_at: instant(spec.end_at),
            created_at: instant(schedule.created_at),
            next_at: instant(schedule.next_at),
            last_at: instant(schedule.last_at),
            occurrence_count: schedule.occurrence_count,
            task: spec.task.as_ref().map(TemplateView::of),
        }
    }

    fn rule(&self) -> String {
        match (&self.cron, self.every_ms) {
            (Some(expression), _) => expression.clone(),
            (None, Some(ms)) => {
                let span = std::time::Duration::from_millis(u64::try_from(ms).unwrap_or_default());
                format!("every {}", values::show_duration(span))
            }
            (None, None) => String::new(),
        }
    }

    /// The columns of a list.
    pub(in crate::cli) const COLUMNS: [&'static str; 11] =
        ["ID", "STATE", "RULE", "ZONE", "QUEUE", "TIMEOUT", "ATTEMPTS", "FROM", "UNTIL", "LAST", "NEXT"];

    pub(in crate::cli) fn row(&self) -> [String; 11] {
        let task = self.task.as_ref();
        let instant = |at: &Option<String>| at.clone().unwrap_or_default();
        [
            self.id.clone(),
            self.state.clone(),
            self.rule(),
            self.time_zone.clone(),
            task.map(|task| task.queue.clone()).unwrap_or_default(),
            task.and_then(TemplateView::timeout).unwrap_or_default(),
            task.and_then(TemplateView::attempts).unwrap_or_default(),
            instant(&self.start_at),
            instant(&self.end_at),
            instant(&self.last_at),
            instant(&self.next_at),
        ]
    }
}

/// Everything about a schedule, for people.
pub(in crate::cli) fn describe(schedule: &v1::Schedule, ui: &Ui) -> String {
    let view = ScheduleView::of(schedule);
    let rule = view.rule();
    let colour = match schedule.state() {
        v1::ScheduleState::Active => Some(Colour::Green),
        v1::ScheduleState::Paused => Some(Colour::Yellow),
        v1::ScheduleState::Finished | v1::ScheduleState::Unspecified => None,
    };
    let task = view.task.as_ref();
    let labels = task.map(|task| &task.labels).into_iter().flatten();
    let labels: Vec<_> = labels.map(|(key, value)| format!("{key}={value}")).collect();
    ui.fields_painting(
        ("state", colour),
        [
            ("id", Some(view.id)),
            ("namespace", Some(view.namespace)),
            ("state", Some(view.state)),
            ("rule", Some(rule)),
            ("zone", Some(view.time_zone)),
            ("from", Some(view.start_at.unwrap_or_else(|| "its creation".to_owned()))),
            ("until", Some(view.end_at.unwrap_or_else(|| "no end".to_owned()))),
            ("created", view.created_at),
            ("next", view.next_at),
            ("last", Some(view.last_at.unwrap_or_else(|| "never yet".to_owned()))),
            ("occurrences", Some(view.occurrence_count.to_string())),
            ("queue", task.map(|task| task.queue.clone())),
            ("priority", task.map(|task| task.priority.clone())),
            ("attempt timeout", task.and_then(TemplateView::timeout)),
            ("attempts", task.and_then(TemplateView::attempts).map(|max| format!("at most {max}"))),
            (
                "deadline",
                task.and_then(|task| task.deadline_after_ms).map(|ms| format!("{} after its instant", show_millis(ms))),
            ),
            ("labels", nonempty(&labels.join(" "))),
            ("payload", task.and_then(|task| task.payload.as_ref()).map(PayloadView::describe)),
        ],
    )
}

//! Schedules.

use std::time::Duration;

use escapement_engine::{
    Timestamp,
    calendar::{CronExpr, Zone},
    limits::{DUE_AHEAD_MAX, INTERVAL_MAX, INTERVAL_MIN, SCHEDULE_PAYLOAD_BYTES_MAX},
};
use escapement_proto::v1::{self, schedule_spec};

use super::{Path, Violations, scalar, task::TemplateFields};
use crate::{
    api::{ApiLimits, hash},
    model::{RuleSpec, ScheduleSpec, Template},
};

/// When a schedule's occurrences are: the part of it that a preview needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timing {
    /// The rule.
    pub rule: RuleSpec,
    /// IANA name of the zone.
    pub time_zone: String,
    /// No occurrence before.
    pub start: Option<Timestamp>,
    /// No occurrence at or after.
    pub end: Option<Timestamp>,
}

/// A schedule as its owner wrote it, taken at `now`.
pub fn schedule_spec(
    path: &Path<'_>,
    spec: v1::ScheduleSpec,
    now: Timestamp,
    limits: &ApiLimits,
    v: &mut Violations,
) -> Option<ScheduleSpec> {
    let content_hash = hash::of_schedule(&spec);
    let id = scalar::schedule_id(&path.field("id"), &spec.id, v);
    let namespace = scalar::namespace(&path.field("namespace"), &spec.namespace, v);
    let timing = timing(path, &spec, now, v);
    let template = template(&path.field("task"), spec.task, limits, v);
    let (template, deadline_after) = template?;
    let Timing { rule, time_zone, start, end } = timing?;
    Some(ScheduleSpec {
        id: id?,
        namespace: namespace?,
        rule,
        time_zone,
        template,
        deadline_after,
        start,
        end,
        content_hash,
    })
}

/// Rule, zone, start and end.
pub(crate) fn timing(path: &Path<'_>, spec: &v1::ScheduleSpec, now: Timestamp, v: &mut Violations) -> Option<Timing> {
    let time_zone = time_zone(&path.field("time_zone"), &spec.time_zone, v);
    let rule = rule(path, spec.rule.as_ref(), now, v);
    let start = scalar::optional_timestamp(&path.field("start_at"), spec.start_at.as_ref(), v);
    let end_path = path.field("end_at");
    let end = scalar::optional_timestamp(&end_path, spec.end_at.as_ref(), v);
    if let (Some(start), Some(Some(end))) = (start, end)
        && end <= start.unwrap_or(now)
    {
        let from = if start.is_some() { "start_at" } else { "the instant of creation" };
        v.add(&end_path, end, format!("must be after {from}, {}", start.unwrap_or(now)));
        return None;
    }
    Some(Timing { rule: rule?, time_zone: time_zone?, start: start?, end: end? })
}

/// As the database spells it.
fn time_zone(path: &Path<'_>, name: &str, v: &mut Violations) -> Option<String> {
    let zone = if name.is_empty() { Ok(Zone::utc()) } else { Zone::new(name) };
    zone.map(|zone| zone.name().to_owned()).map_err(|error| v.add(path, name, error.limit())).ok()
}

/// The expression stays as its owner wrote it.
fn cron(path: &Path<'_>, expression: &str, v: &mut Violations) -> Option<RuleSpec> {
    match CronExpr::parse(expression) {
        Ok(_) => Some(RuleSpec::Cron(expression.to_owned())),
        Err(error) => {
            let problem = match error.field {
                Some(field) => {
                    format!("{field} `{}` at column {} {}", error.value, error.position + 1, error.problem)
                }
                None => format!("it {}", error.problem),
            };
            v.add(path, expression, format!("must be a cron expression: {problem}"));
            None
        }
    }
}

fn rule(path: &Path<'_>, rule: Option<&schedule_spec::Rule>, now: Timestamp, v: &mut Violations) -> Option<RuleSpec> {
    match rule {
        None => {
            v.add(&path.field("rule"), "", "must be there: either cron or interval");
            None
        }
        Some(schedule_spec::Rule::Cron(rule)) => {
            let path = path.field("cron");
            cron(&path.field("expression"), &rule.expression, v)
        }
        Some(schedule_spec::Rule::Interval(interval)) => {
            let path = path.field("interval");
            let every = every(&path.field("every"), interval.every.as_ref(), v);
            let anchor = scalar::optional_timestamp(&path.field("anchor"), interval.anchor.as_ref(), v);
            Some(RuleSpec::Interval { every: every?, anchor: anchor?.unwrap_or(now) })
        }
    }
}

/// Occurrences are whole milliseconds: an interval that is not would drift from what was asked.
fn every(path: &Path<'_>, every: Option<&prost_types::Duration>, v: &mut Violations) -> Option<Duration> {
    let Some(every) = every else {
        v.add(path, "", "must be there");
        return None;
    };
    let limit = "must be 1 s to 366 days";
    let found = scalar::duration(path, every, INTERVAL_MIN..=INTERVAL_MAX, limit, v)?;
    if every.nanos % 1_000_000 != 0 {
        let span = scalar::span(path, every, v)?;
        v.add(path, span, "must be a whole number of milliseconds");
        return None;
    }
    Some(found)
}

fn template(
    path: &Path<'_>,
    template: Option<v1::TaskTemplate>,
    limits: &ApiLimits,
    v: &mut Violations,
) -> Option<(Template, Option<Duration>)> {
    let Some(template) = template else {
        v.add(path, "", "must be there: what each occurrence is to do");
        return None;
    };
    let after_path = path.field("deadline_after");
    let after = match &template.deadline_after {
        None => Some(None),
        Some(after) => {
            let range = Duration::from_millis(1)..=DUE_AHEAD_MAX;
            scalar::duration(&after_path, after, range, "must be 1 ms to 100 years", v).map(Some)
        }
    };
    let fields = TemplateFields {
        queue: template.queue,
        payload: template.payload,
        priority: template.priority,
        retry: template.retry,
        attempt_timeout: template.attempt_timeout,
        labels: template.labels,
    };
    let limits = ApiLimits { payload_bytes_max: limits.payload_bytes_max.min(SCHEDULE_PAYLOAD_BYTES_MAX) };
    let template = fields.validate(path, &limits, v);
    Some((template?, after?))
}

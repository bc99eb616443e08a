//! Schedules.

use escapement_proto::v1::{self, schedule_spec::Rule};

use super::{duration, template, timestamp};
use crate::model::{RuleSpec, ScheduleSpec, ScheduleState, ScheduleView};

/// A schedule as it stands.
pub fn schedule(view: ScheduleView) -> v1::Schedule {
    let state = match view.state {
        ScheduleState::Active => v1::ScheduleState::Active,
        ScheduleState::Paused => v1::ScheduleState::Paused,
        ScheduleState::Finished => v1::ScheduleState::Finished,
    };
    v1::Schedule {
        spec: Some(schedule_spec(view.spec)),
        uid: view.uid.to_string(),
        state: state.into(),
        created_at: Some(timestamp(view.created)),
        next_at: view.next.map(timestamp),
        last_at: view.last.map(timestamp),
        occurrence_count: view.occurrences,
    }
}

/// A schedule as its owner wants it, with what he left to defaults filled in.
pub fn schedule_spec(spec: ScheduleSpec) -> v1::ScheduleSpec {
    let rule = match spec.rule {
        RuleSpec::Cron(expression) => Rule::Cron(v1::CronRule { expression }),
        RuleSpec::Interval { every, anchor } => {
            Rule::Interval(v1::IntervalRule { every: Some(duration(every)), anchor: Some(timestamp(anchor)) })
        }
    };
    v1::ScheduleSpec {
        id: spec.id.to_string(),
        namespace: spec.namespace.to_string(),
        rule: Some(rule),
        time_zone: spec.time_zone,
        task: Some(template(spec.template, spec.deadline_after)),
        start_at: spec.start.map(timestamp),
        end_at: spec.end.map(timestamp),
    }
}

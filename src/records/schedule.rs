//! Records of schedules.

use std::time::Duration;

use bytes::Bytes;
use escapement_engine::{ScheduleUid, Timestamp, name::Namespace, name::ScheduleId};
use escapement_proto::records::{
    IntervalRecord, ScheduleDeletionRecord, ScheduleRecord, TemplateRecord, TickRecord, schedule_record,
};

use super::{
    Record, RecordError, millis, read_namespace, read_priority, read_queue, read_schedule_id,
    task::{read_retry, retry_message},
};
use crate::{
    keyspace,
    model::{Payload, RuleSpec, ScheduleSpec, ScheduleState, ScheduleView, Template},
};

/// A schedule as it stands.
pub type ScheduleRow = ScheduleView;

impl Record for ScheduleRow {
    const NAME: &'static str = "schedule";
    type Message = ScheduleRecord;

    fn to_message(&self) -> ScheduleRecord {
        let spec = &self.spec;
        let rule = match &spec.rule {
            RuleSpec::Cron(expression) => schedule_record::Rule::Cron(expression.clone()),
            RuleSpec::Interval { every, anchor } => schedule_record::Rule::Interval(IntervalRecord {
                every_ms: millis(*every),
                anchor_ms: anchor.unix_ms(),
            }),
        };
        ScheduleRecord {
            uid: Bytes::copy_from_slice(self.uid.as_bytes()),
            namespace: spec.namespace.as_str().to_owned(),
            id: spec.id.as_str().to_owned(),
            rule: Some(rule),
            time_zone: spec.time_zone.clone(),
            task: Some(template_message(spec)),
            start_ms: spec.start.map(Timestamp::unix_ms),
            end_ms: spec.end.map(Timestamp::unix_ms),
            state: state_code(self.state),
            created_ms: self.created.unix_ms(),
            next_ms: self.next.map(Timestamp::unix_ms),
            last_ms: self.last.map(Timestamp::unix_ms),
            occurrences: self.occurrences,
            content_hash: spec.content_hash,
            revision: self.revision,
        }
    }

    fn from_message(message: ScheduleRecord) -> Result<Self, RecordError> {
        let wrong = |what: &str| RecordError::new(Self::NAME, what);
        let rule = match message.rule.ok_or_else(|| wrong("without a rule"))? {
            schedule_record::Rule::Cron(expression) => RuleSpec::Cron(expression),
            schedule_record::Rule::Interval(interval) if interval.every_ms > 0 => RuleSpec::Interval {
                every: Duration::from_millis(interval.every_ms),
                anchor: Timestamp::from_unix_ms(interval.anchor_ms),
            },
            schedule_record::Rule::Interval(_) => return Err(wrong("an interval of no length")),
        };
        let state = read_state(message.state)?;
        if (state == ScheduleState::Active) != message.next_ms.is_some() {
            return Err(wrong("a state that does not go with its next instant"));
        }
        let task = message.task.ok_or_else(|| wrong("without a task"))?;
        let (template, deadline_after) = read_template(task)?;
        Ok(Self {
            spec: ScheduleSpec {
                id: read_schedule_id(Self::NAME, &message.id)?,
                namespace: read_namespace(Self::NAME, &message.namespace)?,
                rule,
                time_zone: message.time_zone,
                template,
                deadline_after,
                start: message.start_ms.map(Timestamp::from_unix_ms),
                end: message.end_ms.map(Timestamp::from_unix_ms),
                content_hash: message.content_hash,
            },
            uid: ScheduleUid::from_slice(&message.uid).ok_or_else(|| wrong("uid is not 16 bytes"))?,
            state,
            created: Timestamp::from_unix_ms(message.created_ms),
            next: message.next_ms.map(Timestamp::from_unix_ms),
            last: message.last_ms.map(Timestamp::from_unix_ms),
            occurrences: message.occurrences,
            revision: message.revision,
        })
    }
}

fn template_message(spec: &ScheduleSpec) -> TemplateRecord {
    let template = &spec.template;
    TemplateRecord {
        queue: template.queue.as_str().to_owned(),
        payload: template.payload.data.clone(),
        content_type: template.payload.content_type.clone(),
        has_payload: !template.payload.is_empty(),
        priority: keyspace::priority_code(template.priority),
        retry: retry_message(&template.retry),
        attempt_timeout_ms: millis(template.attempt_timeout),
        deadline_after_ms: spec.deadline_after.map(millis),
        labels: template.labels.clone(),
    }
}

fn read_template(message: TemplateRecord) -> Result<(Template, Option<Duration>), RecordError> {
    const NAME: &str = <ScheduleRow as Record>::NAME;
    if message.has_payload == (message.payload.is_empty() && message.content_type.is_empty()) {
        return Err(RecordError::new(NAME, "a payload that is not what the record says of it"));
    }
    let template = Template {
        queue: read_queue(NAME, &message.queue)?,
        payload: Payload { data: message.payload, content_type: message.content_type, truncated: false },
        priority: read_priority(NAME, message.priority)?,
        retry: read_retry(NAME, message.retry)?,
        attempt_timeout: Duration::from_millis(message.attempt_timeout_ms),
        labels: message.labels,
    };
    Ok((template, message.deadline_after_ms.map(Duration::from_millis)))
}

const fn state_code(state: ScheduleState) -> u32 {
    match state {
        ScheduleState::Active => 1,
        ScheduleState::Paused => 2,
        ScheduleState::Finished => 3,
    }
}

fn read_state(code: u32) -> Result<ScheduleState, RecordError> {
    Ok(match code {
        1 => ScheduleState::Active,
        2 => ScheduleState::Paused,
        3 => ScheduleState::Finished,
        _ => return Err(RecordError::new(<ScheduleRow as Record>::NAME, format!("{code} is no state"))),
    })
}

/// The last schedule that was deleted under an id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScheduleDeletion {
    /// Which it was.
    pub uid: ScheduleUid,
    /// Deletions under this id, this one included; at least 1.
    pub deletions: u64,
}

impl Record for ScheduleDeletion {
    const NAME: &'static str = "schedule deletion";
    type Message = ScheduleDeletionRecord;

    fn to_message(&self) -> ScheduleDeletionRecord {
        ScheduleDeletionRecord { uid: Bytes::copy_from_slice(self.uid.as_bytes()), deletions: self.deletions }
    }

    fn from_message(message: ScheduleDeletionRecord) -> Result<Self, RecordError> {
        let wrong = |what: &str| RecordError::new(Self::NAME, what);
        if message.deletions == 0 {
            return Err(wrong("of no deletion"));
        }
        let uid = ScheduleUid::from_slice(&message.uid).ok_or_else(|| wrong("uid is not 16 bytes"))?;
        Ok(Self { uid, deletions: message.deletions })
    }
}

/// Behind a tick key: which schedule is due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tick {
    /// Whose.
    pub namespace: Namespace,
    /// Which.
    pub id: ScheduleId,
}

impl Record for Tick {
    const NAME: &'static str = "tick";
    type Message = TickRecord;

    fn to_message(&self) -> TickRecord {
        TickRecord { namespace: self.namespace.as_str().to_owned(), id: self.id.as_str().to_owned() }
    }

    fn from_message(message: TickRecord) -> Result<Self, RecordError> {
        Ok(Self {
            namespace: read_namespace(Self::NAME, &message.namespace)?,
            id: read_schedule_id(Self::NAME, &message.id)?,
        })
    }
}

//! Model to messages. Nothing can fail here: what the model holds is valid.

mod schedule;
mod status;
mod task;

use std::time::Duration;

use escapement_engine::{Timestamp, name::Priority, retry::RetryPolicy};
use escapement_proto::v1;
pub use schedule::{schedule, schedule_spec};
pub use status::status;
pub use task::{submitted, task, template, watch_event};

use crate::model::Payload;

/// Instants of the model are whole milliseconds.
pub fn timestamp(at: Timestamp) -> prost_types::Timestamp {
    let ms = at.unix_ms();
    let nanos = i32::try_from(ms.rem_euclid(1000) * 1_000_000).expect("below a second");
    prost_types::Timestamp { seconds: ms.div_euclid(1000), nanos }
}

/// Spans longer than 10,000 years, the most that the message may say, are cut.
pub fn duration(span: Duration) -> prost_types::Duration {
    let seconds = i64::try_from(span.as_secs()).unwrap_or(i64::MAX).min(315_576_000_000);
    let nanos = i32::try_from(span.subsec_nanos()).expect("below a second");
    prost_types::Duration { seconds, nanos }
}

/// `None` when there is neither data nor a type.
pub fn payload(payload: Payload) -> Option<v1::Payload> {
    if payload.is_empty() { None } else { Some(present_payload(payload)) }
}

fn present_payload(payload: Payload) -> v1::Payload {
    v1::Payload { data: payload.data, content_type: payload.content_type, truncated: payload.truncated }
}

fn priority(priority: Priority) -> i32 {
    let priority = match priority {
        Priority::High => v1::Priority::High,
        Priority::Medium => v1::Priority::Medium,
        Priority::Low => v1::Priority::Low,
    };
    priority.into()
}

fn retry(policy: RetryPolicy) -> v1::RetryPolicy {
    v1::RetryPolicy {
        max_attempts: policy.max_attempts,
        initial_backoff: Some(duration(policy.initial_backoff)),
        backoff_multiplier: f64::from(policy.multiplier_milli) / 1000.0,
        max_backoff: Some(duration(policy.max_backoff)),
        jitter: Some(f64::from(policy.jitter_milli) / 1000.0),
        non_retryable_errors: policy.non_retryable_errors,
    }
}

//! What holds for every message.

use bytes::Bytes;
use escapement_proto::v1::{self, schedule_spec::Rule, task_spec::When};
use proptest::{collection, option, prelude::*};
use prost::Message as _;
use prost_types::{Duration, Timestamp};

use super::{NOW, limits::LIMITS, view_of};
use crate::{
    api::{
        convert,
        validate::{TaskContext, request},
    },
    error::ApiError,
    model::{NewTask, ScheduleSpec},
    rng::Rng,
};

fn submit(task: v1::TaskSpec) -> Result<NewTask, ApiError> {
    let rng = Rng::from_seed(1);
    let cx = TaskContext { now: NOW, rng: &rng, limits: &LIMITS };
    request::submit(v1::SubmitRequest { task: Some(task) }, &cx)
}

fn create(schedule: v1::ScheduleSpec) -> Result<ScheduleSpec, ApiError> {
    request::create_schedule(v1::CreateScheduleRequest { schedule: Some(schedule) }, NOW, &LIMITS)
}

/// Mostly near the edges.
fn any_i64() -> impl Strategy<Value = i64> {
    let now = NOW.unix_ms() / 1000;
    prop_oneof![any::<i64>(), -5..5i64, now - 90_000..now + 90_000, Just(i64::MAX), Just(i64::MIN)]
}

fn any_i32() -> impl Strategy<Value = i32> {
    prop_oneof![any::<i32>(), -2..8i32, Just(999_999_999), Just(1_000_000_000), Just(i32::MIN)]
}

fn any_duration() -> impl Strategy<Value = Duration> {
    (any_i64(), any_i32()).prop_map(|(seconds, nanos)| Duration { seconds, nanos })
}

fn any_timestamp() -> impl Strategy<Value = Timestamp> {
    (any_i64(), any_i32()).prop_map(|(seconds, nanos)| Timestamp { seconds, nanos })
}

fn any_retry() -> impl Strategy<Value = v1::RetryPolicy> {
    let kinds = collection::vec("\\PC{0,140}", 0..70);
    (any::<u32>(), option::of(any_duration()), any::<f64>(), option::of(any_duration()), any::<Option<f64>>(), kinds)
        .prop_map(|(max_attempts, initial_backoff, backoff_multiplier, max_backoff, jitter, non_retryable_errors)| {
            v1::RetryPolicy {
                max_attempts,
                initial_backoff,
                backoff_multiplier,
                max_backoff,
                jitter,
                non_retryable_errors,
            }
        })
}

fn any_payload() -> impl Strategy<Value = v1::Payload> {
    (collection::vec(any::<u8>(), 0..1100), "\\PC{0,260}").prop_map(|(data, content_type)| v1::Payload {
        data: data.into(),
        content_type,
        ..Default::default()
    })
}

fn any_task() -> impl Strategy<Value = v1::TaskSpec> {
    let names = ("\\PC{0,40}", "\\PC{0,70}", "\\PC{0,130}", "\\PC{0,260}");
    let when = option::of(prop_oneof![any_timestamp().prop_map(When::DueAt), any_duration().prop_map(When::Delay)]);
    let times = (option::of(any_duration()), option::of(any_timestamp()), option::of(any_duration()));
    let labels = collection::btree_map("\\PC{0,70}", "\\PC{0,260}", 0..40);
    (names, option::of(any_payload()), when, any_i32(), option::of(any_retry()), times, labels).prop_map(
        |((id, namespace, queue, idempotency_key), payload, when, priority, retry, times, labels)| {
            let (attempt_timeout, deadline, idempotency_window) = times;
            v1::TaskSpec {
                id,
                namespace,
                queue,
                payload,
                when,
                priority,
                retry,
                attempt_timeout,
                deadline,
                idempotency_key,
                idempotency_window,
                labels,
            }
        },
    )
}

fn valid_retry() -> impl Strategy<Value = v1::RetryPolicy> {
    (1..=1000u32, 1..=86_400_000u64, 1000..=100_000u32, 0..=1000u32, collection::vec("[a-z-]{1,128}", 0..9)).prop_map(
        |(max_attempts, initial_ms, multiplier, jitter, non_retryable_errors)| v1::RetryPolicy {
            max_attempts,
            initial_backoff: Some(ms(initial_ms)),
            backoff_multiplier: f64::from(multiplier) / 1000.0,
            max_backoff: Some(ms(initial_ms * 30)),
            jitter: Some(f64::from(jitter) / 1000.0),
            non_retryable_errors,
        },
    )
}

fn ms(ms: u64) -> Duration {
    convert::duration(std::time::Duration::from_millis(ms))
}

/// As a caller would write it who leaves nothing to defaults.
fn valid_template() -> impl Strategy<Value = v1::TaskTemplate> {
    let payload = option::of((collection::vec(any::<u8>(), 1..1000), "[ -~]{0,255}"));
    let labels = collection::btree_map("[A-Za-z0-9._/-]{1,63}", "\\PC{0,60}", 0..=32);
    let after = option::of(1..=3_000_000_000_000u64);
    ("[A-Za-z0-9][A-Za-z0-9._-]{0,127}", payload, 1..=3i32, valid_retry(), 10..=604_800_000u64, after, labels).prop_map(
        |(queue, payload, priority, retry, timeout, after, labels)| v1::TaskTemplate {
            queue,
            payload: payload.map(|(data, content_type)| v1::Payload {
                data: data.into(),
                content_type,
                ..Default::default()
            }),
            priority,
            retry: Some(retry),
            attempt_timeout: Some(ms(timeout)),
            deadline_after: after.map(ms),
            labels,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn any_task_is_taken_or_refused_with_a_reason(task in any_task()) {
        if let Err(error) = submit(task) {
            prop_assert!(!error.violations.is_empty());
            prop_assert_eq!(ApiError::from_status(&error.clone().into()).reason, error.reason);
        }
    }

    #[test]
    fn any_bytes_that_decode_are_taken_or_refused(bytes in collection::vec(any::<u8>(), 0..200)) {
        if let Ok(task) = v1::TaskSpec::decode(Bytes::from(bytes.clone())) {
            let _ = submit(task);
        }
        if let Ok(schedule) = v1::ScheduleSpec::decode(Bytes::from(bytes.clone())) {
            let _ = create(schedule);
        }
        if let Ok(list) = v1::ListTasksRequest::decode(Bytes::from(bytes.clone())) {
            let _ = request::list_tasks(list);
        }
        if let Ok(preview) = v1::PreviewScheduleRequest::decode(Bytes::from(bytes)) {
            let _ = request::preview(&preview, NOW);
        }
    }

    #[test]
    fn what_was_submitted_is_what_is_read(template in valid_template(), delay in 0..1_000_000_000_000u64) {
        let due = NOW.saturating_add(std::time::Duration::from_millis(delay));
        let spec = v1::TaskSpec {
            id: "0192f0c1-2b3a-7c4d-8e5f-60718293a4b5".into(),
            namespace: "team".into(),
            queue: template.queue.clone(),
            payload: template.payload.clone(),
            when: Some(When::Delay(ms(delay))),
            priority: template.priority,
            retry: template.retry.clone(),
            attempt_timeout: template.attempt_timeout,
            deadline: template.deadline_after.map(|_| convert::timestamp(due.saturating_add(std::time::Duration::from_secs(1)))),
            idempotency_key: "key".into(),
            idempotency_window: None,
            labels: template.labels.clone(),
        };
        let read = convert::task(view_of(submit(spec.clone()).unwrap()));
        let expect = v1::Task {
            id: spec.id,
            namespace: spec.namespace,
            queue: spec.queue,
            payload: spec.payload,
            due_at: Some(convert::timestamp(due)),
            first_due_at: Some(convert::timestamp(due)),
            priority: spec.priority,
            retry: spec.retry,
            attempt_timeout: spec.attempt_timeout,
            deadline: spec.deadline,
            idempotency_key: spec.idempotency_key,
            labels: spec.labels,
            state: v1::TaskState::Scheduled.into(),
            submitted_at: Some(convert::timestamp(NOW)),
            ..v1::Task::default()
        };
        prop_assert_eq!(read, expect);
    }

    #[test]
    fn a_schedule_reads_as_it_was_written_and_can_be_written_again(
        template in valid_template(),
        every in 1000..=31_622_400_000u64,
        anchor in -1_000_000_000_000i64..4_000_000_000_000,
    ) {
        let at = |ms| Some(convert::timestamp(escapement_engine::Timestamp::from_unix_ms(ms)));
        let spec = v1::ScheduleSpec {
            id: "nightly".into(),
            namespace: "team".into(),
            rule: Some(Rule::Interval(v1::IntervalRule { every: Some(ms(every)), anchor: at(anchor) })),
            time_zone: "Europe/Berlin".into(),
            task: Some(template),
            start_at: at(NOW.unix_ms() + 1),
            end_at: at(NOW.unix_ms() + 2),
        };
        let model = create(spec.clone()).unwrap();
        let read = convert::schedule_spec(model.clone());
        prop_assert_eq!(&read, &spec);
        prop_assert_eq!(create(read).unwrap(), model);
    }

    #[test]
    fn instants_read_back(ms in -62_135_596_800_000i64..253_402_300_800_000) {
        let at = convert::timestamp(escapement_engine::Timestamp::from_unix_ms(ms));
        prop_assert!((0..1_000_000_000).contains(&at.nanos));
        prop_assert_eq!(at.seconds * 1000 + i64::from(at.nanos) / 1_000_000, ms);
    }
}

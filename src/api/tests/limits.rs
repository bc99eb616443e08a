//! Every limit of a task and of a schedule, as the texts that a caller reads.

use std::fmt::Write as _;

use bytes::Bytes;
use escapement_proto::v1::{self, schedule_spec::Rule, task_spec::When};
use prost_types::{Duration, Timestamp};

use super::NOW;
use crate::{
    api::{
        ApiLimits,
        validate::{TaskContext, request},
    },
    error::ApiError,
    model::{NewTask, ScheduleSpec},
    rng::Rng,
};

pub(super) const LIMITS: ApiLimits = ApiLimits { payload_bytes_max: 1000 };
const NOW_SECONDS: i64 = NOW.unix_ms() / 1000;

fn span(seconds: i64, nanos: i32) -> Duration {
    Duration { seconds, nanos }
}

fn at(seconds: i64, nanos: i32) -> Timestamp {
    Timestamp { seconds, nanos }
}

fn task() -> v1::TaskSpec {
    v1::TaskSpec { queue: "mail".into(), ..v1::TaskSpec::default() }
}

fn submit(task: v1::TaskSpec) -> Result<NewTask, ApiError> {
    let rng = Rng::from_seed(1);
    let cx = TaskContext { now: NOW, rng: &rng, limits: &LIMITS };
    request::submit(v1::SubmitRequest { task: Some(task) }, &cx)
}

/// What is wrong with the task after this change; `ok` when nothing is.
fn task_faults(change: impl FnOnce(&mut v1::TaskSpec)) -> String {
    let mut spec = task();
    change(&mut spec);
    faults(submit(spec))
}

fn faults<T>(result: Result<T, ApiError>) -> String {
    match result {
        Ok(_) => "ok".into(),
        Err(error) => error.violations.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"),
    }
}

fn retry(change: impl FnOnce(&mut v1::RetryPolicy)) -> impl FnOnce(&mut v1::TaskSpec) {
    move |spec| change(spec.retry.get_or_insert_default())
}

macro_rules! table {
    ($($name:expr => $faults:expr;)*) => {{
        let mut table = String::new();
        $(writeln!(table, "{}: {}", $name, $faults).unwrap();)*
        table
    }};
}

#[test]
fn names_and_ids_keep_to_their_characters() {
    insta::assert_snapshot!(table! {
        "no queue" => task_faults(|t| t.queue = String::new());
        "queue with a space" => task_faults(|t| t.queue = "a b".into());
        "queue of 128" => task_faults(|t| t.queue = "q".repeat(128));
        "queue of 129" => task_faults(|t| t.queue = "q".repeat(129));
        "upper case namespace" => task_faults(|t| t.namespace = "Team".into());
        "no uuid" => task_faults(|t| t.id = "task-1".into());
        "simple uuid" => task_faults(|t| t.id = "0192f0c12b3a7c4d8e5f60718293a4b5".into());
        "version 4 uuid" => task_faults(|t| t.id = "936da01f-9abd-4d9d-80c7-02af85c822a8".into());
        "unknown priority" => task_faults(|t| t.priority = 4);
    }, @r"
    no queue: task.queue must be 1 to 128 characters of [A-Za-z0-9._-], starting with a letter or digit
    queue with a space: task.queue must be 1 to 128 characters of [A-Za-z0-9._-], starting with a letter or digit (got `a b`)
    queue of 128: ok
    queue of 129: task.queue must be 1 to 128 characters of [A-Za-z0-9._-], starting with a letter or digit (got `qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqq`)
    upper case namespace: task.namespace must be 1 to 64 characters of [a-z0-9._-], starting with a letter or digit (got `Team`)
    no uuid: task.id must be a UUID such as 0192f0c1-2b3a-7c4d-8e5f-60718293a4b5 (got `task-1`)
    simple uuid: task.id must be a UUID such as 0192f0c1-2b3a-7c4d-8e5f-60718293a4b5 (got `0192f0c12b3a7c4d8e5f60718293a4b5`)
    version 4 uuid: ok
    unknown priority: task.priority must be a known priority: 1 (HIGH), 2 (MEDIUM) or 3 (LOW) (got `4`)
    ");
}

#[test]
fn payloads_labels_and_keys_keep_to_their_sizes() {
    let payload = |bytes: usize, kind: &str| {
        Some(v1::Payload { data: vec![0; bytes].into(), content_type: kind.into(), ..Default::default() })
    };
    let labels = |count: usize| (0..count).map(|n| (format!("k{n}"), String::new())).collect();
    let label = |key: &str, value: &str| [(key.to_owned(), value.to_owned())].into();
    insta::assert_snapshot!(table! {
        "payload at the limit" => task_faults(|t| t.payload = payload(1000, "text/plain; charset=utf-8"));
        "payload beyond it" => task_faults(|t| t.payload = payload(1001, ""));
        "long content type" => task_faults(|t| t.payload = payload(0, &"x".repeat(256)));
        "line break in content type" => task_faults(|t| t.payload = payload(0, "text/plain\r\nx: y"));
        "32 labels" => task_faults(|t| t.labels = labels(32));
        "33 labels" => task_faults(|t| t.labels = labels(33));
        "empty label key" => task_faults(|t| t.labels = label("", "x"));
        "label key of 63" => task_faults(|t| t.labels = label(&"k".repeat(63), ""));
        "label key of 64" => task_faults(|t| t.labels = label(&"k".repeat(64), ""));
        "label key with a space" => task_faults(|t| t.labels = label("a b", ""));
        "label value of 255" => task_faults(|t| t.labels = label("k", &"v".repeat(255)));
        "label value of 256" => task_faults(|t| t.labels = label("k", &"v".repeat(256)));
        "key of 256" => task_faults(|t| t.idempotency_key = "k".repeat(256));
        "key of 257" => task_faults(|t| t.idempotency_key = "k".repeat(257));
        "window without key" => task_faults(|t| t.idempotency_window = Some(span(60, 0)));
        "window of 30 days" => task_faults(|t| {
            (t.idempotency_key, t.idempotency_window) = ("k".into(), Some(span(30 * 86400, 0)));
        });
        "window beyond" => task_faults(|t| {
            (t.idempotency_key, t.idempotency_window) = ("k".into(), Some(span(30 * 86400, 1)));
        });
        "window below" => task_faults(|t| {
            (t.idempotency_key, t.idempotency_window) = ("k".into(), Some(span(0, 999_000_000)));
        });
    }, @r#"
    payload at the limit: ok
    payload beyond it: task.payload.data must be at most 1000 bytes (got `1001 bytes`)
    long content type: task.payload.content_type must be at most 255 bytes, but has 256 (got `xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx...`)
    line break in content type: task.payload.content_type must be printable ASCII, such as application/json (got `text/plain\r\nx: y`)
    32 labels: ok
    33 labels: task.labels must be at most 32 labels (got `33 labels`)
    empty label key: task.labels[""] must have a key of 1 to 63 characters of [A-Za-z0-9._/-]
    label key of 63: ok
    label key of 64: task.labels["kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk"] must have a key of 1 to 63 characters of [A-Za-z0-9._/-] (got `kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk`)
    label key with a space: task.labels["a b"] must have a key of 1 to 63 characters of [A-Za-z0-9._/-] (got `a b`)
    label value of 255: ok
    label value of 256: task.labels["k"] must be at most 255 bytes, but has 256 (got `vvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvv...`)
    key of 256: ok
    key of 257: task.idempotency_key must be at most 256 bytes, but has 257 (got `kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk...`)
    window without key: task.idempotency_window must come with an idempotency_key
    window of 30 days: ok
    window beyond: task.idempotency_window must be 1 s to 30 days (got `2592000.000000001s`)
    window below: task.idempotency_window must be 1 s to 30 days (got `999ms`)
    "#);
}

#[test]
fn instants_and_durations_keep_to_their_ranges() {
    let due = |seconds, nanos| move |t: &mut v1::TaskSpec| t.when = Some(When::DueAt(at(seconds, nanos)));
    let delay = |seconds, nanos| move |t: &mut v1::TaskSpec| t.when = Some(When::Delay(span(seconds, nanos)));
    let timeout = |seconds, nanos| move |t: &mut v1::TaskSpec| t.attempt_timeout = Some(span(seconds, nanos));
    let deadline = |seconds, nanos| move |t: &mut v1::TaskSpec| t.deadline = Some(at(seconds, nanos));
    const CENTURY: i64 = 100 * 366 * 86400;
    insta::assert_snapshot!(table! {
        "due a day ago" => task_faults(due(NOW_SECONDS - 86400, 0));
        "due more than a day ago" => task_faults(due(NOW_SECONDS - 86401, 998_000_000));
        "due in 100 years" => task_faults(due(NOW_SECONDS + CENTURY, 0));
        "due later" => task_faults(due(NOW_SECONDS + CENTURY, 1));
        "due in 1901" => task_faults(due(-2_177_452_800, 0));
        "negative nanos" => task_faults(due(NOW_SECONDS, -1));
        "too many nanos" => task_faults(due(NOW_SECONDS, 1_000_000_000));
        "no year" => task_faults(due(i64::MAX, 0));
        "delay of nothing" => task_faults(delay(0, 0));
        "delay of less than nothing" => task_faults(delay(0, -1));
        "negative delay" => task_faults(delay(-5, -500_000_000));
        "mixed signs" => task_faults(delay(5, -1));
        "delay without end" => task_faults(delay(i64::MIN, 0));
        "delay of 100 years" => task_faults(delay(CENTURY, 0));
        "longer delay" => task_faults(delay(CENTURY, 1));
        "timeout of 10 ms" => task_faults(timeout(0, 10_000_000));
        "timeout of 9 ms" => task_faults(timeout(0, 9_000_000));
        "timeout of 7 days" => task_faults(timeout(7 * 86400, 0));
        "longer timeout" => task_faults(timeout(7 * 86400, 1_000_000));
        "deadline at once" => task_faults(deadline(NOW_SECONDS, 0));
        "deadline a millisecond later" => task_faults(deadline(NOW_SECONDS, 1));
        "deadline at the end of time" => task_faults(deadline(253_402_300_799, 999_000_000));
        "deadline beyond" => task_faults(deadline(253_402_300_799, 999_000_001));
    }, @r"
    due a day ago: ok
    due more than a day ago: task.due_at must be at most 1 day in the past and 100 years ahead: 2027-01-14T08:00:00.000Z to 2127-04-01T08:00:00.000Z (got `2027-01-14T07:59:59.998Z`)
    due in 100 years: ok
    due later: task.due_at must be at most 1 day in the past and 100 years ahead: 2027-01-14T08:00:00.000Z to 2127-04-01T08:00:00.000Z (got `2127-04-01T08:00:00.001Z`)
    due in 1901: task.due_at must be at most 1 day in the past and 100 years ahead: 2027-01-14T08:00:00.000Z to 2127-04-01T08:00:00.000Z (got `1901-01-01T00:00:00.000Z`)
    negative nanos: task.due_at must be an instant of the years 1 to 9999, with nanos from 0 to 999999999 (got `seconds 1800000000, nanos -1`)
    too many nanos: task.due_at must be an instant of the years 1 to 9999, with nanos from 0 to 999999999 (got `seconds 1800000000, nanos 1000000000`)
    no year: task.due_at must be an instant of the years 1 to 9999, with nanos from 0 to 999999999 (got `seconds 9223372036854775807, nanos 0`)
    delay of nothing: ok
    delay of less than nothing: task.delay must not be negative, and at most 100 years (got `-1ns`)
    negative delay: task.delay must not be negative, and at most 100 years (got `-5.5s`)
    mixed signs: task.delay must be at most 10000 years, with nanos from -999999999 to 999999999 of the same sign (got `seconds 5, nanos -1`)
    delay without end: task.delay must be at most 10000 years, with nanos from -999999999 to 999999999 of the same sign (got `seconds -9223372036854775808, nanos 0`)
    delay of 100 years: ok
    longer delay: task.delay must not be negative, and at most 100 years (got `3162240000.000000001s`)
    timeout of 10 ms: ok
    timeout of 9 ms: task.attempt_timeout must be 10 ms to 7 days (got `9ms`)
    timeout of 7 days: ok
    longer timeout: task.attempt_timeout must be 10 ms to 7 days (got `604800.001s`)
    deadline at once: task.deadline must be after the due instant, 2027-01-15T08:00:00.000Z (got `2027-01-15T08:00:00.000Z`)
    deadline a millisecond later: ok
    deadline at the end of time: ok
    deadline beyond: task.deadline must be an instant of the years 1 to 9999, with nanos from 0 to 999999999 (got `seconds 253402300799, nanos 999000001`)
    ");
}

#[test]
fn retry_policies_keep_to_their_bounds() {
    insta::assert_snapshot!(table! {
        "1000 attempts" => task_faults(retry(|r| r.max_attempts = 1000));
        "1001 attempts" => task_faults(retry(|r| r.max_attempts = 1001));
        "no first wait" => task_faults(retry(|r| r.initial_backoff = Some(span(0, 0))));
        "first wait of a day" => task_faults(retry(|r| r.initial_backoff = Some(span(86400, 0))));
        "longer first wait" => task_faults(retry(|r| r.initial_backoff = Some(span(86401, 0))));
        "longest wait below the first" => task_faults(retry(|r| r.max_backoff = Some(span(0, 999_000_000))));
        "longest wait beyond 30 days" => task_faults(retry(|r| r.max_backoff = Some(span(30 * 86400, 1))));
        "shrinking" => task_faults(retry(|r| r.backoff_multiplier = 0.999));
        "growing fast" => task_faults(retry(|r| r.backoff_multiplier = 100.0));
        "growing faster" => task_faults(retry(|r| r.backoff_multiplier = 100.1));
        "no number" => task_faults(retry(|r| r.backoff_multiplier = f64::NAN));
        "infinity" => task_faults(retry(|r| r.backoff_multiplier = f64::INFINITY));
        "no jitter" => task_faults(retry(|r| r.jitter = Some(0.0)));
        "negative jitter" => task_faults(retry(|r| r.jitter = Some(-0.1)));
        "too much jitter" => task_faults(retry(|r| r.jitter = Some(1.5)));
        "jitter that is no number" => task_faults(retry(|r| r.jitter = Some(f64::NAN)));
        "64 kinds" => task_faults(retry(|r| r.non_retryable_errors = vec!["k".into(); 64]));
        "65 kinds" => task_faults(retry(|r| r.non_retryable_errors = vec!["k".into(); 65]));
        "kinds too long and empty" => task_faults(retry(|r| r.non_retryable_errors = vec!["k".repeat(129), String::new()]));
    }, @r"
    1000 attempts: ok
    1001 attempts: task.retry.max_attempts must be 1 to 1000, or 0 for 5 (got `1001`)
    no first wait: task.retry.initial_backoff must be 1 ms to 1 day (got `0ns`)
    first wait of a day: ok
    longer first wait: task.retry.initial_backoff must be 1 ms to 1 day (got `86401s`)
    longest wait below the first: task.retry.max_backoff must be at least initial_backoff, at most 30 days (got `999ms`)
    longest wait beyond 30 days: task.retry.max_backoff must be at least initial_backoff, at most 30 days (got `2592000.000000001s`)
    shrinking: task.retry.backoff_multiplier must be 1.0 to 100.0 (got `0.999`)
    growing fast: ok
    growing faster: task.retry.backoff_multiplier must be 1.0 to 100.0 (got `100.1`)
    no number: task.retry.backoff_multiplier must be 1.0 to 100.0 (got `NaN`)
    infinity: task.retry.backoff_multiplier must be 1.0 to 100.0 (got `inf`)
    no jitter: ok
    negative jitter: task.retry.jitter must be 0.0 to 1.0 (got `-0.1`)
    too much jitter: task.retry.jitter must be 0.0 to 1.0 (got `1.5`)
    jitter that is no number: task.retry.jitter must be 0.0 to 1.0 (got `NaN`)
    64 kinds: ok
    65 kinds: task.retry.non_retryable_errors must be at most 64 kinds (got `65 kinds`)
    kinds too long and empty: task.retry.non_retryable_errors[0] must be at most 128 bytes, but has 129 (got `kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk...`)
    task.retry.non_retryable_errors[1] must not be empty
    ");
}

#[test]
fn defaults_are_filled_in_and_parts_of_a_millisecond_round_up() {
    let task = submit(v1::TaskSpec {
        when: Some(When::Delay(span(1, 1))),
        attempt_timeout: Some(span(2, 1)),
        retry: Some(v1::RetryPolicy { initial_backoff: Some(span(3600, 0)), ..v1::RetryPolicy::default() }),
        idempotency_key: "k".into(),
        ..task()
    })
    .unwrap();
    insta::assert_debug_snapshot!(task, @r#"
    NewTask {
        id: TaskId(01a3185c-5000-7186-b0f4-d125cc0d694a),
        namespace: "default",
        template: Template {
            queue: "mail",
            payload: Payload {
                data: b"",
                content_type: "",
                truncated: false,
            },
            priority: Medium,
            retry: RetryPolicy {
                max_attempts: 5,
                initial_backoff: 3600s,
                multiplier_milli: 2000,
                max_backoff: 3600s,
                jitter_milli: 200,
                non_retryable_errors: [],
            },
            attempt_timeout: 2.001s,
            labels: {},
        },
        due: 2027-01-15T08:00:01.001Z,
        deadline: None,
        idempotency: Some(
            Idempotency {
                key: "k",
                window: 86400s,
            },
        ),
        submitted: 2027-01-15T08:00:00.000Z,
        occurrence: None,
        content_hash: 587950810310125688,
    }
    "#);
    assert_eq!(task.id.uuid().get_version_num(), 7);
}

#[test]
fn all_faults_are_told_at_once() {
    let error = submit(v1::TaskSpec {
        id: "1".into(),
        namespace: "A".into(),
        payload: Some(v1::Payload {
            data: Bytes::from(vec![0; 2000]),
            content_type: String::new(),
            ..Default::default()
        }),
        priority: -1,
        when: Some(When::Delay(span(-1, 0))),
        ..v1::TaskSpec::default()
    });
    insta::assert_snapshot!(error.unwrap_err().report(), @r"
    error[INVALID_ARGUMENT]: 6 fields are invalid
      task.id must be a UUID such as 0192f0c1-2b3a-7c4d-8e5f-60718293a4b5 (got `1`)
      task.namespace must be 1 to 64 characters of [a-z0-9._-], starting with a letter or digit (got `A`)
      task.delay must not be negative, and at most 100 years (got `-1s`)
      task.queue must be 1 to 128 characters of [A-Za-z0-9._-], starting with a letter or digit
      task.payload.data must be at most 1000 bytes (got `2000 bytes`)
      task.priority must be a known priority: 1 (HIGH), 2 (MEDIUM) or 3 (LOW) (got `-1`)
    what to do: Correct the fields that the error names. Nothing was changed.
    ");
}

fn schedule() -> v1::ScheduleSpec {
    v1::ScheduleSpec {
        id: "nightly".into(),
        rule: Some(Rule::Cron(v1::CronRule { expression: "0 3 * * *".into() })),
        task: Some(v1::TaskTemplate { queue: "mail".into(), ..v1::TaskTemplate::default() }),
        ..v1::ScheduleSpec::default()
    }
}

fn create(spec: v1::ScheduleSpec) -> Result<ScheduleSpec, ApiError> {
    request::create_schedule(v1::CreateScheduleRequest { schedule: Some(spec) }, NOW, &LIMITS)
}

fn schedule_faults(change: impl FnOnce(&mut v1::ScheduleSpec)) -> String {
    let mut spec = schedule();
    change(&mut spec);
    faults(create(spec))
}

#[test]
fn schedules_keep_to_their_limits() {
    let every = |seconds, nanos| {
        move |s: &mut v1::ScheduleSpec| {
            s.rule = Some(Rule::Interval(v1::IntervalRule { every: Some(span(seconds, nanos)), anchor: None }));
        }
    };
    let after = |seconds, nanos| {
        move |s: &mut v1::ScheduleSpec| {
            s.task.get_or_insert_default().deadline_after = Some(span(seconds, nanos));
        }
    };
    insta::assert_snapshot!(table! {
        "as it is" => schedule_faults(|_| ());
        "no id" => schedule_faults(|s| s.id = String::new());
        "no rule" => schedule_faults(|s| s.rule = None);
        "no interval" => schedule_faults(|s| s.rule = Some(Rule::Interval(v1::IntervalRule::default())));
        "every second" => schedule_faults(every(1, 0));
        "more often" => schedule_faults(every(0, 999_000_000));
        "366 days" => schedule_faults(every(366 * 86400, 0));
        "more seldom" => schedule_faults(every(366 * 86400, 1_000_000));
        "part of a millisecond" => schedule_faults(every(1, 500_000));
        "no task" => schedule_faults(|s| s.task = None);
        "bad task" => schedule_faults(|s| s.task = Some(v1::TaskTemplate::default()));
        "no time to run" => schedule_faults(after(0, 0));
        "a microsecond to run" => schedule_faults(after(0, 1000));
        "more than 100 years to run" => schedule_faults(after(100 * 366 * 86400, 1));
        "ends before it starts" => schedule_faults(|s| {
            (s.start_at, s.end_at) = (Some(at(NOW_SECONDS + 9, 0)), Some(at(NOW_SECONDS + 9, 0)));
        });
        "ended before now" => schedule_faults(|s| s.end_at = Some(at(NOW_SECONDS, 0)));
        "unknown zone" => schedule_faults(|s| s.time_zone = "Europe/Atlantis".into());
        "fixed zone" => schedule_faults(|s| s.time_zone = "UTC+2".into());
        "four fields" => schedule_faults(|s| s.rule = Some(Rule::Cron(v1::CronRule { expression: "0 3 * *".into() })));
        "minute 61" => schedule_faults(|s| s.rule = Some(Rule::Cron(v1::CronRule { expression: "61 3 * * *".into() })));
        "empty expression" => schedule_faults(|s| s.rule = Some(Rule::Cron(v1::CronRule::default())));
    }, @r"
    as it is: ok
    no id: schedule.id must be 1 to 128 characters of [A-Za-z0-9._-], starting with a letter or digit
    no rule: schedule.rule must be there: either cron or interval
    no interval: schedule.interval.every must be there
    every second: ok
    more often: schedule.interval.every must be 1 s to 366 days (got `999ms`)
    366 days: ok
    more seldom: schedule.interval.every must be 1 s to 366 days (got `31622400.001s`)
    part of a millisecond: schedule.interval.every must be a whole number of milliseconds (got `1.0005s`)
    no task: schedule.task must be there: what each occurrence is to do
    bad task: schedule.task.queue must be 1 to 128 characters of [A-Za-z0-9._-], starting with a letter or digit
    no time to run: schedule.task.deadline_after must be 1 ms to 100 years (got `0ns`)
    a microsecond to run: ok
    more than 100 years to run: schedule.task.deadline_after must be 1 ms to 100 years (got `3162240000.000000001s`)
    ends before it starts: schedule.end_at must be after start_at, 2027-01-15T08:00:09.000Z (got `2027-01-15T08:00:09.000Z`)
    ended before now: schedule.end_at must be after the instant of creation, 2027-01-15T08:00:00.000Z (got `2027-01-15T08:00:00.000Z`)
    unknown zone: schedule.time_zone must be a name of the IANA time zone database, such as Europe/Berlin or UTC (got `Europe/Atlantis`)
    fixed zone: schedule.time_zone must be a name of the IANA time zone database, such as Europe/Berlin or UTC (got `UTC+2`)
    four fields: schedule.cron.expression must be a cron expression: it has 4 fields, but must have 5 (minute, hour, day of month, month, day of week), or 6 with seconds in front (got `0 3 * *`)
    minute 61: schedule.cron.expression must be a cron expression: minute `61` at column 1 is out of range: must be 0 to 59 (got `61 3 * * *`)
    empty expression: schedule.cron.expression must be a cron expression: it is empty
    ");
}

#[test]
fn a_schedule_fills_in_its_defaults() {
    let spec = create(v1::ScheduleSpec {
        rule: Some(Rule::Interval(v1::IntervalRule { every: Some(span(60, 0)), anchor: None })),
        ..schedule()
    });
    insta::assert_debug_snapshot!(spec.unwrap(), @r#"
    ScheduleSpec {
        id: "nightly",
        namespace: "default",
        rule: Interval {
            every: 60s,
            anchor: 2027-01-15T08:00:00.000Z,
        },
        time_zone: "UTC",
        template: Template {
            queue: "mail",
            payload: Payload {
                data: b"",
                content_type: "",
                truncated: false,
            },
            priority: Medium,
            retry: RetryPolicy {
                max_attempts: 5,
                initial_backoff: 1s,
                multiplier_milli: 2000,
                max_backoff: 300s,
                jitter_milli: 200,
                non_retryable_errors: [],
            },
            attempt_timeout: 60s,
            labels: {},
        },
        deadline_after: None,
        start: None,
        end: None,
        content_hash: 11276905975148660006,
    }
    "#);
}

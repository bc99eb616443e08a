//! What goes over the wire.

use std::time::Duration;

use bytes::Bytes;
use escapement_engine::{TaskId, Timestamp};
use escapement_proto::v1::{
    self, schedule_spec::Rule, submit_result::Outcome, task_spec::When, watch_task_response::Event,
};
use tonic::Code;

use super::{Server, reason};
use crate::{
    api::{ApiLimits, tests::NOW},
    error::{ApiError, Reason},
};

pub(super) fn spec(queue: &str) -> v1::TaskSpec {
    v1::TaskSpec { queue: queue.into(), ..v1::TaskSpec::default() }
}

pub(super) fn with_id(n: u128, queue: &str) -> v1::TaskSpec {
    v1::TaskSpec { id: id(n), ..spec(queue) }
}

pub(super) fn id(n: u128) -> String {
    TaskId::from_parts(NOW, n).to_string()
}

pub(super) fn submit(task: v1::TaskSpec) -> v1::SubmitRequest {
    v1::SubmitRequest { task: Some(task) }
}

#[tokio::test]
async fn a_submitted_task_can_be_read_back_and_cancelled() {
    let server = Server::start(ApiLimits::default()).await;
    let mut tasks = server.tasks();
    let task = v1::TaskSpec {
        payload: Some(v1::Payload {
            data: Bytes::from_static(b"hi"),
            content_type: "text/plain".into(),
            ..Default::default()
        }),
        when: Some(When::Delay(prost_types::Duration { seconds: 2, nanos: 0 })),
        ..spec("mail")
    };
    let submitted = tasks.submit(submit(task.clone())).await.unwrap().into_inner();
    assert!(submitted.created);
    let seconds = NOW.unix_ms() / 1000 + 2;
    assert_eq!(submitted.due_at, Some(prost_types::Timestamp { seconds, nanos: 0 }));

    let get = v1::GetTaskRequest { namespace: String::new(), id: submitted.task_id.clone() };
    let got = tasks.get(get.clone()).await.unwrap().into_inner().task.unwrap();
    assert_eq!((&got.payload, got.state()), (&task.payload, v1::TaskState::Scheduled));
    assert_eq!((got.namespace.as_str(), got.priority()), ("default", v1::Priority::Medium));

    let cancel = v1::CancelTaskRequest { id: submitted.task_id, reason: "enough".into(), namespace: String::new() };
    let cancelled = tasks.cancel(cancel).await.unwrap().into_inner().task.unwrap();
    assert_eq!((cancelled.state(), cancelled.cancel_reason.as_str()), (v1::TaskState::Cancelled, "enough"));

    let other = v1::GetTaskRequest { namespace: "other".into(), ..get };
    let error = reason(tasks.get(other).await);
    assert_eq!(error.reason, Reason::TaskNotFound);
}

#[tokio::test]
async fn bad_fields_arrive_as_details_and_nothing_is_submitted() {
    let server = Server::start(ApiLimits::default()).await;
    let batch = v1::SubmitBatchRequest { tasks: vec![spec("mail"), spec("a b"), spec("")] };
    let error = reason(server.tasks().submit_batch(batch).await);
    assert_eq!(error.reason, Reason::InvalidArgument);
    let fields: Vec<&str> = error.violations.iter().map(|v| v.field.as_str()).collect();
    assert_eq!(fields, ["tasks[1].queue", "tasks[2].queue"]);
    assert_eq!(error.violations[0].value, "a b");
    assert_eq!(server.backend.state().submits, [0; 0]);
}

#[tokio::test]
async fn the_worst_batch_still_gets_its_answer() {
    let server = Server::start(ApiLimits::default()).await;
    let labels = (0..32).map(|n| (format!("{n}{}", "\u{1F980}".repeat(64)), "\u{1F980}".repeat(99))).collect();
    let tasks = vec![v1::TaskSpec { labels, ..spec("a b") }; 50];
    let error = reason(server.tasks().submit_batch(v1::SubmitBatchRequest { tasks }).await);
    assert_eq!(error.reason, Reason::InvalidArgument, "{error:?}");
    assert!(!error.violations.is_empty());
}

#[tokio::test]
async fn retry_info_arrives() {
    let server = Server::start(ApiLimits::default()).await;
    let overloaded = ApiError::new(Reason::Overloaded, "queue mail holds 9 tasks, at most 9")
        .with_retry_after(Duration::from_millis(1250))
        .with_metadata("queue", "mail");
    server.backend.state().fail = Some(overloaded.clone());
    let status = server.tasks().submit(submit(spec("mail"))).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert_eq!(ApiError::from_status(&status), overloaded);
}

#[tokio::test]
async fn a_batch_means_what_its_tasks_mean_one_after_another() {
    let server = Server::start(ApiLimits::default()).await;
    let with_key = |key: &str, queue: &str| v1::TaskSpec { idempotency_key: key.into(), ..spec(queue) };
    let tasks = vec![
        with_id(1, "a"),
        with_id(1, "a"), // repeats 0
        with_id(1, "b"), // contradicts 0
        with_id(1, "b"), // repeats 2, which was refused
        with_key("k", "a"),
        with_key("k", "a"), // repeats 4 under another id
        with_key("k", "b"), // contradicts 4
        v1::TaskSpec { namespace: "other".into(), ..with_key("k", "b") },
        spec("a"),
        spec("a"), // a task of its own: neither id nor key
    ];
    let results = server.tasks().submit_batch(v1::SubmitBatchRequest { tasks }).await.unwrap().into_inner().results;
    let mut ids = Vec::new();
    let brief: Vec<String> = results
        .into_iter()
        .map(|result| match result.outcome.unwrap() {
            Outcome::Accepted(accepted) => {
                ids.push(accepted.task_id);
                format!("created {}", accepted.created)
            }
            Outcome::Error(error) => error.reason,
        })
        .collect();
    insta::assert_debug_snapshot!(brief, @r#"
    [
        "created true",
        "created false",
        "TASK_EXISTS",
        "TASK_EXISTS",
        "created true",
        "created false",
        "IDEMPOTENCY_CONFLICT",
        "created true",
        "created true",
        "created true",
    ]
    "#);
    assert_eq!(ids[0], ids[1]);
    assert_eq!(ids[2], ids[3]);
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 5);
    // Two rounds: the contradictions, and what repeats them, come in the second.
    assert_eq!(server.backend.state().submits, [5, 2]);
}

#[tokio::test]
async fn pages_follow_one_another_and_foreign_tokens_are_refused() {
    let server = Server::start(ApiLimits::default()).await;
    let mut tasks = server.tasks();
    let batch = (0..7).map(|n| with_id(n, if n == 3 { "sms" } else { "mail" })).collect();
    tasks.submit_batch(v1::SubmitBatchRequest { tasks: batch }).await.unwrap();
    let mut request = v1::ListTasksRequest { queue: "mail".into(), page_size: 4, ..Default::default() };
    let first = tasks.list(request.clone()).await.unwrap().into_inner();
    request.page_token = first.next_page_token.clone();
    let second = tasks.list(request.clone()).await.unwrap().into_inner();
    let ids: Vec<String> = first.tasks.into_iter().chain(second.tasks).map(|task| task.id).collect();
    assert_eq!(ids, [0, 1, 2, 4, 5, 6].map(id));
    assert_eq!(second.next_page_token, "");

    request.queue = "sms".into();
    let error = reason(tasks.list(request.clone()).await);
    insta::assert_snapshot!(error.report(), @r"
    error[INVALID_PAGE_TOKEN]: page_token must come from a page of the same list with the same filters (got `AQFHSQ1D793dAaMYXFAAcACAAAAAAAAABA`)
    what to do: Start again from the first page, and keep the filters the same from page to page.
    ");
    let schedules = v1::ListSchedulesRequest { page_token: request.page_token, ..Default::default() };
    let error = reason(server.schedules().list(schedules).await);
    assert_eq!(error.reason, Reason::InvalidPageToken);
}

#[tokio::test]
async fn large_pages_are_cut_below_what_clients_read() {
    let server = Server::start(ApiLimits::default()).await;
    let mut tasks = server.tasks();
    let labels: std::collections::BTreeMap<_, _> = (0..32).map(|n| (format!("k{n}"), "v".repeat(255))).collect();
    let batch = (0..600).map(|n| v1::TaskSpec { labels: labels.clone(), ..with_id(n, "mail") }).collect();
    tasks.submit_batch(v1::SubmitBatchRequest { tasks: batch }).await.unwrap();
    let mut request = v1::ListTasksRequest { page_size: 1000, ..Default::default() };
    let mut ids = Vec::new();
    let mut pages = 0;
    loop {
        // The client's own limit is 4 MiB.
        let page = tasks.list(request.clone()).await.unwrap().into_inner();
        pages += 1;
        ids.extend(page.tasks.into_iter().map(|task| task.id));
        if page.next_page_token.is_empty() {
            break;
        }
        request.page_token = page.next_page_token;
    }
    assert_eq!(ids, (0..600).map(id).collect::<Vec<_>>());
    assert!(pages > 1);
}

#[tokio::test]
async fn a_watch_ends_after_the_terminal_state() {
    let server = Server::start(ApiLimits::default()).await;
    let mut tasks = server.tasks();
    tasks.submit(submit(with_id(1, "mail"))).await.unwrap();
    let watch = |n| v1::WatchTaskRequest { namespace: String::new(), id: id(n) };
    let mut events = tasks.watch(watch(1)).await.unwrap().into_inner();
    let mut seen = Vec::new();
    while let Some(event) = events.message().await.unwrap() {
        seen.push(match event.event.unwrap() {
            Event::Task(task) => task.state().as_str_name().to_owned(),
            Event::Progress(progress) => format!("progress of attempt {}", progress.attempt),
        });
    }
    assert_eq!(seen, ["TASK_STATE_SCHEDULED", "TASK_STATE_RUNNING", "progress of attempt 1", "TASK_STATE_SUCCEEDED"]);
    assert_eq!(reason(tasks.watch(watch(2)).await).reason, Reason::TaskNotFound);
}

#[tokio::test]
async fn a_payload_beyond_the_limit_is_told_as_a_field_and_a_monster_is_not_read() {
    let server = Server::start(ApiLimits { payload_bytes_max: 100 }).await;
    let payload = |bytes: usize| v1::TaskSpec {
        payload: Some(v1::Payload { data: vec![0; bytes].into(), content_type: String::new(), ..Default::default() }),
        ..spec("mail")
    };
    let error = reason(server.tasks().submit(submit(payload(101))).await);
    insta::assert_snapshot!(error, @r"task.payload.data must be at most 100 bytes (got `101 bytes`)");
    let error = reason(server.tasks().submit(submit(payload(9 << 20))).await);
    assert_eq!(error.reason, Reason::RequestTooLarge);
}

#[tokio::test]
async fn schedules_are_created_once_steered_and_deleted() {
    let server = Server::start(ApiLimits::default()).await;
    let mut schedules = server.schedules();
    let schedule = v1::ScheduleSpec {
        id: "nightly".into(),
        rule: Some(Rule::Cron(v1::CronRule { expression: "0 3 * * *".into() })),
        task: Some(v1::TaskTemplate { queue: "mail".into(), ..Default::default() }),
        ..Default::default()
    };
    let create = |spec: &v1::ScheduleSpec| v1::CreateScheduleRequest { schedule: Some(spec.clone()) };
    let first = schedules.create(create(&schedule)).await.unwrap().into_inner();
    let again = schedules.create(create(&schedule)).await.unwrap().into_inner();
    assert_eq!((first.created, again.created), (true, false));
    assert_eq!(first.schedule, again.schedule);
    let other = v1::ScheduleSpec { time_zone: "Europe/Berlin".into(), ..schedule };
    assert_eq!(reason(schedules.create(create(&other)).await).reason, Reason::ScheduleExists);

    let (namespace, id) = (String::new(), String::from("nightly"));
    let paused = schedules.pause(v1::PauseScheduleRequest { namespace: namespace.clone(), id: id.clone() }).await;
    assert_eq!(paused.unwrap().into_inner().schedule.unwrap().state(), v1::ScheduleState::Paused);
    let task_id = super::services::id(5);
    let trigger = v1::TriggerScheduleRequest { namespace: namespace.clone(), id: id.clone(), task_id: task_id.clone() };
    assert_eq!(schedules.trigger(trigger).await.unwrap().into_inner().task_id, task_id);
    let resumed = schedules.resume(v1::ResumeScheduleRequest { namespace: namespace.clone(), id: id.clone() }).await;
    assert_eq!(resumed.unwrap().into_inner().schedule.unwrap().state(), v1::ScheduleState::Active);
    let listed = schedules.list(v1::ListSchedulesRequest::default()).await.unwrap().into_inner().schedules;
    assert_eq!(listed.len(), 1);
    schedules.delete(v1::DeleteScheduleRequest { namespace: namespace.clone(), id: id.clone() }).await.unwrap();
    let error = reason(schedules.get(v1::GetScheduleRequest { namespace, id }).await);
    assert_eq!(error.reason, Reason::ScheduleNotFound);
}

#[tokio::test]
async fn status_names_version_store_and_time() {
    let server = Server::start(ApiLimits::default()).await;
    let status = server.admin().status(v1::StatusRequest {}).await.unwrap().into_inner();
    assert_eq!((status.version.as_str(), status.store.as_str()), (env!("CARGO_PKG_VERSION"), "memory"));
    assert_eq!(status.now, Some(crate::api::convert::timestamp(NOW)));
}

#[tokio::test]
async fn previews_need_no_store() {
    let server = Server::start(ApiLimits::default()).await;
    let start = Timestamp::from_unix_ms(1_800_000_000_000 - 1_800_000_000_000 % 86_400_000);
    let rule = v1::ScheduleSpec {
        rule: Some(Rule::Cron(v1::CronRule { expression: "30 2 * * *".into() })),
        time_zone: "Europe/Berlin".into(),
        end_at: Some(crate::api::convert::timestamp(start.saturating_add(Duration::from_secs(4 * 86400)))),
        ..Default::default()
    };
    let request = v1::PreviewScheduleRequest {
        subject: Some(v1::preview_schedule_request::Subject::Schedule(rule)),
        count: 10,
        ..Default::default()
    };
    let preview = server.schedules().preview(request).await.unwrap().into_inner();
    let instants: Vec<String> = preview
        .instants
        .iter()
        .map(|at| Timestamp::from_unix_ms(at.seconds * 1000 + i64::from(at.nanos) / 1_000_000).to_string())
        .collect();
    insta::assert_debug_snapshot!(instants, @r#"
    [
        "2027-01-16T01:30:00.000Z",
        "2027-01-17T01:30:00.000Z",
        "2027-01-18T01:30:00.000Z",
    ]
    "#);
    assert_eq!(preview.time_zone, "Europe/Berlin");
    let stored = v1::PreviewScheduleRequest {
        subject: Some(v1::preview_schedule_request::Subject::Id("none".into())),
        ..Default::default()
    };
    assert_eq!(reason(server.schedules().preview(stored).await).reason, Reason::ScheduleNotFound);
}

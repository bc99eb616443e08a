//! Requests: lists, page tokens, batches.

use escapement_engine::{TaskId, Timestamp};
use escapement_proto::v1;

use super::{NOW, limits::LIMITS};
use crate::{
    api::{
        page::PageToken,
        validate::{TaskContext, request},
    },
    error::{ApiError, Reason},
    model::TaskState,
    rng::Rng,
};

fn list() -> v1::ListTasksRequest {
    v1::ListTasksRequest { queue: "mail".into(), states: vec![1, 2], ..v1::ListTasksRequest::default() }
}

fn token_of(request: v1::ListTasksRequest, after: &[u8]) -> String {
    let (_, page) = request::list_tasks(request).unwrap();
    PageToken { after: after.to_vec(), filter_hash: page.filter_hash }.encode()
}

#[test]
fn a_page_token_continues_only_the_list_that_it_came_from() {
    let id = TaskId::from_parts(NOW, 7);
    let token = token_of(list(), id.as_bytes());
    let check = |change: fn(&mut v1::ListTasksRequest), expect: Result<(), Reason>| {
        let mut request = v1::ListTasksRequest { page_token: token.clone(), ..list() };
        change(&mut request);
        let found = request::list_tasks(request);
        assert_eq!(found.as_ref().map(|_| ()).map_err(|e| e.reason), expect, "{found:?}");
        if let Ok((_, page)) = found {
            assert_eq!(page.after, Some(id));
        }
    };
    check(|_| (), Ok(()));
    // The same list, written otherwise or cut otherwise.
    check(|r| r.namespace = "default".into(), Ok(()));
    check(|r| r.states = vec![2, 1, 2], Ok(()));
    check(|r| r.page_size = 7, Ok(()));
    // Another list.
    check(|r| r.namespace = "other".into(), Err(Reason::InvalidPageToken));
    check(|r| r.queue = "sms".into(), Err(Reason::InvalidPageToken));
    check(|r| r.states = vec![1], Err(Reason::InvalidPageToken));
    check(|r| r.schedule_id = "s".into(), Err(Reason::InvalidPageToken));
    check(|r| r.due_from = Some(prost_types::Timestamp::default()), Err(Reason::InvalidPageToken));
    check(|r| r.due_until = Some(prost_types::Timestamp::default()), Err(Reason::InvalidPageToken));
    check(
        |r| {
            r.labels.insert("a".into(), "b".into());
        },
        Err(Reason::InvalidPageToken),
    );
    check(|r| r.page_token = "x".into(), Err(Reason::InvalidPageToken));
    // With other faults beside it, the whole request is at fault.
    check(
        |r| {
            (r.page_token, r.page_size) = ("x".into(), 1001);
        },
        Err(Reason::InvalidArgument),
    );
}

#[test]
fn a_token_with_a_key_of_another_kind_is_refused() {
    for after in [&[][..], &[1; 15], &[1; 17]] {
        let request = v1::ListTasksRequest { page_token: token_of(list(), after), ..list() };
        assert_eq!(request::list_tasks(request).map_err(|e| e.reason).err(), Some(Reason::InvalidPageToken));
    }
    let request = v1::ListSchedulesRequest::default();
    let (_, page) = request::list_schedules(&request).unwrap();
    for after in [&b"a b"[..], b"\xff", b""] {
        let page_token = PageToken { after: after.to_vec(), filter_hash: page.filter_hash }.encode();
        let request = v1::ListSchedulesRequest { page_token, ..request.clone() };
        assert_eq!(request::list_schedules(&request).map_err(|e| e.reason).err(), Some(Reason::InvalidPageToken));
    }
}

fn at(seconds: i64, nanos: i32) -> Option<prost_types::Timestamp> {
    Some(prost_types::Timestamp { seconds, nanos })
}

#[test]
fn filters_say_what_they_mean() {
    let request = v1::ListTasksRequest {
        states: vec![3, 3, 6],
        due_from: at(10, 1),
        due_until: at(11, 0),
        page_size: 0,
        ..list()
    };
    let (filter, page) = request::list_tasks(request).unwrap();
    assert_eq!(filter.states, [TaskState::Succeeded, TaskState::DeadLettered]);
    // No stored instant, being a whole millisecond, lies between the two.
    assert_eq!(filter.due_from, Some(Timestamp::from_unix_ms(10_001)));
    assert_eq!(filter.due_until, Some(Timestamp::from_unix_ms(11_000)));
    assert_eq!((page.limit, page.after), (100, None));
}

fn faults<T: std::fmt::Debug>(result: Result<T, ApiError>) -> String {
    result.unwrap_err().report().to_string()
}

#[test]
fn bad_filters_are_told_by_field() {
    let request = v1::ListTasksRequest {
        namespace: "A".into(),
        queue: "a b".into(),
        states: vec![1, 0, 7],
        labels: [("a b".to_owned(), String::new())].into(),
        schedule_id: "-".into(),
        due_from: at(10, 0),
        due_until: at(10, 0),
        page_size: 1001,
        page_token: "?".into(),
    };
    insta::assert_snapshot!(faults(request::list_tasks(request)), @r#"
    error[INVALID_ARGUMENT]: 9 fields are invalid
      namespace must be 1 to 64 characters of [a-z0-9._-], starting with a letter or digit (got `A`)
      queue must be 1 to 128 characters of [A-Za-z0-9._-], starting with a letter or digit (got `a b`)
      states[1] must be a known task state, 1 to 6 (got `0`)
      states[2] must be a known task state, 1 to 6 (got `7`)
      schedule_id must be 1 to 128 characters of [A-Za-z0-9._-], starting with a letter or digit (got `-`)
      due_until must be after due_from, 1970-01-01T00:00:10.000Z (got `1970-01-01T00:00:10.000Z`)
      labels["a b"] must have a key of 1 to 63 characters of [A-Za-z0-9._/-] (got `a b`)
      page_size must be 1 to 1000, or 0 for 100 (got `1001`)
      page_token must be the next_page_token of an earlier page, unchanged (got `?`)
    what to do: Correct the fields that the error names. Nothing was changed.
    "#);
}

#[test]
fn calls_that_name_a_task_or_schedule_check_the_name() {
    let id = TaskId::from_parts(NOW, 7).to_string();
    assert!(request::task_ref("", &id).is_ok());
    insta::assert_snapshot!(faults(request::task_ref("?", "7")), @r"
    error[INVALID_ARGUMENT]: 2 fields are invalid
      namespace must be 1 to 64 characters of [a-z0-9._-], starting with a letter or digit (got `?`)
      id must be a UUID such as 0192f0c1-2b3a-7c4d-8e5f-60718293a4b5 (got `7`)
    what to do: Correct the fields that the error names. Nothing was changed.
    ");
    insta::assert_snapshot!(faults(request::schedule_ref("?", "")), @r"
    error[INVALID_ARGUMENT]: 2 fields are invalid
      namespace must be 1 to 64 characters of [a-z0-9._-], starting with a letter or digit (got `?`)
      id must be 1 to 128 characters of [A-Za-z0-9._-], starting with a letter or digit
    what to do: Correct the fields that the error names. Nothing was changed.
    ");
    let cancel = v1::CancelTaskRequest { namespace: String::new(), id, reason: "r".repeat(1025) };
    insta::assert_snapshot!(faults(request::cancel(&cancel)), @r"
    error[INVALID_ARGUMENT]: reason must be at most 1024 bytes, but has 1025 (got `rrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrr...`)
    what to do: Correct the fields that the error names. Nothing was changed.
    ");
    let trigger = v1::TriggerScheduleRequest { id: "s".into(), task_id: "t".into(), ..Default::default() };
    insta::assert_snapshot!(faults(request::trigger(&trigger)), @r"
    error[INVALID_ARGUMENT]: task_id must be a UUID such as 0192f0c1-2b3a-7c4d-8e5f-60718293a4b5 (got `t`)
    what to do: Correct the fields that the error names. Nothing was changed.
    ");
    insta::assert_snapshot!(faults(request::preview(&v1::PreviewScheduleRequest::default(), NOW)), @r"
    error[INVALID_ARGUMENT]: subject must be there: either id or schedule
    what to do: Correct the fields that the error names. Nothing was changed.
    ");
    let preview = v1::PreviewScheduleRequest {
        subject: Some(v1::preview_schedule_request::Subject::Schedule(v1::ScheduleSpec::default())),
        count: 1001,
        ..v1::PreviewScheduleRequest::default()
    };
    insta::assert_snapshot!(faults(request::preview(&preview, NOW)), @r"
    error[INVALID_ARGUMENT]: 2 fields are invalid
      count must be 1 to 1000, or 0 for 5 (got `1001`)
      schedule.rule must be there: either cron or interval
    what to do: Correct the fields that the error names. Nothing was changed.
    ");
}

fn batch(tasks: Vec<v1::TaskSpec>) -> Result<usize, ApiError> {
    let rng = Rng::from_seed(1);
    let cx = TaskContext { now: NOW, rng: &rng, limits: &LIMITS };
    request::submit_batch(v1::SubmitBatchRequest { tasks }, &cx).map(|tasks| tasks.len())
}

#[test]
fn batches_hold_one_to_a_thousand_tasks_all_of_them_valid() {
    let good = || v1::TaskSpec { queue: "mail".into(), ..v1::TaskSpec::default() };
    let bad = || v1::TaskSpec { queue: "a b".into(), ..good() };
    assert_eq!(batch(vec![good(); 1000]), Ok(1000));
    insta::assert_snapshot!(faults(batch(vec![good(); 1001])), @r"
    error[INVALID_ARGUMENT]: tasks must be 1 to 1000 tasks (got `1001 tasks`)
    what to do: Correct the fields that the error names. Nothing was changed.
    ");
    insta::assert_snapshot!(faults(batch(vec![])), @r"
    error[INVALID_ARGUMENT]: tasks must be 1 to 1000 tasks (got `0 tasks`)
    what to do: Correct the fields that the error names. Nothing was changed.
    ");
    insta::assert_snapshot!(faults(batch(vec![good(), bad(), good(), bad()])), @r"
    error[INVALID_ARGUMENT]: 2 fields are invalid
      tasks[1].queue must be 1 to 128 characters of [A-Za-z0-9._-], starting with a letter or digit (got `a b`)
      tasks[3].queue must be 1 to 128 characters of [A-Za-z0-9._-], starting with a letter or digit (got `a b`)
    what to do: Correct the fields that the error names. Nothing was changed.
    ");
    let many = batch(vec![bad(); 1000]).unwrap_err();
    assert_eq!(many.violations.len(), 25);
    assert!(many.message.starts_with("1000 fields are invalid, of which 25 are listed;"), "{many}");
    let missing = request::submit(
        v1::SubmitRequest::default(),
        &TaskContext { now: NOW, rng: &Rng::from_seed(1), limits: &LIMITS },
    );
    assert_eq!(missing.unwrap_err().message, "task must be there");
}

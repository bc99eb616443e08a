//! The client, against a server that fails as it is told to.

#![expect(clippy::unwrap_used, reason = "the whole crate is a test")]

#[path = "fake/mod.rs"]
mod fake;

use std::{net::TcpListener, sync::Arc, time::Duration};

use escapement::{
    client::{BatchOutcome, Client, NewSchedule, NewTask, PreviewOf, TaskFilter, WatchEvent, proto as v1},
    error::{ApiError, Reason},
    rng::Rng,
};
use fake::{Fake, Script, at, attempt, payload, refusal, schedule, succeeded, task};
use tonic::Status;

async fn start(script: Script) -> (Fake, Client) {
    let fake = Fake::start(script).await;
    let client = Client::builder(fake.url()).rng(Rng::from_seed(7)).build().unwrap();
    (fake, client)
}

fn faults(faults: impl IntoIterator<Item = Status>) -> Script {
    Script { faults: faults.into_iter().collect(), ..Script::default() }
}

#[tokio::test]
async fn a_submission_whose_answer_was_lost_is_repeated_under_the_same_id() {
    let lost = || Status::unavailable("the answer is lost");
    let (fake, client) = start(faults([lost(), lost()])).await;
    let submitted = client.submit(NewTask::new("mail").payload_text("hello")).await.unwrap();
    let specs = fake.script.lock().unwrap().submitted.clone();
    assert_eq!(specs.len(), 3);
    assert!(specs.iter().all(|spec| *spec == specs[0] && spec.id == submitted.id.to_string()), "{specs:?}");
    assert!(!submitted.created, "the first try had made it");
    assert_eq!(submitted.id.uuid().get_version_num(), 7);
}

#[tokio::test]
async fn what_cannot_pass_is_told_at_once() {
    for reason in [Reason::InvalidArgument, Reason::TaskExists, Reason::StorageFull, Reason::Internal] {
        let (fake, client) = start(faults([refusal(reason, "no")])).await;
        let error = client.submit(NewTask::new("mail")).await.unwrap_err();
        assert_eq!((error.reason(), error.tries()), (reason, 1));
        assert_eq!(fake.calls(), ["submit"], "{reason}");
    }
}

#[tokio::test]
async fn what_may_pass_is_tried_again() {
    for reason in
        [Reason::Overloaded, Reason::ShuttingDown, Reason::NotOwner, Reason::StoreUnavailable, Reason::OutcomeUnknown]
    {
        let (fake, client) = start(faults([refusal(reason, "later")])).await;
        client.submit(NewTask::new("mail")).await.unwrap();
        assert_eq!(fake.calls(), ["submit", "submit"], "{reason}");
    }
}

#[tokio::test]
async fn a_wait_that_the_server_asks_for_is_kept_or_the_call_given_up() {
    let busy = ApiError::new(Reason::Overloaded, "busy").with_retry_after(Duration::from_secs(3600));
    let (fake, client) = start(faults([busy.into()])).await;
    // An hour is beyond the deadline of 30 s, so nothing is waited for.
    let error = client.status().await.unwrap_err();
    assert_eq!(error.reason(), Reason::Overloaded);
    assert_eq!(error.api_error().retry_after, Some(Duration::from_secs(3600)));
    assert_eq!(fake.calls(), ["status"]);
}

#[tokio::test]
async fn all_tries_together_end_with_the_deadline() {
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let client = Client::builder(format!("http://{gone}")).deadline(Duration::from_millis(300)).build().unwrap();
    let error = client.status().await.unwrap_err();
    assert_eq!(error.reason(), Reason::ServerUnreachable);
    assert!(error.tries() > 1, "{error}");
    assert!(error.to_string().contains(&gone.to_string()), "{error}");
}

#[tokio::test]
async fn a_server_that_never_answers_is_left_at_the_deadline() {
    // Accepts connections, as the kernel does for it, but reads nothing.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap());
    let client = Client::builder(url).deadline(Duration::from_millis(200)).build().unwrap();
    let error = client.status().await.unwrap_err();
    assert_eq!(error.reason(), Reason::DeadlineExceeded);
    drop(silent);
}

#[tokio::test]
async fn a_client_is_made_without_a_server_and_its_mistakes_are_named() {
    Client::connect("http://127.0.0.1:1").unwrap();
    let check = |endpoint: &str, namespace: &str| {
        Client::builder(endpoint).namespace(namespace).build().unwrap_err().to_string()
    };
    insta::assert_snapshot!(
        [
            check("127.0.0.1:7250", "default"),
            check("https://h:1", "default"),
            check("http://h", "default"),
            check("http://h:1", "No"),
        ]
        .join("\n"),
    );
    let error = Client::builder("http://h:1").deadline(Duration::from_secs(86_401)).build().unwrap_err();
    assert_eq!(error.api_error().violations[0].field, "deadline");
}

#[tokio::test]
async fn a_watch_goes_on_over_broken_streams_and_tells_nothing_twice() {
    let event =
        |task: &v1::Task| v1::WatchTaskResponse { event: Some(v1::watch_task_response::Event::Task(task.clone())) };
    let progress = v1::Progress {
        attempt: 1,
        payload: Some(payload("half", "text/plain")),
        reported_at: at("2026-11-24T12:00:03Z"),
    };
    let waiting = task(1);
    let running = v1::Task { state: v1::TaskState::Running.into(), attempts: vec![attempt(1)], ..task(1) };
    let ended = succeeded(1, payload("done", "text/plain"));
    let watches = [
        vec![event(&waiting), event(&running)],
        vec![],
        vec![
            event(&running),
            v1::WatchTaskResponse { event: Some(v1::watch_task_response::Event::Progress(progress.clone())) },
        ],
        vec![event(&running), event(&ended)],
    ];
    let (fake, client) = start(Script { watches: watches.into(), ..Script::default() }).await;
    let mut watch = client.watch(waiting.id.parse().unwrap());
    let mut events = Vec::new();
    while let Some(event) = watch.next().await.unwrap() {
        events.push(event);
    }
    let told = |task| WatchEvent::Task(Box::new(task));
    assert_eq!(events, [told(waiting), told(running), WatchEvent::Progress(progress), told(ended)]);
    assert_eq!(watch.next().await.unwrap(), None);
    assert_eq!(fake.calls(), ["watch"; 4]);
}

#[tokio::test]
async fn a_watch_of_a_task_that_is_not_there_fails() {
    let (_fake, client) = start(Script::default()).await;
    let error = client.watch(client.new_task_id()).ended().await.unwrap_err();
    assert_eq!(error.reason(), Reason::TaskNotFound);
}

#[tokio::test]
async fn pages_follow_each_other_to_the_last() {
    let (fake, client) = start(Script { tasks: (1..=5).map(task).collect(), ..Script::default() }).await;
    let all = client.list(TaskFilter::new().page_size(2)).collect().await.unwrap();
    let ids: Vec<_> = all.into_iter().map(|task| task.id).collect();
    assert_eq!(ids, (1..=5).map(|n| task(n).id).collect::<Vec<_>>());
    assert_eq!(fake.calls(), ["list"; 3]);
}

#[tokio::test]
async fn a_batch_tells_what_became_of_each_task() {
    let (_fake, client) = start(Script::default()).await;
    let outcomes = client.submit_batch(vec![NewTask::new("a"), NewTask::new("full"), NewTask::new("b")]).await.unwrap();
    let accepted: Vec<bool> = outcomes.iter().map(|outcome| matches!(outcome, BatchOutcome::Accepted(_))).collect();
    assert_eq!(accepted, [true, false, true]);
    assert!(matches!(&outcomes[1], BatchOutcome::Refused(error) if error.reason == Reason::Overloaded));
    let many = (0..1001).map(|_| NewTask::new("a")).collect();
    assert_eq!(client.submit_batch(many).await.unwrap_err().reason(), Reason::InvalidArgument);
}

#[tokio::test]
async fn a_deletion_whose_answer_was_lost_has_succeeded() {
    let lost = Status::unavailable("the answer is lost");
    let (_fake, client) = start(Script { schedules: vec![schedule("backup")], ..faults([lost]) }).await;
    client.delete_schedule("backup").await.unwrap();
    // Of one that was never there, no answer was lost.
    assert_eq!(client.delete_schedule("backup").await.unwrap_err().reason(), Reason::ScheduleNotFound);
}

#[tokio::test]
async fn schedules_are_created_steered_and_previewed() {
    let (fake, client) = start(Script { schedules: vec![schedule("backup")], ..Script::default() }).await;
    let new = || NewSchedule::cron("nightly", "0 1 * * *", "exec").time_zone("Europe/Berlin").max_attempts(2);
    assert!(client.create_schedule(new()).await.unwrap().created);
    assert!(!client.create_schedule(new()).await.unwrap().created);
    assert_eq!(client.get_schedule("backup").await.unwrap(), schedule("backup"));
    assert_eq!(client.pause_schedule("backup").await.unwrap().state(), v1::ScheduleState::Paused);
    assert_eq!(client.resume_schedule("backup").await.unwrap().state(), v1::ScheduleState::Active);
    assert_eq!(client.list_schedules().await.unwrap().len(), 1);
    let (one, two) =
        (client.trigger_schedule("backup").await.unwrap(), client.trigger_schedule("backup").await.unwrap());
    assert_ne!(one, two);
    let (instants, zone) = client.preview_schedule(PreviewOf::Rule(Box::new(new())), None, 2).await.unwrap();
    assert_eq!((instants.len(), zone.as_str()), (2, "Europe/Berlin"));
    assert_eq!(fake.script.lock().unwrap().created[0].namespace, "default");
}

#[tokio::test]
async fn clones_call_at_one_time() {
    let (fake, client) = start(Script::default()).await;
    let client = Arc::new(client);
    let calls = (0..8).map(|_| {
        let client = Client::clone(&client);
        tokio::spawn(async move { client.status().await.map(|status| status.version) })
    });
    for call in calls.collect::<Vec<_>>() {
        assert_eq!(call.await.unwrap().unwrap(), "0.1.0");
    }
    assert_eq!(fake.calls(), ["status"; 8]);
}

//! Streams that open, break and end: what is held survives, and nothing exceeds the credits.

use escapement::worker::{
    CancelCause, Drained, Output, Payload, TaskFailure, Verdict as Told, WorkerError, WorkerHandle,
};
use escapement_engine::{TaskId, Token};
use escapement_proto::v1::{Completion, Verdict, completion::Outcome, worker_message::Message as Up};
use tokio::sync::mpsc;
use tonic::Status;

use crate::{
    handlers::{Bench, Gone},
    server::{FakeServer, Stream, assignment, held, id, soon},
};

fn succeeded(completion: &Completion) -> &[u8] {
    match &completion.outcome {
        Some(Outcome::Succeeded(payload)) => &payload.data,
        other => panic!("{other:?}"),
    }
}

async fn grant(stream: &mut Stream) -> u64 {
    loop {
        match stream.next().await {
            Some(Up::Grant(grant)) => return grant.credits_total,
            Some(Up::Completions(_) | Up::Renew(_)) => {}
            other => panic!("not a grant: {other:?}"),
        }
    }
}

#[tokio::test]
async fn a_task_runs_and_its_result_is_repeated_to_the_verdict() {
    let mut server = FakeServer::start().await;
    let (mut bench, builder) = Bench::new(&server.endpoint, 4);
    let worker = builder.namespace("prod").label("zone", "a").build().unwrap().start();
    let (mut stream, hello) = server.welcome().await;
    assert_eq!(hello.session_id[..], worker.session_id().as_bytes()[..]);
    assert_eq!((hello.namespace.as_str(), hello.worker_name.as_str(), hello.credits), ("prod", "bench", 4));
    assert_eq!((hello.queues[0].queue.as_str(), hello.labels["zone"].as_str()), ("work", "a"));
    assert!(hello.held.is_empty() && hello.sdk.starts_with("escapement-rust/"), "{hello:?}");

    stream.assign([assignment(1, 9)]).await;
    let attempt = bench.attempt().await;
    assert_eq!(attempt.ctx.payload().data, "payload-1");
    assert_eq!((attempt.ctx.token().0, attempt.ctx.attempt(), attempt.ctx.max_attempts()), (9, 1, 5));
    attempt.answer.send(Ok(Output::text("done"))).unwrap();

    let completion = stream.completion().await;
    assert_eq!((completion.task_id.clone(), completion.token, succeeded(&completion)), (id(1), 9, &b"done"[..]));
    // Unanswered, it comes again.
    let again = bench.clock.pass_until(stream.completion()).await;
    assert_eq!(again, completion);
    stream.accept(&completion).await;
    leave(worker, stream).await;
}

/// Drains a worker that holds nothing: its last words are Goodbye and the stream's end.
async fn leave(worker: WorkerHandle, mut stream: Stream) {
    let farewell = async {
        assert!(matches!(stream.news().await, Some(Up::Goodbye(_))));
        assert_eq!(stream.news().await, None);
        drop(stream);
    };
    let (drained, ()) = soon(futures_util::future::join(worker.drain(), farewell)).await;
    assert_eq!(drained, Ok(Drained { abandoned: 0 }));
}

#[tokio::test]
async fn credits_grow_only_as_slots_become_free() {
    let mut server = FakeServer::start().await;
    let (mut bench, builder) = Bench::new(&server.endpoint, 2);
    let worker = builder.build().unwrap().start();
    let (mut stream, hello) = server.welcome().await;
    assert_eq!(hello.credits, 2);
    stream.assign([assignment(1, 1)]).await;
    let first = bench.attempt().await;
    stream.assign([assignment(2, 1)]).await;
    let _second = bench.attempt().await;
    first.answer.send(Ok(Output::empty())).unwrap();
    let completion = stream.completion().await;
    assert_eq!(grant(&mut stream).await, 3);
    stream.accept(&completion).await;

    // One credit is left; a second assignment breaks the rules, and the stream.
    stream.assign([assignment(3, 1), assignment(4, 1)]).await;
    let _third = bench.attempt().await;
    assert_eq!(stream.news().await, None);
    let (_stream, hello) = bench.clock.nudge_until(server.welcome()).await;
    assert_eq!(hello.held, [held(2, 1), held(3, 1)]);
    assert_eq!(hello.credits, 0);
    assert!(!bench.has_started());
    assert_eq!(worker.stats().tally.assigned, 3);
}

#[tokio::test]
async fn unanswered_completions_are_bounded_by_the_slots() {
    let mut server = FakeServer::start().await;
    let (mut bench, builder) = Bench::new(&server.endpoint, 2);
    let _worker = builder.build().unwrap().start();
    let (mut stream, _) = server.welcome().await;
    let mut unanswered = Vec::new();
    for task in 1..=4 {
        stream.assign([assignment(task, 1)]).await;
        bench.attempt().await.answer.send(Ok(Output::empty())).unwrap();
        unanswered.push(stream.completion().await);
        if task < 3 {
            assert_eq!(grant(&mut stream).await, u64::from(task) + 2);
        }
    }
    // Four were assigned on four credits, none is answered: no more until one is.
    stream.accept(&unanswered[0]).await;
    assert_eq!(grant(&mut stream).await, 5);
}

#[tokio::test]
async fn a_worker_comes_back_under_its_id_with_what_it_holds() {
    let mut server = FakeServer::start().await;
    let (mut bench, builder) = Bench::new(&server.endpoint, 3);
    let worker = builder.build().unwrap().start();
    let (mut stream, first_hello) = server.welcome().await;
    stream.assign([assignment(1, 4)]).await;
    let running = bench.attempt().await;
    stream.assign([assignment(2, 5)]).await;
    bench.attempt().await.answer.send(Ok(Output::text("two"))).unwrap();
    let unanswered = stream.completion().await;
    drop(stream);

    let (mut stream, hello) = bench.clock.nudge_until(server.accept()).await;
    assert_eq!(hello.session_id, first_hello.session_id);
    assert_eq!(hello.held, [held(1, 4), held(2, 5)]);
    assert_eq!(hello.credits, 2, "a slot for each that is not running");
    stream.welcome(&[]).await;
    assert_eq!(stream.completion().await, unanswered);
    stream.verdict(&unanswered, Verdict::Duplicate).await;

    assert!(!running.ctx.is_cancelled());
    running.answer.send(Ok(Output::text("one"))).unwrap();
    let completion = stream.completion().await;
    assert_eq!((completion.token, succeeded(&completion)), (4, &b"one"[..]));
    stream.accept(&completion).await;
    leave(worker, stream).await;
}

#[tokio::test]
async fn whoever_asked_is_told_once_what_became_of_each_completion() {
    let mut server = FakeServer::start().await;
    let (mut bench, builder) = Bench::new(&server.endpoint, 3);
    let (told, mut heard) = mpsc::channel(8);
    let told = move |id: TaskId, token: Token, verdict| told.try_send((*id.as_bytes(), token, verdict)).unwrap();
    let worker = builder.on_verdict(told).build().unwrap().start();
    let (mut stream, _) = server.welcome().await;
    let answers = [(1, Verdict::Accepted), (2, Verdict::StaleToken), (3, Verdict::Unspecified)];
    for (task, answer) in answers {
        stream.assign([assignment(task, 7)]).await;
        bench.attempt().await.answer.send(Ok(Output::empty())).unwrap();
        let completion = stream.completion().await;
        // Said again, it is no news.
        stream.verdict(&completion, answer).await;
        stream.verdict(&completion, Verdict::NotHeld).await;
    }
    for (task, verdict) in [(1, Told::Accepted), (2, Told::StaleToken), (3, Told::Unknown)] {
        let (id_heard, token, answer) = soon(heard.recv()).await.unwrap();
        assert_eq!((&id_heard[..], token, answer), (&id(task)[..], Token(7), verdict));
    }
    leave(worker, stream).await;
    assert_eq!(heard.recv().await, None);
}

#[tokio::test]
async fn an_attempt_that_welcome_names_lost_is_stopped_at_once() {
    let mut server = FakeServer::start().await;
    let (mut bench, builder) = Bench::new(&server.endpoint, 2);
    let worker = builder.build().unwrap().start();
    let (stream, _) = server.welcome().await;
    stream.assign([assignment(1, 1)]).await;
    let lost = bench.attempt().await;
    stream.assign([assignment(2, 1)]).await;
    let kept = bench.attempt().await;
    drop(stream);
    let (mut stream, _) = bench.clock.nudge_until(server.accept()).await;
    stream.welcome(&[held(1, 1)]).await;
    assert_eq!(bench.gone_now().await, Gone(1, Some(CancelCause::Lost)));
    assert_eq!(grant(&mut stream).await, 1, "its slot is free");

    // Only the other one is completed.
    kept.answer.send(Ok(Output::empty())).unwrap();
    assert_eq!(stream.completion().await.task_id, id(2));
    assert_eq!(worker.stats().tally.released, 1);
    drop(lost);
}

#[tokio::test]
async fn a_newer_attempt_of_a_task_ends_the_older() {
    let mut server = FakeServer::start().await;
    let (mut bench, builder) = Bench::new(&server.endpoint, 2);
    let _worker = builder.build().unwrap().start();
    let (stream, _) = server.welcome().await;
    stream.assign([assignment(1, 1)]).await;
    let _older = bench.attempt().await;
    stream.assign([assignment(1, 1), assignment(1, 2)]).await;
    let newer = bench.attempt().await;
    assert_eq!(newer.ctx.token().0, 2, "the repeated assignment starts nothing");
    assert_eq!(bench.gone_now().await, Gone(1, Some(CancelCause::Lost)));
}

#[tokio::test]
async fn a_drain_finishes_what_runs_and_takes_nothing_more() {
    let mut server = FakeServer::start().await;
    let (mut bench, builder) = Bench::new(&server.endpoint, 2);
    let worker = builder.build().unwrap().start();
    let (mut stream, _) = server.welcome().await;
    stream.assign([assignment(1, 1)]).await;
    let attempt = bench.attempt().await;
    let drained = tokio::spawn(worker.drain());
    assert!(matches!(stream.next().await, Some(Up::Goodbye(_))));
    // Sent before the server read Goodbye: it is held, and finished too.
    stream.assign([assignment(2, 1)]).await;
    let crossing = bench.attempt().await;
    attempt.answer.send(Ok(Output::empty())).unwrap();
    let completion = stream.completion().await;
    stream.accept(&completion).await;
    assert!(!drained.is_finished());
    crossing.answer.send(Ok(Output::empty())).unwrap();
    let Some(Up::Completions(batch)) = stream.next().await else { panic!("no grant after Goodbye") };
    stream.accept(&batch.completions[0]).await;
    assert_eq!(stream.next().await, None);
    drop(stream);
    assert_eq!(soon(drained).await.unwrap(), Ok(Drained { abandoned: 0 }));
}

#[tokio::test]
async fn a_drain_that_lasts_too_long_fails_what_still_runs() {
    let mut server = FakeServer::start().await;
    let (mut bench, builder) = Bench::new(&server.endpoint, 2);
    let worker = builder.build().unwrap().start();
    let (mut stream, _) = server.welcome().await;
    stream.assign([assignment(1, 1)]).await;
    let attempt = bench.attempt().await;
    let drained = tokio::spawn(worker.drain());
    assert!(matches!(stream.next().await, Some(Up::Goodbye(_))));
    let completion = bench.clock.pass_until(stream.completion()).await;
    assert_eq!(attempt.ctx.cause(), Some(CancelCause::Shutdown));
    assert!(bench.clock.elapsed_ms() >= 35_000, "30 s of drain and 5 s of grace");
    let Some(Outcome::Failed(failure)) = &completion.outcome else { panic!("{completion:?}") };
    let error = failure.error.as_ref().unwrap();
    assert_eq!((error.kind.as_str(), error.non_retryable, failure.timed_out), ("worker-shutdown", false, false));
    stream.accept(&completion).await;
    assert_eq!(stream.news().await, None);
    drop(stream);
    assert_eq!(soon(drained).await.unwrap(), Ok(Drained { abandoned: 0 }));
}

#[tokio::test]
async fn a_drain_without_a_server_ends_when_nothing_is_held() {
    let server = FakeServer::start().await;
    let (_bench, builder) = Bench::new(&server.endpoint, 2);
    // Never welcomed.
    let worker = builder.build().unwrap().start();
    let drained = tokio::spawn(worker.drain());
    drop(server);
    assert_eq!(soon(drained).await.unwrap(), Ok(Drained { abandoned: 0 }));
}

#[tokio::test]
async fn when_the_server_drains_the_worker_finishes_and_goes_to_another() {
    let (mut server, mut other) = (FakeServer::start().await, FakeServer::start().await);
    let (mut bench, builder) = Bench::new(&server.endpoint, 2);
    let worker = builder.or_endpoint(&other.endpoint).build().unwrap().start();
    let (mut stream, first_hello) = server.welcome().await;
    stream.assign([assignment(1, 1)]).await;
    let attempt = bench.attempt().await;
    stream.draining().await;
    assert!(matches!(stream.next().await, Some(Up::Goodbye(_))));
    attempt.answer.send(Ok(Output::empty())).unwrap();
    let Some(Up::Completions(batch)) = stream.next().await else { panic!("no grant to a server that drains") };
    stream.accept(&batch.completions[0]).await;
    assert_eq!(stream.next().await, None);
    drop(stream);
    let (_stream, hello) = bench.clock.nudge_until(other.welcome()).await;
    assert_eq!((hello.session_id, hello.credits), (first_hello.session_id, 2));
    assert_eq!(worker.stats().tally.succeeded, 1);
}

#[tokio::test]
async fn a_refusal_ends_the_worker_only_before_its_first_welcome() {
    let mut server = FakeServer::start().await;
    let (bench, builder) = Bench::new(&server.endpoint, 2);
    let mut worker = builder.build().unwrap().start();
    // What may pass is tried again.
    let (stream, _) = server.accept().await;
    stream.refuse(Status::unavailable("starting")).await;
    let (stream, _) = bench.clock.nudge_until(server.accept()).await;
    stream.refuse(Status::invalid_argument("namespace: `default` is unknown")).await;
    assert_eq!(
        soon(worker.ended()).await,
        Err(WorkerError::Refused {
            endpoint: server.endpoint.clone(),
            code: "InvalidArgument".to_owned(),
            message: "namespace: `default` is unknown".to_owned(),
        })
    );

    let (bench, builder) = Bench::new(&server.endpoint, 2);
    let _worker = builder.build().unwrap().start();
    let (stream, _) = server.welcome().await;
    stream.refuse(Status::invalid_argument("a passing defect")).await;
    bench.clock.nudge_until(server.welcome()).await;
}

#[tokio::test]
async fn dropping_the_handle_stops_the_handlers() {
    let mut server = FakeServer::start().await;
    let (mut bench, builder) = Bench::new(&server.endpoint, 2);
    let worker = builder.build().unwrap().start();
    let (mut stream, _) = server.welcome().await;
    stream.assign([assignment(1, 1)]).await;
    let attempt = bench.attempt().await;
    drop(worker);
    assert_eq!(bench.gone_now().await, Gone(1, Some(CancelCause::Shutdown)));
    assert_eq!(stream.news().await, None);
    drop(attempt);
}

#[tokio::test]
async fn a_queue_keeps_its_own_bound() {
    let mut server = FakeServer::start().await;
    let (mut bench, builder) = Bench::with(&server.endpoint, 4, 1);
    let _worker = builder.build().unwrap().start();
    let (mut stream, hello) = server.welcome().await;
    assert_eq!(hello.queues[0].concurrency_max, 1);
    stream.assign([assignment(1, 1), assignment(2, 1)]).await;
    let first = bench.attempt().await;
    // A whole way to the server and back: the second would have started long ago.
    first.ctx.progress(Payload::text("half")).unwrap();
    assert!(matches!(bench.clock.pass_until(stream.news()).await, Some(Up::Progress(_))));
    assert!(!bench.has_started(), "the second waits for the first");
    first.answer.send(Err(TaskFailure::retryable("busy", "no"))).unwrap();
    let completion = stream.completion().await;
    assert_eq!(completion.task_id[..], first.ctx.task_id().as_bytes()[..]);
    assert_ne!(bench.attempt().await.ctx.task_id(), first.ctx.task_id());
}

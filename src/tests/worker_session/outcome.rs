//! What becomes of an attempt: cancelled, timed out, panicked, too large.

use escapement::worker::{CancelCause, Output, Payload, ProgressTooLarge, TaskFailure};
use escapement_proto::v1::{self, Completion, Failure, completion::Outcome, worker_message::Message as Up};

use crate::{
    handlers::{Attempt, Bench, Gone},
    server::{FakeServer, Stream, assignment, id},
};

fn failure(completion: &Completion) -> (&Failure, &v1::TaskError) {
    match &completion.outcome {
        Some(Outcome::Failed(failure)) => (failure, failure.error.as_ref().unwrap()),
        other => panic!("{other:?}"),
    }
}

/// A worker that runs one attempt of task 1.
async fn running(attempt_timeout_ms: u64) -> (FakeServer, Bench, escapement::worker::WorkerHandle, Stream, Attempt) {
    let mut server = FakeServer::start().await;
    let (mut bench, builder) = Bench::new(&server.endpoint, 2);
    let worker = builder.build().unwrap().start();
    let (stream, _) = server.welcome().await;
    stream.assign([v1::Assignment { attempt_timeout_ms, ..assignment(1, 1) }]).await;
    let attempt = bench.attempt().await;
    (server, bench, worker, stream, attempt)
}

#[tokio::test]
async fn a_handler_that_heeds_its_timeout_keeps_its_output() {
    let (_server, bench, _worker, mut stream, attempt) = running(1_000).await;
    assert_eq!(attempt.ctx.remaining().map(|left| left.as_millis()), Some(1_000));
    bench.clock.advance_ms(999);
    assert!(!attempt.ctx.is_cancelled());
    bench.clock.advance_ms(1);
    assert_eq!(bench.clock.pass_until(attempt.ctx.cancelled()).await, CancelCause::TimedOut);
    let failed = TaskFailure::non_retryable("stopped", "half done").with_details(Payload::text("tail"));
    attempt.answer.send(Err(failed)).unwrap();
    let completion = stream.completion().await;
    let (failure, error) = failure(&completion);
    assert!(failure.timed_out && !error.non_retryable);
    assert_eq!(error.kind, "timed-out");
    assert_eq!(
        error.message,
        "the attempt was cut off after its timeout of 1000 ms; the handler said: stopped: half done"
    );
    assert_eq!(error.details.as_ref().unwrap().data, "tail");
}

#[tokio::test]
async fn a_handler_that_ignores_its_timeout_is_dropped_after_the_grace() {
    let (_server, mut bench, worker, mut stream, attempt) = running(1_000).await;
    bench.clock.advance_ms(1_000);
    bench.clock.pass_until(attempt.ctx.cancelled()).await;
    let told_at = bench.clock.elapsed_ms();
    bench.clock.advance_ms(4_900);
    assert!(!bench.is_any_gone());
    let completion = bench.clock.pass_until(stream.completion()).await;
    assert!(bench.clock.elapsed_ms() >= told_at + 4_900);
    assert_eq!(bench.gone_now().await, Gone(1, Some(CancelCause::TimedOut)));
    let (failure, error) = failure(&completion);
    assert!(failure.timed_out);
    assert_eq!(error.message, "the attempt was cut off after its timeout of 1000 ms");
    assert_eq!(worker.stats().tally.timed_out, 1);
}

#[tokio::test]
async fn a_success_within_the_grace_stays_a_success() {
    let (_server, bench, _worker, mut stream, attempt) = running(1_000).await;
    bench.clock.advance_ms(1_000);
    bench.clock.pass_until(attempt.ctx.cancelled()).await;
    attempt.answer.send(Ok(Output::text("just"))).unwrap();
    assert!(matches!(stream.completion().await.outcome, Some(Outcome::Succeeded(_))));
}

#[tokio::test]
async fn a_cancelled_attempt_has_its_grace_and_is_not_completed() {
    let (_server, mut bench, _worker, mut stream, attempt) = running(0).await;
    assert_eq!(attempt.ctx.remaining(), None);
    stream.cancel(1, 1, v1::CancelCause::Cancelled).await;
    assert_eq!(attempt.ctx.cancelled().await, CancelCause::Cancelled);
    assert!(!bench.is_any_gone());
    assert_eq!(bench.gone().await, Gone(1, Some(CancelCause::Cancelled)));
    assert!(bench.clock.elapsed_ms() >= 5_000);
    // The next message of substance is another attempt's.
    stream.assign([assignment(2, 1)]).await;
    bench.attempt().await.answer.send(Ok(Output::empty())).unwrap();
    assert_eq!(bench.clock.pass_until(stream.completion()).await.task_id, id(2));
}

#[tokio::test]
async fn an_attempt_that_was_taken_back_has_no_grace() {
    let (_server, mut bench, worker, mut stream, attempt) = running(0).await;
    stream.cancel(1, 1, v1::CancelCause::Lost).await;
    assert_eq!(bench.gone_now().await, Gone(1, Some(CancelCause::Lost)));
    assert_eq!(attempt.ctx.cause(), Some(CancelCause::Lost));
    assert!(matches!(stream.next().await, Some(Up::Grant(_))));
    assert_eq!(worker.stats().tally.released, 1);
}

#[tokio::test]
async fn a_panic_is_a_failure_and_the_worker_goes_on() {
    let (_server, mut bench, worker, mut stream, attempt) = running(0).await;
    // The handler panics when its answer is dropped.
    drop(attempt.answer);
    let completion = stream.completion().await;
    let (failed, error) = failure(&completion);
    assert_eq!(error.kind, "panic");
    assert_eq!(error.message, "the handler panicked: the test dropped the attempt");
    assert!(!failed.timed_out && !error.non_retryable);
    stream.assign([assignment(2, 1)]).await;
    bench.attempt().await.answer.send(Ok(Output::empty())).unwrap();
    assert_eq!(stream.completion().await.task_id, id(2));
    assert_eq!(worker.stats().tally.panicked, 1);
}

#[tokio::test]
async fn a_result_beyond_the_servers_limit_is_a_failure() {
    let (_server, _bench, _worker, mut stream, attempt) = running(0).await;
    attempt.answer.send(Ok(Output::text("x".repeat(1_001)))).unwrap();
    let completion = stream.completion().await;
    let (_, error) = failure(&completion);
    assert_eq!((error.kind.as_str(), error.non_retryable), ("result-too-large", true));
    assert_eq!(error.message, "the result has 1001 bytes; the limit is 1000");
}

#[tokio::test]
async fn only_the_newest_progress_is_sent() {
    let (_server, bench, _worker, mut stream, attempt) = running(0).await;
    assert_eq!(
        attempt.ctx.progress(Payload::text("x".repeat(1_001))),
        Err(ProgressTooLarge { bytes: 1_001, limit: 1_000 })
    );
    for percent in [10, 20, 30] {
        attempt.ctx.progress(Payload::text(format!("{percent}%"))).unwrap();
    }
    let Some(Up::Progress(batch)) = bench.clock.pass_until(stream.news()).await else { panic!("not progress") };
    assert_eq!(batch.reports.len(), 1);
    assert_eq!(batch.reports[0].payload.as_ref().unwrap().data, "30%");
    let sent_at = bench.clock.elapsed_ms();
    attempt.ctx.progress(Payload::text("40%")).unwrap();
    let Some(Up::Progress(batch)) = bench.clock.pass_until(stream.news()).await else { panic!("not progress") };
    assert_eq!(batch.reports[0].payload.as_ref().unwrap().data, "40%");
    assert!(bench.clock.elapsed_ms() >= sent_at + 400, "reports keep their distance");
}

#[tokio::test]
async fn a_task_of_an_unknown_queue_is_failed_not_dropped() {
    let (_server, _bench, _worker, mut stream, _attempt) = running(0).await;
    stream.assign([v1::Assignment { queue: "other".to_owned(), ..assignment(2, 1) }]).await;
    let completion = stream.completion().await;
    let (_, error) = failure(&completion);
    assert_eq!((error.kind.as_str(), error.non_retryable), ("no-handler", false));
}

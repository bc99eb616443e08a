//! The lease: what keeps it, and what happens when it runs out.

use escapement::worker::{CancelCause, Output};
use escapement_proto::v1::worker_message::Message as Up;

use crate::{
    handlers::{Bench, Gone},
    server::{FakeServer, LEASE_MS, assignment},
};

#[tokio::test]
async fn a_lease_that_runs_out_stops_the_handlers_and_makes_a_new_session() {
    let mut server = FakeServer::start().await;
    let (mut bench, builder) = Bench::new(&server.endpoint, 2);
    let worker = builder.build().unwrap().start();
    let (mut stream, first_hello) = server.welcome().await;
    stream.assign([assignment(1, 1)]).await;
    let _running = bench.attempt().await;
    stream.assign([assignment(2, 1)]).await;
    bench.attempt().await.answer.send(Ok(Output::empty())).unwrap();
    stream.completion().await;
    assert_eq!(bench.gone_now().await, Gone(2, None));

    // The stream stays open, but nothing is answered; streams that follow are not welcomed.
    assert_eq!(bench.gone().await, Gone(1, Some(CancelCause::LeaseLost)));
    let lost_at = bench.clock.elapsed_ms();
    assert!((9_800..u64::from(LEASE_MS)).contains(&lost_at), "{lost_at}: within the lease, at its end");
    drop(stream);

    let hello = loop {
        let (stream, hello) = bench.clock.nudge_until(server.accept()).await;
        if hello.session_id != first_hello.session_id {
            stream.welcome(&[]).await;
            break hello;
        }
    };
    assert!(hello.held.is_empty(), "{hello:?}");
    assert_eq!(hello.credits, 2);
    assert_eq!(hello.session_id[..], worker.session_id().as_bytes()[..]);
    let tally = worker.stats().tally;
    assert_eq!((tally.leases_lost, tally.released), (1, 2), "the unanswered completion is discarded, too");
}

#[tokio::test]
async fn answered_renewals_keep_the_lease() {
    let mut server = FakeServer::start().await;
    let (mut bench, builder) = Bench::new(&server.endpoint, 2);
    let worker = builder.build().unwrap().start();
    let (mut stream, _) = server.welcome().await;
    stream.assign([assignment(1, 1)]).await;
    let attempt = bench.attempt().await;
    for expect in 1..=8 {
        match bench.clock.pass_until(stream.next()).await {
            Some(Up::Renew(renew)) => {
                assert_eq!(renew.sequence, expect);
                stream.renewed(renew.sequence).await;
            }
            other => panic!("not a renewal: {other:?}"),
        }
    }
    assert!(bench.clock.elapsed_ms() > u64::from(LEASE_MS) * 2);
    assert!(!attempt.ctx.is_cancelled() && !bench.is_any_gone());
    assert_eq!(worker.stats().tally.leases_lost, 0);
}

#[tokio::test]
async fn a_silent_stream_is_given_up_within_the_lease() {
    let mut server = FakeServer::start().await;
    let (mut bench, builder) = Bench::new(&server.endpoint, 2);
    let worker = builder.build().unwrap().start();
    let (mut stream, first_hello) = server.welcome().await;
    stream.assign([assignment(1, 1)]).await;
    let attempt = bench.attempt().await;
    // It stays open, but no renewal is answered.
    let given_up = async { while stream.next().await.is_some() {} };
    bench.clock.pass_until(given_up).await;
    let (_stream, hello) = bench.clock.nudge_until(server.welcome()).await;
    assert!(bench.clock.elapsed_ms() < u64::from(LEASE_MS));
    assert_eq!((hello.session_id, hello.held.len()), (first_hello.session_id, 1));
    assert!(!attempt.ctx.is_cancelled());
    drop((worker, stream));
}

#[tokio::test]
async fn a_process_that_was_suspended_for_its_lease_says_nothing_under_its_old_id() {
    let mut server = FakeServer::start().await;
    let (mut bench, builder) = Bench::new(&server.endpoint, 2);
    let _worker = builder.build().unwrap().start();
    let (mut stream, first_hello) = server.welcome().await;
    stream.assign([assignment(1, 1)]).await;
    let attempt = bench.attempt().await;
    // At one blow, as after SIGSTOP and SIGCONT, and the handler ends in the same moment.
    bench.clock.advance_ms(u64::from(LEASE_MS));
    let _ = attempt.answer.send(Ok(Output::empty()));
    assert_eq!(stream.next().await, None, "neither a renewal nor a completion");
    drop(stream);
    let (_stream, hello) = bench.clock.nudge_until(server.welcome()).await;
    assert_ne!(hello.session_id, first_hello.session_id);
    assert!(hello.held.is_empty());
}

#[tokio::test]
async fn an_assignment_that_is_read_when_the_lease_is_out_is_not_started() {
    let mut server = FakeServer::start().await;
    let (bench, builder) = Bench::new(&server.endpoint, 2);
    let _worker = builder.build().unwrap().start();
    let (mut stream, first_hello) = server.welcome().await;
    // The first renewal tells that the worker has read Welcome.
    assert!(matches!(bench.clock.pass_until(stream.next()).await, Some(Up::Renew(_))));
    bench.clock.jump_ms(u64::from(LEASE_MS));
    stream.assign([assignment(1, 1)]).await;
    assert_eq!(stream.next().await, None);
    let (_stream, hello) = bench.clock.nudge_until(server.welcome()).await;
    assert_ne!(hello.session_id, first_hello.session_id);
    assert!(hello.held.is_empty() && !bench.has_started(), "{hello:?}");
}

#[tokio::test]
async fn a_broken_stream_alone_does_not_stop_handlers() {
    let mut server = FakeServer::start().await;
    let (mut bench, builder) = Bench::new(&server.endpoint, 2);
    let worker = builder.build().unwrap().start();
    let (stream, _) = server.welcome().await;
    stream.assign([assignment(1, 1)]).await;
    let attempt = bench.attempt().await;
    drop(stream);
    for _ in 0..4 {
        let (_stream, hello) = bench.clock.nudge_until(server.welcome()).await;
        assert_eq!(hello.held.len(), 1);
    }
    assert!(!attempt.ctx.is_cancelled() && !bench.is_any_gone());
    assert!(worker.stats().tally.welcomes >= 4);
}

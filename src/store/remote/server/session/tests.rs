//! What a session bounds: requests, watches, and the answers to both.

use escapement_proto::store::Requests;
use futures_util::FutureExt as _;

use super::{super::StoreServer, *};
use crate::{
    edge::SystemClock,
    rng::Rng,
    store::{
        MemoryEngine, Version,
        engine::{CommitRequest, Engine as _, Mutation},
        remote::ServerOptions,
    },
};

/// A server above a store in memory, with one client that was let in.
struct Setup {
    engine: MemoryEngine,
    server: StoreServer,
    admitted: Admitted,
    outgoing: Outgoing,
    _messages: mpsc::Receiver<Result<ServerMessage, Status>>,
}

fn setup(options: ServerOptions) -> Setup {
    let clock: SharedClock = Arc::new(SystemClock::new());
    let engine = MemoryEngine::new(Arc::clone(&clock));
    let server = StoreServer::new(Arc::new(engine.clone()), options, clock, &Rng::from_seed(1));
    let admitted = server.0.registry.admit(Incarnation([7; 16]), 1).unwrap();
    let (outgoing, messages) = mpsc::channel(1);
    Setup { engine, server, admitted, outgoing, _messages: messages }
}

impl Setup {
    /// Its session, past Welcome.
    fn session(&self) -> Session<'_> {
        let mut session = Session::new(&self.server.0, &self.admitted, &self.outgoing);
        session.settling = None;
        session
    }
}

impl Session<'_> {
    fn receive(&mut self, requests: impl IntoIterator<Item = (u64, request::Request)>) -> Result<(), End> {
        let numbered = requests.into_iter().map(|(id, request)| proto::Request { id, request: Some(request) });
        let requests = Requests { requests: numbered.collect() };
        self.handle(ClientMessage { message: Some(client_message::Message::Requests(requests)) })
    }

    /// The answers of the next message.
    fn next_responses(&mut self) -> Vec<proto::Response> {
        match self.next_message() {
            server_message::Message::Responses(sent) => sent.responses,
            other => panic!("answers were due, not {other:?}"),
        }
    }

    /// Does what has been asked for, to the end.
    async fn work_all(&mut self) {
        while let Some(done) = self.work.next().await {
            done.into_iter().for_each(|done| self.done(done));
        }
    }
}

/// A read whose key has so many bytes.
fn read(bytes: usize) -> request::Request {
    request::Request::GetMany(proto::GetMany { keys: vec![vec![b'k'; bytes].into()], version: 1 })
}

fn watch(bytes: usize) -> request::Request {
    let value = Some(vec![b'v'; bytes - 1].into());
    request::Request::Watch(proto::Watch { key: Bytes::from_static(b"k"), value, version: 1 })
}

fn codes(responses: &[proto::Response]) -> Vec<(u64, i32)> {
    let code = |response: &proto::Response| match &response.result {
        Some(response::Result::Error(error)) => error.code,
        _ => 0,
    };
    responses.iter().map(|response| (response.id, code(response))).collect()
}

#[tokio::test]
async fn answers_to_refused_watches_wait_in_bounded_number_and_none_is_lost() {
    const WATCHES: u64 = 100_000;
    let setup = setup(ServerOptions { watches_max: 0, requests_max: 16, ..ServerOptions::default() });
    let mut session = setup.session();
    assert!(session.receive((1..=WATCHES).map(|id| (id, watch(1)))).is_ok());
    let mut answered = 0;
    while session.has_message() {
        assert!(session.answers.len() <= WATCH_ANSWERS_MAX + 16, "{} answers wait", session.answers.len());
        for response in session.next_responses() {
            answered += 1;
            assert_eq!(response.id, answered);
        }
        assert!(session.read_on().is_ok());
    }
    assert_eq!(answered, WATCHES);
}

#[tokio::test]
async fn requests_of_more_bytes_than_allowed_end_the_stream() {
    let setup = setup(ServerOptions { request_bytes_max: 1000, ..ServerOptions::default() });
    let mut session = setup.session();
    assert!(session.receive([(1, read(600))]).is_ok());
    let Err(End::Violated(status)) = session.receive([(2, read(600))]) else { panic!("1200 bytes are too many") };
    assert_eq!(status.code(), tonic::Code::ResourceExhausted);
    assert_eq!(status.message(), "more than 4096 requests or 1000 bytes of them under way");
}

#[tokio::test]
async fn bytes_of_requests_count_until_their_answers_are_sent() {
    let setup = setup(ServerOptions { request_bytes_max: 1000, ..ServerOptions::default() });
    let mut session = setup.session();
    assert!(session.receive([(1, read(600)), (2, read(200))]).is_ok());
    session.work_all().await;
    assert_eq!(session.next_responses().len(), 2);
    assert!(session.receive([(3, read(900))]).is_ok(), "there is room again");
    session.work_all().await;
    assert!(session.receive([(4, read(900))]).is_err(), "an answer that waits to be sent still counts");
}

#[tokio::test]
async fn a_request_larger_than_all_the_room_is_taken_alone() {
    let setup = setup(ServerOptions { request_bytes_max: 1000, ..ServerOptions::default() });
    let mut session = setup.session();
    assert!(session.receive([(1, read(5000))]).is_ok());
    assert!(session.receive([(2, read(1))]).is_err());
}

#[tokio::test]
async fn watches_of_more_bytes_than_allowed_are_refused_until_others_end() {
    let setup = setup(ServerOptions { watch_bytes_max: 100, ..ServerOptions::default() });
    let mut session = setup.session();
    assert!(session.receive([(1, watch(60)), (2, watch(41)), (3, watch(40)), (4, watch(1))]).is_ok());
    let refused = codes(&session.next_responses());
    assert_eq!(refused, [(2, StoreError::TOO_MANY_WATCHES), (4, StoreError::TOO_MANY_WATCHES)]);
    // One that is set again under its number takes the place of the first.
    assert!(session.receive([(3, watch(30)), (5, watch(10)), (6, watch(1))]).is_ok());
    assert_eq!(
        codes(&session.next_responses()),
        [(3, StoreError::TOO_MANY_WATCHES), (5, StoreError::TOO_MANY_WATCHES), (6, StoreError::TOO_MANY_WATCHES)]
    );
    let cancel = |watch_id| request::Request::CancelWatch(proto::CancelWatch { watch_id });
    assert!(session.receive([(1, cancel(1)), (7, watch(60)), (8, watch(1))]).is_ok());
    assert_eq!(codes(&session.next_responses()), [(8, StoreError::TOO_MANY_WATCHES)], "the room is given back once");
}

#[tokio::test]
async fn answers_gather_into_a_message_until_it_is_full() {
    let setup = setup(ServerOptions::default());
    let (key, value) = (Bytes::from_static(b"k"), Bytes::from(vec![b'v'; 90_000]));
    let request = CommitRequest { mutations: vec![Mutation::Set(key.clone(), value)], ..CommitRequest::default() };
    let Version(version) = setup.engine.commit(request).await.unwrap().version;
    let mut session = setup.session();
    let read = || request::Request::GetMany(proto::GetMany { keys: vec![key.clone()], version });
    assert!(session.receive((1..=5).map(|id| (id, read()))).is_ok());
    session.work_all().await;
    let gathered = [session.next_responses().len(), session.next_responses().len()];
    assert_eq!(gathered, [3, 2], "of 90 kB each; {GATHER_BYTES} bytes are enough");
    assert!(!session.has_message());
}

#[tokio::test]
async fn a_fenced_stream_is_told_and_ends() {
    let setup = setup(ServerOptions::default());
    assert!(setup.admitted.fenced().now_or_never().is_none());
    let newer = setup.server.0.registry.admit(Incarnation([7; 16]), 2).unwrap();
    assert!(setup.admitted.fenced().now_or_never().is_some());
    let session = setup.session();
    let commit = session.commit(proto::Commit::default());
    assert!(matches!(commit, Err(End::Fenced)), "what arrives late begins nothing");
    drop(newer);
}

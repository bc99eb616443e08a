//! Clients that break the rules, fall silent or do not read: each is cut off, and costs nobody
//! else anything.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use escapement::{
    rng::Rng,
    store::{
        MemoryEngine,
        engine::Engine as _,
        remote::{RemoteEngine, RemoteOptions, ServerOptions},
    },
};
use escapement_proto::store::{
    ClientMessage, GetRange, Hello, Ping, ReadVersion, Request, Requests, ServerMessage, client_message::Message,
    request, server_message, store_service_client::StoreServiceClient,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, Streaming};

use super::world::{Served, clock, options, set};

/// A client that says what a test wants.
struct Raw {
    outgoing: mpsc::Sender<ClientMessage>,
    incoming: Streaming<ServerMessage>,
}

impl Raw {
    async fn open(served: &Served, first: Message) -> Self {
        let mut client = StoreServiceClient::connect(format!("http://{}", served.address)).await.unwrap();
        let (outgoing, messages) = mpsc::channel(1);
        outgoing.send(ClientMessage { message: Some(first) }).await.unwrap();
        let incoming = client.session(ReceiverStream::new(messages)).await.unwrap().into_inner();
        Self { outgoing, incoming }
    }

    async fn welcomed(served: &Served) -> Self {
        Self::welcomed_as(served, 1).await
    }

    /// The stream of this number.
    async fn welcomed_as(served: &Served, number: u64) -> Self {
        let mut raw = Self::open(served, numbered_hello(1, number)).await;
        let first = raw.incoming.message().await.unwrap().unwrap();
        assert!(matches!(first.message, Some(server_message::Message::Welcome(_))), "{first:?}");
        raw
    }

    async fn ask(&self, requests: impl IntoIterator<Item = request::Request>) {
        let numbered = (1..).zip(requests).map(|(id, request)| Request { id, request: Some(request) });
        let message = Some(Message::Requests(Requests { requests: numbered.collect() }));
        let _ = self.outgoing.send(ClientMessage { message }).await;
    }

    /// What the stream ends with.
    async fn end(mut self) -> Status {
        loop {
            match self.incoming.message().await {
                Ok(Some(_)) => {}
                Ok(None) => return Status::ok(""),
                Err(status) => return status,
            }
        }
    }
}

fn hello(protocol_version: u32) -> Message {
    numbered_hello(protocol_version, 1)
}

fn numbered_hello(protocol_version: u32, stream_number: u64) -> Message {
    let client_incarnation = Bytes::from_static(&[7; 16]);
    Message::Hello(Hello { protocol_version, client_incarnation, stream_number })
}

async fn served(options: ServerOptions) -> (MemoryEngine, Served) {
    let engine = MemoryEngine::new(clock());
    let served = Served::start_with(Arc::new(engine.clone()), "127.0.0.1:0".parse().unwrap(), options).await;
    (engine, served)
}

/// Resolves when the server has room for a stream again.
async fn room_for_another(served: &Served) {
    let options = RemoteOptions { connect_max: Duration::from_secs(60), ..options() };
    let next = RemoteEngine::connect(&served.address.to_string(), options, clock(), Rng::from_entropy()).await;
    next.unwrap().commit(set("k", "v")).await.unwrap();
}

#[tokio::test]
async fn whoever_breaks_the_rules_is_told_which() {
    let (_engine, served) = served(ServerOptions { requests_max: 2, ..ServerOptions::default() }).await;
    let end = Raw::open(&served, Message::Ping(Ping { sequence: 1 })).await.end().await;
    assert_eq!((end.code(), end.message()), (Code::InvalidArgument, "the first message must be Hello"));

    let end = Raw::open(&served, hello(2)).await.end().await;
    assert_eq!(end.code(), Code::FailedPrecondition);
    assert!(end.message().starts_with("hello.protocol_version is 2, but must be 1"), "{end}");

    let short = Hello { protocol_version: 1, client_incarnation: Bytes::from_static(b"abc"), stream_number: 1 };
    let end = Raw::open(&served, Message::Hello(short)).await.end().await;
    assert_eq!(end.message(), "hello.client_incarnation is 3 bytes, but must be 16 bytes");

    let raw = Raw::welcomed(&served).await;
    let read_version = || request::Request::ReadVersion(ReadVersion::default());
    raw.ask([read_version(), read_version(), read_version()]).await;
    let end = raw.end().await;
    assert_eq!(end.code(), Code::ResourceExhausted);
    assert!(end.message().starts_with("more than 2 requests or"), "{end}");
}

#[tokio::test]
async fn a_client_of_another_protocol_or_of_no_store_is_told_at_once() {
    let listener = escapement::edge::grpc::Listener::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let address = listener.address();
    // gRPC, but no store: a server without that service.
    let other = escapement::server::ServerOptions {
        listen: address,
        store: escapement::server::StoreUrl::Memory,
        scheduler: escapement::scheduler::SchedulerOptions::default(),
        drain_max: Duration::ZERO,
    };
    let db = escapement::store::Database::over(Arc::new(MemoryEngine::new(clock())), clock(), Rng::from_seed(1));
    let server = escapement::server::start_on(listener, db, other, clock(), Rng::from_seed(2)).await.unwrap();
    let options = RemoteOptions { connect_max: Duration::from_secs(3600), ..options() };
    let refused = RemoteEngine::connect(&address.to_string(), options, clock(), Rng::from_entropy()).await;
    assert!(refused.unwrap_err().reason.contains("Unimplemented"));
    server.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_stream_that_a_newer_one_replaces_ends_and_an_older_one_is_not_let_in() {
    let (_engine, served) = served(ServerOptions::default()).await;
    let old = Raw::welcomed_as(&served, 2).await;
    let new = Raw::welcomed_as(&served, 3).await;
    let end = old.end().await;
    assert_eq!((end.code(), end.message()), (Code::Aborted, "a newer stream of this client replaces this one"));
    let end = Raw::open(&served, numbered_hello(1, 2)).await.end().await;
    let refusal = "stream 2 of this client comes after stream 3; numbers only grow";
    assert_eq!((end.code(), end.message()), (Code::Aborted, refusal));
    drop(new);
}

#[tokio::test]
async fn a_client_that_falls_silent_is_cut_off() {
    let silence_max = Duration::from_millis(200);
    let (_engine, served) = served(ServerOptions { sessions_max: 1, silence_max, ..ServerOptions::default() }).await;
    let silent = Raw::welcomed(&served).await;
    room_for_another(&served).await;
    let end = silent.end().await;
    assert_eq!((end.code(), end.message()), (Code::DeadlineExceeded, "the client says nothing"));
}

#[tokio::test]
async fn a_client_that_does_not_read_is_cut_off() {
    let silence_max = Duration::from_millis(500);
    let options = ServerOptions { sessions_max: 1, silence_max, ..ServerOptions::default() };
    let (engine, served) = served(options).await;
    let value: &'static str = Box::leak("x".repeat(90_000).into_boxed_str());
    let version = engine.commit(set("large", value)).await.unwrap().version;
    let raw = Raw::welcomed(&served).await;
    let range = GetRange {
        begin: Bytes::from_static(b"a"),
        end: Bytes::from_static(b"z"),
        version: version.0,
        ..GetRange::default()
    };
    raw.ask((0..1000).map(|_| request::Request::GetRange(range.clone()))).await;
    // It is heard of, all the while.
    let pings = async {
        for sequence in 1.. {
            let message = Some(Message::Ping(Ping { sequence }));
            if raw.outgoing.send(ClientMessage { message }).await.is_err() {
                std::future::pending::<()>().await;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::select! {
        biased;
        () = room_for_another(&served) => {}
        () = pings => unreachable!("it pings for ever"),
    }
}

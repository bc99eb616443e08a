//! A server and its clients.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use escapement::{
    clock::SharedClock,
    edge::{
        SystemClock,
        grpc::{Drained, Listener, ServeOptions},
    },
    rng::Rng,
    store::{
        Database, StoreError,
        engine::{CommitReceipt, CommitRequest, Engine, KeyRange, Mutation},
        remote::{RemoteEngine, RemoteOptions, ServerOptions, StoreServer},
    },
};
use tokio::{sync::oneshot, task::JoinHandle};

pub(crate) fn clock() -> SharedClock {
    Arc::new(SystemClock::new())
}

/// A served engine.
pub(crate) struct Served {
    pub(crate) address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    serving: JoinHandle<Drained>,
}

impl Served {
    pub(crate) async fn start(engine: Arc<dyn Engine>) -> Self {
        let options = ServerOptions { silence_max: SILENCE_LONG, ..ServerOptions::default() };
        Self::start_with(engine, "127.0.0.1:0".parse().unwrap(), options).await
    }

    pub(crate) async fn start_with(engine: Arc<dyn Engine>, listen: SocketAddr, options: ServerOptions) -> Self {
        let listener = Listener::bind(listen).await.unwrap();
        let address = listener.address();
        let store = StoreServer::new(engine, options, clock(), &Rng::from_entropy());
        let (stop, stopped) = oneshot::channel::<()>();
        let serve = ServeOptions { clock: clock(), drain_max: Duration::from_secs(30) };
        let serving = tokio::spawn(async move {
            listener.serve_store(store, serve, async move { drop(stopped.await) }).await.unwrap()
        });
        Self { address, stop: Some(stop), serving }
    }

    /// Ends it in order.
    pub(crate) async fn stop(mut self) -> Drained {
        let _ = self.stop.take().unwrap().send(());
        self.serving.await.unwrap()
    }
}

/// What both sides bear where a test says nothing else: a busy machine is silent for longer than
/// a second, and no stream shall break that the test does not break.
const SILENCE_LONG: Duration = Duration::from_secs(60);

pub(crate) fn options() -> RemoteOptions {
    RemoteOptions { silence_max: SILENCE_LONG, connect_max: SILENCE_LONG, ..RemoteOptions::default() }
}

/// What an [`impatient_client`] bears.
pub(crate) const SILENCE_SHORT: Duration = Duration::from_secs(1);

pub(crate) async fn client(address: SocketAddr) -> RemoteEngine {
    RemoteEngine::connect(&address.to_string(), options(), clock(), Rng::from_entropy()).await.unwrap()
}

/// A client that soon gives up a stream on which nothing comes.
pub(crate) async fn impatient_client(address: SocketAddr) -> RemoteEngine {
    let options = RemoteOptions { silence_max: SILENCE_SHORT, ..options() };
    RemoteEngine::connect(&address.to_string(), options, clock(), Rng::from_entropy()).await.unwrap()
}

pub(crate) fn database(engine: RemoteEngine) -> Database {
    Database::over(Arc::new(engine), clock(), Rng::from_entropy())
}

/// A commit that sets one key, without conflicts.
pub(crate) fn set(key: &'static str, value: &'static str) -> CommitRequest {
    let key = Bytes::from_static(key.as_bytes());
    let end = Bytes::from([&key[..], &[0]].concat());
    CommitRequest {
        write_conflicts: vec![KeyRange { begin: key.clone(), end }],
        mutations: vec![Mutation::Set(key, Bytes::from_static(value.as_bytes()))],
        ..CommitRequest::default()
    }
}

/// The value of one key now.
pub(crate) async fn get(engine: &dyn Engine, key: &'static str) -> Option<Bytes> {
    let version = engine.read_version(&escapement::store::engine::ReadVersionRequest::default()).await.unwrap();
    engine.get_many(vec![Bytes::from_static(key.as_bytes())], version).await.unwrap().pop().unwrap()
}

/// Code of a commit's error.
pub(crate) fn code(result: Result<CommitReceipt, StoreError>) -> i32 {
    result.map_or_else(|error| error.code, |receipt| panic!("committed: {receipt:?}"))
}

/// Waits for a condition; panics with `what` after half a minute.
pub(crate) async fn eventually<F: AsyncFnMut() -> bool>(what: &str, mut holds: F) {
    for _ in 0..3000 {
        if holds().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("never came true: {what}");
}

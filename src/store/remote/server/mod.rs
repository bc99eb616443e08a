//! The server's side: serves an engine to several clients.

mod answer;
mod registry;
mod session;

use std::{sync::Arc, time::Duration};

use escapement_proto::store::{ClientMessage, ServerMessage, store_service_server::StoreService};
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use self::registry::Registry;
use super::Incarnation;
use crate::{clock::SharedClock, rng::Rng, store::engine::Engine};

/// What a server takes. The numbers are for each client.
#[derive(Clone, Copy, Debug)]
pub struct ServerOptions {
    /// Streams of all clients together.
    pub sessions_max: usize,
    /// Requests without an answer, watches apart.
    pub requests_max: u32,
    /// Their bytes together.
    pub request_bytes_max: u32,
    /// Bytes of answers that are read or wait to be sent; further reads wait.
    pub answer_bytes_max: u32,
    /// Watches at once; 1032 beyond.
    pub watches_max: usize,
    /// Bytes of keys and values of watches; 1032 beyond.
    pub watch_bytes_max: usize,
    /// A client that says nothing, or takes nothing of what waits for it, is cut off within
    /// this span.
    pub silence_max: Duration,
}

impl Default for ServerOptions {
    fn default() -> Self {
        Self {
            sessions_max: 256,
            requests_max: 4096,
            request_bytes_max: 64 << 20,
            answer_bytes_max: 64 << 20,
            watches_max: crate::store::memory::WATCHES_MAX,
            watch_bytes_max: 64 << 20,
            silence_max: Duration::from_secs(10),
        }
    }
}

/// Serves an engine. Clones are the same server.
#[derive(Clone, Debug)]
pub struct StoreServer(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    engine: Arc<dyn Engine>,
    clock: SharedClock,
    options: ServerOptions,
    incarnation: Incarnation,
    registry: Arc<Registry>,
    /// True once every session shall end.
    ending: watch::Sender<bool>,
}

impl StoreServer {
    /// A server for `engine`. Each process that serves must make its own.
    pub fn new(engine: Arc<dyn Engine>, options: ServerOptions, clock: SharedClock, rng: &Rng) -> Self {
        Self(Arc::new(Shared {
            engine,
            clock,
            options,
            incarnation: Incarnation::draw(rng),
            registry: Registry::new(options.sessions_max),
            ending: watch::channel(false).0,
        }))
    }

    /// Says goodbye on every stream, now and later ones. Commits that have begun run on to
    /// their end; the engine's own close waits for them.
    pub fn end_sessions(&self) {
        self.0.ending.send_replace(true);
    }
}

#[tonic::async_trait]
impl StoreService for StoreServer {
    type SessionStream = ReceiverStream<Result<ServerMessage, Status>>;

    async fn session(
        &self,
        request: Request<Streaming<ClientMessage>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        // Room for one message: what comes up meanwhile gathers into the next.
        let (outgoing, messages) = mpsc::channel(1);
        let shared = Arc::clone(&self.0);
        // The answer's head goes out at once; the client may wait for it before it says hello.
        tokio::spawn(session::serve(shared, request.into_inner(), outgoing));
        Ok(Response::new(ReceiverStream::new(messages)))
    }
}

//! `escapement store`: the embedded store, served to other processes of this machine.

use std::{net::SocketAddr, path::Path, sync::Arc, time::Duration};

use tokio::{sync::oneshot, task::JoinHandle};

use super::ServerError;
use crate::{
    clock::SharedClock,
    edge::grpc::{Listener, ServeError, ServeOptions},
    rng::Rng,
    store::{
        embedded::{EmbeddedEngine, EmbeddedOptions},
        remote::{ServerOptions, StoreServer},
    },
};

/// Streams get this long to end after goodbye.
const DRAIN_MAX: Duration = Duration::from_secs(2);

/// A running store.
#[derive(Debug)]
pub struct StoreHandle {
    address: SocketAddr,
    engine: Arc<EmbeddedEngine>,
    stop: oneshot::Sender<()>,
    serving: JoinHandle<Result<(), ServeError>>,
}

/// Opens the embedded store in `dir` and serves it at `listen`. Whoever can connect there may
/// read and change everything.
///
/// # Errors
/// When the address cannot be listened on, or the directory not be opened.
pub async fn start_store(
    listen: SocketAddr,
    dir: &Path,
    clock: SharedClock,
    rng: Rng,
) -> Result<StoreHandle, ServerError> {
    let listener = Listener::bind(listen).await?;
    let address = listener.address();
    let engine = Arc::new(EmbeddedEngine::open(dir, EmbeddedOptions::default(), Arc::clone(&clock))?);
    let server = StoreServer::new(Arc::clone(&engine) as _, ServerOptions::default(), Arc::clone(&clock), &rng);
    let (stop, stopped) = oneshot::channel::<()>();
    let serve = ServeOptions { clock, drain_max: DRAIN_MAX };
    let serving = tokio::spawn(async move {
        let stopped = async move { drop(stopped.await) };
        listener.serve_store(server, serve, stopped).await.map(drop)
    });
    tracing::info!(%address, "serving the store");
    Ok(StoreHandle { address, engine, stop, serving })
}

impl StoreHandle {
    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Says goodbye to its clients, finishes their commits, and closes the store.
    ///
    /// # Errors
    /// When it had stopped by itself.
    pub async fn shutdown(self) -> Result<(), ServerError> {
        let _ = self.stop.send(());
        let served = self.serving.await.unwrap_or(Ok(()));
        self.engine.close();
        served.map_err(ServerError::from)
    }

    /// Resolves when it stops by itself, which it should not.
    ///
    /// # Errors
    /// Why it stopped.
    pub async fn stopped(&mut self) -> Result<(), ServerError> {
        match (&mut self.serving).await {
            Ok(served) => served.map_err(ServerError::from),
            Err(_) => Err(ServerError::Broken),
        }
    }
}

//! The store on the network: production's server on its node, production's client elsewhere.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use escapement::{
    clock::SharedClock,
    edge::{
        SystemClock,
        grpc::{Listener, ServeOptions},
    },
    rng::Rng,
    store::{
        Database,
        engine::Engine,
        remote::{RemoteEngine, RemoteOptions, ServerOptions, StoreServer},
    },
};

use super::{cluster::SimStore, tap::Tap};

/// Either side gives a silent stream up after this long.
const SILENCE_MAX: Duration = Duration::from_secs(1);

impl SimStore {
    /// Serves the database from the node that calls this, until the node dies.
    ///
    /// # Panics
    /// When the simulated network does not let it listen.
    pub async fn serve(&self, address: SocketAddr) {
        let (clock, rng) = (clock(), Rng::from_entropy());
        let listener = Listener::bind(address).await.expect("the simulated network binds");
        let options = ServerOptions { silence_max: SILENCE_MAX, ..ServerOptions::default() };
        let server = StoreServer::new(Arc::new(self.boot()), options, Arc::clone(&clock), &rng);
        let options = ServeOptions { clock, drain_max: Duration::ZERO };
        let served = listener.serve_store(server, options, std::future::pending()).await;
        panic!("the store's server ended by itself: {served:?}");
    }

    /// A client for the node called `node`, which calls this. What it commits is noted in the
    /// log.
    pub fn client(&self, node: &str, address: SocketAddr) -> Arc<dyn Engine> {
        let options = RemoteOptions { silence_max: SILENCE_MAX, ..RemoteOptions::default() };
        let remote = RemoteEngine::start(&address.to_string(), options, clock(), Rng::from_entropy());
        Arc::new(Tap::new(Arc::new(remote), self.log().clone(), node))
    }

    /// The same as a database.
    pub fn database(&self, node: &str, address: SocketAddr) -> Database {
        Database::over(self.client(node, address), clock(), Rng::from_entropy())
    }
}

fn clock() -> SharedClock {
    Arc::new(SystemClock::new())
}

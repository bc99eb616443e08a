//! A server on a free port, its store in memory or on disk.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use escapement::{
    client::{Client, proto},
    clock::SharedClock,
    edge::SystemClock,
    rng::Rng,
    scheduler::SchedulerOptions,
    server::{self, ServerHandle, ServerOptions, StoreUrl},
};
use escapement_engine::TaskId;

pub(crate) struct World {
    pub(crate) server: ServerHandle,
    pub(crate) endpoint: String,
    pub(crate) client: Client,
}

pub(crate) fn options(store: StoreUrl) -> ServerOptions {
    ServerOptions {
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        store,
        scheduler: SchedulerOptions { session_lease: Duration::from_secs(2), ..SchedulerOptions::default() },
        drain_max: Duration::from_secs(5),
    }
}

pub(crate) async fn world() -> World {
    world_with(options(StoreUrl::Memory), Arc::new(SystemClock::new())).await
}

pub(crate) async fn world_with(options: ServerOptions, clock: SharedClock) -> World {
    World::of(server::start_with(options, clock, Rng::from_entropy()).await.unwrap())
}

impl World {
    pub(crate) fn of(server: ServerHandle) -> Self {
        let endpoint = format!("http://{}", server.local_addr());
        let client = Client::connect(&endpoint).unwrap();
        Self { server, endpoint, client }
    }
}

/// Waits until the task is as asked for.
pub(crate) async fn reached(client: &Client, id: TaskId, state: proto::TaskState) -> proto::Task {
    for _ in 0..3000 {
        let task = client.get(id).await.unwrap();
        if task.state() == state {
            return task;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("task {id} never was {state:?}: {:?}", client.get(id).await);
}

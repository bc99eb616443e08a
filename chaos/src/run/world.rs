//! The running world: production's processes on simulated nodes.

use std::{
    borrow::Cow,
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use escapement::{
    client::Client,
    edge::grpc::Listener,
    rng::Rng,
    scheduler::{SchedulerOptions, StartError},
    server::{self, ServerError, ServerOptions, StoreUrl},
    worker::{Context, QueueOptions, Worker},
};
use escapement_engine::{
    Timestamp,
    leap::{Leap, LeapTable, Mode, Sign},
};
use escapement_sim::{
    clock::{Clocks, LeapSign},
    store::SimStore,
};
use madsim::{
    runtime::{Handle, NodeHandle},
    task::NodeId,
};
use tokio::sync::mpsc;

use super::{
    handlers::{Seat, Sink},
    log::Log,
    network::Network,
    relay::{self, Meddling},
    streams::StreamRelay,
    versions::Versions,
};
use crate::{
    history::{NodeChange, What},
    plan::{Plan, STORE},
    workload::QUEUES,
};

const PORT: u16 = 7250;
const STORE_PORT: u16 = 7251;
/// Where the own relay of a client or a worker to the first server listens.
const RELAY_PORT: u16 = 7300;
/// A process that ended by itself is started again after this long, as a service manager does.
const RESTART_PAUSE: Duration = Duration::from_secs(1);
/// Attempts of the poison queue at one time on one worker.
const POISON_MAX: u32 = 2;
/// All tries of one call together.
const CALL_DEADLINE: Duration = Duration::from_secs(8);

/// A run in the making.
pub(super) struct World {
    pub(super) plan: Plan,
    pub(super) store: SimStore,
    pub(super) clocks: Clocks,
    pub(super) log: Log,
    pub(super) sink: Sink,
    pub(super) network: Network,
    pub(super) meddling: Arc<Meddling>,
    nodes: Mutex<BTreeMap<String, Node>>,
    pub(super) versions: Versions,
    exits: mpsc::Sender<(String, u64)>,
    ops: Mutex<u64>,
}

#[derive(Clone, Copy, Debug)]
struct Node {
    id: NodeId,
    /// Counts its processes.
    generation: u64,
    up: bool,
    paused: bool,
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl World {
    /// A world for this plan.
    pub(super) fn set_up(plan: Plan, log: Log) -> Arc<Self> {
        let store = SimStore::new(plan.store.clone()).expect("a plan that can be followed");
        let clocks = Clocks::new(plan.clock_plan(), plan.seed);
        Self::new(plan, store, clocks, log)
    }

    /// Nothing runs yet. Processes that end by themselves are started again.
    fn new(plan: Plan, store: SimStore, clocks: Clocks, log: Log) -> Arc<Self> {
        let (exits, mut ended) = mpsc::channel::<(String, u64)>(64);
        let meddling = Arc::new(Meddling::new(plan.seed));
        let world = Arc::new(Self {
            plan,
            store,
            clocks,
            log,
            sink: Sink::default(),
            network: Network::default(),
            meddling,
            nodes: Mutex::default(),
            versions: Versions::default(),
            exits,
            ops: Mutex::default(),
        });
        let keeper = Arc::downgrade(&world);
        madsim::task::spawn(async move {
            while let Some((name, generation)) = ended.recv().await {
                let Some(world) = keeper.upgrade() else { return };
                madsim::task::spawn(async move { world.revive(&name, generation).await });
            }
        });
        world
    }

    pub(super) fn note(&self, node: &str, what: What) {
        self.log.add(&self.clocks, node, what);
    }

    /// The number of a call.
    pub(super) fn op(&self) -> u64 {
        let mut ops = lock(&self.ops);
        *ops += 1;
        *ops
    }

    /// Calls are numbered from behind this one on.
    pub(super) fn ops_from(&self, last: u64) {
        *lock(&self.ops) = last;
    }

    pub(super) fn id(&self, name: &str) -> Option<NodeId> {
        lock(&self.nodes).get(name).map(|node| node.id)
    }

    /// Starts a process on this node, unless one runs.
    pub(super) fn start(self: &Arc<Self>, name: &str) {
        let handle = Handle::current();
        let known = lock(&self.nodes).get(name).copied();
        let generation = known.map_or(1, |node| node.generation + 1);
        let node = match known {
            Some(node) if node.up => return,
            Some(_) => {
                handle.restart(name);
                handle.get_node(name).expect("a node that was just restarted")
            }
            None => {
                let node = handle.create_node().name(name).ip(IpAddr::V4(address(name))).build();
                let (world, owned) = (Arc::downgrade(self), name.to_owned());
                self.clocks.drive(name, move |what| {
                    let Some(world) = world.upgrade() else { return };
                    let change = if what == "suspended" { NodeChange::Suspended } else { NodeChange::Resumed };
                    world.note(&owned, What::Node { change });
                });
                node
            }
        };
        lock(&self.nodes).insert(name.to_owned(), Node { id: node.id(), generation, up: true, paused: false });
        self.note(name, What::Node { change: NodeChange::Started });
        self.begin(&node, name, generation);
    }

    fn begin(self: &Arc<Self>, node: &NodeHandle, name: &str, generation: u64) {
        let (world, name) = (Arc::clone(self), name.to_owned());
        match name.split('-').next() {
            Some("server") => node.spawn(async move {
                world.serve(&name).await;
                // Whoever listens for exits may be gone with the run.
                let _ = world.exits.send((name, generation)).await;
            }),
            Some("worker") => node.spawn(async move { world.work(name).await }),
            Some("late") => {
                let servers = self.plan.servers().iter().map(|server| endpoint(server)).collect();
                node.spawn(async move { world.work_late(name, servers).await })
            }
            Some("client") => node.spawn(async move { world.relays(&name).await }),
            _ => {
                let store = self.store.clone();
                node.spawn(async move { store.serve(SocketAddr::from((address(STORE), STORE_PORT))).await })
            }
        };
    }

    /// A process is gone, without a word.
    pub(super) fn kill(&self, name: &str) {
        self.resume(name);
        let mut nodes = lock(&self.nodes);
        let Some(node) = nodes.get_mut(name).filter(|node| node.up) else { return };
        node.up = false;
        let id = node.id;
        drop(nodes);
        self.note(name, What::Node { change: NodeChange::Killed });
        Handle::current().kill(id);
    }

    /// A process does not run for a while.
    pub(super) fn pause(&self, name: &str) {
        let mut nodes = lock(&self.nodes);
        let Some(node) = nodes.get_mut(name).filter(|node| node.up && !node.paused) else { return };
        node.paused = true;
        let id = node.id;
        drop(nodes);
        self.note(name, What::Node { change: NodeChange::Suspended });
        Handle::current().pause(id);
    }

    /// It goes on.
    pub(super) fn resume(&self, name: &str) {
        let mut nodes = lock(&self.nodes);
        let Some(node) = nodes.get_mut(name).filter(|node| node.paused) else { return };
        node.paused = false;
        let id = node.id;
        drop(nodes);
        self.note(name, What::Node { change: NodeChange::Resumed });
        Handle::current().resume(id);
    }

    async fn revive(self: Arc<Self>, name: &str, generation: u64) {
        let is_current = |world: &Self| lock(&world.nodes).get(name).is_some_and(|node| node.generation == generation);
        if !is_current(&self) {
            return;
        }
        self.kill(name);
        madsim::time::sleep(RESTART_PAUSE).await;
        if is_current(&self) {
            self.start(name);
        }
    }

    /// One life of a scheduler's process. It ends when another one serves the store.
    async fn serve(&self, name: &str) {
        let listen = SocketAddr::from((address(name), PORT));
        let listener = Listener::bind(listen).await.expect("the simulated network binds");
        let db = self.database(name, SocketAddr::from((address(STORE), STORE_PORT)));
        let options = ServerOptions {
            listen,
            store: StoreUrl::Remote(STORE.to_owned()),
            scheduler: self.scheduler(),
            drain_max: Duration::from_secs(5),
        };
        match server::start_on(listener, db, options, self.clocks.of(name), Rng::from_entropy()).await {
            Ok(mut handle) => {
                let ended = handle.stopped().await;
                tracing::info!(?ended, "the server ended");
            }
            Err(error) => {
                if matches!(error, ServerError::Start(StartError::FormatTooNew(_))) {
                    self.versions.refused.add(1);
                }
                tracing::info!(%error, "the server did not start");
            }
        }
    }

    fn scheduler(&self) -> SchedulerOptions {
        let knobs = &self.plan.knobs;
        let table = LeapTable::embedded();
        let listed = self.plan.leap.filter(|_| knobs.leap_listed).map(|leap| {
            let sign = match leap.sign {
                LeapSign::Insert => Sign::Insert,
                LeapSign::Delete => Sign::Delete,
            };
            let mut leaps = table.leaps().to_vec();
            leaps.push(Leap { at: Timestamp::from_unix_ms(leap.at_unix_ms), sign });
            leaps.sort_by_key(|leap| leap.at);
            leaps.dedup_by_key(|leap| leap.at);
            LeapTable::new(leaps, table.expires())
        });
        SchedulerOptions {
            shards: knobs.shards,
            session_lease: Duration::from_millis(knobs.session_lease_ms),
            member_lease: Duration::from_millis(knobs.member_lease_ms),
            hot_window: Duration::from_millis(knobs.hot_window_ms),
            stream_entries_max: knobs.stream_entries_max,
            due_page_rows: knobs.due_page_rows,
            scan_page_rows: knobs.scan_page_rows as usize,
            fire_batch_max: knobs.fire_batch_max as usize,
            fires_in_flight_max: knobs.fires_in_flight_max as usize,
            rescan_interval: Duration::from_millis(knobs.rescan_ms),
            leap_mode: if knobs.smear { Mode::Smear } else { Mode::Pause },
            leap_table: listed.map_or(Cow::Borrowed(table), Cow::Owned),
            ..SchedulerOptions::default()
        }
    }

    async fn work(self: Arc<Self>, node: String) {
        let handle = Arc::new(Mutex::new(None));
        let seat = Seat { world: Arc::clone(&self), node: node.clone(), handle: Arc::clone(&handle) };
        let servers = self.ways_of(&node);
        let mut builder = Worker::builder(servers[0].clone())
            .name(node.clone())
            .concurrency(self.plan.shape.slots)
            .cancel_grace(Duration::from_secs(1))
            .clock(self.clocks.of(&node))
            .rng(Rng::from_entropy());
        for server in &servers[1..] {
            builder = builder.or_endpoint(server.clone());
        }
        let (world, worker) = (Arc::clone(&self), node.clone());
        builder = builder.on_verdict(move |id, token, verdict| {
            let verdict = verdict.code().to_owned();
            world.note(&worker, What::Verdict { id: id.to_string(), token: token.0, verdict });
        });
        for queue in QUEUES {
            let seat = seat.clone();
            let options = QueueOptions::new(queue).concurrency_max(if queue == "poison" { POISON_MAX } else { 0 });
            builder = builder.queue_with(options, move |ctx: Context| seat.clone().run(ctx));
        }
        *lock(&handle) = Some(builder.build().expect("a valid worker").start());
        // It never ends by itself: a kill ends it, and drops the handle.
        std::future::pending::<()>().await;
    }

    /// Where a worker connects to, for each server: its own relay where streams are meddled with,
    /// which begins to listen.
    fn ways_of(&self, worker: &str) -> Vec<String> {
        let breaks = self.plan.strikes.iter().any(|strike| relay::is_breaking(&strike.what));
        let servers = self.plan.servers();
        let ways = servers.iter().zip(RELAY_PORT..).map(|(server, port)| {
            if !breaks {
                return endpoint(server);
            }
            let relay = StreamRelay::new(endpoint(server), Arc::clone(&self.meddling));
            tokio::spawn(relay.serve(SocketAddr::from((address(worker), port))));
            format!("http://{}:{port}", address(worker))
        });
        ways.collect()
    }

    /// On a client's node, before each server: where calls are meddled with.
    async fn relays(self: Arc<Self>, client: &str) {
        for (port, server) in (RELAY_PORT..).zip(self.plan.servers()) {
            let listen = SocketAddr::from((address(client), port));
            let relay = relay::Relay::new(client, &server, endpoint(&server), Arc::clone(&self.meddling));
            tokio::spawn(relay.serve(listen));
        }
        std::future::pending::<()>().await;
    }

    /// Calls that a client can make, one for each server.
    pub(super) fn clients(&self, name: &str) -> Vec<Client> {
        let meddles = self.plan.strikes.iter().any(|strike| relay::is_meddling(&strike.what));
        let servers = self.plan.servers();
        let endpoints = servers.iter().zip(RELAY_PORT..).map(|(server, port)| match meddles {
            true => format!("http://{}:{port}", address(name)),
            false => endpoint(server),
        });
        let client = |endpoint: String| {
            Client::builder(endpoint)
                .clock(self.clocks.of(name))
                .rng(Rng::from_entropy())
                .deadline(CALL_DEADLINE)
                .build()
                .expect("a valid client")
        };
        endpoints.map(client).collect()
    }
}

fn endpoint(server: &str) -> String {
    format!("http://{}:{PORT}", address(server))
}

/// Addresses tell at a glance what a node is: servers in 10.0.0.0/24, workers in 10.0.1.0/24,
/// clients in 10.0.2.0/24, late workers in 10.0.3.0/24, the store in 10.0.9.0/24.
fn address(name: &str) -> Ipv4Addr {
    let (kind, number) = name.split_once('-').unwrap_or((name, "1"));
    let net = match kind {
        "server" => 0,
        "worker" => 1,
        "client" => 2,
        "late" => 3,
        _ => 9,
    };
    Ipv4Addr::new(10, 0, net, number.parse().unwrap_or(1))
}

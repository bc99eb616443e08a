//! A cluster of simulated nodes.

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use escapement::{
    client::{Client, TaskFilter, proto::TaskState},
    clock::SharedClock,
    edge::{SystemClock, grpc::Listener},
    rng::Rng,
    scheduler::SchedulerOptions,
    server::{self, ServerOptions, StoreUrl},
    worker::{Context, Output, TaskFailure, Worker},
};
use escapement_engine::{TaskId, Token};
use madsim::runtime::{Handle, NodeHandle};

use crate::{
    Event, Trace,
    clock::{ClockPlan, Clocks},
    simulate,
    store::{FaultPlan, SimStore},
};

/// Shape of a world.
#[derive(Clone, Debug)]
pub struct WorldOptions {
    /// Settings of its scheduler.
    pub scheduler: SchedulerOptions,
    /// Slots of each worker.
    pub concurrency: u32,
    /// How long a handler takes.
    pub handler: Duration,
    /// What goes wrong with the store.
    pub store: FaultPlan,
}

/// The queue that the workers take tasks from.
const QUEUE: &str = "work";
const SERVER: &str = "10.0.0.1:7250";
const STORE: &str = "10.0.9.1:7251";

/// A running world. What the store holds outlives every node.
#[derive(Debug)]
pub struct World {
    options: WorldOptions,
    store: SimStore,
    trace: Trace,
    clocks: Option<Clocks>,
    nodes: Mutex<BTreeSet<String>>,
}

/// Runs `scenario` in a world of this seed, in which the store's node is up. One process must run one seed only: the tokio
/// that lies beneath draws from a counter of the whole process.
pub fn run<F: Future<Output = ()>>(seed: u64, options: WorldOptions, scenario: impl FnOnce(World) -> F) -> Trace {
    run_with_clocks(seed, options, None, scenario)
}

/// As [`run`], with the clocks of this plan; without one, every clock shows the simulator's time.
pub fn run_with_clocks<F: Future<Output = ()>>(
    seed: u64,
    options: WorldOptions,
    clocks: Option<ClockPlan>,
    scenario: impl FnOnce(World) -> F,
) -> Trace {
    let clocks = clocks.map(|plan| Clocks::new(plan, seed));
    let trace = Trace::default();
    let kept = trace.clone();
    simulate(seed, async move {
        let store = SimStore::new(options.store.clone()).expect("a plan that can be followed");
        let world = World { options, store, trace: kept, clocks, nodes: Mutex::default() };
        world.start_store();
        scenario(world).await;
    });
    trace
}

fn true_clock() -> SharedClock {
    Arc::new(SystemClock::new())
}

impl World {
    /// What has happened so far.
    pub fn trace(&self) -> &Trace {
        &self.trace
    }

    /// The store's contents, log and counters.
    pub fn store(&self) -> &SimStore {
        &self.store
    }

    /// Starts the store's node, or starts it again after it was killed.
    pub fn start_store(&self) -> NodeHandle {
        self.note("store", "started");
        let (node, store) = (self.node("store", "10.0.9.1"), self.store.clone());
        node.spawn(async move { store.serve(STORE.parse().expect("a valid address")).await });
        node
    }

    /// The clock of a node.
    pub fn clock(&self, name: &str) -> SharedClock {
        self.clocks.as_ref().map_or_else(true_clock, |clocks| clocks.of(name))
    }

    /// Starts the server, or starts it again after it was killed.
    pub fn start_server(&self) -> NodeHandle {
        self.note("server", "started");
        let (store, options, clock) = (self.store.clone(), self.options.clone(), self.clock("server"));
        let node = self.node("server", "10.0.0.1");
        node.spawn(async move {
            let address: SocketAddr = SERVER.parse().expect("a valid address");
            let listener = Listener::bind(address).await.expect("the simulated network binds");
            let rng = Rng::from_entropy();
            let db = store.database("server", STORE.parse().expect("a valid address"));
            let options = ServerOptions {
                listen: address,
                store: StoreUrl::Remote(STORE.to_owned()),
                scheduler: options.scheduler,
                drain_max: Duration::from_secs(5),
            };
            let mut server = server::start_on(listener, db, options, clock, rng).await.expect("the server starts");
            let _ = server.stopped().await;
        });
        node
    }

    /// Starts a worker. Its handler notes when it begins and ends.
    pub fn start_worker(&self, name: &str, address: &str) -> NodeHandle {
        self.note(name, "started");
        let node = self.node(name, address);
        let (trace, options, name) = (self.trace.clone(), self.options.clone(), name.to_owned());
        let clock = self.clock(&name);
        node.spawn(async move {
            let worker_clock = Arc::clone(&clock);
            let worker_name = name.clone();
            let handler = move |ctx: Context| {
                let (trace, clock, worker) = (trace.clone(), Arc::clone(&worker_clock), worker_name.clone());
                async move {
                    let (id, token) = (ctx.task_id(), ctx.token());
                    trace.add(Event::Started { id, token, due: ctx.due(), at: clock.now(), worker });
                    let mut running = Running { trace, id, token, ended: false };
                    clock.sleep(options.handler).await;
                    running.end();
                    Ok::<_, TaskFailure>(Output::empty())
                }
            };
            let worker = Worker::builder(format!("http://{SERVER}"))
                .name(name)
                .concurrency(options.concurrency)
                .queue(QUEUE, handler)
                .clock(clock)
                .rng(Rng::from_entropy())
                .build()
                .expect("a valid worker");
            let _ = worker.run(std::future::pending()).await;
        });
        node
    }

    /// Runs `work` with a client on a node of its own, and waits for it.
    pub async fn with_client<T, F>(&self, work: impl FnOnce(Client, Trace) -> F + Send + 'static) -> T
    where
        T: Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        let node = self.node("client", "10.0.2.1");
        let (trace, clock) = (self.trace.clone(), self.clock("client"));
        let done = node.spawn(async move {
            let client = Client::builder(format!("http://{SERVER}"))
                .clock(clock)
                .rng(Rng::from_entropy())
                .deadline(Duration::from_secs(60))
                .build()
                .expect("a valid client");
            work(client, trace).await
        });
        done.await.expect("the client's node lives")
    }

    /// Waits until every task has ended.
    ///
    /// # Panics
    /// If some have not after two simulated minutes.
    pub async fn drained(&self) {
        let drained = |client: Client, _| async move {
            let pending = TaskFilter::new().state(TaskState::Scheduled).state(TaskState::Running);
            for _ in 0..1200 {
                if client.list_page(&pending, "").await.is_ok_and(|(tasks, next)| tasks.is_empty() && next.is_none()) {
                    return;
                }
                madsim::time::sleep(Duration::from_millis(100)).await;
            }
            panic!("tasks are left over");
        };
        self.with_client(drained).await;
    }

    /// Kills a node: its memory is gone, what it sent may still arrive.
    pub fn kill(&self, node: &NodeHandle, name: &str) {
        self.note(name, "killed");
        Handle::current().kill(node.id());
    }

    /// Nothing reaches or leaves the node for `span`.
    pub async fn cut_off(&self, node: &NodeHandle, name: &str, span: Duration) {
        let net = madsim::net::NetSim::current();
        self.note(name, "cut off");
        net.clog_node(node.id());
        madsim::time::sleep(span).await;
        net.unclog_node(node.id());
        self.note(name, "connected");
    }

    fn node(&self, name: &str, address: &str) -> NodeHandle {
        let handle = Handle::current();
        let mut known = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        if !known.insert(name.to_owned()) {
            // A node that was killed keeps its name and address.
            handle.restart(name);
            return handle.get_node(name).expect("a node that was just restarted");
        }
        let node = handle.create_node().name(name).ip(address.parse().expect("a valid address")).build();
        if let Some(clocks) = &self.clocks {
            let (trace, known) = (self.trace.clone(), name.to_owned());
            clocks.drive(name, move |what| trace.add(Event::Node { name: known.clone(), what }));
        }
        node
    }

    fn note(&self, name: &str, what: &'static str) {
        self.trace.add(Event::Node { name: name.to_owned(), what });
    }
}

/// A handler that runs; notes its end, however it comes.
struct Running {
    trace: Trace,
    id: TaskId,
    token: Token,
    ended: bool,
}

impl Running {
    fn end(&mut self) {
        self.ended = true;
        self.trace.add(Event::Ended { id: self.id, token: self.token });
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // What is left when the simulation itself ends was not stopped by anybody.
        if !self.ended && madsim::time::TimeHandle::try_current().is_some() {
            self.trace.add(Event::Stopped { id: self.id, token: self.token });
        }
    }
}

/// The queue that the workers take tasks from.
pub const fn queue() -> &'static str {
    QUEUE
}

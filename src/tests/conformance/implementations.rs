//! The implementations, each opened afresh for each test.

use std::{
    io::Write as _,
    path::Path,
    sync::{Arc, Once, atomic::AtomicU64},
    time::Duration,
};

use escapement::{
    clock::SharedClock,
    edge::{
        SystemClock,
        grpc::{Listener, ServeOptions},
    },
    rng::Rng,
    store::{
        Database, EmbeddedEngine, EmbeddedOptions, MemoryEngine,
        engine::Engine,
        limits::KEY_BYTES_MAX,
        memory::MemoryOptions,
        remote::{RemoteEngine, RemoteOptions, ServerOptions, StoreServer},
    },
};
use tokio::{runtime::Runtime, sync::oneshot};

use crate::{
    faulty::{Fault, Faulty},
    suite::Setup,
};

/// Names the cluster file of a FoundationDB that may be written to.
const FDB: &str = "ESCAPEMENT_TEST_FDB";
/// Watches at once, where that can be set.
const WATCHES_MAX: usize = 64;
/// FoundationDB's default, which the store in memory has, too.
const WATCHES_MAX_DEFAULT: usize = 10_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Implementation {
    Memory,
    Embedded,
    /// The embedded one, served over the loopback.
    Remote,
    FoundationDb,
    /// Likewise, with the prefix of a deployment.
    FoundationDbUnderAPrefix,
}

/// A database and what has to live as long.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) setup: Setup,
    _dir: Option<tempfile::TempDir>,
    /// The server ends when this is dropped.
    _serving: Option<oneshot::Sender<()>>,
}

pub(crate) fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

/// For what must not depend on how threads run.
pub(crate) fn single_thread() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// The store in memory, with a fault or without.
pub(crate) fn memory(name: &str, fault: Option<Fault>) -> Opened {
    let clock: SharedClock = Arc::new(SystemClock::new());
    let engine = MemoryEngine::new(Arc::clone(&clock));
    let engine: Arc<dyn Engine> = match fault {
        Some(fault) => Arc::new(Faulty { engine, fault, calls: AtomicU64::new(0) }),
        None => Arc::new(engine),
    };
    over(engine, clock, name, WATCHES_MAX_DEFAULT)
}

/// The store in memory, whose versions stay readable for `window` only.
pub(crate) fn memory_with_a_window(name: &str, window: Duration) -> Opened {
    let clock: SharedClock = Arc::new(SystemClock::new());
    let options = MemoryOptions { window, ..MemoryOptions::default() };
    let engine = MemoryEngine::with_options(Arc::clone(&clock), options);
    over(Arc::new(engine), clock, name, WATCHES_MAX_DEFAULT)
}

impl Implementation {
    /// Opens the database for the test `name`; `None` where there is none to test.
    pub(crate) async fn open(self, name: &str) -> Option<Opened> {
        let clock: SharedClock = Arc::new(SystemClock::new());
        match self {
            Self::Memory => Some(memory(name, None)),
            Self::Embedded => {
                let (engine, dir) = embedded(&clock);
                Some(Opened { _dir: Some(dir), ..over(Arc::new(engine), clock, name, WATCHES_MAX) })
            }
            Self::Remote => {
                let (engine, dir) = embedded(&clock);
                let (engine, serving) = served(engine, &clock).await;
                let opened = over(Arc::new(engine), clock, name, WATCHES_MAX);
                Some(Opened { _dir: Some(dir), _serving: Some(serving), ..opened })
            }
            Self::FoundationDb => foundationdb(clock, name, String::new()),
            Self::FoundationDbUnderAPrefix => {
                let prefix = format!("escapement-test/{:016x}/deployment/", Rng::from_entropy().u64());
                foundationdb(clock, name, prefix)
            }
        }
    }
}

/// A database above an engine, as it is shipped.
fn over(engine: Arc<dyn Engine>, clock: SharedClock, name: &str, watches_max: usize) -> Opened {
    let db = Database::over(engine, Arc::clone(&clock), Rng::from_entropy());
    opened(db, clock, name, watches_max)
}

fn opened(db: Database, clock: SharedClock, name: &str, watches_max: usize) -> Opened {
    // Another run may use the same cluster at the same time.
    let run = Rng::from_entropy().u64();
    let space = format!("escapement-test/{run:016x}/{name}/").into();
    Opened { setup: Setup { db, clock, space, key_bytes_max: KEY_BYTES_MAX, watches_max }, _dir: None, _serving: None }
}

fn embedded(clock: &SharedClock) -> (EmbeddedEngine, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let options = EmbeddedOptions { watches_max: WATCHES_MAX, ..EmbeddedOptions::default() };
    (EmbeddedEngine::open(dir.path(), options, Arc::clone(clock)).unwrap(), dir)
}

/// A client of a server above `engine`.
async fn served(engine: EmbeddedEngine, clock: &SharedClock) -> (RemoteEngine, oneshot::Sender<()>) {
    let listener = Listener::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let address = listener.address().to_string();
    let server = StoreServer::new(Arc::new(engine), ServerOptions::default(), Arc::clone(clock), &Rng::from_entropy());
    let (stop, stopped) = oneshot::channel::<()>();
    let options = ServeOptions { clock: Arc::clone(clock), drain_max: Duration::from_secs(30) };
    tokio::spawn(async move { listener.serve_store(server, options, async move { drop(stopped.await) }).await });
    let client = RemoteEngine::connect(&address, RemoteOptions::default(), Arc::clone(clock), Rng::from_entropy());
    (client.await.unwrap(), stop)
}

/// FoundationDB, where there is one. Says which of the two it was.
fn foundationdb(clock: SharedClock, name: &str, prefix: String) -> Option<Opened> {
    static SAID: Once = Once::new();
    // Past the capture of the tests' output: this must be seen in a run that passes.
    let say = |what: String| {
        let line = format!("\n*** foundationdb: {what}\n");
        SAID.call_once(|| std::io::stderr().write_all(line.as_bytes()).unwrap());
    };
    let Some(cluster_file) = std::env::var_os(FDB).filter(|path| !path.is_empty()) else {
        say(format!("SKIPPED, {FDB} is not set"));
        return None;
    };
    say(format!("RUN against {}", cluster_file.display()));
    let key_bytes_max = KEY_BYTES_MAX - prefix.len();
    let db = connect(cluster_file.as_ref(), prefix, &clock);
    let opened = opened(db, clock, name, WATCHES_MAX_DEFAULT);
    Some(Opened { setup: Setup { key_bytes_max, ..opened.setup }, ..opened })
}

#[cfg(feature = "foundationdb")]
fn connect(cluster_file: &Path, prefix: String, clock: &SharedClock) -> Database {
    use escapement::store::fdb::{FdbOptions, Prefix, connect};
    connect(&FdbOptions::new(cluster_file, Prefix::new(prefix).unwrap()), clock).unwrap()
}

#[cfg(not(feature = "foundationdb"))]
fn connect(_: &Path, _: String, _: &SharedClock) -> Database {
    panic!("{FDB} is set, but this build has no FoundationDB client: add `--features foundationdb`");
}

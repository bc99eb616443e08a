//! A whole server: a store, a scheduler and its gRPC services, started together and stopped
//! in order.

mod store;
mod store_url;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use tokio::{sync::oneshot, task::JoinHandle};

pub use self::{
    store::{StoreHandle, start_store},
    store_url::StoreUrl,
};
use crate::{
    api::{Api, ApiLimits},
    clock::SharedClock,
    edge::{
        SystemClock,
        grpc::{BindError, Listener, ServeError, ServeOptions},
    },
    error::{ApiError, Reason},
    rng::Rng,
    scheduler::{Scheduler, SchedulerOptions, StartError},
    store::{
        Database,
        embedded::{EmbeddedEngine, EmbeddedOptions, OpenError},
        fdb,
        memory::MemoryEngine,
        metrics,
        remote::{ConnectError, RemoteEngine, RemoteOptions},
    },
};

/// Calls that are still open get this long after the drain.
const CALLS_DRAIN_MAX: Duration = Duration::from_secs(2);

/// Settings of a server.
#[derive(Clone, Debug)]
pub struct ServerOptions {
    /// Where it listens. Port 0 takes any free port.
    pub listen: SocketAddr,
    /// Where its state is kept.
    pub store: StoreUrl,
    /// Of its scheduler.
    pub scheduler: SchedulerOptions,
    /// How long a shutdown waits for attempts that run.
    pub drain_max: Duration,
}

/// Why a server did not start. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The address cannot be listened on.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The data directory cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// No remote store answers.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// No deployment on FoundationDB can be opened.
    #[error(transparent)]
    FoundationDb(#[from] fdb::OpenError),
    /// The scheduler did not start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// A part of it ended that cannot be missed; the log says why.
    #[error("a part of the server has failed; the log says why")]
    Broken,
    /// The server stopped by itself.
    #[error(transparent)]
    Serve(#[from] ServeError),
}

impl ServerError {
    /// The stable code that goes with it.
    pub fn reason(&self) -> Reason {
        match self {
            Self::Bind(error) => error.kind.reason(),
            Self::Open(OpenError::Locked { .. }) => Reason::DataDirLocked,
            Self::Open(OpenError::FormatTooNew { .. }) => Reason::DataFormatNewer,
            Self::Open(error) if error.is_storage_full() => Reason::StorageFull,
            Self::Open(_) => Reason::DataDirUnusable,
            Self::Connect(_) => Reason::StoreUnreachable,
            Self::FoundationDb(error) => error.reason(),
            Self::Start(StartError::Option(_) | StartError::Shards { .. }) => Reason::ConfigInvalid,
            Self::Start(StartError::FormatTooNew(_)) => Reason::DataFormatNewer,
            Self::Start(StartError::Held { .. } | StartError::Overtaken) => Reason::StoreInUse,
            Self::Start(StartError::Store(_)) => Reason::StoreUnavailable,
            Self::Broken | Self::Serve(_) => Reason::Internal,
        }
    }
}

impl From<ServerError> for ApiError {
    fn from(error: ServerError) -> Self {
        Self::new(error.reason(), error.to_string())
    }
}

/// A running server.
#[derive(Debug)]
pub struct ServerHandle {
    address: SocketAddr,
    scheduler: Scheduler,
    engine: Option<Arc<EmbeddedEngine>>,
    drain_max: Duration,
    stop: oneshot::Sender<()>,
    serving: JoinHandle<Result<(), ServeError>>,
}

/// Starts a server on the machine's clock and chance.
///
/// # Errors
/// See [`ServerError`]. The address is bound before the store is opened, so a server that is
/// started twice changes nothing.
pub async fn start(options: ServerOptions) -> Result<ServerHandle, ServerError> {
    start_with(options, Arc::new(SystemClock::with_kernel()), Rng::from_entropy()).await
}

/// Starts a server on this clock and these random bits.
///
/// # Errors
/// As [`start`].
pub async fn start_with(options: ServerOptions, clock: SharedClock, rng: Rng) -> Result<ServerHandle, ServerError> {
    options.scheduler.validate().map_err(StartError::from)?;
    let listener = Listener::bind(options.listen).await?;
    let (db, engine) = open_store(&options.store, &clock, &rng).await?;
    let mut handle = start_on(listener, db, options, clock, rng).await?;
    handle.engine = engine;
    Ok(handle)
}

/// Starts a server on a database that is open already. [`ServerOptions::store`] is not looked at.
///
/// # Errors
/// As [`start`].
pub async fn start_on(
    listener: Listener,
    db: Database,
    mut options: ServerOptions,
    clock: SharedClock,
    rng: Rng,
) -> Result<ServerHandle, ServerError> {
    let address = listener.address();
    options.scheduler.address = address.to_string();
    let limits = ApiLimits { payload_bytes_max: options.scheduler.payload_bytes_max };
    let scheduler = Scheduler::start(db.clone(), Arc::clone(&clock), rng.clone(), options.scheduler).await?;
    let api = Api::new(Arc::new(scheduler.clone()), Arc::clone(&clock), rng, limits);
    let (stop, stopped) = oneshot::channel::<()>();
    let serve = ServeOptions { clock: Arc::clone(&clock), drain_max: CALLS_DRAIN_MAX };
    let worker = scheduler.clone();
    let serving = tokio::spawn(async move {
        let stopped = async move { drop(stopped.await) };
        tokio::select! {
            biased;
            served = listener.serve(api, worker, serve, stopped) => served.map(drop),
            () = metrics::log(&db, &clock) => Ok(()),
        }
    });
    tracing::info!(%address, "serving");
    Ok(ServerHandle { address, scheduler, engine: None, drain_max: options.drain_max, stop, serving })
}

/// Opens the store that a URL names.
///
/// # Errors
/// When the data directory cannot be opened, or no store answers in time.
async fn open_store(
    url: &StoreUrl,
    clock: &SharedClock,
    rng: &Rng,
) -> Result<(Database, Option<Arc<EmbeddedEngine>>), ServerError> {
    match url {
        StoreUrl::Memory => {
            let engine = Arc::new(MemoryEngine::new(Arc::clone(clock)));
            Ok((Database::over(engine, Arc::clone(clock), rng.clone()), None))
        }
        StoreUrl::Embedded(dir) => {
            let engine = EmbeddedEngine::open(dir, EmbeddedOptions::default(), Arc::clone(clock))?;
            let engine = Arc::new(engine);
            let db = Database::over(Arc::clone(&engine) as _, Arc::clone(clock), rng.clone());
            Ok((db, Some(engine)))
        }
        StoreUrl::Remote(address) => {
            let options = RemoteOptions::default();
            let engine = RemoteEngine::connect(address, options, Arc::clone(clock), rng.clone()).await?;
            Ok((Database::over(Arc::new(engine), Arc::clone(clock), rng.clone()), None))
        }
        StoreUrl::FoundationDb(options) => Ok((fdb::open(options, Arc::clone(clock)).await?, None)),
    }
}

impl ServerHandle {
    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Its scheduler.
    pub fn scheduler(&self) -> &Scheduler {
        &self.scheduler
    }

    /// Stops in order: nothing more is fired, what runs gets [`ServerOptions::drain_max`] to
    /// come back, calls are finished, the store is closed.
    ///
    /// # Errors
    /// When the server had stopped by itself.
    pub async fn shutdown(self) -> Result<(), ServerError> {
        self.scheduler.drain(self.drain_max).await;
        let _ = self.stop.send(());
        let served = self.serving.await.unwrap_or(Ok(()));
        if let Some(engine) = self.engine {
            engine.close();
        }
        served.map_err(ServerError::from)
    }

    /// Resolves when the server stops by itself, which it should not.
    ///
    /// # Errors
    /// Why it stopped.
    pub async fn stopped(&mut self) -> Result<(), ServerError> {
        tokio::select! {
            biased;
            served = &mut self.serving => match served {
                Ok(served) => served.map_err(ServerError::from),
                Err(_) => Err(ServerError::Broken),
            },
            () = self.scheduler.ended() => Err(ServerError::Broken),
        }
    }
}

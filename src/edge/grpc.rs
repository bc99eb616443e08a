//! The gRPC server at its edge: a listening socket, the services, health and reflection, and an
//! orderly end.
//!
//! Binding comes first and by itself, so that a port that is in use is told before anything else
//! starts, and so that port 0 tells which port it became. The simulated network has neither a
//! listening socket of its own nor health and reflection; there, binding only notes the address.

use std::{fmt, io, net::SocketAddr, time::Duration};

use escapement_proto::v1::{
    admin_service_server::AdminServiceServer, schedule_service_server::ScheduleServiceServer,
    task_service_server::TaskServiceServer, worker_service_server::WorkerService,
    worker_service_server::WorkerServiceServer,
};

use crate::{
    api::{Api, Backend},
    clock::SharedClock,
    error::{ApiError, Reason},
};

/// The address cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {kind}")]
pub struct BindError {
    /// What was asked for.
    pub address: SocketAddr,
    /// Why not.
    pub kind: BindErrorKind,
    /// As the operating system tells it.
    #[source]
    pub source: io::Error,
}

/// Why an address cannot be listened on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BindErrorKind {
    /// Another process listens there.
    InUse,
    /// The port is reserved for privileged processes.
    Forbidden,
    /// The address is not one of this machine's.
    NotOurs,
    /// Something else; see the source.
    Other,
}

impl BindErrorKind {
    /// The stable code that goes with it.
    pub fn reason(self) -> Reason {
        match self {
            Self::InUse => Reason::AddressInUse,
            Self::Forbidden | Self::NotOurs | Self::Other => Reason::AddressUnusable,
        }
    }
}

impl fmt::Display for BindErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::InUse => "another process is listening there",
            Self::Forbidden => "this process may not use that port",
            Self::NotOurs => "this machine has no such address",
            Self::Other => "the operating system refuses it",
        })
    }
}

impl BindError {
    fn new(address: SocketAddr, source: io::Error) -> Self {
        let kind = match source.kind() {
            io::ErrorKind::AddrInUse => BindErrorKind::InUse,
            io::ErrorKind::PermissionDenied => BindErrorKind::Forbidden,
            io::ErrorKind::AddrNotAvailable => BindErrorKind::NotOurs,
            _ => BindErrorKind::Other,
        };
        Self { address, kind, source }
    }
}

impl From<BindError> for ApiError {
    fn from(error: BindError) -> Self {
        Self::new(error.kind.reason(), error.to_string()).with_metadata("address", error.address.to_string())
    }
}

/// The server stopped before it was told to.
#[derive(Debug, thiserror::Error)]
#[error("the gRPC server on {address} stopped")]
pub struct ServeError {
    /// Where it listened.
    pub address: SocketAddr,
    /// Why it stopped.
    #[source]
    pub source: tonic::transport::Error,
}

/// How the server ends.
#[derive(Clone, Debug)]
pub struct ServeOptions {
    /// Waits for the drain.
    pub clock: SharedClock,
    /// After the shutdown signal, calls that are still open get so long to finish; then they
    /// are left behind, to end with the process.
    pub drain_max: Duration,
}

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drained {
    /// Every call had finished.
    Complete,
    /// Some were still open after `drain_max`.
    LeftOpen,
}

#[cfg(not(madsim))]
pub(super) mod runtime {
    use tokio::net::TcpListener;
    use tonic::{
        service::Routes,
        transport::{Server, server::TcpIncoming},
    };

    use super::*;

    // Twice per lease at the least: a dead peer's streams are noticed, and their memory freed,
    // even when its machine vanished without a word.
    pub(in crate::edge) const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
    pub(in crate::edge) const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);

    /// A socket that listens; connections wait in its backlog until [`Listener::serve`].
    #[derive(Debug)]
    pub struct Listener {
        pub(in crate::edge) socket: TcpListener,
        pub(in crate::edge) address: SocketAddr,
    }

    impl Listener {
        /// Port 0 takes any free port; [`Listener::address`] tells which.
        ///
        /// # Errors
        /// When the address cannot be listened on.
        pub async fn bind(address: SocketAddr) -> Result<Self, BindError> {
            let error = |source| BindError::new(address, source);
            let socket = TcpListener::bind(address).await.map_err(error)?;
            let address = socket.local_addr().map_err(error)?;
            Ok(Self { socket, address })
        }

        /// Where it listens.
        pub fn address(&self) -> SocketAddr {
            self.address
        }

        /// Serves until `shutdown` resolves, then refuses new calls and waits for the open ones.
        ///
        /// # Errors
        /// When the server stops by itself.
        pub async fn serve<B: Backend, W: WorkerService>(
            self,
            api: Api<B>,
            worker: W,
            options: ServeOptions,
            shutdown: impl Future<Output = ()> + Send,
        ) -> Result<Drained, ServeError> {
            let Self { socket, address } = self;
            let (health, routes) = routes(&api, worker).await;
            // One signal ends the accepting of connections and starts the clock of the drain.
            let (stop, stopped) = tokio::sync::watch::channel(false);
            let mut accepting = stopped.clone();
            let server = Server::builder()
                .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
                .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
                .add_routes(routes)
                .serve_with_incoming_shutdown(TcpIncoming::from(socket).with_nodelay(Some(true)), async move {
                    let _ = accepting.wait_for(|stop| *stop).await;
                });
            let drain_over = async move {
                shutdown.await;
                health.shut_down().await;
                stop.send_replace(true);
                options.clock.sleep(options.drain_max).await;
                // Held until here: a sender that is gone would read as the signal.
                drop(stop);
            };
            let ended = tokio::select! {
                biased;
                ended = server => ended.map(|()| Drained::Complete),
                () = drain_over => Ok(Drained::LeftOpen),
            };
            drop(stopped);
            ended.map_err(|source| ServeError { address, source })
        }
    }

    /// What load balancers ask.
    struct Health(tonic_health::server::HealthReporter);

    impl Health {
        async fn shut_down(&self) {
            for service in ["", "escapement.v1.TaskService", "escapement.v1.ScheduleService"]
                .into_iter()
                .chain(["escapement.v1.WorkerService", "escapement.v1.AdminService"])
            {
                self.0.set_service_status(service, tonic_health::ServingStatus::NotServing).await;
            }
        }
    }

    async fn routes<B: Backend, W: WorkerService>(api: &Api<B>, worker: W) -> (Health, Routes) {
        let bytes_max = api.limits().request_bytes_max();
        let (reporter, health) = tonic_health::server::health_reporter();
        reporter.set_service_status("", tonic_health::ServingStatus::Serving).await;
        reporter.set_serving::<TaskServiceServer<crate::api::TaskServiceImpl<B>>>().await;
        reporter.set_serving::<ScheduleServiceServer<crate::api::ScheduleServiceImpl<B>>>().await;
        reporter.set_serving::<AdminServiceServer<crate::api::AdminServiceImpl<B>>>().await;
        reporter.set_serving::<WorkerServiceServer<W>>().await;
        let reflection = || {
            tonic_reflection::server::Builder::configure()
                .register_encoded_file_descriptor_set(escapement_proto::FILE_DESCRIPTOR_SET)
                .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        };
        let routes = Routes::new(health)
            .add_service(reflection().build_v1().expect("the descriptors were compiled with this program"))
            .add_service(reflection().build_v1alpha().expect("the descriptors were compiled with this program"))
            .add_service(TaskServiceServer::new(api.task_service()).max_decoding_message_size(bytes_max))
            .add_service(ScheduleServiceServer::new(api.schedule_service()).max_decoding_message_size(bytes_max))
            .add_service(AdminServiceServer::new(api.admin_service()))
            .add_service(WorkerServiceServer::new(worker).max_decoding_message_size(bytes_max));
        (Health(reporter), routes)
    }
}

#[cfg(madsim)]
mod runtime {
    use tonic::transport::Server;

    use super::*;

    /// An address of the simulated network.
    #[derive(Debug)]
    pub struct Listener {
        pub(in crate::edge) address: SocketAddr,
    }

    impl Listener {
        /// The simulated network binds when it serves: a port that is in use ends
        /// [`Listener::serve`] there. Port 0 is refused, as no one would learn what it became.
        ///
        /// # Errors
        /// When the port is 0.
        #[expect(clippy::unused_async, reason = "the real one waits")]
        pub async fn bind(address: SocketAddr) -> Result<Self, BindError> {
            if address.port() == 0 {
                return Err(BindError::new(address, io::ErrorKind::InvalidInput.into()));
            }
            Ok(Self { address })
        }

        /// Where it listens.
        pub fn address(&self) -> SocketAddr {
            self.address
        }

        /// Serves until `shutdown` resolves. The simulated server stops accepting at once, and
        /// its open calls run on by themselves for `drain_max`.
        ///
        /// # Errors
        /// When the server stops by itself.
        pub async fn serve<B: Backend, W: WorkerService>(
            self,
            api: Api<B>,
            worker: W,
            options: ServeOptions,
            shutdown: impl Future<Output = ()> + Send,
        ) -> Result<Drained, ServeError> {
            let Self { address } = self;
            let ended = Server::builder()
                .add_service(TaskServiceServer::new(api.task_service()))
                .add_service(ScheduleServiceServer::new(api.schedule_service()))
                .add_service(AdminServiceServer::new(api.admin_service()))
                .add_service(WorkerServiceServer::new(worker))
                .serve_with_shutdown(address, shutdown)
                .await;
            ended.map_err(|source| ServeError { address, source })?;
            options.clock.sleep(options.drain_max).await;
            Ok(Drained::LeftOpen)
        }
    }
}

pub use runtime::Listener;

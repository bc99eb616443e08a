//! The services over a backend in memory, called through gRPC on loopback.

mod fake;
mod lifecycle;
mod services;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use escapement_engine::{Monotonic, Timestamp};
use escapement_proto::v1::{
    self, admin_service_client::AdminServiceClient, schedule_service_client::ScheduleServiceClient,
    task_service_client::TaskServiceClient, worker_service_server::WorkerService,
};
use futures_util::{
    FutureExt as _, StreamExt as _,
    future::BoxFuture,
    stream::{self, BoxStream},
};
use tokio::sync::oneshot;
use tonic::{Request, Response, Status, Streaming, transport::Channel};

use self::fake::Fake;
use super::grpc::{Drained, Listener, ServeError, ServeOptions};
use crate::{
    api::{Api, ApiLimits, tests::NOW},
    clock::{Clock, SharedClock},
    error::ApiError,
    rng::Rng,
};

#[derive(Debug)]
struct FixedClock;

impl Clock for FixedClock {
    fn now(&self) -> Timestamp {
        NOW
    }

    fn monotonic(&self) -> Monotonic {
        Monotonic::ZERO
    }

    fn sleep(&self, span: Duration) -> BoxFuture<'static, ()> {
        // Only a drain of no time is ever over.
        if span.is_zero() { std::future::ready(()).boxed() } else { std::future::pending().boxed() }
    }
}

/// Takes no workers.
#[derive(Debug)]
struct NoWorkers;

#[tonic::async_trait]
impl WorkerService for NoWorkers {
    type SessionStream = BoxStream<'static, Result<v1::ServerMessage, Status>>;

    async fn session(
        &self,
        _request: Request<Streaming<v1::WorkerMessage>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        Ok(Response::new(stream::pending().boxed()))
    }
}

/// A server on loopback.
struct Server {
    address: SocketAddr,
    backend: Arc<Fake>,
    channel: Channel,
    stop: Option<oneshot::Sender<()>>,
    running: tokio::task::JoinHandle<Result<Drained, ServeError>>,
}

impl Server {
    async fn start(limits: ApiLimits) -> Self {
        Self::start_with_drain(limits, Duration::from_secs(60)).await
    }

    /// With a drain of zero, open calls are left behind at once; any other waits for them.
    async fn start_with_drain(limits: ApiLimits, drain_max: Duration) -> Self {
        let backend = Arc::new(Fake::default());
        let clock: SharedClock = Arc::new(FixedClock);
        let api = Api::new(backend.clone(), clock.clone(), Rng::from_seed(1), limits);
        let listener = Listener::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = listener.address();
        let (stop, stopped) = oneshot::channel();
        let stopped = stopped.map(|_| ());
        let running = tokio::spawn(listener.serve(api, NoWorkers, ServeOptions { clock, drain_max }, stopped));
        let channel = Channel::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap();
        Self { address, backend, channel, stop: Some(stop), running }
    }

    fn channel(&self) -> Channel {
        self.channel.clone()
    }

    fn tasks(&self) -> TaskServiceClient<Channel> {
        TaskServiceClient::new(self.channel()).max_encoding_message_size(usize::MAX)
    }

    fn schedules(&self) -> ScheduleServiceClient<Channel> {
        ScheduleServiceClient::new(self.channel())
    }

    fn admin(&self) -> AdminServiceClient<Channel> {
        AdminServiceClient::new(self.channel())
    }

    fn signal_stop(&mut self) {
        self.stop.take().expect("stopped once").send(()).unwrap();
    }

    /// Hangs up, unless a call is still open, and waits for the server to end.
    async fn ended(self) -> Drained {
        drop(self.channel);
        self.running.await.unwrap().unwrap()
    }
}

fn reason<T: std::fmt::Debug>(result: Result<T, Status>) -> ApiError {
    ApiError::from_status(&result.unwrap_err())
}

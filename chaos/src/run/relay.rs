//! A wrapper of the client's own stubs, between a client and one server: calls pass through
//! it, and take longer, arrive twice, or lose their answer. The simulated network does none of
//! that by itself. It stands on the client's node, so partitions strike behind it.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use escapement::{edge::net, rng::Rng};
use escapement_proto::v1::{
    self,
    schedule_service_client::ScheduleServiceClient,
    schedule_service_server::{ScheduleService, ScheduleServiceServer},
    task_service_client::TaskServiceClient,
    task_service_server::{TaskService, TaskServiceServer},
};
use escapement_sim::fork;
use futures_util::stream::BoxStream;
use madsim::time::sleep;
use tonic::{Request, Response, Status, transport::Channel};

use crate::nemesis::Nemesis;

/// Whoever waits for an answer that was lost gives up before this.
const LOST: Duration = Duration::from_secs(60);

/// Whether this fault is one that a relay does.
pub(super) fn is_meddling(fault: &Nemesis) -> bool {
    matches!(fault, Nemesis::SlowLink { .. } | Nemesis::DuplicateCalls { .. } | Nemesis::LostAnswers { .. })
}

/// Whether this fault is one that a worker's relay does.
pub(super) fn is_breaking(fault: &Nemesis) -> bool {
    matches!(fault, Nemesis::LoseReports { .. } | Nemesis::LoseOrders { .. } | Nemesis::RepeatReports { .. })
}

/// What all relays do to the calls that pass through them.
#[derive(Debug)]
pub(super) struct Meddling {
    rng: Rng,
    /// For the streams of workers.
    streams: Rng,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    duplicates_ppm: u32,
    lost_ppm: u32,
    lost_reports_ppm: u32,
    lost_orders_ppm: u32,
    repeats_ppm: u32,
    slow_ms: BTreeMap<(String, String), u64>,
    hits: BTreeMap<&'static str, u64>,
}

/// What is to be done to one call.
#[derive(Clone, Copy, Debug)]
struct Fate {
    slow: Duration,
    twice: bool,
    lost: bool,
}

impl Meddling {
    pub(super) fn new(seed: u64) -> Self {
        Self { rng: fork(seed, "relays"), streams: fork(seed, "streams"), state: Mutex::default() }
    }

    /// From now on these faults are going on.
    pub(super) fn set<'a>(&self, active: impl Iterator<Item = &'a Nemesis>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        *state = State { hits: std::mem::take(&mut state.hits), ..State::default() };
        for fault in active {
            match fault {
                Nemesis::DuplicateCalls { ppm } => state.duplicates_ppm = state.duplicates_ppm.max(*ppm),
                Nemesis::LostAnswers { ppm } => state.lost_ppm = state.lost_ppm.max(*ppm),
                Nemesis::LoseReports { ppm } => state.lost_reports_ppm = state.lost_reports_ppm.max(*ppm),
                Nemesis::LoseOrders { ppm } => state.lost_orders_ppm = state.lost_orders_ppm.max(*ppm),
                Nemesis::RepeatReports { ppm } => state.repeats_ppm = state.repeats_ppm.max(*ppm),
                Nemesis::SlowLink { from, to, ms } => drop(state.slow_ms.insert((from.clone(), to.clone()), *ms)),
                _ => {}
            }
        }
    }

    /// How often each was done.
    pub(super) fn hits(&self) -> BTreeMap<&'static str, u64> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).hits.clone()
    }

    /// Whether a worker's stream breaks at this message of the worker.
    pub(super) fn loses_report(&self) -> bool {
        self.strikes("lost-report", |state| state.lost_reports_ppm)
    }

    /// Whether it breaks at this message of the server, whose loss has this name.
    pub(super) fn loses_order(&self, name: &'static str) -> bool {
        self.strikes(name, |state| state.lost_orders_ppm)
    }

    /// Whether this message of a worker arrives twice.
    pub(super) fn repeats_report(&self) -> bool {
        self.strikes("repeated-report", |state| state.repeats_ppm)
    }

    fn strikes(&self, name: &'static str, ppm: impl Fn(&State) -> u32) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let struck = self.streams.u32() % 1_000_000 < ppm(&state);
        if struck {
            *state.hits.entry(name).or_default() += 1;
        }
        struck
    }

    fn fate(&self, from: &str, to: &str) -> Fate {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let strikes = |ppm| self.rng.u32() % 1_000_000 < ppm;
        let (twice, lost) = (strikes(state.duplicates_ppm), strikes(state.lost_ppm));
        let slow = state.slow_ms.get(&(from.to_owned(), to.to_owned())).copied().unwrap_or(0);
        for (name, hit) in [("duplicated-call", twice), ("lost-answer", lost), ("slow-call", slow > 0)] {
            if hit {
                *state.hits.entry(name).or_default() += 1;
            }
        }
        Fate { slow: Duration::from_millis(slow), twice, lost }
    }
}

/// One client's way to one server.
#[derive(Clone)]
pub(super) struct Relay {
    from: String,
    to: String,
    endpoint: String,
    meddling: Arc<Meddling>,
    channel: Arc<Mutex<Option<Channel>>>,
}

impl Relay {
    pub(super) fn new(from: &str, to: &str, endpoint: String, meddling: Arc<Meddling>) -> Self {
        Self { from: from.to_owned(), to: to.to_owned(), endpoint, meddling, channel: Arc::default() }
    }

    pub(super) async fn serve(self, listen: SocketAddr) {
        let server = tonic::transport::Server::builder()
            .add_service(TaskServiceServer::new(self.clone()))
            .add_service(ScheduleServiceServer::new(self));
        server.serve(listen).await.expect("the simulated network serves");
    }

    async fn channel(&self) -> Result<Channel, Status> {
        let known = self.channel.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(channel) = known {
            return Ok(channel);
        }
        let channel = net::connect(&self.endpoint).await.map_err(|error| Status::unavailable(error.to_string()))?;
        *self.channel.lock().unwrap_or_else(PoisonError::into_inner) = Some(channel.clone());
        Ok(channel)
    }

    /// Passes a call on.
    async fn pass<Q, A, F>(&self, request: Request<Q>, call: impl Fn(Channel, Q) -> F) -> Result<Response<A>, Status>
    where
        Q: Clone,
        F: Future<Output = Result<Response<A>, Status>>,
    {
        let (fate, request) = (self.meddling.fate(&self.from, &self.to), request.into_inner());
        sleep(fate.slow).await;
        let channel = self.channel().await?;
        let mut answer = call(channel.clone(), request.clone()).await;
        if fate.twice {
            // The second of them is what the caller hears: a network that says things twice
            // does not say which was first.
            answer = call(channel, request).await;
        }
        if answer.is_err() {
            *self.channel.lock().unwrap_or_else(PoisonError::into_inner) = None;
        }
        sleep(fate.slow).await;
        if fate.lost {
            sleep(LOST).await;
            return Err(Status::unavailable("the answer was lost"));
        }
        answer
    }
}

macro_rules! pass {
    ($service:ty { $($call:ident($request:ident) -> $answer:ident as $client:ident;)* } $($rest:tt)*) => {
        #[tonic::async_trait]
        impl $service for Relay {
            $(
                async fn $call(&self, request: Request<v1::$request>) -> Result<Response<v1::$answer>, Status> {
                    self.pass(request, |channel, request| async move { $client::new(channel).$call(request).await }).await
                }
            )*
            $($rest)*
        }
    };
}

pass! {
    ScheduleService {
        create(CreateScheduleRequest) -> CreateScheduleResponse as ScheduleServiceClient;
        get(GetScheduleRequest) -> GetScheduleResponse as ScheduleServiceClient;
        list(ListSchedulesRequest) -> ListSchedulesResponse as ScheduleServiceClient;
        pause(PauseScheduleRequest) -> PauseScheduleResponse as ScheduleServiceClient;
        resume(ResumeScheduleRequest) -> ResumeScheduleResponse as ScheduleServiceClient;
        delete(DeleteScheduleRequest) -> DeleteScheduleResponse as ScheduleServiceClient;
        trigger(TriggerScheduleRequest) -> TriggerScheduleResponse as ScheduleServiceClient;
        preview(PreviewScheduleRequest) -> PreviewScheduleResponse as ScheduleServiceClient;
    }
}

pass! {
    TaskService {
        submit(SubmitRequest) -> SubmitResponse as TaskServiceClient;
        submit_batch(SubmitBatchRequest) -> SubmitBatchResponse as TaskServiceClient;
        get(GetTaskRequest) -> GetTaskResponse as TaskServiceClient;
        list(ListTasksRequest) -> ListTasksResponse as TaskServiceClient;
        cancel(CancelTaskRequest) -> CancelTaskResponse as TaskServiceClient;
    }

    type WatchStream = BoxStream<'static, Result<v1::WatchTaskResponse, Status>>;

    async fn watch(&self, _: Request<v1::WatchTaskRequest>) -> Result<Response<Self::WatchStream>, Status> {
        Err(Status::unavailable("no client of a run watches"))
    }
}

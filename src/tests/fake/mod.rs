//! A server with canned answers, on a loopback port of its own.

mod services;

use std::{
    collections::VecDeque,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use escapement::{
    client::proto as v1,
    error::{ApiError, Reason},
};
use futures_util::stream;
use tokio::net::TcpListener;
use tonic::{Status, transport::Server};

pub(crate) use services::schedule;

/// What a test prepares and looks at.
#[derive(Debug, Default)]
pub(crate) struct Script {
    /// Calls that come next fail with these, in their order, before any is answered.
    pub(crate) faults: VecDeque<Status>,
    /// Tasks that exist.
    pub(crate) tasks: Vec<v1::Task>,
    /// Schedules that exist.
    pub(crate) schedules: Vec<v1::Schedule>,
    /// What each watch that is opened sends until it breaks.
    pub(crate) watches: VecDeque<Vec<v1::WatchTaskResponse>>,
    /// Specifications of all submissions, those included that failed.
    pub(crate) submitted: Vec<v1::TaskSpec>,
    /// Specifications of all schedules that were to be created.
    pub(crate) created: Vec<v1::ScheduleSpec>,
    /// Names of all calls, in their order.
    pub(crate) calls: Vec<&'static str>,
}

/// The server. Its runtime, and the port, end with it.
#[derive(Clone, Debug)]
pub(crate) struct Fake {
    pub(crate) script: Arc<Mutex<Script>>,
    pub(crate) address: SocketAddr,
}

impl Fake {
    /// Starts to serve on the current runtime.
    pub(crate) async fn start(script: Script) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let fake = Self { script: Arc::new(Mutex::new(script)), address };
        let incoming = stream::unfold(listener, async |listener| {
            let accepted = listener.accept().await.map(|(socket, _)| socket);
            Some((accepted, listener))
        });
        let router = Server::builder()
            .add_service(v1::task_service_server::TaskServiceServer::new(fake.clone()))
            .add_service(v1::schedule_service_server::ScheduleServiceServer::new(fake.clone()))
            .add_service(v1::admin_service_server::AdminServiceServer::new(fake.clone()));
        tokio::spawn(async move { router.serve_with_incoming(Box::pin(incoming)).await.unwrap() });
        fake
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Notes the call; answers with the next fault, if there is one.
    fn take(&self, call: &'static str) -> Result<(), Status> {
        let mut script = self.script.lock().unwrap();
        script.calls.push(call);
        script.faults.pop_front().map_or(Ok(()), Err)
    }

    pub(crate) fn calls(&self) -> Vec<&'static str> {
        self.script.lock().unwrap().calls.clone()
    }
}

pub(crate) fn refusal(reason: Reason, message: &str) -> Status {
    ApiError::new(reason, message).into()
}

pub(crate) fn at(text: &str) -> Option<prost_types::Timestamp> {
    Some(text.parse().unwrap())
}

pub(crate) fn seconds(seconds: i64) -> Option<prost_types::Duration> {
    Some(prost_types::Duration { seconds, nanos: 0 })
}

/// A task that waits; `n` is the end of its id.
pub(crate) fn task(n: u32) -> v1::Task {
    v1::Task {
        id: format!("01939f00-0000-7000-8000-{n:012}"),
        namespace: "default".into(),
        queue: "exec".into(),
        due_at: at("2026-11-24T12:00:02Z"),
        priority: v1::Priority::Medium.into(),
        retry: Some(v1::RetryPolicy {
            max_attempts: 5,
            initial_backoff: seconds(1),
            backoff_multiplier: 2.0,
            max_backoff: seconds(300),
            jitter: Some(0.2),
            non_retryable_errors: vec![],
        }),
        attempt_timeout: seconds(60),
        state: v1::TaskState::Scheduled.into(),
        submitted_at: at("2026-11-24T12:00:00Z"),
        ..Default::default()
    }
}

/// The attempt that runs, or ran, of a task.
pub(crate) fn attempt(number: u32) -> v1::Attempt {
    v1::Attempt {
        number,
        token: u64::from(number) + 6,
        session_id: "01939f00-0000-7000-9000-000000000001".into(),
        worker_name: "worker-1".into(),
        started_at: at(&format!("2026-11-24T12:00:{:02}.001Z", number * 2)),
        ..Default::default()
    }
}

/// A task that ran once and succeeded, with this result.
pub(crate) fn succeeded(n: u32, result: v1::Payload) -> v1::Task {
    let ran = v1::Attempt {
        ended_at: at("2026-11-24T12:00:02.008Z"),
        outcome: v1::AttemptOutcome::Succeeded.into(),
        ..attempt(1)
    };
    v1::Task {
        state: v1::TaskState::Succeeded.into(),
        finished_at: at("2026-11-24T12:00:02.008Z"),
        attempt_count: 1,
        attempts: vec![ran],
        result: Some(result),
        ..task(n)
    }
}

pub(crate) fn payload(text: &str, content_type: &str) -> v1::Payload {
    v1::Payload { data: text.to_owned().into(), content_type: content_type.into(), ..Default::default() }
}

//! Worker and client as processes of their own.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use clap::Args;
use escapement::{
    edge::{net, signal::shutdown_signal},
    rng::Rng,
    worker::{Context, Output, Worker},
};
use escapement_proto::v1::{Payload, StatusRequest, TaskSpec, admin_service_client::AdminServiceClient};

use crate::submit::Batches;

const QUEUE: &str = "bench";
/// How often the client looks at the backlog.
const LOOK_EACH: Duration = Duration::from_millis(20);

/// Settings of a worker process.
#[derive(Args, Clone, Debug)]
pub(crate) struct WorkerOptions {
    #[arg(long)]
    pub(super) endpoint: String,
    #[arg(long)]
    pub(super) concurrency: u32,
}

/// Runs a worker whose handler does nothing, until it is told to end.
pub(crate) async fn work(options: WorkerOptions) -> Result<(), String> {
    let worker = Worker::builder(&options.endpoint)
        .name("bench")
        .concurrency(options.concurrency)
        .queue(QUEUE, |_: Context| async { Ok(Output::empty()) })
        .build()
        .map_err(|error| error.to_string())?
        .start();
    println!("ready");
    shutdown_signal().await;
    worker.drain().await.map(drop).map_err(|error| error.to_string())
}

/// Settings of a client process.
#[derive(Args, Clone, Debug)]
pub(crate) struct ClientOptions {
    #[arg(long)]
    pub(super) endpoint: String,
    #[arg(long)]
    pub(super) batch: u64,
    #[arg(long)]
    pub(super) callers: u64,
    #[arg(long)]
    pub(super) payload: usize,
    /// Tasks that may wait or run at once.
    #[arg(long)]
    pub(super) window: u64,
    /// Tasks in all.
    #[arg(long)]
    pub(super) count: u64,
}

/// Submits tasks that are due at once, as fast as they are taken and run, until all are in.
pub(crate) async fn submit(options: ClientOptions) -> Result<(), String> {
    let channel = net::connect(&options.endpoint).await.map_err(|error| error.to_string())?;
    let backlog = Arc::new(AtomicU64::new(0));
    let seen = Arc::clone(&backlog);
    let mut admin = AdminServiceClient::new(channel);
    let look = async move {
        loop {
            let status = admin.status(StatusRequest {}).await.map_err(|status| status.to_string())?.into_inner();
            seen.store(status.tasks_submitted.saturating_sub(status.completions_accepted), Ordering::Relaxed);
            tokio::time::sleep(LOOK_EACH).await;
        }
    };
    println!("ready");
    let rng = Rng::from_entropy();
    let data = bytes::Bytes::from(vec![b'x'; options.payload]);
    let make = move |_| TaskSpec {
        id: rng.task_id(escapement_engine::Timestamp::from_unix_ms(now_ms())).to_string(),
        queue: QUEUE.to_owned(),
        payload: (!data.is_empty()).then(|| Payload { data: data.clone(), ..Payload::default() }),
        ..TaskSpec::default()
    };
    let window = options.window;
    let gate = move || {
        let backlog = Arc::clone(&backlog);
        async move {
            while backlog.load(Ordering::Relaxed) >= window {
                tokio::time::sleep(LOOK_EACH / 10).await;
            }
            Ok(())
        }
    };
    let batches = Batches { endpoint: options.endpoint, batch: options.batch, callers: options.callers };
    tokio::select! {
        biased;
        done = batches.submit(options.count, make, gate) => done,
        failed = look => failed,
    }
}

fn now_ms() -> i64 {
    let since = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

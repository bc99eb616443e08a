//! `escapement status`.

use serde::Serialize;

use super::{
    Context,
    error::CliError,
    output::{fields, indented, table},
    view::instant,
};
use crate::client::proto as v1;

#[derive(Serialize)]
struct StatusView {
    version: String,
    started_at: Option<String>,
    now: Option<String>,
    store: String,
    format_version: u32,
    scheduler_session: String,
    shards_owned: u32,
    shards_total: u32,
    wheel_entries: u64,
    schedules_active: u64,
    tasks_submitted: u64,
    attempts_started: u64,
    completions_accepted: u64,
    completions_refused: u64,
    attempts_expired: u64,
    store_transactions: u64,
    store_conflicts: u64,
    queues: Vec<QueueView>,
    workers: Vec<WorkerView>,
}

#[derive(Serialize)]
struct QueueView {
    namespace: String,
    queue: String,
    ready: u64,
    ready_beyond: bool,
    running: u64,
    workers: u64,
}

#[derive(Serialize)]
struct WorkerView {
    session_id: String,
    worker_name: String,
    namespace: String,
    queues: Vec<String>,
    running: u64,
    credits_free: u64,
    connected_at: Option<String>,
}

impl From<v1::StatusResponse> for StatusView {
    fn from(status: v1::StatusResponse) -> Self {
        let queues = status.queues.into_iter().map(|queue| QueueView {
            namespace: queue.namespace,
            queue: queue.queue,
            ready: queue.ready,
            ready_beyond: queue.ready_beyond,
            running: queue.running,
            workers: queue.workers,
        });
        let workers = status.workers.into_iter().map(|worker| WorkerView {
            session_id: worker.session_id,
            worker_name: worker.worker_name,
            namespace: worker.namespace,
            queues: worker.queues,
            running: worker.running,
            credits_free: worker.credits_free,
            connected_at: instant(worker.connected_at),
        });
        Self {
            version: status.version,
            started_at: instant(status.started_at),
            now: instant(status.now),
            store: status.store,
            format_version: status.format_version,
            scheduler_session: status.scheduler_session,
            shards_owned: status.shards_owned,
            shards_total: status.shards_total,
            wheel_entries: status.wheel_entries,
            schedules_active: status.schedules_active,
            tasks_submitted: status.tasks_submitted,
            attempts_started: status.attempts_started,
            completions_accepted: status.completions_accepted,
            completions_refused: status.completions_refused,
            attempts_expired: status.attempts_expired,
            store_transactions: status.store_transactions,
            store_conflicts: status.store_conflicts,
            queues: queues.collect(),
            workers: workers.collect(),
        }
    }
}

pub(super) async fn run(context: &Context) -> Result<u8, CliError> {
    let client = context.client()?;
    let view = StatusView::from(client.status().await?);
    if context.ui.is_json() {
        context.ui.print_json(&view);
    } else {
        context.ui.print(describe(client.endpoint(), view));
    }
    Ok(0)
}

fn describe(endpoint: &str, view: StatusView) -> String {
    let counted = |count: u64| Some(count.to_string());
    let mut parts = vec![fields([
        ("server", Some(endpoint.to_owned())),
        ("version", Some(view.version)),
        ("started", view.started_at),
        ("clock", view.now),
        ("store", Some(format!("{}, format {}", view.store, view.format_version))),
        ("scheduler", Some(view.scheduler_session)),
        ("shards", Some(format!("{} of {}", view.shards_owned, view.shards_total))),
        ("tasks in memory", counted(view.wheel_entries)),
        ("active schedules", counted(view.schedules_active)),
        ("tasks submitted", counted(view.tasks_submitted)),
        ("attempts started", counted(view.attempts_started)),
        ("completions", Some(format!("{} accepted, {} refused", view.completions_accepted, view.completions_refused))),
        ("attempts expired", counted(view.attempts_expired)),
        ("transactions", Some(format!("{}, {} conflicts", view.store_transactions, view.store_conflicts))),
    ])];
    let queues = view.queues.into_iter().map(|queue| {
        let ready = if queue.ready_beyond { format!("{} and more", queue.ready) } else { queue.ready.to_string() };
        [queue.namespace, queue.queue, ready, queue.running.to_string(), queue.workers.to_string()]
    });
    let queues: Vec<_> = queues.collect();
    if !queues.is_empty() {
        let table = table(Some(["NAMESPACE", "QUEUE", "READY", "RUNNING", "WORKERS"]), queues);
        parts.push(format!("queues\n{}", indented(&table)));
    }
    let workers = view.workers.into_iter().map(|worker| {
        let (running, free) = (worker.running.to_string(), worker.credits_free.to_string());
        let since = worker.connected_at.unwrap_or_default();
        [worker.worker_name, worker.namespace, worker.queues.join(","), running, free, since, worker.session_id]
    });
    let workers: Vec<_> = workers.collect();
    if !workers.is_empty() {
        let header = ["WORKER", "NAMESPACE", "QUEUES", "RUNNING", "FREE", "CONNECTED", "SESSION"];
        parts.push(format!("workers\n{}", indented(&table(Some(header), workers))));
    }
    parts.join("\n\n")
}

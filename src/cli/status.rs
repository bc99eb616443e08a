//! `escapement status`.

use serde::Serialize;

use super::{
    Context,
    error::CliError,
    output::{fields, indented, table},
    view::instant,
};
use crate::client::{Client, proto as v1};

/// Hints about queues that one status shows.
const HINTS_MAX: usize = 10;

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
    records_unreadable: u64,
    clock: Option<ClockView>,
    queues: Vec<QueueView>,
    queues_left_out: u64,
    workers: Vec<WorkerView>,
    workers_left_out: u64,
}

#[derive(Serialize)]
struct ClockView {
    health: &'static str,
    sync: &'static str,
    error_us: u64,
    skew_us: i64,
    majority: bool,
    peers: u32,
    leap_mode: &'static str,
    leap_next_at: Option<String>,
    leap_next_deletes: bool,
    leap_table_expires_at: Option<String>,
    wait_us: u64,
}

impl From<v1::ClockStatus> for ClockView {
    fn from(clock: v1::ClockStatus) -> Self {
        Self {
            health: match clock.health() {
                v1::ClockHealth::Unspecified => "unspecified",
                v1::ClockHealth::InBounds => "in bounds",
                v1::ClockHealth::Alert => "alert",
                v1::ClockHealth::Rejected => "rejected",
            },
            sync: match clock.sync() {
                v1::ClockSync::Unspecified => "unspecified",
                v1::ClockSync::Synchronised => "synchronised",
                v1::ClockSync::Unsynchronised => "unsynchronised",
                v1::ClockSync::Unknown => "unknown",
            },
            error_us: clock.error_us,
            skew_us: clock.skew_us,
            majority: clock.majority,
            peers: clock.peers,
            leap_mode: match clock.leap_mode() {
                v1::LeapMode::Unspecified => "unspecified",
                v1::LeapMode::Pause => "pause",
                v1::LeapMode::Smear => "smear",
            },
            leap_next_at: instant(clock.leap_next_at),
            leap_next_deletes: clock.leap_next_deletes,
            leap_table_expires_at: instant(clock.leap_table_expires_at),
            wait_us: clock.wait_us,
        }
    }
}

impl ClockView {
    /// Whether somebody should look, and what at.
    fn describe(&self) -> String {
        let ms = |micros: f64| format!("{:.3} ms", micros / 1000.0);
        let error = match self.sync {
            "synchronised" => format!("error at most {}", ms(lossy(self.error_us.cast_signed()))),
            sync => format!("{sync}, taken at its word"),
        };
        let error = match (self.sync, self.error_us) {
            ("synchronised", _) | (_, 0) => error,
            (sync, micros) => format!("{sync}, error at most {}", ms(lossy(micros.cast_signed()))),
        };
        let skew = match self.skew_us {
            0 => String::new(),
            fast @ 1.. => format!(", fast by {}", ms(lossy(fast))),
            slow => format!(", slow by {}", ms(lossy(slow.saturating_neg()))),
        };
        let peers = match (self.peers, self.majority) {
            (0, _) => String::new(),
            (peers, true) => format!(", {peers} peers agree"),
            (peers, false) => format!(", {peers} peers, no majority"),
        };
        format!("{}; {error}{skew}{peers}", self.health)
    }

    fn leap(&self) -> String {
        let what = if self.leap_next_deletes { "left out" } else { "inserted" };
        let next = match &self.leap_next_at {
            Some(at) => format!("one is {what} before {at}"),
            None => "none is known".to_owned(),
        };
        match &self.leap_table_expires_at {
            Some(expires) => format!("{}; {next} (list holds until {expires})", self.leap_mode),
            None => format!("{}; {next}", self.leap_mode),
        }
    }
}

/// Microseconds for people: exact up to 285 years.
#[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
fn lossy(micros: i64) -> f64 {
    micros as f64
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

impl QueueView {
    /// Tasks wait and nobody takes them: what to do.
    fn hint(&self) -> Option<String> {
        let waits = (self.ready > 0 || self.ready_beyond) && self.workers == 0;
        waits.then(|| {
            let Self { namespace, queue, .. } = self;
            let more = if self.ready_beyond { " and more" } else { "" };
            let wait = if self.ready == 1 {
                "1 task is due and waits".to_owned()
            } else {
                format!("{}{more} tasks are due and wait", self.ready)
            };
            format!("hint: no worker takes queue `{queue}` of namespace `{namespace}`, where {wait}: start one for it")
        })
    }
}

/// A hint for a task that is due and that nobody takes. Best effort: without an answer there is none.
pub(super) async fn stuck(client: &Client, namespace: &str, queue: &str) -> Option<String> {
    let view = StatusView::from(client.status().await.ok()?);
    view.queues.iter().find(|row| row.namespace == namespace && row.queue == queue).and_then(QueueView::hint)
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
            records_unreadable: status.records_unreadable,
            clock: status.clock.map(ClockView::from),
            queues: queues.collect(),
            queues_left_out: status.queues_left_out,
            workers: workers.collect(),
            workers_left_out: status.workers_left_out,
        }
    }
}

pub(super) async fn run(context: &Context) -> Result<u8, CliError> {
    let client = context.client()?;
    let view = StatusView::from(client.status().await?);
    if context.ui.is_json() {
        context.ui.print_json(&view);
    } else {
        let stuck: Vec<_> = view.queues.iter().filter_map(QueueView::hint).collect();
        context.ui.print(describe(client.endpoint(), view));
        for hint in shortened(stuck) {
            context.ui.note(hint);
        }
    }
    Ok(0)
}

/// As many hints as somebody reads, and how many more there are.
fn shortened(mut hints: Vec<String>) -> Vec<String> {
    let more = hints.len().saturating_sub(HINTS_MAX);
    hints.truncate(HINTS_MAX);
    hints.extend((more > 0).then(|| format!("hint: no worker takes {more} more queues where tasks are due")));
    hints
}

fn head(title: &str, left_out: u64) -> String {
    match left_out {
        0 => title.to_owned(),
        more => format!("{title} (and {more} more)"),
    }
}

fn describe(endpoint: &str, view: StatusView) -> String {
    let counted = |count: u64| Some(count.to_string());
    let mut parts = vec![fields([
        ("server", Some(endpoint.to_owned())),
        ("version", Some(view.version)),
        ("started", view.started_at),
        ("clock", view.now),
        ("clock state", view.clock.as_ref().map(ClockView::describe)),
        ("leap seconds", view.clock.as_ref().map(ClockView::leap)),
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
        ("unreadable records", Some(view.records_unreadable).filter(|count| *count > 0).map(|count| count.to_string())),
    ])];
    let (queues_head, workers_head) = (head("queues", view.queues_left_out), head("workers", view.workers_left_out));
    let queues = view.queues.into_iter().map(|queue| {
        let ready = if queue.ready_beyond { format!("{} and more", queue.ready) } else { queue.ready.to_string() };
        [queue.namespace, queue.queue, ready, queue.running.to_string(), queue.workers.to_string()]
    });
    let queues: Vec<_> = queues.collect();
    if !queues.is_empty() {
        let table = table(Some(["NAMESPACE", "QUEUE", "READY", "RUNNING", "WORKERS"]), queues);
        parts.push(format!("{queues_head}\n{}", indented(&table)));
    }
    let workers = view.workers.into_iter().map(|worker| {
        let (running, free) = (worker.running.to_string(), worker.credits_free.to_string());
        let since = worker.connected_at.unwrap_or_default();
        [worker.worker_name, worker.namespace, worker.queues.join(","), running, free, since, worker.session_id]
    });
    let workers: Vec<_> = workers.collect();
    if !workers.is_empty() {
        let header = ["WORKER", "NAMESPACE", "QUEUES", "RUNNING", "FREE", "CONNECTED", "SESSION"];
        parts.push(format!("{workers_head}\n{}", indented(&table(Some(header), workers))));
    }
    parts.join("\n\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_many_hints_ten_are_shown_and_the_rest_is_counted() {
        let check = |count: usize, shown: usize, last: &str| {
            let hints = shortened((1..=count).map(|n| format!("hint {n}")).collect());
            assert_eq!((hints.len(), hints.last().map_or("", String::as_str)), (shown, last));
        };
        check(0, 0, "");
        check(10, 10, "hint 10");
        check(4000, 11, "hint: no worker takes 3990 more queues where tasks are due");
    }
}

//! The server's status.

use escapement_engine::{
    Timestamp,
    cluster_time::{Health, SyncState},
    leap::{Mode, Sign},
};
use escapement_proto::v1;
use prost::Message;

use super::timestamp;
use crate::api::{
    PAGE_BYTES_MAX,
    backend::{ClockStatus, QueueStatus, StatusView, WorkerStatus},
};

/// The server as it stands at `now`.
pub fn status(view: StatusView, now: Timestamp) -> v1::StatusResponse {
    let counters = view.counters;
    let (queues, queues_left_out) = listed(view.queues, queue);
    let (workers, workers_left_out) = listed(view.workers, worker);
    v1::StatusResponse {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        started_at: Some(timestamp(view.started)),
        now: Some(timestamp(now)),
        store: view.store,
        format_version: view.format_version,
        scheduler_session: view.session.to_string(),
        shards_owned: view.shards_owned,
        shards_total: view.shards_total,
        queues,
        workers,
        wheel_entries: view.wheel_entries,
        schedules_active: view.schedules_active,
        tasks_submitted: counters.tasks_submitted,
        attempts_started: counters.attempts_started,
        completions_accepted: counters.completions_accepted,
        completions_refused: counters.completions_refused,
        attempts_expired: counters.attempts_expired,
        store_transactions: counters.store_transactions,
        store_conflicts: counters.store_conflicts,
        clock: Some(clock(view.clock)),
        queues_left_out,
        workers_left_out,
        records_unreadable: counters.records_unreadable,
    }
}

/// As many as fit half a page, and how many do not: both lists and the rest stay below the size that
/// gRPC clients accept unless told otherwise.
fn listed<T, M: Message>(all: Vec<T>, convert: impl Fn(T) -> M) -> (Vec<M>, u64) {
    let mut listed = Vec::new();
    let mut bytes = 0;
    let mut all = all.into_iter();
    while bytes < PAGE_BYTES_MAX / 2
        && let Some(next) = all.next()
    {
        let message = convert(next);
        bytes += message.encoded_len();
        listed.push(message);
    }
    (listed, all.len() as u64)
}

fn clock(clock: ClockStatus) -> v1::ClockStatus {
    let micros = |span: std::time::Duration| u64::try_from(span.as_micros()).unwrap_or(u64::MAX);
    let health = match clock.health {
        Health::InBounds => v1::ClockHealth::InBounds,
        Health::Alert => v1::ClockHealth::Alert,
        Health::Rejected => v1::ClockHealth::Rejected,
    };
    let sync = match clock.sync {
        SyncState::Synchronised => v1::ClockSync::Synchronised,
        SyncState::Unsynchronised => v1::ClockSync::Unsynchronised,
        SyncState::Unknown => v1::ClockSync::Unknown,
    };
    let leap_mode = match clock.leap_mode {
        Mode::Pause => v1::LeapMode::Pause,
        Mode::Smear => v1::LeapMode::Smear,
    };
    v1::ClockStatus {
        health: health.into(),
        sync: sync.into(),
        error_us: micros(clock.error),
        skew_us: clock.skew_us,
        majority: clock.majority,
        peers: clock.peers,
        leap_mode: leap_mode.into(),
        leap_next_at: clock.leap_next.map(|leap| timestamp(leap.at)),
        leap_next_deletes: clock.leap_next.is_some_and(|leap| leap.sign == Sign::Delete),
        leap_table_expires_at: clock.leap_table_expires.map(timestamp),
        wait_us: micros(clock.wait),
    }
}

fn queue(queue: QueueStatus) -> v1::QueueStatus {
    v1::QueueStatus {
        namespace: queue.namespace.to_string(),
        queue: queue.queue.to_string(),
        ready: queue.ready,
        ready_beyond: queue.ready_beyond,
        running: queue.running,
        workers: queue.workers,
    }
}

fn worker(worker: WorkerStatus) -> v1::WorkerStatus {
    v1::WorkerStatus {
        session_id: worker.session.to_string(),
        worker_name: worker.name,
        namespace: worker.namespace.to_string(),
        queues: worker.queues.iter().map(ToString::to_string).collect(),
        running: worker.running,
        credits_free: worker.credits_free,
        connected_at: Some(timestamp(worker.connected)),
    }
}

#[cfg(test)]
mod tests {
    use escapement_engine::{
        SessionId,
        limits::{QUEUE_CHARS_MAX, SESSION_QUEUES_MAX},
        name::{Namespace, QueueName},
    };

    use super::*;
    use crate::api::backend::Counters;

    fn view(queues: usize, workers: u32) -> StatusView {
        let at = Timestamp::UNIX_EPOCH;
        let name = |n: usize| QueueName::new(&format!("{n:0>QUEUE_CHARS_MAX$}")).unwrap();
        let queue = |n| QueueStatus {
            namespace: Namespace::default(),
            queue: name(n),
            ready: 1,
            ready_beyond: false,
            running: 1,
            workers: 1,
        };
        let worker = |n: u32| WorkerStatus {
            session: SessionId::from_parts(at, n.into()),
            name: n.to_string(),
            namespace: Namespace::default(),
            queues: (0..SESSION_QUEUES_MAX).map(name).collect(),
            running: 0,
            credits_free: 0,
            connected: at,
        };
        StatusView {
            started: at,
            store: "memory".to_owned(),
            format_version: 1,
            session: SessionId::from_parts(at, 0),
            shards_owned: 1,
            shards_total: 1,
            queues: (0..queues).map(queue).collect(),
            workers: (0..workers).map(worker).collect(),
            wheel_entries: 0,
            schedules_active: 0,
            clock: ClockStatus::default(),
            counters: Counters { records_unreadable: 3, ..Counters::default() },
        }
    }

    #[test]
    fn lists_end_where_they_would_be_too_large_and_say_how_much_is_left_out() {
        let status = status(view(20_000, 300), Timestamp::UNIX_EPOCH);
        assert!(status.encoded_len() < 3 << 20, "{} bytes", status.encoded_len());
        assert!(status.queues.len() > 1000 && status.workers.len() > 10, "as much as fits");
        assert_eq!(status.queues.len() as u64 + status.queues_left_out, 20_000);
        assert_eq!(status.workers.len() as u64 + status.workers_left_out, 300);
        assert!(status.queues.is_sorted_by(|a, b| a.queue < b.queue));
        assert_eq!(status.records_unreadable, 3);
    }

    #[test]
    fn short_lists_are_whole() {
        let status = status(view(10, 3), Timestamp::UNIX_EPOCH);
        assert_eq!((status.queues.len(), status.workers.len()), (10, 3));
        assert_eq!((status.queues_left_out, status.workers_left_out), (0, 0));
    }
}

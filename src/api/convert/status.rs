//! The server's status.

use escapement_engine::{
    Timestamp,
    cluster_time::{Health, SyncState},
    leap::{Mode, Sign},
};
use escapement_proto::v1;

use super::timestamp;
use crate::api::backend::{ClockStatus, QueueStatus, StatusView, WorkerStatus};

/// The server as it stands at `now`.
pub fn status(view: StatusView, now: Timestamp) -> v1::StatusResponse {
    let counters = view.counters;
    v1::StatusResponse {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        started_at: Some(timestamp(view.started)),
        now: Some(timestamp(now)),
        store: view.store,
        format_version: view.format_version,
        scheduler_session: view.session.to_string(),
        shards_owned: view.shards_owned,
        shards_total: view.shards_total,
        queues: view.queues.into_iter().map(queue).collect(),
        workers: view.workers.into_iter().map(worker).collect(),
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
    }
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

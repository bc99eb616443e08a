//! How a scheduler is doing.

use crate::api::backend::{ClockStatus, QueueStatus, WorkerStatus};

/// How a scheduler is doing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SchedulerStatus {
    /// Queues that it has seen, in order of namespace and name.
    pub queues: Vec<QueueStatus>,
    /// Sessions that it knows, in order of id.
    pub workers: Vec<WorkerStatus>,
    /// Tasks held in memory ahead of their instant.
    pub wheel_entries: u64,
    /// Bytes that the due entries in memory take.
    pub memory_bytes: u64,
    /// Schedules whose next instant is known.
    pub schedules: u64,
    /// Ticks, firings and loads in flight, and one if something in memory has just come due:
    /// zero when nothing is going on.
    pub in_flight: u64,
    /// Ticks that are due and not yet made into tasks.
    pub ticks_due: u64,
    /// The clock that it acts by.
    pub clock: ClockStatus,
}

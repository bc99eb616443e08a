//! Rows of the store, as commits change them and as a scan finds them.

use serde::{Deserialize, Serialize};

use super::EndState;

/// A row of the store: one that a commit wrote or cleared, or one that a scan found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "row")]
pub enum Change {
    /// A task record.
    Task {
        /// Task.
        id: String,
        /// Attempts that its policy allows.
        max_attempts: u32,
        /// Due instant of the first attempt.
        due_unix_ms: i64,
        /// For occurrences.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        schedule: String,
        /// For occurrences.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        nominal_unix_ms: Option<i64>,
    },
    /// Where a task stands after its last attempt.
    Head {
        /// Task.
        id: String,
        /// State.
        state: EndState,
        /// Attempts made.
        attempts: u32,
        /// Token of the last.
        token: u64,
    },
    /// An entry of the due index.
    Due {
        /// Task.
        id: String,
        /// Shard.
        shard: u32,
        /// Queue.
        queue: String,
        /// 1 high, 2 medium, 3 low.
        priority: u32,
        /// Instant.
        due_unix_ms: i64,
        /// Attempts made before.
        attempts: u32,
        /// Token of the last attempt.
        token: u64,
    },
    /// An entry of the due index is gone.
    DueCleared {
        /// Task.
        id: String,
        /// Instant of the entry.
        due_unix_ms: i64,
    },
    /// The right to run an attempt.
    Lease {
        /// Task.
        id: String,
        /// Shard.
        shard: u32,
        /// Who.
        session: String,
        /// Fencing token.
        token: u64,
        /// From 1.
        attempt: u32,
        /// Queue.
        queue: String,
        /// 1 high, 2 medium, 3 low.
        priority: u32,
        /// Instant at which the attempt was due.
        due_unix_ms: i64,
    },
    /// The lease is gone.
    LeaseCleared {
        /// Task.
        id: String,
    },
    /// A row of history.
    Attempt {
        /// Task.
        id: String,
        /// From 1.
        number: u32,
    },
    /// Who owns a shard.
    ShardLease {
        /// Shard.
        shard: u32,
        /// Session; empty: nobody.
        owner: String,
        /// Counts owners.
        epoch: u64,
    },
    /// The next instant of a schedule.
    Tick {
        /// Schedule's uid.
        uid: String,
        /// Instant.
        at_unix_ms: i64,
    },
    /// The tick is gone.
    TickCleared {
        /// Schedule's uid.
        uid: String,
        /// Instant.
        at_unix_ms: i64,
    },
    /// A schedule.
    Schedule {
        /// Its id.
        schedule: String,
        /// Its uid.
        uid: String,
        /// Whether it ticks.
        active: bool,
        /// Its next instant.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        next_unix_ms: Option<i64>,
        /// Occurrences made.
        occurrences: u64,
    },
    /// The schedule is gone.
    ScheduleCleared {
        /// Its id.
        schedule: String,
    },
    /// What no checker looks at.
    Other,
    /// A row that does not have the shape that its place demands.
    Malformed {
        /// Key in hexadecimal, and what is wrong.
        what: String,
    },
}

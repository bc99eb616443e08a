//! What clients do, as data. A workload is a number of items; each item is drawn from a
//! generator of its own, so that leaving some out changes none of the others.

use escapement::rng::Rng;
use escapement_engine::{TaskId, Timestamp};
use escapement_sim::fork;
use serde::{Deserialize, Serialize};

use crate::shift::Shift;

/// Queues that workers take from.
pub const QUEUES: [&str; 4] = ["work", "bulk", "long", "poison"];
/// A queue without workers.
pub const DEAD_QUEUE: &str = "dead";

/// One kind of work.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Workload {
    /// Which.
    pub kind: WorkloadKind,
    /// Where its generators start from.
    pub seed: u64,
    /// Items.
    pub count: u32,
    /// The first call, true milliseconds since the run began.
    pub from_ms: u64,
    /// The last call.
    pub until_ms: u64,
    /// Only these items.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub only: Option<Vec<u32>>,
}

/// Kinds of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WorkloadKind {
    /// Short tasks, due within seconds; some by a delay, some at an instant, some in the past.
    OneOff,
    /// Schedules: intervals, cron expressions in several zones.
    Recurring,
    /// Tasks that are cancelled: before they are due, while they run, when they are over.
    Cancels,
    /// Tasks that fail, some until their attempts are used up.
    Retries,
    /// Tasks that run for many seconds.
    Long,
    /// Many submissions under few idempotency keys.
    HotKeys,
    /// Batches of tasks that are due at once.
    Bulk,
    /// Schedules that are paused, resumed and deleted.
    Edits,
    /// Tasks that never end by themselves, or always fail.
    Poison,
    /// More than the workers can do, for a while.
    Overload,
    /// Tasks of a queue without workers.
    DeadQueue,
    /// Tasks due around an instant: the middle of the calls, to the millisecond.
    Around {
        /// Unix milliseconds.
        at_unix_ms: i64,
    },
    /// Schedules with fixed times, and others, in a zone whose clock is set.
    Shift {
        /// Which.
        shift: Shift,
    },
}

impl WorkloadKind {
    /// All kinds that need no instant of their own.
    pub const ALL: &'static [Self] = &[
        Self::OneOff,
        Self::Recurring,
        Self::Cancels,
        Self::Retries,
        Self::Long,
        Self::HotKeys,
        Self::Bulk,
        Self::Edits,
        Self::Poison,
        Self::Overload,
        Self::DeadQueue,
    ];

    /// The name under which it is counted.
    pub const fn name(self) -> &'static str {
        match self {
            Self::OneOff => "one-off",
            Self::Recurring => "recurring",
            Self::Cancels => "cancels",
            Self::Retries => "retries",
            Self::Long => "long",
            Self::HotKeys => "hot-keys",
            Self::Bulk => "bulk",
            Self::Edits => "edits",
            Self::Poison => "poison",
            Self::Overload => "overload",
            Self::DeadQueue => "dead-queue",
            Self::Around { .. } => "around",
            Self::Shift { .. } => "shift",
        }
    }
}

/// What a handler is to do: the payload of a task.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Work {
    /// How long it runs.
    pub ms: u64,
    /// So many attempts fail first.
    #[serde(default)]
    pub fail: u32,
    /// It pays no heed to cancellations.
    #[serde(default)]
    pub deaf: bool,
}

/// When a task is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// This long after the server took it.
    In(u64),
    /// At this instant.
    At(Timestamp),
}

/// A task to submit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskPlan {
    /// Its id.
    pub id: TaskId,
    /// Queue.
    pub queue: &'static str,
    /// When.
    pub due: Due,
    /// What.
    pub work: Work,
    /// 1 high, 2 medium, 3 low.
    pub priority: u32,
    /// Attempts.
    pub max_attempts: u32,
    /// Longest attempt, milliseconds.
    pub timeout_ms: u64,
    /// Empty: none.
    pub key: String,
    /// No attempt starts later than this long after it is due.
    pub deadline_after_ms: Option<u64>,
}

/// A rule to make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rule {
    /// An interval, milliseconds.
    Every(u64),
    /// A cron expression, and its zone.
    Cron(&'static str, &'static str),
}

/// A call of a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Call {
    /// Submits tasks; several in one batch.
    Submit(Vec<TaskPlan>),
    /// Cancels a task.
    Cancel(TaskId),
    /// Makes a schedule.
    Create {
        /// Id.
        schedule: String,
        /// Rule.
        rule: Rule,
        /// Of each occurrence.
        work: Work,
    },
    /// Pauses it.
    Pause(String),
    /// Resumes it.
    Resume(String),
    /// Deletes it.
    Delete(String),
}

/// What one client does in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Errand {
    /// Which client, from 0.
    pub client: usize,
    /// When to begin each call, true milliseconds; not before the one before is over.
    pub calls: Vec<(u64, Call)>,
}

const TIMEOUT_MS: u64 = 20_000;
const CRONS: [(&str, &str); 4] = [
    ("*/2 * * * * *", "UTC"),
    ("*/10 * * * * *", "Europe/Berlin"),
    ("* * * * *", "America/New_York"),
    ("*/5 * * * * *", "Australia/Lord_Howe"),
];

impl Workload {
    /// The items that are not left out.
    pub fn items(&self) -> Vec<u32> {
        self.only.clone().unwrap_or_else(|| (0..self.count).collect())
    }

    /// What clients have to do for it, in a cluster with this many clients and this epoch.
    pub fn errands(&self, epoch_unix_ms: i64, clients: usize) -> Vec<Errand> {
        let items = self.items();
        let errands = items.iter().flat_map(|item| {
            let draw = Draw { workload: self, epoch_unix_ms, item: *item, rng: self.generator(*item) };
            draw.errands(clients)
        });
        errands.collect()
    }

    fn generator(&self, item: u32) -> Rng {
        fork(self.seed, &format!("{} {item}", self.kind.name()))
    }

    /// Milliseconds of all handlers together, about.
    pub fn work_ms(&self) -> u64 {
        let each = match self.kind {
            WorkloadKind::OneOff | WorkloadKind::HotKeys | WorkloadKind::Around { .. } => 500,
            WorkloadKind::Cancels | WorkloadKind::Retries => 3000,
            WorkloadKind::Recurring | WorkloadKind::Edits | WorkloadKind::Shift { .. } => 20_000,
            WorkloadKind::Bulk => 20 * 300,
            WorkloadKind::Long => 40_000,
            WorkloadKind::Poison => 2 * TIMEOUT_MS,
            WorkloadKind::Overload => 4000,
            WorkloadKind::DeadQueue => 0,
        };
        each * self.items().len() as u64
    }

    /// The longest that one of its tasks may take from its instant to its end: attempts, with
    /// the grace of a timeout, and the pauses between them.
    pub fn life_ms(&self) -> u64 {
        match self.kind {
            WorkloadKind::Poison => 3 * (TIMEOUT_MS + 15_000),
            WorkloadKind::Long => 2 * 45_000,
            WorkloadKind::Retries => 30_000,
            _ => 10_000,
        }
    }
}

/// One item in the making.
struct Draw<'a> {
    workload: &'a Workload,
    epoch_unix_ms: i64,
    item: u32,
    rng: Rng,
}

impl Draw<'_> {
    fn below(&self, limit: u64) -> u64 {
        self.rng.u64() % limit.max(1)
    }

    fn between(&self, from: u64, to: u64) -> u64 {
        from + self.below(to - from + 1)
    }

    fn instant(&self, true_ms: u64) -> Timestamp {
        let ms = i64::try_from(true_ms).unwrap_or(i64::MAX);
        Timestamp::from_unix_ms(self.epoch_unix_ms.saturating_add(ms))
    }

    fn task(&self, at_ms: u64) -> TaskPlan {
        let id = TaskId::from_parts(self.instant(at_ms), self.rng.u128());
        let priority = [1, 2, 2, 3][usize::try_from(self.below(4)).unwrap_or(0)];
        let ahead = self.below(8000);
        let due = if self.below(3) == 0 { Due::In(ahead) } else { Due::At(self.instant(at_ms + ahead)) };
        let work = Work { ms: self.between(1, 800), ..Work::default() };
        TaskPlan {
            id,
            queue: "work",
            due,
            work,
            priority,
            max_attempts: 20,
            timeout_ms: TIMEOUT_MS,
            key: String::new(),
            deadline_after_ms: None,
        }
    }

    fn errands(&self, clients: usize) -> Vec<Errand> {
        let Workload { kind, from_ms, until_ms, .. } = *self.workload;
        let at = self.between(from_ms, until_ms.max(from_ms));
        let count = clients.max(1) as u64;
        let client = usize::try_from(self.below(count)).unwrap_or(0);
        let calls = match kind {
            WorkloadKind::OneOff => vec![(at, Call::Submit(vec![self.one_off(at)]))],
            WorkloadKind::Retries => vec![(at, Call::Submit(vec![self.retries(at)]))],
            WorkloadKind::Long => {
                let work = Work { ms: self.between(5000, 15_000), ..Work::default() };
                vec![(at, Call::Submit(vec![TaskPlan { queue: "long", work, timeout_ms: 40_000, ..self.task(at) }]))]
            }
            WorkloadKind::Bulk => {
                let tasks = self.between(2, 20);
                let due = Due::At(self.instant(at + self.below(5000)));
                let task =
                    || TaskPlan { queue: "bulk", due, work: Work { ms: 20, ..Work::default() }, ..self.task(at) };
                vec![(at, Call::Submit((0..tasks).map(|_| task()).collect()))]
            }
            WorkloadKind::Overload => {
                let due = Due::At(self.instant(from_ms));
                let work = Work { ms: self.between(1000, 3000), ..Work::default() };
                vec![(at, Call::Submit(vec![TaskPlan { due, work, ..self.task(at) }]))]
            }
            WorkloadKind::Poison => vec![(at, Call::Submit(vec![self.poison(at)]))],
            WorkloadKind::DeadQueue => {
                vec![(at, Call::Submit(vec![TaskPlan { queue: DEAD_QUEUE, ..self.task(at) }]))]
            }
            WorkloadKind::Around { at_unix_ms } => {
                let due = i64::try_from(self.below(4001)).unwrap_or(0) - 2000 + at_unix_ms;
                let due = Due::At(Timestamp::from_unix_ms(due));
                vec![(at, Call::Submit(vec![TaskPlan { due, ..self.task(at) }]))]
            }
            WorkloadKind::Cancels => self.cancels(at),
            WorkloadKind::HotKeys => return self.hot_keys(at, count),
            WorkloadKind::Recurring => vec![(at, self.create())],
            WorkloadKind::Shift { shift } => vec![(at, self.shifted(shift))],
            WorkloadKind::Edits => self.edits(at),
        };
        vec![Errand { client, calls }]
    }

    fn one_off(&self, at: u64) -> TaskPlan {
        let task = self.task(at);
        match self.below(8) {
            // Long ago: it runs at once.
            0 => TaskPlan { due: Due::At(self.instant(at.saturating_sub(60_000))), ..task },
            1 => TaskPlan { key: format!("once-{}-{}", self.workload.seed, self.item), ..task },
            // It runs out of time only while nobody can run it.
            2 => {
                TaskPlan { deadline_after_ms: Some(self.between(2000, 20_000)), due: Due::At(self.instant(at)), ..task }
            }
            _ => task,
        }
    }

    fn retries(&self, at: u64) -> TaskPlan {
        let max_attempts = u32::try_from(self.between(1, 6)).unwrap_or(1);
        let fail = u32::try_from(self.between(0, 7)).unwrap_or(0);
        TaskPlan { work: Work { ms: self.between(1, 300), fail, deaf: false }, max_attempts, ..self.task(at) }
    }

    fn poison(&self, at: u64) -> TaskPlan {
        let hangs = self.below(2) == 0;
        let work = match hangs {
            true => Work { ms: 3_600_000, fail: 0, deaf: self.below(2) == 0 },
            false => Work { ms: 1, fail: u32::MAX, deaf: false },
        };
        TaskPlan { queue: "poison", work, max_attempts: 3, timeout_ms: 5000, ..self.task(at) }
    }

    /// A task, its cancellation from a moment before its instant to one after its end, and
    /// perhaps another cancellation.
    fn cancels(&self, at: u64) -> Vec<(u64, Call)> {
        let ahead = self.below(4000);
        let work = Work { ms: self.between(1, 3000), fail: 0, deaf: self.below(4) == 0 };
        let task = TaskPlan { due: Due::At(self.instant(at + ahead)), work, ..self.task(at) };
        let (id, cancel) = (task.id, at + self.below(ahead + 4000));
        let mut calls = vec![(at, Call::Submit(vec![task])), (cancel, Call::Cancel(id))];
        if self.below(3) == 0 {
            calls.push((cancel + 500, Call::Cancel(id)));
        }
        calls
    }

    /// Every client submits the same thing under the same key, each with an id of its own.
    fn hot_keys(&self, at: u64, clients: u64) -> Vec<Errand> {
        let due = Due::At(self.instant(at + self.below(5000)));
        let key = format!("hot-{}-{}", self.workload.seed, self.item);
        let first = TaskPlan { due, key, ..self.task(at) };
        let errand = |client: u64| {
            let calls = (0..2).map(|_| {
                let id = TaskId::from_parts(self.instant(at), self.rng.u128());
                (at + self.below(1500), Call::Submit(vec![TaskPlan { id, ..first.clone() }]))
            });
            Errand { client: usize::try_from(client).unwrap_or(0), calls: calls.collect() }
        };
        (0..clients).map(errand).collect()
    }

    fn schedule(&self) -> String {
        format!("{}-{}-{}", self.workload.kind.name(), self.workload.seed % 100_000, self.item)
    }

    fn create(&self) -> Call {
        let (cron, zone) = CRONS[usize::try_from(self.below(4)).unwrap_or(0)];
        let rule = if self.below(2) == 0 { Rule::Every(self.between(1000, 7000)) } else { Rule::Cron(cron, zone) };
        Call::Create { schedule: self.schedule(), rule, work: Work { ms: self.between(1, 500), ..Work::default() } }
    }

    /// Every other one has fixed times.
    fn shifted(&self, shift: Shift) -> Call {
        let cron = if self.item.is_multiple_of(2) { shift.fixed() } else { shift.elapsed() };
        let work = Work { ms: self.between(1, 500), ..Work::default() };
        Call::Create { schedule: self.schedule(), rule: Rule::Cron(cron, shift.zone()), work }
    }

    fn edits(&self, at: u64) -> Vec<(u64, Call)> {
        let id = self.schedule();
        let mut calls = vec![(at, self.create())];
        let mut at = at;
        for _ in 0..self.between(1, 3) {
            at += self.between(500, 6000);
            calls.push((at, Call::Pause(id.clone())));
            at += self.between(100, 5000);
            calls.push((at, Call::Resume(id.clone())));
        }
        if self.below(2) == 0 {
            calls.push((at + self.between(100, 4000), Call::Delete(id)));
        }
        calls
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leaving_items_out_changes_none_of_the_others() {
        for kind in WorkloadKind::ALL {
            let all = Workload { kind: *kind, seed: 7, count: 6, from_ms: 1000, until_ms: 20_000, only: None };
            let some = Workload { only: Some(vec![1, 4]), ..all.clone() };
            let (all, some) = (all.errands(0, 3), some.errands(0, 3));
            assert!(some.len() < all.len(), "{kind:?}");
            assert!(some.iter().all(|errand| all.contains(errand)), "{kind:?}");
        }
    }
}

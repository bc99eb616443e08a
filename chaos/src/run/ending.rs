//! The end of a run: schedules are paused, what is due drains, and everything is read: tasks
//! through the API, rows and commits from the store itself.

use std::{sync::Arc, time::Duration};

use escapement::client::{ClientError, TaskFilter, proto};
use madsim::time::{TimeHandle, sleep};

use super::{clients::Caller, rows, world::World};
use crate::{
    earlier::Earlier,
    history::{AttemptRow, Change, EndState, TrueTime, What},
    workload::{Call, QUEUES},
};

/// How often is looked whether everything has drained.
const LOOK: Duration = Duration::from_millis(500);
/// Calls at one time.
const CALLS: usize = 16;
/// Rounds of reading everything, before nobody answers.
const ROUNDS: u32 = 20;

impl World {
    /// Waits until all that was due is over, at most until `until`, then reads everything.
    /// Whether the API answered.
    pub(super) async fn end(self: &Arc<Self>, until: Duration) -> bool {
        let Some(client) = self.plan.clients().pop() else { return false };
        let caller = Caller::new(self, &client);
        let ending = caller.clone();
        caller.on_node(async move { ending.end(until).await }).await.unwrap_or(false)
    }

    /// Commits, in their order, and rows, as the store has them.
    pub(super) fn read_store(&self) {
        self.read_commits();
        for (key, value) in self.store.rows() {
            let row = rows::row(&key, &value);
            if row != Change::Other {
                self.note("", What::FinalRow { row });
            }
        }
    }

    /// Commits, in their order.
    pub(super) fn read_commits(&self) {
        let sent = self.store.log().sent();
        for entry in self.store.log().entries() {
            let changes = rows::changes(&entry.request);
            if changes.is_empty() {
                continue;
            }
            let sending = entry.sent.map(|number| &sent[number]);
            let told = sending.and_then(|sending| sending.told.as_ref());
            let acknowledged = matches!(told, Some((_, escapement_sim::store::Told::Acknowledged(_))));
            let node = sending.map_or("", |sending| sending.node.as_str());
            let (version, batch_index) = (entry.version.0, entry.batch_index);
            let commit = What::Commit { version, batch_index, acknowledged, changes };
            self.log.add_at(TrueTime::ZERO.plus(entry.at), node, commit);
        }
    }
}

impl Caller {
    async fn end(&self, until: Duration) -> bool {
        self.pause_schedules(until).await;
        while TimeHandle::current().elapsed() < until {
            match self.is_drained().await {
                Ok(true) => break,
                Ok(false) => {}
                Err(_) => self.turn(),
            }
            sleep(LOOK).await;
        }
        for _ in 0..ROUNDS {
            match self.read_tasks().await {
                Ok(tasks) => {
                    tasks.into_iter().for_each(|task| self.world.note(&self.node, final_task(task)));
                    return true;
                }
                Err(_) => self.turn(),
            }
            sleep(LOOK).await;
        }
        false
    }

    async fn pause_schedules(&self, until: Duration) {
        let plan = &self.world.plan;
        let clients = plan.clients().len();
        let errands = plan.workloads.iter().flat_map(|workload| workload.errands(plan.epoch_unix_ms, clients));
        let made = errands.flat_map(|errand| errand.calls).filter_map(|(_, call)| match call {
            Call::Create { schedule, .. } => Some(schedule),
            _ => None,
        });
        let earlier = plan.earlier().into_iter().flat_map(Earlier::schedules).map(str::to_owned);
        for schedule in made.chain(earlier) {
            while !self.pause(&schedule).await && TimeHandle::current().elapsed() < until {
                sleep(LOOK).await;
            }
        }
    }

    async fn is_drained(&self) -> Result<bool, ClientError> {
        for queue in QUEUES {
            let pending = TaskFilter::new().state(proto::TaskState::Scheduled).state(proto::TaskState::Running);
            let mut pages = self.server().list(pending.queue(queue).page_size(1000));
            if pages.next().await?.is_some() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    async fn read_tasks(&self) -> Result<Vec<proto::Task>, ClientError> {
        let page_size = self.world.plan.knobs.list_page_size;
        let listed = self.server().list(TaskFilter::new().page_size(page_size)).collect().await?;
        let ids: Vec<_> = listed.iter().filter_map(|task| task.id.parse().ok()).collect();
        let mut tasks = Vec::with_capacity(ids.len());
        for some in ids.chunks(CALLS) {
            let calls = some.iter().map(|id| self.server().get(*id));
            tasks.extend(futures_util::future::try_join_all(calls).await?);
        }
        Ok(tasks)
    }
}

fn final_task(task: proto::Task) -> What {
    let state = match task.state() {
        proto::TaskState::Unspecified | proto::TaskState::Scheduled => EndState::Scheduled,
        proto::TaskState::Running => EndState::Running,
        proto::TaskState::Succeeded => EndState::Succeeded,
        proto::TaskState::Failed => EndState::Failed,
        proto::TaskState::Cancelled => EndState::Cancelled,
        proto::TaskState::DeadLettered => EndState::DeadLettered,
    };
    let attempts = task.attempts.iter().map(|attempt| AttemptRow {
        number: attempt.number,
        token: attempt.token,
        session: attempt.session_id.clone(),
        outcome: outcome(attempt.outcome()).to_owned(),
    });
    let nominal = task.nominal_at.map(|at| at.seconds * 1000 + i64::from(at.nanos) / 1_000_000);
    What::FinalTask {
        attempts: attempts.collect(),
        id: task.id,
        state,
        schedule: task.schedule_id,
        nominal_unix_ms: nominal,
    }
}

const fn outcome(outcome: proto::AttemptOutcome) -> &'static str {
    match outcome {
        proto::AttemptOutcome::Unspecified => "",
        proto::AttemptOutcome::Succeeded => "succeeded",
        proto::AttemptOutcome::Failed => "failed",
        proto::AttemptOutcome::TimedOut => "timed_out",
        proto::AttemptOutcome::LeaseExpired => "lease_expired",
        proto::AttemptOutcome::Cancelled => "cancelled",
    }
}

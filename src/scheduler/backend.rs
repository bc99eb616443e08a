//! The scheduler as the gRPC services see it.

use std::time::Duration;

use escapement_engine::{
    ScheduleUid, TaskId,
    cluster_time::RETURN_AFTER,
    name::{Namespace, ScheduleId},
};
use futures_util::{StreamExt as _, stream};
use tokio::sync::oneshot;

use super::{
    Scheduler, Shared,
    core::Message,
    counters,
    submitting::{SubmitFailed, SubmitJob},
    transactions::{self, DueTick, Refusal, SubmitRefusal},
    watch::{self, Subscription, TooManyWatches},
};
use crate::{
    api::backend::{
        Backend, Counters, Progress, SchedulePage, StatusView, Submitted, TaskPage, WatchEvent, WatchStream,
    },
    error::{ApiError, Reason},
    model::{NewTask, Occurrence, ScheduleSpec, ScheduleView, TaskFilter, TaskView},
    records::KEYSPACE_FORMAT,
    store::{RunError, StoreError, metrics::KindSnapshot},
};

/// When a caller should try again that found too many watches open.
const WATCH_RETRY_AFTER: Duration = Duration::from_secs(10);

/// When a caller should try again after a failure of the store.
const STORE_RETRY_AFTER: Duration = Duration::from_secs(1);

type Answer<T> = Result<T, ApiError>;

impl Backend for Scheduler {
    async fn submit(&self, tasks: Vec<NewTask>) -> Vec<Answer<Submitted>> {
        if let Err(error) = self.clock_accepts() {
            return tasks.iter().map(|_| Err(error.clone())).collect();
        }
        let ids: Vec<TaskId> = tasks.iter().map(|task| task.id).collect();
        let (reply, results) = oneshot::channel();
        let ended = || ApiError::new(Reason::ShuttingDown, "the server is shutting down");
        if self.shared().submits.send(SubmitJob { tasks, reply }).await.is_err() {
            return ids.iter().map(|_| Err(ended())).collect();
        }
        match results.await {
            Ok(Ok(results)) => {
                results.into_iter().map(|result| result.map(submitted).map_err(submit_refused)).collect()
            }
            Ok(Err(failed)) => ids.iter().map(|_| Err(submit_failed(&failed))).collect(),
            Err(_) => ids.iter().map(|_| Err(ended())).collect(),
        }
    }

    async fn get_task(&self, namespace: Namespace, id: TaskId) -> Answer<TaskView> {
        let Shared { db, shards, .. } = &**self.shared();
        let view = transactions::get_task(db, *shards, &namespace, id).await.map_err(failed)?;
        view.ok_or_else(|| refused(Refusal::TaskNotFound(id)))
    }

    async fn list_tasks(&self, filter: TaskFilter, after: Option<TaskId>, limit: u32) -> Answer<TaskPage> {
        let Shared { db, shards, .. } = &**self.shared();
        let (tasks, next) =
            transactions::list_tasks(db, *shards, &filter, after, limit as usize).await.map_err(failed)?;
        Ok(TaskPage { tasks, next })
    }

    async fn cancel_task(&self, namespace: Namespace, id: TaskId, reason: String) -> Answer<TaskView> {
        let Shared { db, shards, clock, .. } = &**self.shared();
        let cancelled =
            transactions::cancel(db, *shards, &namespace, id, &reason, clock.now()).await.map_err(failed)?;
        self.shared().tell(Message::Cancelled { id, running: cancelled.running }).await;
        Ok(cancelled.view)
    }

    async fn watch_task(&self, namespace: Namespace, id: TaskId) -> Answer<WatchStream> {
        // Subscribed before the first look, so that no change falls between.
        let subscription = self.shared().watches.subscribe(id).map_err(too_many_watches)?;
        let first = self.get_task(namespace.clone(), id).await?;
        let watch = Watch {
            scheduler: self.clone(),
            namespace,
            id,
            subscription,
            changes: 0,
            shown: None,
            next: Some(first),
            progress: None,
        };
        Ok(stream::unfold(watch, Watch::step).boxed())
    }

    async fn create_schedule(&self, spec: ScheduleSpec) -> Answer<(ScheduleView, bool)> {
        self.clock_accepts()?;
        let Shared { db, shards, clock, rng, .. } = &**self.shared();
        let now = clock.now();
        let uid = ScheduleUid::from_parts(now, rng.u128());
        let (row, created) = transactions::create_schedule(db, *shards, &spec, uid, now).await.map_err(failed)?;
        self.tick_moved(&row).await;
        Ok((row, created))
    }

    async fn get_schedule(&self, namespace: Namespace, id: ScheduleId) -> Answer<ScheduleView> {
        transactions::get_schedule(&self.shared().db, &namespace, &id).await.map_err(failed)
    }

    async fn list_schedules(
        &self,
        namespace: Namespace,
        after: Option<ScheduleId>,
        limit: u32,
    ) -> Answer<SchedulePage> {
        let db = &self.shared().db;
        let (schedules, more) =
            transactions::list_schedules(db, &namespace, after.as_ref(), limit as usize).await.map_err(failed)?;
        let next = schedules.last().filter(|_| more).map(|row| row.spec.id.clone());
        Ok(SchedulePage { schedules, next })
    }

    async fn pause_schedule(&self, namespace: Namespace, id: ScheduleId) -> Answer<ScheduleView> {
        let Shared { db, shards, .. } = &**self.shared();
        let row = transactions::pause_schedule(db, *shards, &namespace, &id).await.map_err(failed)?;
        self.tick_moved(&row).await;
        Ok(row)
    }

    async fn resume_schedule(&self, namespace: Namespace, id: ScheduleId) -> Answer<ScheduleView> {
        self.clock_accepts()?;
        let Shared { db, shards, clock, .. } = &**self.shared();
        let row = transactions::resume_schedule(db, *shards, &namespace, &id, clock.now()).await.map_err(failed)?;
        self.tick_moved(&row).await;
        Ok(row)
    }

    async fn delete_schedule(&self, namespace: Namespace, id: ScheduleId) -> Answer<()> {
        let Shared { db, shards, .. } = &**self.shared();
        // Its tick, should memory hold one, finds nothing.
        transactions::delete_schedule(db, *shards, &namespace, &id).await.map_err(failed)
    }

    async fn trigger_schedule(&self, namespace: Namespace, id: ScheduleId, task: Option<TaskId>) -> Answer<TaskId> {
        let row = self.get_schedule(namespace, id).await?;
        let now = self.shared().clock.earliest();
        let task = NewTask {
            id: task.unwrap_or_else(|| self.shared().rng.task_id(now)),
            namespace: row.spec.namespace.clone(),
            template: row.spec.template.clone(),
            due: now,
            deadline: row.spec.deadline_after.map(|span| now.saturating_add(span)),
            idempotency: None,
            submitted: now,
            occurrence: Some(Occurrence { schedule: row.spec.id, nominal: None, uid: Some(row.uid) }),
            content_hash: row.spec.content_hash,
        };
        let results = self.submit(vec![task]).await;
        let first = results.into_iter().next().expect("one task, one result");
        first.map(|submitted| submitted.id)
    }

    async fn status(&self) -> Answer<StatusView> {
        let shared = self.shared();
        let core = Scheduler::status(self).await;
        let store = shared.db.metrics();
        let conflicts = |kind: &KindSnapshot| kind.retries.get(&StoreError::NOT_COMMITTED).copied().unwrap_or(0);
        Ok(StatusView {
            started: shared.started,
            store: shared.db.kind().to_owned(),
            format_version: KEYSPACE_FORMAT,
            session: self.session(),
            shards_owned: u32::try_from(shared.ownership.shards.len()).unwrap_or(u32::MAX),
            shards_total: shared.shards,
            queues: core.queues,
            workers: core.workers,
            wheel_entries: core.wheel_entries,
            schedules_active: core.schedules,
            clock: core.clock,
            counters: Counters {
                tasks_submitted: counters::read(&shared.counters.submitted),
                attempts_started: counters::read(&shared.counters.started),
                completions_accepted: counters::read(&shared.counters.accepted),
                completions_refused: counters::read(&shared.counters.refused),
                attempts_expired: counters::read(&shared.counters.expired),
                store_transactions: store.values().map(|kind| kind.committed).sum(),
                store_conflicts: store.values().map(conflicts).sum(),
                records_unreadable: counters::read(&shared.counters.unreadable),
            },
        })
    }
}

impl Scheduler {
    /// What depends on what time it is, is refused while the clock is too far off.
    fn clock_accepts(&self) -> Answer<()> {
        if !self.shared().clock_rejected.get() {
            return Ok(());
        }
        let message = "this server's clock is off by more than 5 s, or may be";
        Err(ApiError::new(Reason::ClockRejected, message).with_retry_after(RETURN_AFTER))
    }

    async fn tick_moved(&self, row: &ScheduleView) {
        let shard = row.uid.shard(self.shared().shards);
        let next = row.next.map(|at| DueTick { shard, at, uid: row.uid });
        self.shared().tell(Message::TickMoved { uid: row.uid, next }).await;
    }
}

/// A watch on a task: looks when told.
struct Watch {
    scheduler: Scheduler,
    namespace: Namespace,
    id: TaskId,
    subscription: Subscription,
    /// Of the hint that `next` or `shown` was read after.
    changes: u64,
    shown: Option<TaskView>,
    next: Option<TaskView>,
    /// The last one, shown or not.
    progress: Option<watch::Progress>,
}

impl Watch {
    async fn step(mut self) -> Option<(Answer<WatchEvent>, Self)> {
        if self.shown.as_ref().is_some_and(|shown| shown.state.is_terminal()) {
            return None;
        }
        loop {
            if let Some(view) = self.next.take().filter(|view| self.shown.as_ref() != Some(view)) {
                self.shown = Some(view.clone());
                return Some((Ok(WatchEvent::Task(Box::new(view))), self));
            }
            // The hub outlives its watches.
            self.subscription.hints.changed().await.ok()?;
            let hint = self.subscription.hints.borrow_and_update().clone();
            let progress = hint.progress.filter(|progress| self.progress.as_ref() != Some(progress));
            let shown = progress.as_ref().and_then(|progress| self.of_running(progress));
            if progress.is_some() {
                self.progress = progress;
            }
            if hint.changes == self.changes
                && let Some(event) = shown
            {
                return Some((Ok(WatchEvent::Progress(event)), self));
            }
            self.changes = hint.changes;
            match self.scheduler.get_task(self.namespace.clone(), self.id).await {
                Ok(view) => self.next = Some(view),
                Err(error) => return Some((Err(error), self)),
            }
        }
    }

    /// As progress of the attempt that was shown as running, if that is whose it is.
    fn of_running(&self, progress: &watch::Progress) -> Option<Progress> {
        let running = self.shown.as_ref()?.attempts.last()?;
        (running.token == progress.token && running.ended.is_none()).then(|| Progress {
            attempt: running.number,
            payload: progress.payload.clone(),
            reported: progress.reported,
        })
    }
}

fn submitted(submitted: transactions::Submitted) -> Submitted {
    Submitted { id: submitted.id, due: submitted.due, created: submitted.created }
}

fn submit_refused(refusal: SubmitRefusal) -> ApiError {
    match refusal {
        SubmitRefusal::IdTaken(id) => {
            ApiError::new(Reason::TaskExists, format!("task {id} exists with other content; a new task needs a new id"))
                .with_metadata("task_id", id.to_string())
        }
        SubmitRefusal::KeyTaken(id) => ApiError::new(
            Reason::IdempotencyConflict,
            format!("the idempotency key belongs to task {id}, which has other content"),
        )
        .with_metadata("task_id", id.to_string()),
    }
}

fn too_many_watches(refusal: TooManyWatches) -> ApiError {
    ApiError::new(Reason::Overloaded, refusal.to_string()).with_retry_after(WATCH_RETRY_AFTER)
}

fn submit_failed(failure: &SubmitFailed) -> ApiError {
    let reason = match failure {
        // Trying again under other ids could do it twice, so this is what the caller has to know.
        SubmitFailed { unknown: true, .. } => Reason::OutcomeUnknown,
        SubmitFailed { storage_full: true, .. } => Reason::StorageFull,
        SubmitFailed { .. } => Reason::StoreUnavailable,
    };
    ApiError::new(reason, failure.message.clone()).with_retry_after(STORE_RETRY_AFTER)
}

fn refused(refusal: Refusal) -> ApiError {
    let message = refusal.to_string();
    let reason = match refusal {
        Refusal::NotOwner(_) | Refusal::ShardHeld(..) => Reason::NotOwner,
        Refusal::TaskNotFound(_) => Reason::TaskNotFound,
        Refusal::TaskEnded(..) => Reason::TaskAlreadyEnded,
        Refusal::ScheduleNotFound(_) => Reason::ScheduleNotFound,
        Refusal::ScheduleFinished(_) => Reason::ScheduleFinished,
        Refusal::ScheduleExists(_) => Reason::ScheduleExists,
        Refusal::CreationUnknown(_) => Reason::OutcomeUnknown,
        Refusal::Record(_) | Refusal::Key(_) | Refusal::FormatTooNew(_) | Refusal::Inconsistent(_) => {
            tracing::error!(%message, "the store holds what it cannot hold");
            Reason::Internal
        }
    };
    ApiError::new(reason, message)
}

fn failed(error: RunError<Refusal>) -> ApiError {
    let full = super::storage_full(&error);
    match error {
        RunError::Refused(refusal) => refused(refusal),
        error => {
            let reason = match (&error, full) {
                (_, true) => Reason::StorageFull,
                (RunError::MaybeCommitted { .. }, _) => Reason::OutcomeUnknown,
                _ => Reason::StoreUnavailable,
            };
            ApiError::new(reason, error.to_string()).with_retry_after(STORE_RETRY_AFTER)
        }
    }
}

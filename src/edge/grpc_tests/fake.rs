//! A backend in memory.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use escapement_engine::{
    ScheduleUid, SessionId, TaskId,
    name::{Namespace, ScheduleId},
};
use futures_util::{StreamExt as _, stream};

use crate::{
    api::{
        Backend,
        backend::{Counters, Progress, SchedulePage, StatusView, Submitted, TaskPage, WatchEvent, WatchStream},
        tests::{NOW, view_of},
    },
    error::{ApiError, Reason},
    model::{NewTask, Occurrence, Payload, ScheduleSpec, ScheduleState, ScheduleView, TaskFilter, TaskState, TaskView},
};

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) tasks: BTreeMap<TaskId, (u64, TaskView)>,
    keys: BTreeMap<(Namespace, String), TaskId>,
    pub(super) schedules: BTreeMap<(Namespace, ScheduleId), ScheduleView>,
    /// Sizes of the batches that came.
    pub(super) submits: Vec<usize>,
    /// The next call fails with this.
    pub(super) fail: Option<ApiError>,
}

/// Keeps everything in memory.
#[derive(Debug, Default)]
pub(super) struct Fake(Mutex<State>);

impl Fake {
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn checked(&self) -> Result<MutexGuard<'_, State>, ApiError> {
        let mut state = self.state();
        match state.fail.take() {
            Some(error) => Err(error),
            None => Ok(state),
        }
    }

    fn with_schedule<T>(
        &self,
        namespace: Namespace,
        id: ScheduleId,
        change: impl FnOnce(&mut ScheduleView) -> T,
    ) -> Result<T, ApiError> {
        let mut state = self.checked()?;
        let found = state.schedules.get_mut(&(namespace, id));
        found.map(change).ok_or_else(|| ApiError::new(Reason::ScheduleNotFound, "no such schedule"))
    }
}

fn submit_one(state: &mut State, task: NewTask) -> Result<Submitted, ApiError> {
    let answer = |(hash, view): &(u64, TaskView), reason| {
        let same = *hash == task.content_hash;
        let error = ApiError::new(reason, "was submitted with other content");
        if same { Ok(Submitted { id: view.id, due: view.due, created: false }) } else { Err(error) }
    };
    if let Some(found) = state.tasks.get(&task.id) {
        return answer(found, Reason::TaskExists);
    }
    let key = task.idempotency.as_ref().map(|i| (task.namespace.clone(), i.key.clone()));
    if let Some(id) = key.as_ref().and_then(|key| state.keys.get(key)) {
        return answer(&state.tasks[id], Reason::IdempotencyConflict);
    }
    state.keys.extend(key.map(|key| (key, task.id)));
    let submitted = Submitted { id: task.id, due: task.due, created: true };
    state.tasks.insert(task.id, (task.content_hash, view_of(task)));
    Ok(submitted)
}

impl Backend for Fake {
    async fn submit(&self, tasks: Vec<NewTask>) -> Vec<Result<Submitted, ApiError>> {
        let mut state = self.state();
        state.submits.push(tasks.len());
        if let Some(error) = state.fail.take() {
            return tasks.iter().map(|_| Err(error.clone())).collect();
        }
        tasks.into_iter().map(|task| submit_one(&mut state, task)).collect()
    }

    async fn get_task(&self, namespace: Namespace, id: TaskId) -> Result<TaskView, ApiError> {
        let state = self.checked()?;
        let found = state.tasks.get(&id).map(|(_, view)| view).filter(|view| view.namespace == namespace);
        let missing = || ApiError::new(Reason::TaskNotFound, format!("no task {id} in namespace {namespace}"));
        found.cloned().ok_or_else(missing)
    }

    async fn list_tasks(&self, filter: TaskFilter, after: Option<TaskId>, limit: u32) -> Result<TaskPage, ApiError> {
        let state = self.checked()?;
        let matches = |view: &TaskView| {
            view.namespace == filter.namespace
                && filter.queue.as_ref().is_none_or(|queue| *queue == view.template.queue)
                && (filter.states.is_empty() || filter.states.contains(&view.state))
        };
        let all = state.tasks.values().map(|(_, view)| view).filter(|view| after.is_none_or(|after| view.id > after));
        let mut tasks: Vec<TaskView> = all.filter(|view| matches(view)).take(limit as usize + 1).cloned().collect();
        let more = tasks.len() > limit as usize;
        tasks.truncate(limit as usize);
        let next = tasks.last().filter(|_| more).map(|view| view.id);
        Ok(TaskPage { tasks, next })
    }

    async fn cancel_task(&self, namespace: Namespace, id: TaskId, reason: String) -> Result<TaskView, ApiError> {
        let mut view = self.get_task(namespace, id).await?;
        match view.state {
            TaskState::Cancelled => {}
            state if state.is_terminal() => return Err(ApiError::new(Reason::TaskAlreadyEnded, "has succeeded")),
            _ => {
                (view.state, view.cancel_reason, view.finished) = (TaskState::Cancelled, reason, Some(NOW));
                self.state().tasks.insert(id, (0, view.clone()));
            }
        }
        Ok(view)
    }

    /// Goes on after the terminal state, which the service must not.
    async fn watch_task(&self, namespace: Namespace, id: TaskId) -> Result<WatchStream, ApiError> {
        let view = self.get_task(namespace, id).await?;
        let running = TaskView { state: TaskState::Running, ..view.clone() };
        let ended = TaskView { state: TaskState::Succeeded, result: Some(Payload::default()), ..view.clone() };
        let progress = Progress { attempt: 1, payload: Payload::default(), reported: NOW };
        let events = [
            WatchEvent::Task(Box::new(view)),
            WatchEvent::Task(Box::new(running)),
            WatchEvent::Progress(progress.clone()),
            WatchEvent::Task(Box::new(ended)),
            WatchEvent::Progress(progress),
        ];
        Ok(stream::iter(events.map(Ok)).chain(stream::pending()).boxed())
    }

    async fn create_schedule(&self, spec: ScheduleSpec) -> Result<(ScheduleView, bool), ApiError> {
        let mut state = self.checked()?;
        let key = (spec.namespace.clone(), spec.id.clone());
        if let Some(found) = state.schedules.get(&key) {
            let same = found.spec.content_hash == spec.content_hash;
            let error = ApiError::new(Reason::ScheduleExists, "there is another");
            return if same { Ok((found.clone(), false)) } else { Err(error) };
        }
        let view = ScheduleView {
            spec,
            uid: ScheduleUid::from_parts(NOW, 1),
            state: ScheduleState::Active,
            created: NOW,
            next: None,
            last: None,
            occurrences: 0,
            revision: 0,
        };
        state.schedules.insert(key, view.clone());
        Ok((view, true))
    }

    async fn get_schedule(&self, namespace: Namespace, id: ScheduleId) -> Result<ScheduleView, ApiError> {
        self.with_schedule(namespace, id, |view| view.clone())
    }

    async fn list_schedules(
        &self,
        namespace: Namespace,
        after: Option<ScheduleId>,
        limit: u32,
    ) -> Result<SchedulePage, ApiError> {
        let state = self.checked()?;
        let all = state.schedules.values().filter(|view| view.spec.namespace == namespace);
        let rest = all.filter(|view| after.as_ref().is_none_or(|after| view.spec.id > *after));
        let mut schedules: Vec<ScheduleView> = rest.take(limit as usize + 1).cloned().collect();
        let more = schedules.len() > limit as usize;
        schedules.truncate(limit as usize);
        let next = schedules.last().filter(|_| more).map(|view| view.spec.id.clone());
        Ok(SchedulePage { schedules, next })
    }

    async fn pause_schedule(&self, namespace: Namespace, id: ScheduleId) -> Result<ScheduleView, ApiError> {
        self.with_schedule(namespace, id, |view| {
            view.state = ScheduleState::Paused;
            view.clone()
        })
    }

    async fn resume_schedule(&self, namespace: Namespace, id: ScheduleId) -> Result<ScheduleView, ApiError> {
        self.with_schedule(namespace, id, |view| {
            view.state = ScheduleState::Active;
            view.clone()
        })
    }

    async fn delete_schedule(&self, namespace: Namespace, id: ScheduleId) -> Result<(), ApiError> {
        self.with_schedule(namespace.clone(), id.clone(), |_| ())?;
        self.state().schedules.remove(&(namespace, id));
        Ok(())
    }

    async fn trigger_schedule(
        &self,
        namespace: Namespace,
        id: ScheduleId,
        task: Option<TaskId>,
    ) -> Result<TaskId, ApiError> {
        let spec = self.get_schedule(namespace, id).await?.spec;
        let task = NewTask {
            id: task.unwrap_or(TaskId::from_parts(NOW, 99)),
            namespace: spec.namespace,
            template: spec.template,
            due: NOW,
            deadline: None,
            idempotency: None,
            submitted: NOW,
            occurrence: Some(Occurrence { schedule: spec.id, nominal: None, uid: None }),
            content_hash: spec.content_hash,
        };
        self.submit(vec![task]).await.remove(0).map(|submitted| submitted.id)
    }

    async fn status(&self) -> Result<StatusView, ApiError> {
        let state = self.checked()?;
        Ok(StatusView {
            clock: crate::api::backend::ClockStatus::default(),
            started: NOW,
            store: "memory".into(),
            format_version: 1,
            session: SessionId::from_parts(NOW, 2),
            shards_owned: 3,
            shards_total: 4,
            queues: Vec::new(),
            workers: Vec::new(),
            wheel_entries: 0,
            schedules_active: state.schedules.len() as u64,
            counters: Counters::default(),
        })
    }
}

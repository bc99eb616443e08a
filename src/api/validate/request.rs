//! Requests as a whole: what each call needs, once it is valid.

use escapement_engine::{
    TaskId, Timestamp,
    limits::{CANCEL_REASON_BYTES_MAX, PAGE_SIZE_DEFAULT, PAGE_SIZE_MAX, PREVIEW_COUNT_MAX, SUBMIT_BATCH_TASKS_MAX},
    name::{Namespace, ScheduleId},
};
use escapement_proto::v1::{self, preview_schedule_request::Subject};

use super::{
    Path, TaskContext, Violations, scalar,
    schedule::{Timing, schedule_spec, timing},
    task_spec,
};
use crate::{
    api::{ApiLimits, hash, page::PageToken},
    error::{ApiError, Reason},
    model::{NewTask, ScheduleSpec, TaskFilter, TaskState},
};

/// Occurrences that a preview shows when the caller names no number.
const PREVIEW_COUNT_DEFAULT: u32 = 5;

/// # Errors
/// `INVALID_ARGUMENT` with every field that breaks a limit; so do all functions here.
pub fn submit(request: v1::SubmitRequest, cx: &TaskContext<'_>) -> Result<NewTask, ApiError> {
    let mut v = Violations::new();
    let path = Path::root("task");
    let task = match request.task {
        Some(task) => task_spec(&path, task, cx, &mut v),
        None => {
            v.add(&path, "", "must be there");
            None
        }
    };
    v.finish(task)
}

/// None is accepted if any is malformed.
///
/// # Errors
/// As [`submit`].
pub fn submit_batch(request: v1::SubmitBatchRequest, cx: &TaskContext<'_>) -> Result<Vec<NewTask>, ApiError> {
    let mut v = Violations::new();
    let path = Path::root("tasks");
    let count = request.tasks.len();
    if !(1..=SUBMIT_BATCH_TASKS_MAX).contains(&count) {
        v.add(&path, format!("{count} tasks"), format!("must be 1 to {SUBMIT_BATCH_TASKS_MAX} tasks"));
        return v.finish(None);
    }
    let mut tasks = Vec::with_capacity(count);
    for (index, spec) in request.tasks.into_iter().enumerate() {
        tasks.extend(task_spec(&path.index(index), spec, cx, &mut v));
    }
    v.finish(Some(tasks))
}

/// The task that a call names.
///
/// # Errors
/// As [`submit`].
pub fn task_ref(namespace: &str, id: &str) -> Result<(Namespace, TaskId), ApiError> {
    let mut v = Violations::new();
    let namespace = scalar::namespace(&Path::root("namespace"), namespace, &mut v);
    let id = scalar::task_id(&Path::root("id"), id, &mut v);
    v.finish(namespace.zip(id))
}

/// Task and reason.
///
/// # Errors
/// As [`submit`].
pub fn cancel(request: &v1::CancelTaskRequest) -> Result<(Namespace, TaskId, String), ApiError> {
    let mut v = Violations::new();
    let namespace = scalar::namespace(&Path::root("namespace"), &request.namespace, &mut v);
    let id = scalar::task_id(&Path::root("id"), &request.id, &mut v);
    let reason = scalar::text(&Path::root("reason"), &request.reason, CANCEL_REASON_BYTES_MAX, &mut v);
    v.finish(namespace.zip(id).zip(reason).map(|((namespace, id), reason)| (namespace, id, reason)))
}

/// The schedule that a call names.
///
/// # Errors
/// As [`submit`].
pub fn schedule_ref(namespace: &str, id: &str) -> Result<(Namespace, ScheduleId), ApiError> {
    let mut v = Violations::new();
    let namespace = scalar::namespace(&Path::root("namespace"), namespace, &mut v);
    let id = scalar::schedule_id(&Path::root("id"), id, &mut v);
    v.finish(namespace.zip(id))
}

/// Schedule, and the id of the task to make, if the caller chose one.
///
/// # Errors
/// As [`submit`].
pub fn trigger(request: &v1::TriggerScheduleRequest) -> Result<(Namespace, ScheduleId, Option<TaskId>), ApiError> {
    let mut v = Violations::new();
    let namespace = scalar::namespace(&Path::root("namespace"), &request.namespace, &mut v);
    let id = scalar::schedule_id(&Path::root("id"), &request.id, &mut v);
    let task = if request.task_id.is_empty() {
        Some(None)
    } else {
        scalar::task_id(&Path::root("task_id"), &request.task_id, &mut v).map(Some)
    };
    v.finish(namespace.zip(id).zip(task).map(|((namespace, id), task)| (namespace, id, task)))
}

/// # Errors
/// As [`submit`].
pub fn create_schedule(
    request: v1::CreateScheduleRequest,
    now: Timestamp,
    limits: &ApiLimits,
) -> Result<ScheduleSpec, ApiError> {
    let mut v = Violations::new();
    let path = Path::root("schedule");
    let spec = match request.schedule {
        Some(spec) => schedule_spec(&path, spec, now, limits, &mut v),
        None => {
            v.add(&path, "", "must be there");
            None
        }
    };
    v.finish(spec)
}

/// Where a page of a list starts, and how long it may be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageRequest<K> {
    /// Starts after this key; `None`: at the beginning.
    pub after: Option<K>,
    /// Rows at most, 1 to 1000.
    pub limit: u32,
    /// Goes into the token of the next page.
    pub filter_hash: u64,
}

fn page<K>(
    size: u32,
    token: &str,
    filter_hash: u64,
    key: impl Fn(&[u8]) -> Option<K>,
    v: &mut Violations,
) -> Option<PageRequest<K>> {
    let limit = scalar::count(&Path::root("page_size"), size, PAGE_SIZE_DEFAULT, PAGE_SIZE_MAX, v);
    let after = if token.is_empty() { Some(None) } else { page_token(token, filter_hash, key, v).map(Some) };
    Some(PageRequest { after: after?, limit: limit?, filter_hash })
}

fn page_token<K>(token: &str, filter_hash: u64, key: impl Fn(&[u8]) -> Option<K>, v: &mut Violations) -> Option<K> {
    let decoded = PageToken::decode(token, filter_hash)
        .and_then(|decoded| key(&decoded.after).ok_or(crate::api::page::PageTokenError::Malformed));
    decoded
        .map_err(|error| {
            v.add_with_reason(Reason::InvalidPageToken, &Path::root("page_token"), token, error.to_string());
        })
        .ok()
}

/// Filter and page of a list of tasks.
///
/// # Errors
/// As [`submit`]; `INVALID_PAGE_TOKEN` when only the page token is wrong.
pub fn list_tasks(request: v1::ListTasksRequest) -> Result<(TaskFilter, PageRequest<TaskId>), ApiError> {
    let mut v = Violations::new();
    let namespace = scalar::namespace(&Path::root("namespace"), &request.namespace, &mut v);
    let queue = optional(&request.queue, |text| scalar::queue(&Path::root("queue"), text, &mut v));
    let states = task_states(&request.states, &mut v);
    let schedule = optional(&request.schedule_id, |text| scalar::schedule_id(&Path::root("schedule_id"), text, &mut v));
    let due_from = scalar::optional_timestamp(&Path::root("due_from"), request.due_from.as_ref(), &mut v);
    let until_path = Path::root("due_until");
    let due_until = scalar::optional_timestamp(&until_path, request.due_until.as_ref(), &mut v);
    if let (Some(Some(from)), Some(Some(until))) = (due_from, due_until)
        && until <= from
    {
        v.add(&until_path, until, format!("must be after due_from, {from}"));
    }
    let labels = scalar::labels(&Path::root("labels"), request.labels.clone(), &mut v);
    let filter_hash = task_filter_hash(&request, namespace.as_ref());
    let key = |after: &[u8]| TaskId::from_slice(after);
    let page = page(request.page_size, &request.page_token, filter_hash, key, &mut v);
    let filter = || {
        Some(TaskFilter {
            namespace: namespace?,
            queue: queue?,
            states: states?,
            labels: labels?,
            schedule: schedule?,
            due_from: due_from?,
            due_until: due_until?,
        })
    };
    v.finish(filter().zip(page))
}

/// Empty means that the filter is not set.
fn optional<T>(text: &str, parse: impl FnOnce(&str) -> Option<T>) -> Option<Option<T>> {
    if text.is_empty() { Some(None) } else { parse(text).map(Some) }
}

/// The same for requests that ask for the same rows, however they are written.
fn task_filter_hash(request: &v1::ListTasksRequest, namespace: Option<&Namespace>) -> u64 {
    let mut states = request.states.clone();
    states.sort_unstable();
    states.dedup();
    let filters = v1::ListTasksRequest {
        namespace: namespace.map(ToString::to_string).unwrap_or_default(),
        states,
        page_size: 0,
        page_token: String::new(),
        ..request.clone()
    };
    hash::of_message(b"list tasks", &filters)
}

fn task_states(numbers: &[i32], v: &mut Violations) -> Option<Vec<TaskState>> {
    let path = Path::root("states");
    let mut states = Vec::new();
    let mut valid = true;
    for (index, &number) in numbers.iter().enumerate() {
        match task_state(number) {
            Some(state) if states.contains(&state) => {}
            Some(state) => states.push(state),
            None => {
                v.add(&path.index(index), number, "must be a known task state, 1 to 6");
                valid = false;
            }
        }
    }
    valid.then_some(states)
}

fn task_state(number: i32) -> Option<TaskState> {
    match v1::TaskState::try_from(number).ok()? {
        v1::TaskState::Unspecified => None,
        v1::TaskState::Scheduled => Some(TaskState::Scheduled),
        v1::TaskState::Running => Some(TaskState::Running),
        v1::TaskState::Succeeded => Some(TaskState::Succeeded),
        v1::TaskState::Failed => Some(TaskState::Failed),
        v1::TaskState::Cancelled => Some(TaskState::Cancelled),
        v1::TaskState::DeadLettered => Some(TaskState::DeadLettered),
    }
}

/// Namespace and page of a list of schedules.
///
/// # Errors
/// As [`list_tasks`].
pub fn list_schedules(request: &v1::ListSchedulesRequest) -> Result<(Namespace, PageRequest<ScheduleId>), ApiError> {
    let mut v = Violations::new();
    let namespace = scalar::namespace(&Path::root("namespace"), &request.namespace, &mut v);
    let filters = v1::ListSchedulesRequest {
        namespace: namespace.as_ref().map(ToString::to_string).unwrap_or_default(),
        ..v1::ListSchedulesRequest::default()
    };
    let filter_hash = hash::of_message(b"list schedules", &filters);
    let key = |after: &[u8]| ScheduleId::new(std::str::from_utf8(after).ok()?).ok();
    let page = page(request.page_size, &request.page_token, filter_hash, key, &mut v);
    v.finish(namespace.zip(page))
}

/// What a preview is asked of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PreviewSubject {
    /// A stored schedule.
    Stored(Namespace, ScheduleId),
    /// A rule that need not be stored.
    Rule(Timing),
}

/// Which instants of what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Preview {
    /// Of what.
    pub subject: PreviewSubject,
    /// Later than this.
    pub after: Timestamp,
    /// At most so many, 1 to 1000.
    pub count: u32,
}

/// # Errors
/// As [`submit`].
pub fn preview(request: &v1::PreviewScheduleRequest, now: Timestamp) -> Result<Preview, ApiError> {
    let mut v = Violations::new();
    let namespace = scalar::namespace(&Path::root("namespace"), &request.namespace, &mut v);
    let after = scalar::optional_timestamp(&Path::root("after"), request.after.as_ref(), &mut v);
    let count = scalar::count(&Path::root("count"), request.count, PREVIEW_COUNT_DEFAULT, PREVIEW_COUNT_MAX, &mut v);
    let subject = match &request.subject {
        None => {
            v.add(&Path::root("subject"), "", "must be there: either id or schedule");
            None
        }
        Some(Subject::Id(id)) => {
            let id = scalar::schedule_id(&Path::root("id"), id, &mut v);
            namespace.zip(id).map(|(namespace, id)| PreviewSubject::Stored(namespace, id))
        }
        Some(Subject::Schedule(spec)) => timing(&Path::root("schedule"), spec, now, &mut v).map(PreviewSubject::Rule),
    };
    let preview = || Some(Preview { subject: subject?, after: after?.unwrap_or(now), count: count? });
    v.finish(preview())
}

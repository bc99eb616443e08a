//! Calls about tasks.

use std::collections::{BTreeMap, VecDeque};

use escapement_engine::{TaskId, Timestamp, limits::SUBMIT_BATCH_TASKS_MAX};
use escapement_proto::v1::{self, task_service_client::TaskServiceClient};
use tonic::transport::Channel;

use super::{
    BatchOutcome, Client, ClientError, DECODED_BYTES_MAX, NewTask, Submitted, Watch, missing, task::to_timestamp,
};

pub(super) fn service(channel: Channel) -> TaskServiceClient<Channel> {
    TaskServiceClient::new(channel).max_decoding_message_size(DECODED_BYTES_MAX)
}

/// Which tasks a list shows: each filter that is set must hold.
#[derive(Clone, Debug, Default, PartialEq)]
#[must_use]
pub struct TaskFilter {
    namespace: String,
    queue: String,
    states: Vec<v1::TaskState>,
    labels: BTreeMap<String, String>,
    schedule_id: String,
    due_from: Option<Timestamp>,
    due_until: Option<Timestamp>,
    page_size: u32,
}

impl TaskFilter {
    /// All tasks of the client's namespace.
    pub fn new() -> Self {
        Self::default()
    }

    /// Of this namespace instead of the client's.
    pub fn namespace(mut self, namespace: impl Into<String>) -> Self {
        self.namespace = namespace.into();
        self
    }

    /// Of this queue.
    pub fn queue(mut self, queue: impl Into<String>) -> Self {
        self.queue = queue.into();
        self
    }

    /// In this state; when called again, in one of these.
    pub fn state(mut self, state: v1::TaskState) -> Self {
        self.states.push(state);
        self
    }

    /// With this label; when called again, with all of these.
    pub fn label(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.labels.insert(key.into(), value.into());
        self
    }

    /// Made by this schedule.
    pub fn schedule(mut self, id: impl Into<String>) -> Self {
        self.schedule_id = id.into();
        self
    }

    /// Due at this instant or later.
    pub fn due_from(mut self, at: Timestamp) -> Self {
        self.due_from = Some(at);
        self
    }

    /// Due before this instant.
    pub fn due_until(mut self, at: Timestamp) -> Self {
        self.due_until = Some(at);
        self
    }

    /// Rows of a page: 1 to 1000; 100 unless set.
    pub fn page_size(mut self, rows: u32) -> Self {
        self.page_size = rows;
        self
    }

    fn request(&self, own_namespace: &str, page_token: String) -> v1::ListTasksRequest {
        v1::ListTasksRequest {
            namespace: if self.namespace.is_empty() { own_namespace.to_owned() } else { self.namespace.clone() },
            queue: self.queue.clone(),
            states: self.states.iter().map(|state| i32::from(*state)).collect(),
            labels: self.labels.clone(),
            schedule_id: self.schedule_id.clone(),
            due_from: self.due_from.map(to_timestamp),
            due_until: self.due_until.map(to_timestamp),
            page_size: self.page_size,
            page_token,
        }
    }
}

impl Client {
    /// A new task id of this instant.
    pub fn new_task_id(&self) -> TaskId {
        self.shared.rng.task_id(self.shared.clock.now())
    }

    /// Submits a task. Once this has returned, the task is durable.
    ///
    /// # Errors
    /// When the server refuses the task or cannot be reached in time. In the latter case the
    /// task may exist; submitting it again under the same [`NewTask::id`] or idempotency key
    /// is then safe.
    pub async fn submit(&self, task: NewTask) -> Result<Submitted, ClientError> {
        // Made before the first try, so that the server recognises the second.
        let spec = task.into_spec(&self.shared.namespace, || self.new_task_id());
        let answer = self.call(|channel| {
            let request = v1::SubmitRequest { task: Some(spec.clone()) };
            async move { service(channel).submit(request).await }
        });
        Submitted::from_proto(&answer.await?.value).ok_or_else(|| missing("Submit", "task id and due instant"))
    }

    /// Submits up to 1000 tasks in one call, and says of each what became of it, in the same
    /// order. If any is malformed none is accepted.
    ///
    /// # Errors
    /// As [`Client::submit`].
    pub async fn submit_batch(&self, tasks: Vec<NewTask>) -> Result<Vec<BatchOutcome>, ClientError> {
        if tasks.len() > SUBMIT_BATCH_TASKS_MAX {
            let limit = format!("must have at most {SUBMIT_BATCH_TASKS_MAX} tasks");
            return Err(ClientError::invalid("tasks", tasks.len(), limit));
        }
        let expected = tasks.len();
        let specs = tasks.into_iter().map(|task| task.into_spec(&self.shared.namespace, || self.new_task_id()));
        let specs: Vec<_> = specs.collect();
        let answer = self.call(|channel| {
            let request = v1::SubmitBatchRequest { tasks: specs.clone() };
            async move { service(channel).submit_batch(request).await }
        });
        let results = answer.await?.value.results;
        let outcomes: Option<Vec<_>> = results.into_iter().map(BatchOutcome::from_proto).collect();
        outcomes
            .filter(|outcomes| outcomes.len() == expected)
            .ok_or_else(|| missing("SubmitBatch", "result for each task"))
    }

    /// A task with its payload, result and attempts.
    ///
    /// # Errors
    /// When there is none, or the server cannot be reached in time.
    pub async fn get(&self, id: TaskId) -> Result<v1::Task, ClientError> {
        let answer = self.call(|channel| {
            let request = v1::GetTaskRequest { namespace: self.shared.namespace.clone(), id: id.to_string() };
            async move { service(channel).get(request).await }
        });
        answer.await?.value.task.ok_or_else(|| missing("Get", "task"))
    }

    /// One page of tasks, without payloads, results and attempts, in the order of their ids;
    /// with the token of the next page, unless this is the last. An empty token asks for the
    /// first. A page may be short, even empty, and still have a next one.
    ///
    /// # Errors
    /// When a filter or the token is refused, or the server cannot be reached in time.
    pub async fn list_page(
        &self,
        filter: &TaskFilter,
        page_token: &str,
    ) -> Result<(Vec<v1::Task>, Option<String>), ClientError> {
        let answer = self.call(|channel| {
            let request = filter.request(&self.shared.namespace, page_token.to_owned());
            async move { service(channel).list(request).await }
        });
        let v1::ListTasksResponse { tasks, next_page_token } = answer.await?.value;
        Ok((tasks, Some(next_page_token).filter(|token| !token.is_empty())))
    }

    /// All tasks that the filter names, page by page as they are asked for.
    pub fn list(&self, filter: TaskFilter) -> TaskPages {
        TaskPages { client: self.clone(), filter, token: Some(String::new()), rows: VecDeque::new() }
    }

    /// Cancels a task: once this has returned, no further attempt starts, and a running one's
    /// completion is refused. Cancelling a cancelled task changes nothing.
    ///
    /// # Errors
    /// When the task is not there or has ended otherwise, or the server cannot be reached in time.
    pub async fn cancel(&self, id: TaskId, reason: &str) -> Result<v1::Task, ClientError> {
        let answer = self.call(|channel| {
            let request = v1::CancelTaskRequest {
                namespace: self.shared.namespace.clone(),
                id: id.to_string(),
                reason: reason.to_owned(),
            };
            async move { service(channel).cancel(request).await }
        });
        answer.await?.value.task.ok_or_else(|| missing("Cancel", "task"))
    }

    /// The task now, then each change, until it has ended.
    pub fn watch(&self, id: TaskId) -> Watch {
        Watch::new(self.clone(), id)
    }
}

/// Tasks, page by page. Holds one page at a time.
#[derive(Debug)]
pub struct TaskPages {
    client: Client,
    filter: TaskFilter,
    /// Of the page to ask for; `None` after the last.
    token: Option<String>,
    rows: VecDeque<v1::Task>,
}

impl TaskPages {
    /// The next task; `None` after the last.
    ///
    /// # Errors
    /// As [`Client::list_page`]. The same page is asked for again by the next call.
    pub async fn next(&mut self) -> Result<Option<v1::Task>, ClientError> {
        loop {
            if let Some(task) = self.rows.pop_front() {
                return Ok(Some(task));
            }
            let Some(token) = &self.token else { return Ok(None) };
            let (rows, next) = self.client.list_page(&self.filter, token).await?;
            self.rows = rows.into();
            self.token = next;
        }
    }

    /// All that are left, in memory.
    ///
    /// # Errors
    /// As [`Client::list_page`].
    pub async fn collect(mut self) -> Result<Vec<v1::Task>, ClientError> {
        let mut all = Vec::new();
        while let Some(task) = self.next().await? {
            all.push(task);
        }
        Ok(all)
    }
}

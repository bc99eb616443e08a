//! `escapement.v1.TaskService`.

use escapement_proto::v1::{self, submit_result::Outcome, task_service_server::TaskService};
use futures_util::{StreamExt as _, stream, stream::BoxStream};
use prost::Message as _;
use tonic::{Request, Response, Status};

use super::{
    Api, Backend, PAGE_BYTES_MAX,
    backend::{WatchEvent, WatchStream},
    batch, convert,
    page::PageToken,
    validate::{TaskContext, request},
};
use crate::error::{ApiError, Reason};

/// Validates, asks the backend, answers.
#[derive(Debug)]
pub struct TaskServiceImpl<B>(Api<B>);

impl<B: Backend> TaskServiceImpl<B> {
    pub(super) fn new(api: Api<B>) -> Self {
        Self(api)
    }

    fn context(&self) -> TaskContext<'_> {
        // As early as it may be, so that "now" does not have to wait for the clock's error to pass.
        TaskContext { now: self.0.clock.earliest(), rng: &self.0.rng, limits: &self.0.limits }
    }
}

#[tonic::async_trait]
impl<B: Backend> TaskService for TaskServiceImpl<B> {
    async fn submit(&self, request: Request<v1::SubmitRequest>) -> Result<Response<v1::SubmitResponse>, Status> {
        let task = request::submit(request.into_inner(), &self.context())?;
        let outcome = self.0.backend.submit(vec![task]).await.pop();
        let outcome = outcome.unwrap_or_else(|| Err(ApiError::new(Reason::Internal, "the task got no answer")));
        Ok(Response::new(convert::submitted(outcome?)))
    }

    async fn submit_batch(
        &self,
        request: Request<v1::SubmitBatchRequest>,
    ) -> Result<Response<v1::SubmitBatchResponse>, Status> {
        let tasks = request::submit_batch(request.into_inner(), &self.context())?;
        let outcomes = batch::submit(&*self.0.backend, tasks).await;
        let results = outcomes.into_iter().map(submit_result).collect();
        Ok(Response::new(v1::SubmitBatchResponse { results }))
    }

    async fn get(&self, request: Request<v1::GetTaskRequest>) -> Result<Response<v1::GetTaskResponse>, Status> {
        let request = request.into_inner();
        let (namespace, id) = request::task_ref(&request.namespace, &request.id)?;
        let view = self.0.backend.get_task(namespace, id).await?;
        Ok(Response::new(v1::GetTaskResponse { task: Some(convert::task(view)) }))
    }

    async fn list(&self, request: Request<v1::ListTasksRequest>) -> Result<Response<v1::ListTasksResponse>, Status> {
        let (filter, page) = request::list_tasks(request.into_inner())?;
        let found = self.0.backend.list_tasks(filter, page.after, page.limit).await?;
        let mut next = found.next;
        let mut tasks = Vec::with_capacity(found.tasks.len());
        let mut bytes = 0;
        let mut views = found.tasks.into_iter().peekable();
        while let Some(view) = views.next() {
            let id = view.id;
            let task = convert::task(view);
            bytes += task.encoded_len();
            tasks.push(task);
            if bytes > PAGE_BYTES_MAX && views.peek().is_some() {
                next = Some(id);
                break;
            }
        }
        let token = |next: escapement_engine::TaskId| {
            PageToken { after: next.as_bytes().to_vec(), filter_hash: page.filter_hash }.encode()
        };
        Ok(Response::new(v1::ListTasksResponse { tasks, next_page_token: next.map(token).unwrap_or_default() }))
    }

    async fn cancel(
        &self,
        request: Request<v1::CancelTaskRequest>,
    ) -> Result<Response<v1::CancelTaskResponse>, Status> {
        let (namespace, id, reason) = request::cancel(request.get_ref())?;
        let view = self.0.backend.cancel_task(namespace, id, reason).await?;
        Ok(Response::new(v1::CancelTaskResponse { task: Some(convert::task(view)) }))
    }

    type WatchStream = BoxStream<'static, Result<v1::WatchTaskResponse, Status>>;

    async fn watch(&self, request: Request<v1::WatchTaskRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let request = request.into_inner();
        let (namespace, id) = request::task_ref(&request.namespace, &request.id)?;
        let events = self.0.backend.watch_task(namespace, id).await?;
        Ok(Response::new(until_terminal(events)))
    }
}

fn submit_result(outcome: Result<super::backend::Submitted, ApiError>) -> v1::SubmitResult {
    let outcome = match outcome {
        Ok(submitted) => Outcome::Accepted(convert::submitted(submitted)),
        Err(error) => {
            Outcome::Error(v1::SubmitError { reason: error.reason.code().to_owned(), message: error.message })
        }
    };
    v1::SubmitResult { outcome: Some(outcome) }
}

/// Ends after the first terminal state, or after an error, whatever the backend goes on to say.
fn until_terminal(events: WatchStream) -> BoxStream<'static, Result<v1::WatchTaskResponse, Status>> {
    let step = |events: Option<WatchStream>| async move {
        let mut events = events?;
        let event = events.next().await?;
        let last = match &event {
            Ok(WatchEvent::Task(view)) => view.state.is_terminal(),
            Ok(WatchEvent::Progress(_)) => false,
            Err(_) => true,
        };
        let message = event.map(convert::watch_event).map_err(Status::from);
        Some((message, (!last).then_some(events)))
    };
    stream::unfold(Some(events), step).boxed()
}

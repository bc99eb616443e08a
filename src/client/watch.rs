//! Watching a task until it has ended.

use std::{fmt, time::Duration};

use escapement_engine::TaskId;
use escapement_proto::v1::{self, watch_task_response::Event};
use tonic::Streaming;

use super::{Client, ClientError, tasks};

/// A stream that is silent for so long is opened anew. A task may well be silent for longer;
/// but so may a connection whose other end has vanished, and the two look the same.
const SILENCE_MAX: Duration = Duration::from_secs(60);

/// Something happened to the watched task.
#[derive(Clone, Debug, PartialEq)]
pub enum WatchEvent {
    /// The task as it now stands.
    Task(Box<v1::Task>),
    /// What its handler reported.
    Progress(v1::Progress),
}

/// A task that is being watched. See [`Client::watch`].
///
/// A broken stream is opened again, with the deadline of the client for each time. Changes
/// that come and go while there is no stream are not seen one by one: what is seen is the
/// task as it stands afterwards.
pub struct Watch {
    client: Client,
    id: TaskId,
    stream: Option<Streaming<v1::WatchTaskResponse>>,
    /// What was last told, so that a new stream does not tell it again.
    last: Option<Box<v1::Task>>,
    ended: bool,
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch").field("id", &self.id).field("ended", &self.ended).finish_non_exhaustive()
    }
}

impl Watch {
    pub(super) fn new(client: Client, id: TaskId) -> Self {
        Self { client, id, stream: None, last: None, ended: false }
    }

    /// The next event; `None` once the task has ended and that was told. Nothing is lost when
    /// the future is dropped before it resolves.
    ///
    /// # Errors
    /// When the task is not there, or the server cannot be reached in time. The next call
    /// tries again.
    pub async fn next(&mut self) -> Result<Option<WatchEvent>, ClientError> {
        while !self.ended {
            let stream = match &mut self.stream {
                Some(stream) => stream,
                None => {
                    let opened = open(&self.client, self.id).await?;
                    self.stream.insert(opened)
                }
            };
            let silence = self.client.shared.clock.sleep(SILENCE_MAX);
            let message = tokio::select! {
                biased;
                message = stream.message() => message,
                () = silence => Ok(None),
            };
            let event = match message {
                Ok(Some(message)) => message.event,
                Ok(None) => {
                    self.reopen().await;
                    continue;
                }
                Err(status) => {
                    tracing::debug!(%status, "the watch broke");
                    self.reopen().await;
                    continue;
                }
            };
            match event {
                Some(Event::Task(task)) if self.last.as_deref() != Some(&task) => {
                    self.ended = is_terminal(task.state());
                    let task = Box::new(task);
                    self.last = Some(task.clone());
                    return Ok(Some(WatchEvent::Task(task)));
                }
                Some(Event::Progress(progress)) => return Ok(Some(WatchEvent::Progress(progress))),
                // What was told already, or an event of a newer server.
                Some(Event::Task(_)) | None => {}
            }
        }
        Ok(None)
    }

    /// Waits until the task has ended.
    ///
    /// # Errors
    /// As [`Watch::next`].
    pub async fn ended(mut self) -> Result<v1::Task, ClientError> {
        while self.next().await?.is_some() {}
        Ok(*self.last.expect("the watch ends only after it told the task's end"))
    }

    async fn reopen(&mut self) {
        self.stream = None;
        // A server that ends each stream at once must not be asked in a tight loop.
        self.client.shared.clock.sleep(Duration::from_millis(100)).await;
    }
}

async fn open(client: &Client, id: TaskId) -> Result<Streaming<v1::WatchTaskResponse>, ClientError> {
    let answer = client.call(|channel| {
        let request = v1::WatchTaskRequest { namespace: client.shared.namespace.clone(), id: id.to_string() };
        async move { tasks::service(channel).watch(request).await }
    });
    Ok(answer.await?.value)
}

pub(super) const fn is_terminal(state: v1::TaskState) -> bool {
    match state {
        v1::TaskState::Unspecified | v1::TaskState::Scheduled | v1::TaskState::Running => false,
        v1::TaskState::Succeeded | v1::TaskState::Failed | v1::TaskState::Cancelled | v1::TaskState::DeadLettered => {
            true
        }
    }
}

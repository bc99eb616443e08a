//! The client: submit, read, cancel and watch tasks, and manage schedules.
//!
//! ```no_run
//! use std::time::Duration;
//!
//! use escapement::client::{Client, NewTask};
//!
//! # async fn submit() -> Result<(), Box<dyn std::error::Error>> {
//! let client = Client::connect("http://127.0.0.1:7250")?;
//! let mail = NewTask::new("mail").payload_json(r#"{"to": "ada@example.org"}"#).delay(Duration::from_secs(60));
//! let submitted = client.submit(mail).await?;
//! let mut watch = client.watch(submitted.id);
//! while let Some(event) = watch.next().await? {
//!     println!("{event:?}");
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # Why a call may be repeated
//!
//! Every call here says the same thing however often it is said: the client makes a task's id
//! before its first try, so that a submission whose answer was lost is recognised when it
//! comes again. So all calls are tried again, with exponential backoff and jitter, while the
//! server says `UNAVAILABLE`, `RESOURCE_EXHAUSTED` or `ABORTED`, while it cannot be reached,
//! and when it does not know what became of the call; a wait that the server asks for
//! (`RetryInfo`) is kept. All tries together end with the deadline, 30 s unless
//! [`ClientBuilder::deadline`] says otherwise. A full disk is told at once: waiting does not
//! empty it.
//!
//! The one exception is [`Client::trigger_schedule`] in the hands of a caller who calls it
//! twice: each call is a trigger of its own. Its tries within one call share a task id.
//!
//! # What it never does
//!
//! It keeps no state but its connection, and starts nothing in the background. Dropping the
//! future of a call gives the call up; what the server did with it is then unknown.

mod error;
mod retry;
mod schedule;
mod schedules;
pub(crate) mod task;
mod tasks;

mod watch;

use std::{fmt, sync::Arc, time::Duration};

pub use error::ClientError;
pub use escapement_proto::v1 as proto;
pub use schedule::NewSchedule;
pub use schedules::{Created, PreviewOf};
pub use task::{BatchOutcome, NewTask, Submitted};
pub use tasks::{TaskFilter, TaskPages};
use tokio::sync::Mutex;
use tonic::transport::Channel;
pub use watch::{Watch, WatchEvent};

use crate::{
    clock::SharedClock,
    edge::{SystemClock, net},
    error::Reason,
    rng::Rng,
};

/// How long all tries of one call may take together, unless the builder says otherwise.
pub const DEADLINE_DEFAULT: Duration = Duration::from_secs(30);
/// The longest deadline that the builder takes.
pub const DEADLINE_MAX: Duration = Duration::from_secs(24 * 3600);
/// Bytes of the largest answer that is read: a full page of tasks with long errors.
const DECODED_BYTES_MAX: usize = 64 << 20;

/// A client of one server. Cheap to clone; clones share the connection.
#[derive(Clone)]
pub struct Client {
    shared: Arc<Shared>,
}

struct Shared {
    endpoint: String,
    namespace: String,
    deadline: Duration,
    clock: SharedClock,
    rng: Rng,
    /// `None` until it is needed, and after it failed.
    channel: Mutex<Option<Channel>>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("endpoint", &self.shared.endpoint)
            .field("namespace", &self.shared.namespace)
            .finish_non_exhaustive()
    }
}

/// Collects what a [`Client`] is to be. See [`Client::builder`].
#[derive(Debug)]
#[must_use]
pub struct ClientBuilder {
    endpoint: String,
    namespace: String,
    deadline: Duration,
    clock: Option<SharedClock>,
    rng: Option<Rng>,
}

impl ClientBuilder {
    /// The namespace of all calls that name no other. `default` unless set.
    pub fn namespace(mut self, namespace: impl Into<String>) -> Self {
        self.namespace = namespace.into();
        self
    }

    /// How long all tries of one call may take together: up to 24 h; 30 s unless set. Zero
    /// means one try that takes no time, which nothing survives.
    pub fn deadline(mut self, span: Duration) -> Self {
        self.deadline = span;
        self
    }

    /// The clock. The machine's unless set.
    pub fn clock(mut self, clock: SharedClock) -> Self {
        self.clock = Some(clock);
        self
    }

    /// Where ids and jitter come from. Seeded by the system unless set.
    pub fn rng(mut self, rng: Rng) -> Self {
        self.rng = Some(rng);
        self
    }

    /// Checks everything. Nothing is connected yet.
    ///
    /// # Errors
    /// Names the field, the value and the limit of what is wrong.
    pub fn build(self) -> Result<Client, ClientError> {
        net::check_endpoint(&self.endpoint).map_err(ClientError::endpoint)?;
        if !self.namespace.is_empty() {
            escapement_engine::name::Namespace::new(&self.namespace)
                .map_err(|error| ClientError::invalid("namespace", &error.value, format!("must be {}", error.rule)))?;
        }
        if self.deadline > DEADLINE_MAX {
            return Err(ClientError::invalid("deadline", format!("{:?}", self.deadline), "must be at most 24 h"));
        }
        Ok(Client {
            shared: Arc::new(Shared {
                endpoint: self.endpoint,
                namespace: self.namespace,
                deadline: self.deadline,
                clock: self.clock.unwrap_or_else(|| Arc::new(SystemClock::new())),
                rng: self.rng.unwrap_or_else(Rng::from_entropy),
                channel: Mutex::new(None),
            }),
        })
    }
}

impl Client {
    /// A client of the server at `http://host:port`. It connects with the first call.
    ///
    /// # Errors
    /// When the address is malformed.
    pub fn connect(endpoint: impl Into<String>) -> Result<Self, ClientError> {
        Self::builder(endpoint).build()
    }

    /// Starts the making of a client of the server at `http://host:port`.
    pub fn builder(endpoint: impl Into<String>) -> ClientBuilder {
        ClientBuilder {
            endpoint: endpoint.into(),
            namespace: "default".to_owned(),
            deadline: DEADLINE_DEFAULT,
            clock: None,
            rng: None,
        }
    }

    /// The address of the server, as it was given.
    pub fn endpoint(&self) -> &str {
        &self.shared.endpoint
    }

    /// The namespace of all calls that name no other.
    pub fn namespace(&self) -> &str {
        &self.shared.namespace
    }

    /// What the server says of itself.
    ///
    /// # Errors
    /// When the server refuses the call or cannot be reached in time.
    pub async fn status(&self) -> Result<proto::StatusResponse, ClientError> {
        let answer = self.call(|channel| async move {
            proto::admin_service_client::AdminServiceClient::new(channel)
                .max_decoding_message_size(DECODED_BYTES_MAX)
                .status(proto::StatusRequest {})
                .await
        });
        Ok(answer.await?.value)
    }

    /// The given namespace, or else the client's own.
    fn namespace_or_own(&self, given: String) -> String {
        if given.is_empty() { self.shared.namespace.clone() } else { given }
    }
}

/// An answer lacks what the API promises: the server is not what it says.
fn missing(call: &'static str, what: &'static str) -> ClientError {
    ClientError::api(crate::error::ApiError::new(
        Reason::Unknown,
        format!("the server's answer to {call} has no usable {what}"),
    ))
}

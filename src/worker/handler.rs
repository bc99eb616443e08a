//! What a user writes: a [`Handler`], and what it gives back.

use std::{borrow::Cow, fmt, future::Future, time::Duration};

use bytes::Bytes;
use futures_util::{FutureExt as _, future::BoxFuture};

use super::Context;

/// Opaque bytes and what they are.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Payload {
    /// The bytes. At most what the server allows, 1 MiB unless configured otherwise.
    pub data: Bytes,
    /// Media type (RFC 6838), such as `application/json`. At most 255 bytes; may be empty.
    pub content_type: String,
    /// It was longer: this is its beginning.
    pub truncated: bool,
}

impl Payload {
    /// Bytes of this media type.
    pub fn new(data: impl Into<Bytes>, content_type: impl Into<String>) -> Self {
        Self { data: data.into(), content_type: content_type.into(), truncated: false }
    }

    /// Marked as the beginning of something longer, when it is.
    #[must_use]
    pub fn truncated(self, truncated: bool) -> Self {
        Self { truncated, ..self }
    }

    /// `text/plain; charset=utf-8`.
    pub fn text(text: impl Into<String>) -> Self {
        Self::new(text.into(), "text/plain; charset=utf-8")
    }

    /// `application/json`. The text is taken as it is.
    pub fn json(text: impl Into<String>) -> Self {
        Self::new(text.into(), "application/json")
    }
}

impl fmt::Debug for Payload {
    /// Shows the size, not the bytes: payloads may be secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Payload({} bytes, {:?})", self.data.len(), self.content_type)
    }
}

/// The result of an attempt that succeeded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Output(pub Payload);

impl Output {
    /// No result.
    pub fn empty() -> Self {
        Self::default()
    }

    /// A result as text.
    pub fn text(text: impl Into<String>) -> Self {
        Self(Payload::text(text))
    }

    /// A result as JSON. The text is taken as it is.
    pub fn json(text: impl Into<String>) -> Self {
        Self(Payload::json(text))
    }
}

impl From<()> for Output {
    fn from((): ()) -> Self {
        Self::empty()
    }
}

impl From<Payload> for Output {
    fn from(payload: Payload) -> Self {
        Self(payload)
    }
}

/// Why an attempt failed. Unless it says otherwise, the task is tried again as its retry
/// policy tells.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{kind}: {message}")]
pub struct TaskFailure {
    /// Short stable name, matched against the policy's `non_retryable_errors`. At most 128
    /// bytes; the rest is cut off.
    pub kind: Cow<'static, str>,
    /// For people. At most 8 KiB; a longer text is cut and ends with how many bytes are missing.
    pub message: Box<str>,
    /// Another attempt cannot help.
    pub non_retryable: bool,
    /// Output of the failed attempt. At most 64 KiB; the rest is cut off, and marked as truncated.
    pub details: Option<Box<Payload>>,
    /// The next attempt waits at least this long, whatever the policy says.
    pub retry_after: Option<Duration>,
}

impl TaskFailure {
    /// A failure after which the task is tried again.
    pub fn retryable(kind: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Self {
            kind: kind.into(),
            message: message.into().into_boxed_str(),
            non_retryable: false,
            details: None,
            retry_after: None,
        }
    }

    /// A failure that no further attempt could mend.
    pub fn non_retryable(kind: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Self { non_retryable: true, ..Self::retryable(kind, message) }
    }

    /// Of kind `error`, with the text of an error and of its sources.
    pub fn from_error(error: &dyn std::error::Error) -> Self {
        let mut message = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            message = format!("{message}: {cause}");
            source = cause.source();
        }
        Self::retryable("error", message)
    }

    /// With the output of the failed attempt.
    #[must_use]
    pub fn with_details(mut self, details: Payload) -> Self {
        self.details = Some(Box::new(details));
        self
    }

    /// With the least wait before the next attempt.
    #[must_use]
    pub fn with_retry_after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }
}

/// Runs the tasks of a queue.
///
/// Every async closure `Fn(Context) -> impl Future<Output = Result<Output, TaskFailure>>` is
/// one. The same handler runs many attempts at one time.
///
/// The future is dropped when the attempt is over for the server (see [`super`]), so what
/// must be undone belongs in a `Drop`. It must not block its thread: then it can be neither
/// cancelled nor timed out. A panic counts as a failure of kind `panic`.
pub trait Handler: Send + Sync + 'static {
    /// Runs one attempt.
    fn run(&self, ctx: Context) -> BoxFuture<'_, Result<Output, TaskFailure>>;
}

impl<F, Fut> Handler for F
where
    F: Fn(Context) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Output, TaskFailure>> + Send + 'static,
{
    fn run(&self, ctx: Context) -> BoxFuture<'_, Result<Output, TaskFailure>> {
        self(ctx).boxed()
    }
}

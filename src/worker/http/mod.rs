//! A ready-made worker that posts to HTTP servers.
//!
//! Made [with a fixed URL](HttpHandler::fixed), it posts the payload as it is. Made
//! [without](HttpHandler::per_task), the payload is JSON, an [`HttpRequest`].
//!
//! Each request carries `Escapement-Task-Id`, `Escapement-Attempt`, `Escapement-Token` and
//! `Idempotency-Key` (the task id: the same for every attempt).
//!
//! | answer | becomes |
//! |---|---|
//! | 2xx | success; the body is the result |
//! | 429, 503 | `http-429`, `http-503`; the next attempt waits as `Retry-After` says, at most a day |
//! | 408, 425, other 5xx | `http-<status>`, retried |
//! | 3xx, other 4xx | `http-<status>`, not retried; redirects are not followed |
//! | none | `http-transport`, or `http-timeout`; retried |
//!
//! Of a body the first 64 KiB are kept, of an error's as its details.
//!
//! ```no_run
//! use escapement::worker::{Worker, http::HttpHandler};
//!
//! # fn make() -> Result<(), Box<dyn std::error::Error>> {
//! let hooks = HttpHandler::per_task()?.allow_hosts(["hooks.example.org", "*.internal.example"]);
//! let worker = Worker::builder("http://127.0.0.1:7250").queue("http", hooks).build()?;
//! # Ok(())
//! # }
//! ```

mod request;
mod response;
#[cfg(test)]
mod tests;

use std::time::Duration;

use futures_util::{FutureExt as _, future::BoxFuture};
use reqwest::{
    Client, Url,
    header::{CONTENT_TYPE, HeaderMap, HeaderValue},
    redirect,
};

use self::request::Call;
pub use self::request::{HEADERS_MAX, HttpRequest, TIMEOUT_MAX};
use super::{Context, Handler, Output, TaskFailure};

/// Bytes of a response's body that are kept.
pub const RESPONSE_BYTES_MAX: usize = 64 << 10;
/// Longest wait that a `Retry-After` can ask for; longer ones are cut to it.
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(24 * 3600);
/// Longest wait for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// The handler cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum HttpSetupError {
    /// The fixed URL cannot be posted to.
    #[error("url: `{value}` is refused: {limit}")]
    Url {
        /// What was given.
        value: String,
        /// The rule that it breaks.
        limit: String,
    },
    /// The TLS library could not be set up.
    #[error("cannot set up the HTTP client: {0}")]
    Client(#[source] reqwest::Error),
}

/// Posts the tasks of a queue. See [`self`].
#[derive(Clone, Debug)]
pub struct HttpHandler {
    client: Client,
    fixed: Option<Url>,
    /// `None`: any host.
    hosts: Option<Vec<String>>,
}

impl HttpHandler {
    /// Posts every payload as it is, with its content type, to this URL.
    ///
    /// # Errors
    /// When the URL is not an absolute `http` or `https` URL, or TLS cannot be set up.
    pub fn fixed(url: &str) -> Result<Self, HttpSetupError> {
        let parsed = request::parse_url(url).map_err(|limit| HttpSetupError::Url { value: url.to_owned(), limit })?;
        Ok(Self { fixed: Some(parsed), ..Self::per_task()? })
    }

    /// Posts as each payload says: an [`HttpRequest`] in JSON.
    ///
    /// # Errors
    /// When TLS cannot be set up.
    pub fn per_task() -> Result<Self, HttpSetupError> {
        let client = Client::builder()
            .redirect(redirect::Policy::none())
            .connect_timeout(CONNECT_TIMEOUT)
            .no_proxy()
            .user_agent(concat!("escapement/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(HttpSetupError::Client)?;
        Ok(Self { client, fixed: None, hosts: None })
    }

    /// Refuses all hosts but these. `example.org` is this host at any port,
    /// `example.org:8080` only at that one, `*.example.org` every host below it. An IPv6
    /// address stands in brackets.
    #[must_use]
    pub fn allow_hosts(mut self, hosts: impl IntoIterator<Item = impl Into<String>>) -> Self {
        let hosts = hosts.into_iter().map(|host| host.into().to_ascii_lowercase());
        self.hosts.get_or_insert_default().extend(hosts);
        self
    }

    fn check_host(&self, url: &Url) -> Result<(), TaskFailure> {
        let (Some(allowed), Some(host)) = (&self.hosts, url.host_str()) else { return Ok(()) };
        let port = url.port_or_known_default().unwrap_or_default();
        if allowed.iter().any(|pattern| request::host_matches(pattern, host, port)) {
            return Ok(());
        }
        let message = format!("url: host `{host}:{port}` is not one of those that this worker may post to");
        Err(TaskFailure::non_retryable("host-refused", message))
    }

    async fn post(&self, ctx: Context) -> Result<Output, TaskFailure> {
        let call = match &self.fixed {
            Some(url) => Call::fixed(url.clone(), ctx.payload()),
            None => Call::from_payload(ctx.payload())?,
        };
        self.check_host(&call.url)?;
        let timeout = call.timeout;
        let answer = self.exchange(call, &ctx);
        let out_of_time = async {
            match timeout {
                Some(span) => ctx.clock().sleep(span).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            cause = ctx.cancelled() => Err(TaskFailure::retryable("stopped", format!("the request was given up, since {cause}"))),
            answer = answer => answer,
            () = out_of_time => {
                let ms = timeout.unwrap_or_default().as_millis();
                Err(TaskFailure::retryable("http-timeout", format!("no whole answer within timeout_ms = {ms}")))
            }
        }
    }

    async fn exchange(&self, call: Call, ctx: &Context) -> Result<Output, TaskFailure> {
        let Call { url, mut headers, body, .. } = call;
        stamp(&mut headers, ctx);
        let response = self.client.post(url).headers(headers).body(body).send().await.map_err(transport)?;
        response::read(response, ctx).await
    }
}

impl Handler for HttpHandler {
    fn run(&self, ctx: Context) -> BoxFuture<'_, Result<Output, TaskFailure>> {
        self.post(ctx).boxed()
    }
}

fn stamp(headers: &mut HeaderMap, ctx: &Context) {
    let task_id = HeaderValue::from_str(&ctx.task_id().to_string()).expect("a UUID is ASCII");
    headers.insert("escapement-task-id", task_id.clone());
    headers.insert("idempotency-key", task_id);
    headers.insert("escapement-attempt", HeaderValue::from(ctx.attempt()));
    headers.insert("escapement-token", HeaderValue::from(ctx.token().0));
    headers.entry(CONTENT_TYPE).or_insert(HeaderValue::from_static("application/octet-stream"));
}

/// Without the URL, which may hold a secret and would end up in the task's history.
fn transport(error: reqwest::Error) -> TaskFailure {
    let error = error.without_url();
    let kind = if error.is_timeout() { "http-timeout" } else { "http-transport" };
    TaskFailure { kind: kind.into(), ..TaskFailure::from_error(&error) }
}

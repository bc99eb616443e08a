//! How a worker is made: [`WorkerBuilder`] checks what it is given, once, at the edge.

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use escapement_engine::{
    TaskId, Token,
    limits::{LABEL_KEY_CHARS_MAX, LABEL_VALUE_BYTES_MAX, LABELS_MAX, SESSION_QUEUES_MAX, WORKER_NAME_BYTES_MAX},
    name::{Namespace, QueueName},
};
use tokio::sync::Semaphore;

use super::{Handler, Verdict, Worker, verdict::OnVerdict};
use crate::{
    clock::SharedClock,
    edge::{SystemClock, net},
    rng::Rng,
};

/// Handlers that one worker runs at one time, at most.
pub const CONCURRENCY_MAX: u32 = 10_000;
/// Servers that one worker knows, at most.
pub const ENDPOINTS_MAX: usize = 64;
/// Longest time that an orderly end may take.
pub const DRAIN_TIMEOUT_MAX: Duration = Duration::from_secs(24 * 3600);
/// Longest grace of a cancelled handler.
pub const CANCEL_GRACE_MAX: Duration = Duration::from_secs(300);
/// Shortest time between two reports of progress.
pub const PROGRESS_INTERVAL_MIN: Duration = Duration::from_millis(100);
/// Longest time between two reports of progress.
pub const PROGRESS_INTERVAL_MAX: Duration = Duration::from_secs(60);

/// A worker cannot be made of what the builder was given.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: `{value}` is refused: {limit}")]
pub struct InvalidWorker {
    /// What was set.
    pub field: &'static str,
    /// To what, cut to 64 characters.
    pub value: String,
    /// The rule that it breaks, with its limit.
    pub limit: String,
}

impl InvalidWorker {
    fn new(field: &'static str, value: &dyn fmt::Display, limit: impl Into<String>) -> Self {
        Self { field, value: value.to_string().chars().take(64).collect(), limit: limit.into() }
    }
}

/// What a worker takes from a queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueOptions {
    /// The queue.
    pub name: String,
    /// Attempts of this queue at one time, up to 10,000; 0: bounded by the worker's
    /// concurrency alone.
    pub concurrency_max: u32,
}

impl QueueOptions {
    /// Bounded by the worker's concurrency alone.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), concurrency_max: 0 }
    }

    /// With a bound of its own.
    #[must_use]
    pub const fn concurrency_max(mut self, attempts: u32) -> Self {
        self.concurrency_max = attempts;
        self
    }
}

/// A queue with its handler.
#[derive(Clone)]
pub(super) struct Subscription {
    pub(super) handler: Arc<dyn Handler>,
    pub(super) concurrency_max: u32,
    pub(super) slots: Option<Arc<Semaphore>>,
}

/// What the builder has checked.
pub(super) struct Options {
    pub(super) endpoints: Vec<String>,
    pub(super) namespace: Namespace,
    pub(super) name: String,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) concurrency: u32,
    pub(super) queues: BTreeMap<QueueName, Subscription>,
    pub(super) clock: SharedClock,
    pub(super) rng: Rng,
    pub(super) drain_timeout: Duration,
    pub(super) cancel_grace: Duration,
    pub(super) progress_interval: Duration,
    pub(super) on_verdict: Option<OnVerdict>,
}

/// Collects what a [`Worker`] is to be. See [`Worker::builder`].
#[must_use]
pub struct WorkerBuilder {
    endpoints: Vec<String>,
    namespace: String,
    name: String,
    labels: BTreeMap<String, String>,
    concurrency: u32,
    queues: Vec<(QueueOptions, Arc<dyn Handler>)>,
    clock: Option<SharedClock>,
    rng: Option<Rng>,
    drain_timeout: Duration,
    cancel_grace: Duration,
    progress_interval: Duration,
    on_verdict: Option<OnVerdict>,
}

impl fmt::Debug for WorkerBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WorkerBuilder")
            .field("endpoints", &self.endpoints)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl WorkerBuilder {
    pub(super) fn new(endpoint: String) -> Self {
        Self {
            endpoints: vec![endpoint],
            namespace: "default".to_owned(),
            name: "worker".to_owned(),
            labels: BTreeMap::new(),
            concurrency: 16,
            queues: Vec::new(),
            clock: None,
            rng: None,
            drain_timeout: Duration::from_secs(30),
            cancel_grace: Duration::from_secs(5),
            progress_interval: Duration::from_millis(500),
            on_verdict: None,
        }
    }

    /// One more server, tried in turn when another cannot be reached. At most 64.
    pub fn or_endpoint(mut self, endpoint: impl Into<String>) -> Self {
        self.endpoints.push(endpoint.into());
        self
    }

    /// The namespace whose queues it takes from. `default` unless set.
    pub fn namespace(mut self, namespace: impl Into<String>) -> Self {
        self.namespace = namespace.into();
        self
    }

    /// A name for people, at most 128 bytes; never used as an identity.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// One more label: key of 1 to 63 characters, value of at most 255 bytes; at most 32.
    pub fn label(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.labels.insert(key.into(), value.into());
        self
    }

    /// Handlers that run at one time, over all queues: 1 to 10,000; 16 unless set.
    pub fn concurrency(mut self, slots: u32) -> Self {
        self.concurrency = slots;
        self
    }

    /// Takes from this queue. 1 to 256 queues.
    pub fn queue(self, name: impl Into<String>, handler: impl Handler) -> Self {
        self.queue_with(QueueOptions::new(name), handler)
    }

    /// Takes from this queue, with options.
    pub fn queue_with(mut self, options: QueueOptions, handler: impl Handler) -> Self {
        self.queues.push((options, Arc::new(handler)));
        self
    }

    /// The clock. The machine's unless set.
    pub fn clock(mut self, clock: SharedClock) -> Self {
        self.clock = Some(clock);
        self
    }

    /// Where session ids and jitter come from. Seeded by the system unless set.
    pub fn rng(mut self, rng: Rng) -> Self {
        self.rng = Some(rng);
        self
    }

    /// How long an orderly end waits for handlers, at most 24 h; 30 s unless set. After it
    /// they are cancelled and have the grace that a cancelled handler has.
    pub fn drain_timeout(mut self, span: Duration) -> Self {
        self.drain_timeout = span;
        self
    }

    /// How long a cancelled handler may go on until it is dropped, at most 5 min; 5 s
    /// unless set.
    pub fn cancel_grace(mut self, span: Duration) -> Self {
        self.cancel_grace = span;
        self
    }

    /// Least time between two messages of progress: 100 ms to 60 s; 500 ms unless set.
    pub fn progress_interval(mut self, span: Duration) -> Self {
        self.progress_interval = span;
        self
    }

    /// Calls `told` with the server's answer to each completion: once, with the first that comes. An
    /// attempt that was taken back or lost with the lease has none. It is called by the session,
    /// which does nothing else meanwhile, so it must not block.
    pub fn on_verdict(mut self, told: impl Fn(TaskId, Token, Verdict) + Send + Sync + 'static) -> Self {
        self.on_verdict = Some(Arc::new(told));
        self
    }

    /// Checks everything. Nothing is connected yet.
    ///
    /// # Errors
    /// Names the field, the value and the limit of the first thing that is wrong.
    pub fn build(self) -> Result<Worker, InvalidWorker> {
        check_endpoints(&self.endpoints)?;
        let namespace = Namespace::new(&self.namespace)
            .map_err(|error| InvalidWorker::new("namespace", &self.namespace, error.rule))?;
        if self.name.len() > WORKER_NAME_BYTES_MAX {
            let limit = format!("it has {} bytes; the limit is {WORKER_NAME_BYTES_MAX}", self.name.len());
            return Err(InvalidWorker::new("name", &self.name, limit));
        }
        check_labels(&self.labels)?;
        if !(1..=CONCURRENCY_MAX).contains(&self.concurrency) {
            let limit = format!("it lies in 1..={CONCURRENCY_MAX}");
            return Err(InvalidWorker::new("concurrency", &self.concurrency, limit));
        }
        check_span("drain_timeout", self.drain_timeout, Duration::ZERO, DRAIN_TIMEOUT_MAX)?;
        check_span("cancel_grace", self.cancel_grace, Duration::ZERO, CANCEL_GRACE_MAX)?;
        check_span("progress_interval", self.progress_interval, PROGRESS_INTERVAL_MIN, PROGRESS_INTERVAL_MAX)?;
        Ok(Worker::new(Options {
            endpoints: self.endpoints,
            namespace,
            name: self.name,
            labels: self.labels,
            concurrency: self.concurrency,
            queues: subscriptions(self.queues)?,
            clock: self.clock.unwrap_or_else(|| Arc::new(SystemClock::new())),
            rng: self.rng.unwrap_or_else(Rng::from_entropy),
            drain_timeout: self.drain_timeout,
            cancel_grace: self.cancel_grace,
            progress_interval: self.progress_interval,
            on_verdict: self.on_verdict,
        }))
    }
}

fn check_endpoints(endpoints: &[String]) -> Result<(), InvalidWorker> {
    if endpoints.len() > ENDPOINTS_MAX {
        let limit = format!("at most {ENDPOINTS_MAX} endpoints");
        return Err(InvalidWorker::new("endpoints", &endpoints.len(), limit));
    }
    for endpoint in endpoints {
        net::check_endpoint(endpoint).map_err(|error| InvalidWorker::new("endpoint", endpoint, error.reason))?;
    }
    Ok(())
}

fn check_labels(labels: &BTreeMap<String, String>) -> Result<(), InvalidWorker> {
    if labels.len() > LABELS_MAX {
        return Err(InvalidWorker::new("labels", &labels.len(), format!("at most {LABELS_MAX} labels")));
    }
    for (key, value) in labels {
        if !(1..=LABEL_KEY_CHARS_MAX).contains(&key.chars().count()) {
            let limit = format!("a key has 1 to {LABEL_KEY_CHARS_MAX} characters");
            return Err(InvalidWorker::new("labels.key", key, limit));
        }
        if value.len() > LABEL_VALUE_BYTES_MAX {
            let limit = format!("a value has at most {LABEL_VALUE_BYTES_MAX} bytes");
            return Err(InvalidWorker::new("labels.value", value, limit));
        }
    }
    Ok(())
}

fn check_span(field: &'static str, span: Duration, min: Duration, max: Duration) -> Result<(), InvalidWorker> {
    if (min..=max).contains(&span) {
        return Ok(());
    }
    let limit = format!("it lies in {} ms..={} ms", min.as_millis(), max.as_millis());
    Err(InvalidWorker::new(field, &format_args!("{} ms", span.as_millis()), limit))
}

fn subscriptions(
    queues: Vec<(QueueOptions, Arc<dyn Handler>)>,
) -> Result<BTreeMap<QueueName, Subscription>, InvalidWorker> {
    if !(1..=SESSION_QUEUES_MAX).contains(&queues.len()) {
        let limit = format!("a worker takes from 1 to {SESSION_QUEUES_MAX} queues");
        return Err(InvalidWorker::new("queues", &queues.len(), limit));
    }
    let mut subscriptions = BTreeMap::new();
    for (options, handler) in queues {
        let QueueOptions { name, concurrency_max } = options;
        let queue = QueueName::new(&name).map_err(|error| InvalidWorker::new("queue", &name, error.rule))?;
        if concurrency_max > CONCURRENCY_MAX {
            let limit = format!("it is at most {CONCURRENCY_MAX}");
            return Err(InvalidWorker::new("queue.concurrency_max", &concurrency_max, limit));
        }
        let slots = usize::try_from(concurrency_max).ok().filter(|max| *max > 0);
        let slots = slots.map(|max| Arc::new(Semaphore::new(max)));
        if subscriptions.insert(queue, Subscription { handler, concurrency_max, slots }).is_some() {
            return Err(InvalidWorker::new("queue", &name, "a queue has one handler"));
        }
    }
    Ok(subscriptions)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::worker::{Context, Output, TaskFailure};

    async fn nothing(_: Context) -> Result<Output, TaskFailure> {
        Ok(Output::empty())
    }

    fn good() -> WorkerBuilder {
        Worker::builder("http://127.0.0.1:7250").queue("mail", nothing)
    }

    #[test]
    fn what_is_refused_is_named_with_its_value_and_limit() {
        let check = |builder: WorkerBuilder| builder.build().map(|_| ()).unwrap_err().to_string();
        let refusals = [
            check(Worker::builder("localhost").queue("mail", nothing)),
            check(Worker::builder("https://localhost:1").queue("mail", nothing)),
            check(good().or_endpoint("http://host")),
            check(good().namespace("No")),
            check(good().name("n".repeat(129))),
            check(good().label("", "x")),
            check(good().label("k", "v".repeat(256))),
            check(good().concurrency(0)),
            check(good().concurrency(10_001)),
            check(Worker::builder("http://127.0.0.1:7250")),
            check(good().queue("mail", nothing)),
            check(good().queue("a b", nothing)),
            check(good().queue_with(QueueOptions::new("b").concurrency_max(10_001), nothing)),
            check(good().cancel_grace(Duration::from_secs(301))),
            check(good().progress_interval(Duration::from_millis(99))),
            check((0..257).fold(good(), |builder, n| builder.queue(format!("q{n}"), nothing))),
        ];
        insta::assert_snapshot!(refusals.join("\n"), @r"
        endpoint: `localhost` is refused: the scheme is not `http`; it reads http://host:port
        endpoint: `https://localhost:1` is refused: the scheme is not `http`; it reads http://host:port
        endpoint: `http://host` is refused: no port; it reads http://host:port
        namespace: `No` is refused: 1 to 64 characters of [a-z0-9._-], starting with a letter or digit
        name: `nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn` is refused: it has 129 bytes; the limit is 128
        labels.key: `` is refused: a key has 1 to 63 characters
        labels.value: `vvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvv` is refused: a value has at most 255 bytes
        concurrency: `0` is refused: it lies in 1..=10000
        concurrency: `10001` is refused: it lies in 1..=10000
        queues: `0` is refused: a worker takes from 1 to 256 queues
        queue: `mail` is refused: a queue has one handler
        queue: `a b` is refused: 1 to 128 characters of [A-Za-z0-9._-], starting with a letter or digit
        queue.concurrency_max: `10001` is refused: it is at most 10000
        cancel_grace: `301000 ms` is refused: it lies in 0 ms..=300000 ms
        progress_interval: `99 ms` is refused: it lies in 100 ms..=60000 ms
        queues: `258` is refused: a worker takes from 1 to 256 queues
        ");
    }

    #[tokio::test]
    async fn what_is_within_the_limits_is_taken() {
        assert!(good().concurrency(10_000).name("n".repeat(128)).label("k", "").build().is_ok());
        assert!(good().drain_timeout(Duration::ZERO).cancel_grace(Duration::ZERO).build().is_ok());
    }
}

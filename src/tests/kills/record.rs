//! Writes the history of a run of real processes, for the checkers that judge simulated runs.
//! One clock measures it: that of the machine on which everything runs.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use escapement::{
    client::{BatchOutcome, Client, ClientError, TaskFilter, proto},
    edge::SystemClock,
    error::{Reason, exit},
    store::{
        EmbeddedEngine, EmbeddedOptions,
        engine::{Engine as _, RangeRead, ReadVersionRequest},
    },
    worker::{Context, Output, TaskFailure, Worker, WorkerHandle},
};
use escapement_chaos::history::{
    AttemptRow, CancelAnswer, EndState, HandlerEnd, Header, History, NodeChange, Recorder, ScheduleAction, Sees,
    Submission, SubmitAnswer, TimeScale, TrueTime, What,
};
use escapement_engine::{TaskId, Timestamp};
use futures_util::{StreamExt as _, stream};

use super::{rows, sink::Sink};

/// What measures the run and what due instants are in are two clocks, read one after the other.
const EARLY_NS_MAX: u64 = 2_000_000;
/// Everything that is due when the last kill is over has ended within this time.
const DRAIN_MS_MAX: u64 = 60_000;
/// Calls in flight while the end is read.
const READS_IN_FLIGHT: usize = 64;

/// A history in the making. Clones write the same one.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    recorder: Recorder,
    begin: Instant,
    epoch_unix_ms: i64,
    ops: Arc<AtomicU64>,
    /// Effects on their way to the sink.
    under_way: Arc<AtomicU64>,
}

impl Record {
    pub(crate) fn begin() -> Self {
        let (wall, now) = (SystemTime::now().duration_since(UNIX_EPOCH).unwrap(), Instant::now());
        let begin = now - Duration::from_nanos(u64::from(wall.subsec_nanos() % 1_000_000));
        let epoch_unix_ms = i64::try_from(wall.as_millis()).unwrap();
        Self { recorder: Recorder::default(), begin, epoch_unix_ms, ops: Arc::default(), under_way: Arc::default() }
    }

    /// Whether every effect has reached the sink.
    pub(crate) fn settled(&self) -> bool {
        self.under_way.load(Ordering::Acquire) == 0
    }

    /// The instant at which the run began.
    pub(crate) fn epoch(&self) -> Timestamp {
        Timestamp::from_unix_ms(self.epoch_unix_ms)
    }

    /// The history so far.
    pub(crate) fn history(&self, seed: u64, scenario: &str, session_lease_ms: u64) -> History {
        self.recorder.history(Header {
            format: 1,
            seed,
            scenario: scenario.to_owned(),
            scale: TimeScale { epoch_unix_ms: self.epoch_unix_ms, ..TimeScale::default() },
            sees: Sees { commits: false, rows: true, tasks: true, handlers: true },
            early_ns_max: EARLY_NS_MAX,
            rates_in_bounds: true,
            session_lease_ms,
            drain_ms_max: DRAIN_MS_MAX,
            fire_ms_max: 0,
            dead_queues: Vec::new(),
        })
    }

    fn add(&self, node: &str, what: What) {
        self.recorder.add(TrueTime::ZERO.plus(self.begin.elapsed()), node, what);
    }

    fn op(&self) -> u64 {
        self.ops.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn node(&self, name: &str, change: NodeChange) {
        self.add(name, What::Node { change });
    }

    pub(crate) fn healed(&self) {
        self.add("", What::Healed);
    }

    /// Notes that tasks are being submitted; the numbers of the calls.
    pub(crate) fn submitting(&self, tasks: impl IntoIterator<Item = Submission>) -> Vec<u64> {
        let submit = |task| {
            let op = self.op();
            self.add("client", What::Submit { op, task });
            op
        };
        tasks.into_iter().map(submit).collect()
    }

    /// Notes what came of it.
    pub(crate) fn submitted(&self, ops: &[u64], answer: &Result<Vec<BatchOutcome>, ClientError>) {
        for (n, op) in ops.iter().enumerate() {
            let answer = match answer {
                Ok(outcomes) => match &outcomes[n] {
                    BatchOutcome::Accepted(submitted) => SubmitAnswer::Acknowledged {
                        task: submitted.id.to_string(),
                        due_unix_ms: submitted.due_at.unix_ms(),
                        created: submitted.created,
                    },
                    refused => SubmitAnswer::Refused { reason: format!("{refused:?}") },
                },
                Err(error) => SubmitAnswer::Unknown { reason: error.to_string() },
            };
            self.add("client", What::SubmitAnswered { op: *op, answer });
        }
    }

    /// Cancels a task, once.
    pub(crate) async fn cancel(&self, client: &Client, id: TaskId) {
        let op = self.op();
        self.add("client", What::Cancel { op, id: id.to_string() });
        let answer = match client.cancel(id, "no longer wanted").await {
            Ok(_) => CancelAnswer::Cancelled,
            Err(error) if error.reason() == Reason::TaskAlreadyEnded => {
                CancelAnswer::Refused { reason: error.to_string() }
            }
            Err(error) => CancelAnswer::Unknown { reason: error.to_string() },
        };
        self.add("client", What::CancelAnswered { op, id: id.to_string(), answer });
    }

    /// Does something to a schedule, again and again until it is answered.
    pub(crate) async fn schedule<T>(
        &self,
        schedule: &str,
        action: ScheduleAction,
        mut call: impl AsyncFnMut() -> Result<T, ClientError>,
    ) {
        let (op, schedule) = (self.op(), schedule.to_owned());
        self.add("client", What::ScheduleCall { op, schedule: schedule.clone(), action });
        while let Err(error) = call().await {
            // The server is down, or was while it answered: anything else is wrong.
            assert_eq!(error.reason().exit_code(), exit::TRY_AGAIN, "{schedule}: {error}");
        }
        self.add("client", What::ScheduleAnswered { op, schedule, ok: true, unknown: false });
    }
}

/// What an attempt does.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Work {
    /// How long its effect is on its way to the sink; it arrives there even if the worker dies meanwhile.
    pub(crate) effect_after: Duration,
    /// How long the handler goes on after that.
    pub(crate) lasts: Duration,
    /// Whether the attempt fails in the end.
    pub(crate) fails: bool,
}

/// A worker in this process whose handlers are recorded.
#[derive(Debug)]
pub(crate) struct Recorded(Arc<Mutex<Option<WorkerHandle>>>);

impl Recorded {
    /// Takes tasks of these queues. `work` says what an attempt does.
    pub(crate) fn start(
        record: &Record,
        endpoint: &str,
        queues: &[&str],
        sink: &Arc<Sink>,
        work: impl Fn(&Context) -> Work + Clone + Send + Sync + 'static,
    ) -> Self {
        let handle = Arc::new(Mutex::new(None));
        let mut builder = Worker::builder(endpoint).name("sink").concurrency(200);
        // Handlers wait for the handle, from which they learn their session.
        let mut started = handle.lock().unwrap();
        for queue in queues {
            let (record, sink, handle, work) = (record.clone(), Arc::clone(sink), Arc::clone(&handle), work.clone());
            let handler = move |ctx: Context| {
                let session = handle.lock().unwrap().as_ref().map(|it: &WorkerHandle| it.session_id().to_string());
                let running = Running::begin(&record, &ctx, session.unwrap_or_default());
                let Work { effect_after, lasts, fails } = work(&ctx);
                let (record, sink) = (record.clone(), Arc::clone(&sink));
                record.under_way.fetch_add(1, Ordering::AcqRel);
                let effect = tokio::spawn(async move {
                    if !effect_after.is_zero() {
                        tokio::time::sleep(effect_after).await;
                    }
                    let accepted = sink.accept(ctx.task_id(), ctx.token());
                    let (id, token) = (ctx.task_id().to_string(), ctx.token().0);
                    record.add("worker", What::Effect { id, token, accepted });
                    record.under_way.fetch_sub(1, Ordering::AcqRel);
                    accepted
                });
                async move {
                    let accepted = effect.await.unwrap();
                    tokio::time::sleep(lasts).await;
                    running.end(match (accepted, fails) {
                        (true, false) => Ok(Output::empty()),
                        (true, true) => Err(TaskFailure::retryable("wanted", "it is to fail")),
                        (false, _) => Err(TaskFailure::retryable("stale", "the sink has seen a higher token")),
                    })
                }
            };
            builder = builder.queue(*queue, handler);
        }
        *started = Some(builder.build().unwrap().start());
        drop(started);
        Self(handle)
    }

    /// Ends it as a crash would: its handlers stop where they are, and it says nothing to the server.
    pub(crate) fn kill(self) {
        drop(self.0.lock().unwrap().take());
    }

    pub(crate) async fn drain(self) {
        let handle = self.0.lock().unwrap().take().unwrap();
        handle.drain().await.unwrap();
    }
}

/// A handler that runs. Its end is noted, however it comes.
struct Running {
    record: Record,
    id: String,
    token: u64,
    how: HandlerEnd,
}

impl Running {
    fn begin(record: &Record, ctx: &Context, session: String) -> Self {
        let (id, token) = (ctx.task_id().to_string(), ctx.token().0);
        let occurrence = ctx.occurrence();
        let started = What::Started {
            id: id.clone(),
            token,
            attempt: ctx.attempt(),
            session,
            queue: ctx.queue().to_string(),
            due_unix_ms: ctx.due().unix_ms(),
            schedule: occurrence.map(|it| it.schedule_id.to_string()).unwrap_or_default(),
            nominal_unix_ms: occurrence.and_then(|it| it.nominal).map(|at| at.unix_ms()),
        };
        record.add("worker", started);
        Self { record: record.clone(), id, token, how: HandlerEnd::Stopped }
    }

    fn end<T>(mut self, result: Result<T, TaskFailure>) -> Result<T, TaskFailure> {
        self.how = if result.is_ok() { HandlerEnd::Returned } else { HandlerEnd::Failed };
        result
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.record.add("worker", What::Ended { id: self.id.clone(), token: self.token, how: self.how });
    }
}

impl Record {
    /// Every task by its id, as the API shows it.
    pub(crate) async fn final_tasks(&self, client: &Client) -> BTreeMap<String, proto::Task> {
        let listed = client.list(TaskFilter::new().page_size(1000)).collect().await.unwrap();
        let count = listed.len();
        let whole = stream::iter(listed).map(|task| {
            let (client, id) = (client.clone(), task.id.parse::<TaskId>().unwrap());
            async move { client.get(id).await.unwrap() }
        });
        let tasks: Vec<proto::Task> = whole.buffered(READS_IN_FLIGHT).collect().await;
        for task in &tasks {
            let attempt = |it: &proto::Attempt| AttemptRow {
                number: it.number,
                token: it.token,
                session: it.session_id.clone(),
                outcome: outcome(it.outcome()).to_owned(),
            };
            let nominal = task.nominal_at.as_ref().map(|at| at.seconds * 1000 + i64::from(at.nanos) / 1_000_000);
            let end = What::FinalTask {
                id: task.id.clone(),
                state: state(task.state()),
                attempts: task.attempts.iter().map(attempt).collect(),
                schedule: task.schedule_id.clone(),
                nominal_unix_ms: nominal,
            };
            self.add("", end);
        }
        let tasks: BTreeMap<_, _> = tasks.into_iter().map(|task| (task.id.clone(), task)).collect();
        assert_eq!(tasks.len(), count, "none is listed twice");
        tasks
    }

    /// Every row of a store whose server is gone.
    pub(crate) async fn final_rows(&self, data: &Path) {
        let engine =
            EmbeddedEngine::open(data, EmbeddedOptions::default(), Arc::new(SystemClock::new())).expect("it recovers");
        let version = engine.read_version(&ReadVersionRequest::default()).await.unwrap();
        let (mut begin, end) = escapement::keyspace::bounds();
        loop {
            let read = RangeRead { begin, end: end.clone(), limit: 1000, target_bytes: 1 << 20, reverse: false };
            let page = engine.get_range(read, version).await.unwrap();
            for (key, value) in &page.rows {
                self.add("", What::FinalRow { row: rows::row(key, value) });
            }
            let Some((last, _)) = page.rows.last().filter(|_| page.more) else { break };
            begin = [last.as_ref(), &[0]].concat().into();
        }
        engine.close();
    }
}

fn outcome(outcome: proto::AttemptOutcome) -> &'static str {
    match outcome {
        proto::AttemptOutcome::Unspecified => "",
        proto::AttemptOutcome::Succeeded => "succeeded",
        proto::AttemptOutcome::Failed => "failed",
        proto::AttemptOutcome::TimedOut => "timed_out",
        proto::AttemptOutcome::LeaseExpired => "lease_expired",
        proto::AttemptOutcome::Cancelled => "cancelled",
    }
}

fn state(state: proto::TaskState) -> EndState {
    match state {
        proto::TaskState::Unspecified => panic!("a task without a state"),
        proto::TaskState::Scheduled => EndState::Scheduled,
        proto::TaskState::Running => EndState::Running,
        proto::TaskState::Succeeded => EndState::Succeeded,
        proto::TaskState::Failed => EndState::Failed,
        proto::TaskState::Cancelled => EndState::Cancelled,
        proto::TaskState::DeadLettered => EndState::DeadLettered,
    }
}

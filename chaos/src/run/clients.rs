//! What clients do: the errands of the workloads, each call noted with its answer.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use escapement::{
    client::{BatchOutcome, Client, ClientError, NewSchedule, NewTask},
    error::Reason,
};
use escapement_engine::{TaskId, Timestamp, name::Priority, retry::RetryPolicy};
use madsim::{runtime::Handle, task::JoinHandle, time::sleep};

use super::{strikes::until, world::World};
use crate::{
    history::{CancelAnswer, ScheduleAction, Submission, SubmitAnswer, What},
    workload::{Call, Due, Errand, Rule, TaskPlan, Work},
};

/// Tries of a submission whose answer was lost, each at the next server.
const TRIES: u32 = 3;
const TRY_PAUSE: Duration = Duration::from_secs(1);

/// A client's node: its name, and its way to each server.
#[derive(Clone)]
pub(super) struct Caller {
    pub(super) world: Arc<World>,
    pub(super) node: String,
    servers: Arc<Vec<Client>>,
    current: Arc<AtomicUsize>,
}

impl World {
    /// Starts all errands, each on its client's node.
    pub(super) fn send_errands(self: &Arc<Self>) -> Vec<JoinHandle<()>> {
        let clients = self.plan.clients();
        let callers: Vec<_> = clients.iter().map(|name| Caller::new(self, name)).collect();
        let workloads = &self.plan.workloads;
        let errands = workloads.iter().flat_map(|workload| workload.errands(self.plan.epoch_unix_ms, clients.len()));
        let send = |errand: Errand| {
            let caller = callers[errand.client % callers.len()].clone();
            caller.clone().on_node(async move { caller.run(errand).await })
        };
        errands.map(send).collect()
    }
}

impl Caller {
    pub(super) fn new(world: &Arc<World>, node: &str) -> Self {
        let servers = Arc::new(world.clients(node));
        Self { world: Arc::clone(world), node: node.to_owned(), servers, current: Arc::default() }
    }

    pub(super) fn on_node<T: Send + 'static>(self, work: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
        Handle::current().get_node(self.node.as_str()).expect("clients are never killed").spawn(work)
    }

    /// The server that it talks to at present.
    pub(super) fn server(&self) -> &Client {
        &self.servers[self.current.load(Relaxed) % self.servers.len()]
    }

    /// Talks to the next one from now on.
    pub(super) fn turn(&self) {
        self.current.fetch_add(1, Relaxed);
    }

    fn note(&self, what: What) {
        self.world.note(&self.node, what);
    }

    async fn run(&self, errand: Errand) {
        for (at_ms, call) in errand.calls {
            until(at_ms).await;
            match call {
                Call::Submit(tasks) => self.submit(&tasks).await,
                Call::Cancel(id) => self.cancel(id).await,
                Call::Create { schedule, rule, work } => self.create(&schedule, &rule, work).await,
                Call::Pause(id) => drop(self.pause(&id).await),
                Call::Resume(id) => {
                    let answer =
                        |client: Client, id: String| async move { client.resume_schedule(&id).await.map(drop) };
                    self.edit(&id, ScheduleAction::Resume, answer).await;
                }
                Call::Delete(id) => {
                    let answer = |client: Client, id: String| async move { client.delete_schedule(&id).await };
                    self.edit(&id, ScheduleAction::Delete, answer).await;
                }
            }
        }
    }

    /// Submits until it knows what became of it, or has tried often enough.
    async fn submit(&self, tasks: &[TaskPlan]) {
        for _ in 0..TRIES {
            let ops: Vec<u64> = tasks.iter().map(|task| self.submitting(task)).collect();
            let specs: Vec<_> = tasks.iter().map(new_task).collect();
            let answers = match <[NewTask; 1]>::try_from(specs) {
                Ok([one]) => vec![answer_of(self.server().submit(one).await.map(BatchOutcome::Accepted))],
                Err(many) => match self.server().submit_batch(many).await {
                    Ok(outcomes) => outcomes.into_iter().map(|outcome| answer_of(Ok(outcome))).collect(),
                    Err(error) => tasks.iter().map(|_| answer_of(Err(error.clone()))).collect(),
                },
            };
            let unknown = answers.iter().any(|answer| matches!(answer, SubmitAnswer::Unknown { .. }));
            for (op, answer) in ops.into_iter().zip(answers) {
                self.note(What::SubmitAnswered { op, answer });
            }
            if !unknown {
                return;
            }
            self.turn();
            sleep(TRY_PAUSE).await;
        }
    }

    fn submitting(&self, plan: &TaskPlan) -> u64 {
        let op = self.world.op();
        let due_unix_ms = match plan.due {
            Due::At(at) => Some(at.unix_ms()),
            Due::In(_) => None,
        };
        let task = Submission {
            id: plan.id.to_string(),
            queue: plan.queue.to_owned(),
            due_unix_ms,
            priority: plan.priority,
            max_attempts: plan.max_attempts,
            idempotency_key: plan.key.clone(),
            deadline_unix_ms: deadline(plan).map(Timestamp::unix_ms),
        };
        self.note(What::Submit { op, task });
        op
    }

    async fn cancel(&self, id: TaskId) {
        let (op, task) = (self.world.op(), id.to_string());
        self.note(What::Cancel { op, id: task.clone() });
        let answer = match self.server().cancel(id, "the plan says so").await {
            Ok(_) => CancelAnswer::Cancelled,
            Err(error) if is_certain(error.reason()) => {
                CancelAnswer::Refused { reason: error.reason().code().to_owned() }
            }
            Err(error) => {
                self.turn();
                CancelAnswer::Unknown { reason: error.reason().code().to_owned() }
            }
        };
        self.note(What::CancelAnswered { op, id: task, answer });
    }

    async fn create(&self, id: &str, rule: &Rule, work: Work) {
        let anchor_unix_ms = self.world.plan.epoch_unix_ms;
        let anchor = Timestamp::from_unix_ms(anchor_unix_ms);
        let (schedule, action) = match *rule {
            Rule::Every(every_ms) => {
                let every = Duration::from_millis(every_ms);
                let (cron, zone) = (String::new(), "UTC".to_owned());
                let action = ScheduleAction::Create { cron, every_ms, anchor_unix_ms, zone };
                (NewSchedule::interval(id, every, Some(anchor), "work"), action)
            }
            Rule::Cron(cron, zone) => {
                let (expression, zone) = (cron.to_owned(), zone.to_owned());
                let action =
                    ScheduleAction::Create { cron: expression, every_ms: 0, anchor_unix_ms: 0, zone: zone.clone() };
                (NewSchedule::cron(id, cron, "work").time_zone(zone), action)
            }
        };
        let schedule = schedule.payload_json(payload(work)).retry(&retry(20)).attempt_timeout(Duration::from_secs(20));
        let answer = |client: Client, _| {
            let schedule = schedule.clone();
            async move { client.create_schedule(schedule).await.map(drop) }
        };
        self.edit(id, action, answer).await;
    }

    /// Pauses a schedule; whether what became of it is known.
    pub(super) async fn pause(&self, id: &str) -> bool {
        let answer = |client: Client, id: String| async move { client.pause_schedule(&id).await.map(drop) };
        self.edit(id, ScheduleAction::Pause, answer).await
    }

    async fn edit<F>(&self, id: &str, action: ScheduleAction, call: impl Fn(Client, String) -> F) -> bool
    where
        F: Future<Output = Result<(), ClientError>>,
    {
        let (op, schedule) = (self.world.op(), id.to_owned());
        let deletes = action == ScheduleAction::Delete;
        self.note(What::ScheduleCall { op, schedule: schedule.clone(), action });
        let answer = call(self.server().clone(), schedule.clone()).await;
        let lost = answer.as_ref().is_err_and(|error| !is_certain(error.reason()));
        if lost {
            self.turn();
        }
        // What is not there may have been deleted by this very call, of which an echo or another
        // try was answered.
        let gone = answer.as_ref().is_err_and(|error| error.reason() == Reason::ScheduleNotFound);
        let unknown = lost || (deletes && gone);
        self.note(What::ScheduleAnswered { op, schedule, ok: answer.is_ok(), unknown });
        !unknown
    }
}

fn answer_of(outcome: Result<BatchOutcome, ClientError>) -> SubmitAnswer {
    let reason = match outcome {
        Ok(BatchOutcome::Accepted(submitted)) => {
            let (task, due_unix_ms) = (submitted.id.to_string(), submitted.due_at.unix_ms());
            return SubmitAnswer::Acknowledged { task, due_unix_ms, created: submitted.created };
        }
        Ok(BatchOutcome::Refused(error)) => error.reason,
        Err(error) => error.reason(),
    };
    let code = reason.code().to_owned();
    if is_certain(reason) { SubmitAnswer::Refused { reason: code } } else { SubmitAnswer::Unknown { reason: code } }
}

/// Whether such an error says for certain that the call did nothing, however often it was
/// tried: it is about what the call says, not about who could be reached.
const fn is_certain(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::InvalidArgument
            | Reason::RequestTooLarge
            | Reason::TaskNotFound
            | Reason::ScheduleNotFound
            | Reason::TaskExists
            | Reason::IdempotencyConflict
            | Reason::ScheduleExists
            | Reason::TaskAlreadyEnded
            | Reason::ScheduleFinished
    )
}

fn payload(work: Work) -> String {
    serde_json::to_string(&work).unwrap_or_default()
}

fn retry(max_attempts: u32) -> RetryPolicy {
    RetryPolicy {
        max_attempts,
        initial_backoff: Duration::from_millis(200),
        max_backoff: Duration::from_secs(2),
        ..RetryPolicy::default()
    }
}

fn deadline(plan: &TaskPlan) -> Option<Timestamp> {
    match (plan.due, plan.deadline_after_ms) {
        (Due::At(at), Some(after_ms)) => Some(at.saturating_add(Duration::from_millis(after_ms))),
        _ => None,
    }
}

fn new_task(plan: &TaskPlan) -> NewTask {
    let priority = match plan.priority {
        1 => Priority::High,
        2 => Priority::Medium,
        _ => Priority::Low,
    };
    let mut task = NewTask::new(plan.queue)
        .id(plan.id)
        .payload_json(payload(plan.work))
        .priority(priority)
        .retry(&retry(plan.max_attempts))
        .attempt_timeout(Duration::from_millis(plan.timeout_ms));
    task = match plan.due {
        Due::At(at) => task.due_at(at),
        Due::In(ms) => task.delay(Duration::from_millis(ms)),
    };
    if !plan.key.is_empty() {
        task = task.idempotency_key(plan.key.clone());
    }
    match deadline(plan) {
        Some(at) => task.deadline(at),
        None => task,
    }
}

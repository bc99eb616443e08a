//! `escapement worker`: the ready-made handlers, as far as they are switched on.

use std::{collections::BTreeSet, sync::Arc};

use clap::Args;
use escapement_engine::name::{Namespace, QueueName};
use futures_util::{FutureExt as _, future::BoxFuture};

use super::{
    Context,
    args::{Flag, text},
    error::CliError,
};
use crate::{
    config::{HandlerKind, Raw, WorkerConfig},
    edge::signal::shutdown_signal,
    error::{ApiError, Reason},
    worker::{
        Context as Attempt, Handler, Output, TaskFailure, Worker, WorkerError,
        exec::{ExecHandler, ExecRequest},
        http::HttpHandler,
    },
};

#[derive(Debug, Args)]
pub(super) struct WorkerArgs {
    /// Let tasks run programs, as this user [env: ESCAPEMENT_WORKER_EXEC]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    exec: Option<String>,
    /// Let tasks run this program only; may be repeated [env: ESCAPEMENT_WORKER_EXEC_ALLOW]
    #[arg(long, value_name = "PROGRAM")]
    exec_allow: Vec<String>,
    /// Let tasks post to HTTP servers [env: ESCAPEMENT_WORKER_HTTP]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    http: Option<String>,
    /// Take tasks from this queue; may be repeated [env: ESCAPEMENT_WORKER_QUEUES] [default: exec and http, as far as they are on]
    #[arg(long = "queue", value_name = "QUEUE=exec|http")]
    queues: Vec<String>,
    /// Tasks to run at one time [env: ESCAPEMENT_WORKER_CONCURRENCY] [default: 16]
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    concurrency: Option<String>,
    /// What the worker calls itself [env: ESCAPEMENT_WORKER_NAME] [default: escapement-worker]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
}

impl WorkerArgs {
    pub(super) fn flags(&self) -> Vec<Flag> {
        let list = |key, items: &Vec<String>| (!items.is_empty()).then(|| (key, Raw::List(items.clone())));
        let flags = [
            text("worker.exec", self.exec.as_ref()),
            list("worker.exec_allow", &self.exec_allow),
            text("worker.http", self.http.as_ref()),
            list("worker.queues", &self.queues),
            text("worker.concurrency", self.concurrency.as_ref()),
            text("worker.name", self.name.as_ref()),
        ];
        flags.into_iter().flatten().collect()
    }
}

/// The queues to take from: those that are named, or else those of the handlers that are on.
pub(super) fn queues(config: &WorkerConfig) -> Vec<(QueueName, HandlerKind)> {
    if !config.queues.is_empty() {
        return config.queues.clone();
    }
    let on = [(HandlerKind::Exec, config.exec), (HandlerKind::Http, config.http)];
    let name = |kind: HandlerKind| QueueName::new(kind.name()).expect("names of handlers are names of queues");
    on.into_iter().filter(|(_, on)| *on).map(|(kind, _)| (name(kind), kind)).collect()
}

pub(super) fn build(config: &WorkerConfig, server: &str, namespace: &Namespace) -> Result<Worker, CliError> {
    let queues = queues(config);
    if queues.is_empty() {
        return Err(CliError::usage(
            "the worker has nothing to run: neither exec nor http is switched on",
            "Add --exec to let tasks run programs as this user, or --http to let them post to HTTP servers.",
        ));
    }
    let mut builder =
        Worker::builder(server).namespace(namespace.as_str()).name(&config.name).concurrency(config.concurrency);
    let exec = Arc::new(AllowedExec::new(&config.exec_allow));
    for (queue, kind) in queues {
        let switched_on = match kind {
            HandlerKind::Exec => config.exec,
            HandlerKind::Http => config.http,
        };
        if !switched_on {
            let kind = kind.name();
            return Err(CliError::usage(
                format!("queue `{queue}` asks for {kind}, which is not switched on"),
                format!("Add --{kind}, or set worker.{kind} = true, if tasks may do that here."),
            ));
        }
        builder = match kind {
            HandlerKind::Exec => {
                let exec = Arc::clone(&exec);
                builder.queue(queue.as_str(), move |attempt| {
                    let exec = Arc::clone(&exec);
                    async move { exec.run(attempt).await }
                })
            }
            HandlerKind::Http => {
                let http = HttpHandler::per_task().map_err(|error| CliError::internal(error.to_string()))?;
                builder.queue(queue.as_str(), http)
            }
        };
    }
    builder.build().map_err(|error| {
        let limit = format!("worker.{} has the value `{}`: {}", error.field, error.value, error.limit);
        CliError::from(ApiError::new(Reason::ConfigInvalid, limit))
    })
}

pub(super) fn failed(error: WorkerError) -> CliError {
    let reason = match &error {
        WorkerError::Refused { .. } => Reason::InvalidArgument,
        WorkerError::Broken { .. } => Reason::Internal,
    };
    ApiError::new(reason, error.to_string()).into()
}

pub(super) async fn run(context: &Context) -> Result<u8, CliError> {
    let config = &context.config.worker;
    let worker = build(config, &config.server, &context.config.client.namespace)?;
    let queues: Vec<_> = queues(config).iter().map(|(queue, kind)| format!("{queue} ({})", kind.name())).collect();
    context.ui.note(format_args!(
        "worker `{}` takes tasks of {} from {}",
        config.name,
        queues.join(", "),
        config.server
    ));
    let drained = worker.run(shutdown_signal()).await.map_err(failed)?;
    if drained.abandoned > 0 {
        context.ui.note(format_args!("{} attempts did not end in time; others will run them again", drained.abandoned));
    }
    Ok(0)
}

/// Runs programs, but only those that the operator named.
#[derive(Debug)]
struct AllowedExec {
    exec: ExecHandler,
    /// Empty: any.
    programs: BTreeSet<String>,
}

impl AllowedExec {
    fn new(programs: &[String]) -> Self {
        Self { exec: ExecHandler::new(), programs: programs.iter().cloned().collect() }
    }

    /// A payload that cannot be read is left to the handler, which refuses it.
    fn refuses(&self, payload: &[u8]) -> Option<String> {
        let request: ExecRequest = serde_json::from_slice(payload).ok()?;
        let program = request.argv.into_iter().next()?;
        (!self.programs.is_empty() && !self.programs.contains(&program)).then_some(program)
    }
}

impl Handler for AllowedExec {
    fn run(&self, attempt: Attempt) -> BoxFuture<'_, Result<Output, TaskFailure>> {
        if let Some(program) = self.refuses(&attempt.payload().data) {
            let message = format!("`{program}` is not one of the programs that this worker may run");
            return async move { Err(TaskFailure::non_retryable("program-refused", message)) }.boxed();
        }
        self.exec.run(attempt)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_named_programs_run() {
        let check = |allowed: &[&str], program: &str, refused: bool| {
            let allowed: Vec<String> = allowed.iter().map(ToString::to_string).collect();
            let payload = ExecRequest::new([program, "x"]).to_payload();
            assert_eq!(AllowedExec::new(&allowed).refuses(&payload.data).is_some(), refused, "{allowed:?} {program}");
        };
        check(&[], "rm", false);
        check(&["echo", "/bin/true"], "echo", false);
        check(&["echo", "/bin/true"], "/bin/true", false);
        check(&["echo", "/bin/true"], "true", true);
        check(&["echo", "/bin/true"], "/bin/echo", true);
        check(&["echo"], "", true);
    }
}

//! A ready-made worker that runs programs.
//!
//! The payload is JSON, an [`ExecRequest`]; the result is JSON, an [`ExecResult`]. The
//! program is started directly, without a shell, in a process group of its own. Whoever may
//! submit to the queue may run any program as the worker's user: switch it on with care.
//!
//! - Exit code 0 succeeds. Anything else fails with kind `exit`, and the result as details.
//! - A program that cannot be started fails with kind `spawn`. When it does not exist, is not
//!   executable, or its working directory is missing, that is not retried: the next attempt
//!   would find the same, and whoever wrote the task should know now.
//! - A payload that is no valid request fails with kind `invalid-payload`, not retried.
//! - When the attempt is to stop, the group gets SIGTERM, and after a grace SIGKILL. When the
//!   handler's future is dropped, SIGKILL at once. When the program has ended, so has the
//!   task: what is left of its group is killed. Two kinds of process outlive their task: one that
//!   moved to a group of its own (`setsid`), and all programs of a worker that was itself killed
//!   (`kill -9`): nobody is left to stop them, so they may still run beside the next attempt.
//!   The token tells the two apart.
//!
//! While it runs, its last lines are reported as progress, an [`ExecProgress`].
//!
//! The program finds `ESCAPEMENT_TASK_ID`, `ESCAPEMENT_ATTEMPT`, `ESCAPEMENT_TOKEN` and
//! `ESCAPEMENT_DUE` (RFC 3339, UTC) in its environment.
//!
//! ```no_run
//! use escapement::worker::{Worker, exec::ExecHandler};
//!
//! # fn make() -> Result<(), Box<dyn std::error::Error>> {
//! let worker = Worker::builder("http://127.0.0.1:7250").queue("exec", ExecHandler::new()).build()?;
//! # Ok(())
//! # }
//! ```

mod process;
mod tail;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, io, path::PathBuf, time::Duration};

use escapement_engine::limits::ERROR_DETAILS_BYTES_MAX;
use futures_util::{FutureExt as _, future::BoxFuture};
use serde::{Deserialize, Serialize};

use self::process::Ran;
use super::{Context, Handler, Output, Payload, TaskFailure};

/// Items of a command line.
pub const ARGV_ITEMS_MAX: usize = 1024;
/// Bytes kept of each output stream, unless the request says otherwise.
pub const TAIL_BYTES_DEFAULT: usize = 16 << 10;
/// Bytes that a request may ask to be kept of each output stream.
pub const TAIL_BYTES_MAX: usize = 256 << 10;
/// Bytes of each output stream that a report of progress has.
pub const PROGRESS_TAIL_BYTES_MAX: usize = 1024;
/// Shortest time between two reports of progress.
pub const PROGRESS_INTERVAL: Duration = Duration::from_secs(1);
/// Time from SIGTERM to SIGKILL, unless the handler is made with another.
pub const KILL_GRACE_DEFAULT: Duration = Duration::from_secs(3);

/// What to run. Unknown fields are refused.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExecRequest {
    /// The program, looked up in the worker's `PATH` unless it has a slash, and its
    /// arguments: 1 to 1024 items.
    pub argv: Vec<String>,
    /// Added to the worker's environment.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// Start from an empty environment instead of the worker's.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub clear_env: bool,
    /// Working directory. Absent: the worker's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cwd: Option<PathBuf>,
    /// What the program reads. Absent: nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stdin: Option<String>,
    /// Bytes kept of the end of each output stream: up to 262,144; 16,384 unless set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tail_bytes: Option<usize>,
}

impl ExecRequest {
    /// A command line, with nothing else set.
    pub fn new(argv: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self { argv: argv.into_iter().map(Into::into).collect(), ..Self::default() }
    }

    /// The request as the payload of a task.
    pub fn to_payload(&self) -> Payload {
        Payload::json(to_json(self))
    }

    fn from_payload(payload: &Payload) -> Result<Self, TaskFailure> {
        let request: Self = serde_json::from_slice(&payload.data).map_err(|error| invalid(error.to_string()))?;
        request.check().map_err(invalid)?;
        Ok(request)
    }

    fn check(&self) -> Result<(), String> {
        if !(1..=ARGV_ITEMS_MAX).contains(&self.argv.len()) {
            return Err(format!("argv has {} items; it has 1 to {ARGV_ITEMS_MAX}", self.argv.len()));
        }
        if self.argv[0].is_empty() {
            return Err("argv[0] is empty; it names the program".to_owned());
        }
        if let Some(index) = self.argv.iter().position(|item| item.contains('\0')) {
            return Err(format!("argv[{index}] contains a NUL character"));
        }
        for (name, value) in &self.env {
            if name.is_empty() || name.contains(['=', '\0']) || value.contains('\0') {
                return Err(format!("env: `{name}` is not a variable that a program can be given"));
            }
        }
        match self.tail_bytes {
            Some(bytes) if bytes > TAIL_BYTES_MAX => {
                Err(format!("tail_bytes is {bytes}; the limit is {TAIL_BYTES_MAX}"))
            }
            _ => Ok(()),
        }
    }
}

fn invalid(reason: String) -> TaskFailure {
    TaskFailure::non_retryable("invalid-payload", format!("not an exec request: {reason}"))
}

/// What became of a program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecResult {
    /// Absent when a signal ended it.
    pub exit_code: Option<i32>,
    /// Number of the signal that ended it.
    pub signal: Option<i32>,
    /// The end of its standard output; bytes that are not UTF-8 are replaced.
    pub stdout: String,
    /// The end of its standard error; bytes that are not UTF-8 are replaced.
    pub stderr: String,
    /// There was more before the `stdout` shown.
    pub stdout_truncated: bool,
    /// There was more before the `stderr` shown.
    pub stderr_truncated: bool,
    /// From its start to its end.
    pub duration_ms: u64,
}

/// What a program that runs has written lately: its progress, as JSON. Reported at most once
/// a second, when something is new.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecProgress {
    /// The last whole lines of its standard output, at most 1 KiB; bytes that are not UTF-8 are replaced.
    pub stdout: String,
    /// Bytes of its standard output up to the end of `stdout`.
    pub stdout_bytes: u64,
    /// The last whole lines of its standard error, at most 1 KiB; bytes that are not UTF-8 are replaced.
    pub stderr: String,
    /// Bytes of its standard error up to the end of `stderr`.
    pub stderr_bytes: u64,
}

impl ExecResult {
    /// As JSON of at most `bytes_max` bytes: the tails give way.
    fn to_payload(&self, bytes_max: usize) -> Payload {
        let mut fitting = self.clone();
        loop {
            let json = to_json(&fitting);
            if json.len() <= bytes_max || (fitting.stdout.is_empty() && fitting.stderr.is_empty()) {
                return Payload::json(json);
            }
            // The longer one first, so that a chatty stdout does not cost the error message.
            if fitting.stdout.len() >= fitting.stderr.len() {
                keep_half(&mut fitting.stdout);
                fitting.stdout_truncated = true;
            } else {
                keep_half(&mut fitting.stderr);
                fitting.stderr_truncated = true;
            }
        }
    }

    fn describe(&self) -> String {
        match (self.exit_code, self.signal) {
            (Some(code), _) => format!("exit code {code}"),
            (None, Some(signal)) => format!("ended by signal {signal}"),
            (None, None) => "ended without a status".to_owned(),
        }
    }
}

fn keep_half(text: &mut String) {
    let from = text.ceil_char_boundary(text.len().div_ceil(2));
    text.drain(..from);
}

fn to_json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("strings, numbers and maps with string keys")
}

/// Runs the programs of a queue. See [`self`].
#[derive(Clone, Debug)]
pub struct ExecHandler {
    kill_grace: Duration,
}

impl Default for ExecHandler {
    fn default() -> Self {
        Self::new()
    }
}

impl ExecHandler {
    /// With a grace of 3 s between SIGTERM and SIGKILL.
    pub const fn new() -> Self {
        Self { kill_grace: KILL_GRACE_DEFAULT }
    }

    /// With another grace between SIGTERM and SIGKILL. It is cut to three quarters of the
    /// worker's own, so that the output of what was killed is still reported.
    #[must_use]
    pub const fn kill_grace(mut self, grace: Duration) -> Self {
        self.kill_grace = grace;
        self
    }

    async fn execute(&self, ctx: Context) -> Result<Output, TaskFailure> {
        let request = ExecRequest::from_payload(ctx.payload())?;
        let grace = self.kill_grace.min(ctx.cancel_grace() / 4 * 3);
        let Ran { result, stopped_by } = process::run(&request, &ctx, grace).await?;
        match stopped_by {
            None if result.exit_code == Some(0) => Ok(Output(result.to_payload(ctx.payload_bytes_max()))),
            None => Err(TaskFailure::retryable("exit", format!("`{}`: {}", request.argv[0], result.describe()))
                .with_details(result.to_payload(ERROR_DETAILS_BYTES_MAX))),
            Some(cause) => {
                let message = format!("`{}` was stopped, since {cause}: {}", request.argv[0], result.describe());
                Err(TaskFailure::retryable("stopped", message).with_details(result.to_payload(ERROR_DETAILS_BYTES_MAX)))
            }
        }
    }
}

impl Handler for ExecHandler {
    fn run(&self, ctx: Context) -> BoxFuture<'_, Result<Output, TaskFailure>> {
        self.execute(ctx).boxed()
    }
}

fn spawn_failure(request: &ExecRequest, error: &io::Error) -> TaskFailure {
    let message = match &request.cwd {
        // The system reports a missing directory as if the program were missing.
        Some(cwd) if !cwd.is_dir() => {
            format!("cannot start `{}`: working directory `{}` is not there", request.argv[0], cwd.display())
        }
        _ => format!("cannot start `{}`: {error}", request.argv[0]),
    };
    match error.kind() {
        io::ErrorKind::NotFound
        | io::ErrorKind::PermissionDenied
        | io::ErrorKind::NotADirectory
        | io::ErrorKind::InvalidInput
        | io::ErrorKind::ArgumentListTooLong => TaskFailure::non_retryable("spawn", message),
        _ => TaskFailure::retryable("spawn", message),
    }
}

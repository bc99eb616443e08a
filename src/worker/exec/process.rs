//! One program in its process group.

use std::{
    convert::Infallible, io, os::unix::process::ExitStatusExt as _, process::Stdio, sync::OnceLock, time::Duration,
};

use futures_util::future::{self, OptionFuture};
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::{
    io::AsyncWriteExt as _,
    process::{Child, ChildStdin, Command},
};

use super::{
    ExecProgress, ExecRequest, ExecResult, PROGRESS_INTERVAL, PROGRESS_TAIL_BYTES_MAX, TAIL_BYTES_DEFAULT,
    spawn_failure, tail::Tail, to_json,
};
use crate::{
    edge::child,
    worker::{CancelCause, Context, Payload, TaskFailure},
};

/// How long the output streams may stay open after the program has ended: a background
/// process that inherited them must not keep the task.
const PIPE_GRACE: Duration = Duration::from_secs(1);

/// A program that ended.
#[derive(Debug)]
pub(super) struct Ran {
    pub(super) result: ExecResult,
    /// Why it was made to end, if it was.
    pub(super) stopped_by: Option<CancelCause>,
}

/// Kills a process group when dropped.
#[derive(Debug)]
struct Group(Pid);

impl Group {
    fn of(child: &Child) -> Result<Self, TaskFailure> {
        let id = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        id.map(Self).ok_or_else(|| wait_failure(io::ErrorKind::NotFound.into()))
    }

    /// A group without members is no error: then it has ended by itself.
    fn signal(&self, signal: Signal) {
        let _ = kill_process_group(self.0, signal);
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
    }
}

pub(super) async fn run(request: &ExecRequest, ctx: &Context, grace: Duration) -> Result<Ran, TaskFailure> {
    let started = ctx.clock().monotonic();
    let mut child = command(request, ctx).spawn().map_err(|error| spawn_failure(request, &error))?;
    // Declared after the child, so dropped before it, and it is waited for only after that: while
    // the child is not reaped, no other group can have its number.
    let group = Group::of(&child)?;

    let tail_bytes = request.tail_bytes.unwrap_or(TAIL_BYTES_DEFAULT);
    let (stdout, stderr) = (Tail::new(tail_bytes), Tail::new(tail_bytes));
    let reads = future::join3(
        OptionFuture::from(child.stdout.take().map(|stream| stdout.fill_from(stream))),
        OptionFuture::from(child.stderr.take().map(|stream| stderr.fill_from(stream))),
        OptionFuture::from(child.stdin.take().map(|stream| feed(stream, request.stdin.as_deref()))),
    );
    let mut reads = Box::pin(reads);
    let mut read = false;

    let told = OnceLock::new();
    let mut stop = Box::pin(stop(ctx, &group, grace, &told));
    let mut report = Box::pin(report(ctx, &stdout, &stderr));
    let mut killed = false;
    let mut ended = Box::pin(child::ended(group.0));
    let ended = loop {
        tokio::select! {
            biased;
            ended = &mut ended => break ended,
            _ = &mut reads, if !read => read = true,
            () = &mut stop, if !killed => killed = true,
            never = &mut report => match never {},
        }
    };
    drop((stop, report));
    let duration = ctx.clock().monotonic().since(started);

    if !read {
        read = ended_within(ctx, &mut reads, PIPE_GRACE).await;
    }
    drop(group);
    if !read {
        // What the killed ones had written, and the end of their streams.
        ended_within(ctx, &mut reads, PIPE_GRACE / 10).await;
    }
    drop(reads);

    ended.map_err(wait_failure)?;
    let status = child.wait().await.map_err(wait_failure)?;
    let ((stdout, stdout_truncated), (stderr, stderr_truncated)) = (stdout.text(), stderr.text());
    let result = ExecResult {
        exit_code: status.code(),
        signal: status.signal(),
        stdout,
        stderr,
        stdout_truncated,
        stderr_truncated,
        duration_ms: u64::try_from(duration.as_millis()).unwrap_or(u64::MAX),
    };
    Ok(Ran { result, stopped_by: told.into_inner() })
}

fn wait_failure(error: io::Error) -> TaskFailure {
    TaskFailure::retryable("wait", format!("cannot wait for the program: {error}"))
}

fn command(request: &ExecRequest, ctx: &Context) -> Command {
    let mut command = Command::new(&request.argv[0]);
    command.args(&request.argv[1..]);
    if request.clear_env {
        command.env_clear();
    }
    command
        .envs(&request.env)
        .env("ESCAPEMENT_TASK_ID", ctx.task_id().to_string())
        .env("ESCAPEMENT_ATTEMPT", ctx.attempt().to_string())
        .env("ESCAPEMENT_TOKEN", ctx.token().to_string())
        .env("ESCAPEMENT_DUE", ctx.due().to_string())
        .stdin(if request.stdin.is_some() { Stdio::piped() } else { Stdio::null() })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        // So that a dropped child is reaped, too.
        .kill_on_drop(true);
    if let Some(cwd) = &request.cwd {
        command.current_dir(cwd);
    }
    command
}

/// Reports new lines, not more often than [`PROGRESS_INTERVAL`]. What a program writes in its
/// last moments is not reported: its result follows at once.
async fn report(ctx: &Context, stdout: &Tail, stderr: &Tail) -> Infallible {
    let mut told = ExecProgress::default();
    loop {
        ctx.clock().sleep(PROGRESS_INTERVAL).await;
        let (out, err) = (stdout.last_lines(PROGRESS_TAIL_BYTES_MAX), stderr.last_lines(PROGRESS_TAIL_BYTES_MAX));
        let now = ExecProgress { stdout: out.text, stdout_bytes: out.end, stderr: err.text, stderr_bytes: err.end };
        if now != told && ctx.progress(Payload::json(to_json(&now))).is_ok() {
            told = now;
        }
    }
}

/// A program need not read its input: a closed pipe is no failure.
async fn feed(mut stream: ChildStdin, text: Option<&str>) {
    if let Some(text) = text {
        let _ = stream.write_all(text.as_bytes()).await;
    }
}

/// Waits until the attempt is to stop, then tells the group to end, then makes it.
async fn stop(ctx: &Context, group: &Group, grace: Duration, told: &OnceLock<CancelCause>) {
    let cause = ctx.cancelled().await;
    let _ = told.set(cause);
    group.signal(Signal::TERM);
    ctx.clock().sleep(grace).await;
    group.signal(Signal::KILL);
}

async fn ended_within(ctx: &Context, reads: &mut (impl Future + Unpin), span: Duration) -> bool {
    tokio::select! {
        biased;
        _ = reads => true,
        () = ctx.clock().sleep(span) => false,
    }
}

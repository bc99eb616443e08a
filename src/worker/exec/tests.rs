//! Real programs, real process groups.

use std::{sync::Arc, time::Duration};

use escapement_engine::{TaskId, Timestamp, Token, name::QueueName};
use rustix::process::{Pid, test_kill_process};

use super::*;
use crate::{
    edge::SystemClock,
    worker::{CancelCause, TaskInfo, TestAttempt},
};

fn info(payload: Payload) -> TaskInfo {
    TaskInfo {
        task_id: TaskId::from_bytes([7; 16]),
        token: Token(42),
        queue: QueueName::new("exec").unwrap(),
        payload,
        attempt: 3,
        max_attempts: 5,
        due: Timestamp::from_unix_ms(1_794_000_000_123),
        attempt_timeout: None,
        deadline: None,
        occurrence: None,
    }
}

fn context(payload: Payload) -> (Context, TestAttempt) {
    Context::for_test(info(payload), Arc::new(SystemClock::new()))
}

async fn exec(request: &ExecRequest) -> Result<ExecResult, TaskFailure> {
    let (ctx, _attempt) = context(request.to_payload());
    ExecHandler::new().run(ctx).await.map(|output| result(&output.0))
}

fn sh(script: &str) -> ExecRequest {
    ExecRequest::new(["sh", "-c", script])
}

fn result(payload: &Payload) -> ExecResult {
    assert_eq!(payload.content_type, "application/json");
    serde_json::from_slice(&payload.data).unwrap()
}

fn details(failure: &TaskFailure) -> ExecResult {
    result(failure.details.as_ref().unwrap())
}

/// Fails the test instead of letting it hang.
async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), what).await.expect("did not happen within 20 s")
}

/// Waits for the process to be gone: dead, and reaped or a zombie of init's.
async fn is_gone(pid: i32) -> bool {
    let pid = Pid::from_raw(pid).unwrap();
    let gone = async {
        while test_kill_process(pid).is_ok() && !is_zombie(pid) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), gone).await.is_ok()
}

fn is_zombie(pid: Pid) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).unwrap_or_default();
    stat.rsplit_once(')').is_none_or(|(_, rest)| rest.trim_start().starts_with('Z'))
}

/// Waits for a script to have written its line into this file.
async fn line_of(path: &std::path::Path) -> String {
    let written = async {
        loop {
            match std::fs::read_to_string(path) {
                Ok(text) if text.ends_with('\n') => return text.trim().to_owned(),
                _ => tokio::task::yield_now().await,
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(10), written).await.unwrap()
}

#[tokio::test]
async fn output_and_exit_code_become_the_result() {
    let ran = exec(&sh("echo out; echo err >&2")).await.unwrap();
    assert_eq!((ran.exit_code, ran.signal), (Some(0), None));
    assert_eq!((ran.stdout.as_str(), ran.stderr.as_str()), ("out\n", "err\n"));
    assert!(!ran.stdout_truncated && !ran.stderr_truncated);

    let failure = exec(&sh("echo why >&2; exit 3")).await.unwrap_err();
    assert_eq!(failure.to_string(), "exit: `sh`: exit code 3");
    assert!(!failure.non_retryable);
    assert_eq!((details(&failure).exit_code, details(&failure).stderr.as_str()), (Some(3), "why\n"));

    let failure = exec(&sh("kill -9 $$")).await.unwrap_err();
    assert_eq!(failure.to_string(), "exit: `sh`: ended by signal 9");
    assert_eq!((details(&failure).exit_code, details(&failure).signal), (None, Some(9)));
}

#[tokio::test]
async fn new_lines_are_reported_while_the_program_runs() {
    let dir = tempfile::tempdir().unwrap();
    let go = dir.path().join("go");
    let script =
        format!("echo one; echo oops >&2; printf half; while ! [ -e {} ]; do sleep 0.01; done; echo two", go.display());
    let (ctx, attempt) = context(sh(&script).to_payload());
    let handler = ExecHandler::new();
    let mut running = handler.run(ctx);
    let reported = async {
        loop {
            if let Some(report) = attempt.progress() {
                return serde_json::from_slice::<ExecProgress>(&report.data).unwrap();
            }
            tokio::task::yield_now().await;
        }
    };
    let report = tokio::select! {
        biased;
        ended = &mut running => panic!("ended before it was told to: {ended:?}"),
        report = soon(reported) => report,
    };
    let expect = ExecProgress { stdout: "one\n".into(), stdout_bytes: 4, stderr: "oops\n".into(), stderr_bytes: 5 };
    assert_eq!(report, expect);
    std::fs::write(go, "").unwrap();
    let ran = soon(running).await.map(|output| result(&output.0)).unwrap();
    assert_eq!(ran.stdout, "one\nhalftwo\n");
}

#[tokio::test]
async fn the_program_knows_its_attempt_and_has_its_environment() {
    let mut request =
        sh("echo $ESCAPEMENT_TASK_ID $ESCAPEMENT_ATTEMPT $ESCAPEMENT_TOKEN $ESCAPEMENT_DUE $COLOUR $PWD; cat");
    request.env.insert("COLOUR".to_owned(), "green".to_owned());
    request.cwd = Some("/".into());
    request.stdin = Some("typed".to_owned());
    let ran = exec(&request).await.unwrap();
    assert_eq!(ran.stdout, "07070707-0707-0707-0707-070707070707 3 42 2026-11-06T21:20:00.123Z green /\ntyped");

    let mut request = ExecRequest::new(["/usr/bin/env"]);
    request.clear_env = true;
    let ran = exec(&request).await.unwrap();
    assert!(ran.stdout.lines().all(|line| line.starts_with("ESCAPEMENT_")), "{}", ran.stdout);
    // A program that does not read its input does not fail by it.
    let mut request = ExecRequest::new(["true"]);
    request.stdin = Some("x".repeat(1 << 20));
    assert!(exec(&request).await.is_ok());
}

#[tokio::test]
async fn long_output_keeps_its_tail_and_does_not_block_the_program() {
    let mut request = sh("i=0; while [ $i -lt 30000 ]; do echo line-$i; i=$((i+1)); done; echo end >&2");
    request.tail_bytes = Some(100);
    let ran = exec(&request).await.unwrap();
    assert!(ran.stdout.ends_with("line-29998\nline-29999\n"), "{}", ran.stdout);
    assert_eq!((ran.stdout.len(), ran.stdout_truncated), (100, true));
    assert_eq!((ran.stderr.as_str(), ran.stderr_truncated), ("end\n", false));
}

#[tokio::test]
async fn a_result_fits_its_limit_whatever_it_needs_in_json() {
    // Each byte takes six in JSON.
    let mut request = sh("head -c 200000 /dev/zero | tr '\\000' '\\001'; echo wrong >&2; exit 1");
    request.tail_bytes = Some(TAIL_BYTES_MAX);
    let failure = exec(&request).await.unwrap_err();
    let payload = failure.details.as_ref().unwrap();
    assert!(payload.data.len() <= ERROR_DETAILS_BYTES_MAX, "{}", payload.data.len());
    assert!(payload.data.len() > ERROR_DETAILS_BYTES_MAX / 4, "{}", payload.data.len());
    let ran = details(&failure);
    assert_eq!((ran.stderr.as_str(), ran.stdout_truncated, ran.stderr_truncated), ("wrong\n", true, false));
}

#[tokio::test]
async fn a_cancelled_program_is_asked_to_end_and_its_output_kept() {
    let directory = tempfile::tempdir().unwrap();
    let ready = directory.path().join("ready");
    let script = format!("trap 'echo bye; exit 7' TERM; echo $$ > {}; while :; do sleep 0.01; done", ready.display());
    let (ctx, attempt) = context(sh(&script).to_payload());
    let handler = ExecHandler::new();
    let cancel = async {
        line_of(&ready).await;
        attempt.cancel(CancelCause::TimedOut);
    };
    let (failure, ()) = soon(futures_util::future::join(handler.run(ctx), cancel)).await;
    let failure = failure.unwrap_err();
    assert_eq!(failure.to_string(), "stopped: `sh` was stopped, since the attempt ran out of time: exit code 7");
    assert_eq!(details(&failure).stdout, "bye\n");
}

#[tokio::test]
async fn a_program_that_ignores_sigterm_is_killed_with_its_whole_group() {
    let directory = tempfile::tempdir().unwrap();
    let ready = directory.path().join("ready");
    let script = format!("trap '' TERM; sleep 1000 & echo $! > {}; wait", ready.display());
    let (ctx, attempt) = context(sh(&script).to_payload());
    let handler = ExecHandler::new().kill_grace(Duration::from_millis(20));
    let cancel = async {
        let grandchild = line_of(&ready).await;
        attempt.cancel(CancelCause::Cancelled);
        grandchild.parse::<i32>().unwrap()
    };
    let (failure, grandchild) = soon(futures_util::future::join(handler.run(ctx), cancel)).await;
    assert_eq!(details(&failure.unwrap_err()).signal, Some(9));
    assert!(is_gone(grandchild).await);
}

#[tokio::test]
async fn a_dropped_handler_leaves_no_process() {
    let directory = tempfile::tempdir().unwrap();
    let ready = directory.path().join("ready");
    let script = format!("sleep 1000 & echo $$ $! > {}; wait", ready.display());
    let (ctx, _attempt) = context(sh(&script).to_payload());
    let handler = ExecHandler::new();
    let line = tokio::select! {
        biased;
        ended = handler.run(ctx) => panic!("{ended:?}"),
        line = line_of(&ready) => line,
    };
    for pid in line.split(' ') {
        assert!(is_gone(pid.parse().unwrap()).await, "{pid} of {line}");
    }
}

#[tokio::test]
async fn a_background_process_that_keeps_the_output_open_ends_with_its_task() {
    let (ctx, _attempt) = context(sh("sleep 1000 & echo $!").to_payload());
    let handler = ExecHandler::new();
    let ended = soon(handler.run(ctx)).await;
    let ran = result(&ended.unwrap().0);
    assert!(is_gone(ran.stdout.trim().parse().unwrap()).await);
}

/// Sleeps last until the test lets them end.
#[derive(Debug)]
struct HeldClock {
    time: SystemClock,
    sleeping: tokio::sync::watch::Sender<u32>,
    release: tokio::sync::watch::Sender<bool>,
}

impl crate::clock::Clock for HeldClock {
    fn now(&self) -> Timestamp {
        self.time.now()
    }

    fn monotonic(&self) -> escapement_engine::Monotonic {
        self.time.monotonic()
    }

    fn sleep(&self, _span: Duration) -> BoxFuture<'static, ()> {
        self.sleeping.send_modify(|sleeping| *sleeping += 1);
        let mut released = self.release.subscribe();
        async move { drop(released.wait_for(|released| *released).await) }.boxed()
    }
}

#[tokio::test]
async fn a_program_that_ended_is_not_reaped_before_the_rest_of_its_group_is_killed() {
    let directory = tempfile::tempdir().unwrap();
    let ready = directory.path().join("ready");
    let (sleeping, release) = (tokio::sync::watch::channel(0).0, tokio::sync::watch::channel(false).0);
    let clock = Arc::new(HeldClock { time: SystemClock::new(), sleeping, release });
    let go = directory.path().join("go");
    let script = "sleep 1000 & echo $$ $! > READY; until [ -e GO ]; do sleep 0.01; done";
    let script = script.replace("READY", ready.to_str().unwrap()).replace("GO", go.to_str().unwrap());
    let (ctx, _attempt) = Context::for_test(info(sh(&script).to_payload()), Arc::clone(&clock) as _);
    let handler = ExecHandler::new();
    let check = async {
        let line = line_of(&ready).await;
        let (leader, other) = line.split_once(' ').unwrap();
        // The first to sleep is the reporter, while the program runs.
        clock.sleeping.subscribe().wait_for(|sleeping| *sleeping == 1).await.unwrap();
        std::fs::write(&go, "").unwrap();
        // The end of the program was noticed; the output that the other process holds is waited for.
        clock.sleeping.subscribe().wait_for(|sleeping| *sleeping == 2).await.unwrap();
        let stat = std::fs::read_to_string(format!("/proc/{leader}/stat")).expect("its id is still its own");
        assert!(stat.rsplit_once(')').unwrap().1.starts_with(" Z"), "{stat}");
        clock.release.send_replace(true);
        (leader.parse().unwrap(), other.parse().unwrap())
    };
    let (ended, (leader, other)) = soon(futures_util::future::join(handler.run(ctx), check)).await;
    assert_eq!(result(&ended.unwrap().0).exit_code, Some(0));
    assert!(is_gone(other).await);
    assert!(test_kill_process(Pid::from_raw(leader).unwrap()).is_err(), "reaped in the end");
}

#[tokio::test]
async fn what_cannot_be_run_is_named() {
    let refused = async |json: &str| {
        let (ctx, _attempt) = context(Payload::json(json));
        let failure = ExecHandler::new().run(ctx).await.unwrap_err();
        assert!(failure.non_retryable, "{failure}");
        failure.to_string()
    };
    let refusals = [
        refused("echo hello").await,
        refused(r#"{"argv": []}"#).await,
        refused(r#"{"argv": [""]}"#).await,
        refused(r#"{"argv": ["a", "b\u0000"]}"#).await,
        refused(r#"{"argv": ["a"], "shell": true}"#).await,
        refused(r#"{"argv": ["a"], "env": {"A=B": "c"}}"#).await,
        refused(r#"{"argv": ["a"], "tail_bytes": 262145}"#).await,
        refused(r#"{"argv": ["/no/such/program"]}"#).await,
        refused(r#"{"argv": ["/etc/passwd"]}"#).await,
        refused(r#"{"argv": ["true"], "cwd": "/no/such/directory"}"#).await,
    ];
    insta::assert_snapshot!(refusals.join("\n"), @r"
    invalid-payload: not an exec request: expected value at line 1 column 1
    invalid-payload: not an exec request: argv has 0 items; it has 1 to 1024
    invalid-payload: not an exec request: argv[0] is empty; it names the program
    invalid-payload: not an exec request: argv[1] contains a NUL character
    invalid-payload: not an exec request: unknown field `shell`, expected one of `argv`, `env`, `clear_env`, `cwd`, `stdin`, `tail_bytes` at line 1 column 23
    invalid-payload: not an exec request: env: `A=B` is not a variable that a program can be given
    invalid-payload: not an exec request: tail_bytes is 262145; the limit is 262144
    spawn: cannot start `/no/such/program`: No such file or directory (os error 2)
    spawn: cannot start `/etc/passwd`: Permission denied (os error 13)
    spawn: cannot start `true`: working directory `/no/such/directory` is not there
    ");
}

//! Waiting for a child process with a deadline: a broken build fails a test, and never hangs it.

use std::{
    io::Read,
    process::{Child, Command, Output, Stdio},
    sync::mpsc::{SyncSender, sync_channel},
    thread,
    time::Duration,
};

/// Far above what any command of the tests takes, on a machine that does much else.
const DEADLINE: Duration = Duration::from_secs(60);

/// Runs a command to its end; panics with what it said when it does not end in time.
#[allow(dead_code, reason = "some tests start the child themselves")]
pub(crate) fn output(command: &mut Command) -> Output {
    finish(command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap())
}

/// The same for a child that was started with both streams piped.
pub(crate) fn finish(mut child: Child) -> Output {
    let (sender, ends) = sync_channel(2);
    read(0, child.stdout.take().unwrap(), sender.clone());
    read(1, child.stderr.take().unwrap(), sender);
    let mut in_time = true;
    let mut streams = [Vec::new(), Vec::new()];
    for _ in 0..2 {
        let (stream, bytes) = ends.recv_timeout(DEADLINE).unwrap_or_else(|_| {
            in_time = false;
            // Its streams end with it.
            child.kill().unwrap();
            ends.recv().unwrap()
        });
        streams[stream] = bytes;
    }
    let [stdout, stderr] = streams;
    let status = child.wait().unwrap();
    let said = || format!("{}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    assert!(in_time, "the process had not ended after {DEADLINE:?}: {}", said());
    Output { status, stdout, stderr }
}

fn read(index: usize, mut stream: impl Read + Send + 'static, end: SyncSender<(usize, Vec<u8>)>) {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).unwrap();
        // Nobody waits after a panic.
        let _ = end.send((index, bytes));
    });
}

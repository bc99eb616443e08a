//! What the base is asked to sync, as the kernel sees it. Everything else in these tests takes the
//! word of [`FjallBase::persist`](super::super::base::FjallBase::persist) for it; only a trace of
//! the system calls shows that the sync was made. Needs strace and the right to trace; without
//! them the test says so loudly and checks nothing.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::Write as _,
    path::Path,
    process::Command,
};

use super::{all, commit, open_with, until};
use crate::store::{EmbeddedOptions, mvcc::tests::set};

/// This test, with the crate's name before it.
const NAME: &str = concat!(module_path!(), "::the_base_is_synced_by_the_kernel_before_the_log_lets_go_of_a_segment");
/// Names the directory to the traced process, which is this test again.
const TRACED_DIR: &str = "ESCAPEMENT_TEST_TRACED_DIR";
const CALLS: &str =
    "trace=write,pwrite64,writev,pwritev,pwritev2,fsync,fdatasync,rename,renameat,renameat2,unlink,unlinkat";
/// Segments that the log lets go of while it is traced.
const SEGMENTS: usize = 4;

/// Says what was left out: here, where a passing test is silent, and in the file in which
/// `.ci/test` gathers what its last lines tell.
#[expect(clippy::print_stdout, reason = "what was not checked must be said")]
fn not_checked(what: &str) {
    println!("NOT CHECKED: {what}");
    if let Some(path) = std::env::var_os("ESCAPEMENT_TEST_NOT_CHECKED") {
        let mut file = fs::OpenOptions::new().create(true).append(true).open(path).unwrap();
        writeln!(file, "NOT CHECKED: {what}").unwrap();
    }
}

/// Lets the log drop segments, in rounds: each waits for the base to have what the log lets go of.
fn drop_segments(dir: &Path) {
    let options = || EmbeddedOptions {
        window_ms: 20,
        window_ms_min: 10,
        segment_bytes: 4096,
        disk_free_bytes_min: 0,
        ..EmbeddedOptions::default()
    };
    // The second time so that the base's journal is one that was there before.
    for round in 0..2 {
        let engine = open_with(dir, options()).unwrap();
        for part in 0..SEGMENTS {
            let key = |number: usize| format!("round {round} part {part} key {number}");
            for number in 0..10 {
                commit(&engine, set(&key(number), &"v".repeat(1000))).unwrap();
            }
            until("the base has it all", || engine.stats().window_bytes == 0);
            let segments = || fs::read_dir(dir.join("log")).unwrap().count();
            until("the log lets go of old segments", || segments() <= 3);
        }
        assert_eq!(all(&engine).len(), (round + 1) * SEGMENTS * 10);
    }
}

/// What a trace says of the base's journals and the log's segments.
#[derive(Debug, Default)]
struct Trace {
    /// Journals of the base with writes that no sync has followed.
    unsynced: BTreeSet<String>,
    /// Syncs of journals under way, by thread.
    syncing: BTreeMap<String, String>,
    writes: usize,
    syncs: usize,
    drops: usize,
}

/// The path that strace adds to a call's first argument, if it is a journal of the base.
fn journal(call: &str) -> Option<String> {
    let path = call.split_once('<')?.1.split_once('>')?.0;
    (path.contains("/base/") && path.ends_with(".jnl")).then(|| path.to_owned())
}

impl Trace {
    /// Reads one line: a thread, and a call that began, ended or both.
    fn read(&mut self, line: &str) {
        let Some((thread, call)) = line.split_once(' ').map(|(thread, call)| (thread, call.trim_start())) else {
            return;
        };
        let succeeded = call.trim_end().ends_with("= 0");
        if call.starts_with("<... fsync") || call.starts_with("<... fdatasync") {
            if let Some(path) = self.syncing.remove(thread).filter(|_| succeeded) {
                self.synced(&path);
            }
            return;
        }
        let name = call.split('(').next().unwrap_or_default();
        match (name, journal(call)) {
            ("fsync" | "fdatasync", Some(path)) if call.ends_with("<unfinished ...>") => {
                self.syncing.insert(thread.to_owned(), path);
            }
            ("fsync" | "fdatasync", Some(path)) if succeeded => self.synced(&path),
            ("write" | "pwrite64" | "writev" | "pwritev" | "pwritev2", Some(path)) => {
                self.writes += 1;
                self.unsynced.insert(path);
            }
            _ => {}
        }
        // A segment that was used up is removed or becomes the spare.
        let is_rename = name.starts_with("rename") && call.contains(".log\"") && call.contains("/log/spare\"");
        let is_drop = is_rename && call.find(".log\"") < call.find("/log/spare\"");
        if is_drop || name.starts_with("unlink") && call.contains(".log\"") {
            self.drops += 1;
            assert!(self.unsynced.is_empty(), "a segment goes before the base is synced: {line}\n{self:?}");
        }
    }

    fn synced(&mut self, path: &str) {
        self.syncs += 1;
        self.unsynced.remove(path);
    }
}

#[test]
fn the_base_is_synced_by_the_kernel_before_the_log_lets_go_of_a_segment() {
    if let Some(dir) = std::env::var_os(TRACED_DIR) {
        drop_segments(Path::new(&dir));
        return;
    }
    let strace = |output: &Path| {
        let mut command = Command::new("strace");
        command.args(["-f", "-y", "-s", "0", "-e", CALLS, "-o"]).arg(output);
        command
    };
    let dir = tempfile::tempdir().unwrap();
    let output = dir.path().join("trace");
    if !strace(&output).arg("true").output().is_ok_and(|traced| traced.status.success()) {
        not_checked("that the embedded store's base is synced before the log lets go: no strace, or no right to trace");
        return;
    }
    let traced = strace(&output)
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", NAME.split_once("::").unwrap().1, "--nocapture"])
        .env(TRACED_DIR, dir.path().join("store"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&traced.stdout);
    assert!(traced.status.success() && said.contains("1 passed"), "{said}");
    let mut trace = Trace::default();
    fs::read_to_string(&output).unwrap().lines().for_each(|line| trace.read(line));
    assert!([trace.drops, trace.writes, trace.syncs].iter().all(|count| *count >= 2 * SEGMENTS), "{trace:?}");
}

//! The README's quick start, as it stands there: real processes, typed into a shell.
//!
//! The commands are read from README.md, so that neither can change without the other. What
//! differs from a user's terminal: the program that is built already stands in for `cargo run`
//! and for the alias, the port is any free one, and the crontab is one of the test's own.

#![expect(clippy::unwrap_used, reason = "the whole crate is a test")]
#![expect(clippy::disallowed_methods, reason = "it waits for real processes, with deadlines")]

use std::{
    io::{BufRead as _, BufReader, Read},
    path::Path,
    process::{Child, Command, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    time::{Duration, Instant},
};

use serde_json::Value;
use tempfile::TempDir;

const README: &str = include_str!("../../README.md");
/// Longest wait for anything: the quick start takes ten seconds on an idle machine.
const DEADLINE: Duration = Duration::from_secs(90);
/// What a session of the shell begins with here, in place of the README's `alias`.
const ALIAS: &str = "escapement() { \"$PROGRAM\" \"$@\"; }\n";

/// The commands of each `console` block of the section.
fn blocks(section: &str) -> Vec<Vec<&'static str>> {
    let (_, text) = README.split_once(&format!("\n## {section}\n")).unwrap();
    let text = text.split("\n## ").next().unwrap();
    let block = |text: &'static str| {
        let lines = text.split("\n```").next().unwrap().lines().skip(1);
        lines.map(|line| line.strip_prefix("$ ").unwrap_or_else(|| panic!("no command: {line}"))).collect()
    };
    text.split("```console").skip(1).map(block).collect()
}

/// A line that a process wrote.
#[derive(Debug)]
enum Line {
    Out(String),
    Err(String),
}

/// A child process whose lines are heard as they come; killed when dropped.
struct Process {
    child: Child,
    lines: Receiver<Line>,
    deadline: Instant,
    command: String,
    stdout: String,
    stderr: String,
}

impl Process {
    fn start(command: &mut Command, shown: &str) -> Self {
        let mut child =
            command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it can start");
        // The children of a shell may hold the pipes longer than the shell lives.
        let (sender, lines) = sync_channel(1000);
        listen(child.stdout.take().unwrap(), sender.clone(), Line::Out);
        listen(child.stderr.take().unwrap(), sender, Line::Err);
        let deadline = Instant::now() + DEADLINE;
        Self { child, lines, deadline, command: shown.to_owned(), stdout: String::new(), stderr: String::new() }
    }

    fn said(&self) -> String {
        format!("$ {}\n--- stdout\n{}--- stderr\n{}", self.command, self.stdout, self.stderr)
    }

    /// The next line of either stream; `None` when it writes no more.
    fn next(&mut self) -> Option<Line> {
        let line = match self.lines.recv_timeout(self.deadline.saturating_duration_since(Instant::now())) {
            Ok(line) => line,
            Err(RecvTimeoutError::Disconnected) => return None,
            Err(RecvTimeoutError::Timeout) => panic!("not over after {DEADLINE:?}:\n{}", self.said()),
        };
        let (all, text) = match &line {
            Line::Out(text) => (&mut self.stdout, text),
            Line::Err(text) => (&mut self.stderr, text),
        };
        all.push_str(text);
        all.push('\n');
        Some(line)
    }

    /// Waits for its end; its stdout and exit code.
    fn end(&mut self) -> (String, Option<i32>) {
        self.deadline = Instant::now() + DEADLINE;
        while self.next().is_some() {}
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return (std::mem::take(&mut self.stdout), status.code());
            }
            assert!(Instant::now() < self.deadline, "closed its output, but goes on:\n{}", self.said());
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn listen(stream: impl Read + Send + 'static, lines: SyncSender<Line>, line: fn(String) -> Line) {
    std::thread::spawn(move || {
        for text in BufReader::new(stream).lines().map_while(Result::ok) {
            if lines.send(line(text)).is_err() {
                return;
            }
        }
    });
}

/// The second terminal.
struct Terminal<'a> {
    dir: &'a Path,
    server: String,
    /// The task that `ID` and `$ID` stand for.
    id: String,
}

impl Terminal<'_> {
    fn start(&self, line: &str) -> Process {
        let words: Vec<&str> = line.split(' ').map(|word| if word == "ID" { self.id.as_str() } else { word }).collect();
        let line = words.join(" ").replace("/etc/crontab", "./crontab");
        let mut shell = Command::new("sh");
        shell.args(["-c", &format!("{ALIAS}{line}")]).current_dir(self.dir).env_clear();
        shell.envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
        shell.env("PROGRAM", env!("CARGO_BIN_EXE_escapement"));
        shell.env("ESCAPEMENT_CLIENT_SERVER", &self.server).env("ID", &self.id);
        Process::start(&mut shell, &line)
    }

    /// Its stdout; it is to succeed.
    fn run(&self, line: &str) -> String {
        let mut process = self.start(line);
        let (stdout, code) = process.end();
        assert_eq!(code, Some(0), "{stdout}{}", process.said());
        stdout
    }

    /// The task as a program sees it.
    fn task(&self) -> Value {
        serde_json::from_str(&self.run("escapement task get ID --output json")).unwrap()
    }

    /// Waits until the task has ended.
    fn ended(&self) -> Value {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let task = self.task();
            if !["scheduled", "running"].contains(&task["state"].as_str().unwrap()) {
                return task;
            }
            assert!(Instant::now() < deadline, "has not ended after {DEADLINE:?}: {task:#}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

/// `dev` on a free port, and where it is reached.
fn dev(dir: &TempDir, line: &str) -> (Process, String) {
    let args = line.strip_prefix("cargo run --release -- ").unwrap().split(' ');
    let mut program = Command::new(env!("CARGO_BIN_EXE_escapement"));
    program.args(args).current_dir(dir.path()).env_clear().env("ESCAPEMENT_SERVER_LISTEN", "127.0.0.1:0");
    program.envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
    let mut dev = Process::start(&mut program, line);
    loop {
        let Some(line) = dev.next() else { panic!("it ended:\n{}", dev.said()) };
        let (Line::Out(text) | Line::Err(text)) = line;
        if let Some((_, url)) = text.split_once(" runs at http://") {
            let address = url.split([' ', ',']).next().unwrap();
            return (dev, format!("http://{address}"));
        }
    }
}

#[test]
fn the_quick_start_of_the_readme_does_what_it_says() {
    let blocks = blocks("Quick start");
    let [first, second, also, last] = &blocks[..] else { panic!("another number of blocks: {blocks:#?}") };
    let [start] = first[..] else { panic!("{first:?}") };
    let [alias, submit, list, get, watch, submit_slow, watch_slow] = second[..] else { panic!("{second:#?}") };
    assert_eq!(alias, "alias escapement=$PWD/target/release/escapement");

    let dir = tempfile::tempdir().unwrap();
    let (mut dev, server) = dev(&dir, start);
    let mut terminal = Terminal { dir: dir.path(), server, id: String::new() };
    assert!(dir.path().join("escapement-data/FORMAT").exists(), "a durable store in ./escapement-data");

    terminal.id = terminal.run(submit).trim().to_owned();
    assert!(terminal.run(list).contains(&terminal.id), "{list}");
    let task = terminal.ended();
    assert_eq!(task["state"], "succeeded", "{task:#}");
    // The text form of instants sorts as they do.
    let at = |value: &Value| value.as_str().unwrap().to_owned();
    assert!(submit.contains(" --in 2s "), "{submit}");
    assert!(at(&task["submitted_at"]) < at(&task["due_at"]), "{task:#}");
    assert!(at(&task["attempts"][0]["started_at"]) >= at(&task["due_at"]), "not before it is due: {task:#}");
    let shown = terminal.run(get);
    for part in ["succeeded", "result", "exit code 0", "hello", "history"] {
        assert!(shown.contains(part), "no `{part}`:\n{shown}");
    }
    assert!(terminal.run(watch).contains("hello"), "{watch}");

    terminal.id = terminal.run(&format!("{submit_slow}; printf %s \"$ID\""));
    let shown = watched_live(&terminal, watch_slow);
    for number in 1..=5 {
        assert!(shown.lines().any(|line| line.trim() == number.to_string()), "no {number} in the result:\n{shown}");
    }

    std::fs::write(dir.path().join("crontab"), "30 2 * * * /usr/local/bin/backup\n").unwrap();
    for line in also.iter().chain(last) {
        assert!(!terminal.run(line).is_empty(), "{line} says nothing");
    }

    let pid = dev.child.id().to_string();
    assert!(Command::new("kill").args(["-s", "TERM", &pid]).status().unwrap().success());
    let (_, code) = dev.end();
    assert_eq!(code, Some(0), "{}", dev.said());
}

/// The lines that the program writes come before the task has ended; what follows the end.
fn watched_live(terminal: &Terminal<'_>, line: &str) -> String {
    let mut watch = terminal.start(line);
    let mut live = false;
    while let Some(line) = watch.next() {
        let Line::Out(line) = line else { continue };
        live |= line.trim_start().starts_with("stdout: ");
        if line.contains("  succeeded") {
            break;
        }
    }
    assert!(live, "no line of the program before the task's end:\n{}", watch.said());
    watch.stdout.clear();
    let (result, code) = watch.end();
    assert_eq!(code, Some(0), "{result}{}", watch.said());
    assert!(result.contains("history"), "{result}");
    result
}

//! The program as it is typed: what it prints, where, and with which exit code.

#![expect(clippy::unwrap_used, reason = "the whole crate is a test")]

#[path = "../child/mod.rs"]
mod child;
#[path = "../fake/mod.rs"]
mod fake;

mod config;
mod document;
mod help;
mod import;
mod schedules;
mod services;
mod tasks;

use std::{
    io::Write as _,
    path::Path,
    process::{Command, Stdio},
};

use fake::{Fake, Script};
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// A folder to run the program in, and a server to talk to.
struct World {
    dir: TempDir,
    fake: Fake,
    // Last: the server must not end before the folder is gone.
    _runtime: Runtime,
}

impl World {
    fn new(script: Script) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let fake = runtime.block_on(Fake::start(script));
        Self { dir: tempfile::tempdir().unwrap(), fake, _runtime: runtime }
    }

    /// Runs the program and shows all that it gave.
    fn run(&self, args: &[&str]) -> String {
        self.run_with(args, "")
    }

    fn run_with(&self, args: &[&str], stdin: &str) -> String {
        let url = self.fake.url();
        let output = run(self.dir.path(), args, &[("ESCAPEMENT_CLIENT_SERVER", &url)], stdin);
        output.replace(&self.fake.address.to_string(), "SERVER")
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        std::fs::write(self.dir.path().join(name), content).unwrap();
    }
}

/// Runs the program in this folder, in an environment that has these variables only, and UTC.
fn run(dir: &Path, args: &[&str], environment: &[(&str, &str)], stdin: &str) -> String {
    let mut child = Command::new(env!("CARGO_BIN_EXE_escapement"))
        .args(args)
        .env_clear()
        .env("TZ", "UTC")
        .envs(environment.iter().copied())
        .current_dir(dir)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A program that does not read its input closes it.
    let _ = child.stdin.take().unwrap().write_all(stdin.as_bytes());
    let output = child::finish(child);
    let mut shown = format!("$ escapement {}\n", args.join(" "));
    for (name, bytes) in [("stdout", &output.stdout), ("stderr", &output.stderr)] {
        if !bytes.is_empty() {
            shown = format!("{shown}--- {name}\n{}\n", String::from_utf8_lossy(bytes).trim_end());
        }
    }
    format!("{shown}--- exit code {}\n", output.status.code().unwrap()).replace(dir.to_str().unwrap(), "DIR")
}

/// Ids that the client makes differ from run to run; those of the fake server do not.
fn settings() -> insta::Settings {
    let mut settings = insta::Settings::clone_current();
    settings.add_filter(r"\b01(a|b|c)[0-9a-f]{5}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}", "TASK_ID");
    settings
}

macro_rules! assert_output {
    ($shown:expr) => {
        $crate::settings().bind(|| insta::assert_snapshot!($shown))
    };
}
use assert_output;

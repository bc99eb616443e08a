//! The program as child processes.

use std::{
    net::{SocketAddr, TcpListener},
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use escapement::client::Client;

/// A child process; killed when dropped.
#[derive(Debug)]
pub(crate) struct Process(Child);

impl Process {
    fn start(args: &[&str], log: &Path) -> Self {
        Self::start_with(args, log, None)
    }

    fn start_with(args: &[&str], log: &Path, bug: Option<&str>) -> Self {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(log).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_escapement"))
            .args(args)
            .env_remove("ESCAPEMENT_CONFIG")
            .envs(bug.map(|bug| ("ESCAPEMENT_PLANTED_BUG", bug)))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        Self(child)
    }

    /// A server on this port; its log goes to a file in the same folder.
    pub(crate) fn server(dir: &Path, port: u16, extra: &[&str]) -> Self {
        Self::server_with(dir, port, extra, None)
    }

    /// The same with a bug planted in it.
    pub(crate) fn server_with_bug(dir: &Path, port: u16, bug: &str) -> Self {
        Self::server_with(dir, port, &[], Some(bug))
    }

    fn server_with(dir: &Path, port: u16, extra: &[&str], bug: Option<&str>) -> Self {
        let (listen, data) = (format!("127.0.0.1:{port}"), dir.join("data").display().to_string());
        let mut args = vec!["serve", "--listen", &listen, "--data-dir", &data, "--log-level", "warn"];
        args.extend(extra);
        Self::start_with(&args, &dir.join("server.log"), bug)
    }

    /// A served store on this port, with its data in the same folder.
    pub(crate) fn store(dir: &Path, port: u16) -> Self {
        let (listen, data) = (format!("127.0.0.1:{port}"), dir.join("store").display().to_string());
        Self::start(&["store", "--listen", &listen, "--data-dir", &data, "--log-level", "warn"], &dir.join("store.log"))
    }

    /// A server on this port that uses the store on that one.
    pub(crate) fn server_on_store(dir: &Path, port: u16, store: u16) -> Self {
        let (listen, store) = (format!("127.0.0.1:{port}"), format!("remote:127.0.0.1:{store}"));
        let args = ["serve", "--listen", &listen, "--store", &store, "--log-level", "warn"];
        Self::start(&args, &dir.join("server.log"))
    }

    /// Its exit code, once it has ended by itself.
    pub(crate) fn exit_code(&mut self) -> Option<i32> {
        self.0.try_wait().unwrap().map(|status| status.code().unwrap_or(-1))
    }

    /// A worker that runs programs.
    pub(crate) fn exec_worker(dir: &Path, endpoint: &str, name: &str) -> Self {
        let args = ["worker", "--server", endpoint, "--exec", "--name", name, "--log-level", "info"];
        Self::start(&args, &dir.join(format!("{name}.log")))
    }

    /// Kill -9, and waits until it is gone.
    pub(crate) fn kill(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }

    /// Sends a signal by name, e.g. "STOP".
    pub(crate) fn signal(&self, name: &str) {
        let pid = self.0.id().to_string();
        assert!(Command::new("kill").args(["-s", name, &pid]).status().unwrap().success());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A port that is free now and that nobody else is likely to take.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap().local_addr().unwrap().port()
}

/// Waits for a condition; panics with `what` after a minute.
pub(crate) async fn eventually<F: AsyncFnMut() -> bool>(what: &str, mut holds: F) {
    for _ in 0..6000 {
        if holds().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("never came true: {what}");
}

/// Waits until the server answers.
pub(crate) async fn ready(client: &Client) {
    eventually("the server answers", async || client.status().await.is_ok()).await;
}

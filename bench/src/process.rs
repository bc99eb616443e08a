//! The server as a process of its own, so that its memory and CPU are its own.

use std::{
    io::{BufRead as _, BufReader},
    net::SocketAddr,
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use clap::Args;
use escapement::{
    edge::signal::shutdown_signal,
    scheduler::SchedulerOptions,
    server::{self, StoreUrl},
};

/// Settings of the server process.
#[derive(Args, Clone, Debug)]
pub(crate) struct ServerOptions {
    /// Where its state is kept.
    #[arg(long)]
    pub(crate) data_dir: PathBuf,
}

/// Serves on a free port of the loopback and prints its address.
pub(crate) async fn serve(options: ServerOptions) -> Result<(), String> {
    let server = server::start(server::ServerOptions {
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        store: StoreUrl::Embedded(options.data_dir),
        scheduler: SchedulerOptions::default(),
        drain_max: std::time::Duration::from_secs(2),
    })
    .await
    .map_err(|error| error.to_string())?;
    println!("{}", server.local_addr());
    shutdown_signal().await;
    server.shutdown().await.map_err(|error| error.to_string())
}

/// This program again, as a process of its own; killed when dropped.
#[derive(Debug)]
pub(crate) struct BenchProcess {
    child: Child,
}

impl BenchProcess {
    /// Starts a hidden command with `--name value` arguments; gives the first line that it prints.
    pub(crate) fn start(command: &str, arguments: &[(&str, String)]) -> Result<(Self, String), String> {
        let program = std::env::current_exe().map_err(|error| error.to_string())?;
        let arguments = arguments.iter().flat_map(|(name, value)| [format!("--{name}"), value.clone()]);
        let mut child = Command::new(program)
            .arg(command)
            .args(arguments)
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("cannot start the {command}: {error}"))?;
        let stdout = child.stdout.take().ok_or_else(|| format!("the {command} has no standard output"))?;
        let process = Self { child };
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line).map_err(|error| error.to_string())?;
        if line.trim().is_empty() {
            return Err(format!("the {command} did not start"));
        }
        Ok((process, line.trim().to_owned()))
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for BenchProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A server process.
#[derive(Debug)]
pub(crate) struct ServerProcess {
    process: BenchProcess,
    address: String,
}

impl ServerProcess {
    /// Starts this program again as a server.
    pub(crate) fn start(options: &ServerOptions) -> Result<Self, String> {
        let data_dir = options.data_dir.to_str().ok_or("the data directory's name is no text")?;
        let (process, address) = BenchProcess::start("server", &[("data-dir", data_dir.to_owned())])?;
        Ok(Self { process, address })
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.pid()
    }
}

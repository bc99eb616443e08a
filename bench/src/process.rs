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

/// A server process; killed when dropped.
#[derive(Debug)]
pub(crate) struct ServerProcess {
    child: Child,
    address: String,
}

impl ServerProcess {
    /// Starts this program again as a server.
    pub(crate) fn start(options: &ServerOptions) -> Result<Self, String> {
        let program = std::env::current_exe().map_err(|error| error.to_string())?;
        let mut child = Command::new(program)
            .arg("server")
            .arg("--data-dir")
            .arg(&options.data_dir)
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("cannot start the server: {error}"))?;
        let stdout = child.stdout.take().ok_or("the server has no standard output")?;
        let mut address = String::new();
        BufReader::new(stdout).read_line(&mut address).map_err(|error| error.to_string())?;
        if address.trim().is_empty() {
            return Err("the server did not start".to_owned());
        }
        Ok(Self { child, address: address.trim().to_owned() })
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

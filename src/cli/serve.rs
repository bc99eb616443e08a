//! `escapement serve` and `escapement dev`.

use std::{net::SocketAddr, time::Duration};

use clap::Args;

use super::{
    Context,
    args::{Flag, GlobalArgs, text},
    error::CliError,
    worker,
};
use crate::{
    config::{Config, HandlerKind, ServerConfig},
    edge::signal::shutdown_signal,
    error::{ApiError, Reason},
    scheduler::SchedulerOptions,
    server::{self, ServerHandle, ServerOptions},
    worker::{WorkerError, WorkerHandle},
};

/// A shutdown waits this long for attempts that run.
const DRAIN_MAX: Duration = Duration::from_secs(10);

#[derive(Debug, Args)]
pub(super) struct ServerFlags {
    /// Where to listen [env: ESCAPEMENT_SERVER_LISTEN] [default: 127.0.0.1:7250]
    #[arg(long, value_name = "IP:PORT")]
    listen: Option<String>,
    /// Directory of the embedded store [env: ESCAPEMENT_SERVER_DATA_DIR] [default: ./escapement-data]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<String>,
    /// embedded:PATH, memory:, remote:HOST:PORT or fdb:FILE?prefix=PREFIX [env: ESCAPEMENT_SERVER_STORE] [default: embedded: in the data directory]
    #[arg(long, value_name = "URL")]
    store: Option<String>,
    /// Shards of a new store; a store that has another number is refused [env: ESCAPEMENT_SERVER_SHARDS] [default: 32]
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    shards: Option<String>,
    /// How long a worker session may be silent [env: ESCAPEMENT_SERVER_SESSION_LEASE_MS] [default: 10000]
    #[arg(long, value_name = "MS", allow_hyphen_values = true)]
    session_lease_ms: Option<String>,
    /// Largest payload or result [env: ESCAPEMENT_SERVER_PAYLOAD_BYTES_MAX] [default: 1048576]
    #[arg(long, value_name = "BYTES", allow_hyphen_values = true)]
    payload_bytes_max: Option<String>,
    /// What is done about a leap second: pause or smear [env: ESCAPEMENT_SERVER_LEAP_MODE] [default: pause]
    #[arg(long, value_name = "MODE")]
    leap_mode: Option<String>,
}

impl ServerFlags {
    pub(super) fn flags(&self) -> Vec<Flag> {
        let flags = [
            text("server.listen", self.listen.as_ref()),
            text("server.data_dir", self.data_dir.as_ref()),
            text("server.store", self.store.as_ref()),
            text("server.shards", self.shards.as_ref()),
            text("server.session_lease_ms", self.session_lease_ms.as_ref()),
            text("server.payload_bytes_max", self.payload_bytes_max.as_ref()),
            text("server.leap_mode", self.leap_mode.as_ref()),
        ];
        flags.into_iter().flatten().collect()
    }
}

#[derive(Debug, Args)]
pub(super) struct ServeArgs {
    #[command(flatten)]
    pub(super) server: ServerFlags,
}

/// Tasks run programs as this user, so only this machine may submit.
#[derive(Debug, Args)]
#[command(
    after_help = "Here --exec and --http are on: tasks run programs as this user and post to HTTP servers, unless
--exec=false or --http=false switches it off."
)]
pub(super) struct DevArgs {
    #[command(flatten)]
    server: ServerFlags,
    #[command(flatten)]
    worker: worker::WorkerArgs,
}

impl DevArgs {
    pub(super) fn flags(&self, global: &GlobalArgs) -> Result<Vec<Flag>, CliError> {
        if global.server.is_some() {
            return Err(CliError::usage(
                "`dev` runs a server of its own",
                "Leave out --server, or run `escapement worker`.",
            ));
        }
        Ok(self.server.flags().into_iter().chain(self.worker.flags()).collect())
    }
}

/// The one place where the program starts a server.
async fn start(config: &ServerConfig) -> Result<ServerHandle, CliError> {
    let scheduler = SchedulerOptions {
        shards: config.shards,
        shards_required: config.shards_required,
        session_lease: config.session_lease,
        payload_bytes_max: config.payload_bytes_max,
        leap_mode: config.leap_mode,
        ..SchedulerOptions::default()
    };
    let options = ServerOptions { listen: config.listen, store: config.store.clone(), scheduler, drain_max: DRAIN_MAX };
    server::start(options).await.map_err(|error| ApiError::from(error).into())
}

pub(super) async fn serve(context: &Context) -> Result<u8, CliError> {
    let mut server = start(&context.config.server).await?;
    announce_server(context, server.local_addr());
    tokio::select! {
        biased;
        () = shutdown_signal() => {}
        stopped = server.stopped() => return Err(stopped_by_itself(stopped.err())),
    }
    context.ui.note("stopping");
    server.shutdown().await.map_err(ApiError::from)?;
    Ok(0)
}

fn stopped_by_itself(error: Option<server::ServerError>) -> CliError {
    match error {
        Some(error) => ApiError::from(error).into(),
        None => CliError::internal("the server stopped by itself"),
    }
}

pub(super) async fn dev(context: &Context) -> Result<u8, CliError> {
    let Config { server, worker, client, .. } = &context.config;
    if !server.listen.ip().is_loopback() {
        let message = format!("dev listens on loopback addresses only, and {} is none", server.listen);
        let mut error = CliError::from(ApiError::new(Reason::AddressUnusable, message));
        error.advice = "Its tasks run any program as this user. Run `escapement serve`, and workers where you want \
                        them, to be reached from other machines."
            .to_owned();
        return Err(error);
    }
    // Checked before anything is started; the address is not known yet, but has no part in it.
    worker::build(worker, &client.server, &client.namespace)?;
    let mut server = start(server).await?;
    let address = server.local_addr();
    let mut workers = worker::build(worker, &format!("http://{address}"), &client.namespace)?.start();
    announce_server(context, address);
    announce_next(context, address);
    tokio::select! {
        biased;
        () = shutdown_signal() => {}
        stopped = server.stopped() => return Err(stopped_by_itself(stopped.err())),
        ended = workers.ended() => {
            server.shutdown().await.map_err(ApiError::from)?;
            return Err(ended.map_or_else(worker::failed, |_| CliError::internal("the workers ended by themselves")));
        }
    }
    context.ui.note("stopping");
    // The workers first: what they finish still finds the server.
    let drained = drain(workers).await;
    server.shutdown().await.map_err(ApiError::from)?;
    drained.map_err(worker::failed)?;
    Ok(0)
}

/// A second signal does not wait for the tasks that run.
async fn drain(workers: WorkerHandle) -> Result<(), WorkerError> {
    tokio::select! {
        biased;
        drained = workers.drain() => drained.map(|_| ()),
        () = shutdown_signal() => Ok(()),
    }
}

fn announce_server(context: &Context, address: SocketAddr) {
    let store = &context.config.server.store;
    context.ui.note(format_args!("Escapement {} runs at http://{address}, store {store}", env!("CARGO_PKG_VERSION")));
}

fn announce_next(context: &Context, address: SocketAddr) {
    let url = format!("http://{address}");
    // Commands find the default address by themselves.
    let server = if url == context.config.client.server { String::new() } else { format!(" --server {url}") };
    let server = format!("{server}{}", context.said);
    let queues = worker::queues(&context.config.worker);
    let programs = if context.config.worker.exec { " Programs of tasks run as this user." } else { "" };
    let example = match queues.first() {
        Some((queue, HandlerKind::Http)) => {
            format!("--queue {queue} --in 2s --url http://localhost:8080/ --payload hello")
        }
        Some((queue, HandlerKind::Exec)) => format!("--queue {queue} --in 2s -- echo hello"),
        None => unreachable!("a worker without queues is not built"),
    };
    let queues: Vec<_> = queues.iter().map(|(queue, _)| queue.to_string()).collect();
    context.ui.note(format_args!(
        "Workers take tasks from: {}.{programs}\n\
         \n\
         Type next, in another terminal:\n  \
         escapement{server} task submit {example}\n  \
         escapement{server} task list\n  \
         escapement{server} status\n\
         \n\
         Ctrl-C ends it; what was submitted is kept unless the store is `memory:`.",
        queues.join(", "),
    ));
}

//! `escapement store`.

use std::{net::SocketAddr, sync::Arc};

use clap::Args;

use super::{
    Context,
    args::{Flag, text},
    error::CliError,
};
use crate::{
    config::Raw,
    edge::{SystemClock, signal::shutdown_signal},
    error::{ApiError, Reason},
    rng::Rng,
    server::{self, StoreUrl},
};

/// Serve the embedded store to other processes of this machine
///
/// For development and tests: several processes can use it with `--store remote:HOST:PORT`. It has
/// no authentication: whoever can connect may read and change everything. Production clusters use
/// FoundationDB.
#[derive(Debug, Args)]
pub(super) struct StoreArgs {
    /// Where to listen
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:7251", value_parser = address)]
    listen: SocketAddr,
    /// Directory of the store [env: ESCAPEMENT_SERVER_DATA_DIR] [default: ./escapement-data]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<String>,
    /// Listen on an address that other machines reach, though nobody is asked who they are
    #[arg(long)]
    allow_unauthenticated: bool,
}

fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| "must be an IP address and a port, such as 127.0.0.1:7251".to_owned())
}

impl StoreArgs {
    pub(super) fn flags(&self) -> Vec<Flag> {
        // What `serve` shall use is none of this command's business.
        let store = ("server.store", Raw::Text("embedded:".to_owned()));
        text("server.data_dir", self.data_dir.as_ref()).into_iter().chain([store]).collect()
    }
}

pub(super) async fn run(args: &StoreArgs, context: &Context) -> Result<u8, CliError> {
    if !args.listen.ip().is_loopback() && !args.allow_unauthenticated {
        let message = format!("store listens on loopback addresses only, and {} is none", args.listen);
        let mut error = CliError::from(ApiError::new(Reason::AddressUnusable, message));
        error.advice = "It has no authentication: whoever can connect may read and change everything. With \
                        --allow-unauthenticated it listens there all the same."
            .to_owned();
        return Err(error);
    }
    let StoreUrl::Embedded(dir) = &context.config.server.store else {
        return Err(CliError::internal("the store to be served is the embedded one"));
    };
    let started = server::start_store(args.listen, dir, Arc::new(SystemClock::new()), Rng::from_entropy()).await;
    let mut store = started.map_err(ApiError::from)?;
    let address = store.local_addr();
    context.ui.note(format_args!(
        "Escapement {} serves the store in {} at {address}; use it with --store remote:{address}",
        env!("CARGO_PKG_VERSION"),
        dir.display()
    ));
    tokio::select! {
        biased;
        () = shutdown_signal() => {}
        stopped = store.stopped() => {
            let error = stopped.err().map(|error| ApiError::from(error).into());
            return Err(error.unwrap_or_else(|| CliError::internal("the store stopped by itself")));
        }
    }
    context.ui.note("stopping");
    store.shutdown().await.map_err(ApiError::from)?;
    Ok(0)
}

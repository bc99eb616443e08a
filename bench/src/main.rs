//! Measurements of Escapement. Each subcommand prints the machine, its settings and its
//! figures, as a table or with `--json`.

#![expect(clippy::print_stdout, reason = "results go to standard output")]

mod hiccups;
mod lateness;
mod machine;
mod process;
mod rounds;
mod store;
mod submit;
mod throughput;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// As the `escapement` program has it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Debug, Parser)]
#[command(name = "escapement-bench", about = "Measurements of Escapement", version)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Tasks scheduled ahead: memory of the server, and how late each one starts.
    Lateness(lateness::Options),
    /// The embedded store: commits beside raw fjall, reads at a version. Or FoundationDB.
    Store(store::Options),
    /// Submit, run, complete: tasks a second from end to end.
    Throughput(throughput::Options),
    /// A worker as a process of its own.
    #[command(hide = true)]
    Worker(throughput::roles::WorkerOptions),
    /// A client as a process of its own.
    #[command(hide = true)]
    Client(throughput::roles::ClientOptions),
    /// A server as a process of its own; the other commands start it.
    #[command(hide = true)]
    Server(process::ServerOptions),
}

fn main() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let result = match (runtime, Args::parse().command) {
        (Err(error), _) => Err(format!("cannot start the runtime: {error}")),
        (Ok(runtime), Command::Lateness(options)) => runtime.block_on(lateness::run(options)),
        (Ok(runtime), Command::Store(options)) => runtime.block_on(store::run(options)),
        (Ok(runtime), Command::Throughput(options)) => runtime.block_on(throughput::run(options)),
        (Ok(runtime), Command::Worker(options)) => runtime.block_on(throughput::roles::work(options)),
        (Ok(runtime), Command::Client(options)) => runtime.block_on(throughput::roles::submit(options)),
        (Ok(runtime), Command::Server(options)) => runtime.block_on(process::serve(options)),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

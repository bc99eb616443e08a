//! The command line: reads what was typed and configured, calls the client, the worker SDK or
//! the server, and shows what came of it.
//!
//! Results go to stdout, everything else to stderr, so that a pipe carries results only. What
//! a program reads is `--output json`, whose shape is kept; what people read may change.
//! Exit codes and the JSON shapes stand in `docs/CLI.md`.

mod args;
mod completions;
mod config;
mod error;
mod import;
mod logging;
mod output;
mod schedule;
mod serve;
mod status;
mod store;
mod task;
mod values;
mod view;
mod work;
mod worker;

use std::{env, ffi::OsString, fmt, process::ExitCode};

use clap::{CommandFactory as _, Parser, Subcommand};

use self::{
    args::GlobalArgs,
    error::CliError,
    output::{Format, Ui},
};
use crate::{
    client::Client,
    config::{Config, Loaded, Origin},
    error::Reason,
};

/// Runs a task at the instant it is due, once in effect, whatever fails meanwhile.
#[derive(Debug, Parser)]
#[command(name = "escapement", version, max_term_width = 100, propagate_version = true)]
#[command(after_help = "Start with `escapement dev`; it says what to type next.")]
struct Cli {
    #[command(flatten)]
    global: GlobalArgs,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run server, store and workers in one process, for this machine only
    Dev(serve::DevArgs),
    /// Run a server
    Serve(serve::ServeArgs),
    Store(store::StoreArgs),
    /// Run a worker that runs programs or posts to HTTP servers
    Worker(worker::WorkerArgs),
    /// Submit, show, cancel and watch tasks
    #[command(subcommand)]
    Task(task::TaskCommand),
    /// Create, show and steer schedules
    #[command(subcommand)]
    Schedule(schedule::ScheduleCommand),
    /// Take over what another scheduler does
    #[command(subcommand)]
    Import(import::ImportCommand),
    /// Show how the server is
    Status,
    /// Show the configuration that holds, and where each value comes from
    Config(config::ConfigArgs),
    /// Print a script that completes commands in a shell
    Completions(completions::CompletionsArgs),
}

impl Command {
    /// Whether it runs until it is told to end.
    const fn is_service(&self) -> bool {
        matches!(self, Self::Dev(_) | Self::Serve(_) | Self::Store(_) | Self::Worker(_))
    }
}

/// What every command has at hand.
struct Context {
    ui: Ui,
    config: Config,
    /// Server and namespace as flags, where flags named them: what a hint repeats.
    said: String,
}

impl Context {
    fn client(&self) -> Result<Client, CliError> {
        let config = &self.config.client;
        let builder = Client::builder(&config.server).namespace(config.namespace.as_str()).deadline(config.timeout);
        Ok(builder.build()?)
    }

    /// A command to type next, for the same server and namespace.
    fn command(&self, words: impl fmt::Display) -> String {
        format!("escapement{} {words}", self.said)
    }

    /// What is not there may be in another namespace: says which was asked.
    fn name_namespace(&self, mut error: CliError) -> CliError {
        if [Reason::TaskNotFound, Reason::ScheduleNotFound].map(Reason::code).contains(&error.code) {
            error.message = format!("{} in namespace `{}`", error.message, self.config.client.namespace);
            error.advice = error.advice.replace("`escapement ", &format!("`escapement{} ", self.said));
        }
        error
    }
}

/// The flags for server and namespace that were given, each with a blank in front.
fn said(loaded: &Loaded) -> String {
    let keys = ["client.server", "client.namespace"].map(|key| loaded.setting(key));
    let flags = keys.into_iter().filter_map(|setting| match setting.origin {
        Origin::Flag(flag) => Some(format!(" {flag} {}", setting.text())),
        _ => None,
    });
    flags.collect()
}

/// Runs the program with the arguments of the process.
pub fn main() -> ExitCode {
    let arguments: Vec<OsString> = env::args_os().collect();
    let cli = match Cli::try_parse_from(&arguments) {
        Ok(cli) => cli,
        Err(error) => return refuse_usage(&error, &arguments),
    };
    let ui = Ui::new(cli.global.output, cli.global.no_color);
    let code = run(cli, ui).unwrap_or_else(|error| {
        ui.error(&error);
        error.exit
    });
    // Its client's thread must not outlive the program; by now nothing uses it any more.
    crate::store::fdb::stop();
    ExitCode::from(code)
}

/// Help and version are no errors, and go to stdout.
fn refuse_usage(error: &clap::Error, arguments: &[OsString]) -> ExitCode {
    let words = || arguments.iter().take_while(|word| *word != "--");
    let json = words().any(|word| word == "--output=json")
        || words().zip(words().skip(1)).any(|(flag, value)| flag == "--output" && value == "json");
    if error.use_stderr() && json {
        let text = error.render().to_string();
        let text = text.strip_prefix("error: ").unwrap_or(&text).trim_end();
        let violations = error::of_clap(error);
        let error = CliError { violations, ..CliError::usage(text, "Run the command with --help.") };
        Ui::new(Format::Json, true).error(&error);
    } else if error.use_stderr() {
        // With the same prefix as every other error.
        let ui = Ui::new(Format::Table, words().any(|word| word == "--no-color"));
        let text = if ui.colours_err() { error.render().ansi().to_string() } else { error.render().to_string() };
        let text = ["\x1b[1m\x1b[31merror:\x1b[0m ", "error: "]
            .iter()
            .find_map(|usual| text.strip_prefix(usual))
            .unwrap_or(&text);
        ui.usage_error(text.trim_end());
    } else if error.print().is_err() {
        // Nobody reads any more; there is nobody to tell, either.
    }
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(crate::error::exit::USAGE))
}

/// Returns the exit code.
fn run(cli: Cli, ui: Ui) -> Result<u8, CliError> {
    if let Command::Completions(args) = &cli.command {
        return completions::run(args, &mut Cli::command());
    }
    #[cfg(feature = "planted-bugs")]
    if let Some(bug) = crate::planted::from_environment().map_err(|error| CliError::usage(error, "Unset it."))? {
        ui.note(format_args!("warning: this process has the planted bug {}: {}", bug.name(), bug.what()));
    }
    let mut flags = cli.global.flags();
    match &cli.command {
        Command::Dev(args) => flags.extend(args.flags(&cli.global)?),
        Command::Serve(args) => flags.extend(args.server.flags()),
        Command::Store(args) => flags.extend(args.flags()),
        Command::Worker(args) => flags.extend(args.flags()),
        Command::Config(args) => flags.extend(args.flags()),
        _ => {}
    }
    let mut loaded = crate::config::Sources::of_process(cli.global.config.clone(), flags).load()?;
    if matches!(cli.command, Command::Dev(_)) {
        loaded.set_default("worker.exec", "true");
        loaded.set_default("worker.http", "true");
    }
    let config = loaded.check()?;
    logging::start(&config.log, cli.command.is_service(), ui)?;
    for warning in &loaded.warnings {
        ui.note(format_args!("warning: {warning}"));
    }
    if matches!(cli.command, Command::Config(_)) {
        return config::run(&loaded, ui);
    }
    let context = Context { ui, config, said: said(&loaded) };
    let runtime = if cli.command.is_service() {
        tokio::runtime::Builder::new_multi_thread().enable_all().build()
    } else {
        tokio::runtime::Builder::new_current_thread().enable_all().build()
    };
    let runtime = runtime.map_err(|error| CliError::internal(format!("cannot start the runtime: {error}")))?;
    let ended = runtime.block_on(Box::pin(dispatch(cli.command, &context)));
    ended.map_err(|error| context.name_namespace(error))
}

async fn dispatch(command: Command, context: &Context) -> Result<u8, CliError> {
    match command {
        Command::Dev(_) => serve::dev(context).await,
        Command::Serve(_) => serve::serve(context).await,
        Command::Store(args) => store::run(&args, context).await,
        Command::Worker(_) => worker::run(context).await,
        Command::Task(command) => Box::pin(task::run(command, context)).await,
        Command::Schedule(command) => Box::pin(schedule::run(command, context)).await,
        Command::Import(command) => Box::pin(import::run(command, context)).await,
        Command::Status => status::run(context).await,
        Command::Config(_) | Command::Completions(_) => unreachable!("handled before the runtime starts"),
    }
}

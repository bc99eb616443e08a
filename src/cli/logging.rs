//! The log, on stderr.

use std::io;

use tracing_subscriber::EnvFilter;

use super::{error::CliError, output::Ui};
use crate::config::{LogConfig, LogFormat};

/// Starts the log: as configured, else as `RUST_LOG` says, else as the command needs.
pub(super) fn start(config: &LogConfig, service: bool, ui: Ui) -> Result<(), CliError> {
    let from_environment = || std::env::var("RUST_LOG").ok().filter(|text| !text.is_empty());
    // The storage engine beneath tells about its own housekeeping at `info`.
    let usual = if service { "warn,escapement=info" } else { "error" };
    let directives = config.level.clone().or_else(from_environment).unwrap_or_else(|| usual.to_owned());
    let filter = EnvFilter::try_new(&directives).map_err(|error| {
        CliError::usage(
            format!("`{directives}` is no log level: {error}"),
            "Correct --log-level, log.level or RUST_LOG.",
        )
    })?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).with_ansi(ui.colours_err());
    let started = match config.format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder.json().try_init(),
    };
    started.map_err(|error| CliError::internal(format!("cannot start the log: {error}")))
}

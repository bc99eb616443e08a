//! Flags that every command has.

use std::path::PathBuf;

use clap::Args;

use super::output::Format;
use crate::config::Raw;

/// A key, and what a flag says it is.
pub(super) type Flag = (&'static str, Raw);

pub(super) fn text(key: &'static str, value: Option<&String>) -> Option<Flag> {
    value.map(|value| (key, Raw::Text(value.clone())))
}

#[derive(Debug, Args)]
pub(super) struct GlobalArgs {
    /// Configuration file [env: ESCAPEMENT_CONFIG] [default: ./escapement.toml, if it is there]
    #[arg(long, global = true, value_name = "FILE", help_heading = "Global options")]
    pub(super) config: Option<PathBuf>,
    /// Server to talk to [env: ESCAPEMENT_CLIENT_SERVER] [default: http://127.0.0.1:7250]
    #[arg(long, global = true, value_name = "URL", help_heading = "Global options")]
    pub(super) server: Option<String>,
    /// Namespace of tasks, schedules and workers [env: ESCAPEMENT_CLIENT_NAMESPACE] [default: default]
    #[arg(long, global = true, value_name = "NAME", help_heading = "Global options")]
    namespace: Option<String>,
    /// How long a call may take, all tries together [env: ESCAPEMENT_CLIENT_TIMEOUT_MS] [default: 10000]
    #[arg(long, global = true, value_name = "MS", help_heading = "Global options", allow_hyphen_values = true)]
    timeout_ms: Option<String>,
    /// How results look
    #[arg(long, global = true, value_enum, default_value_t, help_heading = "Global options")]
    pub(super) output: Format,
    /// No colours; so does the variable NO_COLOR
    #[arg(long, global = true, help_heading = "Global options")]
    pub(super) no_color: bool,
    /// What is logged to stderr [env: ESCAPEMENT_LOG_LEVEL]
    #[arg(long, global = true, value_name = "LEVEL", help_heading = "Global options")]
    log_level: Option<String>,
    /// How a line of the log looks: text or json [env: ESCAPEMENT_LOG_FORMAT] [default: text]
    #[arg(long, global = true, value_name = "FORMAT", help_heading = "Global options")]
    log_format: Option<String>,
}

impl GlobalArgs {
    pub(super) fn flags(&self) -> Vec<Flag> {
        let flags = [
            text("client.server", self.server.as_ref()),
            text("client.namespace", self.namespace.as_ref()),
            text("client.timeout_ms", self.timeout_ms.as_ref()),
            text("log.level", self.log_level.as_ref()),
            text("log.format", self.log_format.as_ref()),
        ];
        flags.into_iter().flatten().collect()
    }
}

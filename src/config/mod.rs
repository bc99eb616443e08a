//! What the program is told before it starts: by a file, by the environment, by flags; the
//! later one wins.
//!
//! Each value remembers where it came from, so that an error, and `escapement config`, can
//! say so. What is not known is refused, never skipped: a mistyped key that is ignored would
//! be a setting that silently does not hold. `docs/CONFIGURATION.md` lists every key; a test
//! holds it to [`KEYS`].

mod check;
mod error;
mod keys;
mod load;
#[cfg(test)]
mod tests;

use std::{fmt, net::SocketAddr, path::PathBuf, time::Duration};

use escapement_engine::{
    leap::Mode,
    name::{Namespace, QueueName},
};

pub use crate::server::StoreUrl;
pub use error::ConfigError;
pub use keys::{KEYS, Key, Kind};
pub use load::{Loaded, Raw, Setting, Sources};

/// The file that is read when no other is named, if it is there.
pub const FILE_DEFAULT: &str = "escapement.toml";
/// Names the file, unless the flag does.
pub const FILE_VARIABLE: &str = "ESCAPEMENT_CONFIG";

/// Where a value came from. In the order of weight.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// Nobody set it.
    Default,
    /// This file.
    File(PathBuf),
    /// This variable.
    Environment(String),
    /// This flag.
    Flag(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(path) => write!(f, "file {}", path.display()),
            Self::Environment(variable) => write!(f, "environment {variable}"),
            Self::Flag(flag) => write!(f, "flag {flag}"),
        }
    }
}

/// Everything, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// For `serve` and `dev`.
    pub server: ServerConfig,
    /// For `worker` and `dev`.
    pub worker: WorkerConfig,
    /// For all commands that talk to a server.
    pub client: ClientConfig,
    /// For all commands.
    pub log: LogConfig,
}

/// Section `[server]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerConfig {
    /// Where it listens.
    pub listen: SocketAddr,
    /// Where it keeps its state.
    pub store: StoreUrl,
    /// Shards of a new store: 1 to 4096.
    pub shards: u32,
    /// Somebody set it: a store that has another number is refused.
    pub shards_required: bool,
    /// How long a worker session may be silent.
    pub session_lease: Duration,
    /// Bytes of the largest payload.
    pub payload_bytes_max: usize,
    /// What is done about a leap second.
    pub leap_mode: Mode,
}

/// Section `[worker]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkerConfig {
    /// Its server; the client's unless set.
    pub server: String,
    /// What it calls itself.
    pub name: String,
    /// Handlers that run at one time.
    pub concurrency: u32,
    /// Queues and what runs their tasks; empty: each handler that is switched on, on the queue of its name.
    pub queues: Vec<(QueueName, HandlerKind)>,
    /// Whether tasks may run programs.
    pub exec: bool,
    /// The only programs that they may run; empty: any.
    pub exec_allow: Vec<String>,
    /// Whether tasks may post to HTTP servers.
    pub http: bool,
}

/// What runs the tasks of a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HandlerKind {
    /// Programs.
    Exec,
    /// HTTP requests.
    Http,
}

impl HandlerKind {
    /// As the configuration names it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Exec => "exec",
            Self::Http => "http",
        }
    }
}

/// Section `[client]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientConfig {
    /// Address of the server.
    pub server: String,
    /// The namespace of all calls.
    pub namespace: Namespace,
    /// How long all tries of one call may take together.
    pub timeout: Duration,
}

/// Section `[log]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogConfig {
    /// A level, or directives as `RUST_LOG` has them. `None`: as the command chooses.
    pub level: Option<String>,
    /// How a line looks.
    pub format: LogFormat,
}

/// How a line of the log looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

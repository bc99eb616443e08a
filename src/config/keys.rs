//! Every key that there is, in one table.

/// What a value is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A string.
    Text,
    /// A whole number in these bounds, both included.
    Integer(u64, u64),
    /// `true` or `false`.
    Bool,
    /// Strings: an array in the file, separated by commas elsewhere.
    List,
}

/// One key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    /// `section.key`, as in the file.
    pub name: &'static str,
    /// What a value is made of.
    pub kind: Kind,
    /// The flag that sets it, if any.
    pub flag: Option<&'static str>,
    /// What holds when nobody sets it, as it would be written.
    pub default: &'static str,
    /// What is allowed.
    pub limit: &'static str,
    /// What it is for.
    pub about: &'static str,
}

impl Key {
    /// The variable that sets it.
    pub fn variable(&self) -> String {
        format!("ESCAPEMENT_{}", self.name.replace('.', "_").to_ascii_uppercase())
    }

    /// The key of this name.
    pub fn find(name: &str) -> Option<&'static Self> {
        KEYS.iter().find(|key| key.name == name)
    }
}

macro_rules! keys {
    ($($name:literal, $kind:expr, $flag:expr, $default:literal, $limit:literal, $about:literal;)*) => {
        /// Every key, in the order of `docs/CONFIGURATION.md`.
        pub const KEYS: &[Key] = &[$(Key {
            name: $name, kind: $kind, flag: $flag, default: $default, limit: $limit, about: $about,
        },)*];
    };
}

use Kind::{Bool, Integer, List, Text};

keys! {
    "server.listen", Text, Some("--listen"), "127.0.0.1:7250", "IP address and port; port 0 takes any free one",
        "Where `serve` and `dev` listen. `dev` takes loopback addresses only.";
    "server.data_dir", Text, Some("--data-dir"), "./escapement-data", "a path",
        "Directory of the embedded store. Made when it is not there.";
    "server.store", Text, Some("--store"), "embedded:", "`embedded:PATH`, `embedded:` for the data directory, `memory:`, `remote:HOST:PORT`, or `fdb:CLUSTER_FILE?prefix=PREFIX`",
        "Where the server keeps its state. `memory:` forgets everything when the process ends; `remote:` is an `escapement store`; `fdb:` needs a build with FoundationDB's client.";
    "server.shards", Integer(1, 4096), Some("--shards"), "32", "1 to 4096",
        "Units of ownership of a new store. A store keeps the number that it was made with: when one is set and differs, the server does not start (`CONFIG_INVALID`).";
    "server.session_lease_ms", Integer(1000, 600_000), Some("--session-lease-ms"), "10000", "1000 to 600000",
        "How long a worker session may be silent until its tasks go to others, in milliseconds.";
    "server.payload_bytes_max", Integer(1024, 8_388_608), Some("--payload-bytes-max"), "1048576", "1024 to 8388608",
        "Largest payload or result, in bytes.";
    "server.leap_mode", Text, Some("--leap-mode"), "pause", "pause or smear",
        "What is done about a leap second: `pause` holds firing for it; `smear` holds nothing, for hosts whose clocks are smeared.";
    "worker.server", Text, None, "", "http://HOST:PORT; empty: as client.server",
        "The server that `worker` takes tasks from. The flag `--server` outweighs it.";
    "worker.name", Text, Some("--name"), "escapement-worker", "1 to 128 bytes",
        "What the worker calls itself in histories and in `status`. For people.";
    "worker.concurrency", Integer(1, 10_000), Some("--concurrency"), "16", "1 to 10000",
        "Tasks that the worker runs at one time.";
    "worker.queues", List, Some("--queue"), "", "QUEUE=exec, QUEUE=http, or the bare names exec and http; at most 256",
        "Queues that the worker takes tasks from. Empty: `exec` and `http`, as far as they are switched on.";
    "worker.exec", Bool, Some("--exec"), "false", "true or false",
        "Whether tasks may run programs, as the user of the worker. `dev` switches it on.";
    "worker.exec_allow", List, Some("--exec-allow"), "", "names or paths of programs; at most 1024",
        "The only programs that tasks may run, compared with the first word of the command. Empty: any.";
    "worker.http", Bool, Some("--http"), "false", "true or false",
        "Whether tasks may post to HTTP servers. `dev` switches it on.";
    "client.server", Text, Some("--server"), "http://127.0.0.1:7250", "http://HOST:PORT",
        "The server that commands talk to.";
    "client.namespace", Text, Some("--namespace"), "default", "1 to 64 characters of [a-z0-9._-], starting with a letter or digit",
        "The namespace of tasks, schedules and workers.";
    "client.timeout_ms", Integer(1, 86_400_000), Some("--timeout-ms"), "10000", "1 to 86400000",
        "How long a call may take, all tries together, in milliseconds.";
    "log.level", Text, Some("--log-level"), "", "off, error, warn, info, debug, trace, or directives such as escapement=debug,warn",
        "What is logged to stderr. Empty: as RUST_LOG says, or else info for `dev`, `serve` and `worker`, and error for the others.";
    "log.format", Text, Some("--log-format"), "text", "text or json",
        "How a line of the log looks.";
}

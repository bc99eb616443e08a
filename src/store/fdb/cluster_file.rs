//! FoundationDB's cluster file: which cluster it is, and where its coordinators are.
//!
//! The client library would say no more than "invalid connection string", and waits for ever
//! for coordinators that do not exist; so the file is looked at here first. The library reads
//! it again by itself, and rewrites it when the coordinators move.
//!
//! Source: "Cluster file format" in FoundationDB's documentation, and
//! `ClusterConnectionString` in `MonitorLeader.actor.cpp`, release 7.3.

use std::{
    fmt,
    fs::File,
    io::{self, Read as _},
    net::Ipv6Addr,
    path::Path,
};

/// Bytes of a cluster file: far above what any cluster needs.
const FILE_BYTES_MAX: u64 = 64 * 1024;

/// A cluster file that makes sense.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterFile {
    /// Name of the cluster, for people.
    pub description: String,
    /// Tells it from others of that name.
    pub id: String,
    /// Its coordinators; at least one.
    pub coordinators: Vec<Coordinator>,
}

/// The address of a coordinator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Coordinator {
    /// IPv4 address, IPv6 address or host name.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Whether it speaks TLS.
    pub tls: bool,
}

impl fmt::Display for Coordinator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port, tls } = self;
        let tls = if *tls { ":tls" } else { "" };
        if host.contains(':') { write!(f, "[{host}]:{port}{tls}") } else { write!(f, "{host}:{port}{tls}") }
    }
}

/// What is wrong with a cluster file.
#[derive(Debug, thiserror::Error)]
pub enum ClusterFileProblem {
    /// It cannot be read.
    #[error("cannot be read: {0}")]
    Io(#[from] io::Error),
    /// It is no text, or far too long.
    #[error("is no cluster file: at most {FILE_BYTES_MAX} bytes of text are read")]
    NoText,
    /// It holds nothing but comments.
    #[error("is empty; it holds one line of the form description:ID@HOST:PORT,HOST:PORT")]
    Empty,
    /// A part of the connection string is malformed.
    #[error("{part} `{value}` {limit}; the form is description:ID@HOST:PORT,HOST:PORT")]
    Malformed {
        /// Which.
        part: &'static str,
        /// What stands there.
        value: String,
        /// What is allowed.
        limit: &'static str,
    },
}

impl ClusterFile {
    /// Reads the file at `path`.
    ///
    /// # Errors
    /// See [`ClusterFileProblem`].
    pub fn read(path: &Path) -> Result<Self, ClusterFileProblem> {
        // Devices have no end, and no length either.
        let mut bytes = Vec::new();
        File::open(path)?.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
        let text = String::from_utf8(bytes).ok().filter(|text| text.len() as u64 <= FILE_BYTES_MAX);
        Self::parse(&text.ok_or(ClusterFileProblem::NoText)?)
    }

    /// Reads a cluster file's text.
    ///
    /// # Errors
    /// See [`ClusterFileProblem`].
    pub fn parse(text: &str) -> Result<Self, ClusterFileProblem> {
        let uncommented = text.split(['\n', '\r']).map(|line| line.split('#').next().unwrap_or_default());
        let string: String = uncommented.flat_map(str::chars).filter(|c| !matches!(c, ' ' | '\t')).collect();
        if string.is_empty() {
            return Err(ClusterFileProblem::Empty);
        }
        let (key, addresses) =
            string.split_once('@').ok_or_else(|| malformed("connection string", &string, "has no `@`"))?;
        let (description, id) = key.split_once(':').ok_or_else(|| malformed("cluster key", key, "has no `:`"))?;
        if !description.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
            return Err(malformed("description", description, "may have letters, digits and `_` only"));
        }
        if !id.chars().all(|c| c.is_ascii_alphanumeric()) {
            return Err(malformed("ID", id, "may have letters and digits only"));
        }
        let mut coordinators: Vec<Coordinator> = Vec::new();
        for address in addresses.split(',') {
            let coordinator = parse_address(address)?;
            if coordinators.contains(&coordinator) {
                return Err(malformed("coordinator", address, "is named twice"));
            }
            coordinators.push(coordinator);
        }
        Ok(Self { description: description.to_owned(), id: id.to_owned(), coordinators })
    }

    /// The coordinators' addresses, separated by commas.
    pub fn addresses(&self) -> String {
        let addresses: Vec<String> = self.coordinators.iter().map(Coordinator::to_string).collect();
        addresses.join(",")
    }

    /// Whether any coordinator speaks TLS.
    pub fn wants_tls(&self) -> bool {
        self.coordinators.iter().any(|coordinator| coordinator.tls)
    }
}

fn parse_address(address: &str) -> Result<Coordinator, ClusterFileProblem> {
    let refuse = |limit| malformed("coordinator", address, limit);
    let plain = address.split("(fromHostname)").next().unwrap_or_default();
    let (plain, tls) = plain.strip_suffix(":tls").map_or((plain, false), |plain| (plain, true));
    let (host, port) = plain.rsplit_once(':').ok_or_else(|| refuse("has no port"))?;
    let port = match port.parse() {
        Ok(port) if port > 0 && !address.contains("+") => port,
        _ => return Err(refuse("has no port from 1 to 65535")),
    };
    let host = match host.strip_prefix('[') {
        Some(rest) => {
            let inner = rest.strip_suffix(']').filter(|inner| inner.parse::<Ipv6Addr>().is_ok());
            inner.ok_or_else(|| refuse("has no valid IPv6 address in its brackets"))?
        }
        None => {
            let named = host.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_'));
            let numeric = host.chars().all(|c| c.is_ascii_digit() || c == '.');
            if host.is_empty() || !named || numeric && host.parse::<std::net::Ipv4Addr>().is_err() {
                return Err(refuse("has no IPv4 address, [IPv6 address] or host name before its port"));
            }
            host
        }
    };
    Ok(Coordinator { host: host.to_owned(), port, tls })
}

fn malformed(part: &'static str, value: &str, limit: &'static str) -> ClusterFileProblem {
    let value: String = value.chars().take(64).flat_map(char::escape_default).collect();
    ClusterFileProblem::Malformed { part, value, limit }
}

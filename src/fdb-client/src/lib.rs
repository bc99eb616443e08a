//! FoundationDB's client library: found, loaded, started once and stopped last.
//!
//! The library (libfdb_c) is C++ with one network thread, which a process may start once and
//! must stop before it ends. It is in no package registry: people install it. So it is loaded
//! when a store on FoundationDB is opened, not when the program starts: one program serves
//! machines with and without it, and says which package is missing where one is.
//!
//! This package holds all that is unsafe about that, and nothing else. What it never does:
//! start the network twice, or stop it while the process goes on to use it.
//!
//! Sources: `fdb_c.h` and "C API, Network", FoundationDB 7.3.

use std::{
    ffi::{CStr, c_char},
    sync::{Mutex, MutexGuard, PoisonError},
};

pub use foundationdb;
use foundationdb::{
    FdbError,
    api::{FdbApiBuilder, NetworkAutoStop, get_max_api_version},
    options::NetworkOption,
};

/// The API version that we speak: 7.3.
pub const API_VERSION: i32 = 730;

/// Files and rules for TLS. Addresses in the cluster file that end in `:tls` need them. What is
/// absent is left to FoundationDB, which looks at the variables `FDB_TLS_...` and then at its
/// default paths.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsOptions {
    /// PEM file with our certificate and its chain.
    pub certificate: Option<String>,
    /// PEM file with the certificate's private key.
    pub key: Option<String>,
    /// PEM file with the authorities that we trust.
    pub ca: Option<String>,
    /// What the servers' certificates must say, in FoundationDB's notation: `Check.Valid=1`, ...
    pub verify_peers: Option<String>,
}

/// Why the client is not there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClientError {
    /// The library is not installed, or damaged.
    #[error(
        "FoundationDB's client library cannot be loaded ({0}); install the package foundationdb-clients, version 7.3 \
         or newer, and see that the dynamic loader finds libfdb_c.so"
    )]
    LibraryMissing(String),
    /// The library is older than what we speak.
    #[error(
        "FoundationDB's client library speaks API versions up to {found}, and {API_VERSION} is needed; install the \
         package foundationdb-clients, version 7.3 or newer"
    )]
    LibraryTooOld {
        /// The newest that it speaks.
        found: i32,
    },
    /// It refused to start.
    #[error("FoundationDB's client did not start: {message} ({code})")]
    Start {
        /// FoundationDB's error code.
        code: i32,
        /// Its text.
        message: String,
    },
    /// It runs already, with other options.
    #[error("one process has one set of TLS options for FoundationDB, and the client was started with others")]
    OtherOptions,
    /// It was stopped, and starts only once in a process.
    #[error("FoundationDB's client has been stopped, and starts only once in a process")]
    Stopped,
}

impl ClientError {
    fn start(error: FdbError) -> Self {
        Self::Start { code: error.code(), message: error.message().to_owned() }
    }
}

enum Network {
    Idle,
    Running { network: NetworkAutoStop, tls: TlsOptions },
    Over(ClientError),
}

static NETWORK: Mutex<Network> = Mutex::new(Network::Idle);

fn network() -> MutexGuard<'static, Network> {
    NETWORK.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether the library is loaded by [`start`], or by the dynamic loader before `main`.
const LOADED_LATE: bool = cfg!(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")));

/// Loads the library and starts its network thread, unless that has happened already. Whoever
/// does so calls [`stop`] before the process ends; on Linux it happens by itself, too, when the
/// main thread returns or calls `exit`.
///
/// # Errors
/// See [`ClientError`]. A library that is missing may be there at the next call; after any other
/// failure the process has to be started anew.
pub fn start(tls: &TlsOptions) -> Result<(), ClientError> {
    let mut network = network();
    match &*network {
        Network::Running { tls: running, .. } if running == tls => return Ok(()),
        Network::Running { .. } => return Err(ClientError::OtherOptions),
        Network::Over(error) => return Err(error.clone()),
        Network::Idle => {}
    }
    if LOADED_LATE {
        load()?;
    }
    let found = get_max_api_version();
    if found < API_VERSION {
        return Err(ClientError::LibraryTooOld { found });
    }
    match boot(tls) {
        Ok(running) => {
            *network = Network::Running { network: running, tls: tls.clone() };
            Ok(())
        }
        Err(error) => {
            let error = ClientError::start(error);
            *network = Network::Over(error.clone());
            Err(error)
        }
    }
}

/// Stops the network thread and waits for it. What is under way never resolves. Does nothing
/// if it does not run.
pub fn stop() {
    let mut network = network();
    if let Network::Running { .. } = *network
        && let Network::Running { network: running, .. } =
            std::mem::replace(&mut *network, Network::Over(ClientError::Stopped))
    {
        drop(running);
    }
}

#[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
#[allow(unsafe_code, reason = "the loader is C: Rust has no way to fill the slots of another crate's functions")]
fn load() -> Result<(), ClientError> {
    unsafe extern "C" {
        fn escapement_fdb_load() -> *const c_char;
        fn escapement_fdb_stop_at_exit(stop: extern "C" fn());
    }
    // SAFETY: one thread at a time calls them, as `start` holds the lock; the text is copied
    // before the lock is given back. `stop_at_exit` may be called at any time.
    let problem = unsafe {
        escapement_fdb_stop_at_exit(stop_at_exit);
        let problem = escapement_fdb_load();
        (!problem.is_null()).then(|| CStr::from_ptr(problem).to_string_lossy().into_owned())
    };
    problem.map_or(Ok(()), |problem| Err(ClientError::LibraryMissing(problem)))
}

#[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
extern "C" fn stop_at_exit() {
    stop();
}

#[cfg(not(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64"))))]
fn load() -> Result<(), ClientError> {
    Ok(())
}

#[allow(unsafe_code, reason = "who boots the network promises to stop it before the process ends")]
fn boot(tls: &TlsOptions) -> Result<NetworkAutoStop, FdbError> {
    let mut builder = FdbApiBuilder::default().set_runtime_version(API_VERSION).build()?;
    let options = [
        tls.certificate.clone().map(NetworkOption::TLSCertPath),
        tls.key.clone().map(NetworkOption::TLSKeyPath),
        tls.ca.clone().map(NetworkOption::TLSCaPath),
        tls.verify_peers.clone().map(|rules| NetworkOption::TLSVerifyPeers(rules.into_bytes())),
    ];
    for option in options.into_iter().flatten() {
        builder = builder.set_option(option)?;
    }
    // SAFETY: `boot` wants the network stopped before the process ends. `start` passes that on
    // to its caller, and `loader.c` sees to it where nobody does.
    unsafe { builder.boot() }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One test, as the process has one network.
    #[test]
    fn the_client_starts_once_and_stops_for_good_or_says_which_package_is_missing() {
        let tls = TlsOptions::default();
        match start(&tls) {
            Ok(()) => {
                assert_eq!(start(&tls), Ok(()));
                let other = TlsOptions { verify_peers: Some("Check.Valid=1".to_owned()), ..tls.clone() };
                assert_eq!(start(&other), Err(ClientError::OtherOptions));
                stop();
                stop();
                assert_eq!(start(&tls), Err(ClientError::Stopped));
            }
            Err(error) => {
                assert!(matches!(error, ClientError::LibraryMissing(_)), "{error}");
                let text = error.to_string();
                assert!(text.contains("libfdb_c.so"), "{text}");
                assert!(text.contains("install the package foundationdb-clients, version 7.3"), "{text}");
                // It may be installed while the process runs.
                assert_eq!(start(&tls), Err(error));
                stop();
                assert!(matches!(start(&tls), Err(ClientError::LibraryMissing(_))));
            }
        }
    }
}

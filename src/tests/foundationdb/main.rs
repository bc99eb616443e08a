//! The adapter on FoundationDB itself, where it is there.
//!
//! `library` needs the client library, `cluster` and `deployment` a cluster, too, whose cluster
//! file the variable `ESCAPEMENT_TEST_FDB` names. Where they are missing, the tests say so on
//! stderr, also where it is captured, and pass; `.ci/test` says at its end which of the two it was. Every test has a key
//! prefix of its own, which it clears.

#![allow(clippy::unwrap_used, reason = "tests: a failed step is a failed test")]

#[path = "../child/mod.rs"]
mod child;
mod cluster;
mod deployment;
mod library;
mod program;
#[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
mod stub;

use std::{
    collections::BTreeSet,
    io::Write as _,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
};

use escapement::{
    clock::SharedClock,
    edge::SystemClock,
    store::{
        Database,
        fdb::{self, FdbOptions, Prefix, TlsFiles},
    },
};
use escapement_fdb_client::{ClientError, TlsOptions};

fn clock() -> SharedClock {
    Arc::new(SystemClock::new())
}

/// The client library, started; `None` where it is not installed.
fn library() -> Option<()> {
    match escapement_fdb_client::start(&TlsOptions::default()) {
        Ok(()) => Some(()),
        Err(error @ ClientError::LibraryMissing(_)) => {
            let text = error.to_string();
            assert!(
                text.contains("libfdb_c.so") && text.contains("install the package foundationdb-clients"),
                "{text}"
            );
            say(&format!("SKIPPED, the client library is missing: {text}"));
            None
        }
        Err(error) => panic!("{error}"),
    }
}

/// Says whether this program's tests were run, past the capture of their output: it must be
/// seen where they pass, too. Each reason once.
fn say(what: &str) {
    static SAID: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
    if SAID.lock().unwrap().insert(what.to_owned()) {
        std::io::stderr().write_all(format!("\n*** foundationdb: {what}\n").as_bytes()).unwrap();
    }
}

/// The cluster to test on.
fn cluster_file() -> Option<PathBuf> {
    let Some(path) = std::env::var_os("ESCAPEMENT_TEST_FDB").filter(|path| !path.is_empty()) else {
        say("SKIPPED, ESCAPEMENT_TEST_FDB is not set");
        return None;
    };
    say(&format!("RUN against {}", Path::new(&path).display()));
    Some(path.into())
}

/// A part of the test cluster that this test has to itself, cleared before and after.
struct Area {
    options: FdbOptions,
    clock: SharedClock,
}

impl Area {
    fn new(name: &str) -> Option<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Relaxed);
        let prefix = format!("test/{}/{number}/{name}/", std::process::id());
        let options = FdbOptions::new(cluster_file()?, Prefix::new(prefix).unwrap());
        Some(Self { options, clock: clock() })
    }

    /// A database whose prefix is this area's, and then `more`.
    fn under(&self, more: &str) -> Database {
        fdb::connect(&self.options_under(more), &self.clock).unwrap()
    }

    fn options_under(&self, more: &str) -> FdbOptions {
        let prefix = self.options.prefix.key(more.as_bytes());
        FdbOptions { prefix: Prefix::new(prefix).unwrap(), tls: TlsFiles::default(), ..self.options.clone() }
    }

    async fn clear(&self) {
        let tx = self.under("").begin();
        tx.clear_range("", &b"\xff"[..]).unwrap();
        tx.raw().commit().await.unwrap();
    }
}

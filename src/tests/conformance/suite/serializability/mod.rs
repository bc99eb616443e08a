//! Random concurrent transactions, replayed one after the other.
//!
//! Clients run small transactions over few keys, so that they get in each other's way all the
//! time, and note all that they read. Afterwards what was committed is put in the order of the
//! versionstamps and replayed on a plain map: each read must have given what the map gives at
//! that place, or the history is not serializable in the order that the store claims. Snapshot
//! reads and transactions that only read are replayed at their read version. A read version must
//! not be older than a commit acknowledged before: strict serializability, and more than a
//! checker of arbitrary histories could decide, as the store itself tells the order.
//!
//! Each writing transaction leaves a marker with its versionstamp, so whether one of unknown
//! outcome was committed is known in the end, and that none was committed which was refused.

mod check;
mod history;
mod workload;

use std::{collections::BTreeMap, fmt};

use bytes::Bytes;
use escapement::{rng::Rng, store::Database};
use futures_util::future::join_all;

/// How much is to be done.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Options {
    /// Decides the transactions; how they interleave, too, where the runtime and the store do
    /// not depend on real time.
    pub(crate) seed: u64,
    /// Clients at the same time.
    pub(crate) clients: u64,
    /// Tries of each to run a transaction.
    pub(crate) tries: u64,
}

/// What a history that holds was made of.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Report {
    /// Committed, having written.
    pub(crate) committed: usize,
    /// Committed, having only read.
    pub(crate) read_only: usize,
    /// Of unknown outcome; how many of them turned out to be committed.
    pub(crate) unknown: usize,
    pub(crate) unknown_committed: usize,
    /// Not committed, by code.
    pub(crate) failed: BTreeMap<i32, usize>,
    /// Reads that were checked.
    pub(crate) reads: usize,
    /// Versions that more than one transaction was committed at.
    pub(crate) shared_versions: usize,
}

impl Report {
    /// Tries that lost against another transaction.
    pub(crate) fn conflicts(&self) -> usize {
        self.failed.get(&1020).copied().unwrap_or(0)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tries = self.committed + self.conflicts();
        let rate = 100 * self.conflicts() / tries.max(1);
        write!(
            f,
            "{} committed, {} read-only, {} refused for a conflict ({rate}% of those that write), {} reads checked, \
             {} versions with several commits, unknown: {} ({} of them committed), failed: {:?}",
            self.committed,
            self.read_only,
            self.conflicts(),
            self.reads,
            self.shared_versions,
            self.unknown,
            self.unknown_committed,
            self.failed,
        )
    }
}

/// The history is not what a serial execution gives.
#[derive(Debug)]
pub(crate) struct Violation {
    pub(crate) seed: u64,
    pub(crate) what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "seed {}: {}", self.seed, self.what)
    }
}

/// Runs the transactions on the keys under `space`, which must be free, and checks the history.
pub(crate) async fn verify(db: &Database, space: &Bytes, options: Options) -> Result<Report, Violation> {
    let seeds = Rng::from_seed(options.seed);
    let shared = workload::Shared::new(db.clone(), space.clone());
    let clients = (0..options.clients).map(|client| {
        let (shared, rng) = (shared.clone(), Rng::from_seed(seeds.u64()));
        tokio::spawn(async move { workload::client(&shared, client, options.tries, &rng).await })
    });
    let mut records = Vec::new();
    for client in join_all(clients).await {
        records.extend(client.unwrap());
    }
    let end = workload::read_all(&shared).await;
    check::check(records, &end).map_err(|what| Violation { seed: options.seed, what })
}

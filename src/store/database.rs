//! The handle through which everything reaches the store.

use std::{collections::BTreeMap, fmt, sync::Arc};

use super::{
    Transact, Transaction,
    client::ClientTransaction,
    engine::Engine,
    metrics::{KindMetrics, KindSnapshot, Metrics},
};
use crate::{clock::SharedClock, rng::Rng};

/// Name under which transactions count that are not run by the retry runner.
const BY_HAND: &str = "by-hand";

/// What makes transactions: our client above an engine, or FoundationDB's own client.
pub trait Source: Send + Sync + fmt::Debug + 'static {
    /// A new transaction, which counts its latencies in `metrics`.
    fn begin(&self, metrics: Arc<KindMetrics>) -> Arc<dyn Transact>;

    /// See [`Engine::exclusive`].
    fn exclusive(&self) -> bool;

    /// For people: "embedded", "memory", "foundationdb", ...
    fn kind(&self) -> &'static str;
}

/// A database. Clones are the same one, and cheap.
#[derive(Clone, Debug)]
pub struct Database(Arc<Inner>);

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) source: Box<dyn Source>,
    pub(super) metrics: Metrics,
}

/// Our client-side transaction above an engine.
#[derive(Debug)]
struct OverEngine {
    engine: Arc<dyn Engine>,
    clock: SharedClock,
    rng: Rng,
}

impl Source for OverEngine {
    fn begin(&self, metrics: Arc<KindMetrics>) -> Arc<dyn Transact> {
        let (engine, clock) = (Arc::clone(&self.engine), Arc::clone(&self.clock));
        Arc::new(ClientTransaction::new(engine, clock, self.rng.clone(), metrics))
    }

    fn exclusive(&self) -> bool {
        self.engine.exclusive()
    }

    fn kind(&self) -> &'static str {
        self.engine.kind()
    }
}

impl Database {
    /// A database above an engine; `clock` and `rng` decide timeouts and backoff.
    pub fn over(engine: Arc<dyn Engine>, clock: SharedClock, rng: Rng) -> Self {
        Self::from_source(Box::new(OverEngine { engine, clock, rng }))
    }

    /// A database of any kind.
    pub fn from_source(source: Box<dyn Source>) -> Self {
        Self(Arc::new(Inner { source, metrics: Metrics::default() }))
    }

    /// A transaction for whoever wants to commit and retry by hand.
    pub fn begin(&self) -> Transaction {
        Transaction::new(self.0.source.begin(self.0.metrics.kind(BY_HAND)))
    }

    /// Whether no other process can have this store open (see [`Engine::exclusive`]).
    pub fn exclusive(&self) -> bool {
        self.0.source.exclusive()
    }

    /// For people: "embedded", "memory", "foundationdb", ...
    pub fn kind(&self) -> &'static str {
        self.0.source.kind()
    }

    /// What its transactions did so far, by kind.
    pub fn metrics(&self) -> BTreeMap<&'static str, KindSnapshot> {
        self.0.metrics.snapshot()
    }

    pub(super) fn inner(&self) -> &Inner {
        &self.0
    }
}

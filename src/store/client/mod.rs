//! FoundationDB's client-side transaction, above any [`Engine`].
//!
//! Everything that FoundationDB's client library does before it sends a commit is here, once,
//! for the embedded, simulated and remote stores alike: the read version, reads of own
//! writes, key selectors, conflict ranges, limits, options, watches, the retry classes and
//! the backoff. The engine beneath knows only reads at a version, and commits.
//!
//! Futures are lazy here: what FoundationDB starts when it is called, starts when it is first
//! polled. A range read that has not ended when the commit begins is refused with 2017, as
//! its conflicts would come too late.
//!
//! Sources, learned from and not copied: `fdbclient/ReadYourWrites.actor.cpp`,
//! `WriteMap.cpp`, `NativeAPI.actor.cpp` and `fdb.options`, release 7.3.

pub mod atomic;
mod commit;
pub(super) mod epoch;
pub mod limits;
mod overlay;
pub(super) mod ranges;
pub(super) mod reads;
mod retry;
pub(super) mod scan;
pub(super) mod settings;
pub mod versionstamp;
mod watches;
pub(super) mod writes;

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use escapement_engine::Monotonic;
use futures_util::{FutureExt as _, future::BoxFuture};
use tokio::sync::oneshot;

use self::{epoch::Epoch, overlay::Overlay, ranges::Conflicts, settings::Settings, watches::Watches};
use super::{
    ConflictKind, KeySelector, MutationKind, RangeOptions, RangePage, StoreError, Transact, TransactionOption, Version,
    Versionstamp, engine::Engine, metrics::KindMetrics,
};
use crate::{clock::SharedClock, rng::Rng};

/// First backoff of [`Transact::on_error`] (`DEFAULT_BACKOFF`).
const BACKOFF_MIN: Duration = Duration::from_millis(10);

/// A transaction that buffers its writes and checks nothing until it commits.
pub struct ClientTransaction {
    engine: Arc<dyn Engine>,
    clock: SharedClock,
    rng: Rng,
    metrics: Arc<KindMetrics>,
    /// Never held across an await; never contended, unless one transaction's reads are
    /// spread over threads.
    state: Mutex<State>,
}

impl fmt::Debug for ClientTransaction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientTransaction").field("engine", &self.engine.kind()).finish_non_exhaustive()
    }
}

/// How far a transaction is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Open,
    /// The commit has begun, and may have ended.
    Committing,
}

type StampSender = oneshot::Sender<Result<Versionstamp, StoreError>>;

#[derive(Debug)]
struct State {
    epoch: Arc<Epoch>,
    phase: Phase,
    settings: Settings,
    overlay: Overlay,
    read_conflicts: Conflicts,
    write_conflicts: Conflicts,
    watches: Watches,
    stamps: Vec<StampSender>,
    /// Running estimate of what the commit will count against the limit.
    bytes: usize,
    /// Whether anything was read, or written in view of reads, for options that must come
    /// before. Stays so after the commit.
    used: bool,
    /// The first read that failed: as in FoundationDB, the commit fails with it.
    failed_read: Option<StoreError>,
    /// What the timeout counts from: the creation or the last `reset`.
    created: Monotonic,
    retries: u64,
    backoff: Duration,
    /// Version of the last commit that succeeded, if it wrote anything. Of all lives.
    committed: Option<Version>,
}

impl State {
    fn new(created: Monotonic) -> Self {
        Self {
            epoch: Arc::default(),
            phase: Phase::Open,
            settings: Settings::default(),
            overlay: Overlay::default(),
            read_conflicts: Conflicts::default(),
            write_conflicts: Conflicts::default(),
            watches: Watches::default(),
            stamps: Vec::new(),
            bytes: 0,
            used: false,
            failed_read: None,
            created,
            retries: 0,
            backoff: BACKOFF_MIN,
            committed: None,
        }
    }

    fn deadline(&self) -> Option<Monotonic> {
        self.settings.timeout.map(|timeout| self.created.saturating_add(timeout))
    }

    /// Starts another life; what is under way in this one ends with 1025.
    fn replace(&mut self, next: Self) {
        let committed = self.committed;
        let old = std::mem::replace(self, Self { committed, ..next });
        let error = StoreError::new(StoreError::TRANSACTION_CANCELLED);
        old.epoch.end(error);
    }
}

impl ClientTransaction {
    /// A transaction that has done nothing yet.
    pub fn new(engine: Arc<dyn Engine>, clock: SharedClock, rng: Rng, metrics: Arc<KindMetrics>) -> Self {
        let state = Mutex::new(State::new(clock.monotonic()));
        Self { engine, clock, rng, metrics, state }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The state, unless the transaction has ended early. A call after the commit has begun
    /// is refused, and ends the transaction, as FoundationDB does it.
    fn enter(&self) -> Result<MutexGuard<'_, State>, StoreError> {
        let state = self.lock();
        if state.phase != Phase::Open {
            let error = StoreError::new(StoreError::USED_DURING_COMMIT);
            state.epoch.end(error.clone());
            return Err(error);
        }
        self.check_alive(&state)?;
        Ok(state)
    }

    fn check_alive(&self, state: &State) -> Result<(), StoreError> {
        if state.deadline().is_some_and(|deadline| self.clock.monotonic() >= deadline) {
            state.epoch.end(StoreError::new(StoreError::TRANSACTION_TIMED_OUT));
        }
        state.epoch.check()
    }

    /// Runs `work` until it is done, the epoch ends, or the deadline has passed.
    async fn bounded<T>(
        &self,
        epoch: &Epoch,
        deadline: Option<Monotonic>,
        work: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let expiry = async {
            match deadline {
                None => std::future::pending().await,
                Some(deadline) => self.clock.sleep(deadline.since(self.clock.monotonic())).await,
            }
        };
        tokio::select! {
            biased;
            result = work => result,
            error = epoch.ended() => Err(error),
            () = expiry => {
                epoch.end(StoreError::new(StoreError::TRANSACTION_TIMED_OUT));
                epoch.check().and(Err(StoreError::new(StoreError::TRANSACTION_TIMED_OUT)))
            }
        }
    }

    /// The one read version of this epoch, asked for when it is first needed.
    async fn version(&self, epoch: &Epoch) -> Result<Version, StoreError> {
        if let Some(version) = epoch.version.get() {
            return Ok(*version);
        }
        let (request, deadline) = {
            let state = self.lock();
            (state.settings.request.clone(), state.deadline())
        };
        let fetch = epoch.version.get_or_try_init(async || {
            let started = self.clock.monotonic();
            let version = self.engine.read_version(&request).await?;
            self.metrics.read_version.record(self.clock.monotonic().since(started));
            Ok(version)
        });
        self.bounded(epoch, deadline, fetch).await.copied()
    }
}

impl Transact for ClientTransaction {
    fn set_option(&self, option: TransactionOption) -> Result<(), StoreError> {
        let mut state = self.lock();
        if option == TransactionOption::ReadYourWritesDisable && state.used {
            return Err(StoreError::with(
                StoreError::CLIENT_INVALID_OPERATION,
                "reads of own writes can be switched off only before the first read or write",
            ));
        }
        state.settings.set(option)
    }

    fn read_version(&self) -> BoxFuture<'_, Result<Version, StoreError>> {
        async move {
            let epoch = {
                let state = self.lock();
                self.check_alive(&state)?;
                Arc::clone(&state.epoch)
            };
            self.version(&epoch).await
        }
        .boxed()
    }

    fn set_read_version(&self, version: Version) {
        // Once reads have seen another version it is too late: FoundationDB refuses, too.
        let _ = self.lock().epoch.version.set(version);
    }

    fn get_many<'a>(
        &'a self,
        keys: Vec<Bytes>,
        snapshot: bool,
    ) -> BoxFuture<'a, Result<Vec<Option<Bytes>>, StoreError>> {
        self.noting_failure(self.read_keys(keys, snapshot)).boxed()
    }

    fn get_key(&self, selector: KeySelector, snapshot: bool) -> BoxFuture<'_, Result<Bytes, StoreError>> {
        self.noting_failure(self.read_key(selector, snapshot)).boxed()
    }

    fn get_range(&self, range: RangeOptions, snapshot: bool) -> BoxFuture<'_, Result<RangePage, StoreError>> {
        self.noting_failure(self.read_range(range, snapshot)).boxed()
    }

    fn set(&self, key: Bytes, value: Bytes) -> Result<(), StoreError> {
        self.write_set(key, value)
    }

    fn clear(&self, key: Bytes) -> Result<(), StoreError> {
        self.write_clear(key)
    }

    fn clear_range(&self, begin: Bytes, end: Bytes) -> Result<(), StoreError> {
        self.write_clear_range(begin, end)
    }

    fn mutate(&self, kind: MutationKind, key: Bytes, operand: Bytes) -> Result<(), StoreError> {
        self.write_atomic(kind, key, operand)
    }

    fn add_conflict_range(&self, begin: Bytes, end: Bytes, kind: ConflictKind) -> Result<(), StoreError> {
        self.note_conflict(begin, end, kind)
    }

    fn watch(&self, key: Bytes) -> BoxFuture<'static, Result<(), StoreError>> {
        self.set_watch(key).unwrap_or_else(|error| async { Err(error) }.boxed())
    }

    fn commit(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        self.run_commit().boxed()
    }

    fn committed_version(&self) -> Result<Version, StoreError> {
        self.lock().committed.ok_or_else(|| StoreError::new(StoreError::NO_COMMIT_VERSION))
    }

    fn versionstamp(&self) -> BoxFuture<'static, Result<Versionstamp, StoreError>> {
        let (stamp, stamped) = oneshot::channel();
        match self.enter() {
            Ok(mut state) => state.stamps.push(stamp),
            Err(error) => return async { Err(error) }.boxed(),
        }
        async { stamped.await.unwrap_or_else(|_| Err(StoreError::new(StoreError::TRANSACTION_CANCELLED))) }.boxed()
    }

    fn on_error(&self, error: StoreError) -> BoxFuture<'_, Result<(), StoreError>> {
        self.back_off(error).boxed()
    }

    fn approximate_size(&self) -> BoxFuture<'_, Result<usize, StoreError>> {
        async { self.enter().map(|state| state.bytes) }.boxed()
    }

    fn reset(&self) {
        let created = self.clock.monotonic();
        self.lock().replace(State::new(created));
    }

    fn cancel(&self) {
        self.lock().epoch.end(StoreError::new(StoreError::TRANSACTION_CANCELLED));
    }
}

//! One transaction of FoundationDB's client behind our contract.
//!
//! The client's transaction is consumed by its commit and by its backoff, so it lives in the
//! phase that says who has it. What the client would note for later (a key too long, an option
//! out of bounds) is refused at once here, in the order and with the codes of
//! [`crate::store::client`]. Its futures need no borrow: the lock is held while a call is
//! started, never while it is waited for.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use escapement_fdb_client::foundationdb::{
    self as fdb, FdbError, FdbResult, TransactionCommitError, TransactionCommitted,
};
use futures_util::{
    FutureExt as _, TryFutureExt as _,
    future::{BoxFuture, ready},
};

use super::{Prefix, age::Age, native, reads::to_version};
use crate::{
    clock::SharedClock,
    store::{
        ConflictKind, KeySelector, MutationKind, RangeOptions, RangePage, StoreError, Transact, TransactionOption,
        Version, Versionstamp,
        client::{epoch::Epoch, settings::Settings},
        metrics::KindMetrics,
    },
};

/// `broken_promise`: what the client answers to who waits for a transaction that was reset.
const BROKEN_PROMISE: i32 = 1100;

/// A transaction of FoundationDB's own client.
pub(super) struct FdbTransaction {
    db: Arc<fdb::Database>,
    pub(super) prefix: Prefix,
    pub(super) clock: SharedClock,
    pub(super) metrics: Arc<KindMetrics>,
    state: Mutex<State>,
}

impl fmt::Debug for FdbTransaction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FdbTransaction").field("prefix", &self.prefix).finish_non_exhaustive()
    }
}

/// Who has the client's transaction.
enum Phase {
    Open(fdb::Transaction),
    /// The commit has it.
    Committing,
    /// The commit failed; `on_error` goes on from it.
    Failed(TransactionCommitError),
    Committed(TransactionCommitted),
    /// The backoff has it.
    BackingOff,
    /// Nobody: its commit failed for good. To the client it is still being committed.
    GivenUp,
    /// Nobody: it was cancelled, or could not be made.
    Ended(StoreError),
}

pub(super) struct State {
    phase: Phase,
    /// One life: what waits in it ends with it.
    pub(super) epoch: Arc<Epoch>,
    pub(super) settings: Settings,
    /// Ends with a life that was not committed: the client forgets watches in its backoff, and
    /// they would never resolve.
    watches: Arc<Epoch>,
    /// Whether anything was read.
    pub(super) has_read: bool,
    /// Whether a read version was asked for.
    pub(super) has_asked: bool,
    /// Whether anything was written that reads would see.
    pub(super) has_written: bool,
    age: Age,
    /// Version of the last commit that succeeded, if it wrote anything. Of all lives.
    committed: Option<Version>,
}

pub(super) fn store_error(error: FdbError) -> StoreError {
    StoreError::foreign(error.code(), || error.message())
}

/// The error that stands for 1039 in the client's backoff, given back: it stands for it still.
fn as_changed(refused: FdbError) -> FdbError {
    let stands_in = refused.code() == StoreError::COMMIT_UNKNOWN_RESULT;
    if stands_in { FdbError::from_code(StoreError::CLUSTER_VERSION_CHANGED) } else { refused }
}

impl FdbTransaction {
    pub(super) fn new(db: Arc<fdb::Database>, prefix: Prefix, clock: SharedClock, metrics: Arc<KindMetrics>) -> Self {
        let age = Age::new(clock.monotonic());
        let state = State::new(Phase::of(db.create_trx()), Settings::default(), age);
        Self { db, prefix, clock, metrics, state: Mutex::new(state) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts something on the open transaction; `None` if it is not open.
    pub(super) fn while_open<T>(&self, start: impl FnOnce(&fdb::Transaction, &mut State) -> T) -> Option<T> {
        self.lock().while_open(start)
    }

    /// Starts something on the open transaction. After the commit has begun that is refused,
    /// and ends the transaction.
    pub(super) fn enter<T>(&self, start: impl FnOnce(&fdb::Transaction, &mut State) -> T) -> Result<T, StoreError> {
        let mut state = self.lock();
        if let Some(started) = state.while_open(start) {
            return Ok(started);
        }
        if let Phase::Ended(error) = &state.phase {
            return Err(error.clone());
        }
        let error = StoreError::new(StoreError::USED_DURING_COMMIT);
        state.epoch.end(error.clone());
        Err(error)
    }

    /// Another transaction with the options that survive a retry, after the wait for `error`.
    fn revive(&self, state: &mut State, error: FdbError) -> BoxFuture<'static, FdbResult<fdb::Transaction>> {
        let age = state.age.on_another(self.clock.monotonic());
        let made = self.db.create_trx().and_then(|tx| {
            age.surviving(&state.settings).into_iter().try_for_each(|option| tx.set_option(native::option(option)))?;
            Ok(tx)
        });
        match made {
            Ok(tx) => {
                state.age = age;
                tx.on_error(error).boxed()
            }
            Err(refused) => ready(Err(refused)).boxed(),
        }
    }

    /// A read version for who asks for it when the client's own transaction is out of reach: the
    /// version that it has, or else one of another transaction.
    pub(super) fn late_version(&self) -> Result<BoxFuture<'static, Result<i64, StoreError>>, StoreError> {
        let state = self.lock();
        state.epoch.check()?;
        if let Phase::Ended(error) = &state.phase {
            return Err(error.clone());
        }
        if let Some(version) = state.epoch.version.get() {
            return Ok(ready(Ok(i64::try_from(version.0).unwrap_or(i64::MAX))).boxed());
        }
        let tx = self.db.create_trx().map_err(store_error)?;
        let age = state.age.on_another(self.clock.monotonic());
        let options = native::of_request(&state.settings.request).into_iter().chain(age.surviving(&state.settings));
        for option in options {
            tx.set_option(native::option(option)).map_err(store_error)?;
        }
        let epoch = Arc::clone(&state.epoch);
        Ok(async move {
            tokio::select! {
                biased;
                error = epoch.ended() => Err(error),
                version = tx.get_read_version() => version.map_err(store_error),
            }
        }
        .boxed())
    }

    async fn run_commit(&self) -> Result<(), StoreError> {
        let (version, commit, epoch) = {
            let mut state = self.lock();
            match std::mem::replace(&mut state.phase, Phase::Committing) {
                Phase::Open(tx) => {
                    // Once the commit has it, the transaction cannot be asked any more. Where
                    // nothing was written, the version is known already.
                    let asks = state.has_read && state.has_written && !state.epoch.version.initialized();
                    let version = asks.then(|| tx.get_read_version());
                    (version, tx.commit(), Arc::clone(&state.epoch))
                }
                other => {
                    state.phase = other;
                    drop(state);
                    return self.enter(|_, _| ());
                }
            }
        };
        let started = self.clock.monotonic();
        let commit = async {
            // What keeps the version from coming fails the commit, too.
            if let Some(version) = version
                && let Ok(version) = version.await.map_err(store_error).and_then(to_version)
            {
                let _ = epoch.version.set(version);
            }
            commit.await
        };
        let outcome = tokio::select! {
            biased;
            error = epoch.ended() => return Err(error),
            outcome = commit => outcome,
        };
        // -1: there was nothing to write.
        let version = outcome.as_ref().ok().and_then(|committed| committed.committed_version().ok());
        let version = version.and_then(|version| u64::try_from(version).ok()).map(Version);
        if version.is_some() {
            self.metrics.commit.record(self.clock.monotonic().since(started));
        }
        let result = outcome.as_ref().map(|_| ()).map_err(|failed| store_error(**failed));
        let mut state = self.lock();
        if Arc::ptr_eq(&state.epoch, &epoch) {
            if result.is_ok() {
                // The watches live on, whatever becomes of this life.
                state.watches = Arc::default();
                state.committed = version;
            }
            state.phase = outcome.map_or_else(Phase::Failed, Phase::Committed);
        }
        result
    }

    async fn back_off(&self, error: StoreError) -> Result<(), StoreError> {
        let (backoff, epoch, has_begun) = {
            let mut state = self.lock();
            state.epoch.check()?;
            if let Phase::Ended(error) = &state.phase {
                return Err(error.clone());
            }
            let has_begun = !matches!(state.phase, Phase::Open(_));
            let code = FdbError::from_code(error.code);
            let backoff: BoxFuture<'static, FdbResult<fdb::Transaction>> =
                match std::mem::replace(&mut state.phase, Phase::BackingOff) {
                    // A new transaction finds the cluster's version anew. The client gives this
                    // error back, unless it was told of several versions of itself.
                    _ if error.code == StoreError::CLUSTER_VERSION_CHANGED => {
                        let unknown = FdbError::from_code(StoreError::COMMIT_UNKNOWN_RESULT);
                        self.revive(&mut state, unknown).map_err(as_changed).boxed()
                    }
                    Phase::Open(tx) => tx.on_error(code).boxed(),
                    Phase::Failed(failed) if failed.code() == error.code => failed.on_error().boxed(),
                    _ => self.revive(&mut state, code),
                };
            (backoff, Arc::clone(&state.epoch), has_begun)
        };
        let outcome = tokio::select! {
            biased;
            error = epoch.ended() => Err(error),
            outcome = backoff => outcome.map_err(store_error),
        };
        let mut state = self.lock();
        if !Arc::ptr_eq(&state.epoch, &epoch) {
            return Ok(());
        }
        match outcome {
            Ok(tx) => {
                let (settings, age) = (state.settings.for_retry(), state.age.retried());
                state.replace(State::new(Phase::Open(tx), settings, age));
                Ok(())
            }
            // Whoever goes on to use the transaction after that is told so.
            Err(refused) if refused.code == error.code => {
                let cancelled = StoreError::new(StoreError::TRANSACTION_CANCELLED);
                state.epoch.end(cancelled.clone());
                state.phase = if has_begun { Phase::GivenUp } else { Phase::Ended(cancelled) };
                Err(error)
            }
            // It ended meanwhile: its time was over.
            Err(ended) => {
                state.phase = Phase::Ended(ended.clone());
                Err(ended)
            }
        }
    }
}

impl Phase {
    fn of(made: FdbResult<fdb::Transaction>) -> Self {
        made.map_or_else(|error| Self::Ended(store_error(error)), Self::Open)
    }
}

impl State {
    fn new(phase: Phase, settings: Settings, age: Age) -> Self {
        let (epoch, watches) = (Arc::default(), Arc::default());
        let (has_read, has_asked, has_written) = (false, false, false);
        Self { phase, epoch, settings, watches, has_read, has_asked, has_written, age, committed: None }
    }

    fn while_open<T>(&mut self, start: impl FnOnce(&fdb::Transaction, &mut State) -> T) -> Option<T> {
        if !matches!(self.phase, Phase::Open(_)) {
            return None;
        }
        // Taken out, so that `start` may change the rest.
        let Phase::Open(tx) = std::mem::replace(&mut self.phase, Phase::BackingOff) else { return None };
        let started = start(&tx, self);
        self.phase = Phase::Open(tx);
        Some(started)
    }

    /// Notes that something is written. Where own writes are not read, that is of no account.
    pub(super) fn note_write(&mut self) {
        self.has_written |= self.settings.sees_writes;
    }

    /// Starts another life; what is under way in this one ends with 1025.
    fn replace(&mut self, next: Self) {
        let committed = self.committed;
        let old = std::mem::replace(self, Self { committed, ..next });
        let error = StoreError::new(StoreError::TRANSACTION_CANCELLED);
        old.epoch.end(error.clone());
        old.watches.end(error);
    }
}

impl Transact for FdbTransaction {
    fn set_option(&self, option: TransactionOption) -> Result<(), StoreError> {
        let mut state = self.lock();
        if option == TransactionOption::ReadYourWritesDisable && (state.has_read || state.has_written) {
            return Err(StoreError::with(
                StoreError::CLIENT_INVALID_OPERATION,
                "reads of own writes can be switched off only before the first read or write",
            ));
        }
        // The client counts both of these, and counts them twice when it is told twice.
        let is_set = match &option {
            TransactionOption::Tag(tag) => state.settings.request.tags.contains(tag),
            TransactionOption::SnapshotRywDisable => !state.settings.snapshot_sees_writes,
            _ => false,
        };
        if is_set {
            return Ok(());
        }
        // The client notes a wrong value for later; this refuses it now.
        state.settings.set(option.clone())?;
        match &state.phase {
            // It goes with the write.
            _ if option == TransactionOption::NextWriteNoWriteConflictRange => Ok(()),
            Phase::Open(tx) => tx.set_option(native::option(state.age.option(option))).map_err(store_error),
            _ => Ok(()),
        }
    }

    fn read_version(&self) -> BoxFuture<'_, Result<Version, StoreError>> {
        self.version().boxed()
    }

    fn set_read_version(&self, version: Version) {
        let _ = self.enter(|tx, state| {
            // Once something was read it is too late.
            if !state.has_read && !state.has_asked && state.epoch.version.set(version).is_ok() {
                tx.set_read_version(i64::try_from(version.0).unwrap_or(i64::MAX));
            }
        });
    }

    fn get_many<'a>(
        &'a self,
        keys: Vec<Bytes>,
        snapshot: bool,
    ) -> BoxFuture<'a, Result<Vec<Option<Bytes>>, StoreError>> {
        self.read_keys(keys, snapshot).boxed()
    }

    fn get_key(&self, selector: KeySelector, snapshot: bool) -> BoxFuture<'_, Result<Bytes, StoreError>> {
        self.read_key(selector, snapshot).boxed()
    }

    fn get_range(&self, range: RangeOptions, snapshot: bool) -> BoxFuture<'_, Result<RangePage, StoreError>> {
        self.read_range(range, snapshot).boxed()
    }

    fn set(&self, key: Bytes, value: Bytes) -> Result<(), StoreError> {
        self.write_set(&key, &value)
    }

    fn clear(&self, key: Bytes) -> Result<(), StoreError> {
        self.write_clear(&key)
    }

    fn clear_range(&self, begin: Bytes, end: Bytes) -> Result<(), StoreError> {
        self.write_clear_range(begin, end)
    }

    fn mutate(&self, kind: MutationKind, key: Bytes, operand: Bytes) -> Result<(), StoreError> {
        self.write_atomic(kind, &key, &operand)
    }

    fn add_conflict_range(&self, begin: Bytes, end: Bytes, kind: ConflictKind) -> Result<(), StoreError> {
        self.note_conflict(begin, end, kind)
    }

    fn watch(&self, key: Bytes) -> BoxFuture<'static, Result<(), StoreError>> {
        let watch = self.enter(|tx, state| {
            if !state.settings.sees_writes {
                return Err(StoreError::new(StoreError::WATCHES_DISABLED));
            }
            self.check_key(&key)?;
            state.has_read = true;
            let (watch, given_up) = (tx.watch(&self.prefix.key(&key)), Arc::clone(&state.watches));
            let watching = async move {
                tokio::select! {
                    biased;
                    changed = watch => changed.map_err(store_error),
                    error = given_up.ended() => Err(error),
                }
            };
            Ok(watching.boxed())
        });
        watch.flatten().unwrap_or_else(|error| ready(Err(error)).boxed())
    }

    fn commit(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        self.run_commit().boxed()
    }

    fn committed_version(&self) -> Result<Version, StoreError> {
        self.lock().committed.ok_or_else(|| StoreError::new(StoreError::NO_COMMIT_VERSION))
    }

    fn versionstamp(&self) -> BoxFuture<'static, Result<Versionstamp, StoreError>> {
        let stamp = match self.enter(|tx, _| tx.get_versionstamp()) {
            Ok(stamp) => stamp,
            Err(error) => return ready(Err(error)).boxed(),
        };
        async {
            let stamp = stamp.await.map_err(|error| match error.code() {
                BROKEN_PROMISE => StoreError::new(StoreError::TRANSACTION_CANCELLED),
                _ => store_error(error),
            })?;
            let wrong = || StoreError::with(StoreError::OPERATION_FAILED, "a versionstamp has ten bytes");
            stamp[..].try_into().map(Versionstamp).map_err(|_| wrong())
        }
        .boxed()
    }

    fn on_error(&self, error: StoreError) -> BoxFuture<'_, Result<(), StoreError>> {
        self.back_off(error).boxed()
    }

    fn approximate_size(&self) -> BoxFuture<'_, Result<usize, StoreError>> {
        async {
            let size = self.enter(|tx, _| tx.get_approximate_size())?.await.map_err(store_error)?;
            Ok(usize::try_from(size).unwrap_or(0))
        }
        .boxed()
    }

    fn reset(&self) {
        let mut state = self.lock();
        let phase = match std::mem::replace(&mut state.phase, Phase::BackingOff) {
            Phase::Open(mut tx) => {
                tx.reset();
                Phase::Open(tx)
            }
            Phase::Failed(failed) => Phase::Open(failed.reset()),
            Phase::Committed(committed) => Phase::Open(committed.reset()),
            Phase::Committing | Phase::BackingOff | Phase::GivenUp | Phase::Ended(_) => Phase::of(self.db.create_trx()),
        };
        state.replace(State::new(phase, Settings::default(), Age::new(self.clock.monotonic())));
    }

    fn cancel(&self) {
        let mut state = self.lock();
        let error = StoreError::new(StoreError::TRANSACTION_CANCELLED);
        state.epoch.end(error.clone());
        state.phase = match std::mem::replace(&mut state.phase, Phase::GivenUp) {
            Phase::Open(tx) => {
                drop(tx.cancel());
                Phase::Ended(error)
            }
            Phase::BackingOff => Phase::Ended(error),
            // What has been committed stays so; what was being committed still is, to whoever asks.
            committed @ Phase::Committed(..) => committed,
            Phase::Committing | Phase::Failed(_) | Phase::GivenUp => Phase::GivenUp,
            Phase::Ended(before) => Phase::Ended(before),
        };
    }
}

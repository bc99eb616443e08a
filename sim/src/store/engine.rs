//! The database as whoever serves it sees it: reads, versions, watches; commits elsewhere.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use escapement::store::{
    RangePage, StoreError, Version,
    engine::{CommitReceipt, CommitRequest, Engine, RangeRead, ReadVersionRequest},
};
use futures_util::{FutureExt as _, future::BoxFuture};

use super::{
    cluster::{Shared, true_time},
    dice::Effect,
    plan::Fault,
};

/// Read versions of the past that are kept for who accepts them.
const PAST_MAX: usize = 1024;

/// The simulated database on the node that serves it. Made by
/// [`SimStore::boot`](super::SimStore::boot).
#[derive(Clone, Debug)]
pub struct FaultyEngine(Arc<Shared>);

impl FaultyEngine {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self(shared)
    }
}

impl Engine for FaultyEngine {
    fn read_version(&self, request: &ReadVersionRequest) -> BoxFuture<'_, Result<Version, StoreError>> {
        let request = request.clone();
        async move { self.0.read_version(&request).await }.boxed()
    }

    fn get_many(&self, keys: Vec<Bytes>, version: Version) -> BoxFuture<'_, Result<Vec<Option<Bytes>>, StoreError>> {
        async move {
            self.0.admit_read().await?;
            self.0.noted(self.0.memory.get_many(keys, version).await)
        }
        .boxed()
    }

    fn get_range(&self, read: RangeRead, version: Version) -> BoxFuture<'_, Result<RangePage, StoreError>> {
        async move {
            self.0.admit_read().await?;
            let page = self.0.noted(self.0.memory.get_range(read.clone(), version).await)?;
            self.0.pages.read(&read, &page);
            Ok(page)
        }
        .boxed()
    }

    fn commit(&self, request: CommitRequest) -> BoxFuture<'static, Result<CommitReceipt, StoreError>> {
        let answer = self.0.accept(request);
        // Without a sender the node is going down, and nobody hears this.
        async { answer.await.unwrap_or_else(|_| Err(StoreError::new(StoreError::OPERATION_CANCELLED))) }.boxed()
    }

    fn watch(&self, key: Bytes, value: Option<Bytes>, version: Version) -> BoxFuture<'static, Result<(), StoreError>> {
        let shared = Arc::clone(&self.0);
        async move { shared.watch(key, value, version).await }.boxed()
    }

    fn exclusive(&self) -> bool {
        false
    }

    fn kind(&self) -> &'static str {
        "simulated"
    }
}

impl Shared {
    async fn read_version(&self, request: &ReadVersionRequest) -> Result<Version, StoreError> {
        let ReadVersionRequest { batch_priority, causal_read_risky, lock_aware, tags, .. } = request;
        self.outlast_recovery().await;
        self.delay(Fault::SlowReadVersion).await;
        self.fail(Fault::ReadVersionProxyMemory, StoreError::GRV_PROXY_MEMORY_LIMIT)?;
        self.fail(Fault::VersionChangedReading, StoreError::CLUSTER_VERSION_CHANGED)?;
        if *batch_priority {
            self.fail(Fault::BatchThrottled, StoreError::BATCH_TRANSACTION_THROTTLED)?;
            self.delay(Fault::BatchStarved).await;
        }
        if !tags.is_empty() {
            self.fail(Fault::TagThrottled, StoreError::TAG_THROTTLED)?;
        }
        if !lock_aware {
            self.fail(Fault::Locked, StoreError::DATABASE_LOCKED)?;
        }
        self.outlast_recovery().await;
        let newest = self.memory.read_version(request).await?;
        if *causal_read_risky && let Some(stale) = self.stale() {
            return Ok(stale);
        }
        Ok(newest)
    }

    /// A read version that lacks commits, if there is one to be had and the fault strikes.
    fn stale(&self) -> Option<Version> {
        let now = true_time();
        if !self.dice.strikes(Fault::StaleReadVersion, now) {
            return None;
        }
        let from = now.saturating_sub(self.dice.hold(Fault::StaleReadVersion));
        let stale = self.state().past.iter().find(|(superseded, _)| *superseded >= from).map(|(_, version)| *version);
        let stale = stale.filter(|version| *version < self.log.newest())?;
        self.dice.hit(Fault::StaleReadVersion);
        Some(stale)
    }

    /// The newest version after the commits of this instant; those before are of the past.
    pub(super) fn remember(&self, at: Duration) {
        let mut state = self.state();
        // Half the window, so that whoever gets one can still read with it.
        let oldest = at.saturating_sub(Duration::from_millis(self.plan.knobs.window_ms / 2));
        while state.past.front().is_some_and(|(then, _)| *then < oldest) || state.past.len() >= PAST_MAX {
            state.past.pop_front();
        }
        state.past.push_back((at, self.log.newest()));
    }

    async fn admit_read(&self) -> Result<(), StoreError> {
        self.outlast(Fault::StorageUnavailable).await;
        self.delay(Fault::SlowRead).await;
        self.fail(Fault::TooOld, StoreError::TRANSACTION_TOO_OLD)?;
        self.fail(Fault::FutureVersion, StoreError::FUTURE_VERSION)?;
        self.fail(Fault::ProcessBehind, StoreError::PROCESS_BEHIND)
    }

    fn fail(&self, fault: Fault, code: i32) -> Result<(), StoreError> {
        if !self.dice.strikes(fault, true_time()) {
            return Ok(());
        }
        self.dice.hit(fault);
        Err(StoreError::new(code))
    }

    fn noted<T>(&self, result: Result<T, StoreError>) -> Result<T, StoreError> {
        if let Err(error) = &result
            && error.code == StoreError::TRANSACTION_TOO_OLD
        {
            self.dice.effect(Effect::TooOldByClock);
        }
        result
    }

    async fn watch(&self, key: Bytes, value: Option<Bytes>, version: Version) -> Result<(), StoreError> {
        let now = true_time();
        let [many, lost, spurious, late] =
            [Fault::WatchTooMany, Fault::WatchLost, Fault::WatchSpurious, Fault::WatchLate]
                .map(|fault| self.dice.strikes(fault, now).then_some(fault));
        let fault = many.or(lost).or(spurious).or(late);
        match fault {
            Some(fault @ Fault::WatchTooMany) => {
                self.dice.hit(fault);
                return Err(StoreError::new(StoreError::TOO_MANY_WATCHES));
            }
            Some(fault @ Fault::WatchLost) => {
                self.dice.hit(fault);
                return std::future::pending().await;
            }
            Some(fault @ Fault::WatchSpurious) => {
                self.dice.hit(fault);
                self.clock.sleep(self.dice.hold(fault)).await;
                return Ok(());
            }
            _ => {}
        }
        let fired = self.memory.watch(key, value, version).await;
        match &fired {
            Ok(()) if fault == Some(Fault::WatchLate) => {
                self.dice.hit(Fault::WatchLate);
                self.clock.sleep(self.dice.hold(Fault::WatchLate)).await;
            }
            Err(error) if error.code == StoreError::TOO_MANY_WATCHES => self.dice.effect(Effect::WatchesFull),
            _ => {}
        }
        fired
    }
}

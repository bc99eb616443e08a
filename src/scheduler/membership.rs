//! This process's own lease. It is a length, renewed three times in it, and counted by its
//! holder from before it wrote: so it ends here before anyone else may think it has ended.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use escapement_engine::{Monotonic, SessionId, Timestamp};

use super::{
    RETRY_PAUSE, SchedulerOptions, Shared,
    transactions::{self, Refusal},
};
use crate::{
    clock::SharedClock,
    records::Member,
    store::{Database, RunError},
};

/// Until when this process may act as the owner of its shards.
#[derive(Debug)]
pub(crate) struct Held {
    until_nanos: AtomicU64,
    lease: Duration,
}

impl Held {
    /// Writes the first beat.
    pub(crate) async fn begin(
        db: &Database,
        clock: &SharedClock,
        session: SessionId,
        options: &SchedulerOptions,
        started: Timestamp,
    ) -> transactions::Outcome<Self> {
        let before = clock.monotonic();
        let lease = options.member_lease;
        let member = Member { beat: 1, lease, address: options.address.clone(), started };
        transactions::beat(db, session, &member, None).await?;
        let until = before.saturating_add(lease);
        Ok(Self { until_nanos: AtomicU64::new(until.as_nanos()), lease })
    }

    /// Whether the lease is held at `now`.
    pub(crate) fn at(&self, now: Monotonic) -> bool {
        now.as_nanos() < self.until_nanos.load(Ordering::Acquire)
    }

    fn renewed(&self, before: Monotonic) {
        self.until_nanos.store(before.saturating_add(self.lease).as_nanos(), Ordering::Release);
    }
}

/// A store that fails for so long, other than for want of room, does not come back by itself.
const STORE_SILENCE_MAX: Duration = Duration::from_secs(60);

/// Renews the lease for as long as the scheduler lives.
pub(crate) async fn renew(shared: Arc<Shared>) {
    let options = &shared.options;
    let mut heard = shared.clock.monotonic();
    for beat in 2.. {
        tokio::select! {
            biased;
            () = shared.core.closed() => return,
            () = shared.clock.sleep(options.member_lease / 3) => {}
        }
        let before = shared.clock.monotonic();
        let member =
            Member { beat, lease: options.member_lease, address: options.address.clone(), started: shared.started };
        let ownership = &shared.ownership;
        match transactions::beat(&shared.db, ownership.session, &member, Some(ownership)).await {
            Ok(()) => {
                shared.held.renewed(before);
                heard = before;
            }
            Err(RunError::Refused(Refusal::NotOwner(shard))) => {
                tracing::error!(%shard, "another scheduler has taken the shards over; this one ends");
                return shared.tell(super::core::Message::Stop).await;
            }
            Err(error) if super::storage_full(&error) => heard = before,
            Err(error) => {
                tracing::warn!(%error, "could not renew the scheduler's lease");
                if before.since(heard) > STORE_SILENCE_MAX {
                    tracing::error!("the store has failed for too long; the scheduler ends");
                    return shared.tell(super::core::Message::Stop).await;
                }
                shared.clock.sleep(RETRY_PAUSE).await;
            }
        }
    }
}

/// Distance of two pages of the sweep.
const SWEEP_PAUSE: Duration = Duration::from_secs(1);

/// Clears idempotency keys whose windows have passed, slowly, page after page.
pub(crate) async fn sweep(shared: Arc<Shared>) {
    let mut after = None;
    loop {
        let pause = if after.is_none() { shared.options.rescan_interval } else { SWEEP_PAUSE };
        tokio::select! {
            biased;
            () = shared.core.closed() => return,
            () = shared.clock.sleep(pause) => {}
        }
        let limit = shared.options.scan_page_rows;
        match transactions::sweep_idempotency(&shared.db, after.take(), shared.clock.now(), limit).await {
            Ok(next) => after = next,
            Err(error) => tracing::warn!(%error, "sweeping idempotency keys failed"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use bytes::Bytes;
    use futures_util::{FutureExt as _, future::BoxFuture};

    use super::*;
    use crate::{
        edge::SystemClock,
        rng::Rng,
        scheduler::{Scheduler, StartError, succession},
        store::{
            MemoryEngine, RangePage, StoreError, Version,
            engine::{CommitReceipt, CommitRequest, Engine, RangeRead, ReadVersionRequest},
        },
    };

    /// A page takes this long: with the pages of all shards, several of the leases below.
    const PAGE: Duration = Duration::from_millis(100);
    const SHARDS: u32 = 4;

    /// A store whose range reads are slow.
    #[derive(Debug)]
    struct Slow(MemoryEngine, SharedClock);

    impl Engine for Slow {
        fn read_version(&self, request: &ReadVersionRequest) -> BoxFuture<'_, Result<Version, StoreError>> {
            self.0.read_version(request)
        }

        fn get_many(
            &self,
            keys: Vec<Bytes>,
            version: Version,
        ) -> BoxFuture<'_, Result<Vec<Option<Bytes>>, StoreError>> {
            self.0.get_many(keys, version)
        }

        fn get_range(&self, read: RangeRead, version: Version) -> BoxFuture<'_, Result<RangePage, StoreError>> {
            async move {
                self.1.sleep(PAGE).await;
                self.0.get_range(read, version).await
            }
            .boxed()
        }

        fn commit(&self, request: CommitRequest) -> BoxFuture<'static, Result<CommitReceipt, StoreError>> {
            self.0.commit(request)
        }

        fn watch(
            &self,
            key: Bytes,
            value: Option<Bytes>,
            version: Version,
        ) -> BoxFuture<'static, Result<(), StoreError>> {
            self.0.watch(key, value, version)
        }

        fn exclusive(&self) -> bool {
            false
        }

        fn kind(&self) -> &'static str {
            "slow"
        }
    }

    #[tokio::test]
    async fn an_owner_renews_its_lease_while_it_reads_what_it_owns() {
        let clock: SharedClock = Arc::new(SystemClock::new());
        let (memory, rng) = (MemoryEngine::new(clock.clone()), Rng::from_seed(1));
        let slow = Database::over(Arc::new(Slow(memory.clone(), clock.clone())), clock.clone(), rng.clone());
        let quick = Database::over(Arc::new(memory), clock.clone(), rng.clone());
        let member_lease = Duration::from_millis(300);
        let options = SchedulerOptions { shards: SHARDS, member_lease, ..SchedulerOptions::default() };
        let starting = tokio::spawn(Scheduler::start(slow, clock.clone(), rng, options));
        while transactions::holders(&quick, SHARDS).await.unwrap().is_empty() {
            clock.sleep(Duration::from_millis(5)).await;
        }
        // Whoever stands by sees that it lives.
        let refused = succession::predecessors_gone(&quick, &clock, SHARDS).await;
        assert!(matches!(refused, Err(StartError::Held { .. })), "{refused:?}");
        let scheduler = starting.await.unwrap().unwrap();
        let holders: BTreeSet<_> = transactions::holders(&quick, SHARDS).await.unwrap().into_keys().collect();
        assert_eq!(holders, BTreeSet::from([scheduler.session()]));
    }
}

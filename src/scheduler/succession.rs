//! Who may take the shards of a store that several processes can open.
//!
//! A predecessor is gone when it has no member record, or when its beat stood still for its
//! whole lease: counted on our monotonic clock from *after* we saw it, as it counts its own
//! from *before* it wrote. Even if it is not (a clock that runs too fast, a process that was
//! suspended), the take-over raises every shard's epoch, and every transaction of an owner
//! reads that: the predecessor can commit nothing more, and ends when it finds out.
//!
//! One beat more is no life: the store may have had it in its queue when the process was killed. After
//! that the wait begins anew; after a second one the predecessor lives.
//!
//! One scheduler at a time serves a store: with a live predecessor this one does not start.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use escapement_engine::{Monotonic, SessionId};

use super::{StartError, transactions};
use crate::{clock::SharedClock, records::Member, store::Database};

/// Looks in the length of a predecessor's lease: one that lives beats three times in it.
const LOOKS_IN_LEASE: u32 = 8;
/// Shortest pause between looks.
const LOOK_PAUSE_MIN: Duration = Duration::from_millis(20);

/// Whose shards may be taken: for each, the beat at which its member record stands still.
pub(super) type Gone = BTreeMap<SessionId, Option<u64>>;

/// Waits until it is sure that every owner of a shard is gone, for the longest of their leases; twice
/// that if one of them beat once more.
pub(super) async fn predecessors_gone(db: &Database, clock: &SharedClock, shards: u32) -> Result<Gone, StartError> {
    let mut holders = transactions::holders(db, shards).await.map_err(StartError::of)?;
    let mut seen = clock.monotonic();
    let mut beat_once = BTreeSet::new();
    if let Some((session, member)) = holders.iter().find_map(|(id, member)| Some((id, member.as_ref()?))) {
        let address = &member.address;
        tracing::info!(%session, address, lease = ?member.lease, "looking whether the shards' last owner lives");
    }
    loop {
        let pause = match longest_wait(&holders, seen, clock.monotonic()) {
            None => break,
            Some(wait) => (wait / LOOKS_IN_LEASE).max(LOOK_PAUSE_MIN),
        };
        clock.sleep(pause).await;
        let now = transactions::holders(db, shards).await.map_err(StartError::of)?;
        for (session, member) in now {
            let Some(member) = member else { continue };
            match holders.get_mut(&session) {
                Some(Some(known)) if known.beat == member.beat => {}
                Some(Some(known)) if beat_once.insert(session) => {
                    known.beat = member.beat;
                    seen = clock.monotonic();
                }
                _ => return Err(StartError::Held { store: db.kind(), session, address: member.address }),
            }
        }
    }
    // The last look began before the leases had passed; taking over looks once more, in the
    // same transaction.
    Ok(holders.into_iter().map(|(session, member)| (session, member.map(|member| member.beat))).collect())
}

/// How long the leases last, if they do: `None` once all have passed.
fn longest_wait(holders: &BTreeMap<SessionId, Option<Member>>, seen: Monotonic, now: Monotonic) -> Option<Duration> {
    let longest = holders.values().flatten().map(|member| member.lease).max()?;
    (now < seen.saturating_add(longest)).then_some(longest)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use escapement_engine::{ShardId, Timestamp};

    use super::*;
    use crate::{
        edge::SystemClock,
        keyspace,
        records::{Record as _, ShardLease},
        rng::Rng,
        scheduler::transactions::Takeover,
        store::{MemoryEngine, TransactionKind},
    };

    const SHARDS: u32 = 4;
    const LEASE: Duration = Duration::from_millis(300);

    struct Setup {
        db: Database,
        clock: SharedClock,
        rng: Rng,
    }

    fn setup() -> Setup {
        let clock: SharedClock = Arc::new(SystemClock::new());
        let rng = Rng::from_seed(1);
        let engine = Arc::new(MemoryEngine::new(clock.clone()));
        Setup { db: Database::over(engine, clock.clone(), rng.clone()), clock, rng }
    }

    impl Setup {
        fn session(&self) -> SessionId {
            self.rng.session_id(self.clock.now())
        }

        async fn beat(&self, session: SessionId, beat: u64, ownership: Option<&transactions::Ownership>) -> bool {
            let started = Timestamp::UNIX_EPOCH;
            let member = Member { beat, lease: LEASE, address: "10.0.0.1:7250".to_owned(), started };
            transactions::beat(&self.db, session, &member, ownership).await.is_ok()
        }

        async fn take(&self, session: SessionId, gone: Gone) -> transactions::Outcome<transactions::Ownership> {
            transactions::take_shards(&self.db, session, SHARDS, Takeover::Of(gone)).await
        }

        async fn gone(&self) -> Result<Gone, StartError> {
            predecessors_gone(&self.db, &self.clock, SHARDS).await
        }

        async fn lease(&self) -> ShardLease {
            let read = |tx: crate::store::Transaction, _| async move {
                Ok::<_, crate::store::Abort<String>>(tx.get(keyspace::shard_lease(ShardId(0))).await?)
            };
            let value = self.db.run(TransactionKind::idempotent("look"), read).await.unwrap().value;
            ShardLease::decode(&value.unwrap()).unwrap()
        }
    }

    #[tokio::test]
    async fn a_predecessor_whose_beat_stands_still_for_its_lease_is_succeeded_and_fenced() {
        let setup = setup();
        let (old, new) = (setup.session(), setup.session());
        assert!(setup.beat(old, 1, None).await);
        let owned = setup.take(old, setup.gone().await.unwrap()).await.unwrap();
        let before = setup.clock.monotonic();
        let gone = setup.gone().await.unwrap();
        assert!(setup.clock.monotonic().since(before) >= LEASE, "not before its lease has passed");
        assert_eq!(gone, Gone::from([(old, Some(1))]));
        let epoch = setup.lease().await.epoch;
        setup.take(new, gone).await.unwrap();
        let lease = setup.lease().await;
        assert_eq!((lease.owner, lease.epoch.0), (Some(new), epoch.0 + 1));
        assert!(!setup.beat(old, 2, Some(&owned)).await, "what comes back finds itself fenced");
        assert!(transactions::holders(&setup.db, SHARDS).await.unwrap().keys().eq([&new]), "and is no member again");
    }

    #[tokio::test]
    async fn a_live_predecessor_is_named() {
        let setup = setup();
        let old = setup.session();
        setup.beat(old, 1, None).await;
        setup.take(old, Gone::new()).await.unwrap();
        let beats = async {
            for beat in 2.. {
                setup.clock.sleep(LEASE / 3).await;
                setup.beat(old, beat, None).await;
            }
        };
        let refused = tokio::select! {
            biased;
            refused = setup.gone() => refused.unwrap_err(),
            () = beats => unreachable!("beats for ever"),
        };
        let told = refused.to_string();
        assert!(told.contains("10.0.0.1:7250") && told.contains(&old.to_string()), "{told}");
    }

    #[tokio::test]
    async fn a_last_beat_that_was_under_way_when_its_sender_died_is_no_life() {
        let setup = setup();
        let old = setup.session();
        setup.beat(old, 1, None).await;
        setup.take(old, Gone::new()).await.unwrap();
        let late = async {
            setup.clock.sleep(LEASE / 4).await;
            setup.beat(old, 2, None).await;
            setup.clock.monotonic()
        };
        let (gone, beat) = tokio::join!(setup.gone(), late);
        assert_eq!(gone.unwrap(), Gone::from([(old, Some(2))]));
        assert!(setup.clock.monotonic().since(beat) >= LEASE, "its lease is counted from the last beat seen");
    }

    #[tokio::test]
    async fn a_predecessor_that_beats_after_the_last_look_keeps_its_shards() {
        let setup = setup();
        let (old, new) = (setup.session(), setup.session());
        setup.beat(old, 1, None).await;
        setup.take(old, Gone::new()).await.unwrap();
        let gone = setup.gone().await.unwrap();
        setup.beat(old, 2, None).await;
        assert!(setup.take(new, gone).await.is_err());
        assert_eq!(setup.lease().await.owner, Some(old));
    }

    #[tokio::test]
    async fn one_without_a_member_record_is_succeeded_at_once() {
        let setup = setup();
        let (old, new) = (setup.session(), setup.session());
        setup.take(old, Gone::new()).await.unwrap();
        let gone = setup.gone().await.unwrap();
        assert_eq!(gone, Gone::from([(old, None)]));
        setup.take(new, gone).await.unwrap();
        assert_eq!(setup.lease().await.owner, Some(new));
    }
}

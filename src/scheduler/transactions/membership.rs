//! The cluster's shape, its members, and who owns which shard.

use std::{collections::BTreeMap, sync::Arc};

use escapement_engine::{
    Epoch, SessionId, ShardId,
    planted::{Bug, planted},
};

use super::{Outcome, Ownership, Refusal, read_record};
use crate::{
    keyspace,
    records::{Cluster, KEYSPACE_FORMAT, Member, Record as _, ShardLease},
    store::{Database, TransactionKind},
};

/// Reads the cluster's shape, or makes it with `shards` shards if the store is new.
pub(crate) async fn open_cluster(db: &Database, shards: u32) -> Outcome<Cluster> {
    let committed = db
        .run(TransactionKind::idempotent("open-cluster"), |tx, _| async move {
            match tx.get(keyspace::cluster()).await?.as_ref().map(Cluster::read).transpose()? {
                Some(Ok(cluster)) => Ok(cluster),
                Some(Err(_)) if planted(Bug::NewerFormatServed) => {
                    Ok(Cluster { format_version: KEYSPACE_FORMAT, shards })
                }
                Some(Err(newer)) => Err(Refusal::FormatTooNew(newer).into()),
                None => {
                    let cluster = Cluster { format_version: KEYSPACE_FORMAT, shards };
                    tx.set(keyspace::cluster(), cluster.encode())?;
                    Ok(cluster)
                }
            }
        })
        .await?;
    Ok(committed.value)
}

/// Writes this process's beat: observers count its lease anew from when they see it. An owner
/// is refused once its shards were taken over; who takes over takes all, so one tells.
pub(crate) async fn beat(
    db: &Database,
    session: SessionId,
    member: &Member,
    ownership: Option<&Ownership>,
) -> Outcome<()> {
    let (value, beat) = (member.encode(), member.beat);
    db.run(TransactionKind::idempotent("beat"), |tx, _| {
        let (value, ownership) = (value.clone(), ownership.cloned());
        async move {
            if let Some(ownership) = ownership
                && let Some(shard) = ownership.shards.keys().next()
            {
                let lease = tx.get(keyspace::shard_lease(*shard)).await?;
                ownership.check(&[*shard], &[lease])?;
            }
            // A try that landed late must not set a later beat back: observers would take the
            // lease for renewed, or for silent, by turns.
            let key = keyspace::member(session);
            let known = read_record::<Member>(&tx, key.clone()).await?;
            if known.is_none_or(|known| known.beat < beat) {
                tx.set(key, value)?;
            }
            Ok(())
        }
    })
    .await
    .map(drop)
}

/// Owners of shards, each with its member record, if it has one.
pub(crate) async fn holders(db: &Database, shards: u32) -> Outcome<BTreeMap<SessionId, Option<Member>>> {
    let committed = db
        .run(TransactionKind::idempotent("holders"), |tx, _| async move {
            let keys = (0..shards).map(|shard| keyspace::shard_lease(ShardId(shard))).collect();
            let mut holders = BTreeMap::new();
            for value in tx.get_many(keys).await?.iter().flatten() {
                if let Some(owner) = ShardLease::decode(value)?.owner {
                    holders.insert(owner, None);
                }
            }
            for (owner, member) in &mut holders {
                *member = read_record::<Member>(&tx, keyspace::member(*owner)).await?;
            }
            Ok(holders)
        })
        .await?;
    Ok(committed.value)
}

/// Whose shards are taken.
#[derive(Clone, Debug)]
pub(crate) enum Takeover {
    /// Everybody's. Only for a store that one process at a time can open: whoever held the
    /// leases is dead.
    All,
    /// Theirs, if their member records still stand at these beats. Refused if anybody else
    /// holds a shard.
    Of(BTreeMap<SessionId, Option<u64>>),
}

impl Takeover {
    /// Whether the shards of `owner` are taken, whose member record reads so now.
    fn covers(&self, owner: SessionId, member: Option<&Member>) -> bool {
        match self {
            Self::All => true,
            Self::Of(gone) => gone.get(&owner).is_some_and(|beat| *beat == member.map(|member| member.beat)),
        }
    }
}

/// Takes every shard, each in the epoch after the last. Members that are succeeded are
/// cleared away.
pub(crate) async fn take_shards(
    db: &Database,
    session: SessionId,
    shards: u32,
    takeover: Takeover,
) -> Outcome<Ownership> {
    let takeover = &takeover;
    let committed = db
        .run(TransactionKind::idempotent("take-shards"), |tx, _| async move {
            let mut members = BTreeMap::new();
            for (key, value) in tx.get_range(keyspace::members()).await?.rows {
                members.insert(keyspace::parse_member(&key)?, (key, Member::decode(&value)?));
            }
            let keys = (0..shards).map(|shard| keyspace::shard_lease(ShardId(shard))).collect();
            let values = tx.get_many(keys).await?;
            let mut owned = BTreeMap::new();
            for (shard, value) in (0..shards).map(ShardId).zip(values) {
                let lease = value.as_ref().map(ShardLease::decode).transpose()?;
                let owner = lease.and_then(|lease| lease.owner).filter(|owner| *owner != session);
                if let Some(owner) = owner
                    && !takeover.covers(owner, members.get(&owner).map(|(_, member)| member))
                {
                    return Err(Refusal::ShardHeld(shard, owner).into());
                }
                let epoch = match lease {
                    // An earlier try of this transaction.
                    Some(lease) if lease.owner == Some(session) => lease.epoch,
                    Some(lease) => Epoch(lease.epoch.0 + 1),
                    None => Epoch(1),
                };
                tx.set(keyspace::shard_lease(shard), ShardLease { owner: Some(session), epoch }.encode())?;
                owned.insert(shard, epoch);
            }
            for (member, (key, record)) in members {
                if member != session && takeover.covers(member, Some(&record)) {
                    tx.clear(key)?;
                }
            }
            Ok(owned)
        })
        .await?;
    Ok(Ownership { session, shards: Arc::new(committed.value) })
}

/// Gives the shards back and goes, so that a successor need not wait.
pub(crate) async fn leave(db: &Database, ownership: &Ownership) -> Outcome<()> {
    db.run(TransactionKind::idempotent("leave"), |tx, _| {
        let ownership = ownership.clone();
        async move {
            let keys = ownership.shards.keys().map(|shard| keyspace::shard_lease(*shard)).collect();
            for (shard, value) in ownership.shards.keys().zip(tx.get_many(keys).await?) {
                let lease = value.as_ref().map(ShardLease::decode).transpose()?;
                if let Some(lease) = lease.filter(|lease| lease.owner == Some(ownership.session)) {
                    let free = ShardLease { owner: None, epoch: lease.epoch };
                    tx.set(keyspace::shard_lease(*shard), free.encode())?;
                }
            }
            tx.clear(keyspace::member(ownership.session))?;
            Ok(())
        }
    })
    .await
    .map(drop)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::{
        clock::SharedClock,
        edge::SystemClock,
        rng::Rng,
        store::{MemoryEngine, RunError},
    };

    #[tokio::test]
    async fn a_cluster_of_a_newer_version_is_refused_by_its_format_and_stays_as_it_is() {
        let clock: SharedClock = Arc::new(SystemClock::new());
        let db = Database::over(Arc::new(MemoryEngine::new(Arc::clone(&clock))), clock, Rng::from_seed(1));
        let newer_keyspace = Cluster { format_version: 9, shards: 4 }.encode();
        for (record, what, found) in [(newer_keyspace, "keyspace", 9), (Bytes::from("\u{2}?"), "record", 2)] {
            let tx = db.begin();
            tx.set(keyspace::cluster(), record.clone()).unwrap();
            tx.raw().commit().await.unwrap();
            match open_cluster(&db, 4).await {
                Err(RunError::Refused(Refusal::FormatTooNew(newer))) => {
                    assert_eq!((newer.what, newer.found, newer.supported), (what, found, 1));
                }
                other => panic!("{other:?}"),
            }
            assert_eq!(db.begin().get(keyspace::cluster()).await.unwrap(), Some(record));
        }
    }
}

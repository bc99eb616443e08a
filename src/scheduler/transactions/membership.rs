//! The cluster's shape, its members, and who owns which shard.

use std::{collections::BTreeMap, sync::Arc};

use escapement_engine::{Epoch, SessionId, ShardId};

use super::{Outcome, Ownership, Refusal, read_record};
use crate::{
    keyspace,
    records::{Cluster, Member, Record as _, ShardLease},
    store::{Database, TransactionKind},
};

/// Newest format of the keyspace that this program knows.
pub(crate) const FORMAT_VERSION: u32 = 1;

/// Reads the cluster's shape, or makes it with `shards` shards if the store is new.
pub(crate) async fn open_cluster(db: &Database, shards: u32) -> Outcome<Cluster> {
    let committed = db
        .run(TransactionKind::idempotent("open-cluster"), |tx, _| async move {
            let found = read_record::<Cluster>(&tx, keyspace::cluster()).await?;
            match found {
                Some(cluster) if cluster.format_version > FORMAT_VERSION => {
                    let found = cluster.format_version;
                    Err(Refusal::FormatTooNew { found, supported: FORMAT_VERSION }.into())
                }
                Some(cluster) => Ok(cluster),
                None => {
                    let cluster = Cluster { format_version: FORMAT_VERSION, shards };
                    tx.set(keyspace::cluster(), cluster.encode())?;
                    Ok(cluster)
                }
            }
        })
        .await?;
    Ok(committed.value)
}

/// Writes this process's beat: observers count its lease anew from when they see it.
pub(crate) async fn beat(db: &Database, session: SessionId, member: &Member) -> Outcome<()> {
    let value = member.encode();
    db.run(TransactionKind::idempotent("beat"), |tx, _| {
        let value = value.clone();
        async move {
            tx.set(keyspace::member(session), value)?;
            Ok(())
        }
    })
    .await
    .map(drop)
}

/// Takes every shard, each in the epoch after the last. Only for a store that one process at
/// a time can open: whoever held the leases is dead. Members of the past are cleared away.
pub(crate) async fn take_shards(db: &Database, session: SessionId, shards: u32) -> Outcome<Ownership> {
    let committed = db
        .run(TransactionKind::idempotent("take-shards"), |tx, _| async move {
            let keys = (0..shards).map(|shard| keyspace::shard_lease(ShardId(shard))).collect();
            let values = tx.get_many(keys).await?;
            let mut owned = BTreeMap::new();
            for (shard, value) in (0..shards).map(ShardId).zip(values) {
                let lease = value.as_ref().map(ShardLease::decode).transpose()?;
                let epoch = match lease {
                    // An earlier try of this transaction.
                    Some(lease) if lease.owner == Some(session) => lease.epoch,
                    Some(lease) => Epoch(lease.epoch.0 + 1),
                    None => Epoch(1),
                };
                tx.set(keyspace::shard_lease(shard), ShardLease { owner: Some(session), epoch }.encode())?;
                owned.insert(shard, epoch);
            }
            for (key, _) in tx.get_range(keyspace::members()).await?.rows {
                if keyspace::parse_member(&key)? != session {
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

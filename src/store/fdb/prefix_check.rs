//! Does what lies under a prefix belong to us?
//!
//! Two things must not share a prefix, and neither may lie within the other's: either would
//! read, and in time clear, what is not its own. The cluster record under the prefix says that
//! a deployment of ours is there. Without it, there may be nothing.

use bytes::Bytes;

use super::keys::Prefix;
use crate::{
    keyspace,
    records::{Cluster, NewerFormat},
    store::{Abort, Database, RangeOptions, RunError, StoreError, Transaction, TransactionKind},
};

/// Keys that are not ours lie where ours are to be, or the other way round.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PrefixError {
    /// Somebody else's keys lie under the prefix.
    #[error(
        "prefix {prefix} holds keys that are not Escapement's, such as `{}`",
        key.escape_ascii()
    )]
    Foreign {
        /// Ours.
        prefix: Prefix,
        /// One of the keys, with the prefix.
        key: Bytes,
    },
    /// Another deployment's prefix is the beginning of ours.
    #[error("prefix {prefix} lies within prefix {other}, where another deployment of Escapement keeps its state")]
    Within {
        /// Ours.
        prefix: Prefix,
        /// The other's.
        other: Prefix,
    },
    /// A newer version of the program has written what lies under the prefix.
    #[error("prefix {prefix} has {newer}; use a newer version of it")]
    FormatTooNew {
        /// Ours.
        prefix: Prefix,
        /// What is newer.
        newer: NewerFormat,
    },
    /// Nobody can look: an operator or a restore has locked the database.
    #[error("the database is locked ({})", StoreError::DATABASE_LOCKED)]
    Locked,
}

/// Refuses a prefix that is not a deployment's own. `root` is the whole cluster's key space,
/// without any prefix. Changes nothing.
///
/// # Errors
/// [`RunError::Refused`] with the collision; else what the store failed with.
pub async fn check_prefix(
    root: &Database,
    prefix: &Prefix,
    kind: TransactionKind,
) -> Result<(), RunError<PrefixError>> {
    let checked = root.run(kind, |tx, _| {
        let prefix = prefix.clone();
        async move { check(&tx, prefix).await.map_err(locked) }
    });
    checked.await.map(drop)
}

/// A lock is no failure that a next try heals: whoever starts a server is told of it at once.
fn locked(error: Abort<PrefixError>) -> Abort<PrefixError> {
    match error {
        Abort::Store(error) if error.code == StoreError::DATABASE_LOCKED => Abort::Refuse(PrefixError::Locked),
        other => other,
    }
}

async fn check(tx: &Transaction, prefix: Prefix) -> Result<(), Abort<PrefixError>> {
    let others: Vec<Prefix> = prefix.enclosing().collect();
    let records = others.iter().map(|other| other.key(&keyspace::cluster())).collect();
    for (other, record) in others.into_iter().zip(tx.get_many(records).await?) {
        if record.is_some_and(|record| Cluster::read(&record).is_ok()) {
            return Err(Abort::Refuse(PrefixError::Within { prefix, other }));
        }
    }
    let record = tx.get(prefix.key(&keyspace::cluster())).await?;
    let is_ours = match record.as_ref().map(Cluster::read) {
        None | Some(Err(_)) => false,
        Some(Ok(Ok(_))) => true,
        // What else a newer version keeps there, it alone knows.
        Some(Ok(Err(newer))) => return Err(Abort::Refuse(PrefixError::FormatTooNew { prefix, newer })),
    };
    let (first, beyond) = keyspace::bounds();
    // Where we keep nothing, nobody else may keep anything; where we keep everything, neither,
    // unless it is us.
    let gaps = match is_ours {
        true => vec![(Bytes::new(), first), (beyond, END)],
        false => vec![(Bytes::new(), END)],
    };
    for (begin, end) in gaps {
        if let Some(key) = first_key(tx, prefix.key(&begin), prefix.key(&end)).await? {
            return Err(Abort::Refuse(PrefixError::Foreign { prefix, key }));
        }
    }
    Ok(())
}

const END: Bytes = Bytes::from_static(b"\xff");

async fn first_key(tx: &Transaction, begin: Bytes, end: Bytes) -> Result<Option<Bytes>, StoreError> {
    let page = tx.get_range_snapshot(RangeOptions::new(begin, end).limit(1)).await?;
    Ok(page.rows.into_iter().next().map(|(key, _)| key))
}

//! Records of the cluster itself: its shape, its members, who owns which shard.

use std::time::Duration;

use bytes::Bytes;
use escapement_engine::{Epoch, SessionId, Timestamp};
use escapement_proto::records::{ClusterRecord, MemberRecord, ShardLeaseRecord};

use super::{FORMAT, FORMAT_END, KEYSPACE_FORMAT, Record, RecordError, millis, read_session};

/// The shape of a cluster, fixed when it is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cluster {
    /// Format of the keyspace.
    pub format_version: u32,
    /// Number of shards; at least 1.
    pub shards: u32,
}

/// A newer version of the program has written a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} format {found}; this program reads up to {supported}")]
pub struct NewerFormat {
    /// Of what: "keyspace" or "record".
    pub what: &'static str,
    /// The format found.
    pub found: u32,
    /// The newest that this program reads.
    pub supported: u32,
}

impl Cluster {
    /// Reads the stored bytes; the inner error tells what of them is newer than this program.
    ///
    /// # Errors
    /// As [`Record::decode`].
    pub fn read(bytes: &Bytes) -> Result<Result<Self, NewerFormat>, RecordError> {
        let newer = |what, found, supported| Ok(Err(NewerFormat { what, found, supported }));
        match bytes.first() {
            Some(format) if (FORMAT + 1..FORMAT_END).contains(format) => {
                newer("record", (*format).into(), FORMAT.into())
            }
            _ => match Self::decode(bytes)? {
                cluster if cluster.format_version > KEYSPACE_FORMAT => {
                    newer("keyspace", cluster.format_version, KEYSPACE_FORMAT)
                }
                cluster => Ok(Ok(cluster)),
            },
        }
    }
}

impl Record for Cluster {
    const NAME: &'static str = "cluster";
    type Message = ClusterRecord;

    fn to_message(&self) -> ClusterRecord {
        ClusterRecord { format_version: self.format_version, shards: self.shards }
    }

    fn from_message(message: ClusterRecord) -> Result<Self, RecordError> {
        if message.shards == 0 || message.format_version == 0 {
            return Err(RecordError::new(Self::NAME, "no shards or no format version"));
        }
        Ok(Self { format_version: message.format_version, shards: message.shards })
    }
}

/// A scheduler process that is alive as far as its beats tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Grows with each renewal.
    pub beat: u64,
    /// Length of its lease. Observers count it on their own monotonic clock.
    pub lease: Duration,
    /// Where it serves, for people and later for forwarding.
    pub address: String,
    /// By its own clock; for people.
    pub started: Timestamp,
}

impl Record for Member {
    const NAME: &'static str = "member";
    type Message = MemberRecord;

    fn to_message(&self) -> MemberRecord {
        MemberRecord {
            beat: self.beat,
            lease_ms: millis(self.lease),
            address: self.address.clone(),
            started_ms: self.started.unix_ms(),
        }
    }

    fn from_message(message: MemberRecord) -> Result<Self, RecordError> {
        if message.lease_ms == 0 {
            return Err(RecordError::new(Self::NAME, "a lease of no length"));
        }
        Ok(Self {
            beat: message.beat,
            lease: Duration::from_millis(message.lease_ms),
            address: message.address,
            started: Timestamp::from_unix_ms(message.started_ms),
        })
    }
}

/// Who owns a shard. Every transaction of the owner reads it, so that a take-over conflicts
/// with whatever the old owner has in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShardLease {
    /// `None`: nobody.
    pub owner: Option<SessionId>,
    /// Counts the owners.
    pub epoch: Epoch,
}

impl Record for ShardLease {
    const NAME: &'static str = "shard lease";
    type Message = ShardLeaseRecord;

    fn to_message(&self) -> ShardLeaseRecord {
        let owner = self.owner.map_or_else(Bytes::new, |owner| Bytes::copy_from_slice(owner.as_bytes()));
        ShardLeaseRecord { owner, epoch: self.epoch.0 }
    }

    fn from_message(message: ShardLeaseRecord) -> Result<Self, RecordError> {
        let owner = match message.owner.is_empty() {
            true => None,
            false => Some(read_session(Self::NAME, &message.owner)?),
        };
        Ok(Self { owner, epoch: Epoch(message.epoch) })
    }
}

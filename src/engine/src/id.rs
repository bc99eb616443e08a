//! Identifiers. Each kind is a type of its own, so that none can stand in for another.

use std::{fmt, str::FromStr};

use uuid::Uuid;

use crate::Timestamp;

/// The text is no UUID.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{value}` is not a UUID such as 0192f0c1-2b3a-7c4d-8e5f-60718293a4b5")]
pub struct InvalidId {
    /// What was given, cut to 64 characters.
    pub value: String,
}

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Uuid);

        impl $name {
            /// Takes a UUID as it is.
            pub const fn from_uuid(uuid: Uuid) -> Self {
                Self(uuid)
            }

            /// The 16 bytes, big-endian: their order is the order of the ids.
            pub const fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(Uuid::from_bytes(bytes))
            }

            /// `None` unless there are 16 bytes.
            pub fn from_slice(bytes: &[u8]) -> Option<Self> {
                Uuid::from_slice(bytes).ok().map(Self)
            }

            /// A version 7 UUID (RFC 9562, section 5.7) of this instant and 74 of these random bits.
            pub fn from_parts(at: Timestamp, random: u128) -> Self {
                Self(uuid_v7(at, random))
            }

            /// The 16 bytes, big-endian.
            pub const fn as_bytes(&self) -> &[u8; 16] {
                self.0.as_bytes()
            }

            /// The id as a UUID.
            pub const fn uuid(&self) -> Uuid {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.as_hyphenated().fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), self.0.as_hyphenated())
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                // Only the hyphenated form: one id has one text.
                match (text.len(), Uuid::try_parse(text)) {
                    (36, Ok(uuid)) => Ok(Self(uuid)),
                    _ => Err(InvalidId { value: text.chars().take(64).collect() }),
                }
            }
        }
    };
}

uuid_id! {
    /// Names one task. The first 48 bits are milliseconds of Unix time, so that the order
    /// of ids is the order of time; the low 64 bits decide the shard.
    TaskId
}
uuid_id! {
    /// One incarnation of a worker or scheduler process. Never a host name.
    SessionId
}
uuid_id! {
    /// Names one schedule from its creation to its deletion.
    ScheduleUid
}

const VERSION_7: u128 = 0x7 << 76;
const VARIANT: u128 = 0b10 << 62;

fn uuid_v7(at: Timestamp, random: u128) -> Uuid {
    let unix_ms = u128::from(at.unix_ms().max(0).unsigned_abs()) & 0xffff_ffff_ffff;
    let rand_a = (random >> 62) & 0xfff;
    let rand_b = random & ((1 << 62) - 1);
    Uuid::from_u128(unix_ms << 80 | VERSION_7 | rand_a << 64 | VARIANT | rand_b)
}

impl TaskId {
    /// The id of a schedule's occurrence: always the same for the same schedule and nominal
    /// instant, so that making it twice makes it once. It keeps the low 64 bits of the
    /// schedule's uid, so a schedule and its occurrences live in one shard.
    pub fn of_occurrence(schedule: ScheduleUid, nominal: Timestamp) -> Self {
        let uid = schedule.uuid().as_u128();
        // The 12 bits beside the version come from the schedule's own time bits.
        let rand_a = (uid >> 80) & 0xfff;
        let low = uid & u128::from(u64::MAX);
        let unix_ms = u128::from(nominal.unix_ms().max(0).unsigned_abs()) & 0xffff_ffff_ffff;
        Self(Uuid::from_u128(unix_ms << 80 | VERSION_7 | rand_a << 64 | low))
    }

    /// The shard of this task in a cluster of `shards` shards.
    pub fn shard(&self, shards: u32) -> ShardId {
        shard_of(self.uuid(), shards)
    }
}

impl ScheduleUid {
    /// The shard of this schedule and all its occurrences.
    pub fn shard(&self, shards: u32) -> ShardId {
        shard_of(self.uuid(), shards)
    }
}

fn shard_of(id: Uuid, shards: u32) -> ShardId {
    assert!(shards > 0, "a cluster has at least one shard");
    let (_, low) = id.as_u64_pair();
    let bucket = mix(low) % u64::from(shards);
    #[expect(clippy::cast_possible_truncation, reason = "less than `shards`, a u32")]
    ShardId(bucket as u32)
}

/// The 64-bit finalizer of MurmurHash3 (Appleby, public domain): every input bit reaches
/// every output bit, so ids that callers made badly still spread.
const fn mix(mut x: u64) -> u64 {
    x ^= x >> 33;
    x = x.wrapping_mul(0xff51_afd7_ed55_8ccd);
    x ^= x >> 33;
    x = x.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    x ^ (x >> 33)
}

/// Number of a shard, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShardId(pub u32);

impl fmt::Display for ShardId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Fencing token of an attempt: strictly increasing within one task. 0 stands for "none yet".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(pub u64);

impl Token {
    /// The token of the next attempt.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Counts the owners that a shard has had; only grows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(pub u64);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_order_of_task_ids_is_time_order() {
        let early = TaskId::from_parts(Timestamp::from_unix_ms(1_000), u128::MAX);
        let late = TaskId::from_parts(Timestamp::from_unix_ms(1_001), 0);
        assert!(early < late);
        assert!(early.to_string() < late.to_string());
        assert_eq!(early.uuid().get_version_num(), 7);
    }

    #[test]
    fn occurrences_live_in_the_shard_of_their_schedule() {
        let uid = ScheduleUid::from_parts(Timestamp::from_unix_ms(1_700_000_000_000), 0x1234_5678_9abc_def0_1122_3344);
        for ms in [0, 1, 1_800_000_000_000] {
            let id = TaskId::of_occurrence(uid, Timestamp::from_unix_ms(ms));
            assert_eq!(id.shard(32), uid.shard(32));
            assert_eq!(id, TaskId::of_occurrence(uid, Timestamp::from_unix_ms(ms)));
            assert_eq!(id.uuid().get_version_num(), 7);
        }
    }

    #[test]
    fn shards_are_filled_evenly() {
        let mut counts = [0u32; 32];
        for n in 0..32_000u128 {
            counts[TaskId::from_parts(Timestamp::from_unix_ms(5), n).shard(32).0 as usize] += 1;
        }
        assert!(counts.iter().all(|&n| (850..1150).contains(&n)), "{counts:?}");
    }

    #[test]
    fn only_the_hyphenated_form_is_an_id() {
        let id = TaskId::from_parts(Timestamp::from_unix_ms(5), 77);
        assert_eq!(id.to_string().parse(), Ok(id));
        assert!(id.uuid().as_simple().to_string().parse::<TaskId>().is_err());
        assert!("task-1".parse::<TaskId>().is_err());
    }
}

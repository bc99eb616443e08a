//! What is written: transaction `number` of lane `lane` is a function of the seed, so that the
//! parent knows it without being told, and a model of what a lane's transactions leave behind.
//!
//! Each transaction writes its number into several keys far apart, in values that are made of
//! seed, number and key: a row of another transaction, or of half a one, shows.

use std::collections::BTreeMap;

use bytes::{BufMut as _, Bytes, BytesMut};
use escapement::{
    rng::Rng,
    store::limits::{KEY_BYTES_MAX, VALUE_BYTES_MAX},
};

/// Lanes write concurrently, each one transaction after the other.
pub(crate) const LANES: usize = 24;
/// Rows of a lane, spread over this many places of the key space.
const SLOTS: u32 = 96;
const PLACES: u32 = 8;

/// One operation of a transaction.
#[derive(Clone, Debug)]
pub(crate) enum Op {
    Set(Bytes, Bytes),
    Clear(Bytes),
    ClearRange(Bytes, Bytes),
    Add(Bytes, u64),
    /// A key that ends in the commit's versionstamp.
    Stamp(Bytes, Bytes),
}

/// The number of transactions committed, over all lanes.
pub(crate) fn total_key() -> Bytes {
    Bytes::from_static(b"t/total")
}

/// Number of the lane's last transaction.
pub(crate) fn head_key(lane: usize) -> Bytes {
    format!("h/{lane:02}").into()
}

/// The lane's transactions since its last clear, by versionstamp.
pub(crate) fn log_prefix(lane: usize) -> Bytes {
    format!("v/{lane:02}/").into()
}

fn sum_key(lane: usize) -> Bytes {
    format!("a/{lane:02}").into()
}

fn slot_key(lane: usize, slot: u32) -> Bytes {
    format!("s/{}/{lane:02}/{slot:02}", slot % PLACES).into()
}

fn long_key(lane: usize) -> Bytes {
    let mut key = BytesMut::from(format!("k/{lane:02}/").as_bytes());
    key.resize(KEY_BYTES_MAX, b'k');
    key.freeze()
}

/// All keys with this prefix: begin and end.
fn within(prefix: &str) -> (Bytes, Bytes) {
    (prefix.to_owned().into(), format!("{prefix}~").into())
}

/// The number, then bytes that only this seed, number and key have.
fn value(seed: u64, number: u64, key: &[u8], len: usize) -> Bytes {
    let mut state = key
        .iter()
        .fold(seed ^ number.rotate_left(32), |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3))
        | 1;
    let mut out = BytesMut::with_capacity(len + 8);
    out.put_u64(number);
    while out.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        out.put_u64(state);
    }
    out.truncate(len.max(8));
    out.freeze()
}

/// Whether the transaction is about as large as one may be.
fn is_huge(rng: &Rng) -> bool {
    rng.u32().is_multiple_of(1500)
}

fn chance(seed: u64, lane: usize, number: u64) -> Rng {
    let mixed =
        seed ^ (lane as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ number.wrapping_mul(0xbf58_476d_1ce4_e5b9);
    Rng::from_seed(mixed)
}

/// Transaction `number` (from 1) of the lane.
pub(crate) fn transaction(seed: u64, lane: usize, number: u64) -> Vec<Op> {
    let rng = chance(seed, lane, number);
    let set = |key: Bytes, len: usize| Op::Set(key.clone(), value(seed, number, &key, len));
    let mut ops = vec![set(head_key(lane), 40), Op::Add(sum_key(lane), number), Op::Add(total_key(), 1)];
    let huge = is_huge(&rng);
    if number > 1 && is_huge(&chance(seed, lane, number - 1)) {
        // What a huge one left behind is not dragged along.
        for place in 0..PLACES {
            let (begin, end) = within(&format!("s/{place}/{lane:02}/"));
            ops.push(Op::ClearRange(begin, end));
        }
    }
    if huge {
        ops.extend((0..SLOTS).map(|slot| set(slot_key(lane, slot), VALUE_BYTES_MAX)));
    } else {
        for _ in 0..1 + rng.u32() % 8 {
            let len = match rng.u32() % 64 {
                0 => VALUE_BYTES_MAX,
                1..4 => 4096,
                _ => (rng.u32() % 64) as usize,
            };
            ops.push(set(slot_key(lane, rng.u32() % SLOTS), len));
        }
    }
    match rng.u32() % 16 {
        0..4 => ops.push(Op::Clear(slot_key(lane, rng.u32() % SLOTS))),
        4..6 => {
            let (begin, end) = within(&format!("s/{}/{lane:02}/{}", rng.u32() % PLACES, rng.u32() % 10));
            ops.push(Op::ClearRange(begin, end));
        }
        6 => ops.push(set(long_key(lane), 100)),
        7 => ops.push(Op::Clear(long_key(lane))),
        8 => {
            let (begin, end) = within(&format!("v/{lane:02}/"));
            // Stamps are any bytes.
            ops.push(Op::ClearRange(begin, [&end[..end.len() - 2], b"0"].concat().into()));
        }
        _ => {}
    }
    ops.push(Op::Stamp(log_prefix(lane), value(seed, number, b"log", 24)));
    ops
}

/// What a lane's transactions leave behind.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lane {
    pub(crate) number: u64,
    pub(crate) rows: BTreeMap<Bytes, Bytes>,
    /// Values of the versionstamped keys, in order.
    pub(crate) log: Vec<Bytes>,
}

impl Lane {
    /// Applies transactions up to `number`. The total is not the lane's own.
    pub(crate) fn advance(&mut self, seed: u64, lane: usize, number: u64) {
        while self.number < number {
            self.number += 1;
            for op in transaction(seed, lane, self.number) {
                self.apply(op, lane);
            }
        }
    }

    fn apply(&mut self, op: Op, lane: usize) {
        match op {
            Op::Set(key, value) => drop(self.rows.insert(key, value)),
            Op::Clear(key) => drop(self.rows.remove(&key)),
            Op::ClearRange(begin, end) => {
                self.rows.retain(|key, _| *key < begin || *key >= end);
                if begin == log_prefix(lane) {
                    self.log.clear();
                }
            }
            Op::Add(key, _) if key == total_key() => {}
            Op::Add(key, operand) => {
                let before = self.rows.get(&key).map_or(0, |value| u64::from_le_bytes((**value).try_into().unwrap()));
                self.rows.insert(key, before.wrapping_add(operand).to_le_bytes().to_vec().into());
            }
            Op::Stamp(_, value) => self.log.push(value),
        }
    }
}

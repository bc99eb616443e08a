//! Atomic operations as a pure function of the present value and the operand.
//!
//! The client-side transaction computes them on reads of its own writes, the engines at
//! commit: both through [`apply`], so that they cannot differ. Results are those of
//! FoundationDB at API version 510 and later (`fdbclient/Atomic.h`, release 7.3): numbers are
//! little-endian and as long as the operand; the present value is cut or padded to fit.

use bytes::Bytes;

use super::limits::VALUE_BYTES_MAX;
use crate::store::MutationKind;

/// The value after the operation; `None`: the key is cleared.
///
/// Versionstamped kinds store their operand as it is: whoever commits replaces the
/// placeholder first (see [`super::versionstamp`]).
pub fn apply(kind: MutationKind, current: Option<&[u8]>, operand: &[u8]) -> Option<Bytes> {
    let existing = current.unwrap_or_default();
    let result = match kind {
        MutationKind::Add => add(existing, operand),
        MutationKind::And if current.is_none() => Bytes::copy_from_slice(operand),
        MutationKind::And => {
            let masked = operand.iter().enumerate().map(|(at, byte)| byte & existing.get(at).unwrap_or(&0));
            masked.collect()
        }
        MutationKind::Or => bitwise(existing, operand, |old, new| old | new),
        MutationKind::Xor => bitwise(existing, operand, |old, new| old ^ new),
        MutationKind::AppendIfFits => append(current, operand),
        MutationKind::Max => pick_number(existing, operand, |old_is_larger| old_is_larger),
        MutationKind::Min if current.is_none() => Bytes::copy_from_slice(operand),
        MutationKind::Min => pick_number(existing, operand, |old_is_larger| !old_is_larger),
        MutationKind::ByteMax => Bytes::copy_from_slice(current.map_or(operand, |old| old.max(operand))),
        MutationKind::ByteMin => Bytes::copy_from_slice(current.map_or(operand, |old| old.min(operand))),
        MutationKind::CompareAndClear => {
            return current.filter(|old| *old != operand).map(Bytes::copy_from_slice);
        }
        MutationKind::SetVersionstampedKey | MutationKind::SetVersionstampedValue => Bytes::copy_from_slice(operand),
    };
    Some(result)
}

/// Joins two operations of the same kind on the same key into one, where the result on every
/// present value is the same. Only operands of one length: a shorter one cuts the value.
pub(super) fn join(kind: MutationKind, first: &[u8], second: &[u8]) -> Option<Bytes> {
    let joins = match kind {
        MutationKind::ByteMax | MutationKind::ByteMin => true,
        MutationKind::Add
        | MutationKind::And
        | MutationKind::Or
        | MutationKind::Xor
        | MutationKind::Max
        | MutationKind::Min => first.len() == second.len() && !first.is_empty(),
        MutationKind::AppendIfFits
        | MutationKind::CompareAndClear
        | MutationKind::SetVersionstampedKey
        | MutationKind::SetVersionstampedValue => false,
    };
    if joins { apply(kind, Some(first), second) } else { None }
}

fn add(existing: &[u8], operand: &[u8]) -> Bytes {
    let mut carry = 0;
    let sum = operand.iter().enumerate().map(|(at, byte)| {
        let sum = u16::from(*byte) + u16::from(*existing.get(at).unwrap_or(&0)) + carry;
        carry = sum >> 8;
        sum.to_le_bytes()[0]
    });
    sum.collect()
}

fn bitwise(existing: &[u8], operand: &[u8], join: impl Fn(u8, u8) -> u8) -> Bytes {
    operand.iter().enumerate().map(|(at, byte)| join(*existing.get(at).unwrap_or(&0), *byte)).collect()
}

fn append(current: Option<&[u8]>, operand: &[u8]) -> Bytes {
    let existing = current.unwrap_or_default();
    if existing.len() + operand.len() > VALUE_BYTES_MAX && !existing.is_empty() {
        return Bytes::copy_from_slice(existing);
    }
    [existing, operand].concat().into()
}

/// One of two little-endian numbers, as long as the operand. Equal ones are the operand.
fn pick_number(existing: &[u8], operand: &[u8], takes_old: impl Fn(bool) -> bool) -> Bytes {
    let mut old = existing[..existing.len().min(operand.len())].to_vec();
    old.resize(operand.len(), 0);
    match old.iter().rev().cmp(operand.iter().rev()) {
        std::cmp::Ordering::Equal => old.into(),
        order if takes_old(order.is_gt()) => old.into(),
        _ => Bytes::copy_from_slice(operand),
    }
}

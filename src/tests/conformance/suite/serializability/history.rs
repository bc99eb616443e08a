//! What the clients note.

use std::collections::BTreeMap;

use bytes::Bytes;
use escapement::store::{MutationKind, Version, Versionstamp};

/// Keys without their prefix, and values.
pub(super) type State = BTreeMap<Bytes, Bytes>;

/// How something is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reading {
    Normal,
    /// Without conflict: it may be out of date by the commit.
    Snapshot,
    /// As a snapshot, with a conflict range declared by hand.
    Declared,
}

/// A range read within the data.
#[derive(Clone, Debug)]
pub(super) struct Range {
    pub(super) begin: Bytes,
    pub(super) end: Bytes,
    /// 0: all.
    pub(super) limit: usize,
    pub(super) reverse: bool,
}

/// One operation of a transaction.
#[derive(Clone, Debug)]
pub(super) enum Op {
    Get(Bytes, Reading),
    GetRange(Range, Reading),
    Set(Bytes, Bytes),
    Clear(Bytes),
    ClearRange(Bytes, Bytes),
    Atomic(MutationKind, Bytes, Bytes),
    /// The key is set to the commit's stamp.
    StampedValue(Bytes),
    /// The key, followed by the commit's stamp, is set.
    StampedKey(Bytes, Bytes),
}

impl Op {
    pub(super) fn is_write(&self) -> bool {
        !matches!(self, Self::Get(..) | Self::GetRange(..))
    }

    /// What depends on the stamp cannot be read in the same transaction: it comes last.
    pub(super) fn is_stamped(&self) -> bool {
        matches!(self, Self::StampedValue(_) | Self::StampedKey(..))
    }
}

/// An operation, and the rows that it gave if it read.
#[derive(Clone, Debug)]
pub(super) struct Step {
    pub(super) op: Op,
    pub(super) seen: Option<Vec<(Bytes, Bytes)>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Committed(Versionstamp),
    ReadOnly,
    /// Certainly not committed.
    Failed(i32),
    /// The commit failed so that nobody knows.
    Unknown(i32),
}

/// One try of a transaction.
#[derive(Clone, Debug)]
pub(super) struct Record {
    /// Client and number of the try: unique, and the name of its marker.
    pub(super) name: String,
    /// Newest commit that anybody had been told of before this one began.
    pub(super) acknowledged: Version,
    /// `None` if it read nothing.
    pub(super) read_version: Option<Version>,
    pub(super) steps: Vec<Step>,
    pub(super) outcome: Outcome,
}

/// All that is there when nothing runs any more.
#[derive(Debug, Default)]
pub(super) struct End {
    pub(super) data: State,
    /// Stamps by the names of the records that left them.
    pub(super) markers: BTreeMap<String, Vec<u8>>,
}

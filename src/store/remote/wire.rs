//! Between the engine's types and the messages of `escapement.store.v1`. Nothing is copied:
//! keys and values are shared with the message that they came in.
//!
//! Decoding refuses what no engine would say, by name; the numbers of `proto` stand for
//! themselves, so a change of an enum's order in our code cannot change the wire.

use bytes::Bytes;
use escapement_proto::store::{self as proto, mutation::Kind, request, response};

use crate::store::{
    MutationKind, RangePage, StoreError, Version,
    engine::{CommitReceipt, CommitRequest, KeyRange, Mutation, RangeRead, ReadVersionRequest},
};

/// What a message says makes no sense.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field} is {value}, but must be {limit}")]
pub(crate) struct WireError {
    /// Its path in the message.
    pub(crate) field: &'static str,
    /// What was said.
    pub(crate) value: String,
    /// What is allowed.
    pub(crate) limit: &'static str,
}

impl WireError {
    pub(crate) fn new(field: &'static str, value: impl ToString, limit: &'static str) -> Self {
        Self { field, value: value.to_string(), limit }
    }
}

impl From<WireError> for StoreError {
    fn from(error: WireError) -> Self {
        Self::with(Self::CLIENT_INVALID_OPERATION, error.to_string())
    }
}

pub(crate) fn read_version_request(request: &ReadVersionRequest) -> request::Request {
    let ReadVersionRequest { batch_priority, immediate, causal_read_risky, lock_aware, tags } = request.clone();
    request::Request::ReadVersion(proto::ReadVersion { batch_priority, immediate, causal_read_risky, lock_aware, tags })
}

pub(crate) fn read_version_from(request: proto::ReadVersion) -> ReadVersionRequest {
    let proto::ReadVersion { batch_priority, immediate, causal_read_risky, lock_aware, tags } = request;
    ReadVersionRequest { batch_priority, immediate, causal_read_risky, lock_aware, tags }
}

pub(crate) fn get_many_request(keys: Vec<Bytes>, version: Version) -> request::Request {
    request::Request::GetMany(proto::GetMany { keys, version: version.0 })
}

pub(crate) fn get_range_request(read: RangeRead, version: Version) -> request::Request {
    let RangeRead { begin, end, limit, target_bytes, reverse } = read;
    let (limit, target_bytes) = (limit as u64, target_bytes as u64);
    request::Request::GetRange(proto::GetRange { begin, end, limit, target_bytes, reverse, version: version.0 })
}

/// Limits beyond this platform's numbers are none.
pub(crate) fn get_range_from(request: proto::GetRange) -> (RangeRead, Version) {
    let proto::GetRange { begin, end, limit, target_bytes, reverse, version } = request;
    let count = |number: u64| usize::try_from(number).unwrap_or(0);
    let read = RangeRead { begin, end, limit: count(limit), target_bytes: count(target_bytes), reverse };
    (read, Version(version))
}

pub(crate) fn watch_request(key: Bytes, value: Option<Bytes>, version: Version) -> request::Request {
    request::Request::Watch(proto::Watch { key, value, version: version.0 })
}

pub(crate) fn commit_request(request: CommitRequest) -> request::Request {
    let CommitRequest { read_version, read_conflicts, write_conflicts, mutations, lock_aware } = request;
    let ranges = |ranges: Vec<KeyRange>| {
        ranges.into_iter().map(|KeyRange { begin, end }| proto::KeyRange { begin, end }).collect()
    };
    request::Request::Commit(proto::Commit {
        read_version: read_version.map(|version| version.0),
        read_conflicts: ranges(read_conflicts),
        write_conflicts: ranges(write_conflicts),
        mutations: mutations.into_iter().map(mutation_to).collect(),
        lock_aware,
    })
}

pub(crate) fn commit_from(request: proto::Commit) -> Result<CommitRequest, WireError> {
    let proto::Commit { read_version, read_conflicts, write_conflicts, mutations, lock_aware } = request;
    let ranges = |ranges: Vec<proto::KeyRange>| {
        ranges.into_iter().map(|proto::KeyRange { begin, end }| KeyRange { begin, end }).collect()
    };
    Ok(CommitRequest {
        read_version: read_version.map(Version),
        read_conflicts: ranges(read_conflicts),
        write_conflicts: ranges(write_conflicts),
        mutations: mutations.into_iter().map(mutation_from).collect::<Result<_, _>>()?,
        lock_aware,
    })
}

fn mutation_to(mutation: Mutation) -> proto::Mutation {
    let (kind, key, value) = match mutation {
        Mutation::Set(key, value) => (Kind::Set, key, value),
        Mutation::Clear(key) => (Kind::Clear, key, Bytes::new()),
        Mutation::ClearRange(begin, end) => (Kind::ClearRange, begin, end),
        Mutation::Atomic(kind, key, operand) => {
            let kind = match kind {
                MutationKind::Add => Kind::Add,
                MutationKind::And => Kind::And,
                MutationKind::Or => Kind::Or,
                MutationKind::Xor => Kind::Xor,
                MutationKind::AppendIfFits => Kind::AppendIfFits,
                MutationKind::Max => Kind::Max,
                MutationKind::Min => Kind::Min,
                MutationKind::ByteMax => Kind::ByteMax,
                MutationKind::ByteMin => Kind::ByteMin,
                MutationKind::CompareAndClear => Kind::CompareAndClear,
                MutationKind::SetVersionstampedKey => Kind::SetVersionstampedKey,
                MutationKind::SetVersionstampedValue => Kind::SetVersionstampedValue,
            };
            (kind, key, operand)
        }
    };
    proto::Mutation { kind: kind.into(), key, value }
}

fn mutation_from(mutation: proto::Mutation) -> Result<Mutation, WireError> {
    let proto::Mutation { kind, key, value } = mutation;
    let unknown = || WireError::new("commit.mutations.kind", kind, "a kind that this version knows");
    let atomic = match Kind::try_from(kind).map_err(|_| unknown())? {
        Kind::Unspecified => return Err(unknown()),
        Kind::Set => return Ok(Mutation::Set(key, value)),
        Kind::Clear => return Ok(Mutation::Clear(key)),
        Kind::ClearRange => return Ok(Mutation::ClearRange(key, value)),
        Kind::Add => MutationKind::Add,
        Kind::And => MutationKind::And,
        Kind::Or => MutationKind::Or,
        Kind::Xor => MutationKind::Xor,
        Kind::AppendIfFits => MutationKind::AppendIfFits,
        Kind::Max => MutationKind::Max,
        Kind::Min => MutationKind::Min,
        Kind::ByteMax => MutationKind::ByteMax,
        Kind::ByteMin => MutationKind::ByteMin,
        Kind::CompareAndClear => MutationKind::CompareAndClear,
        Kind::SetVersionstampedKey => MutationKind::SetVersionstampedKey,
        Kind::SetVersionstampedValue => MutationKind::SetVersionstampedValue,
    };
    Ok(Mutation::Atomic(atomic, key, value))
}

pub(crate) fn error_result(error: StoreError) -> response::Result {
    response::Result::Error(proto::Error { code: error.code, context: error.context.into_owned() })
}

pub(crate) fn read_version_result(version: Version) -> response::Result {
    response::Result::ReadVersion(proto::ReadVersionResult { version: version.0 })
}

pub(crate) fn values_result(values: Vec<Option<Bytes>>) -> response::Result {
    let values = values.into_iter().map(|value| proto::Value { value }).collect();
    response::Result::GetMany(proto::GetManyResult { values })
}

pub(crate) fn page_result(page: RangePage) -> response::Result {
    let rows = page.rows.into_iter().map(|(key, value)| proto::Row { key, value }).collect();
    response::Result::GetRange(proto::GetRangeResult { rows, more: page.more })
}

pub(crate) fn receipt_result(receipt: CommitReceipt) -> response::Result {
    let CommitReceipt { version, batch_index } = receipt;
    response::Result::Commit(proto::CommitResult { version: version.0, batch_index: batch_index.into() })
}

pub(crate) fn read_version_of(result: response::Result) -> Result<Version, StoreError> {
    match result {
        response::Result::ReadVersion(result) => Ok(Version(result.version)),
        other => Err(unexpected(other)),
    }
}

pub(crate) fn values_of(result: response::Result) -> Result<Vec<Option<Bytes>>, StoreError> {
    match result {
        response::Result::GetMany(result) => Ok(result.values.into_iter().map(|value| value.value).collect()),
        other => Err(unexpected(other)),
    }
}

pub(crate) fn page_of(result: response::Result) -> Result<RangePage, StoreError> {
    match result {
        response::Result::GetRange(result) => {
            let rows = result.rows.into_iter().map(|row| (row.key, row.value)).collect();
            Ok(RangePage { rows, more: result.more })
        }
        other => Err(unexpected(other)),
    }
}

/// A receipt that cannot be read leaves open what happened, but not that it has ended.
pub(crate) fn receipt_of(result: response::Result) -> Result<CommitReceipt, StoreError> {
    let unknown = |context: String| StoreError::with(StoreError::COMMIT_UNKNOWN_RESULT, context);
    match result {
        response::Result::Commit(proto::CommitResult { version, batch_index }) => match u16::try_from(batch_index) {
            Ok(batch_index) => Ok(CommitReceipt { version: Version(version), batch_index }),
            Err(_) => Err(unknown(WireError::new("commit.batch_index", batch_index, "below 65536").to_string())),
        },
        response::Result::Error(error) => Err(error_of(error)),
        _ => Err(unknown("the store's answer is none to a commit".to_owned())),
    }
}

pub(crate) fn watch_of(result: response::Result) -> Result<(), StoreError> {
    match result {
        response::Result::Watch(proto::WatchResult {}) => Ok(()),
        other => Err(unexpected(other)),
    }
}

fn error_of(error: proto::Error) -> StoreError {
    StoreError { code: error.code, context: error.context.into() }
}

/// An error of the store, or else an answer to another kind of request.
fn unexpected(result: response::Result) -> StoreError {
    match result {
        response::Result::Error(error) => error_of(error),
        _ => StoreError::with(StoreError::OPERATION_FAILED, "the store's answer is none to this request"),
    }
}

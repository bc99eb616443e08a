//! Our names for options and operations, and the client's.

use escapement_fdb_client::foundationdb::options::{MutationType, TransactionOption as Native};

use crate::store::{MutationKind, TransactionOption, engine::ReadVersionRequest};

/// The client's numbers are of 32 bits; a limit beyond them is none that anybody meets.
pub(super) fn small(number: impl TryInto<i32>) -> i32 {
    number.try_into().unwrap_or(i32::MAX)
}

pub(super) fn option(option: TransactionOption) -> Native {
    match option {
        TransactionOption::TimeoutMs(ms) => Native::Timeout(small(ms)),
        TransactionOption::RetryLimit(limit) => Native::RetryLimit(small(limit)),
        TransactionOption::MaxRetryDelayMs(ms) => Native::MaxRetryDelay(small(ms)),
        TransactionOption::SizeLimit(bytes) => Native::SizeLimit(small(bytes)),
        TransactionOption::NextWriteNoWriteConflictRange => Native::NextWriteNoWriteConflictRange,
        TransactionOption::ReadYourWritesDisable => Native::ReadYourWritesDisable,
        TransactionOption::SnapshotRywDisable => Native::SnapshotRywDisable,
        TransactionOption::PriorityBatch => Native::PriorityBatch,
        TransactionOption::PrioritySystemImmediate => Native::PrioritySystemImmediate,
        TransactionOption::CausalReadRisky => Native::CausalReadRisky,
        TransactionOption::Tag(tag) => Native::Tag(tag),
        TransactionOption::LockAware => Native::LockAware,
    }
}

/// The options that make a request for a read version what it is.
pub(super) fn of_request(request: &ReadVersionRequest) -> Vec<TransactionOption> {
    let flags = [
        (request.batch_priority, TransactionOption::PriorityBatch),
        (request.immediate, TransactionOption::PrioritySystemImmediate),
        (request.causal_read_risky, TransactionOption::CausalReadRisky),
        (request.lock_aware, TransactionOption::LockAware),
    ];
    let flags = flags.into_iter().filter_map(|(is_set, option)| is_set.then_some(option));
    flags.chain(request.tags.iter().cloned().map(TransactionOption::Tag)).collect()
}

pub(super) fn mutation(kind: MutationKind) -> MutationType {
    match kind {
        MutationKind::Add => MutationType::Add,
        MutationKind::And => MutationType::BitAnd,
        MutationKind::Or => MutationType::BitOr,
        MutationKind::Xor => MutationType::BitXor,
        MutationKind::AppendIfFits => MutationType::AppendIfFits,
        MutationKind::Max => MutationType::Max,
        MutationKind::Min => MutationType::Min,
        MutationKind::ByteMax => MutationType::ByteMax,
        MutationKind::ByteMin => MutationType::ByteMin,
        MutationKind::CompareAndClear => MutationType::CompareAndClear,
        MutationKind::SetVersionstampedKey => MutationType::SetVersionstampedKey,
        MutationKind::SetVersionstampedValue => MutationType::SetVersionstampedValue,
    }
}

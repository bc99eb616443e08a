//! Errors of the parts below, as the API tells them.

use std::time::Duration;

use crate::{
    error::{ApiError, Reason},
    store::{RetryClass, StoreError},
};

/// How long a client waits before it tries again a store that did not answer.
const STORE_RETRY_AFTER: Duration = Duration::from_secs(1);

impl From<StoreError> for ApiError {
    /// By code and class, never by text. The retry loop has given up before an error comes here.
    fn from(error: StoreError) -> Self {
        let message = format!("store: {error}");
        let reason = match (error.code, error.class()) {
            // They may still be committed later (see `RetryClass::Fatal`).
            (
                StoreError::TRANSACTION_CANCELLED | StoreError::TRANSACTION_TIMED_OUT | StoreError::OPERATION_CANCELLED,
                _,
            )
            | (_, RetryClass::MaybeCommitted) => Reason::OutcomeUnknown,
            (StoreError::OPERATION_FAILED | StoreError::TIMED_OUT, _) | (_, RetryClass::Retry) => {
                return Self::new(Reason::StoreUnavailable, message).with_retry_after(STORE_RETRY_AFTER);
            }
            (StoreError::STORAGE_FULL, _) => Reason::StorageFull,
            (_, RetryClass::Fatal) => Reason::Internal,
        };
        Self::new(reason, message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_have_been_committed_is_never_told_as_failed() {
        let check = |code, reason, wait: bool| {
            let error = ApiError::from(StoreError::new(code));
            assert_eq!((error.reason, error.retry_after.is_some()), (reason, wait), "{code}");
        };
        check(StoreError::NOT_COMMITTED, Reason::StoreUnavailable, true);
        check(StoreError::TIMED_OUT, Reason::StoreUnavailable, true);
        check(StoreError::COMMIT_UNKNOWN_RESULT, Reason::OutcomeUnknown, false);
        check(StoreError::CLUSTER_VERSION_CHANGED, Reason::OutcomeUnknown, false);
        check(StoreError::TRANSACTION_TIMED_OUT, Reason::OutcomeUnknown, false);
        check(StoreError::OPERATION_CANCELLED, Reason::OutcomeUnknown, false);
        check(StoreError::STORAGE_FULL, Reason::StorageFull, false);
        check(StoreError::TRANSACTION_TOO_LARGE, Reason::Internal, false);
    }
}

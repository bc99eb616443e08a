//! Store errors: FoundationDB's numbers, with what may be done about each as a type.

use std::{borrow::Cow, fmt};

/// What a caller may do about an error of a transaction.
///
/// Source: FoundationDB's `error_predicates` (fdb_c.h, release 7.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryClass {
    /// Certainly not committed: try again.
    Retry,
    /// It may have been committed; no attempt of it is in flight any more. Try again only
    /// with a marker inside the transaction that tells whether it happened.
    MaybeCommitted,
    /// Trying again cannot help, or (1025, 1031, 1101) it may still be committed later, so
    /// trying again would be wrong.
    Fatal,
}

/// An error of the store: FoundationDB's code and a text that says what was refused.
#[derive(Clone, PartialEq, Eq)]
pub struct StoreError {
    /// FoundationDB's error code.
    pub code: i32,
    /// Context beyond the code's own meaning; may be empty.
    pub context: Cow<'static, str>,
}

/// What is said of a code that is not in the list.
const UNKNOWN: &str = "unknown store error";

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $text:literal, $class:ident;)*) => {
        impl StoreError {
            $($(#[$doc])* pub const $name: i32 = $code;)*
        }

        fn describe(code: i32) -> (&'static str, RetryClass) {
            match code {
                $($code => ($text, RetryClass::$class),)*
                _ => (UNKNOWN, RetryClass::Fatal),
            }
        }
    };
}

codes! {
    /// `operation_failed`: the storage beneath failed (disk full, I/O error); see the context.
    OPERATION_FAILED = 1000, "operation failed", Fatal;
    /// Ours, not FoundationDB's: the disk beneath the embedded store is full. Nothing was committed.
    STORAGE_FULL = 9001, "the disk is full", Fatal;
    /// `timed_out`
    TIMED_OUT = 1004, "operation timed out", Fatal;
    /// `transaction_too_old`
    TRANSACTION_TOO_OLD = 1007, "transaction is too old to perform reads or be committed", Retry;
    /// `future_version`
    FUTURE_VERSION = 1009, "request for future version", Retry;
    /// `not_committed`
    NOT_COMMITTED = 1020, "transaction not committed due to conflict with another transaction", Retry;
    /// `commit_unknown_result`
    COMMIT_UNKNOWN_RESULT = 1021, "transaction may or may not have committed", MaybeCommitted;
    /// `transaction_cancelled`
    TRANSACTION_CANCELLED = 1025, "operation aborted because the transaction was cancelled", Fatal;
    /// `transaction_timed_out`
    TRANSACTION_TIMED_OUT = 1031, "operation aborted because the transaction timed out", Fatal;
    /// `too_many_watches`
    TOO_MANY_WATCHES = 1032, "too many watches currently set", Fatal;
    /// `watches_disabled`
    WATCHES_DISABLED = 1034, "watches cannot be set if read your writes is disabled", Fatal;
    /// `accessed_unreadable`
    ACCESSED_UNREADABLE = 1036, "read or wrote an unreadable key", Fatal;
    /// `process_behind`
    PROCESS_BEHIND = 1037, "storage process does not have recent mutations", Retry;
    /// `database_locked`
    DATABASE_LOCKED = 1038, "database is locked", Retry;
    /// `cluster_version_changed`
    CLUSTER_VERSION_CHANGED = 1039, "the protocol version of the cluster has changed", MaybeCommitted;
    /// `proxy_memory_limit_exceeded`
    COMMIT_PROXY_MEMORY_LIMIT = 1042, "commit proxy memory limit exceeded", Retry;
    /// `batch_transaction_throttled`
    BATCH_TRANSACTION_THROTTLED = 1051, "batch GRV request rate limit exceeded", Retry;
    /// `grv_proxy_memory_limit_exceeded`
    GRV_PROXY_MEMORY_LIMIT = 1078, "GRV proxy memory limit exceeded", Retry;
    /// `operation_cancelled`
    OPERATION_CANCELLED = 1101, "asynchronous operation cancelled", Fatal;
    /// `tag_throttled`
    TAG_THROTTLED = 1213, "transaction tag is being throttled", Retry;
    /// `proxy_tag_throttled`
    PROXY_TAG_THROTTLED = 1223, "exceeded maximum proxy tag throttling duration", Retry;
    /// `client_invalid_operation`
    CLIENT_INVALID_OPERATION = 2000, "invalid API call", Fatal;
    /// `key_outside_legal_range`
    KEY_OUTSIDE_LEGAL_RANGE = 2004, "key outside legal range", Fatal;
    /// `inverted_range`
    INVERTED_RANGE = 2005, "range begin key larger than end key", Fatal;
    /// `invalid_option_value`
    INVALID_OPTION_VALUE = 2006, "option set with an invalid value", Fatal;
    /// `used_during_commit`
    USED_DURING_COMMIT = 2017, "operation issued while a commit was outstanding", Fatal;
    /// `invalid_mutation_type`
    INVALID_MUTATION_TYPE = 2018, "unrecognized atomic mutation type", Fatal;
    /// `transaction_invalid_version`
    TRANSACTION_INVALID_VERSION = 2020, "transaction does not have a valid commit version", Fatal;
    /// `no_commit_version`
    NO_COMMIT_VERSION = 2021, "transaction is read-only and therefore does not have a commit version", Fatal;
    /// `range_limits_invalid`
    RANGE_LIMITS_INVALID = 2012, "range limits not valid", Fatal;
    /// `transaction_too_large`
    TRANSACTION_TOO_LARGE = 2101, "transaction exceeds byte limit", Fatal;
    /// `key_too_large`
    KEY_TOO_LARGE = 2102, "key length exceeds limit", Fatal;
    /// `value_too_large`
    VALUE_TOO_LARGE = 2103, "value length exceeds limit", Fatal;
    /// `too_many_tags`
    TOO_MANY_TAGS = 2109, "too many tags set on transaction", Fatal;
    /// `tag_too_long`
    TAG_TOO_LONG = 2110, "tag set on transaction is too long", Fatal;
    /// `exact_mode_without_limits`
    EXACT_MODE_WITHOUT_LIMITS = 2210, "EXACT streaming mode requires limits, but none were given", Fatal;
}

impl StoreError {
    /// An error of this code without further context.
    pub const fn new(code: i32) -> Self {
        Self { code, context: Cow::Borrowed("") }
    }

    /// An error of this code with context.
    pub fn with(code: i32, context: impl Into<Cow<'static, str>>) -> Self {
        Self { code, context: context.into() }
    }

    /// An error that FoundationDB's client gave, with its own text where the code is none of
    /// those above.
    pub fn foreign(code: i32, text: impl FnOnce() -> &'static str) -> Self {
        if describe(code).0 == UNKNOWN { Self::with(code, text()) } else { Self::new(code) }
    }

    /// What may be done about it.
    pub fn class(&self) -> RetryClass {
        describe(self.code).1
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", describe(self.code).0, self.code)?;
        if self.context.is_empty() { Ok(()) } else { write!(f, ": {}", self.context) }
    }
}

impl fmt::Debug for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for StoreError {}

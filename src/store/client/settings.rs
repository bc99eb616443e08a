//! A transaction's options.

use std::time::Duration;

use super::limits::{TAG_BYTES_MAX, TAGS_MAX, TRANSACTION_BYTES_MAX, TRANSACTION_BYTES_MAX_MIN};
use crate::store::{StoreError, TransactionOption, engine::ReadVersionRequest};

/// Longest backoff unless set (`DEFAULT_MAX_BACKOFF`).
const RETRY_DELAY_MAX: Duration = Duration::from_secs(1);

#[derive(Clone, Debug)]
pub(in crate::store) struct Settings {
    pub(in crate::store) timeout: Option<Duration>,
    /// `None`: no limit.
    pub(in crate::store) retries_max: Option<u64>,
    pub(in crate::store) retry_delay_max: Duration,
    pub(in crate::store) bytes_max: usize,
    /// Whether reads, and snapshot reads, see this transaction's own writes.
    pub(in crate::store) sees_writes: bool,
    pub(in crate::store) snapshot_sees_writes: bool,
    pub(in crate::store) next_write_conflicts: bool,
    pub(in crate::store) request: ReadVersionRequest,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            timeout: None,
            retries_max: None,
            retry_delay_max: RETRY_DELAY_MAX,
            bytes_max: TRANSACTION_BYTES_MAX,
            sees_writes: true,
            snapshot_sees_writes: true,
            next_write_conflicts: true,
            request: ReadVersionRequest::default(),
        }
    }
}

impl Settings {
    /// Whether snapshot reads see what all others see.
    #[cfg(feature = "foundationdb")]
    pub(in crate::store) fn snapshots_see_alike(&self) -> bool {
        self.snapshot_sees_writes || !self.sees_writes
    }

    /// Those that survive `on_error` (marked `persistent` in FoundationDB's `fdb.options`).
    pub(in crate::store) fn for_retry(&self) -> Self {
        let Self { timeout, retries_max, retry_delay_max, .. } = *self;
        Self { timeout, retries_max, retry_delay_max, ..Self::default() }
    }

    pub(in crate::store) fn set(&mut self, option: TransactionOption) -> Result<(), StoreError> {
        match option {
            TransactionOption::TimeoutMs(ms) => self.timeout = (ms > 0).then_some(Duration::from_millis(ms)),
            TransactionOption::RetryLimit(-1) => self.retries_max = None,
            TransactionOption::RetryLimit(limit) => {
                let limit = u64::try_from(limit).map_err(|_| refuse(format!("retry limit {limit}: -1 or more")))?;
                self.retries_max = Some(limit);
            }
            TransactionOption::MaxRetryDelayMs(ms) => self.retry_delay_max = Duration::from_millis(ms),
            TransactionOption::SizeLimit(bytes) => {
                let range = TRANSACTION_BYTES_MAX_MIN..=TRANSACTION_BYTES_MAX;
                if !range.contains(&bytes) {
                    return Err(refuse(format!("size limit {bytes}: {} to {}", range.start(), range.end())));
                }
                self.bytes_max = bytes;
            }
            TransactionOption::NextWriteNoWriteConflictRange => self.next_write_conflicts = false,
            TransactionOption::ReadYourWritesDisable => self.sees_writes = false,
            TransactionOption::SnapshotRywDisable => self.snapshot_sees_writes = false,
            TransactionOption::PriorityBatch => {
                (self.request.batch_priority, self.request.immediate) = (true, false);
            }
            TransactionOption::PrioritySystemImmediate => {
                (self.request.batch_priority, self.request.immediate) = (false, true);
            }
            TransactionOption::CausalReadRisky => self.request.causal_read_risky = true,
            TransactionOption::Tag(tag) => self.add_tag(tag)?,
            TransactionOption::LockAware => self.request.lock_aware = true,
        }
        Ok(())
    }

    fn add_tag(&mut self, tag: String) -> Result<(), StoreError> {
        if tag.len() > TAG_BYTES_MAX {
            return Err(StoreError::with(
                StoreError::TAG_TOO_LONG,
                format!("tag of {} bytes; at most {TAG_BYTES_MAX}", tag.len()),
            ));
        }
        let tags = &mut self.request.tags;
        if tags.contains(&tag) {
            return Ok(());
        }
        if tags.len() == TAGS_MAX {
            return Err(StoreError::with(StoreError::TOO_MANY_TAGS, format!("at most {TAGS_MAX} tags")));
        }
        tags.push(tag);
        Ok(())
    }
}

fn refuse(why: String) -> StoreError {
    StoreError::with(StoreError::INVALID_OPTION_VALUE, why)
}

//! The flusher: what leaves the window goes to the base, and the log lets go of it.

use std::{path::Path, sync::atomic::Ordering, time::Duration};

use super::{commit::Shared, log::LogDir};
use crate::store::StoreError;

/// How often it looks.
const PAUSE: Duration = Duration::from_millis(250);
/// Keys in one atomic batch of the base.
const FLUSH_KEYS: usize = 16_384;

/// Settings of the flusher.
#[derive(Debug)]
pub(super) struct Flusher {
    pub(super) log: LogDir,
    /// Versions that stay readable even when memory is short.
    pub(super) span_min: u64,
    /// Below this much free space the base is left alone.
    pub(super) disk_free_bytes_min: u64,
}

/// The flusher's thread.
pub(super) fn flush_loop(shared: &Shared, flusher: &Flusher) {
    while !shared.is_closing() {
        let trouble = flusher.run_once(shared).err();
        if let Some(trouble) = &trouble {
            tracing::error!(error = %trouble, "the window cannot be flushed");
        }
        {
            let mut now = shared.base_trouble.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            *now = trouble.map(|trouble| trouble.to_string());
        }
        shared.flushed();
        shared.forget_old_conflicts();
        shared.wait_for_flush(PAUSE);
    }
}

impl Flusher {
    pub(super) fn run_once(&self, shared: &Shared) -> Result<(), StoreError> {
        let free = free_bytes(&self.log.path);
        if free.is_some_and(|free| free < self.disk_free_bytes_min) {
            // An LSM tree that meets a full disk refuses everything until it is opened anew.
            let context = format!("{} bytes of disk are free, {} needed", free.unwrap_or(0), self.disk_free_bytes_min);
            return Err(StoreError::with(StoreError::OPERATION_FAILED, context));
        }
        while let Some(applied) = shared.core.flush(self.limit(shared), FLUSH_KEYS)? {
            shared.counters.flushes.fetch_add(1, Ordering::Relaxed);
            shared.flushed();
            self.drop_segments(shared, applied)?;
            if shared.is_closing() {
                return Ok(());
            }
        }
        // Also what an earlier round could not remove.
        self.drop_segments(shared, shared.core.base.applied()?)
    }

    /// Up to which version the window is flushed now.
    fn limit(&self, shared: &Shared) -> u64 {
        let by_age = shared.core.flush_limit();
        if shared.core.held_bytes() <= shared.window_bytes_max / 4 * 3 {
            return by_age;
        }
        by_age.max(shared.core.versions.readable().saturating_sub(self.span_min))
    }

    fn drop_segments(&self, shared: &Shared, applied: u64) -> Result<(), StoreError> {
        if !self.log.has_upto(applied) {
            return Ok(());
        }
        shared.core.base.persist(&*self.log.files)?;
        self.log.drop_upto(applied).map_err(|error| {
            StoreError::with(StoreError::OPERATION_FAILED, format!("cannot remove old log segments: {error}"))
        })
    }
}

fn free_bytes(path: &Path) -> Option<u64> {
    let stat = rustix::fs::statvfs(path).ok()?;
    Some(stat.f_bavail.saturating_mul(stat.f_frsize))
}

//! One life of a transaction: from its beginning, or its last reset, to what ends it early.

use std::sync::OnceLock;

use tokio::sync::{Notify, OnceCell};

use crate::store::{StoreError, Version};

/// Everything under way in one life of a transaction holds on to its epoch, so that a
/// cancel, a timeout or a reset reaches it, and what comes later cannot.
#[derive(Debug, Default)]
pub(in crate::store) struct Epoch {
    ended: OnceLock<StoreError>,
    wake: Notify,
    /// The one read version.
    pub(in crate::store) version: OnceCell<Version>,
}

impl Epoch {
    /// Ends everything under way with `error`. The first end counts.
    pub(in crate::store) fn end(&self, error: StoreError) {
        if self.ended.set(error).is_ok() {
            self.wake.notify_waiters();
        }
    }

    /// Fails once the epoch has ended.
    pub(in crate::store) fn check(&self) -> Result<(), StoreError> {
        self.ended.get().map_or(Ok(()), |error| Err(error.clone()))
    }

    /// Resolves once the epoch has ended.
    pub(in crate::store) async fn ended(&self) -> StoreError {
        loop {
            let wake = self.wake.notified();
            if let Some(error) = self.ended.get() {
                return error.clone();
            }
            wake.await;
        }
    }
}

//! A value that is set once and that many may wait for.
//!
//! Not `tokio::sync::watch`: its order of waking comes from a process-wide counter, and the
//! same seed would no longer give the same trace.

use std::sync::OnceLock;

use tokio::sync::Notify;

#[derive(Debug, Default)]
pub(super) struct Once<T> {
    value: OnceLock<T>,
    notify: Notify,
}

impl<T: Copy> Once<T> {
    pub(super) const fn new() -> Self {
        Self { value: OnceLock::new(), notify: Notify::const_new() }
    }

    /// Sets the value unless one is set, and wakes all who wait. True if it was the first.
    pub(super) fn set(&self, value: T) -> bool {
        let first = self.value.set(value).is_ok();
        if first {
            self.notify.notify_waiters();
        }
        first
    }

    pub(super) fn get(&self) -> Option<T> {
        self.value.get().copied()
    }

    /// The value, as soon as there is one.
    pub(super) async fn wait(&self) -> T {
        loop {
            let notified = self.notify.notified();
            tokio::pin!(notified);
            // Listens from here on, so that a value set after the look below still wakes.
            notified.as_mut().enable();
            if let Some(value) = self.get() {
                return value;
            }
            notified.await;
        }
    }
}

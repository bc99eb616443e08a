//! What a transaction saw before anything of it can have been committed.

use std::sync::{Arc, Mutex, PoisonError};

use crate::store::Try;

/// What the last try saw of which nothing can have been committed before. A try after an
/// unknown commit compares: what is as it was then was not committed. Clones are the same.
#[derive(Debug)]
pub(super) struct Seen<T>(Arc<Mutex<Option<T>>>);

impl<T> Clone for Seen<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T: Clone> Seen<T> {
    pub(super) fn new() -> Self {
        Self(Arc::new(Mutex::new(None)))
    }

    /// What was seen before anything can have been committed: `now`, unless this is a try after
    /// an unknown commit.
    pub(super) fn first(&self, attempt: Try, now: &T) -> T {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !attempt.maybe_committed {
            *seen = None;
        }
        seen.get_or_insert_with(|| now.clone()).clone()
    }
}

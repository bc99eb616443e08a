//! Tells those who watch a task that it may have changed. Only a hint: a watcher reads the
//! store, and looks again from time to time in case a hint was lost.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use escapement_engine::{TaskId, Timestamp, Token};
use tokio::sync::watch;

use crate::model::Payload;

/// What a running handler last reported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Progress {
    /// Of the attempt.
    pub(crate) token: Token,
    pub(crate) payload: Payload,
    pub(crate) reported: Timestamp,
}

/// The last hint about a task.
#[derive(Clone, Debug, Default)]
pub(crate) struct Hint {
    /// Grows with each change.
    pub(crate) changes: u64,
    pub(crate) progress: Option<Progress>,
}

/// Watched tasks. Holds only those that somebody watches.
#[derive(Clone, Debug, Default)]
pub(crate) struct WatchHub(Arc<Mutex<BTreeMap<TaskId, watch::Sender<Hint>>>>);

impl WatchHub {
    /// Watches a task until the subscription is dropped.
    pub(crate) fn subscribe(&self, id: TaskId) -> Subscription {
        let mut watched = self.lock();
        let sender = watched.entry(id).or_insert_with(|| watch::channel(Hint::default()).0);
        Subscription { hub: self.clone(), id, hints: sender.subscribe() }
    }

    /// The task may have changed.
    pub(crate) fn changed(&self, id: TaskId) {
        if let Some(sender) = self.lock().get(&id) {
            sender.send_modify(|hint| {
                hint.changes += 1;
                hint.progress = None;
            });
        }
    }

    /// Its handler reported progress.
    pub(crate) fn progress(&self, id: TaskId, progress: Progress) {
        if let Some(sender) = self.lock().get(&id) {
            sender.send_modify(|hint| hint.progress = Some(progress));
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<TaskId, watch::Sender<Hint>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A watch on one task.
#[derive(Debug)]
pub(crate) struct Subscription {
    hub: WatchHub,
    id: TaskId,
    pub(crate) hints: watch::Receiver<Hint>,
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let mut watched = self.hub.lock();
        // This receiver is still counted.
        if watched.get(&self.id).is_some_and(|sender| sender.receiver_count() <= 1) {
            watched.remove(&self.id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_is_forgotten_with_its_last_watcher() {
        let hub = WatchHub::default();
        let id = TaskId::from_parts(Timestamp::UNIX_EPOCH, 1);
        let (one, two) = (hub.subscribe(id), hub.subscribe(id));
        hub.changed(id);
        assert!(one.hints.has_changed().unwrap() && two.hints.has_changed().unwrap());
        drop(one);
        assert_eq!(hub.lock().len(), 1);
        drop(two);
        assert_eq!(hub.lock().len(), 0);
    }

    #[test]
    fn a_change_clears_the_progress_of_the_attempt_before() {
        let hub = WatchHub::default();
        let id = TaskId::from_parts(Timestamp::UNIX_EPOCH, 1);
        let watch = hub.subscribe(id);
        let progress = Progress { token: Token(1), payload: Payload::default(), reported: Timestamp::UNIX_EPOCH };
        hub.progress(id, progress.clone());
        assert_eq!(watch.hints.borrow().progress, Some(progress));
        hub.changed(id);
        assert_eq!(watch.hints.borrow().progress, None);
    }
}

//! Tells those who watch a task that it may have changed. Only a hint: a watcher reads the
//! store. In case a hint was lost, one poller looks at the heads and leases of all watched tasks
//! from time to time, and hints at those that have changed.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use escapement_engine::{TaskId, Timestamp, Token};
use tokio::sync::watch;

use super::{Shared, transactions};
use crate::model::Payload;

/// Watches at one time; each costs memory, and a row or two in each poll.
pub(crate) const WATCHES_MAX: usize = 10_000;

/// How often the poller looks.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// Tasks that one transaction of the poller looks at.
const POLL_BATCH: usize = 500;

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

/// There are as many watches as there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{WATCHES_MAX} watches are open, which is the limit of one server")]
pub(crate) struct TooManyWatches;

/// Watched tasks. Holds only those that somebody watches.
#[derive(Clone, Debug, Default)]
pub(crate) struct WatchHub(Arc<Mutex<Watched>>);

#[derive(Debug, Default)]
struct Watched {
    tasks: BTreeMap<TaskId, Watch>,
    watches: usize,
}

#[derive(Debug)]
struct Watch {
    hints: watch::Sender<Hint>,
    /// Of its records when the poller last looked.
    mark: Option<u64>,
}

impl WatchHub {
    /// Watches a task until the subscription is dropped.
    pub(crate) fn subscribe(&self, id: TaskId) -> Result<Subscription, TooManyWatches> {
        let mut watched = self.lock();
        if watched.watches >= WATCHES_MAX {
            return Err(TooManyWatches);
        }
        watched.watches += 1;
        let new = || Watch { hints: watch::channel(Hint::default()).0, mark: None };
        let hints = watched.tasks.entry(id).or_insert_with(new).hints.subscribe();
        Ok(Subscription { hub: self.clone(), id, hints })
    }

    /// The task may have changed.
    pub(crate) fn changed(&self, id: TaskId) {
        if let Some(watch) = self.lock().tasks.get(&id) {
            watch.hints.send_modify(|hint| {
                hint.changes += 1;
                hint.progress = None;
            });
        }
    }

    /// Its handler reported progress.
    pub(crate) fn progress(&self, id: TaskId, progress: Progress) {
        if let Some(watch) = self.lock().tasks.get(&id) {
            watch.hints.send_modify(|hint| hint.progress = Some(progress));
        }
    }

    /// Watched tasks, at most `limit` of them, after `after`.
    fn page(&self, after: Option<TaskId>, limit: usize) -> Vec<TaskId> {
        use std::ops::Bound::{Excluded, Unbounded};

        let from = after.map_or(Unbounded, Excluded);
        self.lock().tasks.range((from, Unbounded)).take(limit).map(|(id, _)| *id).collect()
    }

    /// The poller looked at the task's records. The first look counts as a change, since nobody
    /// knows what was between the watcher's own and this one.
    fn looked(&self, id: TaskId, mark: u64) {
        let mut watched = self.lock();
        let Some(watch) = watched.tasks.get_mut(&id).filter(|watch| watch.mark != Some(mark)) else { return };
        watch.mark = Some(mark);
        watch.hints.send_modify(|hint| hint.changes += 1);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Watched> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Looks at all watched tasks from time to time, until the scheduler ends.
pub(crate) async fn poll(shared: Arc<Shared>) {
    let ended = shared.ended();
    tokio::pin!(ended);
    loop {
        tokio::select! {
            biased;
            () = &mut ended => return,
            () = shared.clock.sleep(POLL_INTERVAL) => {}
        }
        let mut after = None;
        loop {
            let tasks = shared.watches.page(after, POLL_BATCH);
            let Some(last) = tasks.last() else { break };
            after = Some(*last);
            match transactions::marks(&shared.db, shared.shards, &tasks).await {
                Ok(marks) => tasks.iter().zip(marks).for_each(|(id, mark)| shared.watches.looked(*id, mark)),
                // The next poll finds what this one did not.
                Err(error) => {
                    tracing::warn!(%error, "looking at watched tasks failed");
                    break;
                }
            }
        }
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
        watched.watches -= 1;
        // This receiver is still counted.
        if watched.tasks.get(&self.id).is_some_and(|watch| watch.hints.receiver_count() <= 1) {
            watched.tasks.remove(&self.id);
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
        let (one, two) = (hub.subscribe(id).unwrap(), hub.subscribe(id).unwrap());
        hub.changed(id);
        assert!(one.hints.has_changed().unwrap() && two.hints.has_changed().unwrap());
        drop(one);
        assert_eq!(hub.lock().tasks.len(), 1);
        drop(two);
        assert_eq!(hub.lock().tasks.len(), 0);
    }

    #[test]
    fn a_change_clears_the_progress_of_the_attempt_before() {
        let hub = WatchHub::default();
        let id = TaskId::from_parts(Timestamp::UNIX_EPOCH, 1);
        let watch = hub.subscribe(id).unwrap();
        let progress = Progress { token: Token(1), payload: Payload::default(), reported: Timestamp::UNIX_EPOCH };
        hub.progress(id, progress.clone());
        assert_eq!(watch.hints.borrow().progress, Some(progress));
        hub.changed(id);
        assert_eq!(watch.hints.borrow().progress, None);
    }

    #[test]
    fn the_poller_hints_at_what_has_changed_and_at_nothing_else() {
        let hub = WatchHub::default();
        let ids: Vec<_> = (1..=5).map(|n| TaskId::from_parts(Timestamp::UNIX_EPOCH, n)).collect();
        let mut watches: Vec<_> = ids.iter().map(|id| hub.subscribe(*id).unwrap()).collect();
        let mut hinted = || -> Vec<bool> {
            let news =
                |it: &mut Subscription| it.hints.has_changed().unwrap() && it.hints.borrow_and_update().changes > 0;
            watches.iter_mut().map(news).collect()
        };
        let looked = |marks: [u64; 5]| ids.iter().zip(marks).for_each(|(id, mark)| hub.looked(*id, mark));
        looked([1, 2, 3, 4, 5]);
        assert_eq!(hinted(), [true; 5], "what was between the watcher's look and this one is not known");
        looked([1, 2, 3, 4, 5]);
        assert_eq!(hinted(), [false; 5]);
        looked([1, 2, 9, 4, 5]);
        assert_eq!(hinted(), [false, false, true, false, false]);
        // It goes through all of them, each once however many watch it.
        let twice = hub.subscribe(ids[0]).unwrap();
        assert_eq!(hub.page(None, 2), ids[..2]);
        assert_eq!(hub.page(Some(ids[1]), 10), ids[2..]);
        drop((twice, watches));
        assert_eq!(hub.page(None, 10), []);
    }

    #[test]
    fn watches_have_a_limit() {
        let hub = WatchHub::default();
        let id = |n: usize| TaskId::from_parts(Timestamp::UNIX_EPOCH, n as u128 / 2);
        let mut watches: Vec<_> = (0..WATCHES_MAX).map(|n| hub.subscribe(id(n)).unwrap()).collect();
        let refused = hub.subscribe(id(0)).unwrap_err();
        assert_eq!(refused.to_string(), "10000 watches are open, which is the limit of one server");
        watches.pop();
        assert!(hub.subscribe(id(0)).is_ok());
    }
}

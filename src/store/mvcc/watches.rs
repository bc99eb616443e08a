//! Watches: who waits for which key to change.

use std::{
    collections::BTreeMap,
    ops::Bound,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use tokio::sync::oneshot;

use crate::store::StoreError;

/// All watches of one engine.
#[derive(Debug)]
pub(crate) struct Watches {
    watches_max: usize,
    count: AtomicUsize,
    by_key: Mutex<Registry>,
}

#[derive(Debug, Default)]
struct Registry {
    next_id: u64,
    waiting: BTreeMap<Bytes, Vec<Watcher>>,
}

#[derive(Debug)]
struct Watcher {
    id: u64,
    value: Option<Bytes>,
    fire: oneshot::Sender<()>,
}

/// One registered watch; dropping it takes it out.
#[derive(Debug)]
pub(crate) struct Registered {
    watches: Arc<Watches>,
    key: Bytes,
    id: u64,
    fired: oneshot::Receiver<()>,
}

impl Watches {
    pub(crate) fn new(watches_max: usize) -> Arc<Self> {
        Arc::new(Self { watches_max, count: AtomicUsize::new(0), by_key: Mutex::default() })
    }

    /// Waits for `key` to differ from `value`.
    pub(crate) fn register(self: &Arc<Self>, key: Bytes, value: Option<Bytes>) -> Result<Registered, StoreError> {
        let mut registry = self.lock();
        if self.count.load(Ordering::Relaxed) >= self.watches_max {
            let context = format!("at most {} watches at once", self.watches_max);
            return Err(StoreError::with(StoreError::TOO_MANY_WATCHES, context));
        }
        self.count.fetch_add(1, Ordering::AcqRel);
        let (fire, fired) = oneshot::channel();
        let id = registry.next_id;
        registry.next_id += 1;
        registry.waiting.entry(key.clone()).or_default().push(Watcher { id, value, fire });
        Ok(Registered { watches: Arc::clone(self), key, id, fired })
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.count.load(Ordering::Acquire) == 0
    }

    /// Keys with watches from `begin` to `end`.
    pub(crate) fn keys_in(&self, begin: &Bytes, end: &Bytes) -> Vec<Bytes> {
        if begin >= end {
            return Vec::new();
        }
        let registry = self.lock();
        let range = (Bound::Included(begin), Bound::Excluded(end));
        registry.waiting.range::<Bytes, _>(range).map(|(key, _)| key.clone()).collect()
    }

    pub(crate) fn contains(&self, key: &Bytes) -> bool {
        self.lock().waiting.contains_key(key)
    }

    /// `key` now has `value`: wakes those that wait for a change from something else.
    pub(crate) fn changed(&self, key: &Bytes, value: Option<&Bytes>) {
        let mut registry = self.lock();
        let Some(watchers) = registry.waiting.get_mut(key) else { return };
        let before = watchers.len();
        let (stay, wake): (Vec<_>, Vec<_>) = watchers.drain(..).partition(|watcher| watcher.value.as_ref() == value);
        *watchers = stay;
        self.count.fetch_sub(before - watchers.len(), Ordering::AcqRel);
        if watchers.is_empty() {
            registry.waiting.remove(key);
        }
        drop(registry);
        for watcher in wake {
            // Its waiter may have gone meanwhile.
            let _ = watcher.fire.send(());
        }
    }

    /// The engine closes: every watch ends with 1101.
    pub(crate) fn end(&self) {
        let mut registry = self.lock();
        registry.waiting.clear();
        self.count.store(0, Ordering::Release);
    }

    fn lock(&self) -> MutexGuard<'_, Registry> {
        self.by_key.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Registered {
    /// Resolves once the watch has fired.
    pub(crate) async fn wait(mut self) -> Result<(), StoreError> {
        (&mut self.fired)
            .await
            .map_err(|_| StoreError::with(StoreError::OPERATION_CANCELLED, "the store was closed under a watch"))
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        let mut registry = self.watches.lock();
        let Some(watchers) = registry.waiting.get_mut(&self.key) else { return };
        let before = watchers.len();
        watchers.retain(|watcher| watcher.id != self.id);
        self.watches.count.fetch_sub(before - watchers.len(), Ordering::AcqRel);
        if watchers.is_empty() {
            registry.waiting.remove(&self.key);
        }
    }
}

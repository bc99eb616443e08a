//! Watches of a transaction that is not committed yet. They begin to watch once it is.

use std::{collections::BTreeMap, ops::Range};

use bytes::Bytes;
use futures_util::{FutureExt as _, future::BoxFuture};
use tokio::sync::oneshot;

use super::overlay::{Pending, View, apply_all};
use crate::store::{StoreError, Version, engine::Engine};

type Watching = BoxFuture<'static, Result<(), StoreError>>;

/// What the transaction had seen of the key when the watch was set.
pub(super) enum Seen {
    Known(Option<Bytes>),
    /// The engine's value, then these operations.
    Stacked(Vec<Pending>),
}

struct Watch {
    seen: Seen,
    /// What the transaction wrote afterwards.
    written: Option<Option<Bytes>>,
    begin: oneshot::Sender<Result<Watching, StoreError>>,
}

#[derive(Default)]
pub(super) struct Watches(BTreeMap<Bytes, Vec<Watch>>);

impl std::fmt::Debug for Watches {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl Watches {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// `None`: the key cannot be read.
    pub(super) fn add(&mut self, key: Bytes, view: &View<'_>) -> Option<Watching> {
        let seen = match view {
            View::Unreadable => return None,
            View::Unwritten => Seen::Stacked(Vec::new()),
            View::Known(value) => Seen::Known(value.clone()),
            View::Stacked(stack) => Seen::Stacked(stack.to_vec()),
        };
        let (begin, begun) = oneshot::channel();
        self.0.entry(key).or_default().push(Watch { seen, written: None, begin });
        Some(
            async move {
                match begun.await {
                    Ok(watching) => watching?.await,
                    Err(_) => Err(StoreError::new(StoreError::TRANSACTION_CANCELLED)),
                }
            }
            .boxed(),
        )
    }

    /// Fires the watches of a key that this transaction itself changes. `None`: it cannot
    /// tell to what.
    pub(super) fn wrote(&mut self, key: &[u8], value: Option<Option<&Bytes>>) {
        if let Some(watches) = self.0.get_mut(key) {
            fire(watches, value);
        }
    }

    /// Likewise for a cleared range.
    pub(super) fn cleared(&mut self, range: Range<Bytes>) {
        for watches in self.0.range_mut(range).map(|(_, watches)| watches) {
            fire(watches, Some(None));
        }
    }

    /// Keys of which the engine has to be asked what the transaction had seen.
    pub(super) fn unknown(&self) -> Vec<Bytes> {
        let depends = |watches: &[Watch]| watches.iter().any(|watch| matches!(watch.seen, Seen::Stacked(_)));
        self.0.iter().filter(|(_, watches)| depends(watches)).map(|(key, _)| key.clone()).collect()
    }

    /// Completes what had been seen from the engine's values of [`Watches::unknown`].
    pub(super) fn learn(&mut self, values: impl Iterator<Item = (Bytes, Option<Bytes>)>) {
        for (key, value) in values {
            let Some(watches) = self.0.get_mut(&key) else { continue };
            let mut changes = Vec::new();
            for watch in &mut *watches {
                if let Seen::Stacked(stack) = &watch.seen {
                    watch.seen = Seen::Known(apply_all(stack, value.clone()));
                }
                changes.push(watch.written.take());
            }
            for change in changes.into_iter().flatten() {
                fire(watches, Some(change.as_ref()));
            }
        }
    }

    /// Ends them all.
    pub(super) fn fail(self, error: &StoreError) {
        for watch in self.0.into_values().flatten() {
            // Nobody may be waiting for it any more.
            let _ = watch.begin.send(Err(error.clone()));
        }
    }

    /// Lets them begin, at the version of the commit.
    pub(super) fn begin(self, engine: &dyn Engine, version: Version) {
        for (key, watches) in self.0 {
            for watch in watches {
                let Seen::Known(value) = watch.seen else { continue };
                let _ = watch.begin.send(Ok(engine.watch(key.clone(), value, version)));
            }
        }
    }
}

fn fire(watches: &mut Vec<Watch>, written: Option<Option<&Bytes>>) {
    let is_change = |watch: &mut Watch| {
        let Some(value) = written else { return true };
        match &watch.seen {
            Seen::Known(seen) => seen.as_ref() != value,
            Seen::Stacked(_) => match &watch.written {
                Some(earlier) => earlier.as_ref() != value,
                None => {
                    watch.written = Some(value.cloned());
                    false
                }
            },
        }
    };
    for watch in watches.extract_if(.., is_change) {
        let _ = watch.begin.send(Ok(async { Ok(()) }.boxed()));
    }
}

//! Timers that can be called off by what they are about.

use std::collections::BTreeMap;

use escapement_engine::wheel::{Handle, Wheel};

/// A timing wheel with at most one entry for each key.
#[derive(Debug)]
pub(super) struct Timers<K, V> {
    wheel: Wheel<(K, V)>,
    handles: BTreeMap<K, Handle>,
}

impl<K: Ord + Copy, V> Timers<K, V> {
    pub(super) fn new(now_ms: u64) -> Self {
        Self { wheel: Wheel::new(now_ms), handles: BTreeMap::new() }
    }

    /// Sets the timer of `key`, in place of the one that it had.
    pub(super) fn set(&mut self, key: K, at_ms: u64, value: V) {
        self.cancel(key);
        self.handles.insert(key, self.wheel.insert(at_ms, (key, value)));
    }

    /// Calls the timer of `key` off.
    pub(super) fn cancel(&mut self, key: K) -> Option<V> {
        let handle = self.handles.remove(&key)?;
        self.wheel.cancel(handle).map(|(_, value)| value)
    }

    /// When the timer of `key` goes off.
    pub(super) fn at(&self, key: K) -> Option<u64> {
        self.handles.get(&key).and_then(|handle| self.wheel.get(*handle)).map(|(at, _)| at)
    }

    /// Takes out what goes off by `now_ms`, with its instant, in order.
    pub(super) fn expired(&mut self, now_ms: u64) -> Vec<(K, u64, V)> {
        let mut out = Vec::new();
        self.wheel.advance(now_ms, &mut |expired| {
            let (key, value) = expired.value;
            out.push((key, expired.at, value));
        });
        for (key, ..) in &out {
            self.handles.remove(key);
        }
        out
    }

    /// No timer goes off before this.
    pub(super) fn next(&self) -> Option<u64> {
        self.wheel.next_expiry()
    }

    /// The clock was set back to `now_ms`.
    pub(super) fn rewind(&mut self, now_ms: u64) {
        self.wheel.rewind(now_ms);
    }

    pub(super) fn len(&self) -> usize {
        self.wheel.len()
    }
}

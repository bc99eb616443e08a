//! What a transaction has written so far: as a log for the commit, and as an overlay that its
//! own reads see.
//!
//! The log is in program order, so that applying it needs no further thought; a write that
//! makes an earlier one of the same key void takes that one out. The overlay knows for each
//! written key whether its value is known without asking the engine. Source of the
//! semantics: `fdbclient/WriteMap.cpp`, release 7.3.

use std::collections::{BTreeMap, btree_map::Entry};

use bytes::Bytes;

use super::{
    atomic,
    ranges::{Conflicts, RangeSet, is_single_key, key_after},
};
use crate::store::{
    MutationKind,
    engine::{KeyRange, Mutation},
};

/// An atomic operation on a value that only the engine knows.
#[derive(Clone, Debug)]
pub(super) struct Pending {
    pub(super) kind: MutationKind,
    pub(super) operand: Bytes,
    log: usize,
}

/// A written key.
#[derive(Debug)]
pub(super) enum Write {
    /// Whatever the engine holds, the value is this.
    Known { value: Option<Bytes>, log: usize },
    /// The engine's value, then these operations.
    Stacked(Vec<Pending>),
    /// Holds a versionstamp that only the commit will know.
    Unreadable,
}

/// What the overlay says about a key.
pub(super) enum View<'a> {
    /// Nothing: ask the engine.
    Unwritten,
    Known(Option<Bytes>),
    Stacked(&'a [Pending]),
    Unreadable,
}

/// The value after some operations on the engine's value.
pub(super) fn apply_all(stack: &[Pending], value: Option<Bytes>) -> Option<Bytes> {
    stack.iter().fold(value, |value, pending| atomic::apply(pending.kind, value.as_deref(), &pending.operand))
}

#[derive(Debug, Default)]
pub(super) struct Overlay {
    writes: BTreeMap<Bytes, Write>,
    /// Cleared by ranges. Keys written since are in `writes`; single cleared keys always are.
    cleared: RangeSet,
    /// Where keys with versionstamps may come to lie.
    unreadable: RangeSet,
    /// `None`: made void by a later one.
    log: Vec<Option<Mutation>>,
}

impl Overlay {
    /// The mutations, in the order in which they are to be applied.
    pub(super) fn into_mutations(self) -> Vec<Mutation> {
        self.log.into_iter().flatten().collect()
    }

    pub(super) fn writes(&self) -> &BTreeMap<Bytes, Write> {
        &self.writes
    }

    pub(super) fn cleared(&self) -> &RangeSet {
        &self.cleared
    }

    pub(super) fn unreadable(&self) -> &RangeSet {
        &self.unreadable
    }

    pub(super) fn view(&self, key: &[u8]) -> View<'_> {
        if self.unreadable.contains(key) {
            return View::Unreadable;
        }
        match self.writes.get(key) {
            Some(Write::Known { value, .. }) => View::Known(value.clone()),
            Some(Write::Stacked(stack)) => View::Stacked(stack),
            Some(Write::Unreadable) => View::Unreadable,
            None if self.cleared.contains(key) => View::Known(None),
            None => View::Unwritten,
        }
    }

    pub(super) fn set(&mut self, key: Bytes, value: Bytes) {
        let mutation = Mutation::Set(key.clone(), value.clone());
        self.put(key, mutation, |log| Write::Known { value: Some(value), log });
    }

    pub(super) fn clear(&mut self, key: Bytes) {
        let was_hidden = self.unreadable.contains(&key);
        if was_hidden {
            // Stamped keys written before are cleared, too: from here on this one is readable.
            self.unreadable.remove(&key, &key_after(&key));
        }
        if !was_hidden && self.cleared.contains(&key) && !self.writes.contains_key(&key) {
            return;
        }
        if matches!(self.writes.get(&key), Some(Write::Unreadable)) {
            self.writes.remove(&key);
        }
        let mutation = Mutation::Clear(key.clone());
        self.put(key, mutation, |log| Write::Known { value: None, log });
    }

    /// Sets the placeholder's value; the key cannot be read any more.
    pub(super) fn set_stamped_value(&mut self, key: Bytes, operand: Bytes) {
        let mutation = Mutation::Atomic(MutationKind::SetVersionstampedValue, key.clone(), operand);
        self.put(key, mutation, |_| Write::Unreadable);
    }

    /// Writes a key that will lie in `range`, where nothing can be read any more.
    pub(super) fn set_stamped_key(&mut self, key: Bytes, value: Bytes, range: KeyRange) {
        self.log.push(Some(Mutation::Atomic(MutationKind::SetVersionstampedKey, key, value)));
        self.unreadable.insert(range.begin, range.end);
    }

    pub(super) fn clear_range(&mut self, begin: Bytes, end: Bytes) {
        if is_single_key(&begin, &end) {
            return self.clear(begin);
        }
        let mut is_new = !self.cleared.covers(&begin, &end);
        if self.unreadable.overlapping(&begin, &end).next().is_some() {
            self.unreadable.remove(&begin, &end);
            is_new = true;
        }
        for (_, write) in self.writes.extract_if(begin.clone()..end.clone(), |_, _| true) {
            is_new |= matches!(write, Write::Unreadable);
            void(&mut self.log, &write);
        }
        if is_new {
            self.log.push(Some(Mutation::ClearRange(begin.clone(), end.clone())));
            self.cleared.insert(begin, end);
        }
    }

    /// An atomic operation without a versionstamp.
    pub(super) fn operate(&mut self, kind: MutationKind, key: Bytes, operand: Bytes) {
        let log = self.log.len();
        let pending = |operand: Bytes| Pending { kind, operand, log };
        let as_is = Mutation::Atomic(kind, key.clone(), operand.clone());
        let is_cleared = self.cleared.contains(&key);
        if self.unreadable.contains(&key) {
            self.log.push(Some(as_is));
            return;
        }
        let mutation = match self.writes.entry(key) {
            Entry::Vacant(free) if is_cleared => {
                let value = atomic::apply(kind, None, &operand);
                let mutation = to_value(free.key().clone(), value.clone());
                free.insert(Write::Known { value, log });
                mutation
            }
            Entry::Vacant(free) => {
                free.insert(Write::Stacked(vec![pending(operand)]));
                as_is
            }
            Entry::Occupied(mut written) => {
                let key = written.key().clone();
                match written.get_mut() {
                    Write::Unreadable => as_is,
                    Write::Known { value, log: old } => {
                        self.log[*old] = None;
                        *old = log;
                        *value = atomic::apply(kind, value.as_deref(), &operand);
                        to_value(key, value.clone())
                    }
                    Write::Stacked(stack) => match stack.last_mut() {
                        Some(last) if last.kind == kind && atomic::join(kind, &last.operand, &operand).is_some() => {
                            let joined = atomic::join(kind, &last.operand, &operand).unwrap_or(operand);
                            self.log[last.log] = None;
                            *last = pending(joined.clone());
                            Mutation::Atomic(kind, key, joined)
                        }
                        _ => {
                            stack.push(pending(operand));
                            as_is
                        }
                    },
                }
            }
        };
        self.log.push(Some(mutation));
    }

    /// Logs a write that does not depend on the key's value. A key with a versionstamp in its
    /// value stays unreadable.
    fn put(&mut self, key: Bytes, mutation: Mutation, write: impl FnOnce(usize) -> Write) {
        let log = self.log.len();
        self.log.push(Some(mutation));
        match self.writes.entry(key) {
            Entry::Vacant(free) => {
                free.insert(write(log));
            }
            Entry::Occupied(mut written) => {
                if !matches!(written.get(), Write::Unreadable) {
                    let old = written.insert(write(log));
                    void(&mut self.log, &old);
                }
            }
        }
    }

    /// Notes a read of `begin..end`, without what this transaction had itself made known:
    /// that cannot conflict.
    pub(super) fn note_read(&self, begin: &Bytes, end: &Bytes, conflicts: &mut Conflicts) -> usize {
        if begin >= end {
            return 0;
        }
        let mut cursor = begin.clone();
        let mut bytes = 0;
        let mut cut = |cursor: &mut Bytes, hole: &Bytes, after: Bytes| {
            if *cursor < *hole {
                bytes += cursor.len() + hole.len();
                conflicts.add_range(cursor.clone(), hole.clone());
            }
            if *cursor < after {
                *cursor = after;
            }
        };
        let mut holes = self.cleared.overlapping(begin, end).peekable();
        let written = self.writes.range(begin.clone()..end.clone());
        for (key, _) in written.filter(|(_, write)| !matches!(write, Write::Stacked(_))) {
            while let Some((first, last)) = holes.next_if(|(first, _)| *first <= key) {
                cut(&mut cursor, first, last.clone());
            }
            if *key >= cursor {
                cut(&mut cursor, key, key_after(key));
            }
        }
        for (first, last) in holes {
            cut(&mut cursor, first, last.clone());
        }
        cut(&mut cursor, end, end.clone());
        bytes
    }

    /// Notes a read of one key, likewise.
    pub(super) fn note_key_read(&self, key: &Bytes, conflicts: &mut Conflicts) -> bool {
        let depends = matches!(self.view(key), View::Unwritten | View::Stacked(_));
        if depends {
            conflicts.add_key(key.clone());
        }
        depends
    }
}

fn to_value(key: Bytes, value: Option<Bytes>) -> Mutation {
    match value {
        Some(value) => Mutation::Set(key, value),
        None => Mutation::Clear(key),
    }
}

/// Takes what a write put into the log out again.
fn void(log: &mut [Option<Mutation>], write: &Write) {
    match write {
        Write::Known { log: at, .. } => log[*at] = None,
        Write::Stacked(stack) => stack.iter().for_each(|pending| log[pending.log] = None),
        // A versionstamped value may be followed by operations on it: they all stay.
        Write::Unreadable => {}
    }
}

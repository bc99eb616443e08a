//! The writing half: checks, the overlay, write conflicts, and the watches that a write fires.

use std::sync::MutexGuard;

use bytes::Bytes;

use super::{
    ClientTransaction, State,
    limits::{KEY_BYTES_MAX, KEY_END, MUTATION_OVERHEAD_BYTES, RANGE_OVERHEAD_BYTES, VALUE_BYTES_MAX},
    versionstamp,
};
use crate::store::{ConflictKind, MutationKind, StoreError};

impl ClientTransaction {
    pub(super) fn write_set(&self, key: Bytes, value: Bytes) -> Result<(), StoreError> {
        let (mut state, conflicts) = self.enter_write()?;
        check_key(&key)?;
        check_value(&value)?;
        let state = &mut *state;
        state.count_key_write(key.len() + value.len(), &key, conflicts);
        if !state.watches.is_empty() {
            state.watches.wrote(&key, Some(Some(&value)));
        }
        state.overlay.set(key, value);
        Ok(())
    }

    pub(super) fn write_clear(&self, key: Bytes) -> Result<(), StoreError> {
        let (mut state, conflicts) = self.enter_write()?;
        check_legal(&key, false)?;
        if key.len() > KEY_BYTES_MAX {
            // There is no such key.
            return Ok(());
        }
        let state = &mut *state;
        state.note_key_write(&key, conflicts);
        if state.settings.sees_writes {
            // FoundationDB's estimate takes it for a range, its commit for a mutation.
            let ranges = 1 + usize::from(conflicts);
            state.bytes += ranges * (RANGE_OVERHEAD_BYTES + 2 * key.len() + 1);
        }
        if !state.watches.is_empty() {
            state.watches.wrote(&key, Some(None));
        }
        state.overlay.clear(key);
        Ok(())
    }

    pub(super) fn write_clear_range(&self, begin: Bytes, end: Bytes) -> Result<(), StoreError> {
        check_order(&begin, &end)?;
        let (mut state, conflicts) = self.enter_write()?;
        check_legal(&begin, true)?;
        check_legal(&end, true)?;
        let (begin, end) = (cut(begin), cut(end));
        if begin >= end {
            return Ok(());
        }
        let state = &mut *state;
        state.note_write();
        state.bytes += MUTATION_OVERHEAD_BYTES + begin.len() + end.len();
        if conflicts {
            state.bytes += RANGE_OVERHEAD_BYTES + begin.len() + end.len();
            state.write_conflicts.add_range(begin.clone(), end.clone());
        }
        if !state.watches.is_empty() {
            state.watches.cleared(begin.clone()..end.clone());
        }
        state.overlay.clear_range(begin, end);
        Ok(())
    }

    pub(super) fn write_atomic(&self, kind: MutationKind, key: Bytes, operand: Bytes) -> Result<(), StoreError> {
        let (mut state, conflicts) = self.enter_write()?;
        check_key(&key)?;
        check_value(&operand)?;
        let state = &mut *state;
        if kind == MutationKind::SetVersionstampedKey {
            let range = versionstamp::key_range(&key, state.epoch.version.get().copied())?;
            state.note_write();
            // Whoever commits adds the write conflict, on the key that it becomes.
            state.bytes += MUTATION_OVERHEAD_BYTES + key.len() + operand.len();
            state.overlay.set_stamped_key(key, operand, range);
            return Ok(());
        }
        if kind == MutationKind::SetVersionstampedValue {
            versionstamp::check(&operand, "value")?;
        }
        state.count_key_write(key.len() + operand.len(), &key, conflicts);
        if !state.watches.is_empty() {
            state.watches.wrote(&key, None);
        }
        match kind {
            MutationKind::SetVersionstampedValue => state.overlay.set_stamped_value(key, operand),
            kind => state.overlay.operate(kind, key, operand),
        }
        Ok(())
    }

    pub(super) fn note_conflict(&self, begin: Bytes, end: Bytes, kind: ConflictKind) -> Result<(), StoreError> {
        check_order(&begin, &end)?;
        let mut state = self.enter()?;
        check_legal(&begin, true)?;
        check_legal(&end, true)?;
        let (begin, end) = (cut(begin), cut(end));
        if begin >= end {
            return Ok(());
        }
        let state = &mut *state;
        match kind {
            ConflictKind::Read => {
                if !state.settings.sees_writes {
                    // Such a range counts, though reads do not.
                    state.bytes += RANGE_OVERHEAD_BYTES + begin.len() + end.len();
                }
                state.note_read(&begin, &end);
            }
            ConflictKind::Write => {
                state.note_write();
                state.bytes += RANGE_OVERHEAD_BYTES + begin.len() + end.len();
                state.write_conflicts.add_range(begin, end);
            }
        }
        Ok(())
    }

    /// The state, and whether the write that comes gets a conflict range.
    fn enter_write(&self) -> Result<(MutexGuard<'_, State>, bool), StoreError> {
        let mut state = self.enter()?;
        let conflicts = std::mem::replace(&mut state.settings.next_write_conflicts, true);
        Ok((state, conflicts))
    }
}

impl State {
    /// To a transaction that does not read its own writes they are no use of it.
    fn note_write(&mut self) {
        self.used |= self.settings.sees_writes;
    }

    fn count_key_write(&mut self, bytes: usize, key: &Bytes, conflicts: bool) {
        self.bytes += MUTATION_OVERHEAD_BYTES + bytes;
        if conflicts {
            self.bytes += RANGE_OVERHEAD_BYTES + 2 * key.len() + 1;
        }
        self.note_key_write(key, conflicts);
    }

    fn note_key_write(&mut self, key: &Bytes, conflicts: bool) {
        self.note_write();
        if conflicts {
            self.write_conflicts.add_key(key.clone());
        }
    }

    /// Notes a read of a range, for conflicts.
    pub(super) fn note_read(&mut self, begin: &Bytes, end: &Bytes) {
        if self.settings.sees_writes {
            let bytes = self.overlay.note_read(begin, end, &mut self.read_conflicts);
            self.bytes += if bytes > 0 { bytes + RANGE_OVERHEAD_BYTES } else { 0 };
        } else if begin < end {
            // FoundationDB's estimate knows nothing of what is read past it.
            self.read_conflicts.add_range(begin.clone(), end.clone());
        }
    }

    /// Notes a read of a key, for conflicts.
    pub(super) fn note_key_read(&mut self, key: &Bytes) {
        if !self.settings.sees_writes {
            self.read_conflicts.add_key(key.clone());
        } else if self.overlay.note_key_read(key, &mut self.read_conflicts) {
            self.bytes += RANGE_OVERHEAD_BYTES + 2 * key.len() + 1;
        }
    }
}

/// Refuses a key of FoundationDB's own. The end of a range may touch them.
pub(in crate::store) fn check_legal(key: &[u8], is_bound: bool) -> Result<(), StoreError> {
    if key < KEY_END || (is_bound && key == KEY_END) {
        return Ok(());
    }
    Err(StoreError::with(
        StoreError::KEY_OUTSIDE_LEGAL_RANGE,
        format!("key {} is not below \\xff", key[..key.len().min(32)].escape_ascii()),
    ))
}

fn check_key(key: &[u8]) -> Result<(), StoreError> {
    check_legal(key, false)?;
    if key.len() > KEY_BYTES_MAX {
        let context = format!("key of {} bytes; at most {KEY_BYTES_MAX}", key.len());
        return Err(StoreError::with(StoreError::KEY_TOO_LARGE, context));
    }
    Ok(())
}

pub(in crate::store) fn check_value(value: &[u8]) -> Result<(), StoreError> {
    if value.len() > VALUE_BYTES_MAX {
        let context = format!("value of {} bytes; at most {VALUE_BYTES_MAX}", value.len());
        return Err(StoreError::with(StoreError::VALUE_TOO_LARGE, context));
    }
    Ok(())
}

pub(in crate::store) fn check_order(begin: &[u8], end: &[u8]) -> Result<(), StoreError> {
    if begin > end { Err(StoreError::new(StoreError::INVERTED_RANGE)) } else { Ok(()) }
}

/// A bound that is longer than any key means the same as this shorter one.
pub(in crate::store) fn cut(mut bound: Bytes) -> Bytes {
    bound.truncate(KEY_BYTES_MAX + 1);
    bound
}

//! The writing half: what the client would note for later is refused at once.

use bytes::Bytes;
use escapement_fdb_client::foundationdb::{
    self as fdb,
    options::{ConflictRangeType, TransactionOption as Native},
};

use super::{
    native,
    transaction::{FdbTransaction, State, store_error},
};
use crate::store::{
    ConflictKind, MutationKind, StoreError,
    client::{
        versionstamp,
        writes::{check_legal, check_order, check_value, cut},
    },
};

impl FdbTransaction {
    pub(super) fn write_set(&self, key: &Bytes, value: &Bytes) -> Result<(), StoreError> {
        self.write(|state| {
            self.check_key(key)?;
            check_value(value)?;
            state.note_write();
            Ok(Some(|tx: &fdb::Transaction| tx.set(&self.prefix.key(key), value)))
        })
    }

    pub(super) fn write_clear(&self, key: &Bytes) -> Result<(), StoreError> {
        self.write(|state| {
            check_legal(key, false)?;
            // There is no longer key.
            if key.len() > self.prefix.key_bytes_max() {
                return Ok(None);
            }
            state.note_write();
            Ok(Some(|tx: &fdb::Transaction| tx.clear(&self.prefix.key(key))))
        })
    }

    pub(super) fn write_clear_range(&self, begin: Bytes, end: Bytes) -> Result<(), StoreError> {
        check_order(&begin, &end)?;
        self.write(|state| {
            check_legal(&begin, true)?;
            check_legal(&end, true)?;
            let (begin, end) = (cut(begin), cut(end));
            if begin == end {
                return Ok(None);
            }
            state.note_write();
            let (begin, end) = (self.prefix.key(&begin), self.prefix.key(&end));
            Ok(Some(move |tx: &fdb::Transaction| tx.clear_range(&begin, &end)))
        })
    }

    pub(super) fn write_atomic(&self, kind: MutationKind, key: &Bytes, operand: &Bytes) -> Result<(), StoreError> {
        self.write(|state| {
            self.check_key(key)?;
            check_value(operand)?;
            let key = match kind {
                MutationKind::SetVersionstampedKey => {
                    versionstamp::check(key, "key")?;
                    self.prefix.stamped_key(key)
                }
                MutationKind::SetVersionstampedValue => {
                    versionstamp::check(operand, "value")?;
                    self.prefix.key(key)
                }
                _ => self.prefix.key(key),
            };
            state.note_write();
            Ok(Some(move |tx: &fdb::Transaction| tx.atomic_op(&key, operand, native::mutation(kind))))
        })
    }

    pub(super) fn note_conflict(&self, begin: Bytes, end: Bytes, kind: ConflictKind) -> Result<(), StoreError> {
        check_order(&begin, &end)?;
        self.enter(|tx, state| {
            check_legal(&begin, true)?;
            check_legal(&end, true)?;
            let (begin, end) = (cut(begin), cut(end));
            if begin == end {
                return Ok(());
            }
            let kind = match kind {
                ConflictKind::Read => ConflictRangeType::Read,
                ConflictKind::Write => {
                    state.note_write();
                    ConflictRangeType::Write
                }
            };
            tx.add_conflict_range(&self.prefix.key(&begin), &self.prefix.key(&end), kind).map_err(store_error)
        })?
    }

    /// Checks a write and does it, if it changes anything. The option that spares a write its
    /// conflict is for the next one, also for one that is refused: so the client is told of it
    /// only with the write itself.
    fn write<W: FnOnce(&fdb::Transaction)>(
        &self,
        check: impl FnOnce(&mut State) -> Result<Option<W>, StoreError>,
    ) -> Result<(), StoreError> {
        self.enter(|tx, state| {
            let conflicts = std::mem::replace(&mut state.settings.next_write_conflicts, true);
            let Some(write) = check(state)? else { return Ok(()) };
            if !conflicts {
                tx.set_option(Native::NextWriteNoWriteConflictRange).map_err(store_error)?;
            }
            write(tx);
            Ok(())
        })?
    }

    /// The room that the prefix leaves is less than the other stores' by its length.
    pub(super) fn check_key(&self, key: &[u8]) -> Result<(), StoreError> {
        check_legal(key, false)?;
        let max = self.prefix.key_bytes_max();
        if key.len() > max {
            return Err(StoreError::with(
                StoreError::KEY_TOO_LARGE,
                format!("key of {} bytes; at most {max}", key.len()),
            ));
        }
        Ok(())
    }
}

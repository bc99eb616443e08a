//! The base: an LSM tree (fjall) that lags behind the log.

use std::{
    path::Path,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use fjall::{
    Database, Keyspace, KeyspaceCreateOptions, OwnedWriteBatch as WriteBatch, PersistMode, compaction::Leveled,
};

use super::{error::OpenError, files::LogFiles};
use crate::store::{
    StoreError,
    mvcc::{Base, Visit},
};

const APPLIED: &str = "applied";
/// fjall has no empty key; our key space has one.
const EMPTY_KEY: &str = "empty key";
/// Size at which a memtable is written to disk. The tree frees it, node by node, while it holds the lock that
/// every read takes: with its usual 64 MiB, reads stood still for tens of milliseconds (docs/benchmarks.md).
const MEMTABLE_BYTES: u64 = 8 << 20;
/// Size of a table on disk. A compaction builds the index of its last table and syncs it under that same
/// lock: 62 ms with the usual 64 MiB, in a trace of its system calls.
const TABLE_BYTES: u64 = 8 << 20;
/// Removals of cleared rows in one batch.
const REMOVALS_MAX: usize = 8192;

pub(super) struct FjallBase {
    /// `None` once closed.
    tree: RwLock<Option<Tree>>,
    bytes: AtomicU64,
}

struct Tree {
    database: Database,
    data: Keyspace,
    meta: Keyspace,
}

impl std::fmt::Debug for FjallBase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("FjallBase")
    }
}

fn failed(error: &fjall::Error) -> StoreError {
    StoreError::with(StoreError::OPERATION_FAILED, format!("the base below the log failed: {error}"))
}

impl FjallBase {
    pub(super) fn open(path: &Path, cache_bytes: u64) -> Result<Self, OpenError> {
        let refused = |source: fjall::Error| OpenError::Base { path: path.to_owned(), source: Box::new(source) };
        let database = Database::builder(path).cache_size(cache_bytes).open().map_err(refused)?;
        let options = || {
            let compaction = Leveled::default().with_table_target_size(TABLE_BYTES);
            KeyspaceCreateOptions::default().max_memtable_size(MEMTABLE_BYTES).compaction_strategy(Arc::new(compaction))
        };
        let data = database.keyspace("data", options).map_err(refused)?;
        let meta = database.keyspace("meta", KeyspaceCreateOptions::default).map_err(refused)?;
        Ok(Self { tree: RwLock::new(Some(Tree { database, data, meta })), bytes: AtomicU64::new(0) })
    }

    /// Lets go of the files. Waits for reads under way; later ones fail.
    pub(super) fn close(&self) {
        self.tree.write().unwrap_or_else(PoisonError::into_inner).take();
    }

    fn with<T>(&self, work: impl FnOnce(&Tree) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let tree = self.tree.read().unwrap_or_else(PoisonError::into_inner);
        let closed = || StoreError::with(StoreError::OPERATION_FAILED, "the store is closed");
        work(tree.as_ref().ok_or_else(closed)?)
    }

    /// Version of the state that it has.
    pub(super) fn applied(&self) -> Result<u64, StoreError> {
        self.with(|tree| {
            let Some(bytes) = tree.meta.get(APPLIED).map_err(|error| failed(&error))? else { return Ok(0) };
            let bytes = <[u8; 8]>::try_from(&*bytes)
                .map_err(|_| StoreError::with(StoreError::OPERATION_FAILED, "the base's version is not 8 bytes"))?;
            Ok(u64::from_be_bytes(bytes))
        })
    }

    /// Everything so far survives a loss of power; `files` are told so.
    pub(super) fn persist(&self, files: &dyn LogFiles) -> Result<(), StoreError> {
        self.with(|tree| tree.database.persist(PersistMode::SyncAll).map_err(|error| failed(&error)))?;
        files.base_synced();
        Ok(())
    }

    /// Bytes of keys and values handed to the tree.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }
}

impl Tree {
    /// Removes the rows of a range, except those in `changes` (sorted), which come later.
    fn remove_range(
        &self,
        begin: &Bytes,
        end: &Bytes,
        changes: &[(Bytes, Option<Bytes>)],
        mut batch: WriteBatch,
    ) -> Result<WriteBatch, StoreError> {
        let is_kept = |key: &[u8]| changes.binary_search_by(|(own, _)| own.as_ref().cmp(key)).is_ok();
        if begin.is_empty() && !is_kept(b"") && begin < end {
            batch.remove(&self.meta, EMPTY_KEY);
        }
        for row in self.data.range(begin.as_ref()..end.as_ref()) {
            let key = row.key().map_err(|error| failed(&error))?;
            if !is_kept(&key) {
                batch.remove(&self.data, key);
            }
            if batch.len() >= REMOVALS_MAX {
                let full = std::mem::replace(&mut batch, self.database.batch());
                full.commit().map_err(|error| failed(&error))?;
            }
        }
        Ok(batch)
    }

    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        let value = if key.is_empty() { self.meta.get(EMPTY_KEY) } else { self.data.get(key) };
        Ok(value.map_err(|error| failed(&error))?.map(|value| Bytes::copy_from_slice(&value)))
    }

    fn scan(
        &self,
        begin: &[u8],
        end: &[u8],
        reverse: bool,
        visit: &mut dyn FnMut(&[u8], &[u8]) -> Visit,
    ) -> Result<Visit, StoreError> {
        let empty = if begin.is_empty() { self.get(b"")? } else { None };
        if !reverse && let Some(value) = &empty {
            let wish = visit(b"", value);
            if wish != Visit::Next {
                return Ok(wish);
            }
        }
        let mut rows = self.data.range(begin..end);
        while let Some(row) = if reverse { rows.next_back() } else { rows.next() } {
            let (key, value) = row.into_inner().map_err(|error| failed(&error))?;
            let wish = visit(&key, &value);
            if wish != Visit::Next {
                return Ok(wish);
            }
        }
        match empty {
            Some(value) if reverse => Ok(visit(b"", &value)),
            _ => Ok(Visit::Next),
        }
    }

    /// Bytes of keys and values that changed.
    fn advance(
        &self,
        version: u64,
        cleared: &[(Bytes, Bytes)],
        mut changes: Vec<(Bytes, Option<Bytes>)>,
    ) -> Result<u64, StoreError> {
        changes.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        let mut batch = self.database.batch();
        for (begin, end) in cleared {
            batch = self.remove_range(begin, end, &changes, batch)?;
        }
        let mut bytes = 0;
        for (key, value) in changes {
            let (keyspace, key) = if key.is_empty() { (&self.meta, EMPTY_KEY.as_bytes()) } else { (&self.data, &*key) };
            match value {
                Some(value) => {
                    bytes += key.len() + value.len();
                    batch.insert(keyspace, key, &*value);
                }
                // What never got here needs no tombstone, which every later scan would meet.
                None if keyspace.contains_key(key).map_err(|error| failed(&error))? => {
                    bytes += key.len();
                    batch.remove(keyspace, key);
                }
                None => {}
            }
        }
        batch.insert(&self.meta, APPLIED, version.to_be_bytes());
        batch.commit().map_err(|error| failed(&error))?;
        Ok(bytes as u64)
    }
}

impl Base for FjallBase {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        self.with(|tree| tree.get(key))
    }

    fn scan(
        &self,
        begin: &[u8],
        end: &[u8],
        reverse: bool,
        visit: &mut dyn FnMut(&[u8], &[u8]) -> Visit,
    ) -> Result<Visit, StoreError> {
        self.with(|tree| tree.scan(begin, end, reverse, visit))
    }

    fn advance(
        &self,
        version: u64,
        cleared: &[(Bytes, Bytes)],
        changes: Vec<(Bytes, Option<Bytes>)>,
    ) -> Result<(), StoreError> {
        let bytes = self.with(|tree| tree.advance(version, cleared, changes))?;
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        Ok(())
    }
}

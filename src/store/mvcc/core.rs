//! Window, base, versions and watches as one: everything but durability.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use bytes::Bytes;

use super::{
    base::Base,
    range::merged,
    resolver::Resolver,
    versions::Versions,
    watches::{Registered, Watches},
    window::{Change, Found, Window},
};
use crate::store::{
    MutationKind, RangePage, StoreError, Version, Versionstamp,
    client::{atomic, versionstamp},
    engine::{CommitReceipt, CommitRequest, Mutation, RangeRead},
};

/// Changes applied under one hold of the window's lock: readers wait no longer than that.
const APPLY_STEP: usize = 128;
/// Keys evicted, or looked at for a flush, under one hold of the lock.
const EVICT_STEP: usize = 512;

/// A multi-version store over a base. Commits come through one [`Stage`] at a time.
#[derive(Debug)]
pub(crate) struct Core<B> {
    pub(crate) base: B,
    pub(crate) versions: Versions,
    window: RwLock<Window>,
    watches: Arc<Watches>,
    /// Reads below this version are refused: the base may have moved beyond them.
    oldest: AtomicU64,
    /// Versions that stay readable.
    span: u64,
    /// What the stage's resolver holds.
    resolver_bytes: AtomicUsize,
}

/// What only the committing side touches.
#[derive(Debug, Default)]
pub(crate) struct Stage {
    resolver: Resolver,
}

impl<B: Base> Core<B> {
    pub(crate) fn new(base: B, versions: Versions, window: Window, span: u64, watches_max: usize) -> Self {
        let oldest = AtomicU64::new(versions.readable());
        let (window, watches) = (RwLock::new(window), Watches::new(watches_max));
        Self { base, versions, window, watches, oldest, span, resolver_bytes: AtomicUsize::new(0) }
    }

    pub(crate) fn window(&self) -> RwLockReadGuard<'_, Window> {
        self.window.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn window_mut(&self) -> RwLockWriteGuard<'_, Window> {
        self.window.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Bytes of the window and of the conflicts, roughly.
    pub(crate) fn held_bytes(&self) -> usize {
        self.window().bytes() + self.resolver_bytes.load(Ordering::Relaxed)
    }

    /// Forgets all conflicts that are too old to matter.
    pub(crate) fn forget_conflicts(&self, stage: &mut Stage) {
        stage.resolver.expire_all(self.floor(self.versions.readable()));
        self.resolver_bytes.store(stage.resolver.bytes(), Ordering::Relaxed);
    }

    /// Forgets some of them while no commits come. Whether there are more.
    pub(crate) fn forget_some_conflicts(&self, stage: &mut Stage) -> bool {
        let more = stage.resolver.expire_some(self.flush_limit());
        self.resolver_bytes.store(stage.resolver.bytes(), Ordering::Relaxed);
        more
    }

    /// Below this no transaction may have its read version when `version` is the newest.
    fn floor(&self, version: u64) -> u64 {
        version.saturating_sub(self.span).max(self.oldest.load(Ordering::Acquire))
    }

    fn check_age(&self, version: u64) -> Result<(), StoreError> {
        if version > self.versions.readable() {
            return Err(StoreError::new(StoreError::FUTURE_VERSION));
        }
        if self.versions.is_older_by_clock(version, self.span) {
            // An idle store's versions go on, too.
            self.versions.read();
        }
        let newest = self.versions.readable();
        if version.saturating_add(self.span) < newest || version < self.oldest.load(Ordering::Acquire) {
            return Err(StoreError::new(StoreError::TRANSACTION_TOO_OLD));
        }
        Ok(())
    }

    /// After a read of the base: it was not moved beyond `version` meanwhile.
    fn check_still_there(&self, version: u64) -> Result<(), StoreError> {
        if version < self.oldest.load(Ordering::Acquire) {
            return Err(StoreError::new(StoreError::TRANSACTION_TOO_OLD));
        }
        Ok(())
    }

    pub(crate) fn get_many(&self, keys: &[Bytes], Version(version): Version) -> Result<Vec<Option<Bytes>>, StoreError> {
        self.check_age(version)?;
        let found: Vec<Found> = {
            let window = self.window();
            keys.iter().map(|key| window.find(key, version)).collect()
        };
        let mut values = Vec::with_capacity(keys.len());
        let mut asked_base = false;
        for (key, found) in keys.iter().zip(found) {
            values.push(match found {
                Found::Here(value) => value,
                Found::InBase => {
                    asked_base = true;
                    self.base.get(key)?
                }
            });
        }
        if asked_base {
            self.check_still_there(version)?;
        }
        Ok(values)
    }

    pub(crate) fn get_range(&self, read: &RangeRead, Version(version): Version) -> Result<RangePage, StoreError> {
        self.check_age(version)?;
        let page = merged(&self.base, read, |look| look(&self.window()), version)?;
        self.check_still_there(version)?;
        Ok(page)
    }

    /// Registers a watch, fired at once if `key` no longer has `value`.
    pub(crate) fn watch(&self, key: Bytes, value: Option<Bytes>) -> Result<Registered, StoreError> {
        let registered = self.watches.register(key.clone(), value)?;
        // Only after it is registered: a commit in between is seen by one of the two.
        let now = self.newest(&key, self.versions.readable())?;
        self.watches.changed(&key, now.as_ref());
        Ok(registered)
    }

    pub(crate) fn end_watches(&self) {
        self.watches.end();
    }

    /// Value at `version`, which is the newest or above it.
    fn newest(&self, key: &[u8], version: u64) -> Result<Option<Bytes>, StoreError> {
        let found = self.window().find(key, version);
        match found {
            Found::Here(value) => Ok(value),
            Found::InBase => self.base.get(key),
        }
    }

    /// Resolves conflicts of `requests` in their order, as one batch, and applies those that
    /// pass. Readers see nothing of it before [`Core::publish`]. `log` is given every change.
    pub(crate) fn process<'a>(
        &self,
        stage: &mut Stage,
        requests: impl Iterator<Item = &'a CommitRequest>,
        mut log: impl FnMut(&Change),
    ) -> (Version, Vec<Result<CommitReceipt, StoreError>>) {
        let version = self.versions.assign();
        let floor = self.floor(version.0);
        self.window_mut().begin_batch(version.0);
        let mut results = Vec::new();
        let mut pending = Vec::new();
        let mut batch_index = 0;
        for request in requests {
            let receipt = CommitReceipt { version, batch_index };
            let result = self
                .admit(stage, request, version.0, floor)
                .and_then(|()| self.changes(stage, request, receipt, &mut pending, &mut log));
            if result.is_ok() {
                stage.resolver.add(&request.write_conflicts, version.0);
                batch_index = batch_index.checked_add(1).expect("batches are smaller than 65,536");
            }
            results.push(result.map(|()| receipt));
        }
        self.apply(&mut pending, &mut log);
        stage.resolver.finish_batch(floor);
        self.resolver_bytes.store(stage.resolver.bytes(), Ordering::Relaxed);
        (version, results)
    }

    fn admit(&self, stage: &mut Stage, request: &CommitRequest, version: u64, floor: u64) -> Result<(), StoreError> {
        if !request.read_conflicts.is_empty() {
            let Some(Version(read_version)) = request.read_version else {
                let context = "a commit with read conflicts needs its read version";
                return Err(StoreError::with(StoreError::CLIENT_INVALID_OPERATION, context));
            };
            if read_version >= version || read_version > self.versions.readable() {
                return Err(StoreError::new(StoreError::FUTURE_VERSION));
            }
            if read_version < floor {
                return Err(StoreError::new(StoreError::TRANSACTION_TOO_OLD));
            }
            if stage.resolver.conflicts(&request.read_conflicts, read_version) {
                return Err(StoreError::new(StoreError::NOT_COMMITTED));
            }
        }
        // Refused before anything of it is applied.
        for mutation in &request.mutations {
            check_mutation(mutation)?;
        }
        Ok(())
    }

    /// Works out the request's changes.
    fn changes(
        &self,
        stage: &mut Stage,
        request: &CommitRequest,
        receipt: CommitReceipt,
        pending: &mut Vec<Change>,
        log: &mut impl FnMut(&Change),
    ) -> Result<(), StoreError> {
        let before = self.values_before(request)?;
        let stamp = receipt.versionstamp();
        for mutation in &request.mutations {
            let change = match mutation {
                Mutation::Set(key, value) => Change::Set(key.clone(), value.clone()),
                Mutation::Clear(key) => Change::Clear(key.clone()),
                Mutation::ClearRange(begin, end) => Change::ClearRange(begin.clone(), end.clone()),
                Mutation::Atomic(MutationKind::SetVersionstampedKey, key, value) => {
                    let key = versionstamp::resolve_key(key, stamp)?;
                    stage.resolver.add_key(&key, receipt.version.0);
                    Change::Set(key, value.clone())
                }
                Mutation::Atomic(MutationKind::SetVersionstampedValue, key, value) => {
                    Change::Set(key.clone(), versionstamp::resolve_value(value, stamp)?)
                }
                Mutation::Atomic(kind, key, operand) => {
                    self.apply(pending, log);
                    let current = match self.window().find(key, u64::MAX) {
                        Found::Here(value) => value,
                        Found::InBase => before.get(key).cloned().flatten(),
                    };
                    match atomic::apply(*kind, current.as_deref(), operand) {
                        Some(value) => Change::Set(key.clone(), value),
                        None => Change::Clear(key.clone()),
                    }
                }
            };
            pending.push(change);
            if pending.len() >= APPLY_STEP {
                self.apply(pending, log);
            }
        }
        Ok(())
    }

    /// Values of the keys of atomic operations before the transaction. Read before anything of
    /// it is applied, so that a failing base cannot leave half of it.
    fn values_before<'a>(&self, request: &'a CommitRequest) -> Result<BTreeMap<&'a Bytes, Option<Bytes>>, StoreError> {
        let mut values = BTreeMap::new();
        for mutation in &request.mutations {
            if let Mutation::Atomic(kind, key, _) = mutation
                && !matches!(kind, MutationKind::SetVersionstampedKey | MutationKind::SetVersionstampedValue)
                && !values.contains_key(key)
            {
                values.insert(key, self.newest(key, u64::MAX)?);
            }
        }
        Ok(values)
    }

    fn apply(&self, pending: &mut Vec<Change>, log: &mut impl FnMut(&Change)) {
        if pending.is_empty() {
            return;
        }
        pending.iter().for_each(log);
        let mut window = self.window_mut();
        for change in pending.drain(..) {
            match change {
                Change::Set(key, value) => window.put(&key, Some(value)),
                Change::Clear(key) => window.put(&key, None),
                Change::ClearRange(begin, end) => {
                    let mut from = begin.clone();
                    while let Some(next) = window.clear_range(&from, &end, EVICT_STEP) {
                        from = next;
                        drop(window);
                        window = self.window_mut();
                    }
                    window.hide_base(&begin, &end);
                }
            }
        }
    }

    /// Commits up to `version` are durable (`logged`; or there were none): readers see them,
    /// watches fire.
    pub(crate) fn publish(&self, version: Version, logged: bool) {
        let before = self.versions.readable();
        self.versions.publish(version, logged);
        if self.watches.is_empty() {
            return;
        }
        let window = self.window();
        let (mut keys, ranges) = window.touched_after(before);
        drop(window);
        keys.retain(|key| self.watches.contains(key));
        for (begin, end) in ranges {
            keys.extend(self.watches.keys_in(&begin, &end));
        }
        for key in keys {
            if let Ok(value) = self.newest(&key, version.0) {
                self.watches.changed(&key, value.as_ref());
            }
        }
    }

    /// Undoes everything that is not published.
    pub(crate) fn undo_unpublished(&self) {
        self.window_mut().undo_after(self.versions.readable());
        self.versions.settle();
    }

    /// Newest version that may leave the window for its age.
    pub(crate) fn flush_limit(&self) -> u64 {
        self.versions.read().saturating_sub(self.span)
    }

    /// Moves the oldest batches, up to version `limit`, from the window to the base: about
    /// `keys_max` keys. The version that the base has then; `None` if nothing is that old.
    /// One caller at a time.
    pub(crate) fn flush(&self, limit: u64, keys_max: usize) -> Result<Option<u64>, StoreError> {
        let durable = self.versions.readable();
        let limit = limit.min(durable);
        let Some((version, records)) = self.window().flush_point(limit, keys_max) else { return Ok(None) };
        let mut changes = Vec::new();
        for number in 0..records {
            let mut from = Some(0);
            while let Some(at) = from {
                from = self.window().flush_part(number, at, (version, durable), EVICT_STEP, &mut changes);
            }
        }
        let cleared = self.window().cleared_upto(version);
        // Before the base changes: whoever reads an older version finds out afterwards.
        self.oldest.fetch_max(version, Ordering::AcqRel);
        self.base.advance(version, &cleared, changes)?;
        self.window_mut().evict_cleared(version);
        while self.evict_some(version) {}
        Ok(Some(version))
    }

    fn evict_some(&self, version: u64) -> bool {
        self.window_mut().evict_keys(version, EVICT_STEP)
    }
}

fn check_mutation(mutation: &Mutation) -> Result<(), StoreError> {
    let zero = Versionstamp([0; 10]);
    match mutation {
        Mutation::Atomic(MutationKind::SetVersionstampedKey, key, _) => versionstamp::resolve_key(key, zero).map(drop),
        Mutation::Atomic(MutationKind::SetVersionstampedValue, _, value) => {
            versionstamp::resolve_value(value, zero).map(drop)
        }
        Mutation::ClearRange(begin, end) if begin > end => Err(StoreError::new(StoreError::INVERTED_RANGE)),
        _ => Ok(()),
    }
}

//! The commit, and the watches and versionstamps that wait for it.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;

use super::{
    ClientTransaction, Phase, StampSender, State,
    epoch::Epoch,
    limits::{KEY_BYTES_MAX, MUTATION_OVERHEAD_BYTES, RANGE_OVERHEAD_BYTES},
    watches::Watches,
    writes::check_legal,
};
use crate::store::{
    StoreError, Versionstamp,
    engine::{CommitReceipt, CommitRequest, KeyRange, Mutation},
};

/// What a commit takes out of the transaction.
struct Outgoing {
    epoch: Arc<Epoch>,
    request: CommitRequest,
    bytes_max: usize,
    failed_read: Option<StoreError>,
    watches: Watches,
    stamps: Vec<StampSender>,
}

impl ClientTransaction {
    pub(super) async fn run_commit(&self) -> Result<(), StoreError> {
        let Outgoing { epoch, request, bytes_max, failed_read, mut watches, stamps } = self.begin_commit()?;
        let is_sent = failed_read.is_none();
        let learned = match failed_read {
            Some(error) => Err(error),
            None => Ok(self.learn_watched(&epoch, &mut watches).await),
        };
        let outcome = match learned {
            Err(error) => Err(error),
            Ok(Ok(())) => self.send_commit(&epoch, request, bytes_max).await,
            Ok(Err(error)) => {
                // Only the watches needed this read: the commit goes on without them.
                std::mem::take(&mut watches).fail(&error);
                self.send_commit(&epoch, request, bytes_max).await
            }
        };
        let receipt = match outcome {
            Ok(receipt) => receipt,
            Err(error) => {
                watches.fail(&error);
                if is_sent {
                    resolve(stamps, &Err(StoreError::new(StoreError::TRANSACTION_INVALID_VERSION)));
                } else {
                    // A commit that was never sent has no answer: they end with the transaction.
                    self.lock().stamps.extend(stamps);
                }
                return Err(error);
            }
        };
        let watched_from = match receipt {
            Some(receipt) => Some(receipt.version),
            None => epoch.version.get().copied(),
        };
        {
            let mut state = self.lock();
            if Arc::ptr_eq(&state.epoch, &epoch) {
                state.committed = receipt.map(|receipt| receipt.version);
            }
        }
        let stamp = receipt.map(|receipt| receipt.versionstamp());
        resolve(stamps, &stamp.ok_or_else(|| StoreError::new(StoreError::NO_COMMIT_VERSION)));
        if let Some(version) = watched_from {
            watches.begin(&*self.engine, version);
        }
        Ok(())
    }

    /// Closes the transaction for everything else.
    fn begin_commit(&self) -> Result<Outgoing, StoreError> {
        let mut state = self.enter()?;
        state.phase = Phase::Committing;
        let State { epoch, settings, overlay, read_conflicts, write_conflicts, failed_read, watches, stamps, .. } =
            &mut *state;
        let request = CommitRequest {
            read_version: None,
            read_conflicts: std::mem::take(read_conflicts).into_ranges(),
            write_conflicts: std::mem::take(write_conflicts).into_ranges(),
            mutations: std::mem::take(overlay).into_mutations(),
            lock_aware: settings.request.lock_aware,
        };
        Ok(Outgoing {
            epoch: Arc::clone(epoch),
            request,
            bytes_max: settings.bytes_max,
            failed_read: failed_read.take(),
            watches: std::mem::take(watches),
            stamps: std::mem::take(stamps),
        })
    }

    /// `None`: there was nothing to write, so nothing was sent.
    async fn send_commit(
        &self,
        epoch: &Epoch,
        mut request: CommitRequest,
        bytes_max: usize,
    ) -> Result<Option<CommitReceipt>, StoreError> {
        if request.mutations.is_empty() && request.write_conflicts.is_empty() {
            return Ok(None);
        }
        let bytes = request_bytes(&request);
        if bytes > bytes_max {
            let context = format!("transaction of {bytes} bytes; at most {bytes_max}");
            return Err(StoreError::with(StoreError::TRANSACTION_TOO_LARGE, context));
        }
        if !request.read_conflicts.is_empty() {
            request.read_version = Some(self.version(epoch).await?);
        }
        let started = self.clock.monotonic();
        let deadline = self.lock().deadline();
        let receipt = self.bounded(epoch, deadline, self.engine.commit(request)).await?;
        self.metrics.commit.record(self.clock.monotonic().since(started));
        Ok(Some(receipt))
    }

    /// Asks the engine for the values that watches were set on.
    async fn learn_watched(&self, epoch: &Epoch, watches: &mut Watches) -> Result<(), StoreError> {
        if watches.is_empty() {
            return Ok(());
        }
        // A watch on a value that the transaction itself knows needs a version all the same.
        let version = self.version(epoch).await?;
        let keys = watches.unknown();
        if keys.is_empty() {
            return Ok(());
        }
        let deadline = self.lock().deadline();
        let values = self.bounded(epoch, deadline, self.engine.get_many(keys.clone(), version)).await?;
        watches.learn(keys.into_iter().zip(values));
        Ok(())
    }

    pub(super) fn set_watch(&self, key: Bytes) -> Result<BoxFuture<'static, Result<(), StoreError>>, StoreError> {
        let mut state = self.enter()?;
        let state = &mut *state;
        if !state.settings.sees_writes {
            return Err(StoreError::new(StoreError::WATCHES_DISABLED));
        }
        check_legal(&key, false)?;
        if key.len() > KEY_BYTES_MAX {
            let context = format!("key of {} bytes; at most {KEY_BYTES_MAX}", key.len());
            return Err(StoreError::with(StoreError::KEY_TOO_LARGE, context));
        }
        state.used = true;
        let view = state.overlay.view(&key);
        let watching = state.watches.add(key.clone(), &view);
        // FoundationDB reads the key here, and that conflicts.
        state.note_key_read(&key);
        watching.ok_or_else(|| StoreError::new(StoreError::ACCESSED_UNREADABLE))
    }
}

fn resolve(stamps: Vec<StampSender>, stamp: &Result<Versionstamp, StoreError>) {
    for sender in stamps {
        // Nobody may be waiting for it any more.
        let _ = sender.send(stamp.clone());
    }
}

/// What counts against the limit.
fn request_bytes(request: &CommitRequest) -> usize {
    let mutations = request.mutations.iter().map(|mutation| {
        MUTATION_OVERHEAD_BYTES
            + match mutation {
                Mutation::Clear(key) => 2 * key.len() + 1,
                Mutation::Set(key, other) | Mutation::ClearRange(key, other) | Mutation::Atomic(_, key, other) => {
                    key.len() + other.len()
                }
            }
    });
    let ranges = request.read_conflicts.iter().chain(&request.write_conflicts);
    let ranges = ranges.map(|KeyRange { begin, end }| RANGE_OVERHEAD_BYTES + begin.len() + end.len());
    mutations.sum::<usize>() + ranges.sum::<usize>()
}

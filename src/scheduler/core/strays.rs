//! Leases that memory does not know: their firing was committed, and nobody ever heard of it.
//!
//! A firing whose outcome is unknown is tried again and then finds the lease. But that takes a
//! session, and a rescan may come first: it finds no due entry any more, and drops the task from
//! memory. So each rescan looks through the leases, too. One that is unknown may have ended since the page was
//! read; one that stands [`CONFIRM_PAUSE`] later and is still unknown is nobody's, and is taken back.

use std::{sync::Arc, time::Duration};

use escapement_engine::{SessionId, ShardId, TaskId, Token};

use super::{Core, message::Message};
use crate::{records::Lease, scheduler::transactions};

/// Far longer than a message takes to the core.
const CONFIRM_PAUSE: Duration = Duration::from_secs(1);

/// A lease in the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct HeldLease {
    pub(crate) shard: ShardId,
    pub(crate) id: TaskId,
    pub(crate) session: SessionId,
    pub(crate) token: Token,
}

fn held(shard: ShardId, rows: Vec<(TaskId, Lease)>) -> Vec<HeldLease> {
    let held = |(id, lease): (TaskId, Lease)| HeldLease { shard, id, session: lease.session, token: lease.token };
    rows.into_iter().map(held).collect()
}

impl Core {
    /// Looks through a shard's leases.
    pub(super) fn look_for_strays(&self, shard: ShardId) {
        let shared = Arc::clone(&self.shared);
        self.spawn(async move {
            let mut after = None;
            loop {
                match transactions::load_leases(&shared.db, shard, after, shared.options.scan_page_rows).await {
                    Ok((rows, next)) => {
                        let read = Message::LeasesRead { leases: held(shard, rows), again: false };
                        if next.is_none() {
                            return read;
                        }
                        after = next;
                        shared.tell(read).await;
                    }
                    Err(error) => {
                        tracing::warn!(%error, shard = shard.0, "looking through the leases failed");
                        return Message::LeasesRead { leases: Vec::new(), again: false };
                    }
                }
            }
        });
    }

    /// Leases that the store has; `again`: they were unknown a moment ago, too.
    pub(super) fn leases_read(&self, leases: Vec<HeldLease>, again: bool) {
        let unknown: Vec<_> = leases.into_iter().filter(|it| !self.dispatcher.has_attempt(it.id)).collect();
        if unknown.is_empty() {
            return;
        }
        if again {
            tracing::info!(tasks = unknown.len(), "taking back attempts that were fired and that nobody was told of");
            let ends = unknown.iter().map(|it| self.lost(it.session, it.id, it.token)).collect();
            return self.end_all(ends);
        }
        let shared = Arc::clone(&self.shared);
        self.spawn(async move {
            shared.clock.sleep(CONFIRM_PAUSE).await;
            let tasks: Vec<_> = unknown.iter().map(|it| (it.shard, it.id)).collect();
            let still = transactions::read_leases(&shared.db, &tasks).await.unwrap_or_else(|error| {
                tracing::warn!(%error, "looking at leases again failed");
                Vec::new()
            });
            let stands = |it: &HeldLease| still.iter().any(|(id, lease)| (*id, lease.token) == (it.id, it.token));
            Message::LeasesRead { leases: unknown.into_iter().filter(stands).collect(), again: true }
        });
    }
}

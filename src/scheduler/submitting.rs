//! The way in: submissions of many callers gather into transactions. A caller is answered
//! only after the commit that holds its tasks.

use std::sync::Arc;

use escapement_engine::planted::{Bug, planted};
use tokio::sync::{mpsc, oneshot};

use super::{
    Shared,
    batch::{self, BatchLimits},
    core::{Message, Offer},
    counters,
    transactions::{self, SubmitRefusal, Submitted},
};
use crate::{model::NewTask, store::RunError};

/// Tasks of one call, and where its answer goes.
#[derive(Debug)]
pub(crate) struct SubmitJob {
    pub(crate) tasks: Vec<NewTask>,
    pub(crate) reply: oneshot::Sender<Result<Vec<Result<Submitted, SubmitRefusal>>, SubmitFailed>>,
}

/// The transaction failed; the tasks may or may not be there. Submitting them again under
/// the same ids is safe.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub(crate) struct SubmitFailed {
    pub(crate) message: String,
    pub(crate) storage_full: bool,
    /// Nobody knows whether some of it was committed.
    pub(crate) unknown: bool,
}

/// Calls waiting to be gathered.
pub(crate) const QUEUE: usize = 1024;

/// Counted in bytes as they will be written: a transaction of about a megabyte.
const LIMITS: BatchLimits = BatchLimits { weight_max: 1 << 20, in_flight_max: 4 };

/// What a task adds to a transaction beside what its caller chose: keys, records, conflict ranges.
const TASK_OVERHEAD_BYTES: usize = 700;

/// Commits submissions until the scheduler ends.
pub(crate) async fn run(shared: Arc<Shared>, jobs: mpsc::Receiver<SubmitJob>) {
    let ended = shared.ended();
    batch::run(jobs, LIMITS, ended, weigh, move |jobs| commit(Arc::clone(&shared), jobs)).await;
}

fn weigh(job: &SubmitJob) -> usize {
    job.tasks.iter().map(heavy).sum()
}

fn heavy(task: &NewTask) -> usize {
    let key = task.idempotency.as_ref().map_or(0, |it| it.key.len());
    TASK_OVERHEAD_BYTES + task.template.variable_bytes() + key
}

async fn commit(shared: Arc<Shared>, jobs: Vec<SubmitJob>) {
    let (counts, tasks): (Vec<_>, Vec<_>) =
        jobs.into_iter().map(|job| ((job.tasks.len(), job.reply), job.tasks)).unzip();
    let tasks: Arc<[NewTask]> = tasks.into_iter().flatten().collect();
    match commit_parts(&shared, &tasks).await {
        Ok(results) => {
            let mut results = results.into_iter();
            for (count, reply) in counts {
                // A caller that is gone will ask again under the same ids.
                let _ = reply.send(Ok(results.by_ref().take(count).collect()));
            }
        }
        Err(failed) => {
            for (_, reply) in counts {
                let _ = reply.send(Err(failed.clone()));
            }
        }
    }
}

/// One transaction, or several where a single call is too heavy for one.
async fn commit_parts(
    shared: &Arc<Shared>,
    tasks: &Arc<[NewTask]>,
) -> Result<Vec<Result<Submitted, SubmitRefusal>>, SubmitFailed> {
    let mut results = Vec::with_capacity(tasks.len());
    for part in parts(tasks) {
        let committed = match planted(Bug::AcknowledgedEarly) {
            true => Ok(presume(shared, &part)),
            false => transactions::submit(&shared.db, shared.shards, Arc::clone(&part)).await,
        };
        let committed = match committed {
            Ok(committed) => committed,
            Err(error) => {
                tracing::warn!(%error, "submission failed");
                if matches!(error, RunError::MaybeCommitted { .. }) {
                    let shards = part.iter().map(|task| task.id.shard(shared.shards)).collect();
                    shared.tell(Message::Suspect(shards)).await;
                }
                return Err(SubmitFailed {
                    storage_full: super::storage_full(&error),
                    unknown: !results.is_empty() || matches!(error, RunError::MaybeCommitted { .. }),
                    message: error.to_string(),
                });
            }
        };
        offer(shared, &part, &committed).await;
        results.extend(committed);
    }
    Ok(results)
}

/// For the planted bug: what a commit would say that is still under way.
fn presume(shared: &Arc<Shared>, part: &Arc<[NewTask]>) -> Vec<Result<Submitted, SubmitRefusal>> {
    let (shared, under_way) = (Arc::clone(shared), Arc::clone(part));
    tokio::spawn(async move { transactions::submit(&shared.db, shared.shards, under_way).await.is_ok() });
    part.iter().map(|task| Ok(Submitted { id: task.id, due: task.due, created: true })).collect()
}

fn parts(tasks: &Arc<[NewTask]>) -> Vec<Arc<[NewTask]>> {
    let mut parts: Vec<Vec<NewTask>> = Vec::new();
    let mut weight = usize::MAX;
    if tasks.iter().map(heavy).sum::<usize>() <= LIMITS.weight_max {
        return vec![Arc::clone(tasks)];
    }
    for task in tasks.iter() {
        weight = weight.saturating_add(heavy(task));
        if weight > LIMITS.weight_max {
            parts.push(Vec::new());
            weight = heavy(task);
        }
        if let Some(part) = parts.last_mut() {
            part.push(task.clone());
        }
    }
    parts.into_iter().map(Arc::from).collect()
}

async fn offer(shared: &Arc<Shared>, tasks: &[NewTask], results: &[Result<Submitted, SubmitRefusal>]) {
    let created = |(task, result): (&NewTask, &Result<Submitted, SubmitRefusal>)| match result {
        Ok(submitted) if submitted.created => Some(Offer::of(shared.shards, task)),
        _ => None,
    };
    let offers: Vec<_> = tasks.iter().zip(results).filter_map(created).collect();
    counters::add(&shared.counters.submitted, offers.len());
    if !offers.is_empty() {
        shared.tell(Message::Offered(offers)).await;
    }
}

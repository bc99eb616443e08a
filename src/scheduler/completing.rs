//! The way out: completions of all sessions, timeouts and expired leases gather into
//! transactions. Verdicts go out only after the commit.

use std::sync::Arc;

use escapement_engine::SessionId;
use tokio::sync::mpsc;

use super::{
    Shared,
    batch::{self, BatchLimits},
    core::Message,
    transactions::{self, EndRequest, Ending},
};

/// An attempt that ends, and who wants to know what became of it.
#[derive(Debug)]
pub(crate) struct EndJob {
    pub(crate) request: EndRequest,
    /// Where the verdict goes; `None` when the server itself ends the attempt.
    pub(crate) verdict_to: Option<SessionId>,
}

/// Attempts waiting to be gathered.
pub(crate) const QUEUE: usize = 16_384;

const LIMITS: BatchLimits = BatchLimits { weight_max: 1 << 20, in_flight_max: 4 };

/// What an attempt adds to a transaction beside its result.
const ATTEMPT_OVERHEAD_BYTES: usize = 1000;

/// Tries of a batch before it is given up: its completions are repeated by their workers,
/// and what the server ends itself is found again by the next expiry.
const TRIES_MAX: u32 = 5;

/// Ends attempts until the scheduler ends.
pub(crate) async fn run(shared: Arc<Shared>, jobs: mpsc::Receiver<EndJob>) {
    let ended = shared.ended();
    batch::run(jobs, LIMITS, ended, weigh, move |jobs| commit(Arc::clone(&shared), jobs)).await;
}

fn weigh(job: &EndJob) -> usize {
    let carried = match &job.request.ending {
        Ending::Succeeded(result) => result.data.len(),
        Ending::Failed { error, .. } => error.message.len() + error.details.data.len(),
        Ending::TimedOut | Ending::LeaseExpired => 0,
    };
    ATTEMPT_OVERHEAD_BYTES + carried
}

async fn commit(shared: Arc<Shared>, jobs: Vec<EndJob>) {
    let (requests, verdicts_to): (Vec<_>, Vec<_>) = jobs.into_iter().map(|job| (job.request, job.verdict_to)).unzip();
    let requests: Arc<[EndRequest]> = requests.into();
    for tries in 1..=TRIES_MAX {
        // As early as it may be, so that a retry that is to start at once does not have to wait for the
        // clock's error to pass.
        let now = shared.clock.earliest();
        match transactions::end(&shared.db, &shared.ownership, Arc::clone(&requests), now).await {
            Ok(outcomes) => {
                shared.tell(Message::Ended { requests, verdicts_to, outcomes }).await;
                return;
            }
            Err(error) => {
                tracing::warn!(%error, tries, attempts = requests.len(), "ending attempts failed");
                shared.clock.sleep(super::RETRY_PAUSE * tries).await;
            }
        }
    }
    shared.tell(Message::EndFailed { requests }).await;
}

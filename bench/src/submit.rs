//! Submission in batches, by several callers at once.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use escapement::edge::net;
use escapement_proto::v1::{SubmitBatchRequest, TaskSpec, submit_result, task_service_client::TaskServiceClient};

/// How tasks are submitted.
#[derive(Clone, Debug)]
pub(crate) struct Batches {
    pub(crate) endpoint: String,
    /// Tasks in one call.
    pub(crate) batch: u64,
    /// Calls in flight.
    pub(crate) callers: u64,
}

impl Batches {
    /// Submits tasks 0 to `count`; `make` makes each, `gate` is waited for before each call.
    pub(crate) async fn submit<G>(
        &self,
        count: u64,
        make: impl Fn(u64) -> TaskSpec + Clone + Send + 'static,
        gate: impl Fn() -> G + Clone + Send + 'static,
    ) -> Result<(), String>
    where
        G: Future<Output = Result<(), String>> + Send,
    {
        let channel = net::connect(&self.endpoint).await.map_err(|error| error.to_string())?;
        let next = Arc::new(AtomicU64::new(0));
        let mut callers = Vec::new();
        for _ in 0..self.callers {
            let (next, batch, make, gate) = (Arc::clone(&next), self.batch, make.clone(), gate.clone());
            let mut client = TaskServiceClient::new(channel.clone());
            callers.push(tokio::spawn(async move {
                loop {
                    let from = next.fetch_add(batch, Ordering::Relaxed);
                    if from >= count {
                        return Ok::<_, String>(());
                    }
                    gate().await?;
                    let tasks = (from..count.min(from.saturating_add(batch))).map(&make).collect();
                    let answer = client.submit_batch(SubmitBatchRequest { tasks }).await;
                    let results = answer.map_err(|status| status.to_string())?.into_inner().results;
                    let accepted = |outcome: &_| matches!(outcome, Some(submit_result::Outcome::Accepted(_)));
                    if !results.iter().all(|result| accepted(&result.outcome)) {
                        return Err("a task was not accepted".to_owned());
                    }
                }
            }));
        }
        for caller in callers {
            caller.await.map_err(|error| error.to_string())??;
        }
        Ok(())
    }
}

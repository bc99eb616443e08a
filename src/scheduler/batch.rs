//! Gathers jobs into batches: a lone job goes at once, and while transactions are in flight
//! the next ones gather, so that batches grow with the load and nothing waits for a timer.

use std::{future::Future, pin::pin, sync::Arc};

use tokio::sync::{Semaphore, mpsc};

/// How large a batch may be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BatchLimits {
    /// Weight of all jobs of a batch together (a single heavier job goes alone).
    pub(crate) weight_max: usize,
    /// Batches in flight.
    pub(crate) in_flight_max: usize,
}

/// Takes jobs from `jobs` until it is closed or `ended` resolves, and hands them to `commit`
/// in batches. Ends when the last batch has ended.
pub(crate) async fn run<J, F>(
    mut jobs: mpsc::Receiver<J>,
    limits: BatchLimits,
    ended: impl Future<Output = ()>,
    weigh: impl Fn(&J) -> usize,
    commit: impl Fn(Vec<J>) -> F,
) where
    F: Future<Output = ()> + Send + 'static,
{
    let permits = Arc::new(Semaphore::new(limits.in_flight_max));
    let mut ended = pin!(ended);
    let mut held: Option<J> = None;
    while let Some(first) = match held.take() {
        Some(job) => Some(job),
        None => tokio::select! {
            biased;
            () = &mut ended => None,
            job = jobs.recv() => job,
        },
    } {
        let permit = Arc::clone(&permits).acquire_owned().await.expect("the semaphore is never closed");
        let mut weight = weigh(&first);
        let mut batch = vec![first];
        while weight < limits.weight_max {
            let Ok(job) = jobs.try_recv() else { break };
            weight += weigh(&job);
            if weight > limits.weight_max {
                held = Some(job);
                break;
            }
            batch.push(job);
        }
        let work = commit(batch);
        tokio::spawn(async move {
            work.await;
            drop(permit);
        });
    }
    let all = u32::try_from(limits.in_flight_max).unwrap_or(u32::MAX);
    let _ = permits.acquire_many(all).await;
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use tokio::sync::Notify;

    use super::*;

    #[tokio::test]
    async fn a_lone_job_goes_at_once_and_the_rest_gather_behind_it() {
        let (sender, receiver) = mpsc::channel(100);
        let batches = Arc::new(Mutex::new(Vec::new()));
        let (started, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let limits = BatchLimits { weight_max: 4, in_flight_max: 1 };
        let worker = tokio::spawn(run(receiver, limits, std::future::pending(), |_| 1, {
            let (batches, started, go) = (Arc::clone(&batches), Arc::clone(&started), Arc::clone(&go));
            move |batch: Vec<u32>| {
                let (batches, started, go) = (Arc::clone(&batches), Arc::clone(&started), Arc::clone(&go));
                async move {
                    batches.lock().unwrap().push(batch);
                    started.notify_one();
                    go.notified().await;
                }
            }
        }));
        sender.send(0).await.unwrap();
        started.notified().await;
        for job in 1..=6 {
            sender.send(job).await.unwrap();
        }
        drop(sender);
        go.notify_one();
        started.notified().await;
        go.notify_one();
        started.notified().await;
        go.notify_one();
        worker.await.unwrap();
        assert_eq!(*batches.lock().unwrap(), [vec![0], vec![1, 2, 3, 4], vec![5, 6]]);
    }
}

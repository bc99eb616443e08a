//! Batches in which tasks share an id or an idempotency key.
//!
//! A batch means what its tasks mean when submitted one after another. The backend takes only
//! tasks that share nothing, so they go to it in rounds: first each task that shares
//! nothing with an earlier one, then those that are left, and so on. A task that repeats an
//! earlier one word for word waits for no round: it gets the same answer, with
//! `created = false`. So ordinary batches, and those that a retry filled with repetitions, take one
//! round; only contradictory ones take more, one for each contradiction.

use std::collections::BTreeMap;

use escapement_engine::{TaskId, name::Namespace};

use super::{Backend, backend::Submitted};
use crate::{error::ApiError, model::NewTask};

type Outcome = Result<Submitted, ApiError>;

/// One round: tasks that share nothing, and those that wait for it.
#[derive(Debug, Default)]
struct Round {
    tasks: Vec<(usize, NewTask)>,
    /// Index of a repetition, and of the task that it repeats.
    repetitions: Vec<(usize, usize)>,
    /// Share something with a task of this round, and differ from it.
    rest: Vec<(usize, NewTask)>,
}

fn round(tasks: Vec<(usize, NewTask)>) -> Round {
    let mut ids: BTreeMap<TaskId, (usize, u64)> = BTreeMap::new();
    let mut keys: BTreeMap<(Namespace, String), (usize, u64)> = BTreeMap::new();
    let mut round = Round::default();
    for (index, task) in tasks {
        let key = task.idempotency.as_ref().map(|i| (task.namespace.clone(), i.key.clone()));
        let earlier = ids.get(&task.id).or_else(|| keys.get(key.as_ref()?));
        match earlier {
            None => {
                let entry = (index, task.content_hash);
                ids.insert(task.id, entry);
                if let Some(key) = key {
                    keys.insert(key, entry);
                }
                round.tasks.push((index, task));
            }
            Some((first, hash)) if *hash == task.content_hash => round.repetitions.push((index, *first)),
            Some(_) => round.rest.push((index, task)),
        }
    }
    round
}

/// Submits the tasks as if one after another; answers in their order.
pub(super) async fn submit<B: Backend>(backend: &B, tasks: Vec<NewTask>) -> Vec<Outcome> {
    let mut outcomes: BTreeMap<usize, Outcome> = BTreeMap::new();
    let mut waiting: Vec<(usize, NewTask)> = tasks.into_iter().enumerate().collect();
    while !waiting.is_empty() {
        let Round { tasks, repetitions, rest } = round(waiting);
        let (indexes, tasks): (Vec<usize>, Vec<NewTask>) = tasks.into_iter().unzip();
        let answers = backend.submit(tasks).await;
        assert_eq!(answers.len(), indexes.len(), "the backend answers each task");
        outcomes.extend(indexes.into_iter().zip(answers));
        for (index, first) in repetitions {
            let repeated = outcomes.get(&first).expect("the first was of this round").clone();
            outcomes.insert(index, repeated.map(|submitted| Submitted { created: false, ..submitted }));
        }
        waiting = rest;
    }
    outcomes.into_values().collect()
}

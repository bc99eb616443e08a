//! Reading tasks with long histories.

use super::{super::read::HISTORY_BYTES_MAX, world::now, *};
use crate::model::{Attempt, AttemptOutcome};

const ATTEMPTS: u32 = 200;
/// About as large as an attempt's row can be.
const DETAILS: usize = 64 << 10;

fn attempt(number: u32, details: usize) -> Attempt {
    let message = "m".repeat(4000);
    let details = Payload { data: vec![b'd'; details].into(), ..Payload::default() };
    let error = TaskError { kind: "e".to_owned(), message, non_retryable: false, details };
    Attempt {
        number,
        token: Token(number.into()),
        session: session(1),
        worker_name: "w".to_owned(),
        started: NOW,
        ended: Some((NOW, AttemptOutcome::Failed)),
        error: Some(error),
    }
}

fn with_history(details: usize) -> (World, NewTask) {
    let world = World::new();
    let mut it = task(1);
    it.template.retry.max_attempts = 1000;
    world.submit(std::slice::from_ref(&it));
    world.clear(due_key(&it));
    for number in 1..ATTEMPTS {
        world.put(keyspace::history(shard(it.id), it.id, number), attempt(number, details).encode());
    }
    let head = Head {
        state: TaskState::DeadLettered,
        attempts: ATTEMPTS,
        token: Token(ATTEMPTS.into()),
        due: NOW,
        finished: Some(NOW),
        last: Some(attempt(ATTEMPTS, details)),
        result: None,
        cancel_reason: String::new(),
        ended_by: None,
    };
    world.put(keyspace::head(shard(it.id), it.id), head.encode());
    (world, it)
}

fn bytes(attempts: &[Attempt]) -> usize {
    attempts.iter().map(|it| it.encode().len()).sum()
}

#[test]
fn a_long_history_is_answered_with_its_newest_attempts_and_how_many_are_left_out() {
    let (world, it) = with_history(DETAILS);
    let view = now(get_task(&world.db, SHARDS, &it.namespace, it.id)).unwrap().unwrap();
    let shown = u32::try_from(view.attempts.len()).unwrap();
    assert!(shown > 2, "{shown}");
    assert!(bytes(&view.attempts) <= HISTORY_BYTES_MAX + DETAILS + 5000, "{}", bytes(&view.attempts));
    assert_eq!(view.attempts_left_out, ATTEMPTS - shown);
    let numbers: Vec<_> = view.attempts.iter().map(|it| it.number).collect();
    assert_eq!(numbers, (ATTEMPTS - shown + 1..=ATTEMPTS).collect::<Vec<_>>(), "the newest, oldest first");
}

#[test]
fn a_history_of_many_pages_that_fits_is_whole() {
    let (world, it) = with_history(0);
    let whole = bytes(&[attempt(1, 0)]) * ATTEMPTS as usize;
    assert!((500_000..HISTORY_BYTES_MAX).contains(&whole), "more than the store reads at once: {whole}");
    let view = now(get_task(&world.db, SHARDS, &it.namespace, it.id)).unwrap().unwrap();
    let numbers: Vec<_> = view.attempts.iter().map(|it| it.number).collect();
    assert_eq!(numbers, (1..=ATTEMPTS).collect::<Vec<_>>());
    assert_eq!(view.attempts_left_out, 0);
}

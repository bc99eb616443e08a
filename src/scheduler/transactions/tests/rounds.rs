//! Batches read all at once: with one read for each task, a large one could outlast the version that
//! it reads at, in every try.

use super::{world::now, *};
use crate::model::Idempotency;

/// The same number of reads for two tasks as for forty.
fn check(what: &str, reads: impl Fn(&[NewTask]) -> u64) {
    let tasks =
        |count| (1..=count).map(|n| NewTask { deadline: Some(after(3_600_000)), ..task(n) }).collect::<Vec<_>>();
    let few = reads(&tasks(2));
    assert!(few > 0, "{what}");
    assert_eq!(reads(&tasks(40)), few, "{what}");
}

fn failures(tasks: &[NewTask]) -> Arc<[EndRequest]> {
    let of = |task: &NewTask| {
        let error = TaskError { kind: "e".to_owned(), ..TaskError::default() };
        let ending = Ending::Failed { error, retry_after: Duration::ZERO, timed_out: false };
        EndRequest { shard: shard(task.id), id: task.id, session: session(1), token: Token(1), ending, random: 0 }
    };
    tasks.iter().map(of).collect()
}

/// Fires these tasks and fails their first attempts; the instants of the second.
fn waiting_again(world: &World, tasks: &[NewTask]) -> Vec<NewTask> {
    world.running(tasks);
    let outcomes = now(end(&world.db, &world.ownership, failures(tasks), after(10))).unwrap();
    let due = |outcome: EndOutcome| match outcome {
        EndOutcome::Accepted { retry: Some(retry) } => retry.due,
        outcome => panic!("{outcome:?}"),
    };
    tasks.iter().zip(outcomes).map(|(task, outcome)| NewTask { due: due(outcome), ..task.clone() }).collect()
}

#[test]
fn a_batch_is_fired_in_as_many_reads_whatever_became_of_its_tasks() {
    let fire = |world: &World, tasks: &[NewTask], at, expected: fn(&FireOutcome) -> bool| {
        let room = world.room.stream();
        world.reads_of(|| {
            let outcomes = world.fire(tasks.iter().map(|task| request(task, &room)).collect(), at);
            assert!(outcomes.iter().all(expected), "{outcomes:?}");
        })
    };
    check("leased already", |tasks| {
        let world = World::new();
        world.running(tasks);
        fire(&world, tasks, NOW, |it| matches!(it, FireOutcome::Leased { .. }))
    });
    check("overdue after an attempt", |tasks| {
        let world = World::new();
        let again = waiting_again(&world, tasks);
        fire(&world, &again, after(4_000_000), |it| matches!(it, FireOutcome::DeadlinePassed))
    });
}

#[test]
fn overdue_tasks_are_failed_in_as_many_reads_and_keep_their_last_attempts() {
    check("overdue", |tasks| {
        let world = World::new();
        let again = waiting_again(&world, tasks);
        let passed: Arc<[_]> = again.iter().map(|task| (due_stream(SHARDS, task), task.due, task.id)).collect();
        let reads = world.reads_of(|| {
            let overdue =
                now(fail_overdue(&world.db, &world.ownership, Arc::clone(&passed), after(4_000_000))).unwrap();
            assert_eq!((overdue.failed.len(), overdue.unreadable), (tasks.len(), 0));
        });
        for task in tasks {
            let head = world.head(task).unwrap();
            assert_eq!((head.state, head.last.unwrap().number), (TaskState::Failed, 1));
        }
        reads
    });
}

#[test]
fn failures_whose_commit_nobody_heard_of_are_repeated_in_as_many_reads() {
    check("retries arranged", |tasks| {
        let world = World::new();
        world.running(tasks);
        world.fail([Fault::Applied(Vec::new())]);
        let reads = world.reads_of(|| {
            let outcomes = now(end(&world.db, &world.ownership, failures(tasks), after(10))).unwrap();
            let retried = |it: &EndOutcome| matches!(it, EndOutcome::Accepted { retry: Some(_) });
            assert!(outcomes.iter().all(retried), "{outcomes:?}");
        });
        assert!(world.failed());
        reads
    });
}

#[test]
fn tasks_that_are_known_by_their_keys_are_found_in_as_many_reads() {
    check("submitted again", |tasks| {
        let world = World::new();
        let keyed = |task: &NewTask, id| {
            let idempotency = Idempotency { key: format!("{}", task.id), window: Duration::from_secs(60) };
            NewTask { id, idempotency: Some(idempotency), ..task.clone() }
        };
        let first: Vec<_> = tasks.iter().map(|task| keyed(task, task.id)).collect();
        world.submit(&first);
        let again: Arc<[_]> = (1000..)
            .zip(tasks)
            .map(|(n, task)| NewTask { due: after(5), ..keyed(task, TaskId::from_parts(NOW, n)) })
            .collect();
        world.reads_of(|| {
            let results = now(submit(&world.db, SHARDS, Arc::clone(&again))).unwrap();
            for (task, result) in tasks.iter().zip(results) {
                let known = result.unwrap();
                assert_eq!((known.id, known.due, known.created), (task.id, NOW, false));
            }
        })
    });
}

#[test]
fn schedules_move_on_in_as_many_reads() {
    check("ticks", |tasks| {
        let world = World::new();
        let ticks: Arc<[_]> = (1..)
            .zip(tasks)
            .map(|(n, _)| {
                let spec = ScheduleSpec { id: ScheduleId::new(&format!("s{n}")).unwrap(), ..spec() };
                let (row, _) = now(create_schedule(&world.db, SHARDS, &spec, uid(n), NOW)).unwrap();
                DueTick { shard: row.uid.shard(SHARDS), at: row.next.unwrap(), uid: row.uid }
            })
            .collect();
        world.reads_of(|| {
            let outcomes =
                now(tick(&world.db, &world.ownership, SHARDS, Arc::clone(&ticks), after(150_000), 10)).unwrap();
            let made: Vec<_> = outcomes.iter().map(|it| it.tasks.len()).collect();
            assert_eq!(made, vec![made[0]; ticks.len()], "each what has passed");
            assert!(made[0] >= 2);
        })
    });
}

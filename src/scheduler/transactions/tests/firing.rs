//! Firing: deadlines, records that cannot be read, and the room for payloads.

use super::{world::now, *};
use crate::scheduler::room::TRANSACTION_BYTES_MAX;

const MIB: usize = 1 << 20;

#[test]
fn a_task_whose_deadline_has_passed_is_failed_and_never_runs() {
    let world = World::new();
    let late = NewTask { deadline: Some(after(10)), ..task(1) };
    let last = NewTask { deadline: Some(after(11)), ..task(2) };
    world.submit(&[late.clone(), last.clone()]);
    let room = world.room.stream();
    let outcomes = world.fire(vec![request(&late, &room), request(&last, &room)], after(11));
    assert!(matches!(outcomes[0], FireOutcome::DeadlinePassed), "{outcomes:?}");
    assert_eq!((world.lease(&late), world.row(due_key(&late))), (None, None));
    let head = world.head(&late).unwrap();
    assert_eq!((head.state, head.attempts, head.finished), (TaskState::Failed, 0, Some(after(11))));
    assert_eq!(head.ended_by.unwrap().kind, "deadline-exceeded");
    // At its very deadline a task may start.
    assert!(matches!(outcomes[1], FireOutcome::Fired(_)), "{outcomes:?}");
    assert_eq!(world.lease(&last).unwrap().started, after(11));
}

#[test]
fn a_task_that_cannot_be_read_stays_as_it_is_and_holds_up_no_other() {
    let world = World::new();
    let tasks: Vec<_> = (1..=5).map(|n| with_payload(n, 100)).collect();
    world.submit(&tasks);
    world.put(due_key(&tasks[1]), "no due record");
    world.clear(keyspace::payload(shard(tasks[3].id), tasks[3].id, 0));
    let room = world.room.stream();
    let requests = || tasks.iter().map(|task| request(task, &room)).collect::<Vec<_>>();
    let outcomes = world.fire(requests(), NOW);
    for (n, (task, outcome)) in tasks.iter().zip(&outcomes).enumerate() {
        if [1, 3].contains(&n) {
            assert!(matches!(outcome, FireOutcome::Unreadable), "{n}: {outcome:?}");
            assert!(world.lease(task).is_none() && world.row(due_key(task)).is_some(), "{n}");
        } else {
            assert!(
                matches!(outcome, FireOutcome::Fired(fired) if fired.payload.data.len() == 100),
                "{n}: {outcome:?}"
            );
            assert!(world.lease(task).is_some() && world.row(due_key(task)).is_none(), "{n}");
        }
    }
    drop(outcomes);
    assert_eq!(world.room.used(), 0);
}

#[test]
fn a_deadline_that_cannot_be_read_holds_up_no_other() {
    let world = World::new();
    let tasks: Vec<_> = (1..=3).map(|n| NewTask { deadline: Some(after(5)), ..task(n) }).collect();
    world.submit(&tasks);
    world.put(due_key(&tasks[0]), "no due record");
    let passed: Arc<[_]> = tasks.iter().map(|task| (due_stream(SHARDS, task), task.due, task.id)).collect();
    let overdue = now(fail_overdue(&world.db, &world.ownership, passed, after(6))).unwrap();
    assert_eq!((overdue.failed, overdue.unreadable), (vec![tasks[1].id, tasks[2].id], 1));
    assert_eq!(world.head(&tasks[2]).unwrap().state, TaskState::Failed);
    assert!(world.row(due_key(&tasks[0])).is_some());
}

#[test]
fn a_lease_or_due_entry_that_cannot_be_read_is_no_obstacle_to_loading() {
    let world = World::new();
    let mut same_shard = (1..).map(task).filter(|it| shard(it.id) == ShardId(0));
    let mut next = || same_shard.next().unwrap();
    let (waiting, running, leased) = (next(), next(), next());
    let due = NewTask { due: after(1), ..next() };
    world.running(std::slice::from_ref(&running));
    world.submit(std::slice::from_ref(&waiting));
    world.put(due_key(&due), "no due record");
    world.put(keyspace::lease(ShardId(0), leased.id), "no lease");

    let (leases, next) = now(load_leases(&world.db, ShardId(0), None, 1000)).unwrap();
    assert_eq!((leases.len(), leases[0].0, next), (1, running.id, None));
    let stream = due_stream(SHARDS, &waiting);
    let page = now(read_due(&world.db, &stream, None, after(10), 100)).unwrap();
    let ids: Vec<_> = page.rows.iter().map(|(_, id, _)| *id).collect();
    assert_eq!(ids, [waiting.id, due.id], "firing is to find out");
}

#[test]
fn a_batch_reads_no_more_payload_than_it_has_room_for_and_the_rest_stays_due() {
    let world = World::new();
    let tasks: Vec<_> = (1..=12).map(|n| with_payload(n, MIB)).collect();
    let mut other = task(13);
    other.template.queue = QueueName::new("other").unwrap();
    world.submit(&tasks);
    world.submit(std::slice::from_ref(&other));
    let room = world.room.stream();
    let requests = tasks.iter().chain([&other]).map(|task| request(task, &room)).collect();
    let outcomes = world.fire(requests, NOW);
    let fits = TRANSACTION_BYTES_MAX / MIB;
    for (n, outcome) in outcomes.iter().enumerate() {
        match outcome {
            FireOutcome::Fired(_) => assert!(n < fits || n == 12, "task {n}"),
            FireOutcome::Deferred => assert!((fits..12).contains(&n), "task {n}"),
            outcome => panic!("task {n}: {outcome:?}"),
        }
    }
    assert_eq!(world.room.used(), TRANSACTION_BYTES_MAX);
    assert!(tasks[fits..].iter().all(|task| world.row(due_key(task)).is_some() && world.lease(task).is_none()));
    // They are on their way; then the rest has its turn.
    drop(outcomes);
    assert_eq!(world.room.used(), 0);
    let outcomes = world.fire(tasks[fits..].iter().map(|task| request(task, &room)).collect(), NOW);
    assert!(outcomes.iter().all(|it| matches!(it, FireOutcome::Fired(_))), "{outcomes:?}");
}

#[test]
fn the_largest_payload_is_fired_beside_others_and_a_full_stream_holds_up_only_itself() {
    let world = World::new();
    let large = limits::PAYLOAD_BYTES_CEILING;
    let tasks = [with_payload(1, TRANSACTION_BYTES_MAX - 1), with_payload(2, large), with_payload(3, MIB), task(4)];
    world.submit(&tasks);
    let (one, two) = (world.room.stream(), world.room.stream());
    let outcomes = world.fire(vec![request(&tasks[0], &one), request(&tasks[1], &one)], NOW);
    assert!(outcomes.iter().all(|it| matches!(it, FireOutcome::Fired(_))), "{outcomes:?}");
    // The stream has one byte left; what is on its way there now takes it.
    let last = one.take(MIB).unwrap();
    let outcome = world.fire(vec![request(&tasks[2], &one), request(&tasks[3], &one)], NOW);
    assert!(matches!(outcome[..], [FireOutcome::Deferred, FireOutcome::Fired(_)]), "{outcome:?}");
    let outcome = world.fire(vec![request(&tasks[2], &two)], NOW);
    assert!(matches!(outcome[..], [FireOutcome::Fired(_)]), "{outcome:?}");
    drop((outcomes, outcome, last));
    assert_eq!(world.room.used(), 0);
}

//! What follows a commit of which nobody heard whether it happened.

use super::{world::now, *};
use crate::{
    model::{Attempt, AttemptOutcome, Occurrence, ScheduleState},
    store::{StoreError, engine::Mutation},
};

fn created(world: &World, n: u128) -> ScheduleRow {
    now(create_schedule(&world.db, SHARDS, &spec(), uid(n), NOW)).unwrap().0
}

fn schedule_key() -> Bytes {
    keyspace::schedule(&spec().namespace, &spec().id)
}

fn tick_of(row: &ScheduleRow) -> DueTick {
    DueTick { shard: row.uid.shard(SHARDS), at: row.next.unwrap(), uid: row.uid }
}

fn beat_of(world: &World, n: u64) -> Outcome<()> {
    let member = Member { beat: n, lease: Duration::from_secs(3), address: String::new(), started: NOW };
    now(beat(&world.db, world.ownership.session, &member, Some(&world.ownership)))
}

#[test]
fn a_beat_that_lands_late_does_not_set_a_newer_one_back() {
    let world = World::new();
    let key = || keyspace::member(world.ownership.session);
    beat_of(&world, 1).unwrap();
    world.fail([Fault::Late]);
    beat_of(&world, 2).unwrap();
    beat_of(&world, 3).unwrap();
    assert_eq!(world.read::<Member>(key()).unwrap().beat, 3);
    let landed = world.land();
    assert_eq!(landed.len(), 1, "the first try of the second beat");
    assert_eq!(landed[0].as_ref().map_err(|error| error.code), Err(StoreError::NOT_COMMITTED));
    assert_eq!(world.read::<Member>(key()).unwrap().beat, 3);

    // The same for a whole beat that comes too late.
    beat_of(&world, 2).unwrap();
    assert_eq!(world.read::<Member>(key()).unwrap().beat, 3);
}

#[test]
fn a_tick_leaves_an_occurrence_that_is_a_task_already_as_it_is() {
    let world = World::new();
    let row = created(&world, 5);
    let nominal = row.next.unwrap();
    // It became a task before, and that has ended: e.g. the schedule's row was restored.
    let done = NewTask {
        id: TaskId::of_occurrence(row.uid, nominal),
        due: nominal,
        occurrence: Some(Occurrence { schedule: row.spec.id.clone(), nominal: Some(nominal), uid: Some(row.uid) }),
        ..task(0)
    };
    world.submit(std::slice::from_ref(&done));
    world.clear(due_key(&done));
    let head = Head {
        state: TaskState::Cancelled,
        attempts: 0,
        token: Token(0),
        due: nominal,
        finished: Some(nominal),
        last: None,
        result: None,
        cancel_reason: "by hand".to_owned(),
        ended_by: None,
    };
    world.put(keyspace::head(shard(done.id), done.id), head.encode());
    let task_row = world.row(keyspace::task(shard(done.id), done.id));

    let until = nominal.saturating_add(Duration::from_secs(60));
    let outcomes = now(tick(&world.db, &world.ownership, SHARDS, Arc::from([tick_of(&row)]), until, 100)).unwrap();
    let made: Vec<_> = outcomes[0].tasks.iter().map(|task| task.due).collect();
    assert_eq!(made, [until], "the other instant alone");
    assert_eq!(world.head(&done), Some(head));
    assert_eq!(world.row(due_key(&done)), None, "it is not due again");
    assert_eq!(world.row(keyspace::task(shard(done.id), done.id)), task_row);
    let after = world.read::<ScheduleRow>(schedule_key()).unwrap();
    assert_eq!((after.last, after.next), (Some(until), Some(until.saturating_add(Duration::from_secs(60)))));
}

#[test]
fn a_tick_whose_commit_was_unknown_makes_its_task_once() {
    for fault in [Fault::Applied(vec![]), Fault::Lost(vec![])] {
        let world = World::new();
        let row = created(&world, 5);
        let nominal = row.next.unwrap();
        let text = format!("{fault:?}");
        world.fail([fault]);
        let outcomes = now(tick(&world.db, &world.ownership, SHARDS, Arc::from([tick_of(&row)]), nominal, 100));
        let outcome = &outcomes.unwrap()[0];
        // One that finds itself done tells that there is something to be looked up.
        assert_eq!(outcome.absent, text.starts_with("Applied"), "{text}");
        let after = world.read::<ScheduleRow>(schedule_key()).unwrap();
        assert_eq!((after.occurrences, after.last), (1, Some(nominal)), "{text}");
        let made: StoredTask =
            world.read(keyspace::task(row.uid.shard(SHARDS), TaskId::of_occurrence(row.uid, nominal))).unwrap();
        let occurrence = made.occurrence.unwrap();
        assert_eq!((occurrence.uid, occurrence.nominal), (Some(row.uid), Some(nominal)), "named for ever");
    }
}

#[test]
fn a_deletion_whose_commit_was_unknown_deletes_that_schedule_and_no_later_one() {
    let namespace = spec().namespace;
    // It was applied.
    let world = World::new();
    let row = created(&world, 5);
    world.fail([Fault::Applied(vec![])]);
    now(delete_schedule(&world.db, SHARDS, &namespace, &row.spec.id)).unwrap();
    assert!(world.failed() && world.row(schedule_key()).is_none());

    // It was not.
    let world = World::new();
    let row = created(&world, 5);
    world.fail([Fault::Lost(vec![])]);
    now(delete_schedule(&world.db, SHARDS, &namespace, &row.spec.id)).unwrap();
    assert!(world.failed() && world.row(schedule_key()).is_none());
    assert!(world.row(keyspace::tick(row.uid.shard(SHARDS), row.next.unwrap(), row.uid)).is_none());

    // It was applied, and then somebody made another schedule of that name.
    let world = World::new();
    let row = created(&world, 5);
    let later = ScheduleRow { uid: uid(6), ..row.clone() };
    world.fail([Fault::Applied(vec![Mutation::Set(schedule_key(), later.encode())])]);
    now(delete_schedule(&world.db, SHARDS, &namespace, &row.spec.id)).unwrap();
    assert!(world.failed());
    assert_eq!(world.read::<ScheduleRow>(schedule_key()), Some(later));

    // Without an unknown commit, what is not there is not found.
    let world = World::new();
    let missing = now(delete_schedule(&world.db, SHARDS, &namespace, &row.spec.id));
    assert!(matches!(missing, Err(RunError::Refused(Refusal::ScheduleNotFound(_)))), "{missing:?}");
    assert_eq!(row.state, ScheduleState::Active);
}

#[test]
fn a_cancellation_whose_commit_was_unknown_still_tells_which_attempt_it_cut_off() {
    let cancel_it =
        |world: &World, task: &NewTask| now(cancel(&world.db, SHARDS, &task.namespace, task.id, "enough", after(10)));
    for fault in [Fault::Applied(vec![]), Fault::Lost(vec![])] {
        let world = World::new();
        let running = task(1);
        world.running(std::slice::from_ref(&running));
        let text = format!("{fault:?}");
        world.fail([fault]);
        let cancelled = cancel_it(&world, &running).unwrap();
        assert_eq!(cancelled.running, Some((session(1), Token(1))), "{text}: its worker is to be told");
        assert_eq!((cancelled.view.state, cancelled.view.attempts.len()), (TaskState::Cancelled, 1), "{text}");
        assert!(world.failed() && world.lease(&running).is_none(), "{text}");
    }

    // A task that waited: nobody to be told.
    let world = World::new();
    world.submit(&[task(1)]);
    world.fail([Fault::Applied(vec![])]);
    let cancelled = cancel_it(&world, &task(1)).unwrap();
    assert_eq!((cancelled.running, cancelled.view.state), (None, TaskState::Cancelled));
    assert_eq!(world.row(due_key(&task(1))), None);
}

#[test]
fn a_cancellation_that_was_lost_does_not_take_anothers_for_its_own() {
    let world = World::new();
    let running = task(1);
    world.running(std::slice::from_ref(&running));
    let lease = world.lease(&running).unwrap();
    let last = Attempt {
        number: 1,
        token: lease.token,
        session: lease.session,
        worker_name: lease.worker_name,
        started: lease.started,
        ended: Some((after(9), AttemptOutcome::Cancelled)),
        error: None,
    };
    let head = Head {
        state: TaskState::Cancelled,
        attempts: 1,
        token: lease.token,
        due: NOW,
        finished: Some(after(9)),
        last: Some(last),
        result: None,
        cancel_reason: "somebody else".to_owned(),
        ended_by: None,
    };
    let (shard, id) = (shard(running.id), running.id);
    world.fail([Fault::Lost(vec![
        Mutation::Clear(keyspace::lease(shard, id)),
        Mutation::Set(keyspace::head(shard, id), head.encode()),
    ])]);
    let cancelled = now(cancel(&world.db, SHARDS, &running.namespace, id, "enough", after(10))).unwrap();
    assert_eq!((cancelled.running, cancelled.view.cancel_reason.as_str()), (None, "somebody else"));
    assert!(world.failed());
}

//! Schedules that somebody else changes between a commit of unknown outcome and the next try.

use escapement_engine::ScheduleUid;

use super::*;
use crate::model::{ScheduleSpec, ScheduleState};

fn spec_of(content_hash: u64) -> ScheduleSpec {
    ScheduleSpec { content_hash, ..spec() }
}

fn create(db: &Database, content: u64, number: u128) -> Outcome<(crate::records::ScheduleRow, bool)> {
    ready(create_schedule(db, SHARDS, &spec_of(content), uid(number), NOW))
}

fn pause(db: &Database) -> ScheduleState {
    ready(pause_schedule(db, SHARDS, &spec().namespace, &spec().id)).unwrap().state
}

fn resume(db: &Database) -> ScheduleState {
    ready(resume_schedule(db, SHARDS, &spec().namespace, &spec().id, NOW)).unwrap().state
}

fn delete(db: &Database) {
    ready(delete_schedule(db, SHARDS, &spec().namespace, &spec().id)).unwrap();
}

/// Which schedule there is, and whether it makes tasks.
fn found(db: &Database) -> Option<(ScheduleUid, ScheduleState)> {
    let found = ready(get_schedule(db, &spec().namespace, &spec().id));
    let ticks =
        (0..SHARDS).map(|shard| ready(read_ticks(db, ShardId(shard), None, 1000)).unwrap().rows.len()).sum::<usize>();
    let found = found.ok().map(|row| (row.uid, row.state));
    assert_eq!(
        ticks,
        usize::from(found.is_some_and(|(_, state)| state == ScheduleState::Active)),
        "one tick if active"
    );
    found
}

fn refusal<T>(outcome: Outcome<T>) -> Refusal {
    match outcome {
        Err(RunError::Refused(refusal)) => refusal,
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("not refused"),
    }
}

#[test]
fn a_schedule_that_was_made_and_then_deleted_by_somebody_else_does_not_come_back() {
    let it = setup();
    let other = it.other.clone();
    it.unlucky.strike(Fate::Done, Some(Box::new(move || delete(&other))));
    let (row, created) = create(&it.db, 1, 1).unwrap();
    assert_eq!((row.uid, created), (uid(1), true));
    assert_eq!(found(&it.other), None);
}

#[test]
fn a_schedule_that_was_not_made_is_made_although_another_of_its_name_came_and_went() {
    let it = setup();
    let other = it.other.clone();
    let meanwhile = move || {
        create(&other, 2, 2).unwrap();
        delete(&other);
    };
    it.unlucky.strike(Fate::NotDone, Some(Box::new(meanwhile)));
    assert!(create(&it.db, 1, 1).unwrap().1);
    assert_eq!(found(&it.other), Some((uid(1), ScheduleState::Active)));
}

#[test]
fn where_nobody_can_tell_whether_a_schedule_was_made_the_answer_says_so_and_changes_nothing() {
    for fate in [Fate::Done, Fate::NotDone] {
        let it = setup();
        let other = it.other.clone();
        let meanwhile = move || {
            if fate == Fate::NotDone {
                create(&other, 2, 2).unwrap();
            }
            delete(&other);
            create(&other, 3, 3).unwrap();
            delete(&other);
        };
        it.unlucky.strike(fate, Some(Box::new(meanwhile)));
        assert_eq!(refusal(create(&it.db, 1, 1)), Refusal::CreationUnknown(spec().id), "{fate:?}");
        assert_eq!(found(&it.other), None, "{fate:?}");
    }
}

#[test]
fn another_schedule_of_the_same_name_is_neither_taken_for_the_own_one_nor_replaced() {
    let it = setup();
    let other = it.other.clone();
    it.unlucky.strike(Fate::NotDone, Some(Box::new(move || drop(create(&other, 2, 2).unwrap()))));
    assert_eq!(refusal(create(&it.db, 1, 1)), Refusal::ScheduleExists(spec().id));
    assert_eq!(found(&it.other), Some((uid(2), ScheduleState::Active)));
}

#[test]
fn a_pause_that_somebody_resumed_is_not_done_again() {
    let it = setup();
    create(&it.db, 1, 1).unwrap();
    let other = it.other.clone();
    it.unlucky.strike(Fate::Done, Some(Box::new(move || assert_eq!(resume(&other), ScheduleState::Active))));
    pause(&it.db);
    assert_eq!(found(&it.other), Some((uid(1), ScheduleState::Active)));
}

#[test]
fn a_resumption_that_somebody_paused_is_not_done_again() {
    let it = setup();
    create(&it.db, 1, 1).unwrap();
    pause(&it.db);
    let other = it.other.clone();
    it.unlucky.strike(Fate::Done, Some(Box::new(move || assert_eq!(pause(&other), ScheduleState::Paused))));
    resume(&it.db);
    assert_eq!(found(&it.other), Some((uid(1), ScheduleState::Paused)));
}

#[test]
fn a_pause_does_not_reach_a_later_schedule_of_the_same_name() {
    let it = setup();
    create(&it.db, 1, 1).unwrap();
    let other = it.other.clone();
    let meanwhile = move || {
        delete(&other);
        create(&other, 2, 2).unwrap();
    };
    it.unlucky.strike(Fate::Done, Some(Box::new(meanwhile)));
    assert_eq!(pause(&it.db), ScheduleState::Paused);
    assert_eq!(found(&it.other), Some((uid(2), ScheduleState::Active)));
}

#[test]
fn a_pause_is_done_although_the_schedule_ticked_meanwhile() {
    for fate in Fate::UNKNOWN {
        let it = setup();
        create(&it.db, 1, 1).unwrap();
        ready(take_shards(&it.db, SessionId::from_parts(NOW, 1), SHARDS, Takeover::All)).unwrap();
        let other = it.other.clone();
        let meanwhile = move || {
            let shards = Arc::new((0..SHARDS).map(|it| (ShardId(it), escapement_engine::Epoch(1))).collect());
            let ownership = Ownership { session: SessionId::from_parts(NOW, 1), shards };
            let due = DueTick { shard: uid(1).shard(SHARDS), at: after(MINUTE), uid: uid(1) };
            drop(ready(tick(&other, &ownership, SHARDS, [due].into(), after(MINUTE), 5)).unwrap());
        };
        it.unlucky.strike(fate, Some(Box::new(meanwhile)));
        assert_eq!(pause(&it.db), ScheduleState::Paused, "{fate:?}");
        assert_eq!(found(&it.other), Some((uid(1), ScheduleState::Paused)), "{fate:?}");
    }
}

#[test]
fn a_deletion_does_not_reach_a_later_schedule_of_the_same_name() {
    let it = setup();
    create(&it.db, 1, 1).unwrap();
    let other = it.other.clone();
    it.unlucky.strike(Fate::Done, Some(Box::new(move || drop(create(&other, 1, 2).unwrap()))));
    delete(&it.db);
    assert_eq!(found(&it.other), Some((uid(2), ScheduleState::Active)));
}

#[test]
fn a_deletion_that_conflicted_first_deletes_what_it_then_found() {
    let it = setup();
    create(&it.db, 1, 1).unwrap();
    let (unlucky, other) = (Arc::clone(&it.unlucky), it.other.clone());
    let meanwhile = move || {
        delete(&other);
        create(&other, 2, 2).unwrap();
        unlucky.strike(Fate::NotDone, None);
    };
    it.unlucky.strike(Fate::Overtaken, Some(Box::new(meanwhile)));
    delete(&it.db);
    assert_eq!(found(&it.other), None);
}

/// With an end an instant after its only occurrence.
fn create_ending(db: &Database) -> ScheduleState {
    let spec = ScheduleSpec { end: Some(after(MINUTE + 1)), ..spec() };
    ready(create_schedule(db, SHARDS, &spec, uid(1), NOW)).unwrap().0.state
}

#[test]
fn a_schedule_that_has_finished_refuses_to_pause_and_to_resume_and_stays_as_it_is() {
    let it = setup();
    let finished = ScheduleSpec { end: Some(NOW), ..spec() };
    let (row, _) = ready(create_schedule(&it.db, SHARDS, &finished, uid(1), NOW)).unwrap();
    assert_eq!(row.state, ScheduleState::Finished);
    let before = rows(&it.other);
    let paused = ready(pause_schedule(&it.db, SHARDS, &spec().namespace, &spec().id));
    assert_eq!(refusal(paused), Refusal::ScheduleFinished(spec().id));
    let resumed = ready(resume_schedule(&it.db, SHARDS, &spec().namespace, &spec().id, NOW));
    assert_eq!(refusal(resumed), Refusal::ScheduleFinished(spec().id));
    assert_eq!(rows(&it.other), before);
}

#[test]
fn a_schedule_whose_end_passed_during_its_pause_refuses_to_resume_however_often() {
    let it = setup();
    assert_eq!(create_ending(&it.db), ScheduleState::Active);
    assert_eq!((pause(&it.db), pause(&it.db)), (ScheduleState::Paused, ScheduleState::Paused));
    for _ in 0..2 {
        let late = ready(resume_schedule(&it.db, SHARDS, &spec().namespace, &spec().id, after(MINUTE)));
        assert_eq!(refusal(late), Refusal::ScheduleFinished(spec().id));
    }
    assert_eq!(found(&it.other), Some((uid(1), ScheduleState::Paused)));
    assert_eq!((resume(&it.db), resume(&it.db)), (ScheduleState::Active, ScheduleState::Active));
}

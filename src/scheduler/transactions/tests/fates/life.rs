//! The lives of some tasks and a schedule, step by step; in each step, a commit of unknown
//! outcome. Whatever its fate, the store ends as without it, and so do the answers.

use escapement_engine::{Epoch, Token, name::Namespace};

use super::*;
use crate::{
    keyspace::DueStream,
    model::{Idempotency, NewTask, TaskError},
    records::Member,
    scheduler::room::PayloadRoom,
};

const A: u128 = 1;
const B: u128 = 2;
const C: u128 = 3;
const D: u128 = 4;
const E: u128 = 5;

fn id(number: u128) -> TaskId {
    TaskId::from_parts(NOW, number)
}

fn scheduler() -> SessionId {
    SessionId::from_parts(NOW, 1)
}

fn new_task(number: u128) -> NewTask {
    let mut template = Template { retry: RetryPolicy { max_attempts: 3, ..RetryPolicy::default() }, ..template(b"") };
    if number == A {
        // More than one chunk.
        template.payload = Payload { data: vec![7; 200_000].into(), content_type: "x/y".into(), ..Payload::default() };
    }
    NewTask {
        id: id(number),
        namespace: Namespace::default(),
        template,
        due: NOW,
        deadline: (number >= D).then(|| after(MINUTE)),
        idempotency: (number == B)
            .then(|| Idempotency { key: "order 17".into(), window: Duration::from_millis(MINUTE) }),
        submitted: NOW,
        occurrence: None,
        content_hash: 11,
    }
}

fn stream(number: u128) -> DueStream {
    due_stream(SHARDS, &new_task(number))
}

fn ownership() -> Ownership {
    Ownership { session: scheduler(), shards: Arc::new((0..SHARDS).map(|it| (ShardId(it), Epoch(1))).collect()) }
}

fn member(beat: u64) -> Member {
    Member { beat, lease: Duration::from_millis(MINUTE), address: String::new(), started: NOW }
}

fn fire_them(db: &Database, tasks: &[(u128, Timestamp)], now: Timestamp) -> String {
    let room = PayloadRoom::default().stream();
    let request = |(number, due): &(u128, Timestamp)| FireRequest {
        id: id(*number),
        stream: stream(*number),
        due: *due,
        session: session(42),
        worker_name: "w".into(),
        session_lease: Duration::from_millis(MINUTE),
        room: room.clone(),
    };
    format!("{:?}", ready(fire(db, &ownership(), tasks.iter().map(request).collect(), now)).unwrap())
}

fn end_them(db: &Database, tasks: &[(u128, u64, Ending)], now: Timestamp) -> String {
    let request = |(number, token, ending): &(u128, u64, Ending)| EndRequest {
        shard: id(*number).shard(SHARDS),
        id: id(*number),
        session: session(42),
        token: Token(*token),
        ending: ending.clone(),
        random: 5,
    };
    format!("{:?}", ready(end(db, &ownership(), tasks.iter().map(request).collect(), now)).unwrap())
}

fn failed() -> Ending {
    let error = TaskError { kind: "io".into(), message: "no".into(), ..TaskError::default() };
    Ending::Failed { error, retry_after: Duration::from_millis(MINUTE), timed_out: false }
}

fn cancel_one(db: &Database, number: u128) -> String {
    let cancelled = ready(cancel(db, SHARDS, &Namespace::default(), id(number), "no more", after(MINUTE))).unwrap();
    format!("{:?}", (cancelled.view.state, cancelled.view.finished, cancelled.view.attempts, cancelled.running))
}

fn tick_it(db: &Database, at: Timestamp, now: Timestamp) -> String {
    let due = DueTick { shard: uid(9).shard(SHARDS), at, uid: uid(9) };
    drop(ready(tick(db, &ownership(), SHARDS, [due].into(), now, 2)).unwrap());
    // After an unknown commit it says that the tick is gone, and memory reads the index again.
    String::new()
}

fn submit_them(db: &Database, numbers: &[u128]) -> String {
    format!("{:?}", ready(submit(db, SHARDS, numbers.iter().map(|it| new_task(*it)).collect())).unwrap())
}

type Step = (&'static str, fn(&Database) -> String);

fn schedule_steps() -> Vec<Step> {
    vec![
        ("create", |db| {
            let created = ready(create_schedule(db, SHARDS, &spec(), uid(9), NOW)).unwrap();
            format!("{created:?}")
        }),
        ("create again", |db| {
            let other = uid(10);
            format!("{:?}", ready(create_schedule(db, SHARDS, &spec(), other, NOW)).unwrap())
        }),
        ("tick", |db| tick_it(db, after(MINUTE), after(3 * MINUTE))),
        ("tick again", |db| tick_it(db, after(3 * MINUTE), after(3 * MINUTE))),
        ("pause", |db| {
            let paused = ready(pause_schedule(db, SHARDS, &spec().namespace, &spec().id)).unwrap();
            format!("{paused:?}")
        }),
        ("resume", |db| {
            let resumed = ready(resume_schedule(db, SHARDS, &spec().namespace, &spec().id, after(MINUTE))).unwrap();
            format!("{resumed:?}")
        }),
        ("delete", |db| format!("{:?}", ready(delete_schedule(db, SHARDS, &spec().namespace, &spec().id)).unwrap())),
    ]
}

fn steps() -> Vec<Step> {
    let mut steps: Vec<Step> = vec![
        ("open", |db| format!("{:?}", ready(open_cluster(db, SHARDS)).unwrap())),
        ("take", |db| format!("{:?}", ready(take_shards(db, scheduler(), SHARDS, Takeover::All)).unwrap())),
        ("beat", |db| format!("{:?}", ready(beat(db, scheduler(), &member(1), Some(&ownership()))).unwrap())),
        ("beat again", |db| format!("{:?}", ready(beat(db, scheduler(), &member(2), Some(&ownership()))).unwrap())),
        ("submit", |db| submit_them(db, &[A, B, C])),
        ("submit more and again", |db| submit_them(db, &[D, B, E])),
        ("fire", |db| fire_them(db, &[(A, NOW), (B, NOW), (C, NOW), (9, NOW)], NOW)),
        ("end", |db| {
            let result = Payload { data: vec![3; 100_000].into(), content_type: "x/z".into(), ..Payload::default() };
            end_them(db, &[(A, 1, Ending::Succeeded(result)), (B, 1, failed()), (D, 1, failed())], NOW)
        }),
        ("cancel what runs", |db| cancel_one(db, C)),
        ("cancel what waits", |db| cancel_one(db, D)),
        ("fire a second attempt", |db| fire_them(db, &[(B, after(MINUTE))], after(MINUTE))),
        ("expire it", |db| end_them(db, &[(B, 2, Ending::LeaseExpired)], after(2 * MINUTE))),
        ("fire a third", |db| fire_them(db, &[(B, after(2 * MINUTE))], after(2 * MINUTE))),
        ("give it up", |db| end_them(db, &[(B, 3, Ending::TimedOut)], after(3 * MINUTE))),
        ("fail what is overdue", |db| {
            drop(ready(fail_overdue(db, &ownership(), [(stream(E), NOW, id(E))].into(), after(2 * MINUTE))).unwrap());
            // After an unknown commit it names none: they are gone from memory all the same.
            String::new()
        }),
        ("sweep", |db| format!("{:?}", ready(sweep_idempotency(db, None, after(2 * MINUTE), 1000)).unwrap())),
    ];
    steps.extend(schedule_steps());
    steps.push(("submit late", |db| submit_them(db, &[6])));
    steps.push(("fire past its deadline", |db| {
        drop(fire_them(db, &[(6, NOW)], after(2 * MINUTE)));
        // After an unknown commit: gone.
        String::new()
    }));
    steps.push(("leave", |db| format!("{:?}", ready(leave(db, &ownership())).unwrap())));
    steps
}

/// Every row after each step, and every answer.
type Course = Vec<(Vec<(Bytes, Bytes)>, String)>;

fn calm() -> (Course, Vec<u64>) {
    let it = setup();
    let mut commits = Vec::new();
    let course = steps()
        .into_iter()
        .map(|(_, step)| {
            let before = it.unlucky.commits();
            let answer = step(&it.db);
            commits.push(it.unlucky.commits() - before);
            (rows(&it.other), answer)
        })
        .collect();
    (course, commits)
}

#[test]
fn the_calm_course_does_what_its_steps_say() {
    let (course, commits) = calm();
    let at = |name: &str| steps().iter().position(|(step, _)| *step == name).unwrap();
    for (name, what) in [
        ("fire", "Gone"),
        ("end", "Accepted { retry: Some"),
        ("end", "NotHeld"),
        ("cancel what runs", "Cancelled"),
        ("give it up", "Accepted { retry: None }"),
        ("resume", "Active"),
    ] {
        assert!(course[at(name)].1.contains(what), "{name}: {}", course[at(name)].1);
    }
    let keys = |name: &str| course[at(name)].0.len();
    assert_eq!(keys("tick"), keys("create again") + 4, "two tasks with a due entry each");
    assert!(keys("sweep") < keys("fail what is overdue"));
    let without: Vec<_> =
        steps().iter().zip(commits).filter(|(_, commits)| *commits == 0).map(|(it, _)| it.0).collect();
    assert_eq!(without, ["create again"], "all others write");
}

#[test]
fn whatever_the_fate_of_a_commit_the_store_and_the_answers_are_as_without_it() {
    let (calm, commits) = calm();
    let mut struck = 0;
    for (at, (name, _)) in steps().iter().enumerate() {
        for fate in Fate::UNKNOWN.into_iter().filter(|_| commits[at] > 0) {
            let it = setup();
            let mut late = 0;
            for (number, (_, step)) in steps().iter().enumerate() {
                if number == at {
                    it.unlucky.strike(fate, None);
                }
                let answer = step(&it.db);
                // What waits for the next commit may land in the step after, where the first
                // try was done after all.
                let (rows, expected) = (rows(&it.other), &calm[number]);
                assert!(rows == expected.0, "{name}, {fate:?}: the store differs after {}", steps()[number].0);
                assert_eq!(answer, expected.1, "{name}, {fate:?}: the answer of {}", steps()[number].0);
                late += u64::from(it.unlucky.landed().is_some());
            }
            assert!(it.unlucky.has_struck(), "{name}: no commit");
            let is_late = matches!(fate, Fate::JustBeforeTheNext | Fate::JustAfterTheNext);
            assert_eq!(is_late, late > 0, "{name}, {fate:?}: a held commit lands");
            if fate == Fate::JustAfterTheNext {
                assert_eq!(it.unlucky.landed(), Some(Err(StoreError::NOT_COMMITTED)), "{name}: it must conflict");
            }
            struck += 1;
        }
    }
    assert!(struck >= 80, "only {struck} commits were struck");
}

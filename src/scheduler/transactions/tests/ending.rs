//! Ends of attempts, some of which cannot be read.

use super::{world::now, *};

fn ends(world: &World, requests: Vec<EndRequest>) -> Vec<EndOutcome> {
    now(end(&world.db, &world.ownership, requests.into(), after(10))).unwrap()
}

fn succeeded(task: &NewTask) -> EndRequest {
    let ending = Ending::Succeeded(Payload::default());
    EndRequest { shard: shard(task.id), id: task.id, session: session(1), token: Token(1), ending, random: 0 }
}

fn failed(task: &NewTask) -> EndRequest {
    let error = TaskError { kind: "e".to_owned(), ..TaskError::default() };
    let ending = Ending::Failed { error, retry_after: Duration::ZERO, timed_out: false };
    EndRequest { ending, ..succeeded(task) }
}

#[test]
fn an_attempt_that_cannot_be_read_stays_as_it_is_and_holds_up_no_other() {
    let world = World::new();
    let tasks: Vec<_> = (1..=6).map(task).collect();
    world.running(&tasks);
    let at = |n: usize| (shard(tasks[n].id), tasks[n].id);
    world.put(keyspace::lease(at(1).0, at(1).1), "no lease");
    // What tells whether there is another attempt.
    world.put(keyspace::task(at(2).0, at(2).1), "no task");
    world.clear(keyspace::task(at(3).0, at(3).1));
    let requests = tasks.iter().enumerate().map(|(n, task)| if n == 5 { succeeded(task) } else { failed(task) });
    let outcomes = ends(&world, requests.collect());
    for (n, outcome) in outcomes.iter().enumerate() {
        match n {
            1..=3 => {
                assert_eq!(*outcome, EndOutcome::Unreadable, "{n}");
                assert!(world.row(keyspace::lease(at(n).0, at(n).1)).is_some(), "{n}");
                assert_eq!(world.head(&tasks[n]), None, "{n}");
            }
            5 => assert_eq!(*outcome, EndOutcome::Accepted { retry: None }),
            _ => assert!(matches!(outcome, EndOutcome::Accepted { retry: Some(_) }), "{n}: {outcome:?}"),
        }
    }
    assert_eq!(world.head(&tasks[4]).unwrap().state, TaskState::Scheduled);
    assert_eq!(world.head(&tasks[5]).unwrap().state, TaskState::Succeeded);
}

#[test]
fn a_head_that_cannot_be_read_holds_up_no_other() {
    let world = World::new();
    let tasks: Vec<_> = (1..=2).map(task).collect();
    world.running(&tasks);
    // Without a lease, the head tells what became of the attempt.
    world.clear(keyspace::lease(shard(tasks[0].id), tasks[0].id));
    world.put(keyspace::head(shard(tasks[0].id), tasks[0].id), "no head");
    let outcomes = ends(&world, tasks.iter().map(succeeded).collect());
    assert_eq!(outcomes, [EndOutcome::Unreadable, EndOutcome::Accepted { retry: None }]);
}

#[test]
fn what_follows_its_twin_in_a_batch_is_told_what_it_would_be_told_after_it() {
    for first in [succeeded, failed] {
        for second in [succeeded, failed] {
            for (other, token) in [(1, 0), (1, 1), (1, 2), (2, 1)] {
                let told = |at_once: bool| {
                    let world = World::new();
                    let task = task(1);
                    world.running(std::slice::from_ref(&task));
                    let again = EndRequest { session: session(other), token: Token(token), ..second(&task) };
                    if at_once {
                        return ends(&world, vec![first(&task), again])[1].clone();
                    }
                    ends(&world, vec![first(&task)]);
                    ends(&world, vec![again])[0].clone()
                };
                assert_eq!(told(true), told(false), "session {other}, token {token}");
            }
        }
    }
}

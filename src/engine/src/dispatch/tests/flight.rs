//! News of a task while a transaction fires it.

use super::*;
use crate::Token;

/// A transaction is firing task 1 of queue `a`, due at 0, for session 1, which has a credit left.
fn in_flight() -> (Dispatcher, LaneId) {
    let mut d = owner(Options::default());
    let a = lane(&mut d, "a");
    open(&mut d, 1, &["a"], 2);
    offer(&mut d, 1, 0, a, Priority::Medium);
    d.plan(at(0), 1);
    (d, a)
}

#[test]
fn a_cancelled_task_in_flight_holds_its_credit_until_the_outcome_and_is_not_sent() {
    let mut d = owner(Options::default());
    let a = lane(&mut d, "a");
    open(&mut d, 1, &["a"], 1);
    offer(&mut d, 1, 0, a, Priority::Medium);
    assert_eq!(d.plan(at(0), 1).len(), 1);
    assert!(d.withdraw(task(1)));
    offer(&mut d, 2, 0, a, Priority::Medium);
    assert_eq!(d.plan(at(0), 1), []);
    assert_eq!(d.fired(task(1), session(1), Token(1)), Fired::Withdrawn);
    assert_eq!(d.fired(task(1), session(1), Token(1)), Fired::Unknown);
    assert_eq!(d.plan(at(0), 1).len(), 1, "the credit came back");
    assert!(!d.withdraw(task(1)));
}

#[test]
fn an_end_that_overtakes_its_beginning_is_not_lost() {
    let (mut d, a) = in_flight();
    assert_eq!(d.finished(task(1), Token(5)), None);
    offer(&mut d, 1, -7, a, Priority::Medium);
    assert_eq!(d.fired(task(1), session(1), Token(5)), Fired::Withdrawn);
    assert_eq!(d.plan(at(0), 1)[0].due, at(-7), "its retry is planned");
    assert_eq!(d.finished(task(1), Token(5)), None, "the end of an earlier attempt ends no later one");
    assert_eq!(d.fired(task(1), session(1), Token(6)), Fired::Running);
    assert_eq!(d.finished(task(1), Token(5)), None);
    assert_eq!(d.finished(task(1), Token(6)), Some(Ended { session: session(1), token: Token(6), lane: a }));
}

#[test]
fn a_submission_that_is_heard_of_after_its_task_was_fired_takes_it_from_nobody() {
    let (mut d, a) = in_flight();
    assert_eq!(d.fired(task(1), session(1), Token(1)), Fired::Running);
    assert_eq!(offer(&mut d, 1, 0, a, Priority::Medium), Offered::Known);
    assert_eq!(d.plan(at(0), 1), [], "it runs");
    assert_eq!(d.running(task(1)), Some((session(1), Token(1), a)));
    // Due at another instant it is its retry, and the attempt is over.
    offer(&mut d, 1, 7, a, Priority::Medium);
    d.advance(at(7));
    assert_eq!(d.plan(at(7), 1)[0].due, at(7));
}

#[test]
fn a_retry_due_at_the_instant_of_its_attempt_is_no_repetition() {
    let (mut d, a) = in_flight();
    assert_eq!(offer(&mut d, 1, 0, a, Priority::Medium), Offered::Known);
    d.finished(task(1), Token(1));
    assert_eq!(offer(&mut d, 1, 0, a, Priority::Medium), Offered::InFlight);
    assert_eq!(d.fired(task(1), session(1), Token(1)), Fired::Withdrawn);
    assert_eq!(d.plan(at(0), 1).len(), 1);
}

#[test]
fn what_comes_back_unfired_is_no_news() {
    let mut d = owner(Options::default());
    let a = lane(&mut d, "a");
    open(&mut d, 1, &["a"], 1);
    offer(&mut d, 1, 0, a, Priority::Medium);
    d.plan(at(0), 1);
    offer(&mut d, 2, 100, a, Priority::Medium);
    d.rescan(ShardId(0));
    let page = d.load_requests(at(0), 1).remove(0);
    assert!(d.not_fired(task(1), session(1), NotFired::Retry));
    // It was moved, and nobody said so.
    d.loaded(page.load, &[(at(60), task(1)), (at(100), task(2))], LoadOutcome::End { next_due: None });
    assert_eq!(d.entries.find(task(1)).map(|slot| d.entries.due(slot)), Some(at(60)));
}

#[test]
fn a_task_in_flight_that_moved_and_moved_back_is_due_where_it_was() {
    let (mut d, a) = in_flight();
    offer(&mut d, 1, 70_000, a, Priority::Medium);
    offer(&mut d, 1, 0, a, Priority::Medium);
    assert!(d.not_fired(task(1), session(1), NotFired::Retry));
    assert_eq!(d.plan(at(0), 1).len(), 1);
}

#[test]
fn a_task_that_was_elsewhere_when_its_transaction_looked_and_moved_back_is_planned_again() {
    let (mut d, a) = in_flight();
    offer(&mut d, 1, 70_000, a, Priority::Medium);
    offer(&mut d, 1, 0, a, Priority::Medium);
    assert!(d.not_fired(task(1), session(1), NotFired::Gone));
    assert_eq!(d.plan(at(0), 1).len(), 1);
}

#[test]
fn a_task_that_moved_away_and_back_before_it_was_fired_runs_once() {
    let (mut d, a) = in_flight();
    offer(&mut d, 1, 70_000, a, Priority::Medium);
    offer(&mut d, 1, 0, a, Priority::Medium);
    assert_eq!(d.fired(task(1), session(1), Token(1)), Fired::Running);
    assert_eq!((d.plan(at(0), 1), d.stats().entries), (vec![], 0));
}

#[test]
fn a_page_knows_better_than_an_older_announcement_where_a_task_in_flight_is_due_again() {
    let mut d = owner(Options::default());
    let (a, b) = (lane(&mut d, "a"), lane(&mut d, "b"));
    open(&mut d, 1, &["a", "b"], 2);
    offer(&mut d, 1, 0, a, Priority::Medium);
    d.plan(at(0), 1);
    offer(&mut d, 1, 60, a, Priority::Medium);
    // It moved once more, and nobody said so.
    d.discover(ShardId(0), b, Priority::Medium);
    let page = d.load_requests(at(0), 1).remove(0);
    assert_eq!(page.lane, b);
    d.loaded(page.load, &[(at(50), task(1))], LoadOutcome::End { next_due: None });
    assert!(d.not_fired(task(1), session(1), NotFired::Gone));
    d.advance(at(100));
    let planned = d.plan(at(100), 2);
    assert_eq!(planned.iter().map(|it| (it.lane, it.due)).collect::<Vec<_>>(), [(b, at(50))]);
}

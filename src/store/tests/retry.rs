//! `on_error`, timeouts, cancels and resets.

use super::*;
use crate::store::{RetryClass, TransactionOption};

fn on_error(tx: &Transaction, code: i32) -> Result<(), StoreError> {
    now(tx.raw().on_error(StoreError::new(code)))
}

#[test]
fn only_codes_of_unknown_outcome_are_maybe_committed() {
    let maybe: Vec<_> = (0..3000).filter(|code| StoreError::new(*code).class() == RetryClass::MaybeCommitted).collect();
    assert_eq!(maybe, [1021, 1039]);
}

#[test]
fn backoff_doubles_up_to_its_limit_with_jitter_and_begins_anew_after_a_reset() {
    let it = setup(&[]);
    let tx = it.db.begin();
    let waits = |tries: usize| {
        it.clock.slept.lock().unwrap().clear();
        (0..tries).for_each(|_| on_error(&tx, 1020).unwrap());
        it.clock.slept.lock().unwrap().clone()
    };
    let bounds = |tries: u32| (0..tries).map(|n| Duration::from_millis(10 * (1 << n)).min(Duration::from_secs(1)));
    let first = waits(12);
    assert!(first.iter().zip(bounds(12)).all(|(wait, most)| *wait <= most), "{first:?}");
    assert!(first.iter().zip(bounds(12)).any(|(wait, most)| *wait > most / 2), "{first:?}");
    assert!(first.iter().sum::<Duration>() > Duration::from_millis(500), "it grows: {first:?}");
    tx.raw().reset();
    assert!(waits(1)[0] <= Duration::from_millis(10));
    tx.raw().reset();
    assert_ne!(waits(12), first, "the next draws differ");
    tx.raw().reset();
    tx.raw().set_option(TransactionOption::MaxRetryDelayMs(15)).unwrap();
    assert!(waits(12).iter().all(|wait| *wait <= Duration::from_millis(15)));
}

#[test]
fn proxies_without_memory_are_given_more_time_and_wrong_versions_ten_milliseconds() {
    let it = setup(&[]);
    let tx = it.db.begin();
    (0..16).for_each(|_| on_error(&tx, 1042).unwrap());
    let longest = it.clock.slept.lock().unwrap().iter().max().copied().unwrap();
    assert!(longest > Duration::from_secs(1) && longest <= Duration::from_secs(30), "{longest:?}");
    it.clock.slept.lock().unwrap().clear();
    on_error(&tx, 1007).unwrap();
    on_error(&tx, 1009).unwrap();
    assert_eq!(it.clock.slept.lock().unwrap()[..], [Duration::from_millis(10); 2]);
    it.clock.slept.lock().unwrap().clear();
    for code in [1007, 1009] {
        tx.raw().set_option(TransactionOption::MaxRetryDelayMs(4)).unwrap();
        on_error(&tx, code).unwrap();
    }
    assert_eq!(it.clock.slept.lock().unwrap()[..], [Duration::from_millis(4); 2], "the bound is for these, too");
}

#[test]
fn a_timeout_ends_reads_commits_and_retries_and_counts_from_the_first_try() {
    let it = setup(&[]);
    let tx = it.db.begin();
    tx.raw().set_option(TransactionOption::TimeoutMs(1000)).unwrap();
    it.clock.advance(Duration::from_millis(900));
    on_error(&tx, 1007).unwrap();
    get(&tx, "a").unwrap();
    it.engine.inner().hangs = true;
    assert_eq!(code(get(&tx, "b")), StoreError::TRANSACTION_TIMED_OUT);
    assert_eq!(it.clock.slept.lock().unwrap().last(), Some(&Duration::from_millis(90)), "what was left of it");
    assert_eq!(code(tx.set("b", "")), StoreError::TRANSACTION_TIMED_OUT);
    assert_eq!(code(commit(&tx)), StoreError::TRANSACTION_TIMED_OUT);
    assert_eq!(code(on_error(&tx, 1020)), StoreError::TRANSACTION_TIMED_OUT);
    it.engine.inner().hangs = false;
    tx.raw().reset();
    get(&tx, "b").unwrap();

    tx.raw().set_option(TransactionOption::TimeoutMs(5)).unwrap();
    tx.set("b", "").unwrap();
    it.engine.inner().commit_faults.push_back(reference::CommitFault::Hangs);
    assert_eq!(code(commit(&tx)), StoreError::TRANSACTION_TIMED_OUT);
}

#[test]
fn a_timeout_cuts_a_backoff_short() {
    let it = setup(&[]);
    let tx = it.db.begin();
    (0..10).for_each(|_| on_error(&tx, 1020).unwrap());
    let spent = it.clock.nanos.load(Relaxed) / 1_000_000;
    tx.raw().set_option(TransactionOption::TimeoutMs(spent + 1)).unwrap();
    it.clock.advance(Duration::from_millis(1));
    assert_eq!(code(on_error(&tx, 1020)), StoreError::TRANSACTION_TIMED_OUT);
}

#[test]
fn a_cancel_ends_what_is_under_way_and_all_that_comes_until_a_reset() {
    let it = setup(&[("a", "1")]);
    let tx = it.db.begin();
    it.engine.inner().hangs = true;
    let mut read = tx.raw().get_many(vec!["a".into()], false);
    assert!((&mut read).now_or_never().is_none());
    let stamp = tx.raw().versionstamp();
    tx.raw().cancel();
    assert_eq!(code(now(read)), StoreError::TRANSACTION_CANCELLED);
    it.engine.inner().hangs = false;
    assert_eq!(code(get(&tx, "a")), StoreError::TRANSACTION_CANCELLED);
    assert_eq!(code(commit(&tx)), StoreError::TRANSACTION_CANCELLED);
    assert_eq!(code(on_error(&tx, 1020)), StoreError::TRANSACTION_CANCELLED);
    tx.raw().reset();
    assert_eq!(code(now(stamp)), StoreError::TRANSACTION_CANCELLED);
    assert_eq!(get(&tx, "a").unwrap().as_deref(), Some("1"));
}

#[test]
fn a_reset_ends_what_is_under_way_and_forgets_writes_and_options() {
    let it = setup(&[("a", "1")]);
    let tx = it.db.begin();
    tx.set("a", "2").unwrap();
    tx.raw().set_option(TransactionOption::TimeoutMs(1)).unwrap();
    it.engine.inner().hangs = true;
    let mut read = Box::pin(now_later(&tx));
    assert!((&mut read).now_or_never().is_none());
    tx.raw().reset();
    assert_eq!(code(now(read)), StoreError::TRANSACTION_CANCELLED);
    it.engine.inner().hangs = false;
    it.clock.advance(Duration::from_secs(1));
    assert_eq!(get(&tx, "a").unwrap().as_deref(), Some("1"));
}

/// A read without a deadline, as the clock of these tests lets deadlines pass at once.
async fn now_later(tx: &Transaction) -> Result<Option<Bytes>, StoreError> {
    tx.raw().set_option(TransactionOption::TimeoutMs(0))?;
    tx.get("other").await
}

#[test]
fn a_failed_commit_tells_whoever_waits_for_its_stamp() {
    let it = setup(&[]);
    let tx = it.db.begin();
    tx.set("a", "1").unwrap();
    let stamp = tx.raw().versionstamp();
    it.engine.inner().commit_faults.push_back(reference::CommitFault::Fails(1020));
    assert_eq!(code(commit(&tx)), 1020);
    assert_eq!(code(now(stamp)), StoreError::TRANSACTION_INVALID_VERSION);
    assert_eq!(code(tx.raw().committed_version()), StoreError::NO_COMMIT_VERSION);
}

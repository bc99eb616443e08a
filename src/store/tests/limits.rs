//! Limits with their codes, and what a transaction is too late for.

use super::*;
use crate::store::{
    MutationKind as M, TransactionOption,
    limits::{KEY_BYTES_MAX, TRANSACTION_BYTES_MAX, VALUE_BYTES_MAX},
};

#[test]
fn keys_and_values_are_refused_just_above_their_limits() {
    let it = setup(&[]);
    let tx = it.db.begin();
    tx.set(vec![1; KEY_BYTES_MAX], vec![1; VALUE_BYTES_MAX]).unwrap();
    assert_eq!(code(tx.set(vec![1; KEY_BYTES_MAX + 1], "")), StoreError::KEY_TOO_LARGE);
    assert_eq!(code(tx.set("a", vec![1; VALUE_BYTES_MAX + 1])), StoreError::VALUE_TOO_LARGE);
    let operand = tx.raw().mutate(M::Add, "a".into(), vec![1; VALUE_BYTES_MAX + 1].into());
    assert_eq!(code(operand), StoreError::VALUE_TOO_LARGE);
    assert_eq!(code(now(tx.raw().watch(vec![1; KEY_BYTES_MAX + 1].into()))), StoreError::KEY_TOO_LARGE);
    // No such key can exist: reading finds nothing, clearing does nothing.
    assert_eq!(now(tx.get(vec![1; KEY_BYTES_MAX + 1])).unwrap(), None);
    tx.clear(vec![1; KEY_BYTES_MAX + 1]).unwrap();
    commit(&tx).unwrap();
    assert_eq!(it.engine.inner().requests[0].mutations.len(), 1);
}

#[test]
fn a_transaction_too_large_is_refused_at_its_commit() {
    let it = setup(&[]);
    let fill = |tx: &Transaction, values: usize| {
        for number in 0..values {
            tx.set(format!("{number:04}"), vec![1; VALUE_BYTES_MAX]).unwrap();
        }
    };
    let tx = it.db.begin();
    fill(&tx, TRANSACTION_BYTES_MAX / VALUE_BYTES_MAX - 1);
    commit(&tx).unwrap();
    let tx = it.db.begin();
    fill(&tx, TRANSACTION_BYTES_MAX / VALUE_BYTES_MAX);
    assert_eq!(code(commit(&tx)), StoreError::TRANSACTION_TOO_LARGE);
    assert_eq!(it.engine.inner().requests.len(), 1);
}

#[test]
fn the_size_estimate_grows_with_reads_and_writes_and_is_close_to_what_is_sent() {
    let it = setup(&[]);
    let tx = it.db.begin();
    let size = || now(tx.raw().approximate_size()).unwrap();
    assert_eq!(size(), 0);
    tx.set("key", "value").unwrap();
    assert_eq!(size(), 44 + 8 + 24 + 7);
    get(&tx, "other").unwrap();
    assert_eq!(size(), 83 + 24 + 11);
    get(&tx, "key").unwrap();
    assert_eq!(size(), 118, "an own write is no conflict");
    tx.raw().set_option(TransactionOption::SizeLimit(117)).unwrap();
    assert_eq!(code(commit(&tx)), StoreError::TRANSACTION_TOO_LARGE);
}

#[test]
fn priorities_tags_and_lock_awareness_reach_the_engine_and_end_with_a_retry() {
    let it = setup(&[]);
    let tx = it.db.begin();
    for option in [
        TransactionOption::PrioritySystemImmediate,
        TransactionOption::PriorityBatch,
        TransactionOption::CausalReadRisky,
        TransactionOption::LockAware,
        TransactionOption::Tag("scan".into()),
    ] {
        tx.raw().set_option(option).unwrap();
    }
    get(&tx, "a").unwrap();
    tx.set("a", "").unwrap();
    it.engine.inner().commit_faults.push_back(reference::CommitFault::AppliesAndFails(StoreError::NOT_COMMITTED));
    let conflict = commit(&tx).unwrap_err();
    now(tx.raw().on_error(conflict)).unwrap();
    get(&tx, "a").unwrap();
    tx.set("a", "").unwrap();
    commit(&tx).unwrap();
    let inner = it.engine.inner();
    let [first, second] = &inner.version_requests[..] else { panic!("two tries") };
    assert!(first.batch_priority && !first.immediate && first.causal_read_risky && first.lock_aware);
    assert_eq!(first.tags, ["scan"]);
    assert!(!second.batch_priority && second.tags.is_empty());
    let lock_aware: Vec<bool> = inner.requests.iter().map(|commit| commit.lock_aware).collect();
    assert_eq!(lock_aware, [true, false], "the commit says so, too");
}

#[test]
fn of_several_priorities_the_last_counts() {
    let it = setup(&[]);
    let (batch, immediate) = (TransactionOption::PriorityBatch, TransactionOption::PrioritySystemImmediate);
    for options in [[batch.clone(), immediate.clone()], [immediate, batch]] {
        let tx = it.db.begin();
        options.into_iter().for_each(|option| tx.raw().set_option(option).unwrap());
        get(&tx, "a").unwrap();
    }
    let inner = it.engine.inner();
    let asked: Vec<_> =
        inner.version_requests.iter().map(|request| (request.batch_priority, request.immediate)).collect();
    assert_eq!(asked, [(false, true), (true, false)]);
}

#[test]
fn a_call_while_the_commit_is_under_way_makes_it_fail_too() {
    let it = setup(&[]);
    it.engine.inner().commit_faults.push_back(reference::CommitFault::Hangs);
    let tx = it.db.begin();
    tx.set("a", "1").unwrap();
    let mut commit = tx.raw().commit();
    assert!((&mut commit).now_or_never().is_none());
    assert_eq!(code(tx.set("b", "")), StoreError::USED_DURING_COMMIT);
    assert_eq!(code(now(commit)), StoreError::USED_DURING_COMMIT);
    assert_eq!(code(now(tx.raw().on_error(StoreError::new(1020)))), StoreError::USED_DURING_COMMIT);
}

#[test]
fn a_range_read_that_ends_after_the_commit_began_is_refused() {
    let it = setup(&[("a", "")]);
    let tx = it.db.begin();
    it.engine.inner().hangs = true;
    let mut read = tx.raw().get_range(RangeOptions::new("a", "b"), false);
    assert!((&mut read).now_or_never().is_none());
    commit(&tx).unwrap();
    tx.raw().cancel();
    assert_eq!(code(now(read)), StoreError::TRANSACTION_CANCELLED);
}

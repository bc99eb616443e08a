//! The retry runner.

use std::sync::atomic::AtomicU32;

use super::{reference::CommitFault, *};
use crate::store::{Abort, Committed, Decision, RetryClass, RunError, TransactionKind, Try, runner};

const ONCE: TransactionKind = TransactionKind::new("once");
const MARKED: TransactionKind = TransactionKind::idempotent("marked");

type Outcome = Result<Committed<u32>, RunError<String>>;

/// Runs a body that appends to a value, unless it finds its marker after a try that may have
/// been committed; tells the tries that it saw.
fn append(it: &Setup, kind: TransactionKind) -> (Outcome, Vec<(u32, bool)>) {
    let tries = Mutex::new(Vec::new());
    let result = now(it.db.run(kind, |tx, attempt: Try| {
        tries.lock().unwrap().push((attempt.number, attempt.maybe_committed));
        async move {
            if attempt.maybe_committed && tx.get("marker").await?.is_some() {
                return Ok(attempt.number);
            }
            let old = tx.get("value").await?.unwrap_or_default();
            tx.set("value", [&old[..], b"x"].concat())?;
            tx.set("marker", "")?;
            Ok(attempt.number)
        }
    }));
    (result, tries.into_inner().unwrap())
}

fn value(it: &Setup) -> usize {
    it.engine.rows().get(&b"value"[..]).map_or(0, Bytes::len)
}

#[test]
fn a_transaction_commits_and_tells_its_version() {
    let it = setup(&[]);
    let (result, tries) = append(&it, ONCE);
    let newest = it.engine.inner().versions.last().unwrap().0;
    assert_eq!(result.unwrap().version, Some(newest));
    assert_eq!(tries, [(1, false)]);
    let read = now(it.db.run(ONCE, |tx, _| async move { Ok::<_, Abort<String>>(tx.get("value").await?) })).unwrap();
    assert_eq!((read.value.as_deref(), read.version), (Some(&b"x"[..]), None));
}

#[test]
fn retryable_errors_are_retried_wherever_they_happen() {
    let it = setup(&[]);
    it.engine.inner().version_faults.extend([1037, 1051]);
    it.engine.inner().read_faults.extend([1007, 1039]);
    it.engine.inner().commit_faults.extend([1020, 1038].map(CommitFault::Fails));
    let (result, tries) = append(&it, ONCE);
    assert_eq!(result.unwrap().value, 7);
    assert!(tries.iter().all(|(_, maybe)| !maybe), "none of them can have been committed");
    assert_eq!(value(&it), 1);
    let metrics = &it.db.metrics()["once"];
    assert_eq!((metrics.started, metrics.committed, metrics.conflicts(), metrics.failed), (1, 1, 1, 0));
    assert_eq!(metrics.retries.keys().copied().collect::<Vec<_>>(), [1007, 1020, 1037, 1038, 1039, 1051]);
    assert_eq!((metrics.commit.count, metrics.read_version.count), (1, 5));
}

#[test]
fn a_maybe_committed_transaction_is_run_again_only_with_a_marker() {
    for code in [1021, 1039] {
        for fault in [CommitFault::AppliesAndFails(code), CommitFault::Fails(code)] {
            let it = setup(&[]);
            it.engine.inner().commit_faults.push_back(fault);
            let (result, tries) = append(&it, MARKED);
            assert_eq!(result.unwrap().value, 2);
            assert_eq!(tries, [(1, false), (2, true)]);
            assert_eq!(value(&it), 1, "once in effect after {fault:?}");

            let it = setup(&[]);
            it.engine.inner().commit_faults.push_back(fault);
            let (result, tries) = append(&it, ONCE);
            let error = result.unwrap_err();
            assert!(matches!(error, RunError::MaybeCommitted { tries: 1, .. }), "{error:?}");
            assert_eq!(tries, [(1, false)]);
            assert!(value(&it) <= 1);
            let metrics = &it.db.metrics()["once"];
            assert_eq!((metrics.maybe_committed, metrics.failed, metrics.committed), (1, 1, 0));
        }
    }
}

#[test]
fn once_maybe_committed_later_tries_know_it_and_so_does_whoever_gets_the_error() {
    let it = setup(&[]);
    it.engine.inner().commit_faults.push_back(CommitFault::AppliesAndFails(1021));
    it.engine.inner().commit_faults.push_back(CommitFault::Fails(1020));
    it.engine.inner().version_faults.extend([1037, 1037]);
    let (result, tries) = append(&it, MARKED);
    result.unwrap();
    assert_eq!(tries, [(1, false), (2, false), (3, false), (4, true)]);
    assert_eq!(value(&it), 1);

    let it = setup(&[]);
    it.engine.inner().commit_faults.push_back(CommitFault::AppliesAndFails(1021));
    it.engine.inner().read_faults.extend([1037; 9]);
    it.engine.inner().version_faults.clear();
    let fault = std::mem::take(&mut it.engine.inner().read_faults);
    let first = now(it.db.run(MARKED.tries_max(3), |tx, attempt| {
        if attempt.number == 2 {
            it.engine.inner().read_faults = fault.clone();
        }
        async move {
            tx.get("a").await?;
            tx.set("b", "")?;
            Ok::<_, Abort<String>>(())
        }
    }));
    assert!(matches!(first, Err(RunError::MaybeCommitted { tries: 3, .. })), "{first:?}");
}

#[test]
fn a_commit_that_was_cut_off_is_never_run_again() {
    let it = setup(&[]);
    it.engine.inner().commit_faults.push_back(CommitFault::Hangs);
    let (result, tries) = append(&it, MARKED);
    let error = result.unwrap_err();
    assert!(matches!(&error, RunError::MaybeCommitted { error, .. } if error.code == 1031), "{error:?}");
    assert_eq!(tries.len(), 1);
    for code in [1000, 1025, 1031, 1101, 4242] {
        let it = setup(&[]);
        it.engine.inner().commit_faults.push_back(CommitFault::AppliesAndFails(code));
        let (result, tries) = append(&it, MARKED);
        assert!(matches!(result, Err(RunError::MaybeCommitted { .. })), "{code}");
        assert_eq!(tries.len(), 1);
    }
}

#[test]
fn decisions_follow_from_class_stage_and_marker() {
    let check = |kind, stage, code, expected| {
        assert_eq!(runner::decide(&kind, stage, &StoreError::new(code)), expected, "{code}");
    };
    let (unknown, known) = (Decision::Fatal { unknown: true }, Decision::Fatal { unknown: false });
    check(ONCE, runner::Stage::Commit, 1020, Decision::Retry);
    check(ONCE, runner::Stage::Commit, 1021, unknown);
    check(MARKED, runner::Stage::Commit, 1021, Decision::RetryMaybeCommitted);
    check(MARKED, runner::Stage::Commit, 1039, Decision::RetryMaybeCommitted);
    check(MARKED, runner::Stage::Body, 1039, Decision::Retry);
    check(MARKED, runner::Stage::Commit, 1031, unknown);
    check(MARKED, runner::Stage::Body, 1031, known);
    check(MARKED, runner::Stage::Commit, 2017, unknown);
    check(MARKED, runner::Stage::Commit, 2101, known);
    check(MARKED, runner::Stage::Commit, 1036, known);
    check(MARKED, runner::Stage::Commit, StoreError::STORAGE_FULL, known);
    check(MARKED, runner::Stage::Commit, StoreError::OPERATION_FAILED, unknown);
}

#[test]
fn a_refusal_is_not_retried_and_nothing_is_committed() {
    let it = setup(&[]);
    let result = now(it.db.run(MARKED, |tx, _| async move {
        tx.set("a", "1")?;
        Err::<(), _>(Abort::Refuse("no".to_owned()))
    }));
    assert!(matches!(result, Err(RunError::Refused(why)) if why == "no"));
    assert!(it.engine.rows().is_empty());
    assert_eq!(it.db.metrics()["marked"].refused, 1);
}

#[test]
fn tries_and_time_have_an_end() {
    let it = setup(&[]);
    it.engine.inner().commit_faults.extend([CommitFault::Fails(1020); 500]);
    let (result, tries) = append(&it, ONCE.tries_max(3));
    assert!(matches!(result, Err(RunError::Store { tries: 3, class: RetryClass::Retry, .. })));
    assert_eq!(tries.len(), 3);
    let (result, tries) = append(&it, ONCE.total_max(Duration::from_millis(500)));
    assert!(matches!(result, Err(RunError::Store { class: RetryClass::Retry, .. })), "{result:?}");
    assert!(tries.len() > 3 && tries.len() < 100, "{}", tries.len());
    assert!(result.unwrap_err().to_string().contains("(1020)"), "it says what had taken the time");
    let (result, tries) = append(&it, ONCE);
    assert!(result.is_err() && tries.len() <= 100, "there is a limit by default");
}

#[test]
fn a_store_that_hangs_is_given_up() {
    let it = setup(&[]);
    it.engine.inner().hangs = true;
    let (result, _) = append(&it, MARKED);
    let error = result.unwrap_err();
    assert!(matches!(&error, RunError::Store { error, .. } if error.code == 1031), "{error:?}");
}

#[test]
fn errors_name_the_kind_the_tries_and_the_code() {
    let it = setup(&[]);
    it.engine.inner().commit_faults.extend([CommitFault::Fails(1020); 2]);
    let (gave_up, _) = append(&it, ONCE.tries_max(2));
    it.engine.inner().commit_faults.push_back(CommitFault::Fails(1021));
    let (maybe, _) = append(&it, ONCE);
    it.engine.inner().version_faults.push_back(2000);
    let (fatal, _) = append(&it, ONCE);
    let shown = [gave_up, maybe, fatal].map(|result| result.unwrap_err().to_string()).join("\n");
    insta::assert_snapshot!(shown, @r"
    transaction once: not committed (tries: 2, gave up): transaction not committed due to conflict with another transaction (1020)
    transaction once: may have been committed (tries: 1): transaction may or may not have committed (1021)
    transaction once: not committed (tries: 1, cannot be retried): invalid API call (2000)
    ");
}

#[test]
fn batch_priority_holds_for_every_try() {
    let it = setup(&[]);
    it.engine.inner().commit_faults.push_back(CommitFault::Fails(1020));
    append(&it, ONCE.batch()).0.unwrap();
    let requests = &it.engine.inner().version_requests;
    assert_eq!(requests.iter().map(|request| request.batch_priority).collect::<Vec<_>>(), [true, true]);
}

#[test]
fn a_dropped_run_makes_no_further_try() {
    let it = setup(&[]);
    it.engine.inner().commit_faults.push_back(CommitFault::Hangs);
    let calls = AtomicU32::new(0);
    let kind = ONCE.total_max(Duration::ZERO);
    let run = it.db.run(kind, |tx, _| {
        calls.fetch_add(1, Relaxed);
        async move { Ok::<_, Abort<String>>(tx.set("a", "")?) }
    });
    fn check_send(_: &impl Send) {}
    check_send(&run);
    assert!(run.now_or_never().is_none());
    assert_eq!(calls.load(Relaxed), 1);
    assert!(it.engine.rows().is_empty());
}

#[test]
fn every_try_of_a_kind_has_its_priority_and_its_tag() {
    let it = setup(&[]);
    it.engine.inner().commit_faults.push_back(CommitFault::Fails(1020));
    let (result, tries) = append(&it, MARKED.batch().tag("sixteen-letters!"));
    assert_eq!((result.unwrap().value, tries.len()), (2, 2));
    append(&it, MARKED).0.unwrap();
    let asked = std::mem::take(&mut it.engine.inner().version_requests);
    let asked: Vec<_> = asked.iter().map(|request| (request.batch_priority, request.tags.join(","))).collect();
    let with = (true, "sixteen-letters!".to_owned());
    assert_eq!(asked, [with.clone(), with, (false, String::new())]);
}

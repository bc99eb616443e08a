//! From the beginning of a transaction to its end: commits, retries, timeouts, cancels.

use std::time::Duration;

use escapement::store::{ConflictKind, KeySelector, MutationKind as M, StoreError, TransactionOption, Version};
use futures_util::{FutureExt as _, future::join};

use super::super::support::{Setup, Tx, code};

/// Errors after which FoundationDB tries again.
const RETRIED: [i32; 12] = [1007, 1009, 1020, 1021, 1037, 1038, 1039, 1042, 1051, 1078, 1213, 1223];
/// Errors that it gives back.
const GIVEN_BACK: [i32; 12] = [1000, 1004, 1025, 1031, 1032, 1036, 1101, 2000, 2017, 2101, 2102, 2103];

pub(crate) async fn on_error_retries_just_the_codes_that_foundationdb_retries(it: &Setup) {
    it.write(&[("a", "1")]).await;
    for retried in RETRIED {
        let tx = it.begin();
        tx.set("a", "2").unwrap();
        tx.on_error(retried).await.unwrap_or_else(|error| panic!("{retried}: {error}"));
        assert_eq!(tx.get("a").await.unwrap().as_deref(), Some("1"), "{retried}: the next try starts anew");
        tx.commit().await.unwrap();
    }
    for given_back in GIVEN_BACK {
        let tx = it.begin();
        tx.set("a", "2").unwrap();
        assert_eq!(code(tx.on_error(given_back).await), given_back);
        assert_eq!(code(tx.get("a").await), StoreError::TRANSACTION_CANCELLED, "after {given_back}");
        tx.raw.raw().reset();
        assert_eq!(tx.get("a").await.unwrap().as_deref(), Some("1"));
    }
}

pub(crate) async fn a_refused_transaction_commits_when_it_is_tried_again(it: &Setup) {
    it.write(&[("n", "1")]).await;
    let tx = it.begin();
    let mut tries = 0;
    loop {
        tries += 1;
        let seen = tx.get("n").await.unwrap().unwrap();
        if tries == 1 {
            it.write(&[("n", "2")]).await;
        }
        tx.set("copy", &seen).unwrap();
        match tx.commit().await {
            Ok(()) => break,
            Err(error) => tx.raw.raw().on_error(error).await.unwrap(),
        }
    }
    assert_eq!(tries, 2);
    assert_eq!(it.dump().await, ["copy=2", "n=2"]);
}

pub(crate) async fn a_retry_sees_its_writes_again_where_that_was_switched_off(it: &Setup) {
    it.write(&[("a", "1")]).await;
    for option in [TransactionOption::ReadYourWritesDisable, TransactionOption::SnapshotRywDisable] {
        let tx = it.begin();
        tx.option(option.clone());
        tx.on_error(StoreError::NOT_COMMITTED).await.unwrap();
        tx.set("a", "2").unwrap();
        assert_eq!(tx.get_snapshot("a").await.unwrap().as_deref(), Some("2"), "{option:?}");
        assert_eq!(tx.get("a").await.unwrap().as_deref(), Some("2"), "{option:?}");
        assert_eq!(tx.rows_snapshot(it.everything()).await.unwrap(), ["a=2"], "{option:?}");
    }
}

pub(crate) async fn a_retrys_next_write_has_its_conflict_again(it: &Setup) {
    let reader = it.begin();
    reader.get("a").await.unwrap();
    reader.set("b", "").unwrap();
    let writer = it.begin();
    writer.option(TransactionOption::NextWriteNoWriteConflictRange);
    writer.on_error(StoreError::NOT_COMMITTED).await.unwrap();
    writer.set("a", "").unwrap();
    writer.commit().await.unwrap();
    assert_eq!(code(reader.commit().await), StoreError::NOT_COMMITTED);
}

pub(crate) async fn backoff_grows_and_is_bounded(it: &Setup) {
    let waited = async |tx: &Tx<'_>, tries: usize| {
        let before = it.clock.monotonic();
        for _ in 0..tries {
            tx.on_error(StoreError::NOT_COMMITTED).await.unwrap();
        }
        it.clock.monotonic().since(before)
    };
    // 10, 20, 40 ... 1000 ms and a random part of each: on average 1.1 s in all.
    let growing = it.begin();
    let bounded = it.begin();
    bounded.option(TransactionOption::MaxRetryDelayMs(5));
    let (growing, bounded) = join(waited(&growing, 8), waited(&bounded, 40)).await;
    assert!(growing > Duration::from_millis(100), "eight retries waited only {growing:?}");
    // Without the limit, forty would wait 20 s.
    assert!(bounded < Duration::from_secs(10), "forty retries of at most 5 ms waited {bounded:?}");
}

pub(crate) async fn the_retry_limit_survives_retries_and_ends_the_transaction(it: &Setup) {
    let tx = it.begin();
    tx.option(TransactionOption::RetryLimit(2));
    tx.on_error(1020).await.unwrap();
    tx.on_error(1020).await.unwrap();
    assert_eq!(code(tx.on_error(1020).await), 1020);
    assert_eq!(code(tx.get("a").await), StoreError::TRANSACTION_CANCELLED);
    tx.raw.raw().reset();
    for _ in 0..4 {
        tx.on_error(1007).await.unwrap();
    }
}

pub(crate) async fn a_timeout_ends_everything_and_a_retry_does_not_prolong_it(it: &Setup) {
    it.write(&[("a", "1")]).await;
    let tx = it.begin();
    tx.option(TransactionOption::TimeoutMs(100));
    tx.option(TransactionOption::MaxRetryDelayMs(5));
    let begun = it.clock.monotonic();
    let ended = loop {
        // A retry that begins so late, and yet succeeds, has prolonged it.
        let waited = it.clock.monotonic().since(begun);
        match it.soon("the retry ends", tx.on_error(StoreError::NOT_COMMITTED)).await {
            Err(ended) => break ended,
            Ok(()) => assert!(waited < Duration::from_secs(2), "retries went on after {waited:?} of 100 ms"),
        }
    };
    assert_eq!(ended.code, StoreError::TRANSACTION_TIMED_OUT);
    assert_eq!(code(tx.get("a").await), StoreError::TRANSACTION_TIMED_OUT);
    assert_eq!(code(tx.commit().await), StoreError::TRANSACTION_TIMED_OUT);
    assert_eq!(code(tx.on_error(1020).await), StoreError::TRANSACTION_TIMED_OUT);
    tx.raw.raw().reset();
    assert_eq!(tx.get("a").await.unwrap().as_deref(), Some("1"), "a reset takes the timeout away");
}

pub(crate) async fn a_timeout_ends_a_transaction_that_does_nothing(it: &Setup) {
    let tx = it.begin();
    tx.option(TransactionOption::TimeoutMs(20));
    tx.set("a", "1").unwrap();
    it.clock.sleep(Duration::from_millis(60)).await;
    assert_eq!(code(tx.commit().await), StoreError::TRANSACTION_TIMED_OUT);
    assert_eq!(it.dump().await, [""; 0]);
    let patient = it.begin();
    patient.option(TransactionOption::TimeoutMs(20));
    patient.option(TransactionOption::TimeoutMs(0));
    it.clock.sleep(Duration::from_millis(60)).await;
    patient.get("a").await.unwrap();
}

pub(crate) async fn a_cancel_ends_all_that_comes_until_a_reset(it: &Setup) {
    it.write(&[("a", "1")]).await;
    let tx = it.begin();
    tx.set("a", "2").unwrap();
    let stamp = tx.raw.raw().versionstamp();
    tx.raw.raw().cancel();
    assert_eq!(code(tx.get("a").await), StoreError::TRANSACTION_CANCELLED);
    assert_eq!(code(tx.rows(it.everything()).await), StoreError::TRANSACTION_CANCELLED);
    assert_eq!(code(tx.raw.raw().read_version().await), StoreError::TRANSACTION_CANCELLED);
    assert_eq!(code(tx.commit().await), StoreError::TRANSACTION_CANCELLED);
    assert_eq!(code(tx.on_error(1020).await), StoreError::TRANSACTION_CANCELLED);
    tx.raw.raw().reset();
    assert!(it.soon("the stamp fails", stamp).await.is_err());
    assert_eq!(tx.get("a").await.unwrap().as_deref(), Some("1"));
    tx.set("a", "3").unwrap();
    tx.commit().await.unwrap();
    assert_eq!(it.value("a").await.as_deref(), Some("3"));
}

pub(crate) async fn every_call_after_the_commit_is_refused_until_a_reset(it: &Setup) {
    let tx = it.begin();
    tx.set("a", "1").unwrap();
    tx.commit().await.unwrap();
    let version = tx.raw.raw().committed_version().unwrap();
    let raw = tx.raw.raw();
    let codes = [
        code(tx.set("b", "")),
        code(tx.clear("b")),
        code(tx.clear_range("b", "c")),
        code(tx.mutate(M::Add, "b", b"")),
        code(tx.conflict(ConflictKind::Write, "b", "c")),
        code(tx.get("a").await),
        code(tx.rows(it.everything()).await),
        code(raw.get_key(KeySelector::last_less_than(it.key("b")), true).await),
        code(it.soon("the watch fails", raw.watch(it.key("a"))).await),
        code(it.soon("the stamp fails", raw.versionstamp()).await),
        code(tx.commit().await),
    ];
    assert_eq!(codes, [StoreError::USED_DURING_COMMIT; 11]);
    assert_eq!(raw.committed_version().unwrap(), version);
    raw.reset();
    assert_eq!(tx.rows(it.everything()).await.unwrap(), ["a=1"]);
}

pub(crate) async fn a_call_while_the_commit_is_under_way_is_refused(it: &Setup) {
    let tx = it.begin();
    tx.set("a", "1").unwrap();
    let mut commit = tx.raw.raw().commit();
    // It may have ended at once, where nothing has to be waited for.
    let ended = (&mut commit).now_or_never();
    assert_eq!(code(tx.set("b", "")), StoreError::USED_DURING_COMMIT);
    assert_eq!(code(tx.get("a").await), StoreError::USED_DURING_COMMIT);
    if ended.is_none() {
        assert_eq!(code(commit.await), StoreError::USED_DURING_COMMIT, "the commit's answer is lost");
    }
    let rows = it.dump().await;
    assert!(rows.is_empty() || rows == ["a=1"], "{rows:?}");
}

pub(crate) async fn the_read_version_can_be_asked_for_after_the_commit(it: &Setup) {
    it.write(&[("a", "1")]).await;
    let version = async |tx: &Tx<'_>| tx.raw.raw().read_version().await;
    // One that reads, before and after it writes.
    for writes_first in [false, true] {
        let tx = it.begin();
        if writes_first {
            tx.set("b", "").unwrap();
        }
        tx.get("a").await.unwrap();
        tx.set("b", "").unwrap();
        it.write(&[("other", "")]).await;
        tx.commit().await.unwrap();
        let (read, written) = (version(&tx).await.unwrap(), tx.raw.raw().committed_version().unwrap());
        assert!(read < written, "{read:?} is the version that it read at, {written:?} that of its commit");
        assert_eq!(version(&tx).await.unwrap(), read, "and stays so");
        assert_eq!(code(tx.get("a").await), StoreError::USED_DURING_COMMIT);
    }
    // One that lost keeps its version, too.
    let lost = it.begin();
    lost.get("a").await.unwrap();
    let before = version(&lost).await.unwrap();
    lost.set("b", "").unwrap();
    it.write(&[("a", "2")]).await;
    assert_eq!(code(lost.commit().await), StoreError::NOT_COMMITTED);
    assert_eq!(version(&lost).await.unwrap(), before);
    // Those that needed none are given one.
    for writes in [false, true] {
        let blind = it.begin();
        if writes {
            blind.set("c", "").unwrap();
        }
        blind.commit().await.unwrap();
        assert!(version(&blind).await.unwrap() > before);
    }
}

pub(crate) async fn a_read_version_of_after_a_commit_ends_with_a_cancel(it: &Setup) {
    let tx = it.begin();
    tx.set("a", "1").unwrap();
    tx.commit().await.unwrap();
    tx.raw.raw().cancel();
    assert_eq!(code(tx.raw.raw().read_version().await), StoreError::TRANSACTION_CANCELLED);
    tx.raw.raw().reset();
    tx.raw.raw().read_version().await.unwrap();
}

pub(crate) async fn only_a_commit_that_wrote_has_a_version(it: &Setup) {
    let tx = it.begin();
    assert!(tx.raw.raw().committed_version().is_err(), "not committed yet");
    tx.get("a").await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(code(tx.raw.raw().committed_version()), StoreError::NO_COMMIT_VERSION);
    let empty = it.begin();
    empty.commit().await.unwrap();
    assert_eq!(code(empty.raw.raw().committed_version()), StoreError::NO_COMMIT_VERSION);
    let tx = it.begin();
    let read_at = tx.raw.raw().read_version().await.unwrap();
    tx.set("a", "").unwrap();
    tx.commit().await.unwrap();
    assert!(tx.raw.raw().committed_version().unwrap() > read_at);
}

pub(crate) async fn the_version_of_a_commit_outlives_all_but_the_next_commit(it: &Setup) {
    it.write(&[("a", "1")]).await;
    let tx = it.begin();
    let raw = tx.raw.raw();
    let commit = async || {
        tx.set("a", "2").unwrap();
        tx.commit().await.unwrap();
        raw.committed_version().unwrap()
    };
    let version = commit().await;
    assert_eq!(code(tx.on_error(StoreError::CLIENT_INVALID_OPERATION).await), StoreError::CLIENT_INVALID_OPERATION);
    assert_eq!(raw.committed_version().unwrap(), version, "after an error that is given back");
    raw.reset();
    assert_eq!(raw.committed_version().unwrap(), version, "after a reset");
    for retried in RETRIED {
        let version = commit().await;
        tx.on_error(retried).await.unwrap();
        assert_eq!(raw.committed_version().unwrap(), version, "after {retried}");
    }
    let version = commit().await;
    raw.cancel();
    assert_eq!(raw.committed_version().unwrap(), version, "after a cancel");
    raw.reset();
    tx.get("a").await.unwrap();
    tx.set("b", "").unwrap();
    it.write(&[("a", "3")]).await;
    assert_eq!(code(tx.commit().await), StoreError::NOT_COMMITTED);
    assert_eq!(raw.committed_version().unwrap(), version, "after a commit that failed");
    tx.on_error(StoreError::NOT_COMMITTED).await.unwrap();
    assert!(commit().await > version);
    raw.reset();
    tx.commit().await.unwrap();
    assert_eq!(code(raw.committed_version()), StoreError::NO_COMMIT_VERSION, "after a commit of nothing");
}

pub(crate) async fn a_version_of_the_future_is_refused(it: &Setup) {
    let now = it.begin().raw.raw().read_version().await.unwrap();
    let tx = it.begin();
    // A thousand seconds' worth.
    tx.raw.raw().set_read_version(Version(now.0 + 1_000_000_000));
    // A storage server says 1009; a client that has others to ask may say that they lag behind.
    let refused = code(tx.get("a").await);
    assert!([StoreError::FUTURE_VERSION, StoreError::PROCESS_BEHIND].contains(&refused), "{refused}");
    tx.on_error(refused).await.unwrap();
    tx.get("a").await.unwrap();
}

/// Takes about six seconds: a transaction lives for five.
pub(crate) async fn a_transaction_that_lasts_too_long_can_neither_read_nor_commit(it: &Setup) {
    it.write(&[("a", "1")]).await;
    let (reader, writer, blind) = (it.begin(), it.begin(), it.begin());
    let began = it.clock.monotonic();
    let version = reader.raw.raw().read_version().await.unwrap();
    writer.get("a").await.unwrap();
    writer.set("b", "1").unwrap();
    blind.set("c", "1").unwrap();
    let mut round = 0;
    let refused = it
        .until("its version is too old", async || {
            round += 1;
            it.write(&[("other", &format!("{round}"))]).await;
            // Another key each time: what was read before may be known still.
            reader.get(&format!("missing {round}")).await.err()
        })
        .await;
    assert_eq!(refused.code, StoreError::TRANSACTION_TOO_OLD);
    let lived = it.clock.monotonic().since(began);
    assert!(lived > Duration::from_secs(4), "it could be read for {lived:?} only");
    it.clock.sleep(Duration::from_secs(1)).await;
    assert_eq!(code(writer.commit().await), StoreError::TRANSACTION_TOO_OLD);
    blind.commit().await.unwrap();
    let old = it.begin();
    old.raw.raw().set_read_version(version);
    assert_eq!(code(old.get("a").await), StoreError::TRANSACTION_TOO_OLD);
    old.on_error(StoreError::TRANSACTION_TOO_OLD).await.unwrap();
    assert_eq!(old.get("b").await.unwrap(), None);
    assert_eq!(old.get("c").await.unwrap().as_deref(), Some("1"));
}

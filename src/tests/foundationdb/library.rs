//! What the client library alone can tell.

use std::{sync::Arc, time::Duration};

use escapement::{
    error::Reason,
    store::{
        RetryClass, StoreError,
        fdb::{self, FdbOptions, Prefix},
    },
};
use escapement_fdb_client::foundationdb::FdbError;

use super::{clock, library};

/// Ours, not FoundationDB's.
const OWN_CODES: [i32; 1] = [StoreError::STORAGE_FULL];

#[test]
fn every_code_is_retried_as_foundationdbs_own_predicates_say() {
    if library().is_none() {
        return;
    }
    for code in (0..10_000).filter(|code| !OWN_CODES.contains(code)) {
        let theirs = FdbError::from_code(code);
        let class = match (theirs.is_retryable_not_committed(), theirs.is_maybe_committed()) {
            (true, false) => RetryClass::Retry,
            (false, true) => RetryClass::MaybeCommitted,
            (false, false) => RetryClass::Fatal,
            (true, true) => panic!("{code} is both"),
        };
        assert_eq!(StoreError::new(code).class(), class, "code {code}: {}", theirs.message());
    }
}

#[test]
fn a_code_that_we_do_not_know_keeps_foundationdbs_text() {
    if library().is_none() {
        return;
    }
    // `connection_string_invalid`, of which no transaction can come.
    let theirs = FdbError::from_code(2104);
    let ours = StoreError::foreign(theirs.code(), || theirs.message());
    assert_eq!(ours.to_string(), "unknown store error (2104): Connection string invalid");
    let known = StoreError::foreign(1020, || FdbError::from_code(1020).message());
    assert_eq!(known, StoreError::new(StoreError::NOT_COMMITTED));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_that_does_not_answer_is_told_after_a_bounded_wait() {
    if library().is_none() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("fdb.cluster");
    std::fs::write(&path, "nowhere:abc@127.0.0.1:1\n").unwrap();
    let mut options = FdbOptions::new(&path, Prefix::default());
    options.connect_max = Duration::from_millis(500);
    let clock = clock();
    let started = clock.monotonic();
    let error = fdb::open(&options, Arc::clone(&clock)).await.unwrap_err();
    let waited = clock.monotonic().since(started);
    assert_eq!(error.reason(), Reason::ClusterUnreachable);
    // No measure of speed: a transaction that was not given this bound would wait for 30 seconds.
    assert!(waited >= options.connect_max && waited < Duration::from_secs(20), "{waited:?}");
    let text = error.to_string();
    assert!(text.contains("cluster nowhere:abc did not answer within 500ms"), "{text}");
    assert!(text.contains("coordinators 127.0.0.1:1"), "{text}");
}

//! Our names for options against the numbers of FoundationDB's `fdb.options`, release 7.3.

use crate::store::{
    TransactionOption as O,
    engine::ReadVersionRequest,
    fdb::native::{of_request, option},
};

#[test]
fn every_option_has_its_number_and_its_value_in_the_client() {
    let table = [
        (O::TimeoutMs(0), 500, "Timeout(0)"),
        (O::TimeoutMs(1500), 500, "Timeout(1500)"),
        (O::TimeoutMs(u64::MAX), 500, "Timeout(2147483647)"),
        (O::RetryLimit(-1), 501, "RetryLimit(-1)"),
        (O::RetryLimit(7), 501, "RetryLimit(7)"),
        (O::RetryLimit(i64::MAX), 501, "RetryLimit(2147483647)"),
        (O::MaxRetryDelayMs(50), 502, "MaxRetryDelay(50)"),
        (O::SizeLimit(10_000_000), 503, "SizeLimit(10000000)"),
        (O::NextWriteNoWriteConflictRange, 30, "NextWriteNoWriteConflictRange"),
        (O::ReadYourWritesDisable, 51, "ReadYourWritesDisable"),
        (O::SnapshotRywDisable, 601, "SnapshotRywDisable"),
        (O::PriorityBatch, 201, "PriorityBatch"),
        (O::PrioritySystemImmediate, 200, "PrioritySystemImmediate"),
        (O::CausalReadRisky, 20, "CausalReadRisky"),
        (O::Tag("escapement-scan".into()), 800, "Tag(\"escapement-scan\")"),
        (O::LockAware, 700, "LockAware"),
    ];
    let mut seen = [false; 12];
    for (ours, number, text) in table {
        seen[place(&ours)] = true;
        let native = option(ours.clone());
        assert_eq!((native.code(), &*format!("{native:?}")), (number, text), "{ours:?}");
    }
    assert_eq!(seen, [true; 12], "an option is missing in the table");
}

/// A new option does not compile until it has a place here, and so in the table.
const fn place(option: &O) -> usize {
    match option {
        O::TimeoutMs(_) => 0,
        O::RetryLimit(_) => 1,
        O::MaxRetryDelayMs(_) => 2,
        O::SizeLimit(_) => 3,
        O::NextWriteNoWriteConflictRange => 4,
        O::ReadYourWritesDisable => 5,
        O::SnapshotRywDisable => 6,
        O::PriorityBatch => 7,
        O::PrioritySystemImmediate => 8,
        O::CausalReadRisky => 9,
        O::Tag(_) => 10,
        O::LockAware => 11,
    }
}

#[test]
fn a_request_for_a_version_is_made_of_just_the_options_that_were_set() {
    let none = ReadVersionRequest::default();
    let check = |request: ReadVersionRequest, expected: &[O]| assert_eq!(of_request(&request), expected);
    check(none.clone(), &[]);
    check(ReadVersionRequest { batch_priority: true, ..none.clone() }, &[O::PriorityBatch]);
    check(ReadVersionRequest { immediate: true, ..none.clone() }, &[O::PrioritySystemImmediate]);
    check(ReadVersionRequest { causal_read_risky: true, ..none.clone() }, &[O::CausalReadRisky]);
    check(ReadVersionRequest { lock_aware: true, ..none.clone() }, &[O::LockAware]);
    let tags = vec!["a".to_owned(), "b".to_owned()];
    check(ReadVersionRequest { tags, ..none }, &[O::Tag("a".into()), O::Tag("b".into())]);
}

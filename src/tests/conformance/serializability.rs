//! Random concurrent transactions on each implementation, replayed.

use std::time::Duration;

use escapement::store::StoreError;

use crate::{
    faulty::Fault,
    implementations::{self, Implementation},
    setting,
    suite::serializability::{Options, Report, Violation, verify},
};

const CLIENTS: u64 = 16;
/// Transactions unless `ESCAPEMENT_TEST_TRANSACTIONS` says otherwise.
const TRANSACTIONS: u64 = 6000;

fn options() -> Options {
    let tries = setting("ESCAPEMENT_TEST_TRANSACTIONS", TRANSACTIONS).div_ceil(CLIENTS);
    Options { seed: setting("ESCAPEMENT_TEST_SEED", 1), clients: CLIENTS, tries }
}

fn check(implementation: Implementation) {
    // The store in memory waits for nothing: on one thread, the seed decides everything.
    let runtime = match implementation {
        Implementation::Memory => implementations::single_thread(),
        _ => implementations::runtime(),
    };
    runtime.block_on(async {
        let Some(opened) = implementation.open("serializability").await else { return };
        let setup = &opened.setup;
        let report = verify(&setup.db, &setup.space, options()).await;
        let report = report.unwrap_or_else(|violation| panic!("{implementation:?}, {violation}"));
        setup.wipe().await;
        println!("{implementation:?}: {report}");
        assert!(report.committed > 1000 && report.read_only > 100, "enough to be checked: {report}");
        assert!(report.conflicts() > report.committed / 20, "they got in each other's way: {report}");
    });
}

#[test]
fn transactions_on_memory_are_strictly_serializable_in_the_order_of_their_stamps() {
    check(Implementation::Memory);
}

#[test]
fn transactions_on_embedded_are_strictly_serializable_in_the_order_of_their_stamps() {
    check(Implementation::Embedded);
}

/// Where versions leave the window within the life of a transaction, reads meet that all the
/// time: they must be refused, or be of their version. With several threads, so by chance; each
/// of these windows has been seen to find a store that does not look again after a read.
#[test]
fn transactions_on_a_store_with_a_short_window_are_strictly_serializable_in_the_order_of_their_stamps() {
    let mut late = 0;
    for micros in [200, 300, 500, 800] {
        implementations::runtime().block_on(async {
            let setup = implementations::memory_with_a_window("serializability", Duration::from_micros(micros)).setup;
            let options = Options { tries: 5 * options().tries, ..options() };
            let report = verify(&setup.db, &setup.space, options).await;
            let report = report.unwrap_or_else(|violation| panic!("a window of {micros} us, {violation}"));
            println!("a window of {micros} us: {report}");
            assert!(report.committed > 1000, "enough to be checked: {report}");
            late += report.failed.get(&StoreError::TRANSACTION_TOO_OLD).copied().unwrap_or(0);
        });
    }
    assert!(late > 1000, "versions left the window before their transactions ended: {late}");
}

#[test]
fn transactions_on_remote_are_strictly_serializable_in_the_order_of_their_stamps() {
    check(Implementation::Remote);
}

#[test]
fn transactions_on_foundationdb_are_strictly_serializable_in_the_order_of_their_stamps() {
    check(Implementation::FoundationDb);
}

#[test]
fn transactions_under_a_prefix_are_strictly_serializable_in_the_order_of_their_stamps() {
    check(Implementation::FoundationDbUnderAPrefix);
}

fn verify_memory(fault: Option<Fault>) -> Result<Report, Violation> {
    implementations::single_thread().block_on(async {
        let setup = implementations::memory("serializability", fault).setup;
        verify(&setup.db, &setup.space, options()).await
    })
}

#[test]
fn a_seed_decides_what_happens_on_memory() {
    assert_eq!(verify_memory(None).unwrap(), verify_memory(None).unwrap());
}

#[track_caller]
fn finds(fault: Fault, how: &str) {
    match verify_memory(Some(fault)) {
        Ok(report) => panic!("{fault:?} was not found: {report}"),
        Err(violation) => {
            println!("{fault:?}: {violation}");
            assert!(violation.what.contains(how), "{fault:?} was found by accident: {violation}");
        }
    }
}

#[test]
fn a_resolver_that_is_not_told_of_reads_is_found() {
    finds(Fault::IgnoresReads, "just before its commit it was");
}

#[test]
fn a_resolver_that_is_not_told_of_ranges_is_found() {
    finds(Fault::IgnoresRanges, "GetRange");
}

#[test]
fn read_versions_that_lag_behind_are_found() {
    finds(Fault::ReadsTheBeforeLast, "was known when it began");
}

#[test]
fn a_commit_that_is_not_whole_is_found() {
    finds(Fault::LosesTheFirst, "at its read version it was");
}

#[test]
fn a_refused_commit_that_is_applied_is_found() {
    finds(Fault::AppliesWhatItRefuses, "refused with 1020, but committed");
}

#[test]
fn an_operation_with_a_wrong_result_is_found() {
    finds(Fault::AddsOneMore, "at its read version it was");
}

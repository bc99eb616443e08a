//! The store's contract, shown on every implementation: the same cases, the same random
//! programs, the same random histories. `suite` knows nothing of implementations; here they are
//! set up, and here it is shown that the checks can fail.
//!
//! `ESCAPEMENT_TEST_FDB=PATH` names the cluster file of a FoundationDB to run on, too.
//! `ESCAPEMENT_TEST_SEED` and `ESCAPEMENT_TEST_PROGRAMS` set the first seed and the number of random
//! programs, `ESCAPEMENT_TEST_TRANSACTIONS` the number of random transactions.

#![allow(
    clippy::cast_possible_truncation,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "tests: a failed step is a failed test, and they report what they did"
)]

mod differential;
mod faulty;
mod implementations;
mod serializability;
mod suite;

use implementations::Implementation;
use suite::cases::for_each_case;

/// A test for each case, in a module for each implementation.
macro_rules! instantiate {
    ($($module:ident { $($case:ident,)* })*) => {
        $($(
            #[test]
            fn $case() {
                super::run_case(THIS, stringify!($case));
            }
        )*)*
    };
}

mod memory {
    const THIS: super::Implementation = super::Implementation::Memory;
    super::for_each_case!(instantiate);
}

mod embedded {
    const THIS: super::Implementation = super::Implementation::Embedded;
    super::for_each_case!(instantiate);
}

mod remote {
    const THIS: super::Implementation = super::Implementation::Remote;
    super::for_each_case!(instantiate);
}

mod foundationdb {
    const THIS: super::Implementation = super::Implementation::FoundationDb;
    super::for_each_case!(instantiate);
}

mod foundationdb_under_a_prefix {
    const THIS: super::Implementation = super::Implementation::FoundationDbUnderAPrefix;
    super::for_each_case!(instantiate);
}

/// A number that a variable of the environment may set.
fn setting(name: &str, otherwise: u64) -> u64 {
    match std::env::var(name) {
        Ok(value) => value.parse().unwrap_or_else(|_| panic!("{name}={value}: this is no number")),
        Err(_) => otherwise,
    }
}

fn run_case(implementation: Implementation, name: &str) {
    implementations::runtime().block_on(async {
        let Some(opened) = implementation.open(name).await else { return };
        suite::cases::named(name)(&opened.setup).await;
        opened.setup.wipe().await;
    });
}

/// The cases themselves can fail: each of these must, on an engine with the fault.
#[test]
fn faults_are_found_by_the_cases_that_speak_of_them() {
    use faulty::Fault;
    let expected = [
        (Fault::IgnoresReads, "lost_updates_are_refused"),
        (Fault::IgnoresReads, "write_skew_is_refused"),
        (Fault::IgnoresRanges, "phantoms_are_refused"),
        (Fault::IgnoresRanges, "a_versionstamped_key_conflicts_with_who_read_its_range"),
        (Fault::ReadsTheBeforeLast, "a_transaction_sees_every_commit_that_was_acknowledged_before_it_began"),
        (Fault::LosesTheFirst, "stamps_within_one_transaction_are_equal"),
        (Fault::AddsOneMore, "addition_is_little_endian_wraps_and_has_the_operands_length"),
        (Fault::SkipsWhenReversed, "a_limit_ends_a_read_at_as_many_rows"),
        (Fault::ClearsTheEnd, "a_cleared_range_has_its_first_key_and_not_its_end"),
        (Fault::AppliesWhatItRefuses, "writes_that_are_not_committed_are_seen_by_nobody"),
    ];
    for (fault, name) in expected {
        let run = || {
            implementations::runtime().block_on(async {
                let opened = implementations::memory(name, Some(fault));
                suite::cases::named(name)(&opened.setup).await;
            });
        };
        assert!(std::panic::catch_unwind(run).is_err(), "{name} passes in spite of {fault:?}");
    }
}

/// A machine that is busy makes a version too old (1007) in the midst of any of these.
#[test]
fn cases_of_large_transactions_and_many_reads_bear_that_one_comes_too_late() {
    let names = [
        "a_transaction_just_below_the_limit_is_committed",
        "sizes_are_counted_to_the_byte_as_foundationdb_counts_them",
        "addition_is_little_endian_wraps_and_has_the_operands_length",
        "append_leaves_a_value_as_it_is_that_would_grow_beyond_the_limit",
        "pages_to_the_end_equal_one_read_in_every_mode",
        "pages_run_through_own_writes_too",
        "a_limit_ends_a_read_at_as_many_rows",
        "a_page_says_that_there_is_more_unless_it_reached_the_end",
        "a_byte_target_ends_a_page_that_has_at_least_one_row",
        "small_modes_read_little_at_once",
        "exact_mode_needs_a_limit",
    ];
    for (name, late) in names.iter().flat_map(|name| (0..12).map(move |late| (name, late))) {
        implementations::runtime().block_on(async {
            let opened = implementations::memory(name, Some(faulty::Fault::IsLateOnce(late)));
            println!("{name}: call {late} is late");
            suite::cases::named(name)(&opened.setup).await;
        });
    }
}

//! Random programs on each implementation beside the store in memory.

use bytes::Bytes;

use crate::{
    faulty::Fault,
    implementations::{self, Implementation},
    setting,
    suite::differential::{Difference, compare, generate},
};

/// Programs unless `ESCAPEMENT_TEST_PROGRAMS` says otherwise.
const PROGRAMS: u64 = 1000;

fn check(implementation: Implementation) {
    let (first, programs) = (setting("ESCAPEMENT_TEST_SEED", 1), setting("ESCAPEMENT_TEST_PROGRAMS", PROGRAMS));
    implementations::runtime().block_on(async {
        let Some(other) = implementation.open("differential").await else { return };
        let memory = Implementation::Memory.open("differential").await.unwrap();
        let (one, other) = (&memory.setup, &other.setup);
        // A prefix that the other puts before its keys counts in sizes, so ours get as much.
        let prefix_bytes = one.key_bytes_max - other.key_bytes_max;
        let space = Bytes::from([&one.space[..], &vec![b'p'; prefix_bytes]].concat());
        let same = compare((&one.db, &space), (&other.db, &other.space), first..first + programs).await;
        same.unwrap_or_else(|difference| panic!("memory and {implementation:?} differ\n{difference}"));
        println!("{programs} programs from seed {first} on give the same on memory and {implementation:?}");
    });
}

#[test]
fn memory_gives_the_same_again_on_a_second_store() {
    check(Implementation::Memory);
}

#[test]
fn embedded_gives_the_same_as_memory() {
    check(Implementation::Embedded);
}

#[test]
fn remote_gives_the_same_as_memory() {
    check(Implementation::Remote);
}

#[test]
fn foundationdb_gives_the_same_as_memory() {
    check(Implementation::FoundationDb);
}

#[test]
fn foundationdb_under_a_prefix_gives_the_same_as_memory() {
    check(Implementation::FoundationDbUnderAPrefix);
}

#[test]
fn a_seed_always_gives_the_same_program_and_another_seed_another() {
    assert_eq!(generate(7), generate(7));
    assert_ne!(generate(7), generate(8));
}

/// Compares a store with a fault with one without.
fn find(fault: Fault) -> Difference {
    implementations::runtime().block_on(async {
        let [right, wrong] = [None, Some(fault)].map(|fault| implementations::memory("differential", fault));
        let (right, wrong) = (&right.setup, &wrong.setup);
        let found = compare((&right.db, &right.space), (&wrong.db, &wrong.space), 1..PROGRAMS).await;
        found.expect_err("the programs must tell the two apart")
    })
}

#[test]
fn an_addition_that_is_off_by_one_is_found_and_shortened_to_few_operations() {
    let found = find(Fault::AddsOneMore);
    println!("{found}");
    assert!(found.program.len() <= 3, "{found}");
    assert!(format!("{found}").contains("ATOMIC(ADD)"), "{found}");
}

#[test]
fn a_row_missing_in_a_reversed_page_is_found_and_shortened_to_few_operations() {
    let found = find(Fault::SkipsWhenReversed);
    println!("{found}");
    assert!(found.program.len() <= 3, "{found}");
}

#[test]
fn a_clear_that_goes_one_key_too_far_is_found_and_shortened_to_few_operations() {
    let found = find(Fault::ClearsTheEnd);
    println!("{found}");
    assert!(found.program.len() <= 4, "{found}");
}

#[test]
fn a_conflict_that_is_not_seen_is_found_and_shortened_to_few_operations() {
    let found = find(Fault::IgnoresReads);
    println!("{found}");
    assert!(found.program.len() <= 6, "{found}");
}

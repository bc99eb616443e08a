//! The resolver against a list of everything that was ever written.

use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;

use super::TestClock;
use crate::store::{
    StoreError, Version,
    engine::{CommitRequest, KeyRange},
    memory::MemoryBase,
    mvcc::{Core, Stage, Versions, Window, resolver::Resolver},
};

#[derive(Clone, Debug)]
struct Transaction {
    /// How many versions before its batch it read.
    age: u64,
    reads: Vec<KeyRange>,
    writes: Vec<KeyRange>,
}

fn key() -> impl Strategy<Value = Bytes> {
    (0..6u8, 0..4u8, any::<bool>()).prop_map(
        |(one, two, long)| {
            if long { Bytes::from(vec![one, two]) } else { Bytes::from(vec![one]) }
        },
    )
}

fn range() -> impl Strategy<Value = KeyRange> {
    prop_oneof![
        3 => key().prop_map(|begin| super::one(&begin)),
        1 => (key(), key()).prop_map(|(begin, end)| KeyRange { begin, end }),
    ]
}

fn transaction() -> impl Strategy<Value = Transaction> {
    let ranges = || prop::collection::vec(range(), 0..4);
    (1..40u64, ranges(), ranges()).prop_map(|(age, reads, writes)| Transaction { age, reads, writes })
}

fn overlap(one: &KeyRange, other: &KeyRange) -> bool {
    one.begin < one.end && other.begin < other.end && one.begin < other.end && other.begin < one.end
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn it_finds_exactly_the_conflicts_that_a_list_of_all_writes_has(
        batches in prop::collection::vec((1..8u64, any::<bool>(), prop::collection::vec(transaction(), 0..5)), 1..40)
    ) {
        const SPAN: u64 = 30;
        let mut resolver = Resolver::default();
        let mut written: Vec<(u64, KeyRange)> = Vec::new();
        let mut version = 100;
        for (step, pauses, transactions) in batches {
            version += step;
            let floor = version - SPAN;
            for transaction in transactions {
                let read_version = version - transaction.age;
                if read_version < floor {
                    continue;
                }
                let expected = transaction.reads.iter().any(|read| {
                    written.iter().any(|(at, write)| *at > read_version && overlap(read, write))
                });
                prop_assert_eq!(resolver.conflicts(&transaction.reads, read_version), expected);
                if !expected {
                    resolver.add(&transaction.writes, version);
                    written.extend(transaction.writes.into_iter().map(|write| (version, write)));
                }
            }
            resolver.finish_batch(floor);
            if pauses {
                while resolver.expire_some(floor) {}
            }
        }
        resolver.finish_batch(version);
        prop_assert_eq!((resolver.len(), resolver.bytes()), (0, 0), "what expired is forgotten");
    }
}

#[test]
fn while_nothing_is_committed_what_is_too_old_is_forgotten_and_nothing_younger() {
    let clock = TestClock::new();
    let second = Duration::from_secs(1);
    let core = Core::new(MemoryBase::default(), Versions::new(clock.clone(), 1), Window::default(), 1_000_000, 10);
    let mut stage = Stage::default();
    let keys = || (0..3000u32).map(|number| super::one(&Bytes::copy_from_slice(&number.to_be_bytes()))).collect();
    let commit = |stage: &mut Stage, request: CommitRequest| {
        let (version, results) = core.process(stage, std::iter::once(&request), |_| ());
        core.publish(version, true);
        results[0].clone().map_err(|error| error.code)
    };
    let read_version = Some(Version(core.versions.read()));
    commit(&mut stage, CommitRequest { write_conflicts: keys(), ..CommitRequest::default() }).unwrap();
    let held = core.held_bytes();
    clock.advance(second * 9 / 10);
    assert!(!core.forget_some_conflicts(&mut stage));
    assert_eq!(core.held_bytes(), held);
    let late = CommitRequest { read_version, read_conflicts: keys(), ..CommitRequest::default() };
    assert_eq!(commit(&mut stage, late.clone()), Err(StoreError::NOT_COMMITTED));
    clock.advance(second / 5);
    let steps = std::iter::repeat_with(|| core.forget_some_conflicts(&mut stage)).take_while(|more| *more).count();
    assert!(steps >= 1, "in steps, between which commits have their turn");
    assert!(core.held_bytes() < held / 10, "{} of {held} bytes", core.held_bytes());
    assert_eq!(commit(&mut stage, late), Err(StoreError::TRANSACTION_TOO_OLD));
}

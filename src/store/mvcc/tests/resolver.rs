//! The resolver against a list of everything that was ever written.

use bytes::Bytes;
use proptest::prelude::*;

use crate::store::{engine::KeyRange, mvcc::resolver::Resolver};

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
        batches in prop::collection::vec((1..8u64, prop::collection::vec(transaction(), 0..5)), 1..40)
    ) {
        const SPAN: u64 = 30;
        let mut resolver = Resolver::default();
        let mut written: Vec<(u64, KeyRange)> = Vec::new();
        let mut version = 100;
        for (step, transactions) in batches {
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
        }
        resolver.finish_batch(version);
        prop_assert_eq!((resolver.len(), resolver.bytes()), (0, 0), "what expired is forgotten");
    }
}

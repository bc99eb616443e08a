//! Window and base together against a model that keeps a full copy of every version.

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;
use proptest::prelude::*;

use super::{TestClock, one};
use crate::store::{
    MutationKind, StoreError, Version,
    client::atomic,
    engine::{CommitRequest, Mutation, RangeRead},
    memory::MemoryBase,
    mvcc::{Base, Change, Core, Stage, Versions, Window, window::Found},
};

type State = BTreeMap<Bytes, Bytes>;

#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// Commits this and makes it readable.
    Commit(Vec<Mutation>),
    /// Commits this and undoes it.
    Undo(Vec<Mutation>),
    /// Moves everything older than this many batches to the base.
    Flush(usize),
}

fn key() -> impl Strategy<Value = Bytes> {
    let usual = (0..5u8, prop::option::of(0..5u8))
        .prop_map(|(one, two)| Bytes::from(two.map_or_else(|| vec![one], |two| vec![one, two])));
    prop_oneof![1 => Just(Bytes::new()), 5 => usual]
}

fn value() -> impl Strategy<Value = Bytes> {
    (1..9u8, 1..4usize).prop_map(|(byte, length)| Bytes::from(vec![byte; length]))
}

fn mutation() -> impl Strategy<Value = Mutation> {
    let kind = prop_oneof![
        Just(MutationKind::Add),
        Just(MutationKind::ByteMax),
        Just(MutationKind::CompareAndClear),
        Just(MutationKind::AppendIfFits),
    ];
    prop_oneof![
        4 => (key(), value()).prop_map(|(key, value)| Mutation::Set(key, value)),
        2 => key().prop_map(Mutation::Clear),
        2 => (key(), key()).prop_map(|(one, other)| {
            Mutation::ClearRange(one.clone().min(other.clone()), one.max(other))
        }),
        2 => (kind, key(), value()).prop_map(|(kind, key, operand)| Mutation::Atomic(kind, key, operand)),
    ]
}

pub(crate) fn steps() -> impl Strategy<Value = Vec<Step>> {
    let mutations = || prop::collection::vec(mutation(), 1..6);
    let step = prop_oneof![
        6 => mutations().prop_map(Step::Commit),
        1 => mutations().prop_map(Step::Undo),
        2 => (0..4usize).prop_map(Step::Flush),
    ];
    prop::collection::vec(step, 1..30)
}

pub(crate) fn apply_to(state: &mut State, mutations: &[Mutation]) {
    for mutation in mutations {
        match mutation {
            Mutation::Set(key, value) => {
                state.insert(key.clone(), value.clone());
            }
            Mutation::Clear(key) => {
                state.remove(key);
            }
            Mutation::ClearRange(begin, end) => state.retain(|key, _| key < begin || key >= end),
            Mutation::Atomic(kind, key, operand) => {
                match atomic::apply(*kind, state.get(key).map(|value| &**value), operand) {
                    Some(value) => state.insert(key.clone(), value),
                    None => state.remove(key),
                };
            }
        }
    }
}

/// Runs the steps and compares every readable version after each.
pub(crate) fn check_reads<B: Base>(base: B, steps: Vec<Step>) -> Result<(), TestCaseError> {
    let clock = TestClock::new();
    let core = Core::new(base, Versions::new(clock.clone(), 1), Window::default(), u64::MAX / 2, 10);
    let mut stage = Stage::default();
    let mut history: Vec<(u64, State)> = vec![(core.versions.readable(), State::new())];
    let mut log = Vec::new();
    let mut applied = 0;
    for step in steps {
        match step {
            Step::Commit(mutations) => {
                let mut state = history.last().unwrap().1.clone();
                apply_to(&mut state, &mutations);
                let request = CommitRequest { mutations, ..CommitRequest::default() };
                let mut changes = Vec::new();
                let (version, results) =
                    core.process(&mut stage, std::iter::once(&request), |change| changes.push(change.clone()));
                prop_assert!(results[0].is_ok());
                core.publish(version, true);
                log.push((version.0, changes));
                history.push((version.0, state));
            }
            Step::Undo(mutations) => {
                let request = CommitRequest { mutations, ..CommitRequest::default() };
                core.process(&mut stage, [&request, &request].into_iter(), |_| ());
                core.undo_unpublished();
                let state = history.last().unwrap().1.clone();
                history.push((core.versions.readable(), state));
            }
            Step::Flush(keep) => {
                let at = history.len().saturating_sub(keep + 1);
                let limit = history[at].0;
                while let Some(flushed) = core.flush(limit, 3).unwrap() {
                    applied = flushed;
                    history.retain(|(version, _)| *version >= flushed);
                }
            }
        }
        clock.advance(Duration::from_micros(7));
        for (version, state) in &history {
            check_version(&core, *version, state)?;
        }
    }
    check_restart(&core.base, &log, applied, &history.last().unwrap().1)?;
    while core.flush(u64::MAX, 2).unwrap().is_some() {}
    prop_assert_eq!(core.window().bytes(), 0, "an empty window holds nothing");
    let (version, state) = history.last().unwrap();
    check_version(&core, *version, state)
}

/// What the base has and the log after it give the newest state.
fn check_restart<B: Base>(
    base: &B,
    log: &[(u64, Vec<Change>)],
    applied: u64,
    state: &State,
) -> Result<(), TestCaseError> {
    let mut window = Window::default();
    for (version, changes) in log.iter().filter(|(version, _)| *version > applied) {
        window.replay(*version, changes);
    }
    for key in all_keys() {
        let value = match window.find(&key, u64::MAX) {
            Found::Here(value) => value,
            Found::InBase => base.get(&key).unwrap(),
        };
        prop_assert_eq!(value.as_ref(), state.get(&key));
    }
    Ok(())
}

fn all_keys() -> Vec<Bytes> {
    let keys = (0..5u8).flat_map(|one| std::iter::once(vec![one]).chain((0..5).map(move |two| vec![one, two])));
    std::iter::once(Vec::new()).chain(keys).map(Bytes::from).collect()
}

fn check_version<B: Base>(core: &Core<B>, version: u64, state: &State) -> Result<(), TestCaseError> {
    let version = Version(version);
    let keys = all_keys();
    let expected: Vec<_> = keys.iter().map(|key| state.get(key).cloned()).collect();
    prop_assert_eq!(core.get_many(&keys, version).unwrap(), expected);
    for (begin, end) in [(&[][..], 5), (&[0], 5), (&[1], 4), (&[2], 3)] {
        for (limit, target_bytes, reverse) in [(0, 0, false), (0, 0, true), (2, 0, false), (1, 0, true), (0, 5, false)]
        {
            let mut read = RangeRead {
                begin: Bytes::from_static(begin),
                end: Bytes::from(vec![end]),
                limit,
                target_bytes,
                reverse,
            };
            let mut expected: Vec<_> = state.range(read.begin.clone()..read.end.clone()).collect();
            if reverse {
                expected.reverse();
            }
            let mut rows = Vec::new();
            loop {
                let page = core.get_range(&read, version).unwrap();
                prop_assert!(limit == 0 || page.rows.len() <= limit);
                rows.extend(page.rows);
                if !page.more {
                    break;
                }
                let last = &rows.last().unwrap().0;
                if reverse {
                    read.end = last.clone();
                } else {
                    read.begin = one(last).end;
                }
            }
            let rows: Vec<_> = rows.iter().map(|(key, value)| (key, value)).collect();
            prop_assert_eq!(rows, expected);
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn every_version_in_the_window_reads_as_a_full_copy_of_it_would(steps in steps()) {
        check_reads(MemoryBase::default(), steps)?;
    }
}

#[test]
fn a_range_read_goes_on_over_long_stretches_of_cleared_keys() {
    let clock = TestClock::new();
    let core = Core::new(MemoryBase::default(), Versions::new(clock, 1), Window::default(), 1 << 60, 10);
    let mut stage = Stage::default();
    let key = |number: u32| Bytes::copy_from_slice(&number.to_be_bytes());
    let mut run = |mutations: Vec<Mutation>| {
        let request = CommitRequest { mutations, ..CommitRequest::default() };
        let (version, _) = core.process(&mut stage, std::iter::once(&request), |_| ());
        core.publish(version, true);
        version
    };
    let first = run((0..5000).map(|number| Mutation::Set(key(number), key(number))).collect());
    while core.flush(u64::MAX, 100_000).unwrap().is_some() {}
    let all = |reverse, version| {
        let read = RangeRead { begin: key(0), end: key(9999), limit: 0, target_bytes: 0, reverse };
        core.get_range(&read, version).unwrap().rows.into_iter().map(|(key, _)| key).collect::<Vec<_>>()
    };
    assert_eq!(all(false, first).len(), 5000);
    let second = run(vec![
        Mutation::ClearRange(key(10), key(4000)),
        Mutation::ClearRange(key(3000), key(4990)),
        Mutation::Set(key(2000), key(1)),
    ]);
    let third = run((4990..5000).map(|number| Mutation::Clear(key(number))).collect());
    let expected: Vec<Bytes> = (0..10).chain([2000]).map(key).collect();
    assert_eq!(all(false, third), expected);
    assert_eq!(all(true, third), expected.iter().rev().cloned().collect::<Vec<_>>());
    assert_eq!(all(true, second).len(), 21);
    assert_eq!(all(false, first).len(), 5000, "an older version still has them");
    while core.flush(u64::MAX, 100).unwrap().is_some() {}
    assert_eq!(all(false, third), expected);
    let refused = core.get_many(&[key(1)], first).unwrap_err();
    assert_eq!(refused.code, StoreError::TRANSACTION_TOO_OLD);
}

#[test]
fn a_key_that_came_to_the_slot_of_one_that_left_stays_when_old_records_leave() {
    let (old, new) = (Bytes::from_static(b"old"), Bytes::from_static(b"new"));
    let mut window = Window::default();
    for version in [1, 2] {
        window.begin_batch(version);
        window.put(&old, Some(old.clone()));
    }
    // The first record takes the key with it; the second still has its slot.
    assert!(window.evict_keys(2, 1), "one more record is left");
    assert_eq!(window.find(&old, 2), Found::InBase);
    window.begin_batch(3);
    window.put(&new, Some(new.clone()));
    let bytes = window.bytes();
    assert!(!window.evict_keys(2, 100));
    assert_eq!((window.find(&new, 3), window.bytes()), (Found::Here(Some(new)), bytes));
    assert_eq!(window.oldest(), Some(3));
}

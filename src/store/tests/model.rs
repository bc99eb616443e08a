//! Random programs: what a transaction reads, what it commits, and whether it conflicts,
//! against a map.

use proptest::{collection::vec, prelude::*, sample::select};

use super::{
    reference::{Reference, Rows},
    *,
};
use crate::store::{
    MutationKind as M, StreamingMode, atomic,
    engine::{CommitRequest, Engine, Mutation},
};

#[derive(Clone, Debug)]
enum Op {
    Set(Bytes, Bytes),
    Clear(Bytes),
    ClearRange(Bytes, Bytes),
    Atomic(M, Bytes, Bytes),
    Get(Bytes),
    GetKey(KeySelector),
    GetRange {
        begin: KeySelector,
        end: KeySelector,
        limit: usize,
        reverse: bool,
    },
    /// Another transaction writes meanwhile.
    Other(Bytes, Option<Bytes>),
}

/// What a read gave.
#[derive(Clone, Debug, PartialEq)]
enum Read {
    Value(Option<Bytes>),
    Key(Bytes),
    Rows(Vec<(Bytes, Bytes)>),
}

fn key() -> impl Strategy<Value = Bytes> {
    let keys = [&b""[..], b"a", b"a\0", b"b", b"b\0", b"bb", b"c", b"d", b"d\0\0", b"e", b"f"];
    select(keys.map(Bytes::from_static).to_vec())
}

fn value() -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 0..3).prop_map(Bytes::from)
}

fn selector() -> impl Strategy<Value = KeySelector> {
    (key(), any::<bool>(), -4..6_i32).prop_map(|(key, or_equal, offset)| KeySelector { key, or_equal, offset })
}

fn op() -> impl Strategy<Value = Op> {
    let kinds =
        [M::Add, M::And, M::Or, M::Xor, M::AppendIfFits, M::Max, M::Min, M::ByteMax, M::ByteMin, M::CompareAndClear];
    let bound = || {
        prop_oneof![
            3 => key().prop_map(KeySelector::first_greater_or_equal),
            1 => selector(),
        ]
    };
    prop_oneof![
        4 => (key(), value()).prop_map(|(key, value)| Op::Set(key, value)),
        2 => key().prop_map(Op::Clear),
        2 => (key(), key()).prop_map(|(a, b)| Op::ClearRange(a.clone().min(b.clone()), a.max(b))),
        4 => (select(kinds.to_vec()), key(), value()).prop_map(|(kind, key, operand)| Op::Atomic(kind, key, operand)),
        3 => key().prop_map(Op::Get),
        3 => selector().prop_map(Op::GetKey),
        4 => (bound(), bound(), 0..4_usize, any::<bool>())
            .prop_map(|(begin, end, limit, reverse)| Op::GetRange { begin, end, limit, reverse }),
        1 => (key(), proptest::option::of(value())).prop_map(|(key, value)| Op::Other(key, value)),
    ]
}

fn find(rows: &Rows, selector: &KeySelector) -> Bytes {
    let before = rows.keys().filter(|key| **key < selector.key || (selector.or_equal && **key == selector.key));
    let place = i32::try_from(before.count()).unwrap() + selector.offset - 1;
    match usize::try_from(place) {
        Err(_) => Bytes::new(),
        Ok(place) => rows.keys().nth(place).cloned().unwrap_or(Bytes::from_static(b"\xff")),
    }
}

/// Runs one operation on the map; `Other` is not among them.
fn step(rows: &mut Rows, op: &Op) -> Option<Read> {
    match op.clone() {
        Op::Set(key, value) => drop(rows.insert(key, value)),
        Op::Clear(key) => drop(rows.remove(&key)),
        Op::ClearRange(begin, end) => rows.retain(|key, _| *key < begin || *key >= end),
        Op::Atomic(kind, key, operand) => match atomic::apply(kind, rows.get(&key).map(|value| &**value), &operand) {
            Some(value) => drop(rows.insert(key, value)),
            None => drop(rows.remove(&key)),
        },
        Op::Get(key) => return Some(Read::Value(rows.get(&key).cloned())),
        Op::GetKey(selector) => return Some(Read::Key(find(rows, &selector))),
        Op::GetRange { begin, end, limit, reverse } => {
            let (first, beyond) = (find(rows, &begin), find(rows, &end));
            let inside = rows.iter().filter(|(key, _)| **key >= first && **key < beyond);
            let mut found: Vec<_> = inside.map(|(key, value)| (key.clone(), value.clone())).collect();
            if reverse {
                found.reverse();
            }
            found.truncate(if limit == 0 { usize::MAX } else { limit });
            return Some(Read::Rows(found));
        }
        Op::Other(..) => {}
    }
    None
}

fn perform(tx: &Transaction, op: &Op, engine: &Reference) -> Result<Option<Read>, StoreError> {
    let raw = tx.raw();
    match op.clone() {
        Op::Set(key, value) => raw.set(key, value)?,
        Op::Clear(key) => raw.clear(key)?,
        Op::ClearRange(begin, end) => raw.clear_range(begin, end)?,
        Op::Atomic(kind, key, operand) => raw.mutate(kind, key, operand)?,
        Op::Get(key) => return Ok(Some(Read::Value(now(tx.get(key))?))),
        Op::GetKey(selector) => return Ok(Some(Read::Key(now(raw.get_key(selector, false))?))),
        Op::GetRange { begin, end, limit, reverse } => {
            let mode = if limit == 0 { StreamingMode::Iterator } else { StreamingMode::Exact };
            let page = now(tx.get_range(RangeOptions { begin, end, limit, reverse, mode, target_bytes: 0 }))?;
            assert!(!page.more || page.rows.len() == limit, "only the limit ends a page");
            return Ok(Some(Read::Rows(page.rows)));
        }
        Op::Other(key, value) => {
            let other = match value {
                Some(value) => Mutation::Set(key.clone(), value),
                None => Mutation::Clear(key.clone()),
            };
            let end = [&key[..], &[0]].concat().into();
            let write_conflicts = vec![KeyRange { begin: key, end }];
            let request = CommitRequest { write_conflicts, mutations: vec![other], ..Default::default() };
            now(engine.commit(request))?;
        }
    }
    Ok(None)
}

/// The program on the map, from its first state on.
fn replay(rows: &mut Rows, program: &[Op]) -> Vec<Read> {
    program.iter().filter_map(|op| step(rows, op)).collect()
}

fn check(stored: Vec<(Bytes, Bytes)>, program: &[Op], page_rows_max: usize) {
    let it = setup(&[]);
    let tx = it.db.begin();
    stored.into_iter().for_each(|(key, value)| tx.set(key, value).unwrap());
    commit(&tx).unwrap();
    it.engine.inner().page_rows_max = page_rows_max;

    let tx = it.db.begin();
    now(tx.raw().read_version()).unwrap();
    let mut view = it.engine.rows();
    let reads: Vec<_> = program.iter().filter_map(|op| perform(&tx, op, &it.engine).unwrap()).collect();
    assert_eq!(reads, replay(&mut view, program), "reads are of one version and of own writes");

    let mut before = it.engine.rows();
    let disturbed = program.iter().any(|op| matches!(op, Op::Other(..)));
    match commit(&tx) {
        Ok(()) => {
            let wrote = tx.raw().committed_version().is_ok();
            let again = replay(&mut before, program);
            // What only reads is serialized at its read version instead.
            assert!(!wrote || again == reads, "what was committed read the same as just before its commit: {again:?}");
            assert!(!wrote || before == it.engine.rows(), "the commit did what the program says");
        }
        Err(error) => assert!(disturbed && error.code == StoreError::NOT_COMMITTED, "{error}"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_programs_read_and_commit_as_on_a_map_and_are_serializable(
        stored in vec((key(), value()), 0..8),
        program in vec(op(), 1..20),
        page_rows_max in prop_oneof![Just(1), Just(2), Just(usize::MAX)],
    ) {
        check(stored, &program, page_rows_max);
    }
}

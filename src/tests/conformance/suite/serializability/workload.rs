//! Runs the transactions.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::SeqCst},
};

use bytes::Bytes;
use escapement::{
    rng::Rng,
    store::{
        ConflictKind, Database, KeySelector, MutationKind, RangeOptions, RetryClass, StoreError, Transaction, Version,
    },
};

use super::{
    super::support::{all_pages, stamped},
    history::{End, Op, Outcome, Range, Reading, Record, Step},
};

/// So few that nearly every transaction meets another.
const KEYS: u64 = 16;
/// Operations of a transaction at most.
const OPS_MAX: u64 = 6;
const ATOMIC: [MutationKind; 5] = [
    MutationKind::Add,
    MutationKind::Xor,
    MutationKind::ByteMax,
    MutationKind::AppendIfFits,
    MutationKind::CompareAndClear,
];

/// What all clients have in common.
#[derive(Clone, Debug)]
pub(super) struct Shared {
    db: Database,
    data: Bytes,
    markers: Bytes,
    /// Newest version of an acknowledged commit.
    acknowledged: Arc<AtomicU64>,
}

impl Shared {
    pub(super) fn new(db: Database, space: Bytes) -> Self {
        let under = |name: &[u8]| Bytes::from([&space[..], name].concat());
        Self { db, data: under(b"data/"), markers: under(b"marker/"), acknowledged: Arc::default() }
    }

    fn key(&self, name: &[u8]) -> Bytes {
        [&self.data[..], name].concat().into()
    }
}

/// One client: tries one transaction after the other.
pub(super) async fn client(shared: &Shared, client: u64, tries: u64, rng: &Rng) -> Vec<Record> {
    let mut records = Vec::new();
    for number in 0..tries {
        let name = format!("{client:03}/{number:06}");
        let acknowledged = Version(shared.acknowledged.load(SeqCst));
        let tx = shared.db.begin();
        let ops = transaction(rng, &name);
        let mut record =
            Record { name, acknowledged, read_version: None, steps: Vec::new(), outcome: Outcome::Failed(0) };
        if let Err(error) = attempt(shared, &tx, ops, &mut record, rng).await
            && error.code != StoreError::NOT_COMMITTED
        {
            // Whoever is throttled or late waits.
            let _ = tx.raw().on_error(error).await;
        }
        records.push(record);
    }
    records
}

/// Runs the operations and commits; the record tells all that was seen.
async fn attempt(
    shared: &Shared,
    tx: &Transaction,
    ops: Vec<Op>,
    record: &mut Record,
    rng: &Rng,
) -> Result<(), StoreError> {
    let writes = ops.iter().any(Op::is_write);
    for op in ops {
        let result = perform(shared, tx, &op).await;
        if result.is_err() || !op.is_write() {
            record.read_version = tx.raw().read_version().await.ok();
        }
        match result {
            Ok(seen) => record.steps.push(Step { op, seen }),
            Err(error) => {
                record.outcome = Outcome::Failed(error.code);
                return Err(error);
            }
        }
        // Where nothing else has to be waited for, the others go on here.
        for _ in 0..rng.u32() % 3 {
            tokio::task::yield_now().await;
        }
    }
    let marker = Bytes::from([&shared.markers[..], record.name.as_bytes()].concat());
    if writes {
        tx.raw().mutate(MutationKind::SetVersionstampedValue, marker, stamped(b"", b""))?;
    }
    let stamp = tx.raw().versionstamp();
    match tx.raw().commit().await {
        Ok(()) if writes => {
            let stamp = stamp.await?;
            let version = tx.raw().committed_version()?;
            assert_eq!(version.0.to_be_bytes(), stamp.0[..8], "a stamp begins with its version");
            shared.acknowledged.fetch_max(version.0, SeqCst);
            record.outcome = Outcome::Committed(stamp);
            Ok(())
        }
        Ok(()) => {
            record.outcome = Outcome::ReadOnly;
            Ok(())
        }
        Err(error) => {
            record.outcome = match error.class() {
                RetryClass::Retry => Outcome::Failed(error.code),
                RetryClass::MaybeCommitted | RetryClass::Fatal => Outcome::Unknown(error.code),
            };
            Err(error)
        }
    }
}

async fn perform(shared: &Shared, tx: &Transaction, op: &Op) -> Result<Option<Vec<(Bytes, Bytes)>>, StoreError> {
    let raw = tx.raw();
    match op {
        Op::Get(name, reading) => {
            let key = shared.key(name);
            if *reading == Reading::Declared {
                let end = [&key[..], b"\0"].concat().into();
                raw.add_conflict_range(key.clone(), end, ConflictKind::Read)?;
            }
            let value = raw.get_many(vec![key], *reading != Reading::Normal).await?.swap_remove(0);
            return Ok(Some(value.map(|value| (name.clone(), value)).into_iter().collect()));
        }
        Op::GetRange(range, reading) => {
            let (begin, end) = (shared.key(&range.begin), shared.key(&range.end));
            if *reading == Reading::Declared {
                raw.add_conflict_range(begin.clone(), end.clone(), ConflictKind::Read)?;
            }
            let options = RangeOptions {
                begin: KeySelector::first_greater_or_equal(begin),
                end: KeySelector::first_greater_or_equal(end),
                limit: range.limit,
                reverse: range.reverse,
                ..RangeOptions::new("", "")
            };
            let rows = all_pages(tx, options, *reading != Reading::Normal).await?;
            return Ok(Some(rows.into_iter().map(|(key, value)| (key.slice(shared.data.len()..), value)).collect()));
        }
        Op::Set(name, value) => raw.set(shared.key(name), value.clone())?,
        Op::Clear(name) => raw.clear(shared.key(name))?,
        Op::ClearRange(begin, end) => raw.clear_range(shared.key(begin), shared.key(end))?,
        Op::Atomic(kind, name, operand) => raw.mutate(*kind, shared.key(name), operand.clone())?,
        Op::StampedValue(name) => {
            raw.mutate(MutationKind::SetVersionstampedValue, shared.key(name), stamped(b"", b""))?;
        }
        Op::StampedKey(name, value) => {
            let key = stamped(&shared.key(name), b"");
            raw.mutate(MutationKind::SetVersionstampedKey, key, value.clone())?;
        }
    }
    Ok(None)
}

/// The operations of a transaction; `name` makes its values unlike all others.
fn transaction(rng: &Rng, name: &str) -> Vec<Op> {
    let below = |end: u64| rng.u64() % end;
    let only_reads = below(5) == 0;
    let mut ops: Vec<Op> = (0..=below(OPS_MAX))
        .map(|number| match below(if only_reads { 8 } else { 20 }) {
            0..5 => Op::Get(key(below(KEYS)), reading(rng)),
            5..8 => Op::GetRange(range(rng), reading(rng)),
            8..12 => Op::Set(key(below(KEYS)), format!("{name}.{number}").into()),
            12 => Op::Clear(key(below(KEYS))),
            13 => {
                let Range { begin, end, .. } = range(rng);
                Op::ClearRange(begin, end)
            }
            14 => Op::ClearRange("log/".into(), "log0".into()),
            15..18 => {
                let kind = ATOMIC[usize::try_from(below(5)).unwrap()];
                Op::Atomic(kind, key(below(KEYS)), rng.u32().to_le_bytes()[..1 + number as usize % 4].to_vec().into())
            }
            18 => Op::StampedValue(key(below(KEYS))),
            _ => Op::StampedKey("log/".into(), format!("{name}.{number}").into()),
        })
        .collect();
    ops.sort_by_key(Op::is_stamped);
    ops
}

fn key(number: u64) -> Bytes {
    format!("key/{number:02}").into()
}

fn reading(rng: &Rng) -> Reading {
    match rng.u32() % 8 {
        0 => Reading::Snapshot,
        1 => Reading::Declared,
        _ => Reading::Normal,
    }
}

fn range(rng: &Rng) -> Range {
    let begin = rng.u64() % KEYS;
    let limit = if rng.u32().is_multiple_of(2) { 0 } else { 1 + rng.u32() as usize % 3 };
    if rng.u32().is_multiple_of(4) {
        return Range { begin: "log/".into(), end: "log0".into(), limit, reverse: rng.u32().is_multiple_of(2) };
    }
    Range { begin: key(begin), end: key(begin + 1 + rng.u64() % 5), limit, reverse: rng.u32().is_multiple_of(2) }
}

/// All that the transactions have left.
pub(super) async fn read_all(shared: &Shared) -> End {
    let tx = shared.db.begin();
    loop {
        match read_once(shared, &tx).await {
            Ok(end) => return end,
            Err(error) => tx.raw().on_error(error).await.unwrap(),
        }
    }
}

async fn read_once(shared: &Shared, tx: &Transaction) -> Result<End, StoreError> {
    let under = |space: &Bytes| RangeOptions::new(space.clone(), [&space[..], b"\xff"].concat());
    let data = all_pages(tx, under(&shared.data), true).await?;
    let markers = all_pages(tx, under(&shared.markers), true).await?;
    let name = |key: &Bytes| String::from_utf8(key[shared.markers.len()..].to_vec()).unwrap();
    Ok(End {
        data: data.into_iter().map(|(key, value)| (key.slice(shared.data.len()..), value)).collect(),
        markers: markers.iter().map(|(key, value)| (name(key), value.to_vec())).collect(),
    })
}

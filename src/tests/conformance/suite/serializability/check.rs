//! Replays a history on a plain map. Shares no code with the store.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use escapement::store::{MutationKind, Version, Versionstamp};

use super::{
    Report,
    history::{End, Op, Outcome, Range, Reading, Record, State, Step},
};

/// Whether the records are serializable in the order of their stamps and end in `end`; what they
/// were, or what contradicts that.
pub(super) fn check(mut records: Vec<Record>, end: &End) -> Result<Report, String> {
    let mut report = Report::default();
    records.iter().try_for_each(check_read_version)?;
    settle(&mut records, end, &mut report)?;
    let mut committed: Vec<(Versionstamp, &Record)> = Vec::new();
    for record in &records {
        match record.outcome {
            Outcome::Committed(stamp) => committed.push((stamp, record)),
            Outcome::ReadOnly => report.read_only += 1,
            Outcome::Failed(code) => *report.failed.entry(code).or_default() += 1,
            Outcome::Unknown(_) => {}
        }
    }
    committed.sort_unstable_by_key(|(stamp, _)| *stamp);
    report.committed = committed.len();
    if let Some(twice) = committed.windows(2).find(|pair| pair[0].0 == pair[1].0) {
        return Err(format!("{} and {} have the same versionstamp", twice[0].1.name, twice[1].1.name));
    }
    let versions: Vec<u64> = committed.iter().map(|(stamp, _)| version(*stamp).0).collect();
    let repeated: BTreeSet<&u64> = versions.windows(2).filter(|pair| pair[0] == pair[1]).map(|pair| &pair[0]).collect();
    report.shared_versions = repeated.len();

    let mut states = States::default();
    for (stamp, record) in &committed {
        let next = replay(record, Some(*stamp), &states, &mut report)?;
        states.0.insert(version(*stamp), next);
    }
    for record in records.iter().filter(|record| record.outcome == Outcome::ReadOnly) {
        replay(record, None, &states, &mut report)?;
    }
    let last = states.newest();
    if last != end.data {
        return Err(format!("the keys that are left differ: replayed {last:?}, found {:?}", end.data));
    }
    Ok(report)
}

fn version(stamp: Versionstamp) -> Version {
    let [version @ .., _, _] = stamp.0;
    Version(u64::from_be_bytes(version))
}

/// Finds out from the markers what became of each transaction.
fn settle(records: &mut [Record], end: &End, report: &mut Report) -> Result<(), String> {
    for record in records {
        let marker = end.markers.get(&record.name).map(|stamp| <[u8; 10]>::try_from(&stamp[..]).map(Versionstamp));
        let marker = marker.transpose().map_err(|_| format!("{}: its marker is no versionstamp", record.name))?;
        let name = &record.name;
        match (record.outcome, marker) {
            (Outcome::Committed(told), Some(left)) if told == left => {}
            (Outcome::Committed(told), left) => {
                return Err(format!("{name}: acknowledged with the stamp {told:?}, but left {left:?}"));
            }
            (Outcome::Failed(code), Some(_)) => return Err(format!("{name}: refused with {code}, but committed")),
            (Outcome::Unknown(_), found) => {
                report.unknown += 1;
                report.unknown_committed += usize::from(found.is_some());
                record.outcome = found.map_or(record.outcome, Outcome::Committed);
            }
            (Outcome::ReadOnly, Some(_)) => return Err(format!("{name}: wrote nothing, but left a marker")),
            (Outcome::Failed(_) | Outcome::ReadOnly, None) => {}
        }
    }
    Ok(())
}

/// The state after each version with a commit.
#[derive(Debug, Default)]
struct States(BTreeMap<Version, State>);

impl States {
    fn at(&self, version: Version) -> State {
        self.0.range(..=version).next_back().map(|(_, state)| state.clone()).unwrap_or_default()
    }

    fn newest(&self) -> State {
        self.0.last_key_value().map(|(_, state)| state.clone()).unwrap_or_default()
    }
}

/// Checks one transaction's reads; gives the state after it. `stamp`: that of its commit, which
/// all in `states` come before. Without one, all reads are of the read version.
fn replay(record: &Record, stamp: Option<Versionstamp>, states: &States, report: &mut Report) -> Result<State, String> {
    if let Some(stamp) = stamp {
        check_commit_version(record, version(stamp))?;
    }
    let mut then = record.read_version.map(|version| states.at(version)).unwrap_or_default();
    let mut now = states.newest();
    for Step { op, seen } in &record.steps {
        let Some(seen) = seen else {
            write(&mut then, op, stamp);
            write(&mut now, op, stamp);
            continue;
        };
        report.reads += 1;
        let was = read(&then, op);
        if was != *seen {
            return Err(explain(record, op, "at its read version", &was, seen));
        }
        let serialized = !matches!(op, Op::Get(_, Reading::Snapshot) | Op::GetRange(_, Reading::Snapshot));
        let is = read(&now, op);
        if stamp.is_some() && serialized && is != *seen {
            return Err(explain(record, op, "just before its commit", &is, seen));
        }
    }
    Ok(now)
}

/// Strictness: what had been acknowledged before is seen.
fn check_read_version(record: &Record) -> Result<(), String> {
    let Record { name, acknowledged, read_version, .. } = record;
    match read_version.filter(|read| read < acknowledged) {
        Some(read) => {
            Err(format!("{name}: read at {read:?}, though a commit at {acknowledged:?} was known when it began"))
        }
        None => Ok(()),
    }
}

/// A commit comes after all that was known or read before it.
fn check_commit_version(record: &Record, commit: Version) -> Result<(), String> {
    let Record { name, acknowledged, read_version, .. } = record;
    if commit <= *acknowledged || read_version.is_some_and(|read| commit <= read) {
        return Err(format!("{name}: committed at {commit:?}, not after {acknowledged:?} and {read_version:?}"));
    }
    Ok(())
}

fn explain(record: &Record, op: &Op, when: &str, expected: &[(Bytes, Bytes)], seen: &[(Bytes, Bytes)]) -> String {
    let Record { name, read_version, outcome, steps, .. } = record;
    let steps: Vec<String> = steps.iter().map(|step| format!("  {step:?}")).collect();
    format!(
        "{name} ({outcome:?}, read at {read_version:?}): {op:?} gave {seen:?}, but {when} it was {expected:?}; the \
         whole transaction:\n{}",
        steps.join("\n")
    )
}

fn read(state: &State, op: &Op) -> Vec<(Bytes, Bytes)> {
    let row = |(key, value): (&Bytes, &Bytes)| (key.clone(), value.clone());
    match op {
        Op::Get(key, _) => state.get_key_value(key).map(row).into_iter().collect(),
        Op::GetRange(Range { begin, end, limit, reverse }, _) => {
            let inside = state.range(begin.clone()..end.clone()).map(row);
            let limit = if *limit == 0 { usize::MAX } else { *limit };
            if *reverse { inside.rev().take(limit).collect() } else { inside.take(limit).collect() }
        }
        other => unreachable!("{other:?} reads nothing"),
    }
}

/// Applies a write. One that depends on the stamp has no effect that could be read without it.
fn write(state: &mut State, op: &Op, stamp: Option<Versionstamp>) {
    let stamp = stamp.map(|stamp| Bytes::copy_from_slice(&stamp.0));
    match op {
        Op::Set(key, value) => drop(state.insert(key.clone(), value.clone())),
        Op::Clear(key) => drop(state.remove(key)),
        Op::ClearRange(begin, end) => state.retain(|key, _| key < begin || key >= end),
        Op::Atomic(kind, key, operand) => match operate(*kind, state.get(key), operand) {
            Some(value) => drop(state.insert(key.clone(), value)),
            None => drop(state.remove(key)),
        },
        Op::StampedValue(key) => {
            if let Some(stamp) = stamp {
                state.insert(key.clone(), stamp);
            }
        }
        Op::StampedKey(key, value) => {
            if let Some(stamp) = stamp {
                state.insert([&key[..], &stamp].concat().into(), value.clone());
            }
        }
        Op::Get(..) | Op::GetRange(..) => unreachable!("{op:?} writes nothing"),
    }
}

/// Atomic operations as FoundationDB documents them, in the plainest way.
fn operate(kind: MutationKind, before: Option<&Bytes>, operand: &Bytes) -> Option<Bytes> {
    let old = before.cloned().unwrap_or_default();
    let padded = |at: usize| old.get(at).copied().unwrap_or(0);
    let new: Vec<u8> = match kind {
        MutationKind::Add => {
            let number =
                |byte: &dyn Fn(usize) -> u8| (0..operand.len()).rev().fold(0_u64, |n, at| n << 8 | u64::from(byte(at)));
            let sum = number(&padded).wrapping_add(number(&|at| operand[at]));
            sum.to_le_bytes()[..operand.len()].to_vec()
        }
        MutationKind::Xor => (0..operand.len()).map(|at| padded(at) ^ operand[at]).collect(),
        MutationKind::ByteMax => before.map_or(operand, |old| old.max(operand)).to_vec(),
        MutationKind::AppendIfFits => [&old[..], operand].concat(),
        MutationKind::CompareAndClear => {
            return before.filter(|old| *old != operand).cloned();
        }
        other => unreachable!("{other:?} is not in the workload"),
    };
    Some(new.into())
}

//! Runs a program and notes all that can be seen of it.

use std::collections::BTreeMap;

use bytes::Bytes;
use escapement::store::{
    ConflictKind, Database, KeySelector, MutationKind, RangeOptions, StoreError, StreamingMode, Transaction,
    TransactionOption, Version, Versionstamp, tuple, versionstamp::STAMP_BYTES,
};
use futures_util::future::BoxFuture;

use super::{
    super::support::{all_pages, stamped, text},
    generate::{OFFSET_MAX, TRANSACTIONS},
    program::{Instruction, Op, Program, Target},
};

const MODES: [StreamingMode; 7] = [
    StreamingMode::WantAll,
    StreamingMode::Iterator,
    StreamingMode::Exact,
    StreamingMode::Small,
    StreamingMode::Medium,
    StreamingMode::Large,
    StreamingMode::Serial,
];
const NOTHING: &[u8] = b"RESULT_NOT_PRESENT";
/// Keys with a versionstamp as their value end so, and no arithmetic is done on them: its
/// result would depend on the version.
const STAMPED_VALUE_TAIL: u8 = b'~';

/// Runs `program` on the keys under `space`, which are cleared before and after. What it gives
/// does not depend on `space`, on versions or on the time.
pub(crate) async fn run(db: &Database, space: &Bytes, program: &Program) -> Vec<String> {
    let end = Bytes::from([&space[..], b"\xff"].concat());
    // Rows on both sides of the program's own, so that selectors stay within the space.
    let fence = |side: &str, number: i64| Bytes::from([&space[..], format!("{side}{number}").as_bytes()].concat());
    by_itself(db, |tx| {
        tx.clear_range(space.clone(), end.clone())?;
        (0..=OFFSET_MAX).try_for_each(|number| {
            tx.set(fence("a", number), "")?;
            tx.set(fence("z", number), "")
        })
    })
    .await;
    let inner = [&space[..], b"m/"].concat().into();
    let mut machine = Machine::new(db, space.clone(), inner);
    for (number, instruction) in program.instructions().enumerate() {
        let did = machine.step(instruction).await;
        machine.log.push(format!("{number:03} {instruction} {did}"));
    }
    machine.finish().await;
    let rows = all_pages(&db.begin(), RangeOptions::new(space.clone(), end.clone()), false).await;
    for (key, value) in rows.unwrap_or_default() {
        let row = format!("left: {}={}", text(&machine.name(&key)), text(&machine.clean(&value)));
        machine.log.push(row);
    }
    by_itself(db, |tx| tx.clear_range(space.clone(), end.clone())).await;
    machine.log
}

/// Commits writes that must not fail.
async fn by_itself(db: &Database, write: impl Fn(&Transaction) -> Result<(), StoreError>) {
    let tx = db.begin();
    loop {
        write(&tx).unwrap();
        let Err(error) = tx.raw().commit().await else { return };
        tx.raw().on_error(error).await.unwrap();
    }
}

#[derive(Clone, Debug)]
enum Item {
    Bytes(Bytes),
    Int(i64),
}

#[derive(Debug)]
struct Slot {
    tx: Transaction,
    /// Nothing was done yet: its read version may be set.
    fresh: bool,
    /// A range was read with conflicts. Of how many pieces that is counted is the store's own
    /// affair, and so is the size from there on.
    has_walked: bool,
}

impl Slot {
    fn new(tx: Transaction) -> Self {
        Self { tx, fresh: true, has_walked: false }
    }
}

/// What an operation gave, for the log; pushed, too.
type Outcome = Result<Bytes, StoreError>;

struct Machine<'a> {
    db: &'a Database,
    space: Bytes,
    inner: Bytes,
    stack: Vec<Item>,
    slots: Vec<Slot>,
    current: usize,
    last_version: Option<Version>,
    /// Stamps in the order of their commits.
    stamps: BTreeMap<[u8; STAMP_BYTES], usize>,
    /// Stamps that the program has asked for.
    asked: Vec<BoxFuture<'static, Result<Versionstamp, StoreError>>>,
    log: Vec<String>,
}

impl<'a> Machine<'a> {
    fn new(db: &'a Database, space: Bytes, inner: Bytes) -> Self {
        let slots = (0..TRANSACTIONS).map(|_| Slot::new(begin(db))).collect();
        Self {
            db,
            space,
            inner,
            slots,
            stack: Vec::new(),
            current: 0,
            last_version: None,
            stamps: BTreeMap::new(),
            asked: Vec::new(),
            log: Vec::new(),
        }
    }

    fn push(&mut self, bytes: impl Into<Bytes>) {
        self.stack.push(Item::Bytes(bytes.into()));
    }

    fn pop(&mut self) -> Bytes {
        match self.stack.pop() {
            Some(Item::Bytes(bytes)) => bytes,
            Some(Item::Int(number)) => number.to_string().into(),
            None => Bytes::new(),
        }
    }

    fn pop_int(&mut self) -> i64 {
        match self.stack.pop() {
            Some(Item::Int(number)) => number,
            Some(Item::Bytes(bytes)) => i64::try_from(bytes.len()).unwrap(),
            None => 0,
        }
    }

    fn pop_key(&mut self) -> Bytes {
        let operand = self.pop();
        [&self.inner[..], &operand].concat().into()
    }

    fn pop_selector(&mut self) -> KeySelector {
        let offset = i32::try_from(self.pop_int().clamp(1 - OFFSET_MAX, OFFSET_MAX)).unwrap();
        let or_equal = self.pop_int() == 1;
        KeySelector { key: self.pop_key(), or_equal, offset }
    }

    /// The error that an operation gave, or a code that was pushed.
    fn pop_code(&mut self) -> Option<i32> {
        match self.stack.pop() {
            Some(Item::Int(code)) => i32::try_from(code).ok(),
            Some(Item::Bytes(bytes)) => std::str::from_utf8(&bytes).ok()?.strip_prefix("ERROR ")?.parse().ok(),
            None => None,
        }
    }

    /// The key as the program knows it.
    fn name(&self, key: &[u8]) -> Bytes {
        let inner = key.strip_prefix(&self.inner[..]).map(|name| self.clean(name));
        let outer = || key.strip_prefix(&self.space[..]).map(|name| [b"../", name].concat().into());
        inner.or_else(outer).unwrap_or_else(|| Bytes::from_static(b"(beyond)"))
    }

    /// With versionstamps replaced by which commit they are of.
    fn clean(&self, bytes: &[u8]) -> Bytes {
        let mut cleaned = bytes.to_vec();
        let mut at = 0;
        while let Some(window) = bytes.get(at..at + STAMP_BYTES) {
            if let Some(number) = self.stamps.get(window) {
                cleaned[at..at + STAMP_BYTES].copy_from_slice(format!("<stamp {number:02}>").as_bytes());
                at += STAMP_BYTES;
            } else {
                at += 1;
            }
        }
        cleaned.into()
    }

    /// Does one instruction; tells what it did.
    async fn step(&mut self, instruction: &Instruction) -> String {
        match instruction {
            Instruction::Push(bytes) => self.push(bytes.clone()),
            Instruction::PushInt(number) => self.stack.push(Item::Int(*number)),
            Instruction::Dup => self.stack.extend(self.stack.last().cloned()),
            Instruction::Swap => {
                if let [.., one, other] = &mut self.stack[..] {
                    std::mem::swap(one, other);
                }
            }
            Instruction::Concat => {
                let (one, other) = (self.pop(), self.pop());
                self.push([one, other].concat());
            }
            Instruction::TuplePack => {
                let elements = [self.stack.pop(), self.stack.pop()].map(|item| match item {
                    Some(Item::Bytes(bytes)) => tuple::Element::Bytes(tuple::Bytes(bytes.to_vec().into())),
                    Some(Item::Int(number)) => tuple::Element::Int(number),
                    None => tuple::Element::Nil,
                });
                self.push(tuple::pack(&elements.to_vec()));
            }
            Instruction::TupleUnpack => {
                let packed = self.pop();
                for element in tuple::unpack::<Vec<tuple::Element<'_>>>(&packed).unwrap_or_default() {
                    self.stack.push(match element {
                        tuple::Element::Int(number) => Item::Int(number),
                        other => Item::Bytes(tuple::pack(&vec![other]).into()),
                    });
                }
            }
            Instruction::TupleRange => {
                let prefix = self.pop();
                self.push([&prefix[..], b"\0"].concat());
                self.push([&prefix[..], b"\xff"].concat());
            }
            Instruction::Do(op, target) => {
                let result = match self.operate(*op, *target).await {
                    Ok(result) => result,
                    Err(error) => format!("ERROR {}", error.code).into(),
                };
                let said = format!("-> {}", text(&result));
                self.push(result);
                return said;
            }
        }
        String::new()
    }

    async fn operate(&mut self, op: Op, target: Target) -> Outcome {
        let current = self.current;
        match op {
            Op::UseTransaction => {
                self.current = usize::try_from(self.pop_int().rem_euclid(TRANSACTIONS)).unwrap();
                return done();
            }
            Op::NewTransaction => {
                self.slots[current] = Slot::new(begin(self.db));
                return done();
            }
            Op::Reset => {
                self.slots[current].tx.raw().reset();
                return self.renew();
            }
            Op::OnError => {
                // 0 is no error: of that each store may say what it likes.
                let Some(code) = self.pop_code().filter(|code| *code != 0) else { return done() };
                self.slots[current].tx.raw().on_error(StoreError::new(code)).await?;
                return self.renew();
            }
            Op::Commit => return self.commit(&self.slots[current].tx.clone()).await,
            Op::SetReadVersion => {
                let slot = &mut self.slots[current];
                if let Some(version) = self.last_version.filter(|_| slot.fresh) {
                    slot.fresh = false;
                    slot.tx.raw().set_read_version(version);
                }
                return done();
            }
            _ => {}
        }
        self.slots[current].fresh = false;
        if target != Target::Database {
            let slot = &mut self.slots[current];
            let walks = match op {
                Op::GetKey | Op::GetRange | Op::GetRangeStartsWith | Op::GetRangeSelector => target != Target::Snapshot,
                Op::ConflictRange(kind) => kind == ConflictKind::Read,
                _ => false,
            };
            slot.has_walked |= walks;
            let tx = slot.tx.clone();
            return self.perform(&tx, op, target == Target::Snapshot).await;
        }
        let operands = self.stack.clone();
        let tx = begin(self.db);
        loop {
            let result = self.perform(&tx, op, false).await?;
            match self.commit(&tx).await {
                Ok(_) => return Ok(result),
                Err(error) => tx.raw().on_error(error).await?,
            }
            self.stack.clone_from(&operands);
        }
    }

    /// The transaction in use begins anew.
    fn renew(&mut self) -> Outcome {
        let slot = &mut self.slots[self.current];
        hasten(&slot.tx);
        (slot.fresh, slot.has_walked) = (true, false);
        done()
    }

    async fn commit(&mut self, tx: &Transaction) -> Outcome {
        let stamp = tx.raw().versionstamp();
        tx.raw().commit().await?;
        if let Ok(stamp) = stamp.await {
            let number = self.stamps.len();
            self.stamps.insert(stamp.0, number);
        }
        done()
    }

    /// What needs nothing but a transaction.
    async fn perform(&mut self, tx: &Transaction, op: Op, snapshot: bool) -> Outcome {
        let raw = tx.raw();
        match op {
            Op::Get => {
                let key = self.pop_key();
                let value = raw.get_many(vec![key], snapshot).await?.swap_remove(0);
                return Ok(value.map_or(Bytes::from_static(NOTHING), |value| self.clean(&value)));
            }
            Op::GetKey => {
                let selector = self.pop_selector();
                let key = raw.get_key(selector, snapshot).await?;
                return Ok(self.name(&key));
            }
            Op::GetRange | Op::GetRangeStartsWith | Op::GetRangeSelector => {
                let range = self.pop_range(op);
                let rows = all_pages(tx, range, snapshot).await?;
                let named: Vec<Bytes> =
                    rows.iter().flat_map(|(key, value)| [self.name(key), self.clean(value)]).collect();
                return Ok(named.join(&b' ').into());
            }
            Op::GetReadVersion => {
                self.last_version = Some(raw.read_version().await?);
                return Ok(Bytes::from_static(b"GOT_READ_VERSION"));
            }
            Op::GetCommittedVersion => {
                self.last_version = Some(raw.committed_version()?);
                return Ok(Bytes::from_static(b"GOT_COMMITTED_VERSION"));
            }
            Op::GetApproximateSize => {
                let size = raw.approximate_size().await?;
                let is_own_affair = self.slots[self.current].has_walked;
                return Ok(if is_own_affair { "GOT_APPROXIMATE_SIZE".into() } else { format!("{size} bytes").into() });
            }
            Op::GetVersionstamp => self.asked.push(raw.versionstamp()),
            Op::DisableWriteConflict => raw.set_option(TransactionOption::NextWriteNoWriteConflictRange)?,
            Op::DisableReadYourWrites => raw.set_option(TransactionOption::ReadYourWritesDisable)?,
            Op::DisableSnapshotReadYourWrites => raw.set_option(TransactionOption::SnapshotRywDisable)?,
            Op::Cancel => raw.cancel(),
            _ => self.write(tx, op)?,
        }
        done()
    }

    fn write(&mut self, tx: &Transaction, op: Op) -> Result<(), StoreError> {
        let raw = tx.raw();
        let after = |key: &Bytes| Bytes::from([&key[..], b"\0"].concat());
        match op {
            Op::Set => {
                let (value, key) = (self.pop(), self.pop_key());
                raw.set(key, value)
            }
            Op::Clear => raw.clear(self.pop_key()),
            Op::ClearRange => {
                let (end, begin) = (self.pop_key(), self.pop_key());
                raw.clear_range(begin, end)
            }
            Op::ClearRangeStartsWith => {
                let prefix = self.pop_key();
                let end = beyond(&prefix);
                raw.clear_range(prefix, end)
            }
            Op::Atomic(kind) => {
                let (operand, key) = (self.pop(), self.pop());
                let (key, operand) = self.atomic(kind, &key, operand);
                raw.mutate(kind, key, operand)
            }
            Op::ConflictRange(kind) => {
                let (end, begin) = (self.pop_key(), self.pop_key());
                raw.add_conflict_range(begin, end, kind)
            }
            Op::ConflictKey(kind) => {
                let key = self.pop_key();
                let end = after(&key);
                raw.add_conflict_range(key, end, kind)
            }
            other => unreachable!("{other:?} is no write"),
        }
    }

    /// Key and operand of an atomic operation.
    fn atomic(&self, kind: MutationKind, key: &[u8], operand: Bytes) -> (Bytes, Bytes) {
        let own = |name: &[u8]| [&self.inner[..], name].concat();
        match kind {
            MutationKind::SetVersionstampedKey => (stamped(&own(&[b"s/", key].concat()), b""), operand),
            MutationKind::SetVersionstampedValue => {
                (own(&[key, &[STAMPED_VALUE_TAIL]].concat()).into(), stamped(&operand, b""))
            }
            _ if key.ends_with(&[STAMPED_VALUE_TAIL]) => (own(&[key, b"."].concat()).into(), operand),
            _ => (own(key).into(), operand),
        }
    }

    fn pop_range(&mut self, op: Op) -> RangeOptions {
        if op == Op::GetRangeStartsWith {
            let prefix = self.pop_key();
            let end = beyond(&prefix);
            return RangeOptions::new(prefix, end);
        }
        let mode = MODES.get(usize::try_from(self.pop_int()).unwrap_or(0)).copied().unwrap_or_default();
        let reverse = self.pop_int() == 1;
        let limit = usize::try_from(self.pop_int()).unwrap_or(0);
        let range = match op {
            Op::GetRange => {
                let (end, begin) = (self.pop_key(), self.pop_key());
                RangeOptions::new(begin, end)
            }
            _ => {
                let (end, begin) = (self.pop_selector(), self.pop_selector());
                RangeOptions { begin, end, ..RangeOptions::new("", "") }
            }
        };
        RangeOptions { limit, reverse, mode, ..range }
    }

    /// What is left to be seen at the end.
    async fn finish(&mut self) {
        for slot in &self.slots {
            slot.tx.raw().reset();
        }
        for stamp in std::mem::take(&mut self.asked) {
            self.log.push(match stamp.await {
                Ok(stamp) => format!("stamp: {}", text(&self.clean(&stamp.0))),
                Err(error) => format!("stamp: ERROR {}", error.code),
            });
        }
        for item in std::mem::take(&mut self.stack) {
            self.log.push(match item {
                Item::Bytes(bytes) => format!("stack: '{}'", text(&bytes)),
                Item::Int(number) => format!("stack: {number}"),
            });
        }
    }
}

fn done() -> Outcome {
    Ok(Bytes::from_static(NOTHING))
}

fn begin(db: &Database) -> Transaction {
    let tx = db.begin();
    hasten(&tx);
    tx
}

/// Retries wait for nobody here.
fn hasten(tx: &Transaction) {
    tx.raw().set_option(TransactionOption::MaxRetryDelayMs(0)).unwrap();
}

/// The first key after all that begin with `prefix`.
fn beyond(prefix: &[u8]) -> Bytes {
    let mut end = prefix.to_vec();
    while end.last() == Some(&0xff) {
        end.pop();
    }
    if let Some(last) = end.last_mut() {
        *last += 1;
    }
    end.into()
}

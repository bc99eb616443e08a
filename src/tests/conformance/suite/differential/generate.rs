//! Makes a program of a seed.

use escapement::{
    rng::Rng,
    store::{ConflictKind, MutationKind as M},
};

use super::program::{Instruction as I, Op, Program, Target, Unit};

/// Few keys, close together, so that operations meet.
const KEYS: [&[u8]; 12] = [b"", b"a", b"a\0", b"b", b"b\0", b"bb", b"c", b"d", b"d\0\0", b"e", b"f", b"\xfe"];
/// Bytes at which carries, signs and orders change.
const BYTES: [u8; 7] = [0, 1, 0x7f, 0x80, 0xff, b'a', b'b'];
const ATOMIC: [M; 10] =
    [M::Add, M::And, M::Or, M::Xor, M::AppendIfFits, M::Max, M::Min, M::ByteMax, M::ByteMin, M::CompareAndClear];
/// Ends of ranges around keys with stamps, which the machine puts under `s/`.
const AROUND_STAMPS: [&[u8]; 8] = [b"", b"a", b"b", b"c", b"s/", b"s/b", b"t", b"\xfe"];
/// Errors for `on_error`, with and without a next try.
const CODES: [i64; 7] = [1007, 1009, 1020, 1021, 1039, 1025, 2000];
const UNITS_MIN: u64 = 8;
const UNITS_MAX: u64 = 40;
/// Transactions under way at once.
pub(super) const TRANSACTIONS: i64 = 3;
/// Longest walk of a selector. The machine keeps as many rows on both sides of the program's.
pub(super) const OFFSET_MAX: i64 = 5;

/// The program of this seed; always the same.
pub(crate) fn generate(seed: u64) -> Program {
    let mut draw = Draw(Rng::from_seed(seed));
    let units = UNITS_MIN + draw.below(UNITS_MAX - UNITS_MIN);
    let mut program: Vec<Unit> = Vec::new();
    // Something to find.
    for _ in 0..draw.below(8) {
        program.push(draw.unit(Op::Set, Target::Database));
    }
    for _ in 0..units {
        let (op, target) = draw.operation();
        program.push(draw.unit(op, target));
        if op == Op::Commit {
            program.push(match draw.below(8) {
                // Whatever the commit gave stands on the stack.
                0..3 => vec![I::Do(Op::OnError, Target::Transaction)],
                3 => Vec::new(),
                _ => vec![I::Do(Op::Reset, Target::Transaction)],
            });
        }
    }
    // Chance of their own: what else is in a program does not depend on them.
    let mut stamps = Draw(Rng::from_seed(!seed));
    for _ in 0..stamps.below(3) {
        let at = usize::try_from(stamps.below(program.len() as u64 + 1)).unwrap();
        program.splice(at..at, stamps.stamps_among_clears());
    }
    for name in 0..TRANSACTIONS {
        program.push(vec![I::PushInt(name), I::Do(Op::UseTransaction, Target::Transaction)]);
        program.push(vec![I::Do(Op::Commit, Target::Transaction)]);
    }
    program.retain(|unit| !unit.is_empty());
    Program(program)
}

struct Draw(Rng);

impl Draw {
    fn below(&self, end: u64) -> u64 {
        self.0.u64() % end
    }

    fn one_in(&self, chances: u64) -> bool {
        self.below(chances) == 0
    }

    fn pick<T: Copy>(&self, from: &[T]) -> T {
        from[usize::try_from(self.below(from.len() as u64)).unwrap()]
    }

    fn operation(&mut self) -> (Op, Target) {
        let read = if self.one_in(3) { Target::Snapshot } else { Target::Transaction };
        let read = if self.one_in(10) { Target::Database } else { read };
        let write = if self.one_in(5) { Target::Database } else { Target::Transaction };
        let conflict = if self.one_in(2) { ConflictKind::Read } else { ConflictKind::Write };
        let here = Target::Transaction;
        match self.below(100) {
            0..10 => (Op::Get, read),
            10..18 => (Op::GetKey, read),
            18..26 => (Op::GetRange, read),
            26..29 => (Op::GetRangeStartsWith, read),
            29..33 => (Op::GetRangeSelector, read),
            33..35 => (Op::GetApproximateSize, here),
            35..46 => (Op::Set, write),
            46..50 => (Op::Clear, write),
            50..54 => (Op::ClearRange, write),
            54..56 => (Op::ClearRangeStartsWith, write),
            56..68 => (Op::Atomic(self.pick(&ATOMIC)), write),
            68..71 => (Op::Atomic(M::SetVersionstampedKey), write),
            71..74 => (Op::Atomic(M::SetVersionstampedValue), write),
            74..77 => (Op::ConflictRange(conflict), here),
            77..79 => (Op::ConflictKey(conflict), here),
            79..81 => (Op::DisableWriteConflict, here),
            81 => (Op::DisableReadYourWrites, here),
            82 => (Op::DisableSnapshotReadYourWrites, here),
            83..85 => (Op::GetCommittedVersion, here),
            85 => (Op::GetVersionstamp, here),
            86 => (Op::GetReadVersion, here),
            87 => (Op::SetReadVersion, here),
            88 => (Op::Cancel, here),
            89 => (Op::OnError, here),
            90 => (Op::NewTransaction, here),
            91..94 => (Op::UseTransaction, here),
            _ => (Op::Commit, here),
        }
    }

    /// A few writes with stamps and clears of ranges that overlap, one after the other in the
    /// transaction in use: what a later clear has to clear depends on all that came before it.
    fn stamps_among_clears(&mut self) -> Vec<Unit> {
        let here = Target::Transaction;
        let mut units = Vec::new();
        for _ in 0..3 + self.below(4) {
            units.push(match self.below(5) {
                0..3 => {
                    let (one, other) = (self.pick(&AROUND_STAMPS), self.pick(&AROUND_STAMPS));
                    let ends = [one.min(other), one.max(other)].map(|end| I::Push(end.to_vec()));
                    ends.into_iter().chain([I::Do(Op::ClearRange, here)]).collect()
                }
                3 => self.unit(Op::Atomic(M::SetVersionstampedKey), here),
                _ => self.unit(Op::Atomic(M::SetVersionstampedValue), here),
            });
        }
        units
    }

    /// The operation and its operands, which now and then come from what stands on the stack.
    fn unit(&mut self, op: Op, target: Target) -> Unit {
        let mut unit = Vec::new();
        match op {
            Op::Get | Op::Clear | Op::ConflictKey(_) | Op::GetRangeStartsWith | Op::ClearRangeStartsWith => {
                unit.extend(self.key());
            }
            Op::GetKey => unit.extend(self.selector()),
            Op::GetRange => {
                unit.extend(self.key());
                unit.extend(self.key());
                unit.extend(self.limits());
            }
            Op::GetRangeSelector => {
                unit.extend(self.selector());
                unit.extend(self.selector());
                unit.extend(self.limits());
            }
            Op::Set | Op::Atomic(_) => {
                unit.extend(self.key());
                unit.extend(self.value());
            }
            Op::ClearRange | Op::ConflictRange(_) if self.one_in(12) => {
                unit.extend(self.key());
                unit.extend(self.key());
            }
            Op::ClearRange | Op::ConflictRange(_) => {
                let (one, other) = (self.pick(&KEYS), self.pick(&KEYS));
                unit.push(I::Push(one.min(other).to_vec()));
                unit.push(I::Push(one.max(other).to_vec()));
            }
            Op::OnError => unit.push(I::PushInt(self.pick(&CODES))),
            Op::UseTransaction => unit.push(I::PushInt(self.below(TRANSACTIONS as u64) as i64)),
            _ => {}
        }
        unit.push(I::Do(op, target));
        unit
    }

    fn key(&mut self) -> Unit {
        match self.below(24) {
            // A result from before.
            0 => vec![I::Dup],
            1 => vec![I::Push(self.pick(&KEYS).to_vec()), I::Swap],
            2 => vec![I::Push(self.pick(&KEYS).to_vec()), I::Push(self.pick(&KEYS).to_vec()), I::Concat],
            3 => vec![I::PushInt(self.below(3) as i64), I::Push(self.pick(&KEYS).to_vec()), I::TuplePack],
            4 => vec![I::PushInt(self.below(3) as i64), I::Push(b"a".to_vec()), I::TuplePack, I::TupleUnpack],
            5 => vec![I::PushInt(1), I::Push(Vec::new()), I::TuplePack, I::TupleRange],
            _ => vec![I::Push(self.pick(&KEYS).to_vec())],
        }
    }

    fn value(&mut self) -> Unit {
        if self.one_in(10) {
            return vec![I::Dup];
        }
        let bytes = (0..self.below(5)).map(|_| self.pick(&BYTES)).collect();
        vec![I::Push(bytes)]
    }

    fn selector(&mut self) -> Unit {
        let mut unit = self.key();
        unit.push(I::PushInt(i64::from(self.one_in(2))));
        unit.push(I::PushInt(self.below(2 * OFFSET_MAX as u64) as i64 - OFFSET_MAX + 1));
        unit
    }

    /// Limit, whether reversed, streaming mode.
    fn limits(&mut self) -> Unit {
        let limit = if self.one_in(3) { 0 } else { 1 + self.below(5) as i64 };
        vec![I::PushInt(limit), I::PushInt(self.below(2) as i64), I::PushInt(self.below(8) as i64)]
    }
}

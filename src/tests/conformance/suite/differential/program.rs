//! What a program consists of.

use std::fmt;

use escapement::store::{ConflictKind, MutationKind};

/// One instruction. Whoever pops from an empty stack gets an empty string or zero, so every list
/// of instructions is a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Instruction {
    Push(Vec<u8>),
    PushInt(i64),
    Dup,
    Swap,
    Concat,
    TuplePack,
    TupleUnpack,
    TupleRange,
    Do(Op, Target),
}

/// An operation of the store. Operands are popped, the last pushed first; the result is pushed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Op {
    UseTransaction,
    NewTransaction,
    Get,
    GetKey,
    GetRange,
    GetRangeStartsWith,
    GetRangeSelector,
    GetReadVersion,
    SetReadVersion,
    Set,
    Clear,
    ClearRange,
    ClearRangeStartsWith,
    Atomic(MutationKind),
    ConflictRange(ConflictKind),
    ConflictKey(ConflictKind),
    DisableWriteConflict,
    DisableReadYourWrites,
    DisableSnapshotReadYourWrites,
    GetApproximateSize,
    GetCommittedVersion,
    GetVersionstamp,
    Commit,
    OnError,
    Reset,
    Cancel,
}

/// What an operation works on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// The transaction in use.
    Transaction,
    /// Likewise, as a snapshot read.
    Snapshot,
    /// A transaction of its own, which is committed at once.
    Database,
}

/// Operands and the instruction that takes them: what is taken out of a program as one.
pub(crate) type Unit = Vec<Instruction>;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Program(pub(crate) Vec<Unit>);

impl Program {
    /// Operations in it.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn instructions(&self) -> impl Iterator<Item = &Instruction> {
        self.0.iter().flatten()
    }
}

impl fmt::Display for Instruction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Push(bytes) => write!(f, "PUSH '{}'", bytes.escape_ascii()),
            Self::PushInt(number) => write!(f, "PUSH {number}"),
            Self::Do(op, target) => {
                let target = match target {
                    Target::Transaction => "",
                    Target::Snapshot => "_SNAPSHOT",
                    Target::Database => "_DATABASE",
                };
                write!(f, "{}{target}", screaming(&format!("{op:?}")))
            }
            other => f.write_str(&screaming(&format!("{other:?}"))),
        }
    }
}

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for unit in &self.0 {
            let line: Vec<String> = unit.iter().map(Instruction::to_string).collect();
            writeln!(f, "  {}", line.join("; "))?;
        }
        Ok(())
    }
}

/// `GetRange` as `GET_RANGE`.
fn screaming(camel: &str) -> String {
    let mut text = String::new();
    for (at, letter) in camel.char_indices() {
        let begins_word = letter.is_uppercase() && at > 0 && !camel[..at].ends_with('(');
        text.extend(begins_word.then_some('_'));
        text.push(letter.to_ascii_uppercase());
    }
    text
}

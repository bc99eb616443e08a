//! Random programs of store operations, whose results must be the same everywhere.
//!
//! A program is a list of instructions for a stack machine, as FoundationDB's own binding tester
//! has it: several transactions are interleaved, and what one operation gave may be the operand
//! of the next. [`run`] gives everything that can be seen of a program as lines of text, in which
//! versions and versionstamps are replaced by what does not depend on the implementation. So the
//! lines of two implementations can be compared, in one process ([`compare`]) or across
//! processes. A program that tells two implementations apart is made shorter before it is shown.
//!
//! Source of the idea: `bindings/bindingtester` in FoundationDB's sources, release 7.3.

mod generate;
mod machine;
mod program;
mod shrink;

use bytes::Bytes;
use escapement::store::Database;
use futures_util::{
    future::join,
    stream::{self, StreamExt as _},
};

pub(crate) use self::{generate::generate, machine::run, program::Program};

/// Programs that run at the same time.
const AT_ONCE: usize = 64;

/// A database and a prefix in it that is free.
pub(crate) type Place<'a> = (&'a Database, &'a Bytes);

/// Two implementations differ.
#[derive(Debug)]
pub(crate) struct Difference {
    /// What the program was made of.
    pub(crate) seed: u64,
    /// The shortest program found that still tells them apart.
    pub(crate) program: Program,
    /// The first line that differs, as each of them has it.
    pub(crate) lines: [String; 2],
}

impl std::fmt::Display for Difference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { seed, program, lines: [one, other] } = self;
        write!(f, "seed {seed}, shortened to {} operations:\n{program}one:   {one}\nother: {other}", program.len())
    }
}

/// Runs the programs of `seeds` on both; the first that gives different results, if any.
pub(crate) async fn compare(one: Place<'_>, other: Place<'_>, seeds: std::ops::Range<u64>) -> Result<(), Difference> {
    let checks = stream::iter(seeds).map(async |seed| {
        let program = generate(seed);
        difference(one, other, &format!("{seed}"), &program).await.map(|lines| (seed, program, lines))
    });
    let mut checks = std::pin::pin!(checks.buffer_unordered(AT_ONCE));
    let mut first = None;
    while let Some(found) = checks.next().await {
        if found.is_some() {
            first = found;
            break;
        }
    }
    let Some((seed, program, found)) = first else { return Ok(()) };
    let again = async |shorter: &Program| difference(one, other, "shrink", shorter).await;
    let program = shrink::shrink(program, &found, again).await;
    let lines = difference(one, other, "shrink", &program).await.expect("it just differed");
    Err(Difference { seed, program, lines })
}

/// The first line in which the two differ.
async fn difference(one: Place<'_>, other: Place<'_>, name: &str, program: &Program) -> Option<shrink::Lines> {
    let place = |space: &Bytes| Bytes::from([&space[..], name.as_bytes(), b"/"].concat());
    let (one_space, other_space) = (place(one.1), place(other.1));
    let (left, right) = join(run(one.0, &one_space, program), run(other.0, &other_space, program)).await;
    let lines = left.len().max(right.len());
    let line = |of: &[String], at: usize| of.get(at).cloned().unwrap_or_else(|| "(nothing)".into());
    (0..lines).map(|at| [line(&left, at), line(&right, at)]).find(|[left, right]| left != right)
}

//! Makes a failing program shorter. Delta debugging (Zeller and Hildebrandt, 2002): leave out
//! ever smaller parts, as long as what is left still fails, and in the same way: a short program
//! that shows another fault hides the one that was found.

use super::program::{Instruction, Program};

/// The line of each of two implementations in which they differ.
pub(super) type Lines = [String; 2];

/// The shortest program found that still tells the two apart as `found` does.
pub(super) async fn shrink(
    mut program: Program,
    found: &Lines,
    difference: impl AsyncFn(&Program) -> Option<Lines>,
) -> Program {
    let kind = kind(found);
    let fails = async |program: &Program| difference(program).await.is_some_and(|lines| self::kind(&lines) == kind);
    loop {
        let before = program.clone();
        program.0 = shorter(program.0, async |units| fails(&Program(units.to_vec())).await).await;
        program = simpler(program, &fails).await;
        if program == before {
            return program;
        }
    }
}

/// What two lines differ in: operation and error, whatever the operands and results.
fn kind(lines: &Lines) -> [(String, Option<String>); 2] {
    lines.each_ref().map(|line| {
        // "007 GET -> ERROR 1020", "left: key=value", "stamp: ERROR 1025".
        let (what, result) = line.split_once(" -> ").or_else(|| line.split_once(": ")).unwrap_or((line, ""));
        let what = what.trim_start_matches(|letter: char| letter.is_ascii_digit() || letter == ' ');
        (what.to_owned(), result.starts_with("ERROR ").then(|| result.to_owned()))
    })
}

/// Leaves out halves, quarters, ... single items.
async fn shorter<T: Clone>(mut items: Vec<T>, fails: impl AsyncFn(&[T]) -> bool) -> Vec<T> {
    let mut part = items.len().div_ceil(2).max(1);
    loop {
        let mut at = 0;
        while at < items.len() {
            let mut less = items.clone();
            less.drain(at..(at + part).min(items.len()));
            if fails(&less).await {
                items = less;
            } else {
                at += part;
            }
        }
        if part == 1 {
            return items;
        }
        part = part.div_ceil(2);
    }
}

/// Leaves out operands and makes literals smaller.
async fn simpler(mut program: Program, fails: &impl AsyncFn(&Program) -> bool) -> Program {
    for unit in 0..program.0.len() {
        let mut at = 0;
        while at < program.0[unit].len() {
            let mut candidates = Vec::new();
            if program.0[unit].len() > 1 {
                let mut less = program.clone();
                less.0[unit].remove(at);
                candidates.push(less);
            }
            for simple in simplifications(&program.0[unit][at]) {
                let mut less = program.clone();
                less.0[unit][at] = simple;
                candidates.push(less);
            }
            let mut taken = false;
            for candidate in candidates {
                if fails(&candidate).await {
                    program = candidate;
                    taken = true;
                    break;
                }
            }
            if !taken {
                at += 1;
            }
        }
    }
    program
}

/// Smaller literals only, so that there is an end.
fn simplifications(instruction: &Instruction) -> Vec<Instruction> {
    match instruction {
        Instruction::Push(bytes) if !bytes.is_empty() => {
            vec![Instruction::Push(Vec::new()), Instruction::Push(bytes[..bytes.len() - 1].to_vec())]
        }
        Instruction::PushInt(number) if *number != 0 => vec![Instruction::PushInt(0)],
        _ => Vec::new(),
    }
}

#[test]
fn a_program_is_not_shortened_to_one_that_fails_in_another_way() {
    use futures_util::FutureExt as _;

    use super::program::{Op, Target};

    let unit = |op| vec![Instruction::Do(op, Target::Transaction)];
    let program = Program([Op::Set, Op::Get, Op::Clear, Op::Commit, Op::Get].map(unit).to_vec());
    // What was set and is read in time is wrong; what is read after the commit is refused.
    let difference = async |program: &Program| {
        let ops: Vec<_> = program.instructions().cloned().collect();
        let at = |op| ops.iter().position(|found| *found == Instruction::Do(op, Target::Transaction));
        let get = at(Op::Get)?;
        let lines = |one: &str, other: &str| [one, other].map(|result| format!("{get:03} GET -> {result}"));
        let is_set = at(Op::Set).is_some_and(|set| set < get);
        Some(if is_set { lines("1", "2") } else { lines("ERROR 2017", "RESULT_NOT_PRESENT") })
    };
    let shorten = |found| shrink(program.clone(), &found, difference).now_or_never().expect("ready at once");
    let wrong = ["004 GET -> 17", "004 GET -> 18"].map(str::to_owned);
    assert_eq!(shorten(wrong), Program([Op::Set, Op::Get].map(unit).to_vec()));
    let refused = ["001 GET -> ERROR 2017", "001 GET -> 18"].map(str::to_owned);
    assert_eq!(shorten(refused), Program(vec![unit(Op::Get)]));
    assert_ne!(
        kind(&["left: a=1", "left: b=1"].map(str::to_owned)),
        kind(&["stack: 'a'", "stack: 'b'"].map(str::to_owned))
    );
}

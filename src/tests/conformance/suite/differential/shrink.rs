//! Makes a failing program shorter. Delta debugging (Zeller and Hildebrandt, 2002): leave out
//! ever smaller parts, as long as what is left still fails.

use super::program::{Instruction, Program};

/// The shortest program found that still `fails`.
pub(super) async fn shrink(mut program: Program, fails: impl AsyncFn(&Program) -> bool) -> Program {
    loop {
        let before = program.clone();
        program.0 = shorter(program.0, async |units| fails(&Program(units.to_vec())).await).await;
        program = simpler(program, &fails).await;
        if program == before {
            return program;
        }
    }
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

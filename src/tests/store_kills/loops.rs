//! The loops.

use std::time::Duration;

use escapement::rng::Rng;

use super::{Setup, check::Ledger, process::Writer};

const KILLS: u32 = 200;

/// Where in its life a process is killed.
#[derive(Clone, Copy, Debug)]
enum Moment {
    /// While it opens the store, so many microseconds after it began to.
    Opening(u32),
    /// After so many acknowledgements.
    Writing(u32),
    /// So many microseconds after the flusher has handed something to the base.
    Flushing(u32),
}

/// The seed of the transactions and the moments; `ESCAPEMENT_TEST_SEED` sets it.
fn seed() -> u64 {
    std::env::var("ESCAPEMENT_TEST_SEED")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or_else(|| u64::from(std::process::id()) ^ 0x570_8e5)
}

fn moment(rng: &Rng, setup: Setup) -> Moment {
    match rng.u32() % 8 {
        0 | 1 => Moment::Opening(rng.u32() % 20_000),
        2..4 if setup != Setup::Usual => Moment::Flushing(rng.u32() % 3_000),
        _ => Moment::Writing(rng.u32() % 500),
    }
}

/// Runs a process until the moment; what it said, and whether it was still opening.
fn run(writer: Writer, moment: Moment) -> super::process::Said {
    match moment {
        Moment::Opening(micros) => {
            writer.wait(|said| said.opening);
            std::thread::sleep(Duration::from_micros(micros.into()));
        }
        Moment::Writing(acks) => writer.wait(|said| said.acks_total >= acks as usize && said.open),
        Moment::Flushing(micros) => {
            writer.wait(|said| said.flushes > 0);
            std::thread::sleep(Duration::from_micros(micros.into()));
        }
    }
    writer.kill()
}

#[test]
fn no_acknowledged_commit_is_missing_and_none_is_there_in_part_after_two_hundred_kills() {
    let seed = seed();
    println!("ESCAPEMENT_TEST_SEED={seed}");
    let rng = Rng::from_seed(seed);
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let mut ledger = Ledger::new(seed);
    let (mut while_opening, mut flushed) = (0, 0);
    for kill in 1..=KILLS {
        let setup = Setup::ALL[rng.u32() as usize % Setup::ALL.len()];
        let moment = moment(&rng, setup);
        let said = run(Writer::start(&data, setup, seed), moment);
        while_opening += u32::from(!said.open);
        flushed += u32::from(said.flushes > 0);
        ledger.note(&said);
        // Otherwise the next process meets what this one left behind.
        if rng.u32().is_multiple_of(2) || kill == KILLS {
            println!("kill {kill}: {setup:?}, {moment:?}, {} acknowledged; checking", said.acks_total);
            ledger.check(&data, Setup::ALL[rng.u32() as usize % Setup::ALL.len()]);
        }
    }
    println!(
        "{KILLS} kills, {while_opening} of them while the store was being opened, {flushed} after a flush had begun: \
         {} commits acknowledged, none missing; {} more found whole; {} rows compared in {} checks",
        ledger.acknowledged, ledger.unsaid, ledger.rows_checked, ledger.checks
    );
    assert!(while_opening > 0 && flushed > 0, "the kills met opening and flushing");
    assert!(ledger.acknowledged > 10_000);
}

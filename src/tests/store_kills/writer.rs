//! The process that is killed: this same test program, started anew with an ignored test.

use std::{io::Write as _, path::PathBuf, time::Duration};

use bytes::{BufMut as _, Bytes, BytesMut};
use escapement::store::{Database, EmbeddedEngine, MutationKind, RetryClass, StoreError, Version};

use super::{
    Setup, open,
    plan::{LANES, Op, head_key, transaction},
};

/// Tells the process what to do: setup, seed and directory.
pub(crate) const ORDER: &str = "ESCAPEMENT_STORE_WRITER";
/// Its name for the test runner.
pub(crate) const TEST: &str = "writer::the_process_that_is_killed";

/// A line to the parent. What has been written reaches it even after a kill.
fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    out.write_all(format!("\n@{line}\n").as_bytes()).unwrap();
    out.flush().unwrap();
}

#[test]
#[ignore = "the child process of the loops, not a test"]
fn the_process_that_is_killed() {
    let Ok(order) = std::env::var(ORDER) else { return };
    let mut words = order.splitn(3, ' ');
    let setup = Setup::ALL[words.next().unwrap().parse::<usize>().unwrap()];
    let seed: u64 = words.next().unwrap().parse().unwrap();
    let dir = PathBuf::from(words.next().unwrap());
    say("opening");
    let (engine, database) = open(&dir, setup).unwrap_or_else(|error| {
        say(&format!("error {error}"));
        std::process::exit(1);
    });
    say("open");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        for lane in 0..LANES {
            tokio::spawn(write(database.clone(), seed, lane));
        }
        report_flushes(&engine).await;
    });
}

async fn report_flushes(engine: &EmbeddedEngine) {
    let mut reported = 0;
    loop {
        let flushes = engine.stats().flushes;
        if flushes > reported {
            say(&format!("flushes {flushes}"));
            reported = flushes;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// Commits one transaction of the lane after the other, for ever.
async fn write(database: Database, seed: u64, lane: usize) {
    let mut number = 1;
    let mut is_known = false;
    loop {
        match commit(&database, seed, lane, &mut number, &mut is_known).await {
            Ok(version) => {
                say(&format!("ack {lane} {number} {}", version.0));
                number += 1;
            }
            // Certainly not committed: the window is short here.
            Err(error) if error.class() == RetryClass::Retry => {}
            Err(error) => {
                say(&format!("error lane {lane}, transaction {number}: {error}"));
                std::process::exit(1);
            }
        }
    }
}

/// `number` is set to what the store demands while it is not known.
async fn commit(
    database: &Database,
    seed: u64,
    lane: usize,
    number: &mut u64,
    is_known: &mut bool,
) -> Result<Version, StoreError> {
    let transaction_of = database.begin();
    let head = transaction_of.get(head_key(lane)).await?;
    let last = head.map_or(0, |head| u64::from_be_bytes(head[..8].try_into().unwrap()));
    if !*is_known {
        *number = last + 1;
        *is_known = true;
    }
    assert_eq!(last + 1, *number, "lane {lane} reads its own last commit");
    for op in transaction(seed, lane, *number) {
        apply(&transaction_of, op)?;
    }
    transaction_of.raw().commit().await?;
    transaction_of.raw().committed_version()
}

fn apply(transaction: &escapement::store::Transaction, op: Op) -> Result<(), StoreError> {
    match op {
        Op::Set(key, value) => transaction.set(key, value),
        Op::Clear(key) => transaction.clear(key),
        Op::ClearRange(begin, end) => transaction.clear_range(begin, end),
        Op::Add(key, operand) => {
            transaction.raw().mutate(MutationKind::Add, key, operand.to_le_bytes().to_vec().into())
        }
        Op::Stamp(prefix, value) => {
            transaction.raw().mutate(MutationKind::SetVersionstampedKey, stamped(&prefix), value)
        }
    }
}

fn stamped(prefix: &Bytes) -> Bytes {
    let mut key = BytesMut::from(&prefix[..]);
    key.put_bytes(0, 10);
    key.put_u32_le(prefix.len() as u32);
    key.freeze()
}

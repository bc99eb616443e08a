//! The power fails, at any operation of the log, again and again. Recovered is exactly what was
//! acknowledged, and perhaps whole commits that were under way; never anything else.
//!
//! One thread submits, so the order of the commits is that of their submission, and the store
//! must hold the state after one of them: the last acknowledged one, or a later one.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use bytes::Bytes;

use super::{
    all,
    disk::{Disk, below},
    newest, open_with, until, wait,
};
use crate::{
    rng::Rng,
    store::{
        EmbeddedEngine, EmbeddedOptions, MutationKind,
        embedded::{LogFiles as _, OpenError},
        engine::{CommitRequest, Engine as _, Mutation},
        mvcc::tests::bytes,
    },
};

/// The seed of the cases; `ESCAPEMENT_TEST_SEED` sets it.
fn seed() -> u64 {
    std::env::var("ESCAPEMENT_TEST_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(17)
}

fn options(disk: &Disk, rng: &Rng) -> EmbeddedOptions {
    let usual = EmbeddedOptions { segment_bytes: 8192, files: Arc::new(disk.clone()), ..EmbeddedOptions::default() };
    match below(rng, 3) {
        // Commits leave the window and their segments are dropped and used again.
        0 => EmbeddedOptions {
            window_ms: 10,
            window_ms_min: 5,
            window_bytes_max: 20_000,
            disk_free_bytes_min: 0,
            ..usual
        },
        _ => usual,
    }
}

/// Commit `number`: several keys, rows overwritten, cleared and counted.
fn mutations(rng: &Rng, number: u64) -> Vec<Mutation> {
    let value = |len: usize| -> Bytes { [number.to_string().as_bytes(), &vec![b'.'; len]].concat().into() };
    let mut out = vec![Mutation::Set(bytes("head"), value(0))];
    for _ in 0..1 + below(rng, 5) {
        let key = bytes(&format!("row {:02}", below(rng, 60)));
        out.push(match below(rng, 8) {
            0 => Mutation::Clear(key),
            1 => Mutation::ClearRange(
                key.clone(),
                bytes(&format!("row {:02}", below(rng, 60)).max(String::from_utf8(key.to_vec()).unwrap())),
            ),
            2 => Mutation::Set(key, value(below(rng, 3000))),
            _ => Mutation::Set(key, value(below(rng, 40))),
        });
    }
    out.push(Mutation::Atomic(MutationKind::Add, bytes("count"), 1u64.to_le_bytes().to_vec().into()));
    out.push(Mutation::Set(bytes("tail"), value(0)));
    out
}

type Rows = BTreeMap<Bytes, Bytes>;

fn apply(rows: &mut Rows, mutations: &[Mutation]) {
    for mutation in mutations {
        match mutation {
            Mutation::Set(key, value) => drop(rows.insert(key.clone(), value.clone())),
            Mutation::Clear(key) => drop(rows.remove(key)),
            Mutation::ClearRange(begin, end) => rows.retain(|key, _| key < begin || key >= end),
            Mutation::Atomic(_, key, _) => {
                let before = rows.get(key).map_or(0, |value| u64::from_le_bytes((**value).try_into().unwrap()));
                rows.insert(key.clone(), (before + 1).to_le_bytes().to_vec().into());
            }
        }
    }
}

/// What may be in the store: the state after the last acknowledged commit, and after each later.
struct Model {
    number: u64,
    states: VecDeque<Rows>,
    acknowledged: u64,
}

impl Model {
    /// Submits some commits at once; whether the store still takes them.
    fn write(&mut self, engine: &EmbeddedEngine, rng: &Rng) -> bool {
        let mut under_way = Vec::new();
        for _ in 0..1 + below(rng, 12) {
            self.number += 1;
            let mutations = mutations(rng, self.number);
            let mut state = self.states.back().unwrap().clone();
            apply(&mut state, &mutations);
            self.states.push_back(state);
            under_way.push(engine.commit(CommitRequest { mutations, ..CommitRequest::default() }));
        }
        let mut all_acknowledged = true;
        for commit in under_way {
            let is_acknowledged = wait(commit).is_ok();
            assert!(all_acknowledged || !is_acknowledged, "a commit is acknowledged after an earlier one has failed");
            all_acknowledged &= is_acknowledged;
            if is_acknowledged {
                self.states.pop_front();
                self.acknowledged += 1;
            }
        }
        all_acknowledged
    }

    /// Commits that were there beyond the acknowledged ones.
    fn check(&mut self, found: Vec<(Bytes, Bytes)>, case: &str) -> usize {
        let found: Rows = found.into_iter().collect();
        let Some(beyond) = self.states.iter().position(|state| *state == found) else {
            let head = |rows: &Rows| rows.get(&b"head"[..]).cloned();
            let (first, last) = (head(&self.states[0]), head(self.states.back().unwrap()));
            panic!("{case}: the store has {:?}, not whole or not between {first:?} and {last:?}", head(&found));
        };
        self.states = VecDeque::from([found]);
        beyond
    }
}

/// Opens the store, with the power failing meanwhile now and then; gives the disk as well.
fn open_at_last(
    dir: &std::path::Path,
    mut disk: Disk,
    rng: &Rng,
    case: &str,
    cut_short: &mut u64,
) -> (EmbeddedEngine, Disk) {
    loop {
        let fails = below(rng, 3) == 0;
        if fails {
            disk.fail_after(below(rng, 25) as u64);
        }
        match open_with(dir, options(&disk, rng)) {
            Ok(engine) => return (engine, disk),
            Err(OpenError::Io { .. }) if fails => {
                *cut_short += 1;
                disk = disk.after_power_failure(rng);
            }
            Err(error) => panic!("{case}: {error}"),
        }
    }
}

#[test]
#[expect(clippy::print_stdout, reason = "what the cases met")]
fn after_power_failures_at_any_operation_exactly_the_acknowledged_commits_are_there() {
    const CASES: u64 = 45;
    const FAILURES: u64 = 5;
    let (mut acknowledged, mut beyond, mut cut_short) = (0, 0, 0);
    for number in 0..CASES {
        let seed = seed() + number;
        let rng = Rng::from_seed(seed);
        let dir = tempfile::tempdir().unwrap();
        let mut disk = Disk::default();
        let mut model = Model { number: 0, states: VecDeque::from([Rows::new()]), acknowledged: 0 };
        let mut version = None;
        drop(open_with(dir.path(), options(&disk, &rng)).unwrap());
        disk.follow_base(dir.path());
        for failure in 0..FAILURES {
            let case = format!("ESCAPEMENT_TEST_SEED={seed}, power failure {failure}");
            let (engine, powered) = open_at_last(dir.path(), disk, &rng, &case, &mut cut_short);
            beyond += model.check(all(&engine), &case);
            assert!(version < Some(newest(&engine)), "{case}: versions go on");
            powered.fail_after(below(&rng, 120) as u64);
            while model.write(&engine, &rng) {}
            version = Some(newest(&engine));
            drop(engine);
            disk = powered.after_power_failure(&rng);
            if below(&rng, 2) == 0 {
                powered.lose_unsynced_base();
            }
            disk.follow_base(dir.path());
        }
        let (engine, _) =
            open_at_last(dir.path(), disk, &rng, &format!("ESCAPEMENT_TEST_SEED={seed}, at the end"), &mut cut_short);
        beyond += model.check(all(&engine), &format!("ESCAPEMENT_TEST_SEED={seed}, at the end"));
        acknowledged += model.acknowledged;
    }
    println!(
        "{} power failures, {cut_short} of them while opening: {acknowledged} commits acknowledged, none missing; \
         {beyond} more found whole",
        CASES * FAILURES + cut_short
    );
    assert!(beyond > 0 && cut_short > 0, "there were commits that survived unacknowledged, and failures while opening");
}

#[test]
fn a_commit_that_was_found_after_a_failed_sync_is_still_there_after_a_power_failure() {
    let (mut found_more, mut large_ones) = (0, 0);
    for seed in seed()..seed() + 30 {
        let case = format!("ESCAPEMENT_TEST_SEED={seed}");
        let rng = Rng::from_seed(seed);
        let dir = tempfile::tempdir().unwrap();
        let disk = Disk::default();
        let mut model = Model { number: 0, states: VecDeque::from([Rows::new()]), acknowledged: 0 };
        let options = |disk: &Disk| EmbeddedOptions { files: Arc::new(disk.clone()), ..EmbeddedOptions::default() };
        let engine = open_with(dir.path(), options(&disk)).unwrap();
        for _ in 0..below(&rng, 4) {
            assert!(model.write(&engine, &rng), "{case}");
        }
        disk.fail_next_sync();
        assert!(!model.write(&engine, &rng), "{case}: a commit is acknowledged whose sync has failed");
        large_ones += usize::from(model.states.len() > 4);
        drop(engine);
        // The process starts again; the machine has been on all the time.
        let engine = open_with(dir.path(), options(&disk)).unwrap();
        found_more += model.check(all(&engine), &case);
        if below(&rng, 2) == 0 {
            assert!(model.write(&engine, &rng), "{case}");
        }
        disk.fail_after(0);
        drop(engine);
        let disk = disk.after_power_failure(&rng);
        let engine = open_with(dir.path(), options(&disk)).unwrap_or_else(|error| panic!("{case}: {error}"));
        assert_eq!(model.check(all(&engine), &case), 0, "{case}");
    }
    assert!(
        found_more > 0 && large_ones > 0,
        "the frame whose sync failed was found, also with many ways that it may be torn"
    );
}

#[test]
#[expect(clippy::print_stdout, reason = "what the cases met")]
fn a_power_failure_at_any_operation_of_the_first_start_leaves_a_directory_that_opens() {
    const ROUNDS: u64 = 3;
    let mut failures = 0;
    for seed in seed()..seed() + ROUNDS {
        let rng = Rng::from_seed(seed);
        for operations in 0.. {
            let case = format!("ESCAPEMENT_TEST_SEED={seed}, the power fails after {operations} operations");
            let dir = tempfile::tempdir().unwrap();
            let disk = Disk::default();
            let options = |disk: &Disk| EmbeddedOptions { files: Arc::new(disk.clone()), ..EmbeddedOptions::default() };
            disk.fail_after(operations);
            let opened = open_with(dir.path(), options(&disk));
            let is_open = opened.is_ok();
            drop(opened);
            let disk = disk.after_power_failure(&rng);
            let engine = open_with(dir.path(), options(&disk)).unwrap_or_else(|error| panic!("{case}: {error}"));
            assert_eq!(all(&engine), [], "{case}");
            if is_open {
                break;
            }
            failures += 1;
        }
    }
    println!("{failures} power failures while a store was made");
    assert!(failures > 10 * ROUNDS, "a first start is of more operations than ten");
}

#[test]
fn the_log_lets_go_of_nothing_that_the_base_would_lose_with_the_power() {
    let rng = Rng::from_seed(seed());
    let dir = tempfile::tempdir().unwrap();
    let disk = Disk::default();
    let hasty = || EmbeddedOptions {
        window_ms: 20,
        window_ms_min: 10,
        segment_bytes: 4096,
        disk_free_bytes_min: 0,
        files: Arc::new(disk.clone()),
        ..EmbeddedOptions::default()
    };
    drop(open_with(dir.path(), hasty()).unwrap());
    disk.follow_base(dir.path());
    let mut model = Model { number: 0, states: VecDeque::from([Rows::new()]), acknowledged: 0 };
    for _ in 0..3 {
        let engine = open_with(dir.path(), hasty()).unwrap();
        for _ in 0..10 {
            assert!(model.write(&engine, &rng));
        }
        until("the base has it all", || engine.stats().window_bytes == 0);
        until("the log lets go of old segments", || disk.list(&dir.path().join("log")).unwrap().len() <= 3);
        drop(engine);
        disk.lose_unsynced_base();
        let engine = open_with(dir.path(), hasty()).unwrap_or_else(|error| panic!("commits are lost: {error}"));
        assert_eq!(model.check(all(&engine), "the base lost what it had not synced"), 0);
    }
}

#[test]
#[expect(clippy::print_stdout, reason = "what the cases met")]
fn a_flipped_bit_is_refused_or_changes_nothing() {
    let (mut refused, mut harmless) = (0, 0);
    for number in 0..200 {
        let seed = seed() + number;
        let rng = Rng::from_seed(seed);
        let dir = tempfile::tempdir().unwrap();
        let disk = Disk::default();
        let options =
            || EmbeddedOptions { segment_bytes: 4096, files: Arc::new(disk.clone()), ..EmbeddedOptions::default() };
        let mut model = Model { number: 0, states: VecDeque::from([Rows::new()]), acknowledged: 0 };
        let engine = open_with(dir.path(), options()).unwrap();
        for _ in 0..1 + below(&rng, 8) {
            assert!(model.write(&engine, &rng));
        }
        // Closed, so that even the last commit has something whole behind it.
        drop(engine);
        let (path, at) = disk.flip_a_bit(&rng);
        let case = format!("ESCAPEMENT_TEST_SEED={seed}, byte {at} of {}", path.display());
        match open_with(dir.path(), options()) {
            Ok(engine) => {
                model.check(all(&engine), &case);
                harmless += 1;
            }
            Err(OpenError::LogCorrupt { .. } | OpenError::LogMissing { .. }) => refused += 1,
            Err(error) => panic!("{case}: {error}"),
        }
    }
    println!("{refused} flipped bits refused, {harmless} where nothing stands");
    assert!(refused > harmless, "most bits matter");
}

#[test]
fn a_disk_without_power_failures_loses_nothing() {
    let rng = Rng::from_seed(1);
    let dir = tempfile::tempdir().unwrap();
    let disk = Disk::default();
    let mut model = Model { number: 0, states: VecDeque::from([Rows::new()]), acknowledged: 0 };
    let engine = open_with(dir.path(), options(&disk, &rng)).unwrap();
    for _ in 0..50 {
        assert!(model.write(&engine, &rng));
    }
    drop(engine);
    assert!(disk.operations() > 100);
    let engine = open_with(dir.path(), options(&disk, &rng)).unwrap();
    assert_eq!(model.check(all(&engine), "no failure"), 0);
}

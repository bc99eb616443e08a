//! What must be in the store after a kill.

use std::{collections::BTreeMap, path::Path};

use bytes::Bytes;
use escapement::store::{
    EmbeddedEngine, Version,
    engine::{Engine as _, RangeRead, ReadVersionRequest},
};

use super::{
    Setup, open,
    plan::{LANES, Lane, head_key, log_prefix, total_key},
    process::Said,
};

/// What is known of the store from outside.
#[derive(Debug)]
pub(crate) struct Ledger {
    seed: u64,
    lanes: Vec<Lane>,
    /// Last acknowledged commit of each lane.
    acked: Vec<u64>,
    /// Processes since then: each may have committed one more without saying so.
    unsaid_max: Vec<u64>,
    /// Newest version that anybody was told.
    version: u64,
    pub(crate) acknowledged: u64,
    /// Commits found that were not acknowledged.
    pub(crate) unsaid: u64,
    pub(crate) rows_checked: usize,
    pub(crate) checks: u32,
}

impl Ledger {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            seed,
            lanes: vec![Lane::default(); LANES],
            acked: vec![0; LANES],
            unsaid_max: vec![0; LANES],
            version: 0,
            acknowledged: 0,
            unsaid: 0,
            rows_checked: 0,
            checks: 0,
        }
    }

    /// Takes in what a process acknowledged before it was killed.
    pub(crate) fn note(&mut self, said: &Said) {
        assert_eq!(said.errors, Vec::<String>::new());
        let before = self.version;
        for (lane, acks) in said.acks.iter().enumerate() {
            self.unsaid_max[lane] += 1;
            let mut newest = before;
            for (at, (number, version)) in acks.iter().enumerate() {
                let expected =
                    self.acked[lane] + 1..=self.acked[lane] + if at == 0 { self.unsaid_max[lane] } else { 1 };
                assert!(expected.contains(number), "lane {lane} goes on with {number}, not within {expected:?}");
                assert!(*version > newest, "lane {lane}, {number}: version {version} after {newest}");
                newest = *version;
                self.acked[lane] = *number;
                self.unsaid_max[lane] = 1;
                self.acknowledged += 1;
            }
            self.version = self.version.max(newest);
        }
    }

    /// Opens the store and compares all of it.
    pub(crate) fn check(&mut self, dir: &Path, setup: Setup) {
        let (engine, _) = open(dir, setup).unwrap();
        let mut rows = all(&engine);
        let newest = wait(engine.read_version(&ReadVersionRequest::default())).unwrap();
        assert!(newest.0 > self.version, "versions go on: {newest:?} after {}", self.version);
        self.version = newest.0;
        self.rows_checked += rows.len();
        self.checks += 1;
        let mut total = 0;
        for lane in 0..LANES {
            let head = rows.get(&head_key(lane)).map_or(0, |head| u64::from_be_bytes(head[..8].try_into().unwrap()));
            let acked = self.acked[lane];
            assert!(head >= acked, "lane {lane}: commit {acked} was acknowledged, the store has {head}");
            assert!(head <= acked + self.unsaid_max[lane], "lane {lane}: {head} of {acked} commits");
            self.unsaid += head - acked;
            (self.acked[lane], self.unsaid_max[lane]) = (head, 0);
            total += head;
            self.lanes[lane].advance(self.seed, lane, head);
            self.check_log(&mut rows, lane);
            self.check_rows(&mut rows, lane);
        }
        let counted = rows.remove(&total_key()).map_or(0, |value| u64::from_le_bytes((*value).try_into().unwrap()));
        assert_eq!(counted, total, "every commit is counted once");
        assert_eq!(rows.keys().collect::<Vec<_>>(), Vec::<&Bytes>::new(), "rows of no transaction");
    }

    /// Versionstamped keys are in commit order, each there once.
    fn check_log(&self, rows: &mut BTreeMap<Bytes, Bytes>, lane: usize) {
        let prefix = log_prefix(lane);
        let mut of_lane = rows.split_off(&prefix);
        let end = Bytes::from([&prefix[..prefix.len() - 1], b"0"].concat());
        rows.append(&mut of_lane.split_off(&end));
        let found: Vec<&Bytes> = of_lane.values().collect();
        let expected: Vec<&Bytes> = self.lanes[lane].log.iter().collect();
        let numbers = |values: &[&Bytes]| {
            values.iter().map(|value| u64::from_be_bytes(value[..8].try_into().unwrap())).collect::<Vec<_>>()
        };
        assert!(found == expected, "lane {lane}: {:?} instead of {:?}", numbers(&found), numbers(&expected));
        for key in of_lane.keys() {
            let version = u64::from_be_bytes(key[prefix.len()..prefix.len() + 8].try_into().unwrap());
            assert!(version <= self.version, "lane {lane}: a versionstamp of the future");
        }
    }

    fn check_rows(&self, rows: &mut BTreeMap<Bytes, Bytes>, lane: usize) {
        let expected = &self.lanes[lane];
        for (key, value) in &expected.rows {
            let found = rows.remove(key);
            let shown = String::from_utf8_lossy(&key[..key.len().min(20)]).into_owned();
            let number = |value: &[u8]| value.get(..8).map(|head| u64::from_be_bytes(head.try_into().unwrap()));
            assert!(
                found.as_ref() == Some(value),
                "lane {lane} after commit {}: {shown} has {:?} of {:?} bytes instead of {:?} of {}",
                expected.number,
                found.as_deref().and_then(number),
                found.as_ref().map(Bytes::len),
                number(value),
                value.len()
            );
        }
    }
}

fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

/// Every row of the store.
fn all(engine: &EmbeddedEngine) -> BTreeMap<Bytes, Bytes> {
    let mut rows = BTreeMap::new();
    let mut begin = Bytes::new();
    loop {
        // A version of its own for each page: nobody else writes.
        let version: Version = wait(engine.read_version(&ReadVersionRequest::default())).unwrap();
        let end = Bytes::from_static(b"\xff");
        let read = RangeRead { begin: begin.clone(), end, limit: 10_000, target_bytes: 32 << 20, reverse: false };
        let page = wait(engine.get_range(read, version)).unwrap();
        if let Some((last, _)) = page.rows.last() {
            begin = [last, &b"\0"[..]].concat().into();
        }
        rows.extend(page.rows);
        if !page.more {
            return rows;
        }
    }
}

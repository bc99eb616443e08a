//! What a reader sees while the window is being flushed beneath it: its version, or 1007.

use std::{
    fmt,
    sync::{
        Arc, Mutex, OnceLock, Weak,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::Bytes;

use super::{TestClock, bytes};
use crate::store::{
    StoreError, Version,
    engine::{CommitRequest, Mutation, RangeRead},
    memory::MemoryBase,
    mvcc::{Base, Core, Stage, Versions, Visit, Window},
};

/// A place in the base where another thread gets its turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Moment {
    /// A key is about to be read.
    Get,
    /// A range is about to be scanned.
    Scan,
    /// The base is about to be moved to a newer version.
    BeforeAdvance,
    /// It has been moved; its caller does not know yet.
    AfterAdvance,
}

type Act = Box<dyn Fn(&Core<Interrupted>) + Send>;

/// A base in memory that does something at one moment, once: deterministically what another
/// thread might do just then.
#[derive(Default)]
struct Interrupted {
    rows: MemoryBase,
    core: OnceLock<Weak<Core<Self>>>,
    act: Mutex<Option<(Moment, Act)>>,
    /// Such moments that pass before the one that counts.
    passes: AtomicUsize,
}

impl fmt::Debug for Interrupted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Interrupted").field(&self.rows).finish()
    }
}

impl Interrupted {
    fn at(&self, moment: Moment) {
        let due = self.act.lock().unwrap().take_if(|(when, _)| {
            *when == moment
                && self.passes.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1)).is_err()
        });
        if let Some((_, act)) = due {
            act(&self.core.get().and_then(Weak::upgrade).unwrap());
        }
    }
}

impl Base for Interrupted {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        self.at(Moment::Get);
        self.rows.get(key)
    }

    fn scan(
        &self,
        begin: &[u8],
        end: &[u8],
        reverse: bool,
        visit: &mut dyn FnMut(&[u8], &[u8]) -> Visit,
    ) -> Result<Visit, StoreError> {
        self.at(Moment::Scan);
        self.rows.scan(begin, end, reverse, visit)
    }

    fn advance(
        &self,
        version: u64,
        cleared: &[(Bytes, Bytes)],
        changes: Vec<(Bytes, Option<Bytes>)>,
    ) -> Result<(), StoreError> {
        self.at(Moment::BeforeAdvance);
        self.rows.advance(version, cleared, changes)?;
        self.at(Moment::AfterAdvance);
        Ok(())
    }
}

/// So many that a range read asks the window, and the base, several times.
const KEYS: u32 = 300;

fn key(number: u32) -> Bytes {
    bytes(&format!("{number:04}"))
}

/// Every key with this value.
fn all(value: &str) -> Vec<Mutation> {
    (0..KEYS).map(|number| Mutation::Set(key(number), bytes(value))).collect()
}

fn commit(core: &Core<Interrupted>, mutations: Vec<Mutation>) -> Version {
    let request = CommitRequest { mutations, ..CommitRequest::default() };
    let (version, results) = core.process(&mut Stage::default(), std::iter::once(&request), |_| ());
    assert!(results[0].is_ok());
    core.publish(version, true);
    version
}

fn flush(core: &Core<Interrupted>) {
    while core.flush(u64::MAX, 100_000).unwrap().is_some() {}
}

/// A store whose base has every key with the value `old`, as of the version that is given, and
/// whose window has `changes` on top, whose version is the second.
fn store(changes: Vec<Mutation>) -> (Arc<Core<Interrupted>>, Version, Version) {
    let versions = Versions::new(TestClock::new(), 1);
    let core = Arc::new(Core::new(Interrupted::default(), versions, Window::default(), 1 << 60, 10));
    core.base.core.set(Arc::downgrade(&core)).unwrap();
    let old = commit(&core, all("old"));
    flush(&core);
    let new = commit(&core, changes);
    (core, old, new)
}

/// A read of everything: one by one, in one range, or in one from the end.
type Read = fn(&Core<Interrupted>, Version) -> Result<Vec<Option<Bytes>>, StoreError>;

fn by_keys(core: &Core<Interrupted>, version: Version) -> Result<Vec<Option<Bytes>>, StoreError> {
    core.get_many(&(0..KEYS).map(key).collect::<Vec<_>>(), version)
}

fn by_range(core: &Core<Interrupted>, version: Version) -> Result<Vec<Option<Bytes>>, StoreError> {
    rows(core, version, false)
}

fn from_the_end(core: &Core<Interrupted>, version: Version) -> Result<Vec<Option<Bytes>>, StoreError> {
    rows(core, version, true)
}

fn rows(core: &Core<Interrupted>, version: Version, reverse: bool) -> Result<Vec<Option<Bytes>>, StoreError> {
    let read = RangeRead { begin: key(0), end: bytes("z"), limit: 0, target_bytes: 0, reverse };
    let page = core.get_range(&read, version)?;
    let mut values = vec![None; KEYS as usize];
    for (key, value) in page.rows {
        let number: usize = std::str::from_utf8(&key).unwrap().parse().unwrap();
        values[number] = Some(value);
    }
    Ok(values)
}

const READS: [Read; 3] = [by_keys, by_range, from_the_end];

/// What may lie in the window, and the value that it leaves of each key.
fn changes() -> [(Vec<Mutation>, Option<Bytes>); 3] {
    let clear_each = (0..KEYS).map(|number| Mutation::Clear(key(number))).collect();
    let clear_all = vec![Mutation::ClearRange(bytes(""), bytes("z"))];
    [(all("new"), Some(bytes("new"))), (clear_each, None), (clear_all, None)]
}

/// All keys were read, and all had this value.
fn is_every(values: &[Option<Bytes>], value: Option<&Bytes>) -> bool {
    values.len() == KEYS as usize && values.iter().all(|found| found.as_ref() == value)
}

/// Refused as too old.
fn is_too_old(seen: &Result<Vec<Option<Bytes>>, StoreError>) -> bool {
    seen.as_ref().is_err_and(|error| error.code == StoreError::TRANSACTION_TOO_OLD)
}

/// Values in short.
fn brief(seen: &Result<Vec<Option<Bytes>>, StoreError>) -> String {
    match seen {
        Err(error) => error.to_string(),
        Ok(values) => {
            let runs = values.chunk_by(|one, next| one == next);
            format!("{:?}", runs.map(|run| (run.len(), run[0].as_ref())).collect::<Vec<_>>())
        }
    }
}

#[test]
fn a_read_whose_version_is_flushed_away_in_its_midst_is_too_old() {
    let mut flushed = 0;
    for (read, moment) in READS.into_iter().zip([Moment::Get, Moment::Scan, Moment::Scan]) {
        for (changes, after) in changes() {
            for passes in [0, 1, 2, 7, KEYS as usize - 1] {
                let (core, old, new) = store(changes.clone());
                core.base.passes.store(passes, Ordering::SeqCst);
                *core.base.act.lock().unwrap() = Some((moment, Box::new(flush)));
                let seen = read(&core, old);
                if core.base.act.lock().unwrap().take().is_some() {
                    // It was over before its turn came.
                    assert!(passes > 0);
                    assert!(is_every(seen.as_ref().unwrap(), Some(&bytes("old"))), "{}", brief(&seen));
                    continue;
                }
                flushed += 1;
                assert!(is_too_old(&seen), "{moment:?} after {passes} others: {}", brief(&seen));
                assert!(is_every(&read(&core, new).unwrap(), after.as_ref()), "the newest version stays");
            }
        }
    }
    assert!(flushed > 20, "also between two scans of one read: {flushed} reads met a flush");
}

#[test]
fn a_read_at_the_newest_version_sees_it_whole_while_it_is_flushed() {
    for read in READS {
        for (moment, passes) in [(Moment::Get, 0), (Moment::Get, 100), (Moment::Scan, 0), (Moment::Scan, 2)] {
            // Half of the keys are changed, so the base is asked for the others.
            let half: Vec<_> = all("new").into_iter().step_by(2).collect();
            let (core, _, new) = store(half);
            core.base.passes.store(passes, Ordering::SeqCst);
            *core.base.act.lock().unwrap() = Some((moment, Box::new(flush)));
            let seen = read(&core, new).unwrap();
            let expected = (0..KEYS).map(|number| Some(bytes(if number % 2 == 0 { "new" } else { "old" })));
            assert_eq!(seen, expected.collect::<Vec<_>>(), "{moment:?} after {passes} others");
        }
    }
}

#[test]
fn while_the_base_is_being_moved_a_version_that_it_leaves_is_never_read_wrongly() {
    for (changes, after) in changes() {
        for moment in [Moment::BeforeAdvance, Moment::AfterAdvance] {
            let (core, old, new) = store(changes.clone());
            let after = after.clone();
            let looked = Arc::new(AtomicUsize::new(0));
            let count = Arc::clone(&looked);
            let look: Act = Box::new(move |core| {
                for read in READS {
                    let seen = read(core, old);
                    let is_old = || is_every(seen.as_ref().unwrap(), Some(&bytes("old")));
                    assert!(is_too_old(&seen) || is_old(), "{moment:?}: {}", brief(&seen));
                    assert!(is_every(&read(core, new).unwrap(), after.as_ref()), "{moment:?}");
                    count.fetch_add(1, Ordering::SeqCst);
                }
            });
            *core.base.act.lock().unwrap() = Some((moment, look));
            flush(&core);
            assert_eq!(looked.load(Ordering::SeqCst), READS.len());
        }
    }
}

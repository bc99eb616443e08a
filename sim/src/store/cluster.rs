//! What outlives the store's node: the data, the log, the generators, the commits in flight.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use escapement::{
    clock::SharedClock,
    edge::SystemClock,
    store::{
        MemoryEngine, Version,
        engine::{CommitRequest, Engine as _, KeyRange, Mutation, RangeRead, ReadVersionRequest},
        memory::MemoryOptions,
    },
};
use futures_util::FutureExt as _;

use super::{
    commits::InFlight,
    dice::{Dice, Effect},
    engine::FaultyEngine,
    log::CommitLog,
    pages::Pages,
    plan::{Fault, FaultPlan, PlanError},
};

/// A simulated FoundationDB, apart from the node that serves it. Clones are the same one.
#[derive(Clone, Debug)]
pub struct SimStore(pub(super) Arc<Shared>);

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) memory: MemoryEngine,
    pub(super) clock: SharedClock,
    pub(super) plan: FaultPlan,
    pub(super) dice: Dice,
    pub(super) log: CommitLog,
    pub(super) pages: Pages,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
pub(super) struct State {
    /// Commits that have arrived and are not decided.
    pub(super) in_flight: BTreeMap<u64, InFlight>,
    pub(super) next_id: u64,
    /// Those that wait for their batch, in the order in which they will be judged.
    pub(super) queue: VecDeque<u64>,
    pub(super) batching: bool,
    /// A recovery is going on until then.
    pub(super) paused_until: Option<Duration>,
    /// Read versions of the past, for those who accept them, with when they were the newest.
    pub(super) past: VecDeque<(Duration, Version)>,
}

impl SimStore {
    /// An empty database with these faults.
    ///
    /// # Errors
    /// When the plan cannot be followed.
    pub fn new(plan: FaultPlan) -> Result<Self, PlanError> {
        plan.check()?;
        let clock: SharedClock = Arc::new(SystemClock::new());
        let options =
            MemoryOptions { window: Duration::from_millis(plan.knobs.window_ms), watches_max: plan.knobs.watches_max };
        Ok(Self(Arc::new(Shared {
            memory: MemoryEngine::with_options(Arc::clone(&clock), options),
            clock,
            dice: Dice::new(&plan),
            plan,
            log: CommitLog::default(),
            pages: Pages::default(),
            state: Mutex::default(),
        })))
    }

    /// Begins to work on the node that asks: settles what was in flight when the node before
    /// died. What is returned serves, and strikes.
    pub fn boot(&self) -> FaultyEngine {
        self.0.boot();
        FaultyEngine::new(Arc::clone(&self.0))
    }

    /// The commits, and what was said of them.
    pub fn log(&self) -> &CommitLog {
        &self.0.log
    }

    /// Every row that there is now, in the order of keys, without asking any node.
    pub fn rows(&self) -> Vec<(Bytes, Bytes)> {
        let newest = self.0.memory.read_version(&ReadVersionRequest::default()).now_or_never();
        let newest = newest.expect("memory answers at once").expect("memory has a version");
        let (mut begin, mut rows) = (Bytes::new(), Vec::new());
        loop {
            let end = Bytes::from_static(&[0xff]);
            let read = RangeRead { begin: begin.clone(), end, limit: 0, target_bytes: 0, reverse: false };
            let page = self.0.memory.get_range(read, newest).now_or_never();
            let page = page.expect("memory answers at once").expect("the newest version can be read");
            rows.extend(page.rows);
            match rows.last() {
                Some((last, _)) if page.more => begin = [last, &b"\0"[..]].concat().into(),
                _ => return rows,
            }
        }
    }

    /// Writes rows at once, as somebody who is no client of the run: neither the log nor any fault knows.
    ///
    /// # Panics
    /// When memory does not take them.
    pub fn overwrite(&self, rows: Vec<(Bytes, Bytes)>) {
        let write = |(key, value): (Bytes, Bytes)| {
            let end = Bytes::from([&key[..], &b"\0"[..]].concat());
            (KeyRange { begin: key.clone(), end }, Mutation::Set(key, value))
        };
        let (write_conflicts, mutations) = rows.into_iter().map(write).unzip();
        let request = CommitRequest {
            read_version: None,
            read_conflicts: Vec::new(),
            write_conflicts,
            mutations,
            lock_aware: true,
        };
        for result in self.0.memory.commit_batch(&[request]) {
            result.expect("nothing conflicts with a commit that read nothing");
        }
    }

    /// The plan that it follows.
    pub fn plan(&self) -> &FaultPlan {
        &self.0.plan
    }

    /// From here on nothing goes wrong; what is held up stays so until its time.
    pub fn heal(&self) {
        self.0.dice.heal();
    }

    /// How often each fault took effect.
    pub fn hits(&self) -> BTreeMap<Fault, u64> {
        self.0.dice.hits()
    }

    /// How often a page of a range read was as full as it may be and another one went on behind its last
    /// row: counted for the keys that begin with these two bytes.
    pub fn pages_continued(&self, prefix: [u8; 2]) -> u64 {
        self.0.pages.continued(prefix)
    }

    /// How often each effect was seen.
    pub fn effects(&self) -> BTreeMap<Effect, u64> {
        self.0.dice.effects()
    }
}

impl Shared {
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until a fault that lasts for spans is over.
    pub(super) async fn outlast(&self, fault: Fault) {
        let now = true_time();
        let span = self.dice.switch(fault).and_then(|switch| switch.during.iter().find(|span| span.contains(now)));
        if let Some(span) = span
            && self.dice.strikes(fault, now)
        {
            self.dice.hit(fault);
            self.clock.sleep(span.until().saturating_sub(now)).await;
        }
    }

    /// Waits for the hold if the fault strikes.
    pub(super) async fn delay(&self, fault: Fault) {
        if self.dice.strikes(fault, true_time()) {
            self.dice.hit(fault);
            self.clock.sleep(self.dice.hold(fault)).await;
        }
    }
}

/// Time since the start of the run, which no node's clock shows.
pub(super) fn true_time() -> Duration {
    madsim::time::TimeHandle::current().elapsed()
}

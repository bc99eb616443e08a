//! What is counted of a run: faults that took effect, and rare things that happened.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use escapement::{keyspace::Kind, store::StoreError};
use escapement_sim::{
    clock::{Claim, Correct, LeapPlan},
    store::{Effect, Fault},
};
use madsim::time::TimeHandle;

use super::world::World;
use crate::{
    history::History,
    nemesis::Nemesis,
    rarity::{Rarities, Rarity},
};

/// Counts. Clones count together.
#[derive(Clone, Debug, Default)]
pub(super) struct Counter(Arc<AtomicU64>);

impl Counter {
    pub(super) fn add(&self, count: usize) {
        self.0.fetch_add(count as u64, Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// Counts by name.
pub(super) type Counts = BTreeMap<String, u64>;

/// Every fault that a run can count, by name.
pub fn fault_names() -> Vec<String> {
    let nemeses = Nemesis::KINDS.iter().map(|kind| (*kind).to_owned());
    let store = Fault::ALL.iter().filter(|fault| !UNUSED.contains(fault)).map(|fault| store_name(*fault));
    let calls = ["duplicated-call", "lost-answer", "slow-call"];
    let streams = ["lost-report", "lost-assignment", "lost-verdict", "lost-order", "repeated-report"];
    let meddling = calls.into_iter().chain(streams).map(str::to_owned);
    let clocks = CLOCKS.iter().map(|name| (*name).to_owned());
    nemeses.chain(store).chain(meddling).chain(clocks).collect()
}

/// Every rare thing that a run counts, by name.
pub fn rarity_names() -> Vec<String> {
    let effects =
        Effect::ALL.iter().filter(|effect| **effect != Effect::WatchesFull).map(|effect| effect_name(*effect));
    Rarity::ALL.iter().map(|rarity| rarity.name().to_owned()).chain(effects).collect()
}

/// Adds what the history shows. Of what the store's log tells, the log knows better.
pub(super) fn add_shown(history: &History, rarities: &mut Counts) {
    let shown = Rarities::of(history);
    for rarity in Rarity::ALL.iter().filter(|rarity| !LOGGED.contains(&rarity.name())) {
        match shown.get(*rarity) {
            0 => {}
            count => drop(rarities.insert(rarity.name().to_owned(), count)),
        }
    }
}

/// Faults of what schedulers do not use: they set no watches and no tags, and accept no stale
/// versions. Counted when they take effect, but not demanded.
const UNUSED: &[Fault] = &[
    Fault::StaleReadVersion,
    Fault::TagThrottled,
    Fault::WatchLate,
    Fault::WatchLost,
    Fault::WatchSpurious,
    Fault::WatchTooMany,
];

const CLOCKS: &[&str] = &[
    "clock-offset",
    "clock-rate",
    "clock-noise",
    "clock-claims-falsely",
    "clock-unsynchronised",
    "daemon-steps",
    "daemon-slews",
    "leap-step",
    "leap-smear",
    "leap-unannounced",
    "leap-false",
    "leap-timers-early",
];

/// Scans whose pages are counted, by the kind of their keys: the first element of each key, which the
/// tuple layer writes in one byte behind 0x15.
const PAGES: &[(Rarity, Kind)] = &[
    (Rarity::DuePageContinued, Kind::Due),
    (Rarity::LeasePageContinued, Kind::Lease),
    (Rarity::TickPageContinued, Kind::Tick),
    (Rarity::TaskPageContinued, Kind::Task),
];

const LOGGED: &[&str] = &["unknown-commit-applied", "unknown-commit-not-applied", "zombie-commit"];

fn store_name(fault: Fault) -> String {
    format!("store-{}", kebab(&format!("{fault:?}")))
}

fn effect_name(effect: Effect) -> String {
    kebab(&format!("{effect:?}"))
}

fn kebab(name: &str) -> String {
    let mut out = String::new();
    for letter in name.chars() {
        if letter.is_uppercase() && !out.is_empty() {
            out.push('-');
        }
        out.extend(letter.to_lowercase());
    }
    out
}

impl World {
    /// Faults and rare things.
    pub(super) fn tally(&self) -> (Counts, Counts) {
        let mut faults = Counts::new();
        let mut add = |name: &str, count: u64| {
            if count > 0 {
                *faults.entry(name.to_owned()).or_default() += count;
            }
        };
        let elapsed = u64::try_from(TimeHandle::current().elapsed().as_millis()).unwrap_or(u64::MAX);
        self.plan.strikes.iter().filter(|strike| strike.at_ms < elapsed).for_each(|strike| add(strike.what.kind(), 1));
        self.store.hits().into_iter().for_each(|(fault, count)| add(&store_name(fault), count));
        self.meddling.hits().into_iter().for_each(|(name, count)| add(name, count));
        self.clock_faults().into_iter().for_each(|name| add(name, 1));

        let mut rarities = Counts::new();
        let log = self.store.log();
        let (applied, not) = log.told(StoreError::COMMIT_UNKNOWN_RESULT);
        let counts = [applied, not, log.landed_after_cut_off()].map(|count| count as u64);
        let logged = LOGGED.iter().map(|name| (*name).to_owned()).zip(counts);
        let effects = self.store.effects().into_iter().map(|(effect, count)| (effect_name(effect), count));
        let pages = PAGES.iter().map(|(rarity, kind)| {
            let prefix = [0x15, u8::try_from(kind.code()).unwrap_or_default()];
            (rarity.name().to_owned(), self.store.pages_continued(prefix))
        });
        let versions =
            [(Rarity::LaterRecordRead, &self.versions.met), (Rarity::NewerFormatRefused, &self.versions.refused)];
        let versions = versions.map(|(rarity, count)| (rarity.name().to_owned(), count.get()));
        rarities.extend(logged.chain(effects).chain(pages).chain(versions).filter(|(_, count)| *count > 0));
        (faults, rarities)
    }

    fn clock_faults(&self) -> Vec<&'static str> {
        let leap = self.plan.leap.is_some();
        let of_node = |node: &escapement_sim::clock::NodePlan| {
            let daemon = node.daemon.map(|daemon| daemon.correct);
            let found = [
                node.offset_us != 0,
                node.drift_ppm != 0,
                node.jitter_us != 0,
                matches!(node.claim, Claim::Fixed { .. }),
                matches!(node.claim, Claim::Unsynchronised),
                matches!(daemon, Some(Correct::Step)),
                matches!(daemon, Some(Correct::Slew { .. })),
                leap && node.leap == LeapPlan::Step,
                leap && node.leap == LeapPlan::Smear,
                leap && node.leap == LeapPlan::Unannounced,
                matches!(node.leap, LeapPlan::False(_)),
                leap && matches!(node.leap, LeapPlan::Early { .. }),
            ];
            CLOCKS.iter().zip(found).filter(|(_, found)| *found).map(|(name, _)| *name).collect::<Vec<_>>()
        };
        self.plan.clock_plan().nodes.values().flat_map(of_node).collect()
    }
}

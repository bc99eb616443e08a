//! When faults strike, and how often they did.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use escapement::rng::Rng;

use crate::seeds::fork;

use super::{
    plan::{ALWAYS_PPM, Fault, FaultPlan, Switch},
    presets::between,
};

macro_rules! effects {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// What came of the faults, and what happens without any.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Effect {
            $($(#[$doc])* $name,)*
        }

        impl Effect {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];
        }
    };
}

effects! {
    /// Two transactions really met: 1020.
    RealConflict,
    /// A read or commit was older than the window: 1007.
    TooOldByClock,
    /// More watches than may be: 1032.
    WatchesFull,
    /// Several commits shared a version.
    SharedBatch,
    /// A commit of which its client had been told 1039 landed.
    LandedAfterVersionChange,
    /// Such a commit lost its conflict check, as late as it was.
    LateCommitRefused,
    /// A commit in flight was applied as a recovery began; its client was told 1021.
    AppliedInRecovery,
    /// A commit in flight was dropped as a recovery began.
    DroppedInRecovery,
    /// A commit in flight when the store's node died was applied before it served again.
    AppliedInRestart,
    /// Such a commit was dropped.
    DroppedInRestart,
}

/// One generator for each fault, and the counters.
#[derive(Debug)]
pub(super) struct Dice {
    faults: BTreeMap<Fault, (Switch, Rng)>,
    /// For what is no fault.
    ordinary: Rng,
    healed: AtomicBool,
    hits: Mutex<BTreeMap<Fault, u64>>,
    effects: Mutex<BTreeMap<Effect, u64>>,
}

impl Dice {
    pub(super) fn new(plan: &FaultPlan) -> Self {
        let generator = |fault: Fault| fork(plan.seed, &format!("{fault:?}"));
        let faults = plan.faults.iter().map(|(fault, switch)| (*fault, (switch.clone(), generator(*fault))));
        Self {
            faults: faults.collect(),
            ordinary: fork(plan.seed, "ordinary"),
            healed: AtomicBool::new(false),
            hits: Mutex::default(),
            effects: Mutex::default(),
        }
    }

    /// Nothing strikes any more.
    pub(super) fn heal(&self) {
        self.healed.store(true, Relaxed);
    }

    pub(super) fn is_healed(&self) -> bool {
        self.healed.load(Relaxed)
    }

    pub(super) fn switch(&self, fault: Fault) -> Option<&Switch> {
        self.faults.get(&fault).map(|(switch, _)| switch).filter(|_| !self.is_healed())
    }

    /// Whether the fault strikes at this opportunity.
    pub(super) fn strikes(&self, fault: Fault, now: Duration) -> bool {
        let Some((switch, rng)) = self.faults.get(&fault).filter(|_| !self.is_healed()) else { return false };
        let in_time = switch.during.is_empty() || switch.during.iter().any(|span| span.contains(now));
        // Always drawn: the spans do not reshuffle what comes after them.
        let drawn = rng.u32() % ALWAYS_PPM < switch.chance_ppm;
        in_time && drawn
    }

    /// How long the fault that just struck holds.
    pub(super) fn hold(&self, fault: Fault) -> Duration {
        let held = self.faults.get(&fault).map_or(0, |(switch, rng)| between(switch.hold_ms, rng));
        Duration::from_millis(held)
    }

    /// A toss by the generator of this fault, which is on.
    pub(super) fn toss(&self, fault: Fault) -> bool {
        let rng = self.faults.get(&fault).map_or(&self.ordinary, |(_, rng)| rng);
        rng.u32().is_multiple_of(2)
    }

    /// A span of what is no fault.
    pub(super) fn ordinary(&self, range_ms: (u64, u64)) -> Duration {
        Duration::from_millis(between(range_ms, &self.ordinary))
    }

    /// The fault took effect.
    pub(super) fn hit(&self, fault: Fault) {
        *self.hits.lock().unwrap_or_else(PoisonError::into_inner).entry(fault).or_default() += 1;
    }

    pub(super) fn effect(&self, effect: Effect) {
        *self.effects.lock().unwrap_or_else(PoisonError::into_inner).entry(effect).or_default() += 1;
    }

    pub(super) fn hits(&self) -> BTreeMap<Fault, u64> {
        let hits = self.hits.lock().unwrap_or_else(PoisonError::into_inner);
        Fault::ALL.iter().map(|fault| (*fault, hits.get(fault).copied().unwrap_or(0))).collect()
    }

    pub(super) fn effects(&self) -> BTreeMap<Effect, u64> {
        let effects = self.effects.lock().unwrap_or_else(PoisonError::into_inner);
        Effect::ALL.iter().map(|effect| (*effect, effects.get(effect).copied().unwrap_or(0))).collect()
    }
}

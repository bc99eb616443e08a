//! Where plans come from when nobody writes them.

use escapement::rng::Rng;

use super::plan::{Fault, FaultPlan, Knobs, Span, Switch};
use crate::seeds::fork;

/// Windows that runs choose from, in milliseconds: a version's life.
const WINDOWS_MS: [u64; 4] = [100, 1000, 5000, 10_000];

impl FaultPlan {
    /// Nothing goes wrong.
    pub fn calm(seed: u64) -> Self {
        Self { seed, ..Self::default() }
    }

    /// Everything goes wrong, now and then, for the first `run_ms` milliseconds.
    pub fn everything(seed: u64, run_ms: u64) -> Self {
        let switch = |fault: Fault| usual(fault, run_ms, &fork(seed, &format!("plan of {fault:?}")));
        let faults = Fault::ALL.iter().map(|fault| (*fault, switch(*fault))).collect();
        Self { seed, faults, knobs: knobs(&fork(seed, "knobs")) }
    }

    /// Some of it goes wrong, a different part for each seed and not equally often: what one
    /// fault hides, another run without it shows ("swarm testing", Groce et al., 2012).
    pub fn swarm(seed: u64, run_ms: u64) -> Self {
        let mut plan = Self::everything(seed, run_ms);
        for fault in Fault::ALL {
            let dice = fork(seed, &format!("choice of {fault:?}"));
            let (on, scale) = (dice.u32().is_multiple_of(2), dice.u32() % 4);
            let switch = plan.faults.get_mut(fault).expect("everything is on");
            if !fault.has_spans() {
                switch.chance_ppm >>= scale;
            }
            if !on {
                plan.faults.remove(fault);
            }
        }
        plan
    }
}

fn knobs(dice: &Rng) -> Knobs {
    let window_ms = WINDOWS_MS[dice.u32() as usize % WINDOWS_MS.len()];
    let watches_max = if dice.u32().is_multiple_of(4) { 4 } else { 10_000 };
    let batch_commits_max = if dice.u32().is_multiple_of(4) { 2 } else { 100 };
    Knobs { window_ms, watches_max, batch_commits_max, ..Knobs::default() }
}

/// Often enough to meet it in a short run, seldom enough that work goes on.
fn usual(fault: Fault, run_ms: u64, dice: &Rng) -> Switch {
    match fault {
        Fault::SpuriousConflict | Fault::UnknownApplied | Fault::UnknownNotApplied => Switch::chance(30_000),
        Fault::VersionChangedLate => Switch::chance(30_000).hold(1, 3000),
        Fault::AnswerLostApplied | Fault::AnswerLostNotApplied => Switch::chance(5000).hold(35_000, 60_000),
        Fault::VersionChangedReading
        | Fault::TooOld
        | Fault::FutureVersion
        | Fault::ProcessBehind
        | Fault::CommitProxyMemory
        | Fault::ReadVersionProxyMemory => Switch::chance(10_000),
        Fault::BatchThrottled | Fault::TagThrottled => Switch::chance(100_000),
        Fault::BatchStarved => Switch::chance(100_000).hold(500, 5000),
        Fault::Locked => episodes(run_ms, 1, (100, 2000), dice),
        Fault::Recovery => episodes(run_ms, 2, (100, 3000), dice),
        Fault::StorageUnavailable | Fault::CommitsUnavailable => episodes(run_ms, 2, (50, 4000), dice),
        Fault::StaleReadVersion => Switch::chance(300_000).hold(1, 2000),
        Fault::WatchLate => Switch::chance(100_000).hold(10, 20_000),
        Fault::WatchSpurious => Switch::chance(100_000).hold(1, 5000),
        Fault::WatchLost => Switch::chance(100_000),
        Fault::WatchTooMany => Switch::chance(50_000),
        Fault::SlowReadVersion | Fault::SlowRead => Switch::chance(20_000).hold(5, 300),
        Fault::SlowCommit => Switch::chance(50_000).hold(5, 500),
        Fault::StalledCommit => Switch::chance(5000).hold(10_000, 50_000),
    }
}

/// `count` spans in as many equal parts of the run, each somewhere in its part.
fn episodes(run_ms: u64, count: u64, length_ms: (u64, u64), dice: &Rng) -> Switch {
    let part = run_ms / count;
    let spans = (0..count).map(|number| {
        let length = between(length_ms, dice).min(part / 2).max(1);
        let from_ms = number * part + dice.u64() % (part - length).max(1) + 1;
        Span { from_ms, until_ms: from_ms + length }
    });
    let spans: Vec<_> = spans.map(|span| (span.from_ms, span.until_ms)).collect();
    Switch::during(spans)
}

pub(super) fn between((from, to): (u64, u64), dice: &Rng) -> u64 {
    from + dice.u64() % (to - from + 1)
}

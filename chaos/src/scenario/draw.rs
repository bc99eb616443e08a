//! What scenarios draw, and what they have in common.

use escapement::rng::Rng;
use escapement_sim::{
    fork,
    store::{FaultPlan, Knobs as StoreKnobs},
};

use crate::{
    nemesis::{Nemesis, Strike},
    plan::{Knobs, Plan, Shape},
    workload::{Workload, WorkloadKind},
};

/// 2026-11-25T00:00:00Z: an ordinary midnight.
pub(super) const ORDINARY: i64 = 1_795_564_800_000;
/// 2017-01-01T00:00:00Z: 23:59:60 was before it.
pub(super) const LEAP_MIDNIGHT: i64 = 1_483_228_800_000;

/// Generators of one seed.
#[derive(Clone, Debug)]
pub(super) struct Draw {
    pub(super) scenario: &'static str,
    pub(super) seed: u64,
}

/// One generator.
pub(super) struct Dice(Rng);

impl Dice {
    pub(super) fn below(&self, limit: u64) -> u64 {
        self.0.u64() % limit.max(1)
    }

    pub(super) fn between(&self, from: u64, to: u64) -> u64 {
        from + self.below(to.saturating_sub(from) + 1)
    }

    /// A number from `-most` to `most`.
    pub(super) fn either_way(&self, most: u64) -> i64 {
        i64::try_from(self.below(2 * most + 1)).unwrap_or(0) - i64::try_from(most).unwrap_or(0)
    }

    pub(super) fn u32(&self, from: u32, to: u32) -> u32 {
        u32::try_from(self.between(from.into(), to.into())).unwrap_or(from)
    }

    pub(super) fn one_in(&self, count: u64) -> bool {
        self.below(count) == 0
    }

    pub(super) fn pick<T: Clone>(&self, all: &[T]) -> T {
        all[usize::try_from(self.below(all.len() as u64)).unwrap_or(0)].clone()
    }

    /// Some of them, at least one and not all, in their order.
    pub(super) fn some<T: Clone>(&self, all: &[T]) -> Vec<T> {
        let mut some: Vec<T> = all.iter().filter(|_| self.one_in(2)).cloned().collect();
        if some.is_empty() || some.len() == all.len() {
            some = vec![self.pick(all)];
        }
        some
    }
}

impl Draw {
    pub(super) fn new(scenario: &'static str, seed: u64) -> Self {
        Self { scenario, seed }
    }

    /// The generator of what has this name.
    pub(super) fn dice(&self, name: &str) -> Dice {
        Dice(fork(self.seed, &format!("{} {name}", self.scenario)))
    }

    /// A cluster with some of every ordinary work, and nothing wrong.
    pub(super) fn base(&self) -> Plan {
        let dice = self.dice("shape");
        let shape = Shape {
            servers: 2,
            workers: dice.u32(2, 4),
            clients: dice.u32(1, 3),
            slots: dice.pick(&[5, 20, 40]),
            late: 0,
        };
        let safety_ms = dice.between(20_000, 40_000);
        Plan {
            seed: self.seed,
            scenario: self.scenario.to_owned(),
            shape,
            knobs: self.knobs(),
            safety_ms,
            epoch_unix_ms: ORDINARY - 6 * 3_600_000,
            earlier: None,
            leap: None,
            clocks: std::collections::BTreeMap::new(),
            store: FaultPlan { knobs: StoreKnobs::default(), ..FaultPlan::calm(self.seed) },
            workloads: self.workloads(safety_ms),
            strikes: Vec::new(),
        }
    }

    fn knobs(&self) -> Knobs {
        let dice = self.dice("knobs");
        let pages = self.dice("pages");
        Knobs {
            shards: dice.pick(&[1, 4, 8, 32]),
            session_lease_ms: dice.pick(&[1000, 2000, 5000]),
            member_lease_ms: dice.pick(&[1000, 2000, 3000]),
            hot_window_ms: dice.pick(&[1000, 10_000, 300_000]),
            stream_entries_max: dice.pick(&[1000, 65_536]),
            fire_batch_max: dice.pick(&[1, 10, 256]),
            fires_in_flight_max: dice.pick(&[1, 8]),
            rescan_ms: dice.pick(&[5000, 15_000]),
            due_page_rows: pages.pick(&[1, 2, 3, 10, 1000, 1000]),
            scan_page_rows: pages.pick(&[1, 2, 3, 10, 1000, 1000]),
            list_page_size: pages.pick(&[1, 3, 20, 1000, 1000, 1000]),
            smear: false,
            leap_listed: false,
        }
    }

    fn workloads(&self, safety_ms: u64) -> Vec<Workload> {
        let counts = [
            (WorkloadKind::OneOff, 30),
            (WorkloadKind::Recurring, 3),
            (WorkloadKind::Cancels, 10),
            (WorkloadKind::Retries, 10),
            (WorkloadKind::Long, 3),
            (WorkloadKind::HotKeys, 3),
            (WorkloadKind::Bulk, 3),
            (WorkloadKind::Edits, 2),
            (WorkloadKind::Poison, 2),
            (WorkloadKind::DeadQueue, 2),
        ];
        counts.into_iter().map(|(kind, count)| self.workload(kind, count, safety_ms)).collect()
    }

    /// So much work of one kind, over the safety phase.
    pub(super) fn workload(&self, kind: WorkloadKind, count: u32, safety_ms: u64) -> Workload {
        let seed = self.dice(kind.name()).below(1 << 32);
        Workload { kind, seed, count, from_ms: 500, until_ms: safety_ms.saturating_sub(3000), only: None }
    }

    /// Adds `count` strikes, one after the other, each somewhere in its part of the safety
    /// phase and over before it ends.
    pub(super) fn strike(&self, plan: &mut Plan, count: u64, mut make: impl FnMut(&Dice, &Plan) -> Nemesis) {
        let part = plan.safety_ms.saturating_sub(2000) / count.max(1);
        for number in 0..count {
            let dice = self.dice(&format!("strike {number}"));
            let at_ms = 1000 + number * part + dice.below(part / 2);
            let for_ms = dice.between(200, part / 2);
            let what = make(&dice, plan);
            plan.strikes.push(Strike { at_ms, for_ms, what });
        }
    }
}

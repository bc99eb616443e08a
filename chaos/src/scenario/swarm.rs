//! Some of everything, a different part for each seed: what one fault hides, another run
//! without it shows ("swarm testing", Groce et al., 2012).

use escapement_sim::{
    clock::{Claim, ClockFault, LeapPlan, LeapSign, NodePlan, TrueLeap},
    store::FaultPlan,
};

use super::{
    draw::{Dice, Draw, LEAP_MIDNIGHT, ORDINARY},
    faults::{broken_streams, drifting, halves, honest, machine, newer_format, one_way, rolling_upgrade, shifted},
};
use crate::{
    nemesis::{Nemesis, Strike},
    plan::{Plan, STORE},
    shift::Shift,
    workload::WorkloadKind,
};

pub(super) fn swarm(draw: &Draw) -> Plan {
    let mut plan = draw.base();
    let dice = draw.dice("swarm");
    plan.shape.servers = dice.pick(&[1, 2, 2, 3]);
    plan.shape.workers = dice.u32(1, 5);
    plan.safety_ms = dice.between(15_000, 50_000);
    work(draw, &mut plan);
    instant(draw, &mut plan);
    fleet(draw, &mut plan);
    if !dice.one_in(4) {
        plan.store = FaultPlan::swarm(draw.seed, plan.safety_ms);
    }
    let strikes = dice.below(9);
    draw.strike(&mut plan, strikes, anything);
    versions(draw, &mut plan);
    streams(draw, &mut plan);
    plan
}

/// Streams of workers break beside all that, and a worker may be late.
fn streams(draw: &Draw, plan: &mut Plan) {
    let dice = draw.dice("streams");
    if dice.one_in(3) {
        plan.shape.late = 1;
    }
    let strikes = if dice.one_in(2) { dice.between(1, 3) } else { 0 };
    for _ in 0..strikes {
        let at_ms = dice.between(1000, plan.safety_ms / 2);
        let (for_ms, what) = (dice.between(1000, plan.safety_ms / 2), broken_streams(&dice, plan));
        plan.strikes.push(Strike { at_ms, for_ms, what });
    }
}

/// Now and then another version comes, whatever else goes wrong then.
fn versions(draw: &Draw, plan: &mut Plan) {
    let dice = draw.dice("versions");
    let strike = match dice.below(8) {
        0 => rolling_upgrade(&dice, plan),
        1 => {
            let at_ms = dice.between(1000, plan.safety_ms * 3 / 4);
            Strike { at_ms, for_ms: dice.between(500, plan.safety_ms / 5), what: newer_format(&dice) }
        }
        _ => return,
    };
    plan.strikes.push(strike);
}

/// Each kind of work is there or not, more of it or less.
fn work(draw: &Draw, plan: &mut Plan) {
    let dice = draw.dice("work");
    let safety_ms = plan.safety_ms;
    plan.workloads.retain(|_| !dice.one_in(3));
    for workload in &mut plan.workloads {
        workload.until_ms = safety_ms.saturating_sub(3000);
        workload.count = (workload.count * dice.u32(1, 4) / 2).max(1);
    }
    if dice.one_in(6) {
        plan.workloads.push(draw.workload(WorkloadKind::Overload, 80, safety_ms / 2));
    }
}

/// When it is: at an ordinary time, or where clocks change.
fn instant(draw: &Draw, plan: &mut Plan) {
    let dice = draw.dice("instant");
    let before = i64::try_from(dice.between(5000, plan.safety_ms)).unwrap_or(0);
    let sign = if dice.one_in(2) { LeapSign::Insert } else { LeapSign::Delete };
    let shift = dice.pick(Shift::ALL);
    let (instant, leap) = match dice.below(8) {
        0..=3 => (shift.at_unix_ms(), None),
        4 => (LEAP_MIDNIGHT, Some(LeapSign::Insert)),
        5 => (ORDINARY, Some(sign)),
        _ => (ORDINARY - 43_200_000, None),
    };
    plan.epoch_unix_ms = instant - before;
    plan.leap = leap.map(|sign| TrueLeap { at_unix_ms: instant, sign });
    plan.knobs.leap_listed = dice.one_in(2);
    let mut around = draw.workload(WorkloadKind::Around { at_unix_ms: instant }, 15, plan.safety_ms);
    around.until_ms = u64::try_from(before).unwrap_or(0).saturating_sub(3000).max(600);
    plan.workloads.push(around);
    if instant == shift.at_unix_ms() {
        plan.workloads.push(shifted(draw, shift, u64::try_from(before).unwrap_or(0)));
    }
}

/// Clocks: right, honest and wrong, or telling falsehoods.
fn fleet(draw: &Draw, plan: &mut Plan) {
    let dice = draw.dice("fleet");
    if dice.one_in(3) {
        return;
    }
    for node in plan.nodes().into_iter().filter(|node| node != STORE) {
        let dice = draw.dice(&format!("clock of {node}"));
        let mut clock =
            if dice.one_in(3) { NodePlan { claim: honest(&dice), ..NodePlan::default() } } else { drifting(&dice) };
        if dice.one_in(8) {
            clock.claim = dice.pick(&[Claim::Unsynchronised, Claim::Fixed { error_us: 1000 }]);
        }
        clock.leap = leap_of(&dice, plan);
        plan.clocks.insert(node, clock);
    }
}

fn leap_of(dice: &Dice, plan: &Plan) -> LeapPlan {
    let told = |sign| LeapPlan::False(TrueLeap { at_unix_ms: ORDINARY, sign });
    let inserted = plan.leap.is_some_and(|leap| leap.sign == LeapSign::Insert);
    match dice.below(6) {
        // A smear, and a second that nobody was told of, are only dealt with when the list has the second.
        0 if inserted && plan.leap.is_some_and(|leap| leap.at_unix_ms == LEAP_MIDNIGHT) => LeapPlan::Smear,
        1 if inserted && plan.leap.is_some_and(|leap| leap.at_unix_ms == LEAP_MIDNIGHT) => LeapPlan::Unannounced,
        2 if inserted => LeapPlan::Early { by_ms: 1000, for_ms: 10_000 },
        3 if plan.leap.is_none() => told(if dice.one_in(2) { LeapSign::Insert } else { LeapSign::Delete }),
        _ => LeapPlan::Step,
    }
}

fn anything(dice: &Dice, plan: &Plan) -> Nemesis {
    let mut processes = plan.servers();
    processes.extend(plan.workers());
    processes.push(STORE.to_owned());
    match dice.below(14) {
        0 | 1 => halves(dice, plan),
        2 | 3 => one_way(dice, plan),
        4 => Nemesis::Loss { ppm: dice.u32(10_000, 300_000) },
        5 => {
            let min_ms = dice.between(1, 100);
            Nemesis::SlowNetwork { min_ms, max_ms: min_ms + dice.between(1, 400) }
        }
        6 => {
            let (from, to) = (dice.pick(&plan.clients()), dice.pick(&plan.servers()));
            Nemesis::SlowLink { from, to, ms: dice.between(50, 5000) }
        }
        7 => Nemesis::DuplicateCalls { ppm: dice.u32(50_000, 1_000_000) },
        8 => Nemesis::LostAnswers { ppm: dice.u32(50_000, 500_000) },
        9 => Nemesis::Kill { node: dice.pick(&processes) },
        10 => Nemesis::KillAfterCommit { node: dice.pick(&plan.servers()) },
        11 => Nemesis::Pause { node: dice.pick(&processes) },
        12 => {
            if dice.one_in(2) {
                Nemesis::RollingRestart
            } else {
                Nemesis::RestartAll
            }
        }
        _ => {
            let fault = match dice.below(5) {
                0 => ClockFault::Drift { ppm: i32::try_from(dice.either_way(450)).unwrap_or(0) },
                1 => ClockFault::Jitter { us: dice.u32(0, 5000) },
                2 => ClockFault::Claim(dice.pick(&[Claim::Unsynchronised, Claim::Honest { slack_us: 5000 }])),
                3 => {
                    ClockFault::Suspend { for_ms: dice.between(100, plan.safety_ms / 10), wall_goes_on: dice.one_in(2) }
                }
                _ => ClockFault::Step { by_us: dice.either_way(1_500_000) },
            };
            Nemesis::Clock { node: machine(dice, plan), fault }
        }
    }
}

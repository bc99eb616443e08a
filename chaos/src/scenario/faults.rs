//! The scenarios that are about one kind of fault.

use escapement_sim::{
    clock::{Claim, ClockFault, Correct, Daemon, LeapPlan, LeapSign, NodePlan, TrueLeap},
    store::{Fault, Switch},
};

use super::draw::{Dice, Draw, LEAP_MIDNIGHT, ORDINARY};
use crate::{
    earlier::Earlier,
    nemesis::{Nemesis, Newer, Strike, Way},
    plan::{Plan, STORE},
    shift::Shift,
    workload::{Workload, WorkloadKind},
};

/// A kernel that knows how wrong its clock is, to some milliseconds.
pub(super) fn honest(dice: &Dice) -> Claim {
    Claim::Honest { slack_us: dice.u32(1000, 10_000) }
}

pub(super) fn calm(draw: &Draw) -> Plan {
    draw.base()
}

pub(super) fn partition_halves(draw: &Draw) -> Plan {
    let mut plan = draw.base();
    draw.strike(&mut plan, 3, halves);
    plan
}

/// A partition with two sides, or as good as.
pub(super) fn halves(dice: &Dice, plan: &Plan) -> Nemesis {
    let nodes = plan.nodes();
    match dice.below(4) {
        0 => Nemesis::PartitionHalves { left: dice.some(&nodes) },
        1 => Nemesis::PartitionBridge { left: dice.some(&nodes), bridge: dice.pick(&nodes) },
        2 => Nemesis::PartitionRing { ring: nodes },
        // The second server, and every other worker and client: a region with no store.
        _ => Nemesis::PartitionRegion { region: nodes.into_iter().filter(|node| node.ends_with('2')).collect() },
    }
}

pub(super) fn partition_one_way(draw: &Draw) -> Plan {
    let mut plan = draw.base();
    draw.strike(&mut plan, 4, one_way);
    plan
}

/// A cut that is not the same from both ends, or of one node.
pub(super) fn one_way(dice: &Dice, plan: &Plan) -> Nemesis {
    let nodes = plan.nodes();
    match dice.below(3) {
        0 => Nemesis::PartitionOneWay { from: dice.some(&nodes), to: dice.some(&nodes) },
        1 => Nemesis::PartitionNode { node: dice.pick(&nodes) },
        _ => Nemesis::Clog { node: dice.pick(&nodes), way: dice.pick(&[Way::In, Way::Out, Way::Both]) },
    }
}

pub(super) fn scheduler_killed_after_commit(draw: &Draw) -> Plan {
    let mut plan = draw.base();
    draw.strike(&mut plan, 4, |dice, plan| Nemesis::KillAfterCommit { node: dice.pick(&plan.servers()) });
    plan
}

pub(super) fn worker_stopped(draw: &Draw) -> Plan {
    let mut plan = draw.base();
    draw.strike(&mut plan, 4, |dice, plan| {
        let node = dice.pick(&plan.workers());
        if dice.one_in(2) { Nemesis::Kill { node } } else { Nemesis::Pause { node } }
    });
    plan
}

pub(super) fn worker_late(draw: &Draw) -> Plan {
    let mut plan = draw.base();
    plan.shape.late = draw.dice("late").u32(1, 2);
    plan
}

pub(super) fn stream_breaks(draw: &Draw) -> Plan {
    let mut plan = draw.base();
    draw.strike(&mut plan, 4, broken_streams);
    plan
}

/// What goes wrong with the streams of workers.
pub(super) fn broken_streams(dice: &Dice, _: &Plan) -> Nemesis {
    match dice.below(3) {
        0 => Nemesis::LoseReports { ppm: dice.u32(5000, 200_000) },
        1 => Nemesis::LoseOrders { ppm: dice.u32(5000, 200_000) },
        _ => Nemesis::RepeatReports { ppm: dice.u32(50_000, 1_000_000) },
    }
}

pub(super) fn store_recovery(draw: &Draw) -> Plan {
    let mut plan = draw.base();
    let (dice, part) = (draw.dice("recovery"), plan.safety_ms / 4);
    let spans = (0..3).map(|number| {
        let from_ms = 1000 + number * part + dice.below(part / 2);
        (from_ms, from_ms + dice.between(100, 3000))
    });
    plan.store = plan.store.with(Fault::Recovery, Switch::during(spans.collect::<Vec<_>>()));
    let at_ms = 3 * part + dice.below(part / 2);
    plan.strikes.push(Strike { at_ms, for_ms: dice.between(100, 2000), what: Nemesis::Kill { node: STORE.into() } });
    plan
}

pub(super) fn unknown_commits(draw: &Draw) -> Plan {
    let mut plan = draw.base();
    let dice = draw.dice("unknown");
    for fault in [Fault::UnknownApplied, Fault::UnknownNotApplied] {
        plan.store = plan.store.with(fault, Switch::chance(dice.u32(10_000, 150_000)));
    }
    for fault in [Fault::AnswerLostApplied, Fault::AnswerLostNotApplied] {
        plan.store = plan.store.with(fault, Switch::chance(dice.u32(0, 3000)).hold(5000, 20_000));
    }
    plan
}

pub(super) fn zombie_commit(draw: &Draw) -> Plan {
    let mut plan = draw.base();
    let dice = draw.dice("zombies");
    let late = Switch::chance(dice.u32(20_000, 100_000)).hold(10, 4000);
    plan.store = plan.store.with(Fault::VersionChangedLate, late);
    plan.store = plan.store.with(Fault::SlowCommit, Switch::chance(dice.u32(20_000, 200_000)).hold(20, 4000));
    plan.store = plan.store.with(Fault::StalledCommit, Switch::chance(dice.u32(0, 3000)).hold(5000, 15_000));
    draw.strike(&mut plan, 3, |dice, plan| Nemesis::Kill { node: dice.pick(&plan.servers()) });
    plan
}

/// A clock that differs and drifts, and is corrected now and then; its bounds are honest.
pub(super) fn drifting(dice: &Dice) -> NodePlan {
    let correct = if dice.one_in(2) { Correct::Step } else { Correct::Slew { ppm: 500 } };
    let daemon = Daemon { first_ms: dice.below(30_000), interval_ms: 60_000, accuracy_us: 10_000, correct };
    NodePlan {
        offset_us: dice.either_way(400_000),
        drift_ppm: i32::try_from(dice.either_way(300)).unwrap_or(0),
        jitter_us: dice.u32(0, 2000),
        claim: honest(dice),
        daemon: dice.one_in(2).then_some(daemon),
        ..NodePlan::default()
    }
}

fn clocks(draw: &Draw, plan: &mut Plan, make: impl Fn(&Dice) -> NodePlan) {
    for node in plan.nodes().into_iter().filter(|node| node != STORE) {
        let clock = make(&draw.dice(&format!("clock of {node}")));
        plan.clocks.insert(node, clock);
    }
}

pub(super) fn skew_drift(draw: &Draw) -> Plan {
    let mut plan = draw.base();
    clocks(draw, &mut plan, drifting);
    draw.strike(&mut plan, 4, |dice, plan| {
        let fault = match dice.below(2) {
            0 => ClockFault::Drift { ppm: i32::try_from(dice.either_way(450)).unwrap_or(0) },
            _ => ClockFault::Jitter { us: dice.u32(0, 5000) },
        };
        Nemesis::Clock { node: machine(dice, plan), fault }
    });
    plan
}

/// A node whose clock matters: not the store's.
pub(super) fn machine(dice: &Dice, plan: &Plan) -> String {
    dice.pick(&plan.nodes()[1..])
}

pub(super) fn skew_step(draw: &Draw) -> Plan {
    let mut plan = draw.base();
    clocks(draw, &mut plan, |dice| NodePlan { claim: honest(dice), ..NodePlan::default() });
    draw.strike(&mut plan, 6, |dice, plan| {
        let fault = ClockFault::Step { by_us: dice.either_way(1_500_000) };
        Nemesis::Clock { node: machine(dice, plan), fault }
    });
    // One kernel's word is false, but not by more than it says.
    let dice = draw.dice("claims");
    if dice.one_in(3) {
        let node = dice.pick(&plan.servers());
        plan.clocks.insert(node, NodePlan { claim: Claim::Fixed { error_us: 2_000_000 }, ..NodePlan::default() });
    }
    plan
}

pub(super) fn clock_rejected(draw: &Draw) -> Plan {
    let mut plan = draw.base();
    let dice = draw.dice("rejected");
    clocks(draw, &mut plan, |dice| NodePlan { claim: honest(dice), ..NodePlan::default() });
    let nodes = if dice.one_in(2) { plan.servers() } else { vec![dice.pick(&plan.servers())] };
    for node in nodes {
        let by_us = dice.pick(&[-1, 1]) * i64::try_from(dice.between(6_000_000, 60_000_000)).unwrap_or(0);
        let at_ms = dice.between(1000, plan.safety_ms / 2);
        let back_ms = dice.between(at_ms + 500, plan.safety_ms - 500);
        for (at_ms, by_us) in [(at_ms, by_us), (back_ms, -by_us)] {
            let what = Nemesis::Clock { node: node.clone(), fault: ClockFault::Step { by_us } };
            plan.strikes.push(Strike { at_ms, for_ms: 0, what });
        }
    }
    plan
}

/// Midnight with a leap second in the middle of the safety phase, and tasks around it.
fn midnight(draw: &Draw, plan: &mut Plan, at_unix_ms: i64, sign: LeapSign) {
    let dice = draw.dice("midnight");
    let before = dice.between(10_000, plan.safety_ms / 2);
    plan.epoch_unix_ms = at_unix_ms - i64::try_from(before).unwrap_or(0);
    plan.leap = Some(TrueLeap { at_unix_ms, sign });
    let mut around = draw.workload(WorkloadKind::Around { at_unix_ms }, 30, before);
    around.until_ms = before.saturating_sub(5000).max(around.from_ms + 1);
    plan.workloads.push(around);
}

/// A clock around a leap second; a daemon sets it right some time after.
fn leaping(dice: &Dice, plan: &Plan, leap: LeapPlan) -> NodePlan {
    let first_ms = plan.safety_ms / 2 + dice.between(3000, 20_000);
    let daemon = Daemon { first_ms, interval_ms: 60_000, accuracy_us: 10_000, correct: Correct::Step };
    let offset_us = dice.either_way(20_000);
    NodePlan { offset_us, claim: honest(dice), daemon: Some(daemon), leap, ..NodePlan::default() }
}

pub(super) fn leap_insert(draw: &Draw) -> Plan {
    let mut plan = draw.base();
    midnight(draw, &mut plan, LEAP_MIDNIGHT, LeapSign::Insert);
    let fixed = plan.clone();
    clocks(draw, &mut plan, |dice| {
        let leap = if dice.one_in(3) { LeapPlan::Unannounced } else { LeapPlan::Step };
        leaping(dice, &fixed, leap)
    });
    plan
}

pub(super) fn leap_delete(draw: &Draw) -> Plan {
    let mut plan = draw.base();
    midnight(draw, &mut plan, ORDINARY, LeapSign::Delete);
    plan.knobs.leap_listed = draw.dice("list").one_in(2);
    let fixed = plan.clone();
    clocks(draw, &mut plan, |dice| leaping(dice, &fixed, LeapPlan::Step));
    plan
}

pub(super) fn leap_smear_mixed(draw: &Draw) -> Plan {
    let mut plan = draw.base();
    midnight(draw, &mut plan, LEAP_MIDNIGHT, LeapSign::Insert);
    let dice = draw.dice("fleet");
    if dice.one_in(3) {
        // Nothing is true of it: kernels were told of a second that there is not.
        plan.epoch_unix_ms += ORDINARY - LEAP_MIDNIGHT;
        plan.leap = None;
        for workload in &mut plan.workloads {
            if let WorkloadKind::Around { at_unix_ms } = &mut workload.kind {
                *at_unix_ms = ORDINARY;
            }
        }
    }
    let (fixed, is_true) = (plan.clone(), plan.leap.is_some());
    clocks(draw, &mut plan, |dice| {
        let told = |sign| LeapPlan::False(TrueLeap { at_unix_ms: ORDINARY, sign });
        let leap = match (is_true, dice.below(3)) {
            (true, 0) => LeapPlan::Smear,
            (true, 1) => LeapPlan::Unannounced,
            (_, 2) => LeapPlan::Step,
            (false, 0) => told(LeapSign::Insert),
            (false, _) => told(LeapSign::Delete),
            (true, _) => LeapPlan::Smear,
        };
        leaping(dice, &fixed, leap)
    });
    // Either all schedulers' hosts smear, and they are told so, or they pause.
    if is_true && dice.one_in(2) {
        plan.knobs.smear = true;
        for server in plan.servers() {
            plan.clocks.entry(server).or_default().leap = LeapPlan::Smear;
        }
    }
    plan
}

pub(super) fn leap_2012(draw: &Draw) -> Plan {
    let mut plan = draw.base();
    midnight(draw, &mut plan, LEAP_MIDNIGHT, LeapSign::Insert);
    let fixed = plan.clone();
    clocks(draw, &mut plan, |dice| {
        let early = LeapPlan::Early { by_ms: 1000, for_ms: dice.between(2000, 15_000) };
        let leap = if dice.one_in(3) { LeapPlan::Step } else { early };
        leaping(dice, &fixed, leap)
    });
    plan
}

pub(super) fn suspend_resume(draw: &Draw) -> Plan {
    let mut plan = draw.base();
    let fixed = plan.clone();
    clocks(draw, &mut plan, |dice| leaping(dice, &fixed, LeapPlan::Step));
    draw.strike(&mut plan, 3, |dice, plan| {
        let for_ms = dice.between(200, plan.safety_ms / 8);
        let fault = ClockFault::Suspend { for_ms, wall_goes_on: dice.one_in(2) };
        let mut nodes = plan.servers();
        nodes.extend(plan.workers());
        Nemesis::Clock { node: dice.pick(&nodes), fault }
    });
    plan
}

pub(super) fn restart_all(draw: &Draw) -> Plan {
    let mut plan = draw.base();
    draw.strike(&mut plan, 2, |dice, _| if dice.one_in(3) { Nemesis::RollingRestart } else { Nemesis::RestartAll });
    plan
}

/// The cluster goes on from a store that an earlier version left; all else comes after that.
pub(super) fn upgrade(draw: &Draw) -> Plan {
    let mut plan = draw.base();
    let dice = draw.dice("versions");
    plan.shape.servers = dice.u32(1, 3);
    draw.strike(&mut plan, 2, |dice, plan| match dice.below(4) {
        0 => Nemesis::RollingRestart,
        1 => Nemesis::KillAfterCommit { node: dice.pick(&plan.servers()) },
        _ => newer_format(dice),
    });
    if !dice.one_in(5) {
        plan.strikes.push(rolling_upgrade(&dice, &plan));
    }
    let name = draw.dice("earlier").pick(&Earlier::names().collect::<Vec<_>>());
    let before = &Earlier::named(name).expect("it is there by its name").header;
    plan.earlier = Some(name.to_owned());
    plan.epoch_unix_ms = before.epoch_unix_ms;
    plan.safety_ms += before.stopped_ms;
    plan.strikes.iter_mut().for_each(|strike| strike.at_ms += before.stopped_ms);
    for workload in &mut plan.workloads {
        workload.from_ms += before.stopped_ms;
        workload.until_ms += before.stopped_ms;
    }
    plan
}

/// A later version has had the store.
pub(super) fn newer_format(dice: &Dice) -> Nemesis {
    Nemesis::NewerFormat { newer: dice.pick(&[Newer::Keyspace, Newer::Record]) }
}

/// A later version comes, long enough for its servers to take over, and goes.
pub(super) fn rolling_upgrade(dice: &Dice, plan: &Plan) -> Strike {
    let for_ms = dice.between(plan.safety_ms / 2, plan.safety_ms * 4 / 5);
    let at_ms = dice.between(1000, (plan.safety_ms - for_ms).max(1000));
    Strike { at_ms, for_ms, what: Nemesis::Upgrade }
}

/// A zone's clock is set in the middle of the safety phase, and schedules were made long enough before.
pub(super) fn dst_shift(draw: &Draw) -> Plan {
    let mut plan = draw.base();
    let dice = draw.dice("shift");
    let shift = dice.pick(Shift::ALL);
    let before = dice.between(14_000, 18_000);
    plan.safety_ms = plan.safety_ms.max(before + 14_000);
    plan.epoch_unix_ms = shift.at_unix_ms() - i64::try_from(before).unwrap_or(0);
    plan.workloads.push(shifted(draw, shift, before));
    // Who makes the occurrences may be another before than after.
    if dice.one_in(2) {
        let (at_ms, for_ms) = (dice.between(before - 4000, before + 4000), dice.between(500, 6000));
        plan.strikes.push(Strike { at_ms, for_ms, what: Nemesis::Kill { node: dice.pick(&plan.servers()) } });
    }
    plan
}

/// Schedules that are there when a zone's clock is set, `before` milliseconds after the beginning.
pub(super) fn shifted(draw: &Draw, shift: Shift, before: u64) -> Workload {
    // What was made a moment before an instant need not be there in time.
    let until_ms = before.saturating_sub(9000).max(600);
    Workload { until_ms, ..draw.workload(WorkloadKind::Shift { shift }, 4, before) }
}

/// More is due than there are slots for, of all priorities, and nothing goes wrong.
pub(super) fn overload(draw: &Draw) -> Plan {
    let mut plan = draw.base();
    let dice = draw.dice("overload");
    plan.shape.workers = dice.u32(1, 2);
    plan.shape.slots = 5;
    plan.workloads.retain(|_| !dice.one_in(2));
    let slots = plan.shape.workers * plan.shape.slots;
    let tasks = slots * dice.u32(10, 20);
    plan.workloads.push(draw.workload(WorkloadKind::Overload, tasks, plan.safety_ms / 2));
    plan
}

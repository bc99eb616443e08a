//! Plans are data.

use escapement_sim::store::{Fault, FaultPlan, Knobs, Switch};

#[test]
fn a_printed_plan_reads_back_as_the_same_plan() {
    for seed in 0..50 {
        for plan in [FaultPlan::calm(seed), FaultPlan::everything(seed, 60_000), FaultPlan::swarm(seed, 60_000)] {
            assert_eq!(FaultPlan::from_json(&plan.to_string()).unwrap(), plan, "seed {seed}");
        }
    }
}

#[test]
fn every_fault_can_be_switched_by_itself() {
    let everything = FaultPlan::everything(7, 60_000);
    assert_eq!(everything.faults.len(), Fault::ALL.len());
    for fault in Fault::ALL {
        let mut plan = everything.clone();
        plan.faults.remove(fault);
        let text = plan.to_string();
        assert_eq!(FaultPlan::from_json(&text).unwrap().faults.len(), Fault::ALL.len() - 1);
        let alone = FaultPlan::calm(7).with(*fault, everything.faults[fault].clone());
        alone.check().unwrap();
    }
}

#[test]
fn swarms_differ_in_what_they_leave_out() {
    let plans: Vec<_> = (0..20).map(|seed| FaultPlan::swarm(seed, 60_000)).collect();
    for fault in Fault::ALL {
        let on = plans.iter().filter(|plan| plan.faults.contains_key(fault)).count();
        assert!((1..20).contains(&on), "{fault:?} is on in {on} of 20");
    }
}

#[test]
fn a_plan_that_cannot_be_followed_names_what_is_wrong() {
    let refuse = |plan: FaultPlan| plan.check().expect_err("refused").to_string();
    let calm = || FaultPlan::calm(1);
    let window = FaultPlan { knobs: Knobs { window_ms: 99, ..Knobs::default() }, ..calm() };
    assert_eq!(refuse(window), "knobs.window_ms: 99; it has to be 100 to 10,000");
    let batch = FaultPlan { knobs: Knobs { batch_ms: (5, 4), ..Knobs::default() }, ..calm() };
    assert_eq!(refuse(batch), "knobs.batch_ms: (5, 4); it has to be a range up to 1000");
    let chance = calm().with(Fault::TooOld, Switch::chance(1_000_001));
    assert_eq!(refuse(chance), "faults.TooOld.chance_ppm: 1000001; it has to be at most 1,000,000");
    let hold = calm().with(Fault::SlowRead, Switch::chance(1).hold(9, 8));
    assert_eq!(refuse(hold), "faults.SlowRead.hold_ms: (9, 8); it has to be a range up to a day");
    let endless = calm().with(Fault::Locked, Switch::chance(1));
    assert!(refuse(endless).contains("faults.Locked.during"), "a lock that never ends");
    let overlap = calm().with(Fault::Recovery, Switch::during([(1, 9), (5, 12)]));
    assert!(refuse(overlap).contains("one after the other"));
    let unknown = FaultPlan::from_json("{\"seed\": 1, \"faults\": {\"rain\": {\"chance_ppm\": 1}}}");
    assert!(unknown.unwrap_err().to_string().contains("unknown variant `rain`"));
}

//! Scenarios: from a name and a seed to a plan. A scenario says what a run is about; the seed
//! says how much of it, when and where. Each part of a plan is drawn from a generator of its
//! own, so that a change of one part leaves the others as they were.

mod draw;
mod faults;
mod swarm;

use self::draw::Draw;
use crate::plan::Plan;

/// A scenario.
#[derive(Clone, Copy, Debug)]
pub struct Scenario {
    /// Its name.
    pub name: &'static str,
    /// What it is about, for people.
    pub about: &'static str,
    make: fn(&Draw) -> Plan,
}

/// All of them. Names are for ever: files of failures tell them.
pub const SCENARIOS: &[Scenario] = &[
    Scenario { name: "calm", about: "nothing goes wrong", make: faults::calm },
    Scenario {
        name: "partition-halves",
        about: "the network parts in halves, at a bridge, by region, or in a ring",
        make: faults::partition_halves,
    },
    Scenario {
        name: "partition-one-way",
        about: "messages get through one way only; nodes are clogged or cut off",
        make: faults::partition_one_way,
    },
    Scenario {
        name: "scheduler-killed-after-commit",
        about: "a scheduler dies when the store has applied its commit and it does not know yet",
        make: faults::scheduler_killed_after_commit,
    },
    Scenario { name: "worker-stopped", about: "workers are killed and stopped", make: faults::worker_stopped },
    Scenario {
        name: "worker-late",
        about: "a worker reports what it did after its lease has run out",
        make: faults::worker_late,
    },
    Scenario {
        name: "stream-breaks",
        about: "streams of workers break and lose what was said last, or say things twice",
        make: faults::stream_breaks,
    },
    Scenario {
        name: "store-recovery",
        about: "the database recovers, and its node dies",
        make: faults::store_recovery,
    },
    Scenario {
        name: "unknown-commits",
        about: "clients of the store do not learn what became of their commits",
        make: faults::unknown_commits,
    },
    Scenario {
        name: "zombie-commit",
        about: "commits land long after their clients gave up, were told 1039, or died",
        make: faults::zombie_commit,
    },
    Scenario { name: "skew-drift", about: "clocks differ and drift", make: faults::skew_drift },
    Scenario { name: "skew-step", about: "clocks are set, both ways", make: faults::skew_step },
    Scenario {
        name: "clock-rejected",
        about: "a scheduler's clock is too far off to act by, and comes back",
        make: faults::clock_rejected,
    },
    Scenario { name: "leap-insert", about: "a second is inserted", make: faults::leap_insert },
    Scenario { name: "leap-delete", about: "a second is left out", make: faults::leap_delete },
    Scenario {
        name: "leap-smear-mixed",
        about: "a part of the fleet smears a leap second, a part was told falsely or not at all",
        make: faults::leap_smear_mixed,
    },
    Scenario { name: "leap-2012", about: "timers fire early after a leap second", make: faults::leap_2012 },
    Scenario { name: "suspend-resume", about: "machines are suspended", make: faults::suspend_resume },
    Scenario { name: "restart-all", about: "every process dies at once", make: faults::restart_all },
    Scenario {
        name: "upgrade",
        about: "today's program goes on from a store of an earlier version; later ones come and go",
        make: faults::upgrade,
    },
    Scenario {
        name: "dst-shift",
        about: "a zone's clock is set while its schedules run, and their scheduler may die",
        make: faults::dst_shift,
    },
    Scenario {
        name: "overload",
        about: "more is due than there are slots, and nothing goes wrong",
        make: faults::overload,
    },
    Scenario { name: "swarm", about: "some of everything, a different part for each seed", make: swarm::swarm },
];

/// The plan of this seed in this scenario; `None` when there is no such scenario.
pub fn plan(name: &str, seed: u64) -> Option<Plan> {
    let scenario = SCENARIOS.iter().find(|scenario| scenario.name == name)?;
    let plan = (scenario.make)(&Draw::new(scenario.name, seed));
    plan.check().expect("scenarios make plans that can be followed");
    Some(plan)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_is_one_line_that_reads_back_and_the_same_each_time() {
        for scenario in SCENARIOS {
            for seed in 1..20 {
                let plan = plan(scenario.name, seed).unwrap();
                let text = plan.to_string();
                assert_eq!(text.lines().count(), 1);
                assert_eq!(Plan::from_json(&text).unwrap(), plan);
                assert_eq!(super::plan(scenario.name, seed).unwrap(), plan);
            }
        }
    }

    #[test]
    fn an_edited_plan_is_checked() {
        let mut plan = plan("restart-all", 1).unwrap();
        plan.shape.workers = 0;
        let error = Plan::from_json(&plan.to_string()).unwrap_err().to_string();
        assert_eq!(error, "shape.workers is 0; it has to be 1 to 20");
    }
}

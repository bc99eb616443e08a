//! `shrink`: delta debugging of a plan (Zeller and Hildebrandt, 2002). A plan is a list of
//! parts that can be left out: strikes, items of work, clocks, faults of the store. What is
//! left out first is much, then less; then what remains is made smaller and rounder.

use std::{fs, path::PathBuf};

use escapement_chaos::plan::Plan;

use super::{
    child::{self, spawn},
    exit,
};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    which: child::Which,
    /// Where the small plan is written; `chaos-SCENARIO-SEED.json` unless set.
    #[arg(long)]
    out: Option<PathBuf>,
    /// Runs that it may take.
    #[arg(long, default_value_t = 500)]
    runs: u32,
}

/// A part of a plan that can be left out.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Strike(usize),
    /// Workload, item.
    Item(usize, u32),
    Clock(String),
    StoreFault(escapement_sim::store::Fault),
}

struct Shrinker {
    /// What the plan fails by.
    kind: String,
    file: PathBuf,
    runs_left: u32,
}

pub(super) fn main(args: &Args) -> super::Outcome {
    let plan = args.which.plan()?;
    let name = format!("chaos-{}-{}.json", plan.scenario, plan.seed);
    let out = args.out.clone().unwrap_or_else(|| PathBuf::from(name));
    let mut shrinker = Shrinker { kind: String::new(), file: out.with_extension("trial"), runs_left: args.runs };
    shrinker.kind = shrinker.fails_by(&plan)?;
    if shrinker.kind == "green" {
        return Err("the run is green: there is nothing to shrink".to_owned());
    }
    eprintln!("fails by {}; {} events", shrinker.kind, plan.events());
    let small = shrinker.shrink(plan)?;
    fs::write(&out, format!("{small}\n")).map_err(|error| format!("cannot write {}: {error}", out.display()))?;
    // Nothing but the trial is there.
    let _ = fs::remove_file(&shrinker.file);
    println!("{small}");
    let (file, kind, events) = (out.display(), &shrinker.kind, small.events());
    println!("fails by {kind} with {events} events; again: cargo chaos replay --plan {file}");
    Ok(exit::GREEN)
}

impl Shrinker {
    fn fails_by(&mut self, plan: &Plan) -> Result<String, String> {
        self.runs_left = self.runs_left.saturating_sub(1);
        fs::write(&self.file, plan.to_string()).map_err(|error| error.to_string())?;
        let args = ["--plan".to_owned(), self.file.display().to_string()];
        Ok(spawn(&args, &plan.scenario, plan.seed).kind())
    }

    fn still_fails(&mut self, plan: &Plan) -> Result<bool, String> {
        Ok(self.runs_left > 0 && plan.check().is_ok() && self.fails_by(plan)? == self.kind)
    }

    fn shrink(&mut self, plan: Plan) -> Result<Plan, String> {
        let mut plan = plan;
        loop {
            let before = plan.clone();
            plan = self.leave_out(plan)?;
            plan = self.simplify(plan)?;
            if plan == before || self.runs_left == 0 {
                return Ok(plan);
            }
        }
    }

    /// Leaves out as many parts as can be: halves, quarters, and so on to single ones.
    fn leave_out(&mut self, plan: Plan) -> Result<Plan, String> {
        let all = parts(&plan);
        let mut kept = all;
        let mut size = kept.len().div_ceil(2);
        while size > 0 {
            let mut at = 0;
            while at < kept.len() {
                let mut fewer = kept.clone();
                fewer.drain(at..(at + size).min(kept.len()));
                if self.still_fails(&only(&plan, &fewer))? {
                    kept = fewer;
                    eprintln!("{} parts, {} runs left", kept.len(), self.runs_left);
                } else {
                    at += size;
                }
            }
            size = if size == 1 { 0 } else { size.div_ceil(2) };
        }
        Ok(only(&plan, &kept))
    }

    /// Fewer nodes, a shorter run, rounder numbers.
    fn simplify(&mut self, plan: Plan) -> Result<Plan, String> {
        let mut plan = plan;
        let rounder = |ms: u64| if ms >= 2000 { ms / 1000 * 1000 } else { ms };
        let changes: [fn(&mut Plan); 10] = [
            |plan| plan.shape.servers -= 1,
            |plan| plan.shape.workers -= 1,
            |plan| plan.shape.clients -= 1,
            |plan| plan.shape.late = 0,
            |plan| plan.safety_ms = plan.safety_ms / 2 / 1000 * 1000,
            |plan| plan.safety_ms = plan.safety_ms / 1000 * 1000,
            |plan| plan.knobs = escapement_chaos::plan::Knobs { smear: plan.knobs.smear, ..Default::default() },
            |plan| plan.store.knobs = escapement_sim::store::Knobs::default(),
            |plan| plan.knobs.shards = 1,
            |plan| plan.strikes.iter_mut().for_each(|strike| strike.for_ms /= 2),
        ];
        for change in changes {
            let mut smaller = plan.clone();
            change(&mut smaller);
            if smaller != plan && self.still_fails(&smaller)? {
                plan = smaller;
            }
        }
        for n in 0..plan.strikes.len() {
            let mut round = plan.clone();
            let strike = &mut round.strikes[n];
            (strike.at_ms, strike.for_ms) = (rounder(strike.at_ms), rounder(strike.for_ms));
            if round != plan && self.still_fails(&round)? {
                plan = round;
            }
        }
        Ok(plan)
    }
}

fn parts(plan: &Plan) -> Vec<Part> {
    let strikes = (0..plan.strikes.len()).map(Part::Strike);
    let items = plan.workloads.iter().enumerate();
    let items = items.flat_map(|(n, workload)| workload.items().into_iter().map(move |item| Part::Item(n, item)));
    let clocks = plan.clocks.keys().cloned().map(Part::Clock);
    let faults = plan.store.faults.keys().copied().map(Part::StoreFault);
    strikes.chain(clocks).chain(faults).chain(items).collect()
}

/// The plan with these parts only.
fn only(plan: &Plan, parts: &[Part]) -> Plan {
    let mut small = plan.clone();
    let has = |part: &Part| parts.contains(part);
    let mut number = 0..;
    small.strikes.retain(|_| number.next().is_some_and(|n| has(&Part::Strike(n))));
    small.clocks.retain(|name, _| has(&Part::Clock(name.clone())));
    small.store.faults.retain(|fault, _| has(&Part::StoreFault(*fault)));
    for (n, workload) in small.workloads.iter_mut().enumerate() {
        workload.only = Some(workload.items().into_iter().filter(|item| has(&Part::Item(n, *item))).collect());
    }
    small.workloads.retain(|workload| !workload.items().is_empty());
    small
}

#[cfg(test)]
mod tests {
    use escapement_chaos::scenario;

    use super::*;

    #[test]
    fn a_plan_is_the_sum_of_its_parts() {
        let plan = scenario::plan("swarm", 3).unwrap();
        let all = parts(&plan);
        assert_eq!(all.len(), plan.events());
        let same = only(&plan, &all);
        assert_eq!((same.events(), &same.strikes, &same.clocks), (plan.events(), &plan.strikes, &plan.clocks));
        let half = only(&plan, &all[..all.len() / 2]);
        assert_eq!(parts(&half).len(), all.len() / 2);
    }
}

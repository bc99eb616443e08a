//! Does what a [`Plan`] says, in the simulator, and judges what came of it.
//!
//! A run has a safety phase, in which faults strike, and a liveness phase: everything heals,
//! and what is due has to drain. What happened is told by outsiders: a log in true time, the
//! store's log of commits, a sink that checks fencing tokens, and a scan of all rows. The
//! checkers see only the history that is made of these.
//!
//! One process must run one plan only: what lies beneath draws from counters of the process.

mod clients;
mod ending;
mod handlers;
mod late;
mod later;
mod log;
mod logs;
mod network;
mod relay;
mod rows;
mod streams;
mod strikes;
mod tally;
mod versions;
mod world;

use std::{
    collections::BTreeMap,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Duration,
};

use escapement_sim::{clock::LeapSign, simulate};
use madsim::time::TimeHandle;

pub use self::logs::{Logs, capture_logs};
pub use self::tally::{fault_names, rarity_names};
use self::{log::Log, strikes::until, world::World};
use crate::{
    checkers::{self, Report, Violation},
    earlier::Earlier,
    history::{Event, Header, History, Leap, Sees, TimeScale, What},
    plan::Plan,
    workload::DEAD_QUEUE,
};

/// What came of a run.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// What happened.
    pub history: History,
    /// What the checkers found.
    pub report: Report,
    /// How often each fault took effect, by name; those of the store and of clocks, too.
    pub faults: BTreeMap<String, u64>,
    /// How often each rare thing happened.
    pub rarities: BTreeMap<String, u64>,
    /// The history as text: true time, node, the node's own time, event.
    pub trace: String,
    /// True time from beginning to end.
    pub simulated: Duration,
    /// The panic that ended it, if one did.
    pub panic: Option<String>,
}

impl Outcome {
    /// Everything held.
    pub fn is_green(&self) -> bool {
        self.panic.is_none() && self.report.violations.is_empty()
    }
}

/// What is known when a simulation ends.
#[derive(Debug, Default)]
struct Ended {
    answered: bool,
    faults: BTreeMap<String, u64>,
    rarities: BTreeMap<String, u64>,
    broken_promises: Vec<String>,
    /// Commits to a store whose format is newer than the program's.
    touched: Vec<String>,
    simulated: Duration,
}

/// Runs a plan and judges it.
///
/// # Panics
/// When the plan cannot be followed: see [`Plan::check`].
pub fn run_plan(plan: &Plan) -> Outcome {
    plan.check().expect("a plan that can be followed");
    let log = Log::default();
    let (kept, running) = (log.clone(), plan.clone());
    let ended = catch_unwind(AssertUnwindSafe(|| simulate(plan.seed, run(running, kept))));
    let panic = ended.as_ref().err().map(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic without a text").to_owned()
    });
    judge(plan, &log, ended.unwrap_or_default(), panic)
}

async fn run(plan: Plan, log: Log) -> Ended {
    let world = World::set_up(plan, log);
    if world.plan.is_calm() {
        // Nothing is ever excused.
        world.note("", What::Healed);
    }
    world.go_on().await;
    for node in world.plan.nodes() {
        world.start(&node);
    }
    let errands = world.send_errands();
    let strikes = madsim::task::spawn(Arc::clone(&world).strike());
    until(world.plan.safety_ms).await;
    strikes.abort();
    world.heal();
    for errand in errands {
        errand.await.expect("an errand ends");
    }
    let drained = TimeHandle::current().elapsed().max(Duration::from_millis(world.plan.safety_ms));
    // Longer than may be, so that what is too slow is seen to be too slow.
    let until = drained + 2 * Duration::from_millis(world.plan.drain_ms_max());
    let answered = world.end(until).await;
    world.read_store();
    let (faults, rarities) = world.tally();
    for (kind, count) in &rarities {
        world.note("", What::Rarity { kind: kind.clone(), count: *count });
    }
    let broken_promises = world.store.log().broken_promises();
    let (touched, simulated) = (world.touched(), TimeHandle::current().elapsed());
    Ended { answered, faults, rarities, broken_promises, touched, simulated }
}

/// Runs a plan for so long, stops every process at once, and gives what is left: the store, and what
/// had happened. That is how the fixtures of [`Earlier`] are made.
///
/// # Panics
/// When the plan cannot be followed: see [`Plan::check`].
pub fn stop_plan(plan: &Plan, stopped_ms: u64) -> Earlier {
    plan.check().expect("a plan that can be followed");
    let (log, running) = (Log::default(), plan.clone());
    let kept = log.clone();
    let rows = simulate(plan.seed, async move {
        let world = World::set_up(running, kept);
        for node in world.plan.nodes() {
            world.start(&node);
        }
        let _errands = world.send_errands();
        until(stopped_ms).await;
        world.stop();
        world.read_commits();
        world.store.rows()
    });
    let mut events: Vec<Event> = log.entries().into_iter().map(|entry| entry.event).collect();
    let mut number = 0;
    for event in &mut events {
        if let What::Commit { version, batch_index, .. } = &mut event.what {
            // Before all that a store made anew will ever give.
            (*version, *batch_index) = (0, number);
            number += 1;
        }
    }
    Earlier::of_today(plan, stopped_ms, rows, events)
}

fn judge(plan: &Plan, log: &Log, ended: Ended, panic: Option<String>) -> Outcome {
    let entries = log.entries();
    let trace = log::trace(&entries);
    let events = entries.into_iter().map(|entry| entry.event).collect();
    let complete = panic.is_none();
    let history = History::new(header(plan, complete && ended.answered, complete), events);
    let mut report = checkers::check(&history);
    let mut add = |invariant, subject: &str, what: String| {
        let (at, subject) = (history.end(), subject.to_owned());
        report.violations.push(Violation { invariant, subject, at, what });
    };
    if complete && !ended.answered {
        add("L1", "cluster", "everything has healed, and the API does not answer".to_owned());
    }
    for promise in ended.broken_promises {
        add("STORE", "simulated store", promise);
    }
    for what in ended.touched {
        add("FORMAT", "store of a newer format", what);
    }
    let Ended { faults, mut rarities, simulated, .. } = ended;
    tally::add_shown(&history, &mut rarities);
    Outcome { history, report, faults, rarities, trace, simulated, panic }
}

fn header(plan: &Plan, tasks: bool, rows: bool) -> Header {
    let sign = |sign| if sign == LeapSign::Insert { 1 } else { -1 };
    let leaps = plan.leap.iter().map(|leap| Leap { unix_s: leap.at_unix_ms / 1000, sign: sign(leap.sign) });
    Header {
        format: 1,
        seed: plan.seed,
        scenario: plan.scenario.clone(),
        scale: TimeScale { epoch_unix_ms: plan.epoch_unix_ms, leaps: leaps.collect(), smeared: plan.knobs.smear },
        sees: Sees { commits: rows, rows, tasks, handlers: true },
        early_ns_max: plan.early_ns_max(),
        rates_in_bounds: plan.rates_in_bounds(),
        session_lease_ms: plan.knobs.session_lease_ms,
        drain_ms_max: plan.drain_ms_max(),
        fire_ms_max: plan.fire_ms_max(),
        dead_queues: vec![DEAD_QUEUE.to_owned(), "poison".to_owned()],
    }
}

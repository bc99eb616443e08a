//! The store's contract on the simulated FoundationDB: the cases, the random programs and the
//! random histories of `src/tests/conformance/suite`, by a client that asks through the
//! simulated network. Each runs in a process of its own, so that its seed gives it again.

#![cfg(madsim)]
#![allow(
    clippy::cast_possible_truncation,
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "tests: a failed step is a failed test"
)]

#[path = "../../src/tests/conformance/suite/mod.rs"]
mod suite;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use escapement::{
    clock::SharedClock,
    edge::SystemClock,
    rng::Rng,
    store::{Database, MemoryEngine, limits::KEY_BYTES_MAX},
};
use escapement_sim::{
    seeds::Seeds,
    simulate,
    store::{Effect, Fault, FaultPlan, Knobs, SimStore},
};
use madsim::{net::NetSim, runtime::Handle};
use suite::{
    Setup,
    cases::for_each_case,
    differential::{compare, generate, run},
    serializability::{Options, Report, verify},
};

const STORE: &str = "10.0.9.1:7251";
const WATCHES_MAX: usize = 64;
/// Random programs for each seed.
const PROGRAMS: u64 = 300;
const CLIENTS: u64 = 12;
const TRIES: u64 = 150;
const LATENCY_MAX: Duration = Duration::from_millis(2);
/// Longer than anything is held up by the faults of histories.
const RUN_MS: u64 = 20_000;

/// A test for each case, in a module for each of the suite's.
macro_rules! instantiate {
    ($($module:ident { $($case:ident,)* })*) => {
        $(mod $module {
            $(
                #[test]
                fn $case() {
                    super::run_case(concat!(stringify!($module), "::", stringify!($case)), stringify!($case));
                }
            )*
        })*
    };
}
for_each_case!(instantiate);

fn run_case(test: &'static str, name: &'static str) {
    Seeds::new(test, 1).each(|seed| {
        on_a_client(seed, calm(seed), async move |setup, _| {
            suite::cases::named(name)(&setup).await;
            setup.wipe().await;
            String::new()
        })
    });
}

#[test]
fn random_programs_give_the_same_as_the_store_in_memory() {
    let test = "random_programs_give_the_same_as_the_store_in_memory";
    Seeds::new(test, 2).each(|seed| {
        on_a_client(seed, calm(seed), async move |setup, _| {
            let memory = memory(&setup.clock);
            let first = seed * PROGRAMS;
            let one = (&memory, &setup.space);
            let same = compare(one, (&setup.db, &setup.space), first..first + PROGRAMS).await;
            same.unwrap_or_else(|difference| panic!("memory and the simulated store differ\n{difference}"));
            // They did something: the first program alone gives more than a few lines.
            run(&setup.db, &"again/".into(), &generate(first)).await.join("\n")
        })
    });
}

#[test]
fn concurrent_transactions_are_strictly_serializable_in_the_order_of_their_stamps() {
    let test = "concurrent_transactions_are_strictly_serializable_in_the_order_of_their_stamps";
    let Some(reports) = Seeds::new(test, 3).each(|seed| history(seed, calm(seed))) else { return };
    for (seed, report) in reports {
        let numbers = numbers(&report);
        assert!(numbers[0] > 300 && numbers[1] > 30, "seed {seed}: enough to be checked: {report}");
        assert!(numbers[2] > 0, "seed {seed}: commits shared versions: {report}");
    }
}

#[test]
fn they_are_so_under_faults_too() {
    let Some(reports) = Seeds::new("they_are_so_under_faults_too", 6).each(|seed| history(seed, troubled(seed))) else {
        return;
    };
    let sums = reports
        .iter()
        .map(|(_, report)| numbers(report))
        .fold([0; 5], |sums, numbers| std::array::from_fn(|place| sums[place] + numbers[place]));
    let [committed, _, _, unknown, unknown_committed] = sums;
    assert!(committed > 500, "work goes on: {reports:?}");
    assert!(0 < unknown_committed && unknown_committed < unknown, "both came of unknown results: {reports:?}");
}

/// Committed, read-only, versions shared, unknown, unknown but committed.
fn numbers(report: &str) -> [usize; 5] {
    let numbers: Vec<_> = report.split(' ').map(|number| number.parse().unwrap()).collect();
    numbers.try_into().unwrap()
}

fn history(seed: u64, plan: FaultPlan) -> String {
    on_a_client(seed, plan, async move |setup, store| {
        let options = Options { seed, clients: CLIENTS, tries: TRIES };
        let report = verify(&setup.db, &setup.space, options).await.unwrap_or_else(|violation| panic!("{violation}"));
        assert_eq!(store.log().broken_promises(), Vec::<String>::new());
        assert_eq!(report.shared_versions > 0, store.effects()[&Effect::SharedBatch] > 0, "the log agrees: {report}");
        let Report { committed, read_only, shared_versions, unknown, unknown_committed, .. } = report;
        format!("{committed} {read_only} {shared_versions} {unknown} {unknown_committed}")
    })
}

fn calm(seed: u64) -> FaultPlan {
    let knobs = Knobs { watches_max: WATCHES_MAX, ..Knobs::default() };
    FaultPlan { knobs, ..FaultPlan::calm(seed) }
}

/// All faults but those after which a commit may land when the history is already read.
fn troubled(seed: u64) -> FaultPlan {
    let mut plan = FaultPlan::everything(seed, RUN_MS);
    let late = [Fault::VersionChangedLate, Fault::StalledCommit, Fault::AnswerLostApplied, Fault::AnswerLostNotApplied];
    plan.faults.retain(|fault, _| !late.contains(fault));
    plan
}

fn memory(clock: &SharedClock) -> Database {
    Database::over(Arc::new(MemoryEngine::new(Arc::clone(clock))), Arc::clone(clock), Rng::from_entropy())
}

/// Runs `work` on a node that uses the store of another.
fn on_a_client<F>(seed: u64, plan: FaultPlan, work: impl FnOnce(Setup, SimStore) -> F + Send + 'static) -> String
where
    F: Future<Output = String> + 'static,
{
    let address: SocketAddr = STORE.parse().unwrap();
    simulate(seed, async move {
        // A datacentre's latency: one case reads hundreds of pages within a version's life.
        NetSim::current().update_config(|config| config.send_latency = Duration::from_millis(1)..LATENCY_MAX);
        let (watches_max, store) = (plan.knobs.watches_max, SimStore::new(plan).unwrap());
        let server = store.clone();
        let node = Handle::current().create_node().name("store").ip("10.0.9.1".parse().unwrap()).build();
        node.spawn(async move { server.serve(address).await });
        let client = Handle::current().create_node().name("client").ip("10.0.1.1".parse().unwrap()).build();
        let done = client.spawn(async move {
            let clock: SharedClock = Arc::new(SystemClock::new());
            let db = store.database("client", address);
            let setup = Setup { db, clock, space: "conformance/".into(), key_bytes_max: KEY_BYTES_MAX, watches_max };
            // The cases' futures stay on their thread.
            madsim::task::spawn_local(work(setup, store)).await.unwrap()
        });
        done.await.unwrap()
    })
}

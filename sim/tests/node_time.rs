//! A server whose clock is wrong in one way or another: what it fires when, in true time. One process
//! for each scenario: the tests run themselves as children.

#![cfg(madsim)]
#![allow(
    clippy::cast_possible_truncation,
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test: a failed step is a failed test"
)]

use std::{collections::BTreeMap, fmt::Write as _, process::Command, time::Duration};

use escapement::{client::NewTask, scheduler::SchedulerOptions};
use escapement_engine::{Timestamp, leap::Mode};
use escapement_sim::{
    Event, Trace, WorldOptions,
    clock::{
        Claim, ClockEvent, ClockFault, ClockPlan, Correct, Daemon, LeapPlan, LeapSign, NodePlan, Timeline, TrueLeap,
    },
    queue, run_with_clocks,
    store::FaultPlan,
};

/// 2017-01-01T00:00:00Z: 23:59:60 was before it.
const MIDNIGHT: i64 = 1_483_228_800_000;
/// 2026-11-25T00:00:00Z: nothing was before it.
const ORDINARY: i64 = 1_795_564_800_000;
/// The runs begin this long before midnight.
const BEFORE_MS: i64 = 20_000;
/// Set for the child that runs one scenario.
const SCENARIO: &str = "ESCAPEMENT_SIM_SCENARIO";
const SEED: u64 = 11;

/// From the decision to fire until the handler begins: read version, reads and commit are a round trip of up to 20 ms
/// each, the assignment goes one way, and timers tick in milliseconds.
const ON_THE_WAY: Duration = Duration::from_millis(80);

#[derive(Clone, Copy, Debug)]
struct Scenario {
    name: &'static str,
    midnight: i64,
    truth: Option<LeapSign>,
    mode: Mode,
    leap: LeapPlan,
    /// Starts may be this much before their due instants in true time, in milliseconds.
    early_max: u64,
    /// And this much after.
    late_max: u64,
}

const fn told(sign: LeapSign) -> LeapPlan {
    LeapPlan::False(TrueLeap { at_unix_ms: ORDINARY, sign })
}

const INSERTED: Scenario = Scenario {
    name: "step",
    midnight: MIDNIGHT,
    truth: Some(LeapSign::Insert),
    mode: Mode::Pause,
    leap: LeapPlan::Step,
    early_max: 0,
    late_max: 0,
};
const FALSE: Scenario = Scenario { midnight: ORDINARY, truth: None, late_max: 1_010, ..INSERTED };

const SCENARIOS: [Scenario; 7] = [
    INSERTED,
    Scenario { name: "smear", mode: Mode::Smear, leap: LeapPlan::Smear, early_max: 500, late_max: 500, ..INSERTED },
    // Believed to be a second fast, which it is, until its daemon has set it right.
    Scenario { name: "unannounced", leap: LeapPlan::Unannounced, late_max: 10, ..INSERTED },
    Scenario { name: "2012", leap: LeapPlan::Early { by_ms: 1000, for_ms: 60_000 }, ..INSERTED },
    // A smeared host in a server that was not told: half a second fast at the leap second, and held back by one.
    Scenario { name: "smear-untold", leap: LeapPlan::Smear, late_max: 1_000, ..INSERTED },
    Scenario { name: "false-insert", leap: told(LeapSign::Insert), ..FALSE },
    Scenario { name: "false-delete", leap: told(LeapSign::Delete), ..FALSE },
];

impl Scenario {
    fn named(name: &str) -> Self {
        *SCENARIOS.iter().find(|scenario| scenario.name == name).unwrap()
    }

    fn plan(&self) -> ClockPlan {
        // Sets the clock right 25 s after the leap second.
        let daemon = Daemon { first_ms: 45_000, interval_ms: 60_000, accuracy_us: 10_000, correct: Correct::Step };
        let node = NodePlan {
            leap: self.leap,
            daemon: Some(daemon),
            claim: Claim::Honest { slack_us: 0 },
            ..NodePlan::default()
        };
        let nodes = ["server", "worker-1"].map(|name| (name.to_owned(), node.clone())).into();
        let leap = self.truth.map(|sign| TrueLeap { at_unix_ms: self.midnight, sign });
        ClockPlan { epoch_unix_ms: self.midnight - BEFORE_MS, leap, nodes }
    }

    /// Around midnight, and long after the clock was set right.
    fn dues(&self) -> Vec<Timestamp> {
        let offsets = [-2000, -1500, -1000, -500, -1, 0, 1, 500, 1000, 1500, 2000, 10_000, 40_000];
        offsets.iter().map(|ms| Timestamp::from_unix_ms(self.midnight + ms)).collect()
    }
}

fn options(mode: Mode) -> WorldOptions {
    WorldOptions {
        scheduler: SchedulerOptions { leap_mode: mode, ..SchedulerOptions::default() },
        concurrency: 40,
        handler: Duration::from_millis(1),
        store: FaultPlan::calm(SEED),
    }
}

fn run(scenario: Scenario) -> Trace {
    run_with_clocks(SEED, options(scenario.mode), Some(scenario.plan()), |world| async move {
        let _server = world.start_server();
        let _worker = world.start_worker("worker-1", "10.0.1.1");
        let submit = move |client: escapement::client::Client, _| async move {
            for due in scenario.dues() {
                client.submit(NewTask::new(queue()).due_at(due)).await.unwrap();
            }
        };
        world.with_client(submit).await;
        madsim::time::sleep(Duration::from_secs(75)).await;
    })
}

/// What started when: due instant, true time, the worker's own clock.
fn starts(trace: &Trace) -> BTreeMap<Timestamp, Vec<(Duration, Timestamp)>> {
    let mut starts: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for (elapsed, event) in trace.events() {
        if let Event::Started { due, at, .. } = event {
            starts.entry(due).or_default().push((elapsed, at));
        }
    }
    starts
}

/// To a tenth of a second, so that the few milliseconds on the way do not show.
fn tenths(time: &str) -> &str {
    &time[..10]
}

fn clock_time(at: Timestamp) -> String {
    at.to_string()[11..].to_owned()
}

/// Checks one run; tells what it did, a line for each task.
fn told_run(scenario: Scenario) -> String {
    let truth = Timeline::of(&scenario.plan());
    let starts = starts(&run(scenario));
    let mut text = String::new();
    for due in scenario.dues() {
        let runs = starts.get(&due).map_or(&[][..], Vec::as_slice);
        assert_eq!(runs.len(), 1, "{}: due {due}, nothing is lost or runs twice", scenario.name);
        let (elapsed, own) = runs[0];
        let right = truth.elapsed_at(due);
        let (early, late) = (Duration::from_millis(scenario.early_max), Duration::from_millis(scenario.late_max));
        assert!(elapsed + early >= right, "{}: due {due} at {right:?}, started at {elapsed:?}", scenario.name);
        // What became due during the inserted second waits for its end.
        let held = if scenario.truth.is_some() && scenario.mode == Mode::Pause { 10 } else { 0 };
        let late = late + ON_THE_WAY + Duration::from_millis(held);
        assert!(elapsed <= right + late, "{}: due {due} at {right:?}, started at {elapsed:?}", scenario.name);
        let (true_time, own) = (truth.label(elapsed), clock_time(own));
        writeln!(text, "{}  {}  {}", tenths(&clock_time(due)), tenths(&true_time), tenths(&own)).unwrap();
    }
    text
}

/// Runs a scenario in a process of its own; gives what it printed between two marks.
fn child(test: &str, scenario: &str) -> String {
    let output = Command::new(std::env::current_exe().unwrap())
        .args([test, "--exact", "--nocapture", "--test-threads=1"])
        .env(SCENARIO, scenario)
        .output()
        .unwrap();
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "scenario {scenario}, seed {SEED}:\n{stdout}\n{stderr}");
    let printed = stdout.split("<<<\n").nth(1).and_then(|rest| rest.split(">>>").next());
    printed.expect("the child prints what it found").to_owned()
}

fn print(text: &str) {
    println!("<<<\n{text}>>>");
}

#[test]
fn a_leap_second_on_three_nodes_with_different_clocks() {
    const NAME: &str = "a_leap_second_on_three_nodes_with_different_clocks";
    if let Ok(scenario) = std::env::var(SCENARIO) {
        return print(&told_run(Scenario::named(&scenario)));
    }
    let mut text = String::new();
    for (name, what) in [
        ("step", "told of the leap second; steps back at its end; `pause`"),
        ("smear", "smeared from noon to noon; `smear`"),
        ("unannounced", "told nothing, set right by its daemon 25 s later; `pause`"),
    ] {
        writeln!(text, "clock: {what}\ndue         started     the node's own clock").unwrap();
        writeln!(text, "{}", child(NAME, name)).unwrap();
    }
    insta::assert_snapshot!(text);
}

#[test]
fn no_leap_second_true_or_false_loses_repeats_or_hastens_a_task() {
    const NAME: &str = "no_leap_second_true_or_false_loses_repeats_or_hastens_a_task";
    if let Ok(scenario) = std::env::var(SCENARIO) {
        return print(&told_run(Scenario::named(&scenario)));
    }
    for scenario in SCENARIOS {
        let text = child(NAME, scenario.name);
        assert_eq!(text.lines().count(), scenario.dues().len(), "{text}");
    }
}

/// The clock is unsure by 6 s from second 10 to second 30; a task is due at 15, another is
/// submitted at 20. By the hysteresis nothing may happen before 40.
#[test]
fn a_rejected_node_stops_and_comes_back_by_itself_with_hysteresis() {
    const NAME: &str = "a_rejected_node_stops_and_comes_back_by_itself_with_hysteresis";
    if std::env::var(SCENARIO).is_err() {
        child(NAME, "rejected");
        return;
    }
    let claim = |at_ms, error_us| ClockEvent { at_ms, fault: ClockFault::Claim(Claim::Fixed { error_us }) };
    let server = NodePlan { events: vec![claim(10_000, 6_000_000), claim(30_000, 1_000)], ..NodePlan::default() };
    let plan = ClockPlan { epoch_unix_ms: ORDINARY, leap: None, nodes: [("server".to_owned(), server)].into() };
    let truth = Timeline::of(&plan);
    let at = |second: i64| Timestamp::from_unix_ms(ORDINARY + second * 1000);
    let trace = run_with_clocks(SEED, options(Mode::Pause), Some(plan), |world| async move {
        let _server = world.start_server();
        let _worker = world.start_worker("worker-1", "10.0.1.1");
        let submit = move |client: escapement::client::Client, trace: Trace| async move {
            client.submit(NewTask::new(queue()).due_at(at(15))).await.unwrap();
            let now = madsim::time::TimeHandle::current().elapsed();
            madsim::time::sleep(Duration::from_secs(20).saturating_sub(now)).await;
            // Refused until the clock is right again; the client tries on.
            let submitted = client.submit(NewTask::new(queue()).due_at(at(21))).await.unwrap();
            trace.add(Event::Acknowledged { id: submitted.id, due: submitted.due_at });
        };
        world.with_client(submit).await;
        madsim::time::sleep(Duration::from_secs(10)).await;
    });
    let second = |elapsed: Duration| elapsed.as_secs_f64();
    let starts = starts(&trace);
    for due in [15, 21] {
        let [(started, _)] = starts[&at(due)][..] else { panic!("due {due}: {starts:?}") };
        assert!(started >= truth.elapsed_at(at(due)));
        assert!((40.0..60.0).contains(&second(started)), "due {due} started at {started:?}");
    }
    let acknowledged = trace.events().into_iter().find(|(_, event)| matches!(event, Event::Acknowledged { .. }));
    let (acknowledged, _) = acknowledged.unwrap();
    assert!((40.0..60.0).contains(&second(acknowledged)), "accepted at {acknowledged:?}");
    assert!(second(starts[&at(15)][0].0) < 40.6, "what was due starts as soon as the node is back");
    print("");
}

//! What happens to the streams of workers: each fault really strikes, and the cluster stands it.

#![cfg(madsim)]
#![allow(clippy::unwrap_used, reason = "a test: a failed step is a failed test")]

use std::{fs, path::Path, process::Command};

use escapement_chaos::{
    nemesis::{Nemesis, Strike},
    plan::Plan,
    scenario,
};
use serde_json::Value;

/// Runs a plan in a process of its own; what it tells of itself. It has to be green.
fn told(name: &str, plan: &Plan) -> Value {
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.json"));
    fs::write(&file, plan.to_string()).unwrap();
    let run = Command::new(env!("CARGO_BIN_EXE_escapement-chaos")).args(["one", "--plan"]).arg(&file).output().unwrap();
    let text = String::from_utf8_lossy(&run.stdout);
    assert!(run.status.success(), "{name} fails: replay --plan {}\n{text}", file.display());
    serde_json::from_str(text.lines().last().unwrap()).unwrap()
}

fn struck(name: &str, what: Nemesis) -> Value {
    let mut plan = scenario::plan("calm", 1).unwrap();
    plan.strikes.push(Strike { at_ms: 1000, for_ms: plan.safety_ms - 1000, what });
    told(name, &plan)
}

#[track_caller]
fn assert_happened(told: &Value, kind: &str, name: &str) {
    let times = told[kind].get(name).and_then(Value::as_u64).unwrap_or(0);
    assert!(times > 0, "{name} never happened: {told}");
}

#[test]
fn a_verdict_that_was_lost_is_told_again_as_a_duplicate() {
    let told = struck("lose-orders", Nemesis::LoseOrders { ppm: 200_000 });
    for name in ["lost-verdict", "lost-assignment", "lost-order"] {
        assert_happened(&told, "faults", name);
    }
    assert_happened(&told, "rarities", "completion-repeated");
}

#[test]
fn what_a_server_never_heard_is_said_again() {
    let told = struck("lose-reports", Nemesis::LoseReports { ppm: 200_000 });
    assert_happened(&told, "faults", "lost-report");
}

#[test]
fn what_is_said_twice_counts_once() {
    let told = struck("repeat-reports", Nemesis::RepeatReports { ppm: 1_000_000 });
    assert_happened(&told, "faults", "repeated-report");
}

#[test]
fn a_report_after_the_lease_is_refused_for_its_token() {
    let told = told("worker-late", &scenario::plan("worker-late", 1).unwrap());
    assert_happened(&told, "rarities", "stale-token-refused");
    assert_happened(&told, "rarities", "attempt-lost");
}

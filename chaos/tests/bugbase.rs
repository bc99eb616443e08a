//! Every failure that a seed ever found stays found: the plans of chaos/bugbase run again.

#![cfg(madsim)]
#![allow(clippy::unwrap_used, reason = "a test: a failed step is a failed test")]

use std::{fs, path::Path, process::Command};

use escapement_chaos::plan::Plan;

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Bug {
    found_by: FoundBy,
    #[serde(rename = "where")]
    place: String,
    cause: String,
    fix: String,
    plan: Plan,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct FoundBy {
    scenario: String,
    seed: u64,
    invariant: String,
}

#[test]
fn plans_that_failed_once_pass() {
    let bugs = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("bugbase")).unwrap();
    let mut paths: Vec<_> = bugs.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(!paths.is_empty(), "there are bugs to look for");
    for path in paths {
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let bug: Bug =
            serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!([&bug.place, &bug.cause, &bug.fix].iter().all(|text| !text.is_empty()), "{name} tells its story");
        assert_eq!((&bug.plan.scenario, bug.plan.seed), (&bug.found_by.scenario, bug.found_by.seed), "{name}");
        let plan = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.json"));
        fs::write(&plan, bug.plan.to_string()).unwrap();
        let run = Command::new(env!("CARGO_BIN_EXE_escapement-chaos")).args(["one", "--plan"]).arg(&plan).output();
        let run = run.unwrap();
        let told = String::from_utf8_lossy(&run.stdout);
        let invariant = &bug.found_by.invariant;
        assert!(run.status.success(), "{name} is back ({invariant}): replay --plan {}\n{told}", plan.display());
    }
}

//! Counts what the production source knows of the simulator.

#![allow(clippy::unwrap_used, reason = "tests: a failed step is a failed test")]

use std::{fs, path::Path};

/// "At most ten lines, in edge files."
const LINES_MAX: usize = 10;

fn sources(dir: &Path, found: &mut Vec<(String, String)>) {
    for entry in fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()) {
        if entry.is_dir() {
            sources(&entry, found);
        } else if entry.extension().is_some_and(|it| it == "rs") {
            let name = entry.strip_prefix(env!("CARGO_MANIFEST_DIR")).unwrap().display().to_string();
            found.push((name, fs::read_to_string(&entry).unwrap()));
        }
    }
}

#[test]
fn at_most_ten_lines_of_the_edge_tell_the_simulator_from_the_real_thing_and_none_elsewhere() {
    let mut files = Vec::new();
    sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut files);
    assert!(files.len() > 200, "{} files are not the source", files.len());
    let is_switch = |line: &&str| {
        let line = line.trim_start();
        !line.starts_with("//") && line.contains(concat!("mad", "sim")) && line.contains("cfg")
    };
    let switches = files.iter().map(|(name, text)| (name, text.lines().filter(is_switch).count()));
    let switches: Vec<_> = switches.filter(|(_, count)| *count > 0).collect();
    let edges_only = switches.iter().all(|(name, _)| name.starts_with("src/edge/"));
    let lines: usize = switches.iter().map(|(_, count)| count).sum();
    assert!(edges_only && (1..=LINES_MAX).contains(&lines), "{switches:?}");
}

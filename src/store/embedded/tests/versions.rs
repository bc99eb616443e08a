//! Versions go on after a kill, above all that anybody saw.

use std::{fs, path::Path, time::Duration};

use super::{EmbeddedEngine, EmbeddedOptions, commit, newest};
use crate::store::mvcc::tests::{TestClock, set};

/// What a kill would leave.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[test]
fn read_versions_of_hours_without_a_commit_are_not_given_out_again_after_a_kill() {
    let dir = tempfile::tempdir().unwrap();
    let clock = TestClock::new();
    let open = |path: &Path| EmbeddedEngine::open(path, EmbeddedOptions::default(), clock.clone()).unwrap();
    let engine = open(&dir.path().join("0"));
    let mut seen = commit(&engine, set("key", "value")).unwrap().version;
    for hours in [0, 1, 10] {
        clock.advance(Duration::from_secs(3600 * hours));
        let read = newest(&engine);
        assert!(read >= seen, "versions only grow");
        seen = read;
        let killed = dir.path().join(format!("after {hours}"));
        copy(&dir.path().join("0"), &killed);
        let again = newest(&open(&killed));
        assert!(again > seen, "{again:?} after a kill, {seen:?} before, {hours} hours idle");
    }
}

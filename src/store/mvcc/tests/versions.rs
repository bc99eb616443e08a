use std::{sync::Arc, time::Duration};

use super::TestClock;
use crate::store::mvcc::{VERSIONS_PER_SECOND, Versions, after_restart};

const HOUR: Duration = Duration::from_secs(3600);
const HOUR_VERSIONS: u64 = 3600 * VERSIONS_PER_SECOND;
/// A commit is one ahead of what was read; an idle store lags by a tenth of a second.
const SLACK: u64 = VERSIONS_PER_SECOND / 10;

/// Versions and the newest that is in the log.
struct Story {
    clock: Arc<TestClock>,
    versions: Versions,
    logged: u64,
}

impl Story {
    fn new() -> Self {
        let clock = TestClock::new();
        Self { versions: Versions::new(clock.clone(), 1), clock, logged: 1 }
    }

    fn commit(&mut self) -> u64 {
        let version = self.versions.assign();
        self.logged = version.0;
        self.versions.publish(version, true);
        version.0
    }

    /// A read version; one that a restart at this moment would not give out again.
    fn read(&self) -> u64 {
        let version = self.versions.read();
        assert!(version < after_restart(self.logged), "a restart goes on at {}", after_restart(self.logged));
        version
    }
}

#[test]
fn versions_of_a_store_that_idles_for_hours_stay_below_where_a_restart_goes_on() {
    let mut story = Story::new();
    for _ in 0..3 {
        let begun = story.commit();
        for minute in 1..600 {
            story.clock.advance(HOUR / 60);
            let read = story.read();
            // They follow the clock for an hour, as its commits did.
            assert!(minute > 60 || read + SLACK >= begun + minute * HOUR_VERSIONS / 60, "minute {minute}: {read}");
        }
    }
}

#[test]
fn versions_of_a_store_that_is_busy_for_hours_follow_the_clock() {
    let mut story = Story::new();
    let begun = story.commit();
    for minute in 1..=600 {
        story.clock.advance(HOUR / 60);
        assert!(story.commit() + SLACK >= begun + minute * HOUR_VERSIONS / 60, "minute {minute}");
        story.read();
    }
}

#[test]
fn after_a_long_idle_time_a_commit_makes_no_transaction_of_that_moment_too_old() {
    let mut story = Story::new();
    story.commit();
    for _ in 0..10 {
        story.clock.advance(HOUR);
        story.read();
    }
    for _ in 0..20 {
        let begun = story.read();
        story.commit();
        assert!(story.read() <= begun + SLACK, "{begun} and a moment later {}", story.read());
        assert!(!story.versions.is_older_by_clock(begun, 5 * VERSIONS_PER_SECOND));
        story.clock.advance(Duration::from_millis(10));
    }
    // And they follow the clock again.
    let before = story.read();
    story.clock.advance(HOUR / 2);
    let passed = story.read() - before;
    assert!(passed.abs_diff(HOUR_VERSIONS / 2) <= SLACK, "{passed}");
}

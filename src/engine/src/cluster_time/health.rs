//! Whether a node's clock is fit to act by: in bounds, to be looked at, or rejected.

use std::time::Duration;

use crate::Monotonic;

/// A clock that is off by more raises an alert.
pub const ALERT_ABOVE: Duration = Duration::from_secs(1);
/// A clock that is off by more is rejected: its node gives up its shards and refuses tasks.
pub const REJECT_ABOVE: Duration = Duration::from_secs(5);
/// A state is left for a better one only at four fifths of its threshold...
const RETURN_NUMERATOR: u32 = 4;
const RETURN_DENOMINATOR: u32 = 5;
/// ... and when the clock has been that good for this long, by the monotonic clock.
pub const RETURN_AFTER: Duration = Duration::from_secs(10);

/// How fit a node's clock is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Health {
    /// Good.
    #[default]
    InBounds,
    /// Off by more than [`ALERT_ABOVE`]: it works, but somebody should look.
    Alert,
    /// Off by more than [`REJECT_ABOVE`]: the node must not act by it.
    Rejected,
}

/// Follows a clock's deviation. Gets worse at once; gets better with hysteresis, so that a
/// deviation near a threshold does not make a node give up and take its shards again and again.
#[derive(Clone, Copy, Debug, Default)]
pub struct HealthTracker {
    health: Health,
    /// What it could become, and since when.
    better: Option<(Health, Monotonic)>,
}

impl HealthTracker {
    /// The state now.
    pub const fn health(&self) -> Health {
        self.health
    }

    /// The clock deviates by this much at `now`: the state after that.
    pub fn observe(&mut self, deviation: Duration, now: Monotonic) -> Health {
        let worse = level(deviation, ALERT_ABOVE, REJECT_ABOVE);
        if worse >= self.health {
            *self = Self { health: worse, better: None };
            return worse;
        }
        let low = |above: Duration| above * RETURN_NUMERATOR / RETURN_DENOMINATOR;
        let reachable = level(deviation, low(ALERT_ABOVE), low(REJECT_ABOVE));
        if reachable >= self.health {
            self.better = None;
            return self.health;
        }
        // If it only just became this good, it has been good enough for the state between as well.
        let (target, since) = match self.better {
            Some((target, since)) => (target.max(reachable), since),
            None => (reachable, now),
        };
        if now.since(since) >= RETURN_AFTER {
            *self = Self { health: target, better: (target > reachable).then_some((reachable, now)) };
        } else {
            self.better = Some((target, since));
        }
        self.health
    }
}

fn level(deviation: Duration, alert: Duration, reject: Duration) -> Health {
    if deviation > reject {
        Health::Rejected
    } else if deviation > alert {
        Health::Alert
    } else {
        Health::InBounds
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn run(steps: &[(u64, u64)]) -> Vec<Health> {
        let mut tracker = HealthTracker::default();
        let observe = |(second, ms): &(u64, u64)| {
            tracker.observe(Duration::from_millis(*ms), Monotonic::from_nanos(second * 1_000_000_000))
        };
        steps.iter().map(observe).collect()
    }

    #[test]
    fn a_clock_gets_worse_at_once_and_better_only_after_a_while() {
        use Health::{Alert, InBounds, Rejected};
        let steps = [
            (0, 1000, InBounds),
            (1, 1001, Alert),
            (2, 5000, Alert),
            (3, 5001, Rejected),
            (4, 4500, Rejected),
            (30, 4500, Rejected),
            (31, 3000, Rejected),
            (40, 3000, Rejected),
            (41, 3000, Alert),
            (42, 900, Alert),
            (60, 900, Alert),
            (61, 800, Alert),
            (71, 800, InBounds),
        ];
        let (seen, expected): (Vec<_>, Vec<_>) = steps.iter().map(|(at, ms, health)| ((*at, *ms), *health)).unzip();
        assert_eq!(run(&seen), expected);
    }

    #[test]
    fn a_relapse_begins_the_wait_anew() {
        let seen = run(&[(0, 6000), (1, 100), (9, 4100), (10, 100), (19, 100), (20, 100)]);
        assert_eq!(seen[4..], [Health::Rejected, Health::InBounds]);
    }

    proptest! {
        #[test]
        fn a_deviation_above_a_threshold_is_never_tolerated(deviations in prop::collection::vec(0_u64..8000, 1..60)) {
            let steps: Vec<_> = deviations.iter().enumerate().map(|(n, ms)| (n as u64 * 4, *ms)).collect();
            for ((_, ms), health) in steps.iter().zip(run(&steps)) {
                prop_assert!(health >= level(Duration::from_millis(*ms), ALERT_ABOVE, REJECT_ABOVE));
            }
        }

        #[test]
        fn a_state_that_was_left_was_not_needed_for_the_whole_wait(
            deviations in prop::collection::vec(0_u64..8000, 1..80),
        ) {
            let steps: Vec<_> = deviations.iter().enumerate().map(|(n, ms)| (n as u64, *ms)).collect();
            let states = run(&steps);
            for (n, pair) in states.windows(2).enumerate() {
                if pair[1] < pair[0] {
                    let wait = usize::try_from(RETURN_AFTER.as_secs()).unwrap();
                    let span = &steps[n + 1 - wait..=n + 1];
                    let limit = if pair[0] == Health::Rejected { 4000 } else { 800 };
                    prop_assert!(span.iter().all(|(_, ms)| *ms <= limit), "{span:?}");
                }
            }
        }
    }
}

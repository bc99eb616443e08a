//! Intervals of time, and what several of them agree on.

use std::time::Duration;

/// A closed interval of nanoseconds on some time line, in which true time lies if the one who
/// gave it is right. Never empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interval {
    lo: i128,
    hi: i128,
}

impl Interval {
    /// From `lo` to `hi`, both included.
    ///
    /// # Panics
    /// When `lo` is above `hi`.
    pub const fn new(lo: i128, hi: i128) -> Self {
        assert!(lo <= hi, "an interval does not end before it begins");
        Self { lo, hi }
    }

    /// Its lowest point.
    pub const fn lo(self) -> i128 {
        self.lo
    }

    /// Its highest point.
    pub const fn hi(self) -> i128 {
        self.hi
    }

    /// Wider by this much below and above.
    #[must_use]
    pub const fn widened(self, below: Duration, above: Duration) -> Self {
        Self { lo: self.lo - nanos(below), hi: self.hi + nanos(above) }
    }

    /// Moved by `by` nanoseconds.
    #[must_use]
    pub const fn moved(self, by: i128) -> Self {
        Self { lo: self.lo + by, hi: self.hi + by }
    }

    /// What both contain, if anything.
    #[must_use]
    pub fn common(self, other: Self) -> Option<Self> {
        let (lo, hi) = (self.lo.max(other.lo), self.hi.min(other.hi));
        (lo <= hi).then_some(Self { lo, hi })
    }

    /// How far `point` lies outside: negative below, positive above, zero inside.
    pub const fn beyond(self, point: i128) -> i128 {
        if point < self.lo {
            point - self.lo
        } else if point > self.hi {
            point - self.hi
        } else {
            0
        }
    }
}

/// Nanoseconds of a span.
pub(super) const fn nanos(span: Duration) -> i128 {
    // At most 1.9e28, so it fits.
    span.as_nanos().cast_signed()
}

/// The smallest interval that holds every point which at least `quorum` of the votes contain.
/// If at least `quorum` of them are right, true time is in it, however wrong the others are.
/// `None` when no point has a quorum.
///
/// This is the fault-tolerant intersection of Marzullo's thesis ("Maintaining the Time in a
/// Distributed System", 1984), with as many faults allowed as the quorum leaves out. NTP's
/// selection looks for the largest clique instead; where two cliques have a quorum, the truth may
/// be in either, so both are in the answer here. Costs O(n log n).
///
/// # Panics
/// When `quorum` is zero.
pub fn agreed(votes: &[Interval], quorum: usize) -> Option<Interval> {
    assert!(quorum > 0, "nobody is no quorum");
    let starts = votes.iter().map(|vote| (vote.lo, false));
    let ends = votes.iter().map(|vote| (vote.hi, true));
    // At one point, starts come before ends: the intervals are closed.
    let mut edges: Vec<(i128, bool)> = starts.chain(ends).collect();
    edges.sort_unstable();
    let mut covering = 0_usize;
    let mut found: Option<Interval> = None;
    for (at, end) in edges {
        if end {
            if covering >= quorum {
                let lo = found.map_or(at, Interval::lo);
                found = Some(Interval { lo, hi: at });
            }
            covering -= 1;
        } else {
            covering += 1;
            if covering >= quorum && found.is_none() {
                found = Some(Interval { lo: at, hi: at });
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn interval() -> impl Strategy<Value = Interval> {
        (-40_i128..40, 0_i128..25).prop_map(|(lo, width)| Interval::new(lo, lo + width))
    }

    /// Every point is looked at.
    fn exhaustive(votes: &[Interval], quorum: usize) -> Option<Interval> {
        let held = |at: &i128| votes.iter().filter(|vote| vote.lo <= *at && *at <= vote.hi).count() >= quorum;
        let lo = (-100..=100).find(held)?;
        let hi = (-100..=100).rev().find(held)?;
        Some(Interval::new(lo, hi))
    }

    proptest! {
        #[test]
        fn the_intersection_is_what_an_exhaustive_search_finds(
            votes in prop::collection::vec(interval(), 0..8), quorum in 1_usize..6,
        ) {
            prop_assert_eq!(agreed(&votes, quorum), exhaustive(&votes, quorum));
        }

        #[test]
        fn truth_is_inside_however_wrong_a_minority_is(
            truth in -30_i128..30,
            right in prop::collection::vec((0_i128..10, 0_i128..10), 1..6),
            wrong in prop::collection::vec(interval(), 0..5),
        ) {
            let quorum = (right.len() + wrong.len()) / 2 + 1;
            prop_assume!(right.len() >= quorum);
            let mut votes: Vec<_> =
                right.iter().map(|(below, above)| Interval::new(truth - below, truth + above)).collect();
            votes.extend(&wrong);
            let found = agreed(&votes, quorum).expect("those that are right agree on the truth");
            prop_assert_eq!(found.beyond(truth), 0);
        }

        #[test]
        fn a_higher_quorum_never_finds_more(votes in prop::collection::vec(interval(), 1..8), quorum in 1_usize..6) {
            if let Some(strict) = agreed(&votes, quorum + 1) {
                let loose = agreed(&votes, quorum).expect("a point that more contain is one that fewer contain");
                prop_assert_eq!(loose.common(strict), Some(strict));
            }
        }

        #[test]
        fn a_wider_vote_never_finds_less(
            votes in prop::collection::vec(interval(), 1..8), quorum in 1_usize..4, which: prop::sample::Index,
        ) {
            let Some(narrow) = agreed(&votes, quorum) else { return Ok(()) };
            let mut wider = votes.clone();
            let vote = which.index(wider.len());
            wider[vote] = wider[vote].widened(Duration::from_nanos(3), Duration::from_nanos(2));
            let wide = agreed(&wider, quorum).expect("nothing was taken away");
            prop_assert_eq!(wide.common(narrow), Some(narrow));
        }
    }
}

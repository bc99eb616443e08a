//! The session's lease, as its holder counts it.
//!
//! It runs from *before* the last renewal was sent that the server answered; the server
//! counts from *after* it received it. So the holder's always ends first, as long as the
//! two monotonic clocks run at about the same rate: the holder leaves a fiftieth of the
//! lease for what they differ and for handlers to be dropped in.

use std::{collections::BTreeMap, time::Duration};

use escapement_engine::Monotonic;

/// The last part of the lease that is not used: one in this many.
const MARGIN_DIVISOR: u32 = 50;
/// Renewals go out no more often than this, whatever the server asks for.
const RENEW_INTERVAL_MIN: Duration = Duration::from_millis(10);

/// A lease that the server granted, and its renewals on the present stream.
#[derive(Debug)]
pub(super) struct Lease {
    length: Duration,
    renew_interval: Duration,
    /// Before the last answered renewal was sent.
    held_from: Monotonic,
    /// Of the last renewal sent in this stream.
    sequence: u64,
    /// When each unanswered renewal was sent.
    unanswered: BTreeMap<u64, Monotonic>,
    renew_at: Monotonic,
}

impl Lease {
    /// The lease of a Welcome. The Hello, sent at `hello_at`, counts as its first renewal.
    /// `None` when the server grants a lease of no length.
    pub(super) fn granted(hello_at: Monotonic, lease_ms: u32, renew_interval_ms: u32) -> Option<Self> {
        if lease_ms == 0 {
            return None;
        }
        let length = Duration::from_millis(lease_ms.into());
        // An interval that leaves no room for a lost renewal is not one.
        let renew_interval = Duration::from_millis(renew_interval_ms.into()).min(length / 3).max(RENEW_INTERVAL_MIN);
        Some(Self {
            length,
            renew_interval,
            held_from: hello_at,
            sequence: 0,
            unanswered: BTreeMap::new(),
            renew_at: hello_at.saturating_add(renew_interval),
        })
    }

    /// By this instant the handlers must be gone.
    pub(super) fn ends_at(&self) -> Monotonic {
        self.held_from.saturating_add(self.length - self.length / MARGIN_DIVISOR)
    }

    /// By this instant a stream that answers no renewal is given up, so that there is time
    /// to try another within the lease.
    pub(super) fn silent_at(&self) -> Monotonic {
        self.held_from.saturating_add(self.length / 3 * 2)
    }

    /// When the next renewal is to be sent.
    pub(super) const fn renew_at(&self) -> Monotonic {
        self.renew_at
    }

    /// The sequence number of a renewal that is sent right after this call.
    pub(super) fn renew(&mut self, now: Monotonic) -> u64 {
        // An answer to what was sent a lease ago would grant nothing.
        self.unanswered.retain(|_, sent| now.since(*sent) < self.length);
        self.sequence += 1;
        self.unanswered.insert(self.sequence, now);
        self.renew_at = now.saturating_add(self.renew_interval);
        self.sequence
    }

    /// The server answered a renewal. One that was never sent changes nothing.
    pub(super) fn renewed(&mut self, sequence: u64) {
        if let Some(sent) = self.unanswered.remove(&sequence) {
            self.held_from = self.held_from.max(sent);
            self.unanswered = self.unanswered.split_off(&sequence);
        }
    }

    /// A completion that is not answered for this long is sent again.
    pub(super) fn resend_after(&self) -> Duration {
        self.renew_interval.max(Duration::from_secs(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Monotonic {
        Monotonic::from_nanos(ms * 1_000_000)
    }

    #[test]
    fn the_lease_runs_from_before_the_answered_renewal_was_sent() {
        let mut lease = Lease::granted(at(0), 10_000, 3_000).unwrap();
        assert_eq!(lease.ends_at(), at(9_800));
        assert_eq!(lease.renew(at(3_000)), 1);
        assert_eq!(lease.renew(at(6_000)), 2);
        // The answer comes late; only the instant of sending counts.
        lease.renewed(1);
        assert_eq!(lease.ends_at(), at(12_800));
        lease.renewed(2);
        assert_eq!(lease.ends_at(), at(15_800));
    }

    #[test]
    fn an_answer_that_is_repeated_or_overtaken_or_made_up_changes_nothing() {
        let mut lease = Lease::granted(at(0), 10_000, 3_000).unwrap();
        lease.renew(at(3_000));
        lease.renew(at(6_000));
        lease.renewed(2);
        for sequence in [1, 2, 3, 99] {
            lease.renewed(sequence);
            assert_eq!(lease.ends_at(), at(15_800), "{sequence}");
        }
    }

    #[test]
    fn renewals_that_nobody_answers_do_not_pile_up() {
        let mut lease = Lease::granted(at(0), 1_000, 10).unwrap();
        for n in 0..10_000 {
            lease.renew(at(n * 10));
        }
        assert!(lease.unanswered.len() <= 100, "{}", lease.unanswered.len());
    }

    #[test]
    fn an_unusable_interval_is_brought_into_bounds() {
        let check = |lease_ms, interval_ms, expect| {
            assert_eq!(Lease::granted(at(0), lease_ms, interval_ms).map(|lease| lease.renew_at()), expect);
        };
        check(9_000, 3_000, Some(at(3_000)));
        check(9_000, 9_000, Some(at(3_000)));
        check(9_000, 0, Some(at(10)));
        check(0, 3_000, None);
    }
}

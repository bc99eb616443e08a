//! One machine's clocks as functions of true time. Knows nothing of the simulator: it is told what has
//! elapsed.
//!
//! Wall time is true UTC plus an error; the error grows with the drift and is changed by steps. Between
//! two changes everything is a straight line from an anchor, so how often a clock is read changes nothing.
//! All times are nanoseconds of true time since the run began.

use std::time::Duration;

use escapement_engine::cluster_time::{Bounds, LeapFlag, SyncState};
use rand::{RngExt as _, rngs::StdRng};

use super::{
    plan::{Claim, ClockEvent, ClockFault, Correct, Daemon, LeapPlan, LeapSign, NodePlan, TrueLeap},
    timeline::{SECOND_NS, Timeline},
};

/// A smear begins this long before the leap second and lasts for a day of UTC.
const SMEAR_HALF_NS: i128 = 43_200 * SECOND_NS;
/// A kernel announces this long before.
const ANNOUNCED_NS: i128 = 86_400 * SECOND_NS;
/// An announcement is taken back this long after.
const DONE_NS: i128 = 600 * SECOND_NS;
/// No clock starts at zero: machines have been up for a while.
const UPTIME_NS: i128 = 1000 * SECOND_NS;

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Model {
    timeline: Timeline,
    rng: StdRng,
    jitter_us: u32,
    claim: Claim,
    daemon: Option<Daemon>,
    next_sync: Option<i128>,
    leap: LeapPlan,
    /// When the count of UTC changes, unless the node has dealt with it.
    true_leap: Option<i128>,
    /// The second that the kernel will deal with when its own clock comes there.
    pending: Option<TrueLeap>,
    /// When it did.
    stepped: Option<i128>,
    events: Vec<ClockEvent>,
    // The anchor.
    at: i128,
    error: i128,
    mono: i128,
    // From the anchor on.
    drift_ppm: i128,
    slew: Option<(i128, i128)>,
    suspended: Option<(i128, bool)>,
    /// What of the error is due to a leap second, and unknown to the node.
    leap_error: i128,
    last_mono: i128,
    /// When anything changes next, as of the last change: clocks are read a hundred times as often.
    next: i128,
}

impl Model {
    pub(super) fn new(timeline: Timeline, leap: Option<TrueLeap>, plan: &NodePlan, rng: StdRng) -> Self {
        let mut events = plan.events.clone();
        // The next one is last.
        events.sort_by_key(|event| std::cmp::Reverse(event.at_ms));
        let pending = match plan.leap {
            LeapPlan::Step | LeapPlan::Early { .. } => leap,
            LeapPlan::False(told) => Some(told),
            LeapPlan::Smear | LeapPlan::Unannounced => None,
        };
        let true_leap = leap.filter(|_| plan.leap != LeapPlan::Smear).map(|leap| timeline.leap_begins(leap));
        let mut model = Self {
            timeline,
            rng,
            jitter_us: plan.jitter_us,
            claim: plan.claim,
            daemon: plan.daemon,
            next_sync: plan.daemon.map(|daemon| i128::from(daemon.first_ms) * 1_000_000),
            leap: plan.leap,
            true_leap,
            pending,
            stepped: None,
            events,
            at: 0,
            error: i128::from(plan.offset_us) * 1000,
            mono: UPTIME_NS,
            drift_ppm: i128::from(plan.drift_ppm),
            slew: None,
            suspended: None,
            leap_error: 0,
            last_mono: 0,
            next: 0,
        };
        model.next = model.next_change();
        model
    }

    /// Wall time in Unix nanoseconds.
    pub(super) fn wall(&mut self, now: i128) -> i128 {
        self.advance(now);
        self.exact_wall(now) + self.noise()
    }

    /// Monotonic time.
    pub(super) fn monotonic(&mut self, now: i128) -> i128 {
        self.advance(now);
        self.last_mono = self.last_mono.max(self.exact_mono(now) + self.noise());
        self.last_mono
    }

    /// Monotonic time without jitter: timers go by it.
    pub(super) fn exact(&mut self, now: i128) -> i128 {
        self.advance(now);
        self.exact_mono(now)
    }

    /// What the kernel says.
    pub(super) fn bounds(&mut self, now: i128) -> Bounds {
        self.advance(now);
        let noise = i128::from(self.jitter_us) * 1000;
        let known = (self.exact_error(now) - self.leap_error).abs() + noise;
        let (error, sync) = match self.claim {
            Claim::Unsynchronised => (0, SyncState::Unsynchronised),
            Claim::Honest { slack_us } => (known + i128::from(slack_us) * 1000, SyncState::Synchronised),
            Claim::Fixed { error_us } => (i128::from(error_us) * 1000, SyncState::Synchronised),
        };
        let error = Duration::from_nanos(u64::try_from(error).unwrap_or(u64::MAX));
        Bounds { error, sync, leap: self.flag(now) }
    }

    /// How long, in true time, until the monotonic clock has gained `span`, if nothing changes before; and until
    /// when nothing does.
    pub(super) fn wait(&mut self, now: i128, span: i128) -> (i128, i128) {
        self.advance(now);
        let rate = 1_000_000_000 + self.mono_rate_ppb();
        let next = self.next.saturating_sub(now);
        let need = if rate == 0 { next } else { (span * 1_000_000_000).div_euclid(rate) + 1 };
        (need, next)
    }

    /// How much too early timers fire at this moment.
    pub(super) fn timers_early(&mut self, now: i128) -> i128 {
        self.advance(now);
        match (self.leap, self.stepped) {
            (LeapPlan::Early { by_ms, for_ms }, Some(stepped)) if now < stepped + i128::from(for_ms) * 1_000_000 => {
                i128::from(by_ms) * 1_000_000
            }
            _ => 0,
        }
    }

    fn noise(&mut self) -> i128 {
        let jitter = i64::from(self.jitter_us) * 1000;
        if jitter == 0 { 0 } else { i128::from(self.rng.random_range(-jitter..=jitter)) }
    }

    /// Applies every change up to `now`.
    fn advance(&mut self, now: i128) {
        while self.next <= now {
            let next = self.next;
            self.anchor(next);
            self.change(next);
            self.next = self.next_change();
        }
    }

    /// When anything changes next; never before the last change.
    fn next_change(&self) -> i128 {
        let events = self.events.last().map(|event| i128::from(event.at_ms) * 1_000_000);
        let slewed = self.slew.map(|(until, _)| until);
        let resumed = self.suspended.map(|(until, _)| until);
        // A suspended machine does nothing.
        let own = if resumed.is_some() { [None; 3] } else { [self.next_sync, slewed, self.kernel_leap()] };
        let changes = own.into_iter().chain([events, resumed, self.true_leap]).flatten();
        changes.map(|at| at.max(self.at)).min().unwrap_or(i128::MAX)
    }

    /// When the kernel's own clock comes to the leap second that it was told of.
    fn kernel_leap(&self) -> Option<i128> {
        let leap = self.pending?;
        let at = i128::from(leap.at_unix_ms) * 1_000_000;
        let at = if leap.sign == LeapSign::Insert { at } else { at - SECOND_NS };
        let left = at - self.exact_wall(self.at);
        let rate = 1_000_000_000 + self.error_rate_ppb();
        Some(self.at + if left <= 0 { 0 } else { (left * 1_000_000_000 + rate - 1).div_euclid(rate) })
    }

    fn change(&mut self, at: i128) {
        if self.true_leap.is_some_and(|leap| leap <= at) {
            self.true_leap = None;
            // UTC counts anew, and the clock goes on as it was.
            let shift = self.timeline.unix_ns(at) - self.timeline.unix_ns(at - 1) - 1;
            self.error -= shift;
            self.leap_error -= shift;
        }
        if self.suspended.is_some_and(|(until, _)| until <= at) {
            self.suspended = None;
        }
        if self.slew.is_some_and(|(until, _)| until <= at) {
            self.slew = None;
        }
        if self.suspended.is_none() {
            if self.kernel_leap().is_some_and(|leap| leap <= at)
                && let Some(leap) = self.pending.take()
            {
                let shift = Timeline::shift(leap.sign);
                self.error += shift;
                self.leap_error += shift;
                self.stepped = Some(at);
            }
            if self.next_sync.is_some_and(|sync| sync <= at) {
                self.synchronise(at);
            }
        }
        while let Some(event) = self.events.last().copied().filter(|it| i128::from(it.at_ms) * 1_000_000 <= at) {
            self.events.pop();
            self.fault(event.fault, at);
        }
    }

    fn synchronise(&mut self, at: i128) {
        let Some(daemon) = self.daemon else { return };
        let accuracy = i64::from(daemon.accuracy_us) * 1000;
        let learnt = self.error + i128::from(self.rng.random_range(-accuracy..=accuracy));
        self.leap_error = 0;
        match daemon.correct {
            Correct::Step => self.step(-learnt),
            Correct::Slew { ppm } => {
                let ppm = i128::from(ppm.max(1));
                self.slew = Some((at + learnt.abs() * 1_000_000 / ppm, if learnt > 0 { -ppm } else { ppm }));
            }
        }
        self.next_sync = Some(at + i128::from(daemon.interval_ms.max(1)) * 1_000_000);
    }

    /// Sets the wall clock. A kernel whose clock is set to after a leap second does not deal with that one any
    /// more (`ntp_clear` in Linux' `kernel/time/ntp.c` forgets when it would have been).
    fn step(&mut self, by: i128) {
        self.error += by;
        let wall = self.exact_wall(self.at);
        self.pending = self.pending.filter(|leap| wall < i128::from(leap.at_unix_ms) * 1_000_000);
    }

    fn fault(&mut self, fault: ClockFault, at: i128) {
        match fault {
            ClockFault::Step { by_us } => self.step(i128::from(by_us) * 1000),
            ClockFault::Drift { ppm } => self.drift_ppm = i128::from(ppm),
            ClockFault::Jitter { us } => self.jitter_us = us,
            ClockFault::Claim(claim) => self.claim = claim,
            ClockFault::Suspend { for_ms, wall_goes_on } => {
                self.suspended = Some((at + i128::from(for_ms) * 1_000_000, wall_goes_on));
            }
        }
    }

    fn anchor(&mut self, at: i128) {
        (self.error, self.mono) = (self.exact_error(at), self.exact_mono(at));
        self.at = at;
    }

    fn exact_wall(&self, now: i128) -> i128 {
        self.timeline.unix_ns(now) + self.exact_error(now) + self.smear(now).0
    }

    fn exact_error(&self, now: i128) -> i128 {
        self.error + (now - self.at) * self.error_rate_ppb() / 1_000_000_000
    }

    fn exact_mono(&self, now: i128) -> i128 {
        let span = now - self.at;
        self.mono + span + span * self.mono_rate_ppb() / 1_000_000_000
    }

    fn error_rate_ppb(&self) -> i128 {
        match self.suspended {
            Some((_, true)) => 0,
            Some((_, false)) => -1_000_000_000,
            None => (self.drift_ppm + self.slew.map_or(0, |(_, ppm)| ppm)) * 1000,
        }
    }

    /// How much faster than true time the monotonic clock runs.
    fn mono_rate_ppb(&self) -> i128 {
        match self.suspended {
            Some(_) => -1_000_000_000,
            None => self.error_rate_ppb() + self.smear(self.at).1,
        }
    }

    /// How far a smeared clock is from UTC, and how much faster it runs.
    fn smear(&self, now: i128) -> (i128, i128) {
        let (LeapPlan::Smear, Some(leap)) = (self.leap, self.timeline.leap()) else { return (0, 0) };
        let shift = Timeline::shift(leap.sign);
        // The middle is the middle of the second, or of nothing where one is left out.
        let begin = self.timeline.leap_begins(leap) - SMEAR_HALF_NS;
        let length = 2 * SMEAR_HALF_NS - shift;
        let spread = (now - begin).clamp(0, length) * shift / length;
        let counted = self.timeline.unix_ns(now) - self.timeline.unix_ns(0) - now;
        let rate = if (begin..begin + length).contains(&now) { shift * 1_000_000_000 / length } else { 0 };
        (spread - counted, rate)
    }

    fn flag(&self, now: i128) -> LeapFlag {
        if let (Some(leap), Some(at)) = (self.pending, self.kernel_leap()) {
            return match leap.sign {
                _ if at - now > ANNOUNCED_NS => LeapFlag::None,
                LeapSign::Insert => LeapFlag::Insert,
                LeapSign::Delete => LeapFlag::Delete,
            };
        }
        let told = match self.leap {
            LeapPlan::False(told) => Some(told.sign),
            _ => self.timeline.leap().map(|leap| leap.sign),
        };
        match (self.stepped, told) {
            (Some(at), Some(LeapSign::Insert)) if now < at + SECOND_NS => LeapFlag::Inserting,
            (Some(at), _) if now < at + DONE_NS => LeapFlag::Done,
            _ => LeapFlag::None,
        }
    }
}

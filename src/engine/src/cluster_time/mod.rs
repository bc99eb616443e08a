//! Cluster time: what true time is, as far as a node can know it.
//!
//! A node's clock gives an interval, not an instant: wall time, and by how much it may be wrong.
//! The node's own bound comes from its kernel ([`Discipline`]) and may be wrong. So schedulers measure each
//! other's clocks over the links that they have anyway ([`Exchange`]), and where a majority agrees
//! ([`agreed`]), that is true time, and whoever lies outside is wrong, however sure of itself it is.
//!
//! **Rules.** Members are the schedulers of the cluster, this one included. Each has one vote: its
//! interval, widened by what measuring and ageing add.
//! - A majority of the *members* (not of those that answer) is a quorum. Where one agrees, true time
//!   is in the agreed interval; a node whose own interval overlaps it takes the part that both have,
//!   another takes the agreed interval.
//! - One member: it is its own majority, so its kernel's word is cluster time.
//! - Two members: both are needed. When they disagree, nobody can tell who is wrong.
//! - No majority (two that disagree, or too few that answer): a node falls back to what its kernel says.
//!   If a peer's clock is then further away than [`ALERT_ABOVE`], that is an alert, but nobody is
//!   rejected for it: a rejection needs a majority that says so, or a bound of its own that is too wide.
//! - Workers never vote. They may be measured, and are then only reported.
//! - A node whose kernel says that nobody keeps its clock right votes with half a second either
//!   way ([`UNSYNCHRONISED_VOTE`]), so that such nodes can agree at all; it acts by its clock as
//!   it stands.
//!
//! **What it costs.** A task starts when [`Look::earliest`] has passed its due instant, so it starts later
//! than by the bare clock, by the error bound at most. A bound above [`REJECT_ABOVE`] is no clock to act
//! by, so that is the most it ever costs.
//!
//! **What can fail.** Measuring ([`ExchangeError`]); finding a majority. Neither stops a node. The
//! answers hold as long as clock *rates* are within [`RATE_PPM_MAX`] and at least a quorum's bounds
//! are right.
//!
//! Read: Marzullo 1984; RFC 5905 sections 10 and 11; TigerBeetle's `clock.zig`.

mod bounds;
mod exchange;
mod health;
mod interval;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

pub(crate) use self::exchange::step;
use self::{bounds::aged, exchange::wall_nanos, interval::nanos};
pub use self::{
    bounds::{Bounds, DISCIPLINED_PPM_MAX, Discipline, KernelWord, LeapFlag, SyncState},
    exchange::{Exchange, ExchangeError, Measured, PeerStamps, ROUND_TRIP_MAX, Stamp},
    health::{ALERT_ABOVE, Health, HealthTracker, REJECT_ABOVE, RETURN_AFTER},
    interval::{Interval, agreed},
};
use crate::{SessionId, Timestamp};

/// A clock's rate is right within this: 500 ppm, the most that Linux and NTP correct a crystal by.
pub const RATE_PPM_MAX: u32 = 500;

/// A measurement older than this does not vote. By then its age alone widens it by 0.3 s.
pub const SAMPLE_AGE_MAX: Duration = Duration::from_secs(300);

/// How far either way a clock votes that nobody keeps right.
pub const UNSYNCHRONISED_VOTE: Duration = Duration::from_millis(500);

/// Measurements kept for each peer: the narrowest of the newest is the one that counts.
const SAMPLES_KEPT: usize = 8;

/// How near a leap second's end the measurements around it are doubted: as far as a clock that
/// was not rejected may be off, and a second more.
const LEAP_DOUBT: Duration = Duration::from_secs(6);

/// A node's own clock at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OwnClock {
    /// Both readings.
    pub now: Stamp,
    /// What the machine says of it.
    pub bounds: Bounds,
    /// True time may be this much further behind because of a leap second
    /// ([`crate::leap::Watch`]).
    pub leap_lag: Duration,
    /// The end of an inserted leap second that is near or not long past.
    pub leap_edge: Option<Timestamp>,
}

impl OwnClock {
    /// How far behind and ahead of the wall clock true time may be.
    fn reach(&self) -> (Duration, Duration) {
        (self.bounds.error + self.leap_lag, self.bounds.error)
    }

    /// Answers a request that came at `received`, as a peer needs it.
    pub fn reply(&self, received: Stamp) -> PeerStamps {
        let (behind, ahead) = self.reach();
        PeerStamps { received, sent: self.now, behind, ahead, sync: self.bounds.sync }
    }
}

/// What a node knows of true time at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Look {
    /// True time is not before this, rounded down to milliseconds.
    pub earliest: Timestamp,
    /// True time is not after this, rounded up.
    pub latest: Timestamp,
    /// The node's wall time, brought into the interval: the best single guess, for the record.
    pub best: Timestamp,
    /// Whether a majority agrees; otherwise the interval is the kernel's word.
    pub majority: bool,
    /// By how much the node's wall clock is certainly wrong, in microseconds; positive when it is
    /// fast. Zero when it may be right.
    pub skew_us: i64,
    /// Fresh measurements of other members.
    pub peers: usize,
    /// Fit to act by?
    pub health: Health,
}

/// See the module's documentation.
#[derive(Clone, Debug, Default)]
pub struct ClusterTime {
    /// Other schedulers.
    members: BTreeSet<SessionId>,
    samples: BTreeMap<SessionId, Vec<Measured>>,
    health: HealthTracker,
}

impl ClusterTime {
    /// The other schedulers of the cluster are these. Only they vote.
    pub fn set_members(&mut self, others: BTreeSet<SessionId>) {
        self.members = others;
    }

    /// Forgets a node's clock.
    pub fn forget(&mut self, node: SessionId) {
        self.samples.remove(&node);
    }

    /// Takes a measurement of another node's clock: of a member, or of a node that is only reported.
    ///
    /// # Errors
    /// See [`ExchangeError`]. Nothing is changed then.
    pub fn measured(&mut self, node: SessionId, exchange: &Exchange) -> Result<(), ExchangeError> {
        let measured = exchange.measure()?;
        let kept = self.samples.entry(node).or_default();
        if kept.len() == SAMPLES_KEPT {
            kept.remove(0);
        }
        // A peer whose clock was set has contradicted what was measured before.
        let now = measured.base;
        kept.retain(|old| old.base_at(&measured.at).common(now).is_some());
        kept.push(measured);
        Ok(())
    }

    /// What is known now. Follows the node's health, so it is to be called from time to time.
    pub fn look(&mut self, own: &OwnClock) -> Look {
        let mono = i128::from(own.now.mono.as_nanos());
        let wall = wall_nanos(own.now.wall) - mono;
        let (behind, ahead) = own.reach();
        let mine = Interval::new(wall, wall).widened(behind, ahead);
        let peers = self.peer_votes(own);
        // More than half of all, this one included.
        let quorum = self.members.len().div_ceil(2) + 1;
        let mut votes: Vec<Interval> = peers.iter().map(|(vote, _)| *vote).collect();
        // The reading was rounded down.
        votes.push(own_vote(mine.widened(Duration::ZERO, Duration::from_millis(1)), own.bounds.sync));
        let agreed = agreed(&votes, quorum);
        let held = match agreed {
            Some(agreed) => agreed.common(mine).unwrap_or(agreed),
            None => mine,
        };
        let skew = agreed.map_or(0, |agreed| agreed.beyond(wall));
        let disagreement = match agreed {
            Some(_) => Duration::ZERO,
            None => peers.iter().map(|(_, base)| span(base.beyond(wall))).max().unwrap_or_default(),
        };
        let deviation = own.bounds.error.max(span(skew)).max(disagreement.min(REJECT_ABOVE));
        let health = self.health.observe(deviation, own.now.mono);
        let held = held.moved(mono);
        let (earliest, latest) = (timestamp_floor(held.lo()), timestamp_ceil(held.hi()));
        Look {
            earliest,
            latest,
            best: own.now.wall.clamp(earliest, latest),
            majority: agreed.is_some(),
            skew_us: i64::try_from(skew / 1000).unwrap_or(if skew < 0 { i64::MIN } else { i64::MAX }),
            peers: peers.len(),
            health,
        }
    }

    /// By how much each measured clock is certainly wrong, in microseconds, judged by a
    /// look of this moment; positive when it is fast. Members and others.
    pub fn skews(&self, own: &OwnClock, look: &Look) -> Vec<(SessionId, i64)> {
        let mono = i128::from(own.now.mono.as_nanos());
        let truth = Interval::new(wall_nanos(look.earliest) - mono, wall_nanos(look.latest) - mono);
        let skew = |(node, kept): (&SessionId, &Vec<Measured>)| {
            let base = freshest(kept, own)?.base_at(&own.now);
            let skew = if base.lo() > truth.hi() { base.lo() - truth.hi() } else { (base.hi() - truth.lo()).min(0) };
            Some((*node, i64::try_from(skew / 1000).unwrap_or(i64::MAX)))
        };
        self.samples.iter().filter_map(skew).collect()
    }

    /// Votes of the members measured, and their bare wall clocks, both as true or wall time less
    /// this node's monotonic time.
    fn peer_votes(&self, own: &OwnClock) -> Vec<(Interval, Interval)> {
        let vote = |node: &SessionId| {
            let sample = freshest(self.samples.get(node)?, own)?;
            let base = sample.base_at(&own.now);
            let lag = sample.leap_doubt(own);
            Some((
                own_vote(base.widened(sample.behind + lag, sample.ahead), sample.sync),
                base.widened(lag, Duration::ZERO),
            ))
        };
        self.members.iter().filter_map(vote).collect()
    }
}

impl Measured {
    /// The peer's wall clock less one's own monotonic clock, now: wider with its age.
    fn base_at(&self, now: &Stamp) -> Interval {
        let drift = aged(now.mono.since(self.at.mono), 2 * RATE_PPM_MAX);
        self.base.widened(drift, drift)
    }

    /// What was measured before the end of a leap second may be a second too high after it: the
    /// peer may have set its clock back since.
    fn leap_doubt(&self, own: &OwnClock) -> Duration {
        let doubted = own.leap_edge.is_some_and(|edge| {
            own.now.wall >= edge.saturating_sub(LEAP_DOUBT) && self.at.wall < edge.saturating_add(LEAP_DOUBT)
        });
        if doubted { Duration::from_secs(1) } else { Duration::ZERO }
    }
}

/// The sample that says most: its width at `own`'s moment is the least.
fn freshest<'a>(kept: &'a [Measured], own: &OwnClock) -> Option<&'a Measured> {
    let now = &own.now;
    let fresh = kept.iter().filter(|sample| now.mono.since(sample.at.mono) <= SAMPLE_AGE_MAX);
    fresh.min_by_key(|sample| {
        let base = sample.base_at(now);
        (sample.leap_doubt(own), base.hi() - base.lo())
    })
}

fn own_vote(interval: Interval, sync: SyncState) -> Interval {
    match sync {
        SyncState::Synchronised => interval,
        SyncState::Unsynchronised | SyncState::Unknown => interval.widened(UNSYNCHRONISED_VOTE, UNSYNCHRONISED_VOTE),
    }
}

fn span(nanos: i128) -> Duration {
    Duration::from_nanos(u64::try_from(nanos.unsigned_abs()).unwrap_or(u64::MAX))
}

fn timestamp_floor(nanos: i128) -> Timestamp {
    Timestamp::from_unix_ms(i64::try_from(nanos.div_euclid(1_000_000)).unwrap_or(i64::MAX))
}

fn timestamp_ceil(at: i128) -> Timestamp {
    timestamp_floor(at + nanos(Duration::from_millis(1)) - 1)
}

//! One measurement of a peer's clock: a request and its answer, with four timestamps.

use std::time::Duration;

use super::{
    bounds::{SyncState, aged},
    interval::{Interval, nanos},
};
use crate::{Monotonic, Timestamp};

/// Readings are whole milliseconds, rounded down: the true reading is up to this much later.
const READING: i128 = 1_000_000;

/// Both clocks of a node, read at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Wall time.
    pub wall: Timestamp,
    /// Monotonic time of the same node.
    pub mono: Monotonic,
}

/// A peer's part of the exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerStamps {
    /// When it had the request.
    pub received: Stamp,
    /// When it sent the answer.
    pub sent: Stamp,
    /// True time is at most this much before its wall clock, it says.
    pub behind: Duration,
    /// True time is at most this much after its wall clock, it says.
    pub ahead: Duration,
    /// Whether anybody keeps its clock right.
    pub sync: SyncState,
}

/// A whole exchange, as seen by the one who asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exchange {
    /// Just before the request was sent.
    pub asked: Stamp,
    /// The peer's part.
    pub peer: PeerStamps,
    /// Just after the answer came.
    pub answered: Stamp,
}

/// Why an exchange tells nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExchangeError {
    /// Answers that came late say little, and may be of another time.
    #[error("the answer took {took:?}, but may take at most {max:?}")]
    Slow {
        /// Round trip.
        took: Duration,
        /// [`ROUND_TRIP_MAX`].
        max: Duration,
    },
    /// A wall clock was set between two of the stamps.
    #[error("a wall clock was set during the exchange")]
    Stepped,
    /// The stamps contradict each other: the peer says it took longer than the whole exchange.
    #[error("the stamps contradict each other")]
    Impossible,
}

/// Longest round trip of an exchange that counts.
pub const ROUND_TRIP_MAX: Duration = Duration::from_secs(1);

/// Wall and monotonic clock may part by this much during an exchange: readings are in
/// milliseconds, and a clock may be slewed.
const STEP_MIN: Duration = Duration::from_millis(5);

/// Two monotonic clocks may run apart by this much.
const RATES_PPM_MAX: u32 = 2 * super::RATE_PPM_MAX;

/// What an exchange has shown: the peer's wall clock, measured by one's own monotonic clock. So a
/// step of one's own wall clock does not touch it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Measured {
    /// The peer's wall time less one's own monotonic time, in nanoseconds.
    pub(super) base: Interval,
    pub(super) at: Stamp,
    pub(super) behind: Duration,
    pub(super) ahead: Duration,
    pub(super) sync: SyncState,
}

impl Exchange {
    /// Bounds the peer's clock. The request arrived after it was sent and the answer before it
    /// was received; that, and nothing about the two ways being equally long, is used.
    ///
    /// # Errors
    /// See [`ExchangeError`].
    pub fn measure(&self) -> Result<Measured, ExchangeError> {
        let took = self.answered.mono.since(self.asked.mono);
        let peer_took = self.peer.sent.mono.since(self.peer.received.mono);
        if took > ROUND_TRIP_MAX {
            return Err(ExchangeError::Slow { took, max: ROUND_TRIP_MAX });
        }
        let backwards = self.answered.mono < self.asked.mono || self.peer.sent.mono < self.peer.received.mono;
        if backwards || peer_took > took + aged(took, RATES_PPM_MAX) + STEP_MIN {
            return Err(ExchangeError::Impossible);
        }
        if stepped(self.asked, self.answered) || stepped(self.peer.received, self.peer.sent) {
            return Err(ExchangeError::Stepped);
        }
        let base = |wall: Timestamp, mono: Monotonic| wall_nanos(wall) - i128::from(mono.as_nanos());
        // When the request was on its way the peer's clock showed at most what it showed on arrival.
        let hi = base(self.peer.received.wall, self.asked.mono) + READING;
        let lo = base(self.peer.sent.wall, self.answered.mono);
        let drift = nanos(aged(took, RATES_PPM_MAX)) + READING;
        let base = Interval::new(lo.min(hi) - drift, hi.max(lo) + drift);
        let PeerStamps { behind, ahead, sync, .. } = self.peer;
        Ok(Measured { base, at: self.answered, behind, ahead, sync })
    }
}

fn stepped(before: Stamp, after: Stamp) -> bool {
    step(before, after).unsigned_abs() > STEP_MIN.as_nanos()
}

/// How much more the wall clock has moved than the monotonic one, in nanoseconds.
pub(crate) fn step(before: Stamp, after: Stamp) -> i128 {
    let wall = wall_nanos(after.wall) - wall_nanos(before.wall);
    wall - (i128::from(after.mono.as_nanos()) - i128::from(before.mono.as_nanos()))
}

/// Unix nanoseconds of a reading.
pub(super) fn wall_nanos(wall: Timestamp) -> i128 {
    i128::from(wall.unix_ms()) * 1_000_000
}

//! What a node does around a leap second. See the module above for the states.

use std::{borrow::Cow, time::Duration};

use super::table::{Leap, LeapTable, Sign};
use crate::{
    Timestamp,
    cluster_time::{Bounds, LeapFlag, Stamp, step},
    planted::{Bug, planted},
};

/// How long a clock may be a second fast after a leap second that it was not seen to make: a
/// time daemon asks at least every 2048 s, and needs some time to correct.
pub const SETTLE_MAX: Duration = Duration::from_secs(3600);

/// A step of at least this much is the leap second's.
const STEP_MIN: i128 = 500_000_000;

/// A kernel may be this much off when it makes the step.
const NEAR: Duration = Duration::from_secs(2);

/// Readings are rounded to milliseconds, and jitter.
const TICK: Duration = Duration::from_millis(5);

const SECOND: Duration = Duration::from_secs(1);
const DAY_MS: i64 = 86_400_000;

/// What a node does about leap seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Firing is held for a second that is inserted, and goes on after it.
    #[default]
    Pause,
    /// The host's clock is smeared over the leap second: nothing is held.
    Smear,
}

/// What holds at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// True time may be this much further behind the wall clock than the clock's own bounds say.
    pub lag: Duration,
    /// Nothing is to be fired for about this long: the inserted second is going on.
    pub held_for: Option<Duration>,
    /// The end of an inserted second that is near or not long past, listed or announced.
    pub edge: Option<Timestamp>,
}

/// Follows one node's clock over leap seconds. See the module's documentation.
#[derive(Clone, Debug)]
pub struct Watch {
    mode: Mode,
    table: Cow<'static, LeapTable>,
    last: Option<Stamp>,
    last_flag: LeapFlag,
    insert: Option<Insert>,
    /// The clock jumped over a second that the table does not leave out, at this wall time.
    jumped: Option<Timestamp>,
}

#[derive(Clone, Copy, Debug)]
struct Insert {
    /// 00:00:00 after the second.
    at: Timestamp,
    stepped: bool,
}

impl Watch {
    /// Goes by the table that this version brings.
    pub fn new(mode: Mode) -> Self {
        Self::with_table(mode, Cow::Borrowed(LeapTable::embedded()))
    }

    /// Goes by this table.
    pub fn with_table(mode: Mode, table: Cow<'static, LeapTable>) -> Self {
        Self { mode, table, last: None, last_flag: LeapFlag::None, insert: None, jumped: None }
    }

    /// What it does.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// What it goes by.
    pub fn table(&self) -> &LeapTable {
        &self.table
    }

    /// The next leap second, listed or announced by the kernel.
    pub fn next(&self, now: Timestamp, bounds: &Bounds) -> Option<Leap> {
        let announced = match bounds.leap {
            LeapFlag::Insert => Some(Sign::Insert),
            LeapFlag::Delete => Some(Sign::Delete),
            LeapFlag::None | LeapFlag::Inserting | LeapFlag::Done => None,
        };
        let announced = announced.map(|sign| Leap { at: next_midnight(now), sign });
        self.table.next(now).into_iter().chain(announced).min_by_key(|leap| leap.at)
    }

    /// What holds now. To be called at each look at the clock: steps are seen from one to the next.
    pub fn observe(&mut self, now: Stamp, bounds: &Bounds) -> Verdict {
        let last = self.last.replace(now);
        if self.mode == Mode::Smear || planted(Bug::LeapNotHeld) {
            return Verdict::default();
        }
        let step = last.map_or(0, |last| step(last, now));
        self.follow_insert(now, step, bounds.leap);
        self.follow_jump(last, now, step, bounds.leap);
        self.last_flag = bounds.leap;
        let mut verdict = Verdict::default();
        if self.jumped.is_some() {
            verdict.lag += SECOND;
        }
        // Just after a second that is left out, what lies before midnight lies before that second.
        // A reading within that second's last moments is a jittering clock's that has jumped.
        let midnight = next_midnight(now.wall.saturating_add(TICK)).saturating_sub(SECOND * 86_400);
        let left_out = self.table.lists(Leap { at: midnight, sign: Sign::Delete });
        if left_out && now.wall.saturating_sub(bounds.error) < midnight {
            verdict.lag += SECOND;
        }
        let Some(insert) = self.insert else { return verdict };
        verdict.edge = Some(insert.at);
        let wall = now.wall;
        if insert.stepped {
            verdict.held_for = Some(insert.at.since(wall)).filter(|left| !left.is_zero());
        } else if wall >= insert.at {
            verdict.lag += SECOND;
            let end = insert.at.saturating_add(SECOND);
            verdict.held_for = Some(end.since(wall)).filter(|left| !left.is_zero());
        }
        verdict
    }

    /// Keeps the second that is near, and whether the clock has stepped back for it.
    fn follow_insert(&mut self, now: Stamp, step: i128, flag: LeapFlag) {
        let near = |at: Timestamp| at.saturating_sub(NEAR);
        // Once the clock is near it, neither a flag that is taken back nor anything else changes it.
        let over = |at: Timestamp| now.wall >= at.saturating_add(SETTLE_MAX);
        if self.insert.is_none_or(|insert| now.wall < near(insert.at) || over(insert.at)) {
            let listed = self.table.next(now.wall.saturating_sub(SETTLE_MAX));
            let listed = listed.filter(|leap| leap.sign == Sign::Insert).map(|leap| leap.at);
            let listed = listed.filter(|at| *at <= now.wall.saturating_add(SETTLE_MAX * 24));
            let announced = (flag == LeapFlag::Insert).then(|| next_midnight(now.wall));
            self.insert = listed.into_iter().chain(announced).min().map(|at| Insert { at, stepped: false });
        }
        let Some(insert) = &mut self.insert else { return };
        // A correction before the end of the day is another one.
        let passed = now.wall.saturating_add(span(step)) >= insert.at.saturating_sub(TICK);
        if step <= -STEP_MIN && passed {
            insert.stepped = true;
        }
    }

    /// Keeps whether the clock is a second fast for having jumped over one that the table does not leave out.
    fn follow_jump(&mut self, last: Option<Stamp>, now: Stamp, step: i128, flag: LeapFlag) {
        let midnight = |wall: Timestamp| {
            let at = next_midnight(wall.saturating_sub(NEAR));
            (at <= wall.saturating_add(NEAR)).then_some(at)
        };
        let listed = |at: Option<Timestamp>, sign| at.is_some_and(|at| self.table.lists(Leap { at, sign }));
        // The kernel jumps at the start of 23:59:59 and is at midnight after it.
        let at = midnight(now.wall);
        let told = self.last_flag == LeapFlag::Delete || flag == LeapFlag::Done;
        let jumped = told && (STEP_MIN..3 * STEP_MIN).contains(&step) && at.is_some() && !listed(at, Sign::Delete);
        // After a restart nobody saw which way it went: the kernel only says that it did something.
        let hidden = last.is_none() && flag == LeapFlag::Done && {
            let past = next_midnight(now.wall).saturating_sub(SECOND * 86_400);
            now.wall.since(past) < SETTLE_MAX && !listed(Some(past), Sign::Delete)
        };
        // A clock that was set back step by step, and not one whose readings jitter.
        let undone = |at: Timestamp| step <= -STEP_MIN || now.wall.saturating_add(SECOND) <= at;
        if jumped || hidden {
            self.jumped = Some(now.wall);
        } else if self.jumped.is_some_and(|at| undone(at) || now.wall.since(at) >= SETTLE_MAX) {
            self.jumped = None;
        }
    }
}

fn span(step: i128) -> Duration {
    Duration::from_nanos(u64::try_from(step.unsigned_abs()).unwrap_or(u64::MAX))
}

/// The first midnight of UTC after `wall`.
fn next_midnight(wall: Timestamp) -> Timestamp {
    let days = wall.unix_ms().div_euclid(DAY_MS);
    Timestamp::from_unix_ms(days.saturating_add(1).saturating_mul(DAY_MS))
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;

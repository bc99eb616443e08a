//! From matching local times to instants: the rule on gaps and folds that the parent module states.
//!
//! It rests on one fact about the tz database: no two changes of a zone's offset lie so close
//! together that the local times they skip or repeat overlap. A test holds the database to it.

use jiff::{
    SignedDuration, Timestamp,
    civil::DateTime,
    tz::{AmbiguousOffset, Offset, TimeZone},
};

use super::CronExpr;
use crate::planted::{Bug, planted};

const SECOND: SignedDuration = SignedDuration::from_secs(1);

/// The first occurrence after `after`, which must be a whole second. `None` at the end of jiff's time.
pub(super) fn next_instant(expr: &CronExpr, tz: &TimeZone, after: Timestamp) -> Option<Timestamp> {
    let fixed = expr.is_fixed_time() && !planted(Bug::FoldFiredTwice);
    if fixed { next_fixed(expr, tz, after) } else { next_elapsed(expr, tz, after) }
}

/// Each matching local time once: the first of two, or the end of the gap.
fn next_fixed(expr: &CronExpr, tz: &TimeZone, after: Timestamp) -> Option<Timestamp> {
    let mut from = tz.to_datetime(after).checked_add(SECOND).ok()?;
    loop {
        let local = expr.at_or_after(from)?;
        match tz.to_ambiguous_timestamp(local).offset() {
            AmbiguousOffset::Unambiguous { offset } => return offset.to_timestamp(local).ok(),
            AmbiguousOffset::Gap { before, after: later } if planted(Bug::GapLost) => {
                from = Shift::around(tz, local, before, later)?.shown_after;
            }
            AmbiguousOffset::Gap { before, after: later } => {
                return Some(Shift::around(tz, local, before, later)?.at);
            }
            AmbiguousOffset::Fold { before, after: later } => {
                let first = before.to_timestamp(local).ok()?;
                if first > after {
                    return Some(first);
                }
                // The second pass shows nothing new.
                from = Shift::around(tz, local, before, later)?.shown_before;
            }
        }
    }
}

/// Each instant whose local time matches.
fn next_elapsed(expr: &CronExpr, tz: &TimeZone, after: Timestamp) -> Option<Timestamp> {
    let here = tz.to_datetime(after);
    let mut from = here.checked_add(SECOND).ok()?;
    if let Some((shift, before)) = first_pass(tz, here, after) {
        // What follows in this pass, and then all of the second pass, behind `here` though it may lie.
        match expr.at_or_after(from) {
            Some(local) if local < shift.shown_before => return before.to_timestamp(local).ok(),
            _ => from = shift.shown_after,
        }
    }
    loop {
        let local = expr.at_or_after(from)?;
        match tz.to_ambiguous_timestamp(local).offset() {
            AmbiguousOffset::Unambiguous { offset } => return offset.to_timestamp(local).ok(),
            AmbiguousOffset::Gap { before, after: later } => {
                from = Shift::around(tz, local, before, later)?.shown_after;
            }
            AmbiguousOffset::Fold { before, after: later } => {
                let first = before.to_timestamp(local).ok()?;
                return if first > after { Some(first) } else { later.to_timestamp(local).ok() };
            }
        }
    }
}

/// The shift that ends the first pass of a fold, and the offset until then, if `after` lies in such a pass.
fn first_pass(tz: &TimeZone, here: DateTime, after: Timestamp) -> Option<(Shift, Offset)> {
    match tz.to_ambiguous_timestamp(here).offset() {
        AmbiguousOffset::Fold { before, after: later } if before == tz.to_offset(after) => {
            Some((Shift::around(tz, here, before, later)?, before))
        }
        _ => None,
    }
}

/// A change of a zone's offset.
struct Shift {
    /// The first instant with the new offset.
    at: Timestamp,
    /// What the old offset would have shown at that instant.
    shown_before: DateTime,
    /// What the new offset shows at that instant.
    shown_after: DateTime,
}

impl Shift {
    /// The shift from `before` to `later` that makes `local` a skipped or repeated time.
    fn around(tz: &TimeZone, local: DateTime, before: Offset, later: Offset) -> Option<Self> {
        // The later reading of `local` is not before the shift, neither in a gap nor in a fold.
        let reading = before.min(later).to_timestamp(local).ok()?;
        let at = tz
            .preceding(reading.checked_add(SECOND).ok()?)
            .map(|transition| transition.timestamp())
            .find(|at| at.checked_sub(SECOND).is_ok_and(|just_before| tz.to_offset(just_before) == before))?;
        Some(Self { at, shown_before: before.to_datetime(at), shown_after: later.to_datetime(at) })
    }
}

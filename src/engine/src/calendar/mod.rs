//! When things recur: cron expressions, fixed intervals, time zones, and crontab files.
//!
//! The problem: a rule is written in local time, occurrences are instants, and twice a year
//! local time skips an hour or shows one twice. Asking "does this minute match?" once a
//! minute, as cron(8) does, loses what falls into a moment of downtime; so a [`Rule`] is a
//! function from an instant to the next occurrence, and remembers nothing between calls.
//!
//! # What an occurrence is
//!
//! An occurrence is named by its instant. `next_after(t)` is the earliest occurrence strictly
//! after `t`; so calling it over and over gives every occurrence once.
//!
//! # Where local time is shifted
//!
//! The rule is that of Debian's cron(8) and of cronie. It tells two kinds of expression apart:
//!
//! - **Fixed-time**: neither the minute field nor the hour field starts with `*`
//!   (`30 2 * * *`, `0 0-23/2 * * *`, `@daily`). Each matching local time is due once:
//!   - one that falls into a *gap* (a local time that is skipped) is due at the first instant
//!     after the gap. Several that fall into one gap have that same instant, so they are one
//!     occurrence; so is one in the gap and one that matches the first instant after it;
//!   - one that falls into a *fold* (a local time that is shown twice) is due at the first of
//!     the two instants.
//! - **Interval-like**: the minute field or the hour field starts with `*` (`*/15 * * * *`,
//!   `0 */2 * * *`, `@hourly`). They follow elapsed time: an instant is an occurrence exactly if
//!   the local time shown at that instant matches. So they are due in both passes of a fold,
//!   and local times in a gap do not occur.
//!
//! The seconds field, where there is one, has no part in this: `* 30 2 * * *` is fixed-time.
//!
//! A gap or fold is any change of a zone's offset: daylight saving, or a change of the zone's
//! standard time, such as the day that Samoa left out in 2011. cron(8) takes changes of three hours or
//! more for corrections of the host's clock, and makes up for none of them. Here the clock is
//! not what is measured, so the size of the change does not matter: `0 12 * * *` in
//! Pacific/Apia is due at the end of the 30 December 2011 that never was.
//!
//! Zone rules come only from the tz database built into the program, so that every node, and
//! every replay, has the same ones. Leap seconds are no part of these instants.

pub mod cron;
pub mod crontab;
mod resolve;
mod rule;
mod zone;

pub use cron::{CronExpr, CronField, CronProblem, InvalidCron};
pub use rule::{Every, InvalidEvery, Rule, Upcoming};
pub use zone::{UnknownZone, Zone};

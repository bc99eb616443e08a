//! Leap seconds: which there are, and what a node does around one.
//!
//! **The mapping.** Instants are stored as Unix milliseconds, which have no leap seconds: each day has
//! 86,400 s. A second that is inserted, 23:59:60, has no number of its own. Linux counts
//! 23:59:59 twice: at the end of 23:59:59 it steps back by one second. So with `L` for 00:00:00 after it:
//!
//! | true UTC | Linux, announced | a clock that was not told |
//! |---|---|---|
//! | 23:59:59.x | L - 1 s + x | L - 1 s + x |
//! | 23:59:60.x | L - 1 s + x, again | L + x: a second fast |
//! | 00:00:00.x | L + x | L + 1 s + x, until its time daemon corrects it |
//!
//! A due instant before `L` means the first pass and one from `L` on means the second after, so no due
//! instant lies inside the inserted second, and none is ambiguous. When 23:59:59 is left out, the
//! due instants inside it are due at `L`, as the clock jumps over them; so nothing is lost.
//! Nothing can run twice either way: a task is fired by a transaction that takes its due entry out.
//! What a leap second can do is make a task *early*: one due at midnight, on a clock that reaches `L` a second
//! before midnight comes. That is what this module prevents.
//!
//! **`pause`**, the default. Around a second that is to be inserted, a node is in one of these:
//! - *Coming*: the table or the kernel says that a second is inserted at `L`, and the clock has not reached `L`.
//!   Nothing changes: whatever is due is due before `L`.
//! - *Inside*: the clock has stepped back and counts 23:59:59 again; or it did not step and shows
//!   less than `L + 1 s`. Firing is held, of everything, however long it has been due.
//! - *Unsettled*: it has passed `L` and was not seen to step back, so it may be a second fast. Then true
//!   time may be a second behind it ([`Verdict::lag`]): tasks start up to a second late and never early. That
//!   ends when the clock steps back, or after [`SETTLE_MAX`], when any time daemon has
//!   corrected it; also after a restart in that hour, when nobody saw what the clock did (then it may be
//!   two seconds, if the kernel says that it did something but not which way).
//! - *Settled*: it has stepped back and reached `L` again.
//!
//! The table and the kernel are believed each for itself when a second is to be *inserted*: a false
//! announcement makes the clock slow, so the worst is late. A second that is *left out* is believed from
//! the table only. When the kernel jumps over a second that the table does not know of, the clock may be a second
//! fast, and is unsettled in the same way.
//!
//! A step is seen by comparing wall and monotonic clock from one look to the next. A correction by slewing
//! is not seen (Linux slews both), so then the hour passes.
//!
//! **`smear`**: the host's time source spreads the leap second over a day, so there is nothing to hold. The
//! whole fleet must then be smeared: a smeared clock is up to half a second off UTC.
//!
//! **What it never does**: drop or reorder anything. It only says how far behind true time may be, and to wait.
//!
//! Read: `second_overflow` in Linux' `kernel/time/ntp.c`; the outages of 2012-07-01, when the kernel's timers
//! fired a second early after the leap second.

mod table;
mod watch;

pub use self::{
    table::{EXPIRY_WARNING, Leap, LeapTable, Sign, TableAge, TableError},
    watch::{Mode, SETTLE_MAX, Verdict, Watch},
};

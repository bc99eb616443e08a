//! What a run did, as somebody saw who stands outside of it: the one input of every checker.
//!
//! A history is a file of JSON lines. The first line is the [`Header`], every other an
//! [`Event`] with the true time at which it happened. The simulated world writes one, and so
//! does a test that drives real processes; so the same checkers judge both. A source leaves
//! out what it cannot see (a real store shows no commit log), says so in the header, and the
//! checkers that need it report that they were not run: silence never counts as a pass.
//!
//! The types here share none with the scheduler. A checker that understood a record the way
//! the code under test does would repeat its mistakes.

mod change;
mod event;
mod file;
mod scale;
mod tasks;

pub use change::Change;
pub use event::{
    AttemptRow, CancelAnswer, EndState, Event, HandlerEnd, NodeChange, NodeName, ScheduleAction, Submission,
    SubmitAnswer, TrueTime, What,
};
pub use file::{ReadError, Recorder};
pub use scale::{Header, Leap, Sees, TimeScale};
pub use tasks::{Start, TaskStory};

/// A whole run.
#[derive(Clone, Debug, PartialEq)]
pub struct History {
    /// What holds for all of it.
    pub header: Header,
    /// In the order of true time; those of one instant in the order in which they happened.
    pub events: Vec<Event>,
}

impl History {
    /// Puts `events` in order.
    pub fn new(header: Header, mut events: Vec<Event>) -> Self {
        events.sort_by_key(|event| event.at);
        Self { header, events }
    }

    /// True time of the first event that `pick` takes.
    pub fn first(&self, pick: impl Fn(&What) -> bool) -> Option<TrueTime> {
        self.events.iter().find(|event| pick(&event.what)).map(|event| event.at)
    }

    /// When every fault was over for good; the end of the run if nobody said.
    pub fn healed(&self) -> TrueTime {
        self.first(|what| matches!(what, What::Healed)).unwrap_or_else(|| self.end())
    }

    /// The last event's time.
    pub fn end(&self) -> TrueTime {
        self.events.last().map_or(TrueTime::ZERO, |event| event.at)
    }
}

//! What happened, in true simulated time, as seen from outside the nodes.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use escapement_engine::{TaskId, Timestamp, Token};

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A submission was acknowledged.
    Acknowledged {
        /// The task.
        id: TaskId,
        /// Its due instant.
        due: Timestamp,
    },
    /// A handler began.
    Started {
        /// The task.
        id: TaskId,
        /// Fencing token.
        token: Token,
        /// Due instant as the handler was told.
        due: Timestamp,
        /// Wall time of the node, as its own clock shows it.
        at: Timestamp,
        /// Name of the node.
        worker: String,
    },
    /// A handler ended by itself.
    Ended {
        /// The task.
        id: TaskId,
        /// Fencing token.
        token: Token,
    },
    /// A handler was dropped before its end: its worker stopped it, or died.
    Stopped {
        /// The task.
        id: TaskId,
        /// Fencing token.
        token: Token,
    },
    /// A node was killed or started.
    Node {
        /// Its name.
        name: String,
        /// What was done to it.
        what: &'static str,
    },
}

/// All events of a run, each with the simulated time since its start.
#[derive(Clone, Debug, Default)]
pub struct Trace(Arc<Mutex<Vec<(Duration, Event)>>>);

impl Trace {
    /// Adds an event at this instant of true time.
    pub fn add(&self, event: Event) {
        let elapsed = madsim::time::TimeHandle::current().elapsed();
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push((elapsed, event));
    }

    /// The events so far, in order.
    pub fn events(&self) -> Vec<(Duration, Event)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, event) in self.events() {
            writeln!(f, "{:>12.6} {event:?}", at.as_secs_f64())?;
        }
        Ok(())
    }
}

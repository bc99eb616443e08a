//! What happened, in true time, with the time that the node's own clock showed.

use std::{
    fmt::Write as _,
    sync::{Arc, Mutex, PoisonError},
};

use escapement_engine::Timestamp;
use escapement_sim::clock::Clocks;
use madsim::time::TimeHandle;

use crate::{
    history::{Event, TrueTime, What},
    plan::STORE,
};

/// Gathers events. Clones gather into the same log. It outlives the simulation.
#[derive(Clone, Default)]
pub(super) struct Log(Arc<Mutex<Vec<Entry>>>);

#[derive(Clone)]
pub(super) struct Entry {
    pub(super) event: Event,
    /// Wall time as the node's clock showed it.
    pub(super) own: Option<Timestamp>,
}

/// True time now.
pub(super) fn true_time() -> TrueTime {
    TrueTime::ZERO.plus(TimeHandle::current().elapsed())
}

impl Log {
    /// Adds what happens now. The clock of a node that is named is read, always, so that
    /// looking at a log changes no run.
    pub(super) fn add(&self, clocks: &Clocks, node: &str, what: What) {
        let own = (!node.is_empty() && node != STORE).then(|| clocks.of(node).now());
        let event = Event { at: true_time(), node: node.to_owned(), what };
        self.push(Entry { event, own });
    }

    /// Adds what happened at another time, or on no node.
    pub(super) fn add_at(&self, at: TrueTime, node: &str, what: What) {
        self.push(Entry { event: Event { at, node: node.to_owned(), what }, own: None });
    }

    fn push(&self, entry: Entry) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(entry);
    }

    /// All of it, in the order of true time.
    pub(super) fn entries(&self) -> Vec<Entry> {
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        entries.sort_by_key(|entry| entry.event.at);
        entries
    }
}

/// One line for each entry: true time, node, the node's own time, event.
pub(super) fn trace(entries: &[Entry]) -> String {
    let mut text = String::new();
    for Entry { event, own } in entries {
        let own = own.map_or_else(String::new, |own| own.to_string().split_off(11));
        let what = serde_json::to_string(&event.what).unwrap_or_default();
        let seconds = std::time::Duration::from_nanos(event.at.0).as_secs_f64();
        let _ = writeln!(text, "{seconds:>12.6} {:<9} {own:<13} {what}", event.node);
    }
    text
}

//! Histories as files, and how they are gathered.

use std::{
    fmt,
    io::{self, BufRead, Write},
    sync::{Arc, Mutex, PoisonError},
};

use super::{Event, Header, History, NodeName, TrueTime, What};

/// A file is no history.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It cannot be read.
    #[error("the history cannot be read: {0}")]
    Io(#[from] io::Error),
    /// A line is not what it should be.
    #[error("line {line} of the history is malformed: {source}")]
    Line {
        /// From 1.
        line: usize,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// There is no first line.
    #[error("the history is empty: its first line is the header")]
    Empty,
    /// Of another program version.
    #[error("the history has format {0}, this program reads 1")]
    Format(u32),
}

impl History {
    /// Writes it, one JSON object a line.
    ///
    /// # Errors
    /// Those of the writer.
    pub fn write(&self, mut out: impl Write) -> io::Result<()> {
        let mut line = |value: serde_json::Result<String>| writeln!(out, "{}", value.map_err(io::Error::from)?);
        line(serde_json::to_string(&self.header))?;
        self.events.iter().try_for_each(|event| line(serde_json::to_string(event)))
    }

    /// Reads one back.
    ///
    /// # Errors
    /// Names the line that is malformed.
    pub fn read(from: impl BufRead) -> Result<Self, ReadError> {
        let mut lines = from.lines().enumerate().map(|(n, line)| (n + 1, line));
        let (line, first) = lines.next().ok_or(ReadError::Empty)?;
        let header: Header = serde_json::from_str(&first?).map_err(|source| ReadError::Line { line, source })?;
        if header.format != 1 {
            return Err(ReadError::Format(header.format));
        }
        let mut events = Vec::new();
        for (line, text) in lines {
            events.push(serde_json::from_str(&text?).map_err(|source| ReadError::Line { line, source })?);
        }
        Ok(Self::new(header, events))
    }
}

/// Gathers events from many nodes. Clones gather into the same history.
#[derive(Clone, Default)]
pub struct Recorder(Arc<Mutex<Vec<Event>>>);

impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Recorder")
    }
}

impl Recorder {
    /// Adds an event.
    pub fn add(&self, at: TrueTime, node: impl Into<NodeName>, what: What) {
        let event = Event { at, node: node.into(), what };
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(event);
    }

    /// All that was gathered so far.
    pub fn history(&self, header: Header) -> History {
        History::new(header, self.0.lock().unwrap_or_else(PoisonError::into_inner).clone())
    }
}

//! Why the embedded store cannot be opened.

use std::{io, path::PathBuf};

/// Why [`super::EmbeddedEngine::open`] refused. Nothing was changed, unless it says so.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Another process has the directory open.
    #[error("{} is in use by {}", path.display(), holder(*.pid))]
    Locked {
        /// The directory.
        path: PathBuf,
        /// Who has it, if it could be told.
        pid: Option<u32>,
    },
    /// The directory was written by a newer version of the program.
    #[error("{} has format {found}, this program reads up to {supported}; use a newer version of it", path.display())]
    FormatTooNew {
        /// The directory.
        path: PathBuf,
        /// Its format.
        found: u32,
        /// Newest format that this program knows.
        supported: u32,
    },
    /// The directory holds something else.
    #[error("{} is neither empty nor a data directory of this program: {found}", path.display())]
    Foreign {
        /// The directory.
        path: PathBuf,
        /// What is there.
        found: String,
    },
    /// The log is damaged where it had been synced: commits would be lost without a word.
    #[error(
        "log segment {} is corrupt at byte {offset} ({reason}), and synced commits follow it",
        path.display()
    )]
    LogCorrupt {
        /// The damaged segment's file.
        path: PathBuf,
        /// Its number.
        segment: u64,
        /// Where the damage begins.
        offset: u64,
        /// What is wrong there.
        reason: String,
    },
    /// Commits are missing that had been acknowledged.
    #[error("{}: commits that were acknowledged are missing: {reason}", path.display())]
    LogMissing {
        /// The log's directory.
        path: PathBuf,
        /// What is missing.
        reason: String,
    },
    /// A file operation failed.
    #[error("cannot {what} {}: {source}", path.display())]
    Io {
        /// What was being done.
        what: &'static str,
        /// To which file.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// The storage engine beneath refused.
    #[error("cannot open the base in {}: {source}", path.display())]
    Base {
        /// The base's directory.
        path: PathBuf,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// Whether a file operation failed for want of room.
pub(super) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge)
}

fn holder(pid: Option<u32>) -> String {
    pid.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}"))
}

impl OpenError {
    /// Whether the disk has no room.
    pub fn is_storage_full(&self) -> bool {
        matches!(self, Self::Io { source, .. } if is_full(source))
    }

    pub(super) fn io(what: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { what, path, source }
    }
}

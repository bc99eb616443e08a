//! What a server makes of a completion, for whoever wants to be told.

use std::sync::Arc;

use escapement_engine::{TaskId, Token};
use escapement_proto::v1;

/// A server's answer to the completion of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// It counts.
    Accepted,
    /// It counted before; this is its answer again.
    Duplicate,
    /// Refused: a later attempt has a higher token, or this one was taken back.
    StaleToken,
    /// Refused: the task was cancelled.
    Cancelled,
    /// Refused: this session never held such an attempt.
    NotHeld,
    /// Refused for a limit that it breaks; the attempt counts as failed.
    Invalid,
    /// Refused: the server cannot read a record of the task.
    Unreadable,
    /// An answer that this version does not know.
    Unknown,
}

impl Verdict {
    /// Its stable code.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Duplicate => "duplicate",
            Self::StaleToken => "stale_token",
            Self::Cancelled => "cancelled",
            Self::NotHeld => "not_held",
            Self::Invalid => "invalid",
            Self::Unreadable => "unreadable",
            Self::Unknown => "unknown",
        }
    }

    /// Whether the attempt's end is not the one that the completion told.
    pub const fn is_refusal(self) -> bool {
        !matches!(self, Self::Accepted | Self::Duplicate)
    }
}

impl From<v1::Verdict> for Verdict {
    fn from(verdict: v1::Verdict) -> Self {
        match verdict {
            v1::Verdict::Accepted => Self::Accepted,
            v1::Verdict::Duplicate => Self::Duplicate,
            v1::Verdict::StaleToken => Self::StaleToken,
            v1::Verdict::Cancelled => Self::Cancelled,
            v1::Verdict::NotHeld => Self::NotHeld,
            v1::Verdict::Invalid => Self::Invalid,
            v1::Verdict::Unreadable => Self::Unreadable,
            v1::Verdict::Unspecified => Self::Unknown,
        }
    }
}

/// Whoever is told of verdicts.
pub(super) type OnVerdict = Arc<dyn Fn(TaskId, Token, Verdict) + Send + Sync>;

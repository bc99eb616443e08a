//! How an error looks on a terminal.

use std::fmt;

use super::{ApiError, headline};

/// An error in several lines: what happened, which fields, what to do.
#[derive(Debug)]
pub struct Report<'a>(pub(super) &'a ApiError);

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let error = self.0;
        write!(f, "error[{}]: {}", error.reason, headline(&error.message, &error.violations))?;
        // A single field stands in the message already.
        if error.violations.len() > 1 {
            for violation in &error.violations {
                write!(f, "\n  {violation}")?;
            }
        }
        if let Some(wait) = error.retry_after {
            write!(f, "\nretry after: {wait:?}")?;
        }
        write!(f, "\nwhat to do: {}", error.reason.advice())
    }
}

//! Messages to model: every limit of the API is checked here and nowhere else.
//!
//! Each function takes the [`Path`] of its field, adds what is wrong to [`Violations`] and goes
//! on, so that a caller learns of all faults at once. It returns `Some` only for a value in
//! which every limit holds; the values of several fields are put together only after all of them
//! were looked at.

mod path;
pub mod request;
mod retry;
mod scalar;
mod schedule;
mod task;

use std::fmt;

pub use path::Path;
pub use schedule::{Timing, schedule_spec};
pub use task::{TaskContext, task_spec};

use crate::error::{ApiError, Reason, VIOLATIONS_LISTED_MAX, Violation};

/// Collects what is wrong with one request.
#[derive(Debug, Default)]
pub struct Violations {
    listed: Vec<Violation>,
    total: usize,
    reason: Option<Reason>,
}

impl Violations {
    /// Nothing wrong so far.
    pub fn new() -> Self {
        Self::default()
    }

    /// The field at `path` is `value`, but `limit` ("must be ...").
    pub fn add(&mut self, path: &Path<'_>, value: impl fmt::Display, limit: impl Into<String>) {
        self.total += 1;
        if self.listed.len() < VIOLATIONS_LISTED_MAX {
            self.listed.push(Violation::new(path.to_string(), value, limit));
        }
    }

    /// As [`Violations::add`], with a reason of its own if nothing else is wrong.
    pub(crate) fn add_with_reason(
        &mut self,
        reason: Reason,
        path: &Path<'_>,
        value: impl fmt::Display,
        limit: impl Into<String>,
    ) {
        self.reason = Some(reason);
        self.add(path, value, limit);
    }

    /// Whether anything is wrong.
    pub fn is_empty(&self) -> bool {
        self.total == 0
    }

    /// The value, if nothing is wrong.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` with all that is wrong.
    ///
    /// # Panics
    /// When there is neither a value nor a violation: whoever withholds a value says why.
    pub fn finish<T>(self, value: Option<T>) -> Result<T, ApiError> {
        if self.is_empty() {
            return Ok(value.expect("a value is withheld only with a violation"));
        }
        let mut error = ApiError::invalid(self.listed, self.total);
        if let (1, Some(reason)) = (self.total, self.reason) {
            error.reason = reason;
        }
        Err(error)
    }
}

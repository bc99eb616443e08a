//! The one error of the API: the same on the server that makes it, on the wire, and in the
//! client that reads it.
//!
//! An [`ApiError`] has a [`Reason`] (a stable code), a text for people, and, where that makes
//! sense, the fields that broke a limit and the time to wait before another try. On the wire
//! it is a gRPC status with the details of the richer error model (`google.rpc`): `ErrorInfo`
//! carries the code, `BadRequest` the fields, `RetryInfo` the wait. Source of the idea: Google's
//! API improvement proposal 193.
//!
//! Texts of other processes (values that callers sent, store errors) are cut before they go
//! into an error, because a status travels in HTTP/2 trailers, which clients refuse beyond
//! 16 KiB.

mod reason;
mod report;
mod status;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, fmt, time::Duration};

pub use reason::{Reason, UnknownReason, exit};
pub use report::Report;

/// `google.rpc.ErrorInfo.domain` of every reason.
pub const ERROR_DOMAIN: &str = "escapement";
/// Characters of a value that an error repeats.
pub const VALUE_CHARS_MAX: usize = 64;
/// Fields that one error lists; the rest is only counted.
pub const VIOLATIONS_LISTED_MAX: usize = 25;
/// Bytes of the text of one error.
pub const MESSAGE_BYTES_MAX: usize = 1024;

/// One field that breaks its limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Path of the field as the request has it: `tasks[3].retry.max_attempts`.
    pub field: String,
    /// What was given, cut to [`VALUE_CHARS_MAX`] characters; empty when nothing was.
    pub value: String,
    /// What is allowed, as the rest of a sentence that starts with the field: "must be ...".
    pub limit: String,
}

impl Violation {
    /// Cuts `value` to [`VALUE_CHARS_MAX`] characters, and makes control characters visible: the
    /// text ends up on terminals.
    pub fn new(field: impl Into<String>, value: impl fmt::Display, limit: impl Into<String>) -> Self {
        // A limit may quote a part of the value; the seam must be found all the same.
        let limit = visible(&limit.into()).replace(status::VALUE_SEAM, " (got '");
        Self { field: field.into(), value: cut_chars(&value.to_string()), limit }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.field)?;
        status::write_description(self, f)
    }
}

/// Why a call failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiError {
    /// The stable code.
    pub reason: Reason,
    /// For people: a sentence without a full stop.
    pub message: String,
    /// The fields that broke their limits, at most [`VIOLATIONS_LISTED_MAX`].
    pub violations: Vec<Violation>,
    /// Wait at least this long before another try. Absent: no wait is known to help.
    pub retry_after: Option<Duration>,
    /// For programs, such as the id of the task that is in the way.
    pub metadata: BTreeMap<String, String>,
}

impl ApiError {
    /// An error of this reason. The text is cut to [`MESSAGE_BYTES_MAX`] bytes.
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        let mut message = message.into();
        cut_bytes(&mut message, MESSAGE_BYTES_MAX);
        Self { reason, message, violations: Vec::new(), retry_after: None, metadata: BTreeMap::new() }
    }

    /// `INVALID_ARGUMENT` about these fields. `total` counts those that are not listed, too.
    pub fn invalid(mut violations: Vec<Violation>, total: usize) -> Self {
        let total = total.max(violations.len());
        violations.truncate(VIOLATIONS_LISTED_MAX);
        let message = match (violations.first(), total) {
            (Some(first), 1) => first.to_string(),
            (Some(first), _) if total > violations.len() => {
                format!("{total} fields are invalid, of which {} are listed; {first}", violations.len())
            }
            (Some(first), _) => format!("{total} fields are invalid; {first}"),
            (None, _) => "the request is invalid".to_owned(),
        };
        Self { violations, ..Self::new(Reason::InvalidArgument, message) }
    }

    /// An error about one field.
    pub fn field(reason: Reason, violation: Violation) -> Self {
        Self { violations: vec![violation.clone()], ..Self::new(reason, violation.to_string()) }
    }

    /// The same error with a time to wait.
    #[must_use]
    pub fn with_retry_after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }

    /// The same error with one more entry for programs.
    #[must_use]
    pub fn with_metadata(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.metadata.insert(key.into(), value.into());
        self
    }

    /// The error as the command line shows it: several lines, ending with what to do.
    pub fn report(&self) -> Report<'_> {
        Report(self)
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for ApiError {}

/// The message, without the field that it repeats when it and others are listed below.
pub(crate) fn headline<'a>(message: &'a str, violations: &[Violation]) -> &'a str {
    let [first, _, ..] = violations else { return message };
    let head = message.strip_suffix(&first.to_string()).and_then(|head| head.strip_suffix("; "));
    head.unwrap_or(message)
}

fn cut_chars(text: &str) -> String {
    match text.char_indices().nth(VALUE_CHARS_MAX) {
        Some((end, _)) => visible(&text[..end]) + "...",
        None => visible(text),
    }
}

fn visible(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() { out.extend(c.escape_default()) } else { out.push(c) }
    }
    out
}

fn cut_bytes(text: &mut String, max: usize) {
    if text.len() > max {
        let end = text.floor_char_boundary(max - 3);
        text.truncate(end);
        text.push_str("...");
    }
}

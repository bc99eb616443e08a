//! What programs get to see: the JSON shapes of `docs/CLI.md`. Every key is always there;
//! what is absent is null.

pub(super) mod schedule;
pub(super) mod task;
#[cfg(test)]
mod tests;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use escapement_engine::Timestamp;
use escapement_proto::v1;
use serde::Serialize;

use crate::client::task::from_timestamp;

/// RFC 3339 in UTC with milliseconds.
pub(super) fn instant(at: Option<prost_types::Timestamp>) -> Option<String> {
    from_timestamp(at?).as_ref().map(Timestamp::to_string)
}

pub(super) fn millis(span: Option<prost_types::Duration>) -> Option<i64> {
    span.map(|span| span.seconds.saturating_mul(1000).saturating_add(i64::from(span.nanos) / 1_000_000))
}

pub(super) fn nonempty(text: &str) -> Option<String> {
    Some(text.to_owned()).filter(|text| !text.is_empty())
}

/// `TASK_STATE_DEAD_LETTERED` without its prefix, in small letters.
pub(super) fn enum_word(name: &str, prefix: &str) -> String {
    name.strip_prefix(prefix).unwrap_or(name).to_ascii_lowercase()
}

#[derive(Serialize)]
pub(super) struct PayloadView {
    content_type: String,
    size_bytes: usize,
    /// How `data` stands for the bytes: "json" (the value itself), "text", "base64".
    encoding: &'static str,
    data: serde_json::Value,
    /// The server left the end of it out.
    truncated: bool,
}

impl PayloadView {
    pub(super) fn of(payload: &v1::Payload) -> Self {
        let bytes = &payload.data;
        let json = payload.content_type.starts_with("application/json");
        let (encoding, data) = match (std::str::from_utf8(bytes), serde_json::from_slice(bytes)) {
            (_, Ok(value)) if json => ("json", value),
            (Ok(text), _) => ("text", text.into()),
            (Err(_), _) => ("base64", STANDARD.encode(bytes).into()),
        };
        Self {
            content_type: payload.content_type.clone(),
            size_bytes: bytes.len(),
            encoding,
            data,
            truncated: payload.truncated,
        }
    }

    /// On one or more lines.
    pub(super) fn describe(&self) -> String {
        let kind = if self.content_type.is_empty() { "no content type" } else { &self.content_type };
        let cut = if self.truncated { ", the rest was left out" } else { "" };
        let head = format!("{kind}, {} bytes{cut}", self.size_bytes);
        match (&self.data, self.encoding) {
            (_, "base64") => head,
            (serde_json::Value::String(text), "text") if text.len() <= SHOWN_BYTES_MAX => format!("{text} ({head})"),
            (value, "json") if self.size_bytes <= SHOWN_BYTES_MAX => format!("{value} ({head})"),
            _ => format!("{head}; --output json shows all"),
        }
    }
}

/// Longer payloads are not shown to people unasked.
const SHOWN_BYTES_MAX: usize = 1024;

#[derive(Serialize)]
pub(super) struct RetryView {
    max_attempts: u32,
    initial_backoff_ms: Option<i64>,
    backoff_multiplier: f64,
    max_backoff_ms: Option<i64>,
    jitter: Option<f64>,
    non_retryable_errors: Vec<String>,
}

impl RetryView {
    pub(super) fn of(retry: &v1::RetryPolicy) -> Self {
        Self {
            max_attempts: retry.max_attempts,
            initial_backoff_ms: millis(retry.initial_backoff),
            backoff_multiplier: retry.backoff_multiplier,
            max_backoff_ms: millis(retry.max_backoff),
            jitter: retry.jitter,
            non_retryable_errors: retry.non_retryable_errors.clone(),
        }
    }
}

pub(super) fn priority(priority: v1::Priority) -> String {
    match priority {
        v1::Priority::Unspecified => "medium".to_owned(),
        known => enum_word(known.as_str_name(), "PRIORITY_"),
    }
}

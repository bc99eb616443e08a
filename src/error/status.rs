//! To and from a gRPC status with `google.rpc` details.

use std::{fmt, time::Duration};

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, FieldViolation, StatusExt as _};

use super::{ApiError, ERROR_DOMAIN, MESSAGE_BYTES_MAX, Reason, VIOLATIONS_LISTED_MAX, Violation, cut_bytes};

/// Bytes of all listed fields together: with base64 and the message in two places the trailers
/// stay below 16 KiB, the most that HTTP/2 clients take unless told otherwise.
const VIOLATIONS_BYTES_MAX: usize = 4096;
/// Bytes of all metadata together.
const METADATA_BYTES_MAX: usize = 1024;

// Stands between limit and value in a description. `Violation::new` lets no limit contain it, so
// the first place where it stands is the seam.
pub(super) const VALUE_SEAM: &str = " (got `";
const VALUE_END: &str = "`)";

pub(super) fn write_description(violation: &Violation, out: &mut impl fmt::Write) -> fmt::Result {
    out.write_str(&violation.limit)?;
    if violation.value.is_empty() { Ok(()) } else { write!(out, "{VALUE_SEAM}{}{VALUE_END}", violation.value) }
}

fn description(violation: &Violation) -> String {
    let mut text = String::new();
    write_description(violation, &mut text).expect("writing to a String never fails");
    text
}

fn parse_description(field: String, text: &str) -> Violation {
    let parts = text.split_once(VALUE_SEAM).and_then(|(limit, rest)| Some((limit, rest.strip_suffix(VALUE_END)?)));
    let (limit, value) = parts.unwrap_or((text, ""));
    Violation { field, value: value.to_owned(), limit: limit.to_owned() }
}

impl From<ApiError> for Status {
    fn from(error: ApiError) -> Self {
        let ApiError { reason, mut message, violations, retry_after, metadata } = error;
        cut_bytes(&mut message, MESSAGE_BYTES_MAX);
        let mut budget = METADATA_BYTES_MAX;
        let metadata: Vec<_> =
            metadata.into_iter().take_while(|(key, value)| spend(&mut budget, key.len() + value.len())).collect();
        let mut details = ErrorDetails::with_error_info(
            reason.code(),
            ERROR_DOMAIN,
            metadata.into_iter().collect::<std::collections::HashMap<_, _>>(),
        );
        let mut budget = VIOLATIONS_BYTES_MAX;
        let violations: Vec<_> = violations
            .into_iter()
            .take(VIOLATIONS_LISTED_MAX)
            .map(|violation| (description(&violation), violation.field))
            .take_while(|(description, field)| spend(&mut budget, field.len() + description.len()))
            .map(|(description, field)| FieldViolation::new(field, description))
            .collect();
        if !violations.is_empty() {
            details.set_bad_request(violations);
        }
        if retry_after.is_some() {
            details.set_retry_info(retry_after);
        }
        Self::with_error_details(reason.grpc_code(), message, details)
    }
}

fn spend(budget: &mut usize, bytes: usize) -> bool {
    match budget.checked_sub(bytes) {
        Some(rest) => {
            *budget = rest;
            true
        }
        None => false,
    }
}

impl ApiError {
    /// Reads a status, of this server or of any other: one without details, or with details of
    /// a newer version, becomes the reason that its gRPC code stands for.
    pub fn from_status(status: &Status) -> Self {
        let details = status.get_error_details();
        let info = details.error_info().filter(|info| info.domain == ERROR_DOMAIN);
        let known = info.and_then(|info| info.reason.parse().ok());
        let message = match (known, info) {
            // Kept readable: the code of a newer server still tells something.
            (None, Some(info)) => format!("{}: {}", info.reason, status.message()),
            (None, None) if status.message().is_empty() => code_text(status.code()).to_owned(),
            _ => status.message().to_owned(),
        };
        let violations = details.bad_request().map(|bad| bad.field_violations.as_slice()).unwrap_or_default();
        Self {
            reason: known.unwrap_or(Reason::of_grpc_code(status.code())),
            message,
            violations: violations.iter().map(|v| parse_description(v.field.clone(), &v.description)).collect(),
            retry_after: retry_delay(&details),
            metadata: info.map(|info| info.metadata.clone().into_iter().collect()).unwrap_or_default(),
        }
    }
}

fn retry_delay(details: &ErrorDetails) -> Option<Duration> {
    details.retry_info().and_then(|info| info.retry_delay)
}

fn code_text(code: Code) -> &'static str {
    code.description()
}

impl From<&Status> for ApiError {
    fn from(status: &Status) -> Self {
        Self::from_status(status)
    }
}

//! What to post, and where.

use std::{collections::BTreeMap, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use reqwest::{
    Url,
    header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue},
};
use serde::{Deserialize, Serialize};

use crate::worker::{Payload, TaskFailure};

/// Headers that a request may set.
pub const HEADERS_MAX: usize = 64;
/// Longest timeout that a request may set.
pub const TIMEOUT_MAX: Duration = Duration::from_secs(24 * 3600);

/// Set by the worker or by the connection, never by a task.
const RESERVED_HEADERS: [&str; 8] =
    ["connection", "content-length", "host", "idempotency-key", "te", "trailer", "transfer-encoding", "upgrade"];

/// A POST request, as the payload of a task. Unknown fields are refused.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpRequest {
    /// An absolute `http` or `https` URL.
    pub url: String,
    /// At most 64. Those that the worker sets itself are refused.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// The body as text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    /// The body as base64 (RFC 4648, section 4), instead of `body`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body_base64: Option<String>,
    /// Longest wait for the whole answer: 1 to 86,400,000. Absent: the attempt's timeout alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
}

impl HttpRequest {
    /// A request to this URL, with nothing else set.
    pub fn new(url: impl Into<String>) -> Self {
        Self { url: url.into(), ..Self::default() }
    }

    /// Whether a worker posts to such a URL: absolute, with `http` or `https`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check_url(url: &str) -> Result<(), String> {
        parse_url(url).map(drop)
    }

    /// The request as the payload of a task.
    pub fn to_payload(&self) -> Payload {
        Payload::json(serde_json::to_string(self).expect("strings, numbers and maps with string keys"))
    }
}

/// A request that is checked.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) url: Url,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    pub(super) timeout: Option<Duration>,
}

impl Call {
    pub(super) fn fixed(url: Url, payload: &Payload) -> Self {
        let mut headers = HeaderMap::new();
        if let Ok(content_type) = HeaderValue::from_str(&payload.content_type)
            && !content_type.is_empty()
        {
            headers.insert(CONTENT_TYPE, content_type);
        }
        Self { url, headers, body: payload.data.clone(), timeout: None }
    }

    pub(super) fn from_payload(payload: &Payload) -> Result<Self, TaskFailure> {
        let refuse =
            |reason: String| TaskFailure::non_retryable("invalid-payload", format!("not an HTTP request: {reason}"));
        let request: HttpRequest = serde_json::from_slice(&payload.data).map_err(|error| refuse(error.to_string()))?;
        Self::check(request).map_err(refuse)
    }

    fn check(request: HttpRequest) -> Result<Self, String> {
        let HttpRequest { url, headers, body, body_base64, timeout_ms } = request;
        let body = match (body, body_base64) {
            (Some(_), Some(_)) => return Err("body and body_base64 exclude each other".to_owned()),
            (Some(text), None) => Bytes::from(text),
            (None, Some(text)) => STANDARD.decode(text).map_err(|error| format!("body_base64: {error}"))?.into(),
            (None, None) => Bytes::new(),
        };
        let timeout = timeout_ms.map(Duration::from_millis);
        if timeout.is_some_and(|span| span.is_zero() || span > TIMEOUT_MAX) {
            let ms = timeout_ms.unwrap_or_default();
            return Err(format!("timeout_ms is {ms}; it lies in 1..={}", TIMEOUT_MAX.as_millis()));
        }
        let url = parse_url(&url).map_err(|limit| format!("url: `{url}` is refused: {limit}"))?;
        Ok(Self { url, headers: check_headers(headers)?, body, timeout })
    }
}

fn check_headers(headers: BTreeMap<String, String>) -> Result<HeaderMap, String> {
    if headers.len() > HEADERS_MAX {
        return Err(format!("headers has {} entries; the limit is {HEADERS_MAX}", headers.len()));
    }
    let mut checked = HeaderMap::new();
    for (name, value) in headers {
        let header =
            HeaderName::try_from(name.as_str()).map_err(|_| format!("headers: `{name}` is not a header name"))?;
        if RESERVED_HEADERS.contains(&header.as_str()) || header.as_str().starts_with("escapement-") {
            return Err(format!("headers: `{name}` is set by the worker"));
        }
        let value = HeaderValue::try_from(value)
            .map_err(|_| format!("headers: the value of `{name}` has characters that a header cannot have"))?;
        checked.append(header, value);
    }
    Ok(checked)
}

/// An absolute URL that can be posted to; else the rule that it breaks.
pub(super) fn parse_url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| error.to_string())?;
    match url.scheme() {
        "http" | "https" => Ok(url),
        other => Err(format!("the scheme is `{other}`; it is http or https")),
    }
}

/// Whether a host of the allow-list covers this one.
pub(super) fn host_matches(pattern: &str, host: &str, port: u16) -> bool {
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    let (pattern, pattern_port) = match pattern.rsplit_once(':') {
        // The last colon of a bare IPv6 address in brackets is no port's.
        Some((name, digits)) if !digits.ends_with(']') => (name, Some(digits)),
        _ => (pattern, None),
    };
    if pattern_port.is_some_and(|digits| digits.parse() != Ok(port)) {
        return false;
    }
    match pattern.strip_prefix("*.") {
        Some(parent) => host.strip_suffix(parent).is_some_and(|below| below.len() > 1 && below.ends_with('.')),
        None => host == pattern,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_allow_list_covers_hosts_ports_and_subdomains_and_nothing_else() {
        let check =
            |pattern, host, port, expect| assert_eq!(host_matches(pattern, host, port), expect, "{pattern} {host}");
        check("example.org", "example.org", 443, true);
        check("example.org", "EXAMPLE.org.", 80, true);
        check("example.org", "evil-example.org", 443, false);
        check("example.org", "example.org.evil.net", 443, false);
        check("example.org:8080", "example.org", 8080, true);
        check("example.org:8080", "example.org", 443, false);
        check("*.example.org", "a.b.example.org", 443, true);
        check("*.example.org", "example.org", 443, false);
        check("*.example.org", ".example.org", 443, false);
        check("*.example.org", "evilexample.org", 443, false);
        check("[::1]", "[::1]", 80, true);
        check("[::1]:81", "[::1]", 80, false);
    }

    #[test]
    fn what_is_refused_is_named() {
        let check = |json: &str| Call::from_payload(&Payload::json(json)).unwrap_err().to_string();
        let refusals = [
            check("{}"),
            check(r#"{"url": "http://a/", "method": "GET"}"#),
            check(r#"{"url": "/relative"}"#),
            check(r#"{"url": "file:///etc/passwd"}"#),
            check(r#"{"url": "http://a/", "body": "x", "body_base64": "eA=="}"#),
            check(r#"{"url": "http://a/", "body_base64": "?"}"#),
            check(r#"{"url": "http://a/", "timeout_ms": 0}"#),
            check(r#"{"url": "http://a/", "headers": {"Escapement-Token": "1"}}"#),
            check(r#"{"url": "http://a/", "headers": {"Host": "b"}}"#),
            check(r#"{"url": "http://a/", "headers": {"X": "a\nb"}}"#),
            check(r#"{"url": "http://a/", "headers": {"X Y": "a"}}"#),
        ];
        insta::assert_snapshot!(refusals.join("\n"), @r"
        invalid-payload: not an HTTP request: missing field `url` at line 1 column 2
        invalid-payload: not an HTTP request: unknown field `method`, expected one of `url`, `headers`, `body`, `body_base64`, `timeout_ms` at line 1 column 29
        invalid-payload: not an HTTP request: url: `/relative` is refused: relative URL without a base
        invalid-payload: not an HTTP request: url: `file:///etc/passwd` is refused: the scheme is `file`; it is http or https
        invalid-payload: not an HTTP request: body and body_base64 exclude each other
        invalid-payload: not an HTTP request: body_base64: Invalid symbol 63, offset 0.
        invalid-payload: not an HTTP request: timeout_ms is 0; it lies in 1..=86400000
        invalid-payload: not an HTTP request: headers: `Escapement-Token` is set by the worker
        invalid-payload: not an HTTP request: headers: `Host` is set by the worker
        invalid-payload: not an HTTP request: headers: the value of `X` has characters that a header cannot have
        invalid-payload: not an HTTP request: headers: `X Y` is not a header name
        ");
    }
}

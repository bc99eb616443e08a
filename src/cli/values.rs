//! Values as people type them.

use std::time::Duration;

use escapement_engine::{TaskId, Timestamp, limits::IDEMPOTENCY_KEY_BYTES_MAX};
use jiff::{Span, SpanRelativeTo};

use super::error::CliError;
use crate::{error::Violation, worker::http::HttpRequest};

/// `2s`, `500ms`, `1h30m`, `2 days`, `PT5M`. A day has 24 hours.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    const RULE: &str = "must be a duration such as 2s, 500ms, 1h30m or 2d";
    let span: Span = text.trim().parse().map_err(|_| RULE.to_owned())?;
    if span.is_negative() {
        return Err("must not be negative".to_owned());
    }
    let exact = span.to_duration(SpanRelativeTo::days_are_24_hours());
    let exact = exact.map_err(|_| format!("{RULE}; months and years differ in length"))?;
    Ok(exact.unsigned_abs())
}

/// RFC 3339 with `Z` or an offset; parts of a millisecond count as whole ones.
pub(super) fn instant(text: &str) -> Result<Timestamp, String> {
    const RULE: &str = "must be an instant such as 2026-11-24T12:00:00Z or 2026-11-24T13:00:00+01:00";
    let at: jiff::Timestamp = text.trim().parse().map_err(|_| RULE.to_owned())?;
    let whole = at.as_millisecond();
    let rounded_up = i64::from(at.as_nanosecond().rem_euclid(1_000_000) != 0);
    // Rounds towards zero, which before 1970 is up already.
    Ok(Timestamp::from_unix_ms(if whole < 0 || at.as_nanosecond() < 0 { whole } else { whole + rounded_up }))
}

/// `key=value`. The first `=` separates.
pub(super) fn label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("must be KEY=VALUE".to_owned()),
    }
}

/// A label that is given twice has two values, of which the server would keep one.
pub(super) fn labels_once(labels: &[(String, String)]) -> Result<(), CliError> {
    let twice = labels.iter().enumerate().find(|(at, (key, _))| labels[..*at].iter().any(|(before, _)| before == key));
    match twice {
        None => Ok(()),
        Some((_, (key, value))) => {
            let violation = Violation::new(format!("labels[{key}]"), value, "must be given once");
            let message = violation.to_string();
            let error = CliError::usage(message, "Leave out one of the two --label.");
            Err(CliError { violations: vec![violation], ..error })
        }
    }
}

/// A task's id. The nil one, which stands for no id, is none.
pub(super) fn task_id(text: &str) -> Result<TaskId, String> {
    let id: TaskId = text.parse().map_err(|error| format!("{error}"))?;
    if id.uuid().is_nil() { Err("must not be the nil UUID".to_owned()) } else { Ok(id) }
}

/// 1 to 256 bytes: an empty key would be none.
pub(super) fn idempotency_key(text: &str) -> Result<String, String> {
    match text.len() {
        1..=IDEMPOTENCY_KEY_BYTES_MAX => Ok(text.to_owned()),
        bytes => Err(format!("must have 1 to {IDEMPOTENCY_KEY_BYTES_MAX} bytes, but has {bytes}")),
    }
}

/// `type/subtype`, perhaps with parameters.
pub(super) fn content_type(text: &str) -> Result<String, String> {
    let essence = text.split(';').next().unwrap_or_default().trim();
    match essence.split_once('/') {
        Some((kind, subtype)) if !kind.is_empty() && !subtype.is_empty() => Ok(text.to_owned()),
        _ => Err("must be a media type such as application/json".to_owned()),
    }
}

/// One that the http worker posts to.
pub(super) fn url(text: &str) -> Result<String, String> {
    HttpRequest::check_url(text)
        .map(|()| text.to_owned())
        .map_err(|error| format!("must be a URL such as http://localhost:8080/, with http or https: {error}"))
}

/// For people: `1h 30m`, `250ms`.
pub(super) fn show_duration(span: Duration) -> String {
    match jiff::SignedDuration::try_from(span) {
        Ok(span) => format!("{span:#}"),
        Err(_) => format!("{span:?}"),
    }
}

/// An instant in a zone's local time, with its offset.
pub(super) fn show_local(at: Timestamp, zone: &str) -> Option<String> {
    let zone = jiff::tz::TimeZoneDatabase::bundled().get(zone).ok()?;
    let at = jiff::Timestamp::from_millisecond(at.unix_ms()).ok()?.to_zoned_datetime(zone);
    Some(at.strftime("%a %Y-%m-%d %H:%M:%S %:z").to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_people_write_them() {
        let check = |text: &str, expect: Result<u64, &str>| {
            let got = duration(text).map(|span| u64::try_from(span.as_millis()).unwrap());
            assert_eq!(
                got.map_err(|error| error.split(" such").next().unwrap().to_owned()),
                expect.map_err(str::to_owned),
                "{text}"
            );
        };
        check("2s", Ok(2000));
        check("500ms", Ok(500));
        check("1h30m", Ok(5_400_000));
        check("1h 30m", Ok(5_400_000));
        check("2d", Ok(172_800_000));
        check("1w", Ok(604_800_000));
        check("PT5M", Ok(300_000));
        check("0s", Ok(0));
        check("-2s", Err("must not be negative"));
        check("2s ago", Err("must not be negative"));
        check("5", Err("must be a duration"));
        check("", Err("must be a duration"));
        check("soon", Err("must be a duration"));
        check("1mo", Err("must be a duration"));
    }

    #[test]
    fn an_instant_never_becomes_earlier() {
        let check = |text: &str, ms: Option<i64>| assert_eq!(instant(text).ok().map(Timestamp::unix_ms), ms, "{text}");
        check("1970-01-01T00:00:01Z", Some(1000));
        check("1970-01-01T01:00:01+01:00", Some(1000));
        check("1970-01-01T00:00:00.0001Z", Some(1));
        check("1969-12-31T23:59:59.9999Z", Some(0));
        check("1969-12-31T23:59:59.0009Z", Some(-999));
        check("2026-11-24T12:00:00", None);
        check("tomorrow", None);
    }

    #[test]
    fn keys_types_and_urls_are_checked_as_they_are_typed() {
        let check = |result: Result<String, String>, expect: Result<&str, &str>| match (&result, expect) {
            (Ok(got), Ok(expect)) => assert_eq!(got, expect),
            (Err(got), Err(expect)) => assert!(got.contains(expect), "{got}"),
            _ => panic!("{result:?}, not {expect:?}"),
        };
        check(idempotency_key(""), Err("must have 1 to 256 bytes, but has 0"));
        check(idempotency_key("k"), Ok("k"));
        check(idempotency_key(&"k".repeat(257)), Err("but has 257"));
        check(content_type("json"), Err("must be a media type"));
        check(content_type("text/; charset=utf-8"), Err("must be a media type"));
        check(content_type("text/plain; charset=utf-8"), Ok("text/plain; charset=utf-8"));
        check(url("localhost:8080"), Err("with http or https"));
        check(url("/relative"), Err("with http or https"));
        check(url("https://h/x"), Ok("https://h/x"));
        let id = |text: &str| task_id(text).map(|id| id.to_string());
        check(id("00000000-0000-0000-0000-000000000000"), Err("nil"));
        check(id("11111111-1111-4111-a111-111111111111"), Ok("11111111-1111-4111-a111-111111111111"));
    }

    #[test]
    fn local_times_show_their_offset() {
        let at = instant("2026-03-29T01:00:00Z").unwrap();
        assert_eq!(show_local(at, "Europe/Berlin").as_deref(), Some("Sun 2026-03-29 03:00:00 +02:00"));
        assert_eq!(show_local(at, "Nowhere/Such"), None);
    }
}

//! Values as people type them.

use std::time::Duration;

use escapement_engine::Timestamp;
use jiff::{Span, SpanRelativeTo};

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
    fn local_times_show_their_offset() {
        let at = instant("2026-03-29T01:00:00Z").unwrap();
        assert_eq!(show_local(at, "Europe/Berlin").as_deref(), Some("Sun 2026-03-29 03:00:00 +02:00"));
        assert_eq!(show_local(at, "Nowhere/Such"), None);
    }
}

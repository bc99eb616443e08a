//! Fields of one value: names, ids, texts, instants, durations, payloads, labels.

use std::{collections::BTreeMap, ops::RangeInclusive, time::Duration};

use escapement_engine::{
    TaskId, Timestamp,
    limits::{CONTENT_TYPE_BYTES_MAX, LABEL_KEY_CHARS_MAX, LABEL_VALUE_BYTES_MAX, LABELS_MAX},
    name::{InvalidName, Namespace, Priority, QueueName, ScheduleId},
};
use escapement_proto::v1;

use super::{Path, Violations};
use crate::{api::ApiLimits, model::Payload};

fn name<T>(path: &Path<'_>, name: Result<T, InvalidName>, v: &mut Violations) -> Option<T> {
    name.map_err(|error| v.add(path, error.value, format!("must be {}", error.rule))).ok()
}

/// Empty means "default".
pub(super) fn namespace(path: &Path<'_>, text: &str, v: &mut Violations) -> Option<Namespace> {
    if text.is_empty() { Some(Namespace::default()) } else { name(path, Namespace::new(text), v) }
}

pub(super) fn queue(path: &Path<'_>, text: &str, v: &mut Violations) -> Option<QueueName> {
    name(path, QueueName::new(text), v)
}

pub(super) fn schedule_id(path: &Path<'_>, text: &str, v: &mut Violations) -> Option<ScheduleId> {
    name(path, ScheduleId::new(text), v)
}

/// Any UUID in its hyphenated form.
pub(super) fn task_id(path: &Path<'_>, text: &str, v: &mut Violations) -> Option<TaskId> {
    let limit = "must be a UUID such as 0192f0c1-2b3a-7c4d-8e5f-60718293a4b5";
    text.parse().map_err(|_| v.add(path, text, limit)).ok()
}

/// At most `max` bytes.
pub(super) fn text(path: &Path<'_>, text: &str, max: usize, v: &mut Violations) -> Option<String> {
    if text.len() > max {
        v.add(path, text, format!("must be at most {max} bytes, but has {}", text.len()));
        return None;
    }
    Some(text.to_owned())
}

/// Years 1 to 9999, as `google.protobuf.Timestamp` allows; a part of a millisecond counts as a
/// whole one, so that nothing becomes earlier.
pub(super) fn timestamp(path: &Path<'_>, at: &prost_types::Timestamp, v: &mut Violations) -> Option<Timestamp> {
    const SECONDS: RangeInclusive<i64> = -62_135_596_800..=253_402_300_799;
    let nanos = u32::try_from(at.nanos).ok();
    let valid = nanos.filter(|_| SECONDS.contains(&at.seconds));
    // Rounding up must not leave the year 9999 either.
    let valid = valid
        .and_then(|nanos| Timestamp::from_unix_parts_ceil(at.seconds, nanos))
        .filter(|at| at.unix_ms() < (SECONDS.end() + 1) * 1000);
    if valid.is_none() {
        let value = format!("seconds {}, nanos {}", at.seconds, at.nanos);
        v.add(path, value, "must be an instant of the years 1 to 9999, with nanos from 0 to 999999999");
    }
    valid
}

/// As [`timestamp`]; absent is no violation.
pub(super) fn optional_timestamp(
    path: &Path<'_>,
    at: Option<&prost_types::Timestamp>,
    v: &mut Violations,
) -> Option<Option<Timestamp>> {
    match at {
        None => Some(None),
        Some(at) => timestamp(path, at, v).map(Some),
    }
}

/// A duration as its writer meant it: seconds and nanoseconds of one sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    negative: bool,
    magnitude: Duration,
}

impl Span {
    /// Rounded up to whole milliseconds, the unit of the store; `None` for a negative one.
    pub(super) fn millis_ceil(self) -> Option<Duration> {
        if self.negative && !self.magnitude.is_zero() {
            return None;
        }
        let part = self.magnitude.subsec_nanos() % 1_000_000;
        let up = if part == 0 { 0 } else { 1_000_000 - part };
        self.magnitude.checked_add(Duration::from_nanos(u64::from(up)))
    }
}

impl std::fmt::Display for Span {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let sign = if self.negative { "-" } else { "" };
        write!(f, "{sign}{:?}", self.magnitude)
    }
}

/// At most 10,000 years either way, nanoseconds below a second and of the same sign, as
/// `google.protobuf.Duration` demands.
pub(super) fn span(path: &Path<'_>, span: &prost_types::Duration, v: &mut Violations) -> Option<Span> {
    const SECONDS_MAX: u64 = 315_576_000_000;
    let (seconds, nanos) = (span.seconds.unsigned_abs(), span.nanos.unsigned_abs());
    let one_sign = span.seconds == 0 || span.nanos == 0 || (span.seconds < 0) == (span.nanos < 0);
    if !one_sign || nanos > 999_999_999 || seconds > SECONDS_MAX {
        let value = format!("seconds {}, nanos {}", span.seconds, span.nanos);
        v.add(path, value, "must be at most 10000 years, with nanos from -999999999 to 999999999 of the same sign");
        return None;
    }
    Some(Span { negative: span.seconds < 0 || span.nanos < 0, magnitude: Duration::new(seconds, nanos) })
}

/// A duration in `range`, rounded up to whole milliseconds.
pub(super) fn duration(
    path: &Path<'_>,
    value: &prost_types::Duration,
    range: RangeInclusive<Duration>,
    limit: &str,
    v: &mut Violations,
) -> Option<Duration> {
    let span = span(path, value, v)?;
    let found = span.millis_ceil().filter(|found| range.contains(found));
    if found.is_none() {
        v.add(path, span, limit);
    }
    found
}

/// As [`duration`]; absent means `default`.
pub(super) fn duration_or(
    path: &Path<'_>,
    value: Option<&prost_types::Duration>,
    default: Duration,
    range: RangeInclusive<Duration>,
    limit: &str,
    v: &mut Violations,
) -> Option<Duration> {
    value.map_or(Some(default), |value| duration(path, value, range, limit, v))
}

/// Absent means empty.
pub(super) fn payload(
    path: &Path<'_>,
    payload: Option<v1::Payload>,
    limits: &ApiLimits,
    v: &mut Violations,
) -> Option<Payload> {
    let payload = payload.unwrap_or_default();
    let max = limits.payload_bytes_max;
    let data_path = path.field("data");
    let fits = payload.data.len() <= max;
    if !fits {
        v.add(&data_path, format!("{} bytes", payload.data.len()), format!("must be at most {max} bytes"));
    }
    let type_path = path.field("content_type");
    let content_type = text(&type_path, &payload.content_type, CONTENT_TYPE_BYTES_MAX, v);
    // It becomes a header of the HTTP worker's requests.
    let printable = payload.content_type.bytes().all(|b| matches!(b, b' '..=b'~'));
    if !printable {
        v.add(&type_path, &payload.content_type, "must be printable ASCII, such as application/json");
    }
    (fits && printable).then_some(())?;
    Some(Payload { data: payload.data, content_type: content_type?, truncated: false })
}

/// An enum's number; 0 means MEDIUM.
pub(super) fn priority(path: &Path<'_>, number: i32, v: &mut Violations) -> Option<Priority> {
    match v1::Priority::try_from(number) {
        Ok(v1::Priority::Unspecified | v1::Priority::Medium) => Some(Priority::Medium),
        Ok(v1::Priority::High) => Some(Priority::High),
        Ok(v1::Priority::Low) => Some(Priority::Low),
        Err(_) => {
            v.add(path, number, "must be a known priority: 1 (HIGH), 2 (MEDIUM) or 3 (LOW)");
            None
        }
    }
}

/// At most 32 labels.
pub(super) fn labels(
    path: &Path<'_>,
    labels: BTreeMap<String, String>,
    v: &mut Violations,
) -> Option<BTreeMap<String, String>> {
    let count_fits = labels.len() <= LABELS_MAX;
    if !count_fits {
        v.add(path, format!("{} labels", labels.len()), format!("must be at most {LABELS_MAX} labels"));
        // A thousand more complaints would help nobody.
        return None;
    }
    let mut valid = true;
    for (key, value) in &labels {
        let path = path.key(key);
        if key.is_empty() || key.len() > LABEL_KEY_CHARS_MAX || !key.bytes().all(is_label_byte) {
            v.add(&path, key, "must have a key of 1 to 63 characters of [A-Za-z0-9._/-]");
            valid = false;
        }
        valid &= text(&path, value, LABEL_VALUE_BYTES_MAX, v).is_some();
    }
    valid.then_some(labels)
}

fn is_label_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'/' | b'-')
}

/// 0 means `default`; else 1 to `max`.
pub(super) fn count(path: &Path<'_>, count: u32, default: u32, max: u32, v: &mut Violations) -> Option<u32> {
    match count {
        0 => Some(default),
        n if n <= max => Some(n),
        n => {
            v.add(path, n, format!("must be 1 to {max}, or 0 for {default}"));
            None
        }
    }
}

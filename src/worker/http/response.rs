//! What an answer means for the task.

use std::time::{Duration, SystemTime};

use bytes::BytesMut;
use escapement_engine::Timestamp;
use reqwest::{
    Response, StatusCode,
    header::{CONTENT_TYPE, HeaderMap, RETRY_AFTER},
};

use super::{RESPONSE_BYTES_MAX, RETRY_AFTER_MAX, transport};
use crate::worker::{Context, Output, Payload, TaskFailure};

pub(super) async fn read(mut response: Response, ctx: &Context) -> Result<Output, TaskFailure> {
    let status = response.status();
    let content_type = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let content_type = content_type.unwrap_or_default().to_owned();
    let retry_after = retry_after(status, response.headers(), ctx.clock().now());
    let body = body(&mut response).await;
    if status.is_success() {
        // Work was done, but its result did not arrive whole.
        let (body, truncated) = body.map_err(transport)?;
        return Ok(Output(Payload::new(body.freeze(), content_type).truncated(truncated)));
    }
    // The status alone says enough: a body that broke off costs only the details.
    let details = body.ok().filter(|(body, _)| !body.is_empty());
    let details =
        details.map(|(body, truncated)| Box::new(Payload::new(body.freeze(), content_type).truncated(truncated)));
    Err(TaskFailure {
        kind: format!("http-{}", status.as_u16()).into(),
        message: format!("the server answered {status}").into(),
        non_retryable: !is_retried(status),
        details,
        retry_after,
    })
}

fn is_retried(status: StatusCode) -> bool {
    status.is_server_error()
        || matches!(status, StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY | StatusCode::TOO_MANY_REQUESTS)
}

/// The first bytes, and whether there are more; those are left unread, and the connection with them.
async fn body(response: &mut Response) -> Result<(BytesMut, bool), reqwest::Error> {
    let mut kept = BytesMut::new();
    while let Some(chunk) = response.chunk().await? {
        let room = RESPONSE_BYTES_MAX - kept.len();
        kept.extend_from_slice(&chunk[..chunk.len().min(room)]);
        if chunk.len() > room {
            return Ok((kept, true));
        }
    }
    Ok((kept, false))
}

/// RFC 9110, section 10.2.3: seconds or an HTTP date. One that cannot be read is ignored.
fn retry_after(status: StatusCode, headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    if !matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
        return None;
    }
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let wait = if value.bytes().all(|byte| byte.is_ascii_digit()) && !value.is_empty() {
        // More digits than fit are more than a day.
        Duration::from_secs(value.parse().unwrap_or(u64::MAX))
    } else {
        let at = httpdate::parse_http_date(value).ok()?.duration_since(SystemTime::UNIX_EPOCH).ok()?;
        Timestamp::from_unix_ms(i64::try_from(at.as_millis()).ok()?).since(now)
    };
    Some(wait.min(RETRY_AFTER_MAX))
}

#[cfg(test)]
mod tests {
    use reqwest::header::HeaderValue;

    use super::*;

    #[test]
    fn retry_after_is_seconds_or_a_date_and_at_most_a_day() {
        // 2026-11-06 21:20:00 UTC
        let now = Timestamp::from_unix_ms(1_794_000_000_000);
        let check = |status, value: &'static str, expect: Option<u64>| {
            let headers = HeaderMap::from_iter([(RETRY_AFTER, HeaderValue::from_static(value))]);
            assert_eq!(retry_after(status, &headers, now), expect.map(Duration::from_secs), "{value}");
        };
        for status in [StatusCode::TOO_MANY_REQUESTS, StatusCode::SERVICE_UNAVAILABLE] {
            check(status, "120", Some(120));
            check(status, "0", Some(0));
            check(status, "86401", Some(86_400));
            check(status, "99999999999999999999999", Some(86_400));
            check(status, "Fri, 06 Nov 2026 21:21:30 GMT", Some(90));
            check(status, "Fri, 06 Nov 2026 21:19:00 GMT", Some(0));
            check(status, "Sat, 06 Nov 2027 21:19:00 GMT", Some(86_400));
            check(status, "soon", None);
            check(status, "-1", None);
            check(status, "", None);
        }
        check(StatusCode::INTERNAL_SERVER_ERROR, "120", None);
    }

    #[test]
    fn only_what_may_pass_is_retried() {
        let retried: Vec<_> = (300..600)
            .filter_map(|code| StatusCode::from_u16(code).ok())
            .filter(|status| is_retried(*status))
            .collect();
        assert_eq!(retried.len(), 103);
        for code in [408, 425, 429, 500, 502, 503, 504, 599] {
            assert!(retried.contains(&StatusCode::from_u16(code).unwrap()), "{code}");
        }
    }
}

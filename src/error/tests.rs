use std::time::Duration;

use proptest::prelude::*;
use tonic::{Code, Status};

use super::*;

#[test]
fn every_reason_is_documented_and_the_document_names_no_other() {
    let document = include_str!("../../docs/ERRORS.md");
    let rows: Vec<&str> = document.lines().filter(|line| line.starts_with("| `")).collect();
    let expected: Vec<String> = Reason::ALL
        .iter()
        .map(|reason| {
            let grpc = grpc_name(reason.grpc_code());
            format!("| `{reason}` | {grpc} | {} | {} |", reason.exit_code(), reason.advice())
        })
        .collect();
    assert_eq!(rows, expected, "the table of docs/ERRORS.md must read:\n{}\n", expected.join("\n"));
}

fn grpc_name(code: Code) -> String {
    let mut name = String::new();
    for c in format!("{code:?}").chars() {
        if c.is_ascii_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.push(c.to_ascii_uppercase());
    }
    name
}

#[test]
fn codes_are_distinct_and_read_back() {
    for reason in Reason::ALL {
        assert_eq!(reason.code().parse(), Ok(*reason));
        assert!(reason.code().bytes().all(|b| b.is_ascii_uppercase() || b == b'_'), "{reason}");
        assert_ne!(reason.exit_code(), 0, "{reason}");
        assert_ne!(reason.grpc_code(), Code::Ok, "{reason}");
    }
    assert_eq!("NO_SUCH".parse::<Reason>().map_err(|e| e.code), Err("NO_SUCH".to_owned()));
}

#[test]
fn an_error_survives_the_wire() {
    let error = ApiError {
        retry_after: Some(Duration::from_millis(1500)),
        ..ApiError::invalid(
            vec![
                Violation::new("task.queue", "a b", "must be one word"),
                Violation::new("tasks[3].delay", "", "must be there"),
            ],
            2,
        )
    }
    .with_metadata("task_id", "7");
    let status = Status::from(error.clone());
    assert_eq!(status.code(), Code::InvalidArgument);
    assert_eq!(ApiError::from_status(&status), error);
}

#[test]
fn control_characters_are_made_visible() {
    let violation = Violation::new("task.id", "\u{1b}[2Jx", "must not be \u{7}");
    assert_eq!(violation.to_string(), "task.id must not be \\u{7} (got `\\u{1b}[2Jx`)");
}

#[test]
fn foreign_statuses_get_the_reason_of_their_code() {
    let check = |status: Status, reason, message: &str| {
        let error = ApiError::from_status(&status);
        assert_eq!((error.reason, error.message.as_str()), (reason, message));
    };
    check(Status::unavailable("connection refused"), Reason::ServerUnreachable, "connection refused");
    check(Status::out_of_range("decoded message too large"), Reason::RequestTooLarge, "decoded message too large");
    check(Status::unknown(""), Reason::Unknown, "Unknown error");
    check(Status::with_details(Code::Internal, "broken", vec![0xff; 9].into()), Reason::Internal, "broken");
    let newer = tonic_types::ErrorDetails::with_error_info("CLOCK_SKEWED", ERROR_DOMAIN, []);
    let newer = <Status as tonic_types::StatusExt>::with_error_details(Code::Unavailable, "by 6 s", newer);
    check(newer, Reason::ServerUnreachable, "CLOCK_SKEWED: by 6 s");
}

#[test]
fn the_largest_error_fits_into_http2_trailers() {
    let value = "\u{1F980}".repeat(100);
    let field = format!("tasks[999].labels[\"{}\"]", "\u{1F980}".repeat(64));
    let many = vec![Violation::new(field, value, "must be something else"); 1000];
    let mut error = ApiError::invalid(many, 1000);
    for n in 0..1000 {
        error = error.with_metadata(format!("key-{n}"), "x".repeat(100));
    }
    let mut headers = http_headers(Status::from(error));
    // As HTTP/2 counts: 32 bytes for each header beside its text.
    let bytes: usize = headers.drain(..).map(|(name, value)| name.len() + value.len() + 32).sum();
    assert!(bytes < 16 << 10, "{bytes} bytes");
}

fn http_headers(status: Status) -> Vec<(String, Vec<u8>)> {
    let response = status.into_http::<()>();
    let headers = response.headers().iter();
    headers.map(|(name, value)| (name.to_string(), value.as_bytes().to_vec())).collect()
}

#[test]
fn a_report_says_what_happened_where_and_what_to_do() {
    let one = ApiError::field(
        Reason::InvalidPageToken,
        Violation::new("page_token", "abc", "must be the next_page_token of a page with the same filters"),
    );
    insta::assert_snapshot!(one.report(), @r"
    error[INVALID_PAGE_TOKEN]: page_token must be the next_page_token of a page with the same filters (got `abc`)
    what to do: Start again from the first page, and keep the filters the same from page to page.
    ");
    let two = ApiError::invalid(
        vec![
            Violation::new("task.queue", "", "must be there"),
            Violation::new("task.delay", "-5s", "must not be negative"),
        ],
        2,
    );
    insta::assert_snapshot!(two.report(), @r"
    error[INVALID_ARGUMENT]: 2 fields are invalid
      task.queue must be there
      task.delay must not be negative (got `-5s`)
    what to do: Correct the fields that the error names. Nothing was changed.
    ");
    let busy = ApiError::new(Reason::Overloaded, "too many tasks wait").with_retry_after(Duration::from_millis(250));
    insta::assert_snapshot!(busy.report(), @r"
    error[OVERLOADED]: too many tasks wait
    retry after: 250ms
    what to do: Try again after the time that the error names, and more slowly.
    ");
}

proptest! {
    #[test]
    fn values_and_limits_of_any_text_read_back(value: String, limit: String, seam: bool, total in 1usize..9) {
        let limit = if seam { format!("{limit} (got `{value}`)") } else { limit };
        let violations = vec![Violation::new("task.labels[\"a\"]", value, format!("must be {limit}"))];
        let error = ApiError::invalid(violations, total);
        let read = ApiError::from_status(&Status::from(error.clone()));
        // Beyond the space of a status only the list of fields is given up, never the message.
        prop_assert!(read.violations == error.violations || read.violations.is_empty());
        prop_assert_eq!((read.reason, read.message), (error.reason, error.message));
    }

    #[test]
    fn details_of_any_bytes_never_panic(code in 0i32..20, details: Vec<u8>) {
        let status = Status::with_details(Code::from_i32(code), "text", details.into());
        let _ = ApiError::from_status(&status).report().to_string();
    }
}

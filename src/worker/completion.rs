//! From what a handler gave to what the server is told, within the server's limits.

use std::time::Duration;

use bytes::Bytes;
use escapement_engine::{
    limits::{CONTENT_TYPE_BYTES_MAX, ERROR_DETAILS_BYTES_MAX, ERROR_KIND_BYTES_MAX, ERROR_MESSAGE_BYTES_MAX},
    text::{cut, cut_marked},
};
use escapement_proto::v1::{self, completion::Outcome};

use super::{
    Output, Payload, TaskFailure,
    attempt::{AttemptKey, Ending},
    handle::Tally,
};

/// The completion of an attempt. `None` for one that has no outcome.
pub(super) fn of_ending(
    key: AttemptKey,
    ending: Ending,
    payload_bytes_max: usize,
    tally: &mut Tally,
) -> Option<v1::Completion> {
    let outcome = match ending {
        Ending::Stopped => return None,
        Ending::Succeeded(output) => match checked(output, payload_bytes_max) {
            Ok(payload) => {
                tally.succeeded += 1;
                Outcome::Succeeded(payload)
            }
            Err(refused) => {
                tally.failed += 1;
                Outcome::Failed(failure(refused, false))
            }
        },
        Ending::Failed(failed) => {
            tally.failed += 1;
            Outcome::Failed(failure(failed, false))
        }
        Ending::Panicked(failed) => {
            tally.failed += 1;
            tally.panicked += 1;
            Outcome::Failed(failure(failed, false))
        }
        Ending::TimedOut(failed) => {
            tally.failed += 1;
            tally.timed_out += 1;
            Outcome::Failed(failure(failed, true))
        }
    };
    let task_id = Bytes::copy_from_slice(key.task_id.as_bytes());
    Some(v1::Completion { task_id, token: key.token.0, outcome: Some(outcome) })
}

/// A result that the server would refuse becomes a failure here, where the handler's author
/// can see it. Another attempt would give the same.
fn checked(output: Output, payload_bytes_max: usize) -> Result<v1::Payload, TaskFailure> {
    let Output(Payload { data, content_type, truncated }) = output;
    if data.len() > payload_bytes_max {
        let message = format!("the result has {} bytes; the limit is {payload_bytes_max}", data.len());
        return Err(TaskFailure::non_retryable("result-too-large", message));
    }
    if content_type.len() > CONTENT_TYPE_BYTES_MAX {
        let message = format!(
            "the result's content type has {} bytes; the limit is {CONTENT_TYPE_BYTES_MAX}",
            content_type.len()
        );
        return Err(TaskFailure::non_retryable("result-invalid", message));
    }
    Ok(v1::Payload { data, content_type, truncated })
}

fn failure(failure: TaskFailure, timed_out: bool) -> v1::Failure {
    let TaskFailure { kind, message, non_retryable, details, retry_after } = failure;
    let kind = if kind.is_empty() { "error".into() } else { kind };
    let details = details.map(|details| v1::Payload {
        truncated: details.truncated || details.data.len() > ERROR_DETAILS_BYTES_MAX,
        data: details.data.slice(..details.data.len().min(ERROR_DETAILS_BYTES_MAX)),
        content_type: cut(details.content_type, CONTENT_TYPE_BYTES_MAX),
    });
    v1::Failure {
        error: Some(v1::TaskError {
            kind: cut(kind.into_owned(), ERROR_KIND_BYTES_MAX),
            message: cut_marked(message.into_string(), ERROR_MESSAGE_BYTES_MAX),
            non_retryable,
            details,
        }),
        retry_after_ms: retry_after.map_or(0, whole_millis),
        timed_out,
    }
}

/// A part of a millisecond counts as a whole one: the wait is never shorter than asked for.
fn whole_millis(span: Duration) -> u64 {
    u64::try_from(span.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use escapement_engine::{TaskId, Token};

    use super::*;

    fn completed(ending: Ending) -> (Outcome, Tally) {
        let key = AttemptKey { task_id: TaskId::from_bytes([1; 16]), token: Token(7) };
        let mut tally = Tally::default();
        let completion = of_ending(key, ending, 1_000, &mut tally).unwrap();
        assert_eq!((completion.token, completion.task_id.len()), (7, 16));
        (completion.outcome.unwrap(), tally)
    }

    #[test]
    fn a_result_over_the_limit_is_a_failure_that_names_size_and_limit() {
        let (fits, _) = completed(Ending::Succeeded(Output::text("a".repeat(1_000))));
        assert!(matches!(fits, Outcome::Succeeded(_)));
        let (outcome, tally) = completed(Ending::Succeeded(Output::text("a".repeat(1_001))));
        let Outcome::Failed(failure) = outcome else { panic!("{outcome:?}") };
        let error = failure.error.unwrap();
        assert_eq!(error.kind, "result-too-large");
        assert_eq!(error.message, "the result has 1001 bytes; the limit is 1000");
        assert!(error.non_retryable);
        assert_eq!((tally.succeeded, tally.failed), (0, 1));
    }

    #[test]
    fn long_errors_are_cut_between_characters() {
        let failed = TaskFailure::retryable("k".repeat(200), "ä".repeat(5_000))
            .with_details(Payload::text("d".repeat(100_000)))
            .with_retry_after(Duration::from_nanos(1_500_000));
        let (Outcome::Failed(failure), _) = completed(Ending::TimedOut(failed)) else { panic!("failed") };
        let error = failure.error.unwrap();
        assert_eq!(error.kind.len(), 128);
        assert_eq!(error.message, format!("{}… 1848 bytes cut", "ä".repeat(4_076)));
        let details = error.details.unwrap();
        assert_eq!((details.data.len(), details.truncated), (65_536, true));
        assert_eq!(failure.retry_after_ms, 2);
        assert!(failure.timed_out && !error.non_retryable);

        // The cut would fall amid a character.
        let failed = TaskFailure::retryable("", format!("a{}", "ä".repeat(5_000)));
        let (Outcome::Failed(failure), _) = completed(Ending::Failed(failed)) else { panic!("failed") };
        let error = failure.error.unwrap();
        assert_eq!(error.kind, "error");
        assert_eq!(error.message, format!("a{}… 1850 bytes cut", "ä".repeat(4_075)));
    }
}

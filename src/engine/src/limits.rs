//! Every limit of the API in one place, with the relations between them checked at compile time.

use std::time::Duration;

/// Characters of a namespace's name.
pub const NAMESPACE_CHARS_MAX: usize = 64;
/// Characters of a queue's name.
pub const QUEUE_CHARS_MAX: usize = 128;
/// Characters of a schedule's id.
pub const SCHEDULE_ID_CHARS_MAX: usize = 128;
/// Labels of a task.
pub const LABELS_MAX: usize = 32;
/// Characters of a label's key.
pub const LABEL_KEY_CHARS_MAX: usize = 63;
/// Bytes of a label's value.
pub const LABEL_VALUE_BYTES_MAX: usize = 255;
/// Bytes of an idempotency key.
pub const IDEMPOTENCY_KEY_BYTES_MAX: usize = 256;
/// Bytes of a payload or result, unless the server is configured otherwise.
pub const PAYLOAD_BYTES_MAX: usize = 1 << 20;
/// The most that the server may be configured to: a payload and its task fit one transaction.
pub const PAYLOAD_BYTES_CEILING: usize = 8 << 20;
/// Bytes of the payload that a schedule gives to its tasks: it stands in the schedule's own record.
pub const SCHEDULE_PAYLOAD_BYTES_MAX: usize = 64 << 10;
/// Bytes of a media type.
pub const CONTENT_TYPE_BYTES_MAX: usize = 255;
/// Bytes of one stored chunk of a payload.
pub const PAYLOAD_CHUNK_BYTES: usize = 90_000;
/// Bytes of an error's kind.
pub const ERROR_KIND_BYTES_MAX: usize = 128;
/// Bytes of an error's message.
pub const ERROR_MESSAGE_BYTES_MAX: usize = 8 << 10;
/// Bytes of the output that a failure carries.
pub const ERROR_DETAILS_BYTES_MAX: usize = 64 << 10;
/// Bytes of the reason of a cancellation.
pub const CANCEL_REASON_BYTES_MAX: usize = 1 << 10;
/// Bytes of a worker's name.
pub const WORKER_NAME_BYTES_MAX: usize = 128;
/// Queues that one worker session takes work from.
pub const SESSION_QUEUES_MAX: usize = 256;
/// Error kinds in a retry policy.
pub const NON_RETRYABLE_ERRORS_MAX: usize = 64;
/// Tasks in one SubmitBatch.
pub const SUBMIT_BATCH_TASKS_MAX: usize = 1000;
/// Rows of one page.
pub const PAGE_SIZE_MAX: u32 = 1000;
/// Rows of a page when the caller names no number.
pub const PAGE_SIZE_DEFAULT: u32 = 100;
/// How far in the past a due instant may lie.
pub const DUE_PAST_MAX: Duration = Duration::from_secs(24 * 3600);
/// How far ahead a due instant may lie.
pub const DUE_AHEAD_MAX: Duration = Duration::from_secs(100 * 366 * 24 * 3600);
/// Shortest attempt timeout.
pub const ATTEMPT_TIMEOUT_MIN: Duration = Duration::from_millis(10);
/// Longest attempt timeout.
pub const ATTEMPT_TIMEOUT_MAX: Duration = Duration::from_secs(7 * 24 * 3600);
/// Attempt timeout of a task that names none.
pub const ATTEMPT_TIMEOUT_DEFAULT: Duration = Duration::from_secs(60);
/// Shortest idempotency window.
pub const IDEMPOTENCY_WINDOW_MIN: Duration = Duration::from_secs(1);
/// Longest idempotency window.
pub const IDEMPOTENCY_WINDOW_MAX: Duration = Duration::from_secs(30 * 24 * 3600);
/// Idempotency window of a task that names none.
pub const IDEMPOTENCY_WINDOW_DEFAULT: Duration = Duration::from_secs(24 * 3600);
/// Shortest interval of a schedule.
pub const INTERVAL_MIN: Duration = Duration::from_secs(1);
/// Longest interval of a schedule.
pub const INTERVAL_MAX: Duration = Duration::from_secs(366 * 24 * 3600);
/// Occurrences that one Preview shows.
pub const PREVIEW_COUNT_MAX: u32 = 1000;
/// Attempts that a retry policy may allow.
pub const ATTEMPTS_MAX: u32 = 1000;

const _: () = {
    assert!(PAYLOAD_BYTES_MAX <= PAYLOAD_BYTES_CEILING);
    // FoundationDB's limits: 100,000 bytes a value, 10,000,000 bytes a transaction.
    assert!(PAYLOAD_CHUNK_BYTES <= 100_000);
    assert!(PAYLOAD_BYTES_CEILING + (PAYLOAD_BYTES_CEILING / PAYLOAD_CHUNK_BYTES + 64) * 256 < 10_000_000);
    // A schedule with its whole template is one value: payload, labels, retry policy, the rest.
    assert!(
        SCHEDULE_PAYLOAD_BYTES_MAX
            + LABELS_MAX * (LABEL_KEY_CHARS_MAX + LABEL_VALUE_BYTES_MAX + 8)
            + NON_RETRYABLE_ERRORS_MAX * (ERROR_KIND_BYTES_MAX + 4)
            + 8192
            < 100_000
    );
    assert!(ATTEMPT_TIMEOUT_MIN.as_millis() <= ATTEMPT_TIMEOUT_DEFAULT.as_millis());
    assert!(ATTEMPT_TIMEOUT_DEFAULT.as_millis() <= ATTEMPT_TIMEOUT_MAX.as_millis());
    assert!(PAGE_SIZE_DEFAULT <= PAGE_SIZE_MAX);
};

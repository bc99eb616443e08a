mod golden;
mod samples;
mod strict;

use std::{collections::BTreeMap, time::Duration};

use escapement_engine::{Timestamp, Token, retry::RetryPolicy};

use super::*;
use crate::model::{Attempt, AttemptOutcome, Occurrence, Payload, TaskError, TaskState, Template};

const NOW: Timestamp = Timestamp::from_unix_ms(1_794_000_000_123);

fn session() -> SessionId {
    SessionId::from_parts(NOW, 42)
}

fn entry() -> DueEntry {
    DueEntry {
        attempts: 1,
        token: Token(3),
        max_attempts: 5,
        attempt_timeout: Duration::from_secs(60),
        deadline: Some(NOW),
        payload: Some(PayloadMeta { bytes: 12, content_type: "text/plain".into(), truncated: false }),
        occurrence: Some(Occurrence { schedule: ScheduleId::new("nightly").unwrap(), nominal: Some(NOW), uid: None }),
    }
}

fn lease() -> Lease {
    Lease {
        session: session(),
        worker_name: "w".into(),
        token: Token(4),
        attempt: 2,
        namespace: Namespace::default(),
        queue: QueueName::new("mail").unwrap(),
        priority: Priority::High,
        due: NOW,
        started: NOW,
        session_lease: Duration::from_secs(5),
        entry: entry(),
    }
}

fn attempt() -> Attempt {
    Attempt {
        number: 2,
        token: Token(4),
        session: session(),
        worker_name: "w".into(),
        started: NOW,
        ended: Some((NOW, AttemptOutcome::Failed)),
        error: Some(TaskError {
            kind: "io".into(),
            message: "no".into(),
            non_retryable: false,
            details: Payload {
                data: Bytes::from_static(b"{}"),
                content_type: "application/json".into(),
                truncated: false,
            },
        }),
    }
}

fn stored() -> StoredTask {
    StoredTask {
        namespace: Namespace::default(),
        template: Template {
            queue: QueueName::new("mail").unwrap(),
            payload: Payload::default(),
            priority: Priority::Low,
            retry: RetryPolicy { max_attempts: 2, jitter_milli: 0, ..RetryPolicy::default() },
            attempt_timeout: Duration::from_secs(1),
            labels: BTreeMap::from([("a".to_owned(), "b".to_owned())]),
        },
        payload: Some(PayloadMeta { bytes: 200_000, ..PayloadMeta::default() }),
        due: NOW,
        deadline: None,
        idempotency_key: "k".into(),
        submitted: NOW,
        occurrence: None,
        content_hash: 7,
    }
}

fn head() -> Head {
    Head {
        state: TaskState::Scheduled,
        attempts: 2,
        token: Token(4),
        due: NOW,
        finished: None,
        last: Some(attempt()),
        result: None,
        cancel_reason: String::new(),
        ended_by: None,
    }
}

fn reads_back<R: Record + PartialEq + std::fmt::Debug>(record: &R) {
    assert_eq!(R::decode(&record.encode()).as_ref(), Ok(record));
}

#[test]
fn records_read_back() {
    reads_back(&entry());
    reads_back(&lease());
    reads_back(&attempt());
    reads_back(&stored());
    reads_back(&head());
    reads_back(&Cluster { format_version: 1, shards: 32 });
    reads_back(&ShardLease { owner: None, epoch: escapement_engine::Epoch(4) });
    reads_back(&ShardLease { owner: Some(session()), epoch: escapement_engine::Epoch(4) });
}

#[test]
fn impossible_records_are_refused() {
    let refused = |what: &str, result: Result<(), RecordError>| assert!(result.is_err(), "{what}");
    let decode = |lease: Lease| Lease::decode(&lease.encode()).map(drop);
    refused("a token that does not grow", decode(Lease { token: Token(3), ..lease() }));
    refused("an attempt that is skipped", decode(Lease { attempt: 3, ..lease() }));
    let due = |entry: DueEntry| DueEntry::decode(&entry.encode()).map(drop);
    refused("due with no attempt left", due(DueEntry { attempts: 5, token: Token(5), ..entry() }));
    let end = |head: Head| Head::decode(&head.encode()).map(drop);
    refused("ended without an end", end(Head { state: TaskState::Succeeded, ..head() }));
    refused("an end without having ended", end(Head { finished: Some(NOW), ..head() }));
    let result = Some(PayloadMeta::default());
    refused("a result of a failure", end(Head { state: TaskState::Failed, finished: Some(NOW), result, ..head() }));
    refused("no shards", Cluster::decode(&Cluster { format_version: 1, shards: 0 }.encode()).map(drop));
}

#[test]
fn a_record_of_a_newer_format_is_refused_by_number() {
    let mut bytes = entry().encode().to_vec();
    bytes[0] = 2;
    let error = DueEntry::decode(&bytes.into()).unwrap_err();
    insta::assert_snapshot!(error, @"stored due record is malformed: format 2, this program reads 1");
}

#[test]
fn chunks_cover_the_bytes_without_a_gap() {
    for len in [0u32, 1, 89_999, 90_000, 90_001, 1 << 20] {
        let data = Bytes::from((0..len).map(|n| u8::try_from(n % 251).unwrap()).collect::<Vec<_>>());
        let pieces: Vec<_> = chunks(&data).collect();
        let meta = PayloadMeta { bytes: u64::from(len), ..PayloadMeta::default() };
        assert_eq!(pieces.len(), meta.chunks() as usize, "{len}");
        assert!(pieces.iter().enumerate().all(|(n, (number, _))| n == *number as usize));
        assert_eq!(pieces.into_iter().flat_map(|(_, piece)| piece).collect::<Vec<_>>(), data);
    }
}

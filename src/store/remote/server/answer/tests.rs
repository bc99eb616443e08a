//! How large answers become, and how many of them there are.

use futures_util::FutureExt as _;

use super::*;
use crate::{
    clock::SharedClock,
    edge::SystemClock,
    store::{
        MemoryEngine,
        engine::{CommitRequest, Mutation},
    },
};

/// A reader of a store with `rows` rows of `bytes` each, and their keys and version.
async fn reader(room_max: usize, rows: u32, bytes: usize) -> (Reader, Vec<Bytes>, u64) {
    let clock: SharedClock = Arc::new(SystemClock::new());
    let engine = MemoryEngine::new(clock);
    let keys: Vec<Bytes> = (0..rows).map(|row| Bytes::copy_from_slice(&row.to_be_bytes())).collect();
    let value = Bytes::from(vec![b'v'; bytes]);
    let mutations = keys.iter().map(|key| Mutation::Set(key.clone(), value.clone())).collect();
    let Version(version) =
        engine.commit(CommitRequest { mutations, ..CommitRequest::default() }).await.unwrap().version;
    (Reader::new(Arc::new(engine), u32::try_from(room_max).unwrap()), keys, version)
}

fn everything(version: u64) -> proto::GetRange {
    let (begin, end) = (Bytes::new(), Bytes::from_static(b"\xff"));
    proto::GetRange { begin, end, version, ..proto::GetRange::default() }
}

fn page(answer: &Answer) -> &proto::GetRangeResult {
    match &answer.result {
        response::Result::GetRange(page) => page,
        other => panic!("a page was asked for, not {other:?}"),
    }
}

#[tokio::test]
async fn values_beyond_an_answers_size_are_left_for_the_next() {
    let (reader, keys, version) = reader(ANSWER_BYTES_CEILING, 30, 90_000).await;
    let answer = reader.get_many(proto::GetMany { keys, version }).await;
    let response::Result::GetMany(values) = &answer.result else { panic!("values were asked for") };
    assert_eq!(values.values.len(), ANSWER_BYTES_MAX.div_ceil(90_000 + ROW_OVERHEAD_BYTES));
    assert!((ANSWER_BYTES_MAX..=ANSWER_BYTES_CEILING).contains(&answer.bytes), "{} bytes", answer.bytes);
}

#[tokio::test]
async fn a_page_ends_with_an_answers_size_whatever_was_asked_for() {
    let (reader, _, version) = reader(ANSWER_BYTES_CEILING, 30, 90_000).await;
    for target_bytes in [0, u64::from(u32::MAX)] {
        let request = proto::GetRange { target_bytes, ..everything(version) };
        let answer = reader.clone().get_range(request).await;
        assert!(page(&answer).more);
        assert!((ANSWER_BYTES_MAX..=ANSWER_BYTES_CEILING).contains(&answer.bytes), "{} bytes", answer.bytes);
    }
    let answer = reader.get_range(proto::GetRange { target_bytes: 1, ..everything(version) }).await;
    assert_eq!(page(&answer).rows.len(), 1, "less may be asked for");
}

#[tokio::test]
async fn a_page_of_small_rows_has_a_bound_too() {
    let rows_max = ANSWER_BYTES_MAX / ROW_OVERHEAD_BYTES;
    let rows = u32::try_from(rows_max + 5).unwrap();
    let (reader, _, version) = reader(ANSWER_BYTES_CEILING, rows, 0).await;
    for limit in [0, u64::from(rows)] {
        let answer = reader.clone().get_range(proto::GetRange { limit, ..everything(version) }).await;
        assert_eq!((page(&answer).rows.len(), page(&answer).more), (rows_max, true), "limit {limit}");
    }
}

#[tokio::test]
async fn reads_wait_until_there_is_room_for_their_answers() {
    let (reader, keys, version) = reader(ANSWER_BYTES_CEILING, 30, 90_000).await;
    let one = || reader.clone().get_many(proto::GetMany { keys: keys[..1].to_vec(), version });
    let small = one().await;
    let spare = ANSWER_BYTES_CEILING - (90_000 + ROW_OVERHEAD_BYTES);
    assert_eq!(reader.room.available_permits(), spare, "it takes what it is, not what it might have been");
    let mut large = reader.clone().get_range(everything(version)).boxed();
    assert!((&mut large).now_or_never().is_none(), "there may not be room for all of it");
    drop(small);
    let large = large.await;
    assert_eq!(reader.room.available_permits(), ANSWER_BYTES_CEILING - (large.bytes - SMALL_BYTES));
    assert!(one().now_or_never().is_none(), "so, too, for one value");
    drop(large);
    assert_eq!(reader.room.available_permits(), ANSWER_BYTES_CEILING);
}

#[tokio::test]
async fn an_answer_larger_than_all_the_room_has_it_for_itself() {
    let (reader, keys, version) = reader(1000, 30, 90_000).await;
    let one = || reader.clone().get_many(proto::GetMany { keys: keys[..1].to_vec(), version });
    let first = one().await;
    assert!(one().now_or_never().is_none());
    drop(first);
    one().await;
}

//! Whatever crosses the wire arrives as it was. The simulator moves messages unencoded, so
//! only this shows that they can be encoded at all.

use bytes::Bytes;
use escapement_proto::store::{self as proto, request, response};
use proptest::{collection::vec, option, prelude::*};
use prost::Message as _;

use super::wire;
use crate::store::{
    MutationKind, RangePage, StoreError, Version,
    engine::{CommitReceipt, CommitRequest, KeyRange, Mutation, RangeRead, ReadVersionRequest},
};

const KINDS: [MutationKind; 12] = [
    MutationKind::Add,
    MutationKind::And,
    MutationKind::Or,
    MutationKind::Xor,
    MutationKind::AppendIfFits,
    MutationKind::Max,
    MutationKind::Min,
    MutationKind::ByteMax,
    MutationKind::ByteMin,
    MutationKind::CompareAndClear,
    MutationKind::SetVersionstampedKey,
    MutationKind::SetVersionstampedValue,
];

fn over_the_wire(request: request::Request) -> request::Request {
    let sent = proto::Requests { requests: vec![proto::Request { id: 7, request: Some(request) }] };
    let mut came = proto::Requests::decode(Bytes::from(sent.encode_to_vec())).unwrap();
    assert_eq!(came.requests[0].id, 7);
    came.requests.pop().unwrap().request.unwrap()
}

fn back(result: response::Result) -> response::Result {
    let sent = proto::Responses { responses: vec![proto::Response { id: 7, result: Some(result) }] };
    let mut came = proto::Responses::decode(Bytes::from(sent.encode_to_vec())).unwrap();
    assert_eq!(came.responses[0].id, 7);
    came.responses.pop().unwrap().result.unwrap()
}

fn bytes() -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 0..20).prop_map(Bytes::from)
}

fn ranges() -> impl Strategy<Value = Vec<KeyRange>> {
    vec((bytes(), bytes()).prop_map(|(begin, end)| KeyRange { begin, end }), 0..4)
}

fn mutation() -> impl Strategy<Value = Mutation> {
    (0..15_usize, bytes(), bytes()).prop_map(|(kind, key, value)| match kind {
        12 => Mutation::Set(key, value),
        13 => Mutation::Clear(key),
        14 => Mutation::ClearRange(key, value),
        atomic => Mutation::Atomic(KINDS[atomic], key, value),
    })
}

proptest! {
    #[test]
    fn a_commit_arrives_as_it_was_sent(
        read_version: Option<u64>,
        read_conflicts in ranges(),
        write_conflicts in ranges(),
        mutations in vec(mutation(), 0..10),
        lock_aware: bool,
    ) {
        let read_version = read_version.map(Version);
        let sent = CommitRequest { read_version, read_conflicts, write_conflicts, mutations, lock_aware };
        let request::Request::Commit(came) = over_the_wire(wire::commit_request(sent.clone())) else {
            panic!("another kind")
        };
        let came = wire::commit_from(came).unwrap();
        prop_assert_eq!(came.read_version, sent.read_version);
        prop_assert_eq!(came.read_conflicts, sent.read_conflicts);
        prop_assert_eq!(came.write_conflicts, sent.write_conflicts);
        prop_assert_eq!(came.mutations, sent.mutations);
        prop_assert_eq!(came.lock_aware, sent.lock_aware);
    }

    #[test]
    fn a_request_for_a_version_arrives_as_it_was_sent(flags: [bool; 4], tags in vec(".{0,16}", 0..5)) {
        let [batch_priority, immediate, causal_read_risky, lock_aware] = flags;
        let sent = ReadVersionRequest { batch_priority, immediate, causal_read_risky, lock_aware, tags };
        let request::Request::ReadVersion(came) = over_the_wire(wire::read_version_request(&sent)) else {
            panic!("another kind")
        };
        prop_assert_eq!(format!("{:?}", wire::read_version_from(came)), format!("{sent:?}"));
    }

    #[test]
    fn reads_and_watches_arrive_as_they_were_sent(
        keys in vec(bytes(), 0..5),
        value in option::of(bytes()),
        version: u64,
        (limit, target_bytes, reverse) in any::<(u32, u32, bool)>(),
    ) {
        let request::Request::GetMany(came) = over_the_wire(wire::get_many_request(keys.clone(), Version(version)))
        else { panic!("another kind") };
        prop_assert_eq!((came.keys, came.version), (keys.clone(), version));

        let key = |n: usize| keys.get(n).cloned().unwrap_or_default();
        let (limit, target_bytes) = (limit as usize, target_bytes as usize);
        let read = RangeRead { begin: key(0), end: key(1), limit, target_bytes, reverse };
        let request::Request::GetRange(came) = over_the_wire(wire::get_range_request(read.clone(), Version(version)))
        else { panic!("another kind") };
        prop_assert_eq!(format!("{:?}", wire::get_range_from(came)), format!("{:?}", (read, Version(version))));

        let request::Request::Watch(came) = over_the_wire(wire::watch_request(key(2), value.clone(), Version(version)))
        else { panic!("another kind") };
        prop_assert_eq!((came.key, came.value, came.version), (key(2), value, version));
    }

    #[test]
    fn answers_arrive_as_they_were_sent(
        version: u64,
        batch_index: u16,
        values in vec(option::of(bytes()), 0..5),
        rows in vec((bytes(), bytes()), 0..5),
        more: bool,
        (code, context) in any::<(i32, String)>(),
    ) {
        let version = Version(version);
        prop_assert_eq!(wire::read_version_of(back(wire::read_version_result(version))), Ok(version));
        prop_assert_eq!(wire::values_of(back(wire::values_result(values.clone()))), Ok(values));
        let page = wire::page_of(back(wire::page_result(RangePage { rows: rows.clone(), more }))).unwrap();
        prop_assert_eq!((page.rows, page.more), (rows, more));
        let receipt = CommitReceipt { version, batch_index };
        prop_assert_eq!(wire::receipt_of(back(wire::receipt_result(receipt))), Ok(receipt));
        prop_assert_eq!(wire::watch_of(back(response::Result::Watch(proto::WatchResult {}))), Ok(()));

        let error = StoreError::with(code, context);
        let came = back(wire::error_result(error.clone()));
        prop_assert_eq!(wire::read_version_of(came.clone()), Err(error.clone()));
        prop_assert_eq!(wire::values_of(came.clone()), Err(error.clone()));
        prop_assert_eq!(wire::page_of(came.clone()).err(), Some(error.clone()));
        prop_assert_eq!(wire::receipt_of(came.clone()), Err(error.clone()));
        prop_assert_eq!(wire::watch_of(came), Err(error));
    }

    #[test]
    fn arbitrary_bytes_never_panic(message in vec(any::<u8>(), 0..200)) {
        let message = Bytes::from(message);
        if let Ok(proto::Requests { requests }) = proto::Requests::decode(message.clone()) {
            for request in requests {
                match request.request {
                    Some(request::Request::Commit(commit)) => drop(wire::commit_from(commit)),
                    Some(request::Request::GetRange(read)) => drop(wire::get_range_from(read)),
                    _ => {}
                }
            }
        }
        if let Ok(proto::Responses { responses }) = proto::Responses::decode(message) {
            for result in responses.into_iter().filter_map(|response| response.result) {
                let _ = wire::receipt_of(result.clone());
                let _ = wire::page_of(result);
            }
        }
    }
}

#[test]
fn a_kind_of_mutation_that_is_not_known_is_refused_by_name() {
    for kind in [0, 16, -1] {
        let mutations = vec![proto::Mutation { kind, ..Default::default() }];
        let refused = wire::commit_from(proto::Commit { mutations, ..Default::default() }).unwrap_err();
        assert_eq!(
            refused.to_string(),
            format!("commit.mutations.kind is {kind}, but must be a kind that this version knows")
        );
    }
}

#[test]
fn an_answer_of_another_kind_leaves_a_commit_unknown_and_fails_a_read() {
    let answer = || wire::values_result(vec![None]);
    assert_eq!(wire::receipt_of(answer()).unwrap_err().code, StoreError::COMMIT_UNKNOWN_RESULT);
    assert_eq!(wire::read_version_of(answer()).unwrap_err().code, StoreError::OPERATION_FAILED);
}

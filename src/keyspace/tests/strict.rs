//! Every key of every kind, and bytes that are none.

use foundationdb_tuple::Element;

use super::*;

/// One part of a key, as something that orders by itself: the oracle of the order.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Plain {
    Number(i128),
    Text(String),
    Id([u8; 16]),
}

fn plain(key: &Key) -> Vec<Plain> {
    let number = |number: u32| Plain::Number(i128::from(number));
    let instant = |at: &Timestamp| Plain::Number(i128::from(at.unix_ms()));
    let text = |text: &str| Plain::Text(text.to_owned());
    let of_task = |shard: &ShardId, task: &TaskId| vec![number(shard.0), Plain::Id(*task.as_bytes())];
    let numbered = |shard: &ShardId, task: &TaskId, last: u32| [of_task(shard, task), vec![number(last)]].concat();
    let parts = match key {
        Key::Cluster => vec![],
        Key::Member { session } => vec![Plain::Id(*session.as_bytes())],
        Key::ShardLease { shard } => vec![number(shard.0)],
        Key::Task { shard, task } | Key::Head { shard, task } | Key::Lease { shard, task } => of_task(shard, task),
        Key::Payload { shard, task, chunk } | Key::Result { shard, task, chunk } => numbered(shard, task, *chunk),
        Key::History { shard, task, attempt } => numbered(shard, task, *attempt),
        Key::Due { stream, due, task } => vec![
            number(stream.shard.0),
            text(stream.namespace.as_str()),
            text(stream.queue.as_str()),
            number(priority_code(stream.priority)),
            instant(due),
            Plain::Id(*task.as_bytes()),
        ],
        Key::Idempotency { namespace, key } => vec![text(namespace.as_str()), text(key)],
        Key::Schedule { namespace, id } | Key::ScheduleDeletion { namespace, id } => {
            vec![text(namespace.as_str()), text(id.as_str())]
        }
        Key::Tick { shard, at, uid } => vec![number(shard.0), instant(at), Plain::Id(*uid.as_bytes())],
    };
    [vec![number(key.kind().code())], parts].concat()
}

/// Few values often, so that keys share parts; any value sometimes.
fn number() -> impl Strategy<Value = u32> {
    prop_oneof![0..3u32, Just(255), Just(256), Just(65_535), Just(u32::MAX), any::<u32>()]
}

fn instant() -> impl Strategy<Value = Timestamp> {
    let edges = prop_oneof![Just(i64::MIN), Just(i64::MIN + 1), Just(-256), Just(-1), Just(0), Just(i64::MAX)];
    prop_oneof![edges, -300..300i64, any::<i64>()].prop_map(Timestamp::from_unix_ms)
}

fn id() -> impl Strategy<Value = u128> {
    prop_oneof![Just(0), Just(1), Just(u128::MAX), any::<u128>()]
}

fn task() -> impl Strategy<Value = TaskId> {
    id().prop_map(|id| TaskId::from_bytes(id.to_be_bytes()))
}

fn name() -> impl Strategy<Value = String> {
    prop_oneof![Just("a".to_owned()), Just("a-".to_owned()), Just("a.b".to_owned()), "[a-z0-9][a-z0-9._-]{0,40}"]
}

fn namespace() -> impl Strategy<Value = Namespace> {
    name().prop_map(|name| Namespace::new(&name).unwrap())
}

fn stream() -> impl Strategy<Value = DueStream> {
    let priority = prop_oneof![Just(Priority::High), Just(Priority::Medium), Just(Priority::Low)];
    (number(), namespace(), name(), priority).prop_map(|(shard, namespace, queue, priority)| DueStream {
        shard: ShardId(shard),
        namespace,
        queue: QueueName::new(&queue).unwrap(),
        priority,
    })
}

/// A key of any kind.
fn keys() -> impl Strategy<Value = Key> {
    let shard = || number().prop_map(ShardId);
    let text = prop_oneof![Just(String::new()), Just("\0".to_owned()), "[\0a\u{ff}]{0,4}", any::<String>()];
    prop_oneof![
        Just(Key::Cluster),
        id().prop_map(|id| Key::Member { session: SessionId::from_bytes(id.to_be_bytes()) }),
        shard().prop_map(|shard| Key::ShardLease { shard }),
        (shard(), task()).prop_map(|(shard, task)| Key::Task { shard, task }),
        (shard(), task()).prop_map(|(shard, task)| Key::Head { shard, task }),
        (shard(), task(), number()).prop_map(|(shard, task, chunk)| Key::Payload { shard, task, chunk }),
        (shard(), task(), number()).prop_map(|(shard, task, chunk)| Key::Result { shard, task, chunk }),
        (shard(), task(), number()).prop_map(|(shard, task, attempt)| Key::History { shard, task, attempt }),
        (stream(), instant(), task()).prop_map(|(stream, due, task)| Key::Due { stream, due, task }),
        (shard(), task()).prop_map(|(shard, task)| Key::Lease { shard, task }),
        (namespace(), text).prop_map(|(namespace, key)| Key::Idempotency { namespace, key }),
        (namespace(), name())
            .prop_map(|(namespace, id)| Key::Schedule { namespace, id: ScheduleId::new(&id).unwrap() }),
        (namespace(), name())
            .prop_map(|(namespace, id)| Key::ScheduleDeletion { namespace, id: ScheduleId::new(&id).unwrap() }),
        (shard(), instant(), id()).prop_map(|(shard, at, id)| Key::Tick {
            shard,
            at,
            uid: ScheduleUid::from_bytes(id.to_be_bytes()),
        }),
    ]
}

/// What happens to valid bytes: a byte replaced, put in, taken out; cut off; two keys spliced.
fn damaged() -> impl Strategy<Value = Vec<u8>> {
    let edits = proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>(), 0..5u8), 1..4);
    (keys(), keys(), edits).prop_map(|(key, other, edits)| {
        let mut bytes = key.encode().to_vec();
        for (index, byte, edit) in edits {
            let at = index.index(bytes.len() + 1);
            match edit {
                0 => bytes.insert(at, byte),
                1 => bytes.truncate(at),
                2 => bytes.splice(at.., other.encode().iter().skip(at).copied()).for_each(drop),
                _ if at == bytes.len() => bytes.push(byte),
                3 => bytes[at] = byte,
                _ => drop(bytes.remove(at)),
            }
        }
        bytes
    })
}

/// Whatever any parser takes is what the encoder writes; nothing panics.
fn taken_only_in_its_one_form(bytes: &[u8]) -> Result<(), TestCaseError> {
    if let Ok(key) = Key::parse(bytes) {
        prop_assert_eq!(&*key.encode(), bytes);
    }
    if let Ok(session) = parse_member(bytes) {
        prop_assert_eq!(&*member(session), bytes);
    }
    if let Ok(id) = parse_task(bytes) {
        let found = Key::parse(bytes);
        let of_task = matches!(found, Ok(Key::Task { task, .. } | Key::Head { task, .. } | Key::Lease { task, .. }) if task == id);
        prop_assert!(of_task, "{:?}", found);
    }
    if let Ok((at, uid)) = parse_tick(bytes) {
        let found = Key::parse(bytes);
        prop_assert!(matches!(found, Ok(Key::Tick { at: a, uid: u, .. }) if (a, u) == (at, uid)), "{:?}", found);
    }
    if let Ok((stream, due, id)) = parse_due(bytes) {
        prop_assert_eq!(&*stream.entry(due, id), bytes);
        prop_assert_eq!(parse_due_tail(&stream, bytes), Ok((due, id)));
    }
    Ok(())
}

/// The end of a due key, with at least `width` bytes for the instant: the tuple layer reads them
/// all, but writes none that it can do without. Tells whether it would write these.
fn tail(due: Timestamp, task: TaskId, width: u8) -> (Vec<u8>, bool) {
    let magnitude = due.unix_ms().unsigned_abs();
    let needed = 8 - u8::try_from(magnitude.leading_zeros() / 8).unwrap();
    let width = width.max(needed);
    let is_negative = due.unix_ms() < 0;
    let digits = if is_negative { !magnitude } else { magnitude }.to_be_bytes();
    let code = if is_negative { 0x14 - width } else { 0x14 + width };
    let bytes = [&[code], &digits[usize::from(8 - width)..], &[0x30], task.as_bytes()].concat();
    (bytes, width == needed)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4096, ..ProptestConfig::default() })]

    #[test]
    fn every_key_reads_back_and_has_the_shape_of_its_kind(key in keys()) {
        let bytes = key.encode();
        prop_assert_eq!(Key::parse(&bytes), Ok(key.clone()));
        let parts: Vec<Element<'_>> = unpack(&bytes).unwrap();
        prop_assert_eq!(parts.len(), key.kind().parts().len() + 1);
        prop_assert_eq!(&parts[0], &Element::Int(i64::from(key.kind().code())));
        for (part, found) in key.kind().parts().iter().zip(&parts[1..]) {
            let fits = match part {
                Part::Number(_) | Part::Instant(_) => matches!(found, Element::Int(_)),
                Part::Id(_) => matches!(found, Element::Uuid(_)),
                Part::Text(_) => matches!(found, Element::String(_)),
            };
            prop_assert!(fits, "{:?}: {:?}", part, found);
        }
    }

    #[test]
    fn bytes_order_as_tuples_do_and_no_key_lies_in_the_range_of_another(one in keys(), other in keys()) {
        let (bytes, others) = (one.encode(), other.encode());
        prop_assert_eq!(bytes.cmp(&others), plain(&one).cmp(&plain(&other)));
        if one != other {
            // A text that ends in a zero begins with the bytes of the text without it, but goes
            // on with 0xff: beyond what `range_of` takes for the extensions of a tuple.
            let extends = others.strip_prefix(&*bytes).is_some_and(|rest| rest < b"\xff".as_slice());
            prop_assert!(!extends, "{:?} {:?}", one, other);
        }
    }

    #[test]
    fn a_parser_of_one_kind_refuses_every_other(key in keys()) {
        let (bytes, kind) = (key.encode(), key.kind());
        prop_assert_eq!(parse_member(&bytes).is_ok(), kind == Kind::Member);
        prop_assert_eq!(parse_task(&bytes).is_ok(), matches!(kind, Kind::Task | Kind::Head | Kind::Lease));
        prop_assert_eq!(parse_tick(&bytes).is_ok(), kind == Kind::Tick);
        prop_assert_eq!(parse_due(&bytes).is_ok(), kind == Kind::Due);
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
        taken_only_in_its_one_form(&bytes)?;
    }

    #[test]
    fn arbitrary_bytes_behind_a_known_kind_never_panic(code in 0..16u8, tail in proptest::collection::vec(any::<u8>(), 0..80)) {
        taken_only_in_its_one_form(&[vec![0x15, code], tail].concat())?;
    }

    #[test]
    fn a_due_tail_has_one_form_whatever_the_tuple_layer_reads(
        (stream, due, task) in (stream(), instant(), task()), width in 0..=8u8, edit in proptest::option::of((any::<proptest::sample::Index>(), any::<u8>())),
    ) {
        let (mut tail, is_written) = tail(due, task, width);
        let prefix = pack(&stream.prefix());
        let found = parse_due_tail(&stream, &[&prefix[..], &tail].concat());
        prop_assert_eq!(found.ok(), is_written.then_some((due, task)));
        if let Some((index, byte)) = edit {
            *index.get_mut(&mut tail) = byte;
            let bytes = [prefix, tail].concat();
            if let Ok((due, id)) = parse_due_tail(&stream, &bytes) {
                prop_assert_eq!(&*stream.entry(due, id), &bytes);
            }
        }
    }

    #[test]
    fn every_key_lies_within_the_bounds(key in keys()) {
        let (first, beyond) = bounds();
        let bytes = key.encode();
        prop_assert!(first <= bytes && bytes < beyond, "{:?}", key);
    }

    #[test]
    fn damaged_keys_are_refused_or_are_other_keys(bytes in damaged()) {
        taken_only_in_its_one_form(&bytes)?;
    }
}

#[test]
fn bytes_that_the_tuple_layer_reads_but_would_not_write_are_refused() {
    let check = |bytes: &[u8], expected: &str| {
        let error = Key::parse(bytes).unwrap_err();
        assert!(error.what.contains(expected), "{bytes:02x?}: {error}");
    };
    assert_eq!(Key::parse(b"\x15\x03\x15\x07"), Ok(Key::ShardLease { shard: ShardId(7) }));
    check(b"\x15\x03\x16\x00\x07", "not in its one form");
    check(b"\x16\x00\x03\x15\x07", "of no known kind");
    check(b"\x15\x03\x1d\x01\x07", "not in its one form");
    check(b"\x15\x03\x15\x00", "not in its one form");
    check(b"\x15\x03\x15\x07\x00", "railing");
    check(b"\x15\x03", "");
    check(b"\x15\x63", "of no known kind");
    check(b"", "of no known kind");
}

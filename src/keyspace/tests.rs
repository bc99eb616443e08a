mod document;
mod paging;
mod strict;

use proptest::prelude::*;

use super::*;

fn id(n: u128) -> TaskId {
    TaskId::from_parts(Timestamp::from_unix_ms(1_700_000_000_000), n)
}

fn stream(queue: &str, priority: Priority) -> DueStream {
    DueStream { shard: ShardId(3), namespace: Namespace::default(), queue: QueueName::new(queue).unwrap(), priority }
}

fn begin(range: &RangeOptions) -> Bytes {
    range.begin.key.clone()
}

fn end(range: &RangeOptions) -> Bytes {
    range.end.key.clone()
}

#[test]
fn due_keys_order_by_queue_priority_instant_and_id() {
    let at = Timestamp::from_unix_ms;
    let keys = [
        stream("a", Priority::High).entry(at(900), id(1)),
        stream("a", Priority::Medium).entry(at(-5), id(9)),
        stream("a", Priority::Medium).entry(at(5), id(1)),
        stream("a", Priority::Medium).entry(at(5), id(2)),
        stream("a", Priority::Medium).entry(at(1 << 40), id(0)),
        stream("a", Priority::Low).entry(at(0), id(0)),
        stream("a-b", Priority::High).entry(at(0), id(0)),
    ];
    assert!(keys.is_sorted(), "{keys:?}");
}

#[test]
fn a_stream_holds_its_own_entries_and_no_others() {
    let a = stream("a", Priority::Medium);
    let range = a.entries(None);
    let inside = |key: &Bytes| begin(&range) <= *key && *key < end(&range);
    assert!(inside(&a.entry(Timestamp::from_unix_ms(i64::MAX), id(0))));
    assert!(inside(&a.entry(Timestamp::from_unix_ms(i64::MIN), id(0))));
    for other in [stream("a", Priority::High), stream("a", Priority::Low), stream("a-", Priority::Medium)] {
        assert!(!inside(&other.entry(Timestamp::UNIX_EPOCH, id(0))));
    }
    let beyond = due_beyond(ShardId(3), Some(&a));
    assert!(begin(&beyond) > a.entry(Timestamp::from_unix_ms(i64::MAX), id(0)));
    assert!(begin(&beyond) <= stream("a", Priority::Low).entry(Timestamp::from_unix_ms(i64::MIN), id(0)));
}

#[test]
fn kinds_and_shards_do_not_overlap() {
    let ranges = [
        members(),
        tasks(ShardId(0), None),
        tasks(ShardId(1), None),
        heads(ShardId(0), None),
        leases(ShardId(0), None),
        leases(ShardId(255), None),
        leases(ShardId(256), None),
        idempotencies(),
        schedules(&Namespace::default(), None),
        ticks(ShardId(0)),
    ];
    for (n, a) in ranges.iter().enumerate() {
        for b in &ranges[n + 1..] {
            assert!(end(a) <= begin(b) || end(b) <= begin(a), "{a:?} {b:?}");
        }
    }
}

#[test]
fn every_kind_lies_within_the_bounds_whatever_its_keys_go_on_with() {
    let (first, beyond) = bounds();
    assert_eq!(first, cluster());
    for kind in Kind::ALL {
        let (begin, end) = bounds_of(&(kind.code(),));
        assert!(first <= begin && end <= beyond, "{kind:?}");
    }
}

proptest! {
    #[test]
    fn due_keys_read_back(due in any::<i64>(), n in any::<u128>(), shard in any::<u32>(), queue in "[a-z][A-Za-z0-9._-]{0,20}") {
        let stream = DueStream {
            shard: ShardId(shard),
            namespace: Namespace::default(),
            queue: QueueName::new(&queue).unwrap(),
            priority: Priority::Low,
        };
        let due = Timestamp::from_unix_ms(due);
        let key = stream.entry(due, id(n));
        prop_assert_eq!(parse_due(&key).unwrap(), (stream.clone(), due, id(n)));
        prop_assert_eq!(parse_due_tail(&stream, &key).unwrap(), (due, id(n)));
    }
}

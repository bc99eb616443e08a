use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

const SECOND: u64 = 1_000;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;
const TURN: u64 = 30 * DAY;

fn fired<T>(wheel: &mut Wheel<T>, now: u64) -> Vec<(u64, T)> {
    let mut out = Vec::new();
    wheel.advance(now, &mut |expired| out.push((expired.at, expired.value)));
    out
}

#[derive(Clone, Debug)]
enum Op {
    /// Insert this far from now; negative is late.
    Insert(i128),
    /// Cancel the entry inserted as this one, if it is still there.
    Cancel(usize),
    Advance(i128),
    /// Advance to what the wheel names as the next instant.
    Sleep,
    Rewind(u64),
    Clear,
}

/// Distances that lie at, or one beside, every border between two levels, and anything else.
fn distance() -> impl Strategy<Value = i128> {
    let borders: Vec<u64> = [1, SECOND, MINUTE, HOUR, DAY, TURN, 2 * TURN, 365 * DAY, 1 << 40, 1 << 60].into();
    prop_oneof![
        4 => 0i128..1500,
        4 => (prop::sample::select(borders.clone()), 0u64..4, -2i128..3)
            .prop_map(|(border, times, off)| i128::from(border) * i128::from(times) + off),
        2 => prop::sample::select(borders).prop_flat_map(|border| 0..=i128::from(border)),
        1 => -5000i128..0,
        1 => Just(i128::from(u64::MAX)),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        8 => distance().prop_map(Op::Insert),
        3 => any::<usize>().prop_map(Op::Cancel),
        4 => distance().prop_map(Op::Advance),
        4 => Just(Op::Sleep),
        1 => (0..2 * DAY).prop_map(Op::Rewind),
        1 => Just(Op::Clear),
    ]
}

fn moved(from: u64, by: i128) -> u64 {
    u64::try_from((i128::from(from) + by).clamp(0, i128::from(u64::MAX))).unwrap()
}

/// The model: entries by instant and number.
#[derive(Default)]
struct Model {
    entries: BTreeMap<(u64, usize), Handle>,
    handles: Vec<(u64, Handle)>,
}

impl Model {
    fn due(&mut self, now: u64) -> Vec<(u64, usize)> {
        let later = self.entries.split_off(&(now, usize::MAX));
        std::mem::replace(&mut self.entries, later).into_keys().collect()
    }
}

fn check(start: u64, ops: Vec<Op>) {
    let mut wheel = Wheel::new(start);
    let mut model = Model::default();
    let mut now = start;
    for op in ops {
        match op {
            Op::Insert(by) => {
                let (at, number) = (moved(now, by), model.handles.len());
                let handle = wheel.insert(at, number);
                assert_eq!(wheel.get(handle), Some((at, &number)));
                model.handles.push((at, handle));
                model.entries.insert((at, number), handle);
            }
            Op::Cancel(pick) if !model.handles.is_empty() => {
                let number = pick % model.handles.len();
                let (at, handle) = model.handles[number];
                let expected = model.entries.remove(&(at, number)).map(|_| number);
                assert_eq!(wheel.cancel(handle), expected);
                assert_eq!(wheel.get(handle), None);
            }
            Op::Cancel(_) => {}
            Op::Advance(by) => {
                now = moved(now, by);
                assert_eq!(fired(&mut wheel, now), model.due(now));
            }
            Op::Sleep => {
                let first = model.entries.keys().next().map(|(at, _)| *at);
                let next = wheel.next_expiry();
                assert_eq!(next.is_some(), first.is_some());
                if let (Some(next), Some(first)) = (next, first) {
                    assert!(next <= first, "sleeps past an entry: {next} > {first}");
                    now = now.max(next);
                    assert_eq!(fired(&mut wheel, now), model.due(now));
                }
            }
            Op::Rewind(by) => {
                now = now.saturating_sub(by);
                wheel.rewind(now);
                assert!(wheel.now_ms() <= now.max(start));
            }
            Op::Clear => {
                wheel.clear();
                model.entries.clear();
            }
        }
        assert_eq!(wheel.len(), model.entries.len());
    }
    assert_eq!(fired(&mut wheel, u64::MAX), model.due(u64::MAX));
    assert_eq!((wheel.len(), wheel.next_expiry()), (0, None));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn the_wheel_fires_what_an_ordered_map_would(
        start in prop_oneof![
            Just(0), Just(1), any::<u64>(), (0..3 * TURN), Just(u64::MAX - TURN), Just(u64::MAX - 3), Just(u64::MAX)
        ],
        ops in prop::collection::vec(op(), 1..120),
    ) {
        check(start, ops);
    }
}

#[test]
fn entries_of_one_instant_go_out_in_the_order_of_insertion() {
    for distance in [5, SECOND, MINUTE + 7, DAY * 3, TURN * 5] {
        let mut wheel = Wheel::new(DAY - 1);
        let at = DAY - 1 + distance;
        for n in 0..10 {
            // Time passes between the insertions, so that they start from different levels.
            assert!(fired(&mut wheel, DAY - 1 + distance * n / 11).is_empty());
            wheel.insert(at, n);
        }
        assert_eq!(fired(&mut wheel, at), (0..10).map(|n| (at, n)).collect::<Vec<_>>());
    }
}

#[test]
fn time_that_goes_backwards_fires_nothing() {
    let mut wheel = Wheel::new(10_000);
    wheel.insert(9_000, "late");
    wheel.insert(10_001, "ahead");
    assert_eq!(fired(&mut wheel, 8_999), []);
    assert_eq!(wheel.next_expiry(), Some(9_000));
    assert_eq!(wheel.now_ms(), 10_000);
    assert_eq!(fired(&mut wheel, 9_000), [(9_000, "late")]);
    assert_eq!(fired(&mut wheel, 10_001), [(10_001, "ahead")]);
}

#[test]
fn sleeping_wakes_at_most_once_for_each_level() {
    let mut wheel = Wheel::new(17);
    let at = 17 + 29 * DAY + 13 * HOUR + 59 * MINUTE + 59 * SECOND + 999;
    wheel.insert(at, ());
    let mut wakes = 0;
    while let Some(next) = wheel.next_expiry() {
        fired(&mut wheel, next);
        wakes += 1;
    }
    assert_eq!(wheel.now_ms(), at);
    assert!(wakes <= 6, "{wakes} wakes");
}

#[test]
fn a_stale_handle_names_nothing() {
    let mut wheel = Wheel::new(0);
    let first = wheel.insert(5, 'a');
    assert_eq!(wheel.cancel(first), Some('a'));
    let second = wheel.insert(5, 'b');
    assert_eq!((wheel.cancel(first), wheel.get(first)), (None, None));
    assert_eq!(wheel.get(second), Some((5, &'b')));
    let other = Wheel::<char>::new(0);
    assert_eq!(other.get(second), None);
}

#[test]
fn an_entry_costs_at_most_the_stated_bytes() {
    let mut wheel = Wheel::new(0);
    for n in 0..100_000u32 {
        wheel.insert(u64::from(n) * 37, n);
    }
    assert_eq!(Wheel::<u32>::slot_bytes(), 32);
    assert!(wheel.memory_bytes() <= 100_000 * 40, "{} bytes", wheel.memory_bytes());
}

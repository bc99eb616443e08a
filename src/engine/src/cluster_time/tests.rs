use proptest::prelude::*;

use super::*;
use crate::{Monotonic, Timestamp};

/// True Unix nanoseconds at which the tests begin.
const EPOCH: i128 = 1_790_000_000_000_000_000;

fn session(n: u8) -> SessionId {
    SessionId::from_parts(Timestamp::UNIX_EPOCH, u128::from(n))
}

/// A node of the model: wall and monotonic clock as functions of true time (ns since the start).
#[derive(Clone, Copy, Debug)]
struct Node {
    offset: i128,
    ppm: i128,
    error: Duration,
    sync: SyncState,
}

impl Node {
    fn right(offset_ms: i64) -> Self {
        let error = Duration::from_millis(offset_ms.unsigned_abs() + 1);
        Self { offset: i128::from(offset_ms) * 1_000_000, ppm: 0, error, sync: SyncState::Synchronised }
    }

    fn stamp(&self, truth: i128) -> Stamp {
        let mono = truth + truth * self.ppm / 1_000_000 + 7_000_000_000;
        let wall = EPOCH + truth + truth * self.ppm / 1_000_000 + self.offset;
        Stamp {
            wall: Timestamp::from_unix_ms(i64::try_from(wall.div_euclid(1_000_000)).unwrap()),
            mono: Monotonic::from_nanos(u64::try_from(mono).unwrap()),
        }
    }

    fn own(&self, truth: i128) -> OwnClock {
        let bounds = Bounds { error: self.error, sync: self.sync, leap: LeapFlag::None };
        OwnClock { now: self.stamp(truth), bounds, leap_lag: Duration::ZERO, leap_edge: None }
    }

    fn ask(&self, peer: &Node, truth: i128, there: i128, back: i128) -> Exchange {
        let arrived = truth + there;
        let reply = peer.own(arrived + 100_000).reply(peer.stamp(arrived));
        Exchange { asked: self.stamp(truth), peer: reply, answered: self.stamp(arrived + 100_000 + back) }
    }
}

const MS: i128 = 1_000_000;
const SECOND: i128 = 1000 * MS;

fn true_ms(truth: i128) -> i64 {
    i64::try_from((EPOCH + truth).div_euclid(MS)).unwrap()
}

/// One node looks at itself after measuring its peers.
fn look(own: &Node, peers: &[Node], truth: i128) -> Look {
    let mut time = ClusterTime::default();
    let ids: Vec<_> = (1..).map(session).take(peers.len()).collect();
    time.set_members(ids.iter().copied().collect());
    for (id, peer) in ids.iter().zip(peers) {
        time.measured(*id, &own.ask(peer, truth, 2 * MS, 3 * MS)).unwrap();
    }
    time.look(&own.own(truth + 10 * MS))
}

#[test]
fn one_node_is_its_own_majority() {
    let found = look(&Node::right(20), &[], SECOND);
    assert!(found.majority);
    assert_eq!((found.skew_us, found.health, found.peers), (0, Health::InBounds, 0));
    assert_eq!(found.latest.since(found.earliest), Duration::from_millis(42));
}

#[test]
fn a_node_that_nobody_keeps_right_acts_by_its_clock_as_it_stands() {
    let node = Node { error: Duration::ZERO, sync: SyncState::Unsynchronised, ..Node::right(0) };
    let found = look(&node, &[node, node], SECOND);
    assert_eq!((found.earliest, found.latest), (found.best, found.best));
    assert!(found.majority && found.health == Health::InBounds);
}

#[test]
fn two_nodes_that_disagree_fall_back_to_their_kernels_and_raise_an_alert() {
    let (fast, right) = (Node { error: Duration::from_millis(1), ..Node::right(9000) }, Node::right(0));
    for (own, peer) in [(fast, right), (right, fast)] {
        let found = look(&own, &[peer], SECOND);
        assert!(!found.majority);
        assert_eq!(found.health, Health::Alert);
        assert_eq!(found.best, own.stamp(SECOND + 10 * MS).wall);
    }
}

#[test]
fn a_majority_tells_a_wrong_clock_however_sure_of_itself_it_is() {
    let check = |offset_ms: i64, health| {
        let wrong = Node { error: Duration::from_millis(1), ..Node::right(offset_ms) };
        let found = look(&wrong, &[Node::right(3), Node::right(-3)], SECOND);
        assert!(found.majority);
        assert_eq!(found.health, health, "{offset_ms} ms: {found:?}");
        assert!((found.skew_us - offset_ms * 1000).abs() < 20_000, "{found:?}");
        let truth = true_ms(SECOND + 10 * MS);
        assert!(found.earliest.unix_ms() <= truth && truth <= found.latest.unix_ms());
    };
    check(900, Health::InBounds);
    check(-1100, Health::Alert);
    check(4900, Health::Alert);
    check(5100, Health::Rejected);
    check(-60_000, Health::Rejected);
}

#[test]
fn a_bound_that_is_too_wide_is_no_clock_to_act_by() {
    let node = Node { error: Duration::from_millis(5001), ..Node::right(0) };
    assert_eq!(look(&node, &[], SECOND).health, Health::Rejected);
}

#[test]
fn those_who_do_not_answer_count_as_members() {
    let mut time = ClusterTime::default();
    time.set_members((1..=4).map(session).collect());
    let own = Node::right(0);
    time.measured(session(1), &own.ask(&own, 0, MS, MS)).unwrap();
    assert!(!time.look(&own.own(10 * MS)).majority, "two of five");
    time.measured(session(2), &own.ask(&own, 0, MS, MS)).unwrap();
    assert!(time.look(&own.own(10 * MS)).majority, "three of five");
    let later = SECOND * 301;
    assert!(!time.look(&own.own(later)).majority, "old measurements do not vote");
}

#[test]
fn a_node_that_is_no_member_is_reported_and_has_no_vote() {
    let mut time = ClusterTime::default();
    let (own, worker) = (Node::right(0), Node::right(7000));
    time.measured(session(9), &own.ask(&worker, 0, MS, MS)).unwrap();
    let now = own.own(10 * MS);
    let found = time.look(&now);
    assert_eq!((found.health, found.peers), (Health::InBounds, 0));
    let skews = time.skews(&now, &found);
    assert_eq!(skews.len(), 1);
    assert!((skews[0].1 - 7_000_000).abs() < 10_000, "{skews:?}");
}

#[test]
fn exchanges_that_tell_nothing_are_refused() {
    let own = Node::right(0);
    let good = own.ask(&own, SECOND, MS, MS);
    let slow = own.ask(&own, SECOND, SECOND, MS);
    assert!(matches!(slow.measure(), Err(ExchangeError::Slow { .. })));
    let mut stepped = good;
    stepped.answered.wall = stepped.answered.wall.saturating_add(Duration::from_millis(50));
    assert_eq!(stepped.measure(), Err(ExchangeError::Stepped));
    let mut impossible = good;
    impossible.peer.sent = own.stamp(SECOND * 2);
    assert_eq!(impossible.measure(), Err(ExchangeError::Impossible));
}

#[test]
fn a_step_of_ones_own_wall_clock_shows_at_once() {
    let mut time = ClusterTime::default();
    let (own, peer) = (Node::right(0), Node::right(0));
    time.set_members([session(1), session(2)].into());
    for id in [1, 2] {
        time.measured(session(id), &own.ask(&peer, 0, MS, MS)).unwrap();
    }
    let set = Node { offset: 6 * SECOND, ..own };
    let found = time.look(&set.own(SECOND));
    assert_eq!(found.health, Health::Rejected);
    assert_eq!(found.skew_us / 100_000, 59);
}

#[test]
fn what_was_measured_before_a_leap_second_is_doubted_after_it() {
    let mut time = ClusterTime::default();
    let own = Node::right(0);
    time.set_members([session(1), session(2)].into());
    for id in [1, 2] {
        time.measured(session(id), &own.ask(&own, 0, MS, MS)).unwrap();
    }
    // A slow clock, so that only the peers bound it below.
    let slow = Node { offset: -2 * SECOND, error: Duration::from_secs(3), ..own };
    let mut now = slow.own(SECOND);
    let earliest = time.look(&now).earliest;
    now.leap_edge = Some(now.now.wall);
    assert!(earliest.since(time.look(&now).earliest) >= Duration::from_millis(900));
}

fn node() -> impl Strategy<Value = Node> {
    (-400_i64..400, -500_i128..500).prop_map(|(offset_ms, ppm)| {
        // Right for the minute that the test lasts: its drift is in the bound.
        let error = Duration::from_millis(offset_ms.unsigned_abs() + 31);
        Node { offset: i128::from(offset_ms) * MS, ppm, error, sync: SyncState::Synchronised }
    })
}

proptest! {
    #[test]
    fn an_exchange_bounds_the_peers_clock_whatever_the_two_ways_take(
        own in node(), peer in node(), there in 0..400 * MS, back in 0..400 * MS, later in 0..60 * SECOND,
    ) {
        let exchange = own.ask(&peer, SECOND, there, back);
        let measured = exchange.measure().unwrap();
        let truth = SECOND + there + back + later;
        let now = own.stamp(truth);
        let base = wall_nanos(peer.stamp(truth).wall) - i128::from(now.mono.as_nanos());
        // A reading is rounded down by less than a millisecond.
        prop_assert_eq!(measured.base_at(&now).widened(Duration::from_millis(1), Duration::ZERO).beyond(base), 0);
    }

    #[test]
    fn true_time_is_inside_while_most_bounds_are_right(
        own in node(), peers in prop::collection::vec(node(), 0..6),
        wrong in prop::collection::vec((any::<bool>(), -20_000_i64..20_000), 6),
        later in 0..40 * SECOND,
    ) {
        let mut peers = peers;
        let faulty_max = peers.len() / 2;
        let faulty: Vec<usize> = (0..peers.len()).filter(|n| wrong[*n].0).take(faulty_max).collect();
        for n in faulty {
            peers[n].offset = i128::from(wrong[n].1) * MS;
            peers[n].error = Duration::from_millis(1);
        }
        let found = look(&own, &peers, later);
        prop_assert!(found.majority);
        let truth = true_ms(later + 10 * MS);
        prop_assert!(found.earliest.unix_ms() <= truth, "{found:?} {truth}");
        prop_assert!(truth <= found.latest.unix_ms() + 1, "{found:?} {truth}");
        prop_assert!(found.earliest <= found.best && found.best <= found.latest);
    }

    #[test]
    fn peers_never_make_an_honest_nodes_tasks_later(own in node(), peers in prop::collection::vec(node(), 0..6)) {
        let (alone, together) = (look(&own, &[], SECOND), look(&own, &peers, SECOND));
        prop_assert!(together.earliest >= alone.earliest && together.latest <= alone.latest);
    }
}

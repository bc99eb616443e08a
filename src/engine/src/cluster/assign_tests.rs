use proptest::prelude::*;

use super::*;
use crate::Timestamp;

fn session(number: u32) -> SessionId {
    SessionId::from_parts(Timestamp::from_unix_ms(1_700_000_000_000), u128::from(number))
}

fn members(weights: &[u32]) -> BTreeMap<SessionId, u32> {
    (0..).map(session).zip(weights.iter().copied()).collect()
}

/// So many shards without load, dealt out to these members.
fn settled(shards: usize, members: &BTreeMap<SessionId, u32>) -> Vec<ShardNow> {
    now(&assign(&vec![ShardNow::default(); shards], members), &[])
}

fn now(owners: &[SessionId], loads: &[u64]) -> Vec<ShardNow> {
    let loads = loads.iter().copied().chain(std::iter::repeat(0));
    owners.iter().zip(loads).map(|(owner, load)| ShardNow { owner: Some(*owner), load }).collect()
}

fn counts(wanted: &[SessionId]) -> BTreeMap<SessionId, u64> {
    let mut counts = BTreeMap::new();
    wanted.iter().for_each(|owner| *counts.entry(*owner).or_default() += 1);
    counts
}

/// The fewest shards that must leave live owners if each member is to have its share, rounded down or up.
fn fewest_moves(shards: &[ShardNow], members: &BTreeMap<SessionId, u32>) -> usize {
    let weights: u64 = members.values().map(|weight| u64::from(*weight)).sum();
    let (mut must, mut may_keep, mut up) = (0, 0, shards.len() as u64);
    for (member, weight) in members {
        let held = shards.iter().filter(|shard| shard.owner == Some(*member)).count() as u64;
        let product = shards.len() as u64 * u64::from(*weight);
        let (down, rest) = (product / weights, product % weights);
        up -= down;
        must += held.saturating_sub(down);
        may_keep += u64::from(held > down && rest > 0);
    }
    usize::try_from(must - may_keep.min(up)).unwrap()
}

fn cluster() -> impl Strategy<Value = (Vec<ShardNow>, BTreeMap<SessionId, u32>)> {
    let owner = prop_oneof![1 => Just(None), 9 => (0_u32..12).prop_map(|number| Some(session(number)))];
    let weights = prop_oneof![3 => Just(1_u32), 1 => 0_u32..5];
    (
        prop::collection::vec((owner, 0_u64..50), 1..80),
        prop::collection::btree_map((0_u32..12).prop_map(session), weights, 1..9),
    )
        .prop_map(|(shards, members)| {
            (shards.into_iter().map(|(owner, load)| ShardNow { owner, load }).collect(), members)
        })
}

proptest! {
    #[test]
    fn each_member_gets_its_share_rounded_down_or_up_and_only_members_do((shards, members) in cluster()) {
        let wanted = assign(&shards, &members);
        prop_assert_eq!(wanted.len(), shards.len());
        let weights: u64 = members.values().map(|weight| u64::from(*weight)).sum();
        let counts = counts(&wanted);
        prop_assert!(counts.keys().all(|owner| members.contains_key(owner)));
        for (member, weight) in &members {
            let (count, n) = (counts.get(member).copied().unwrap_or(0), shards.len() as u64);
            let (weight, weights) = if weights == 0 { (1, members.len() as u64) } else { (u64::from(*weight), weights) };
            let share = n * weight;
            prop_assert!(count >= share / weights && count <= share.div_ceil(weights), "{count} of {share}/{weights}");
        }
    }

    #[test]
    fn as_few_shards_move_as_can_and_two_more_for_load((shards, members) in cluster()) {
        let idle: Vec<_> = shards.iter().map(|shard| ShardNow { load: 0, ..*shard }).collect();
        prop_assume!(members.values().any(|weight| *weight > 0));
        let fewest = fewest_moves(&idle, &members);
        prop_assert_eq!(moved(&idle, &members, &assign(&idle, &members)).len(), fewest);
        prop_assert!(moved(&shards, &members, &assign(&shards, &members)).len() <= fewest + 2);
    }

    #[test]
    fn what_is_as_wanted_stays_and_exchanges_come_to_an_end((shards, members) in cluster()) {
        let loads: Vec<u64> = shards.iter().map(|shard| shard.load).collect();
        let mut wanted = assign(&shards, &members);
        for step in 0.. {
            let next = assign(&now(&wanted, &loads), &members);
            if next == wanted {
                break;
            }
            prop_assert!(step < 200, "exchanges go on for ever");
            prop_assert_eq!(moved(&now(&wanted, &loads), &members, &next).len(), 2, "one exchange at a time");
            wanted = next;
        }
    }

    #[test]
    fn a_death_moves_nothing_of_those_that_live(shards in 1_usize..300, alive in 2_usize..12, dead in 0_usize..12) {
        let all = members(&vec![1; alive]);
        let before = settled(shards, &all);
        let mut left = all.clone();
        left.remove(all.keys().nth(dead % alive).unwrap());
        prop_assert_eq!(moved(&before, &left, &assign(&before, &left)), vec![]);
    }
}

#[test]
fn from_three_members_to_five_two_fifths_move() {
    for shards in [32, 256, 1000] {
        let before = settled(shards, &members(&[1; 3]));
        let five = members(&[1; 5]);
        let moved = moved(&before, &five, &assign(&before, &five)).len();
        assert!(moved * 5 <= shards * 2 + 5, "{moved} of {shards}");
        assert!(moved * 5 >= shards * 2 - 5, "the new ones get their shares: {moved} of {shards}");
    }
}

#[test]
fn a_member_that_drains_ends_with_nothing_and_the_last_one_keeps_all() {
    let before = settled(32, &members(&[1; 4]));
    let wanted = assign(&before, &members(&[1, 1, 0, 1]));
    assert!(!wanted.contains(&session(2)));
    assert_eq!(moved(&before, &members(&[1, 1, 0, 1]), &wanted).len(), 8);
    assert!(assign(&before, &members(&[0])).iter().all(|owner| *owner == session(0)));
    assert!(assign(&before, &BTreeMap::new()).is_empty());
}

#[test]
fn a_member_that_carries_too_much_gives_heavy_shards_for_light_ones() {
    let all = members(&[1, 1]);
    let owners: Vec<_> = (0..8).map(|shard| session(shard / 4)).collect();
    // 340 against 60 where 200 is fair: after three exchanges within the slack.
    let loads = [100, 90, 80, 70, 30, 10, 10, 10];
    let mut wanted = owners.clone();
    let mut hottest = Vec::new();
    for _ in 0..6 {
        let carried = |member| -> u64 { wanted.iter().zip(loads).filter(|(o, _)| **o == member).map(|(_, l)| l).sum() };
        hottest.push(carried(session(0)).max(carried(session(1))));
        wanted = assign(&now(&wanted, &loads), &all);
    }
    assert!(hottest.is_sorted_by(|a, b| a >= b), "{hottest:?}");
    assert!(hottest.last().is_some_and(|load| *load <= 250), "{hottest:?}");
    // Within the slack nothing moves.
    let even = [50, 40, 50, 40, 45, 45, 45, 30];
    assert_eq!(assign(&now(&owners, &even), &all), owners);
}

#[test]
fn what_moves_anyway_goes_where_the_load_is_least() {
    let mut shards: Vec<_> = (0..9).map(|shard| ShardNow { owner: Some(session(shard / 3)), load: 10 }).collect();
    shards[0].load = 100;
    // The third died: of its shards the first member, busy with a hot one, gets the lightest.
    for (shard, load) in [(6, 50), (7, 40), (8, 5)] {
        shards[shard].load = load;
    }
    let wanted = assign(&shards, &members(&[1, 1]));
    assert_eq!(wanted[6..], [session(1), session(1), session(0)]);
}

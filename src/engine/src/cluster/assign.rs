//! Which scheduler should own which shard.
//!
//! A pure function of who lives, what each owns and how busy each shard is, so that every scheduler finds
//! the same answer by itself. Each gets its share of the shards, by its weight, rounded down or
//! up; of all ways to give these shares it takes one that moves the fewest shards. (Rendezvous and ring
//! hashing move as few when members come and go, but leave shares that differ by tens of percent for
//! as few shards as a cluster has: Mirrokni et al. 2016 bound that at the price of more moves.)
//!
//! Shards that move anyway go where the load is least, heaviest first (Graham 1969). Beyond that a shard moves
//! for its load only when a member carries more than [`LOAD_SLACK`] allows, and then it is one exchange of two
//! shards for each call: so counts stay as they are, and each exchange makes the spread smaller.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, VecDeque},
};

use crate::{SessionId, ShardId};

/// A member's load may exceed its fair share by this many percent before shards move for it.
pub const LOAD_SLACK: u64 = 25;

/// A shard as it is now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ShardNow {
    /// Who owns it, dead or alive.
    pub owner: Option<SessionId>,
    /// How busy it is, in any unit that is the same for all: tasks fired a minute, for one.
    pub load: u64,
}

/// The owner that each shard should have, in the order of `shards`; empty if there are no `members`.
/// `members` are those that live, each with its weight: one of twice the weight gets twice the
/// shards. A weight of 0 is a member that gives all up: it drains. If all drain, each counts as 1.
pub fn assign(shards: &[ShardNow], members: &BTreeMap<SessionId, u32>) -> Vec<SessionId> {
    let mut plan = Plan::new(shards, members);
    if plan.seats.is_empty() {
        return Vec::new();
    }
    plan.keep();
    plan.give();
    plan.exchange();
    let owner = |seat: &Option<usize>| plan.seats[seat.expect("every shard was given to somebody")].session;
    plan.owners.iter().map(owner).collect()
}

/// Shards that `wanted` has elsewhere than where a live member has them now: what moves without need of a
/// death.
pub fn moved(shards: &[ShardNow], members: &BTreeMap<SessionId, u32>, wanted: &[SessionId]) -> Vec<ShardId> {
    let lives = |shard: &ShardNow| shard.owner.filter(|owner| members.contains_key(owner));
    let pairs = (0..).map(ShardId).zip(shards.iter().zip(wanted));
    pairs.filter(|(_, (now, wanted))| lives(now).is_some_and(|owner| owner != **wanted)).map(|(id, _)| id).collect()
}

/// What a member gets.
#[derive(Clone, Copy, Debug)]
struct Seat {
    session: SessionId,
    weight: u64,
    quota: usize,
    count: usize,
    load: u64,
}

struct Plan<'a> {
    shards: &'a [ShardNow],
    seats: Vec<Seat>,
    /// By shard: a place in `seats`.
    owners: Vec<Option<usize>>,
    weights: u64,
    load: u128,
}

impl<'a> Plan<'a> {
    fn new(shards: &'a [ShardNow], members: &BTreeMap<SessionId, u32>) -> Self {
        let all_drain = members.values().all(|weight| *weight == 0);
        let weight = |weight: &u32| if all_drain { 1 } else { u64::from(*weight) };
        let seat = |(session, w): (&SessionId, &u32)| Seat {
            session: *session,
            weight: weight(w),
            quota: 0,
            count: 0,
            load: 0,
        };
        let mut seats: Vec<Seat> = members.iter().map(seat).filter(|seat| seat.weight > 0).collect();
        let weights = seats.iter().map(|seat| seat.weight).sum();
        let place = |owner: SessionId| seats.binary_search_by_key(&owner, |seat| seat.session).ok();
        let owners: Vec<_> = shards.iter().map(|shard| shard.owner.and_then(place)).collect();
        quotas(&mut seats, &owners, shards, weights);
        let load = shards.iter().map(|shard| u128::from(shard.load)).sum();
        Self { shards, seats, owners, weights, load }
    }

    /// Leaves to each member what it owns, up to its quota. Of what it owns beyond that, the shards go that
    /// bring its load nearest to its share: the heaviest while it carries too much, else the lightest.
    fn keep(&mut self) {
        for place in 0..self.seats.len() {
            let mut owned: Vec<usize> =
                (0..self.owners.len()).filter(|shard| self.owners[*shard] == Some(place)).collect();
            // Among equals the first shards stay, whoever calculates.
            owned.sort_by_key(|shard| (self.shards[*shard].load, Reverse(*shard)));
            let mut load: u64 = owned.iter().map(|shard| self.shards[*shard].load).sum();
            let mut owned = VecDeque::from(owned);
            while owned.len() > self.seats[place].quota {
                let heavy = load > self.fair(place);
                let gone = if heavy { owned.pop_back() } else { owned.pop_front() };
                let gone = gone.expect("longer than a quota");
                load -= self.shards[gone].load;
                self.owners[gone] = None;
            }
            self.seats[place].count = owned.len();
            self.seats[place].load = load;
        }
    }

    /// Gives what nobody has to those below their quota.
    fn give(&mut self) {
        let mut free: Vec<usize> = (0..self.owners.len()).filter(|shard| self.owners[*shard].is_none()).collect();
        free.sort_by_key(|shard| (Reverse(self.shards[*shard].load), *shard));
        for shard in free {
            let room = self.seats.iter().enumerate().filter(|(_, seat)| seat.count < seat.quota);
            // Load by weight, then who is emptiest by weight: fractions compared without dividing.
            let least = room.min_by(|(_, a), (_, b)| {
                let load = |x: &Seat, y: &Seat| u128::from(x.load) * u128::from(y.weight);
                let count = |x: &Seat, y: &Seat| x.count as u128 * u128::from(y.weight);
                load(a, b).cmp(&load(b, a)).then_with(|| count(a, b).cmp(&count(b, a)))
            });
            let (place, _) = least.expect("quotas add up to the number of shards");
            self.owners[shard] = Some(place);
            self.seats[place].count += 1;
            self.seats[place].load += self.shards[shard].load;
        }
    }

    /// What a member would carry if load were dealt out by weight.
    fn fair(&self, place: usize) -> u64 {
        let fair = self.load * u128::from(self.seats[place].weight) / u128::from(self.weights.max(1));
        u64::try_from(fair).unwrap_or(u64::MAX)
    }

    /// Exchanges two shards, if a member carries too much and that makes it less without making another
    /// carry as much.
    fn exchange(&mut self) {
        let carried = |place: usize| self.excess(place, self.seats[place].load);
        let Some(hot) = (0..self.seats.len()).max_by_key(|place| carried(*place)) else { return };
        let worst = carried(hot);
        if worst <= u128::from(1000 + LOAD_SLACK * 10) {
            return;
        }
        let placed = || self.owners.iter().enumerate().filter_map(|(shard, place)| Some((shard, (*place)?)));
        let mut best: Option<(u128, usize, usize)> = None;
        for (mine, _) in placed().filter(|(_, place)| *place == hot) {
            for (theirs, cold) in placed().filter(|(_, place)| *place != hot) {
                let (heavy, light) = (self.shards[mine].load, self.shards[theirs].load);
                if heavy <= light {
                    continue;
                }
                let less = self.excess(hot, self.seats[hot].load - heavy + light);
                let after = less.max(self.excess(cold, self.seats[cold].load - light + heavy));
                if after < worst && best.is_none_or(|(least, _, _)| after < least) {
                    best = Some((after, mine, theirs));
                }
            }
        }
        if let Some((_, mine, theirs)) = best {
            self.owners.swap(mine, theirs);
        }
    }

    /// What a member carries, in thousandths of its fair share.
    fn excess(&self, place: usize, load: u64) -> u128 {
        u128::from(load) * 1000 / u128::from(self.fair(place).max(1))
    }
}

/// Each member's share, rounded down, and up for as many as it takes: first for those that own more than
/// that now, so that they keep it; then by what rounding took from them; then for those that carry least.
fn quotas(seats: &mut [Seat], owners: &[Option<usize>], now: &[ShardNow], weights: u64) {
    let shards = owners.len() as u128;
    let mut held = vec![(0_usize, 0_u64); seats.len()];
    for (place, shard) in owners.iter().zip(now).filter_map(|(place, shard)| Some(((*place)?, shard))) {
        held[place].0 += 1;
        held[place].1 += shard.load;
    }
    let share = |seat: &Seat| (shards * u128::from(seat.weight)).div_euclid(u128::from(weights));
    let rest = |seat: &Seat| (shards * u128::from(seat.weight)).rem_euclid(u128::from(weights));
    for seat in seats.iter_mut() {
        seat.quota = usize::try_from(share(seat)).expect("at most the number of shards");
    }
    let given: usize = seats.iter().map(|seat| seat.quota).sum();
    let mut order: Vec<usize> = (0..seats.len()).filter(|place| rest(&seats[*place]) > 0).collect();
    order.sort_by_key(|place| {
        let seat = &seats[*place];
        let (count, load) = held[*place];
        (Reverse(count > seat.quota), Reverse(rest(seat)), load, *place)
    });
    for place in order.into_iter().take(owners.len() - given) {
        seats[place].quota += 1;
    }
}

#[cfg(test)]
#[path = "assign_tests.rs"]
mod tests;

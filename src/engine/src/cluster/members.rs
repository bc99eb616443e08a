//! Which members live, as one observer sees it, and which of them are to own shards.
//!
//! A member's record shows a beat that grows while it lives and the length of its lease. The observer counts
//! the lease on its own monotonic clock, from *after* it first saw a beat; the member counts it from *before*
//! it wrote. So who is taken for dead here knows itself that its lease is out, if clock rates are right, and
//! is fenced by the epochs of its shards if not.
//!
//! **Proof of life.** A record alone proves nothing: its writer may be dead, and one more beat may have been
//! in the store's queue. A member is to own shards only once its beat was seen to grow twice.
//!
//! **Damping.** Each death of a process is held against its successors at the same address (and against itself, if
//! it was only suspended): they wait [`FLAP_WAIT`], doubled for each further death, before they are to own
//! anything. That is forgotten [`FLAP_MEMORY`] after the last one. A graceful goodbye is no death. (BGP's route
//! flap damping, RFC 2439, with one penalty that doubles in place of a decaying sum.)

use std::{collections::BTreeMap, time::Duration};

use crate::{Monotonic, SessionId};

/// How long a member waits for shards after one death at its address.
pub const FLAP_WAIT: Duration = Duration::from_secs(5);
/// The longest such wait.
pub const FLAP_WAIT_MAX: Duration = Duration::from_secs(300);
/// Deaths are forgotten when there was none for so long.
pub const FLAP_MEMORY: Duration = Duration::from_secs(600);

/// Beats that must be seen to follow each other.
const BEATS_OF_LIFE: u32 = 2;

/// A member as its record shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Grows with each renewal.
    pub beat: u64,
    /// Length of its lease.
    pub lease: Duration,
    /// Where it is reached: the same for a process and those that take its place.
    pub address: String,
    /// Its share of the shards; 0 while it drains.
    pub weight: u32,
}

#[derive(Clone, Debug)]
struct Known {
    seen: Seen,
    /// When this beat was first seen.
    since: Monotonic,
    /// When its beat began to move, for the first time or after it was dead.
    began: Monotonic,
    grown: u32,
    /// It was counted as a death already.
    dead: bool,
}

impl Known {
    fn lapsed(&self, now: Monotonic) -> bool {
        now >= self.since.saturating_add(self.seen.lease)
    }
}

#[derive(Clone, Copy, Debug)]
struct Deaths {
    count: u32,
    last: Monotonic,
}

impl Deaths {
    fn wait(self) -> Duration {
        FLAP_WAIT.saturating_mul(1_u32.checked_shl(self.count.saturating_sub(1)).unwrap_or(u32::MAX)).min(FLAP_WAIT_MAX)
    }
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Members {
    own: SessionId,
    known: BTreeMap<SessionId, Known>,
    deaths: BTreeMap<String, Deaths>,
}

impl Members {
    /// As `own` sees them, who knows by itself that it lives.
    pub fn new(own: SessionId) -> Self {
        Self { own, known: BTreeMap::new(), deaths: BTreeMap::new() }
    }

    /// All records there are, read before `now`.
    pub fn look(&mut self, records: BTreeMap<SessionId, Seen>, now: Monotonic) {
        self.lapse(now);
        // Who is not there any more has said goodbye, or was cleared away as dead.
        self.known.retain(|session, _| records.contains_key(session));
        for (session, seen) in records {
            match self.known.get_mut(&session) {
                Some(known) if known.seen.beat == seen.beat => known.seen = seen,
                Some(known) => {
                    let again = known.dead;
                    known.grown = if again { 1 } else { known.grown.saturating_add(1) };
                    known.began = if again { now } else { known.began };
                    (known.seen, known.since, known.dead) = (seen, now, false);
                }
                None => {
                    let known = Known { seen, since: now, began: now, grown: 0, dead: false };
                    self.known.insert(session, known);
                }
            }
        }
        self.deaths.retain(|_, deaths| now < deaths.last.saturating_add(FLAP_MEMORY));
    }

    /// Counts those whose lease has passed since.
    fn lapse(&mut self, now: Monotonic) {
        for (session, known) in &mut self.known {
            if *session == self.own || known.dead || !known.lapsed(now) {
                continue;
            }
            known.dead = true;
            // A corpse found at the beginning died in a time that nobody saw.
            if known.grown > 0 {
                let deaths = self.deaths.entry(known.seen.address.clone()).or_insert(Deaths { count: 0, last: now });
                *deaths = Deaths { count: deaths.count.saturating_add(1), last: now };
            }
        }
    }

    /// Members whose beat stood still for their whole lease, and the beat: whoever takes their shards must
    /// still find it in the same transaction.
    pub fn dead(&self, now: Monotonic) -> BTreeMap<SessionId, u64> {
        let dead = self.known.iter().filter(|(session, known)| **session != self.own && known.lapsed(now));
        dead.map(|(session, known)| (*session, known.seen.beat)).collect()
    }

    /// Members that are to own shards, with their weights: what [`super::assign`] takes.
    pub fn candidates(&self, now: Monotonic) -> BTreeMap<SessionId, u32> {
        let is_one = |session: &SessionId, known: &Known| {
            *session == self.own
                || !known.lapsed(now)
                    && known.grown >= BEATS_OF_LIFE
                    && now >= known.began.saturating_add(self.wait(known))
        };
        let candidates = self.known.iter().filter(|(session, known)| is_one(session, known));
        candidates.map(|(session, known)| (*session, known.seen.weight)).collect()
    }

    /// When [`Members::dead`] or [`Members::candidates`] may change by the passing of time alone.
    pub fn next_change(&self, now: Monotonic) -> Option<Monotonic> {
        let others = self.known.iter().filter(|(session, _)| **session != self.own);
        let instants = others.flat_map(|(_, known)| {
            [known.since.saturating_add(known.seen.lease), known.began.saturating_add(self.wait(known))]
        });
        instants.filter(|at| *at > now).min()
    }

    fn wait(&self, known: &Known) -> Duration {
        self.deaths.get(&known.seen.address).map_or(Duration::ZERO, |deaths| deaths.wait())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::Timestamp;

    const LEASE: Duration = Duration::from_millis(600);

    fn session(number: u32) -> SessionId {
        SessionId::from_parts(Timestamp::from_unix_ms(1_700_000_000_000), u128::from(number))
    }

    fn at(ms: u64) -> Monotonic {
        Monotonic::from_nanos(ms * 1_000_000)
    }

    /// An observer that looks each 50 ms at members that beat each 200 ms while they live.
    struct Story {
        members: Members,
        now: u64,
        records: BTreeMap<SessionId, Seen>,
    }

    impl Story {
        fn new() -> Self {
            let mut story = Self { members: Members::new(session(0)), now: 0, records: BTreeMap::new() };
            story.beat(0);
            story
        }

        fn beat(&mut self, number: u32) {
            self.beat_at(number, &format!("host-{number}:7250"));
        }

        fn beat_at(&mut self, number: u32, address: &str) {
            let beat = self.records.get(&session(number)).map_or(1, |seen| seen.beat + 1);
            let seen = Seen { beat, lease: LEASE, address: address.to_owned(), weight: 1 };
            self.records.insert(session(number), seen);
        }

        fn run(&mut self, ms: u64, living: &[(u32, &str)]) {
            for _ in 0..ms / 50 {
                if self.now.is_multiple_of(200) {
                    living.iter().for_each(|(number, address)| self.beat_at(*number, address));
                }
                self.members.look(self.records.clone(), at(self.now));
                self.now += 50;
            }
        }

        fn candidates(&self) -> Vec<u32> {
            let candidates = self.members.candidates(at(self.now));
            (0..100).filter(|number| candidates.contains_key(&session(*number))).collect()
        }

        fn dead(&self) -> Vec<u32> {
            let dead = self.members.dead(at(self.now));
            (0..100).filter(|number| dead.contains_key(&session(*number))).collect()
        }
    }

    #[test]
    fn one_that_beats_is_to_own_shards_and_one_that_stops_is_dead_after_its_lease() {
        let mut story = Story::new();
        assert_eq!(story.candidates(), Vec::<u32>::new(), "not even oneself before one's record is there");
        story.run(50, &[(1, "a")]);
        assert_eq!(story.candidates(), [0], "a record is no life");
        story.run(200, &[(1, "a")]);
        assert_eq!(story.candidates(), [0], "nor is one more beat");
        story.run(550, &[(1, "a")]);
        assert_eq!(story.candidates(), [0, 1]);
        // Its last beat was seen at 600.
        assert_eq!(story.now, 800);
        story.run(350, &[]);
        assert_eq!((story.candidates(), story.dead()), (vec![0, 1], vec![]), "{}", story.now);
        story.run(50, &[]);
        assert_eq!((story.candidates(), story.dead()), (vec![0], vec![1]), "{}", story.now);
        story.records.remove(&session(1));
        story.run(50, &[]);
        assert_eq!(story.dead(), Vec::<u32>::new());
    }

    #[test]
    fn oneself_is_never_dead_however_late_one_reads_ones_own_beat() {
        let mut story = Story::new();
        story.run(10_000, &[]);
        assert_eq!((story.candidates(), story.dead()), (vec![0], vec![]));
    }

    #[test]
    fn a_corpse_is_dead_after_its_lease_and_not_held_against_its_successor() {
        let mut story = Story::new();
        story.beat_at(1, "a");
        story.run(700, &[]);
        assert_eq!(story.dead(), [1]);
        story.run(600, &[(2, "a")]);
        assert_eq!(story.candidates(), [0, 2]);
    }

    #[test]
    fn each_death_doubles_the_wait_of_those_that_follow_at_its_address() {
        let mut story = Story::new();
        for (number, wait_s) in [(1, 0), (2, 5), (3, 10), (4, 20), (5, 40), (6, 80), (7, 160), (8, 300), (9, 300)] {
            let before = story.now;
            while !story.candidates().contains(&number) {
                story.run(200, &[(number, "a"), (50, "b")]);
                assert!(story.now - before <= 301_000, "{number} waits too long");
            }
            let waited = story.now - before;
            assert!(waited >= wait_s * 1000 && waited <= wait_s * 1000 + 800, "{number} waited {waited} ms");
            assert!(number < 2 || story.candidates().contains(&50), "others do not wait");
            story.records.remove(&session(number - 1));
            story.run(800, &[(50, "b")]);
            assert!(story.dead().contains(&number));
        }
    }

    #[test]
    fn a_goodbye_is_no_death_and_deaths_are_forgotten() {
        let mut story = Story::new();
        story.run(1000, &[(1, "a")]);
        story.records.remove(&session(1));
        story.run(600, &[(2, "a")]);
        assert_eq!(story.candidates(), [0, 2]);
        // It dies.
        story.run(800, &[]);
        story.records.remove(&session(2));
        story.run(1000, &[(3, "a")]);
        assert_eq!(story.candidates(), [0]);
        story.records.remove(&session(3));
        story.run(600_000, &[]);
        story.run(600, &[(4, "a")]);
        assert_eq!(story.candidates(), [0, 4]);
    }

    #[test]
    fn one_that_was_suspended_waits_before_it_owns_again() {
        let mut story = Story::new();
        story.run(1000, &[(1, "a")]);
        story.run(1000, &[]);
        assert_eq!(story.dead(), [1]);
        story.run(4800, &[(1, "a")]);
        assert_eq!((story.candidates(), story.dead()), (vec![0], vec![]));
        story.run(600, &[(1, "a")]);
        assert_eq!(story.candidates(), [0, 1]);
    }

    proptest! {
        #[test]
        fn nothing_changes_between_looks_before_the_next_change(
            steps in prop::collection::vec((0_u64..900, prop::collection::vec((1_u32..4, 0_usize..2), 0..4)), 1..30),
        ) {
            let mut story = Story::new();
            for (wait, beats) in steps {
                for (number, address) in beats {
                    story.beat_at(number, ["a", "b"][address]);
                }
                story.members.look(story.records.clone(), at(story.now));
                let before = (story.candidates(), story.dead());
                let next = story.members.next_change(at(story.now));
                story.now += wait;
                if next.is_none_or(|next| at(story.now) < next) {
                    prop_assert_eq!(before, (story.candidates(), story.dead()));
                }
                // Nobody is both.
                let (candidates, dead) = (story.candidates(), story.dead());
                prop_assert!(candidates.iter().all(|number| !dead.contains(number)));
            }
        }
    }
}

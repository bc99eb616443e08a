//! Which list an instant belongs to, as seen from the current one, and which list is next.
//!
//! An entry is in the lowest level whose block (the span that one turn of the level covers)
//! holds both it and the current instant. So all of a level comes before all of the next
//! level, and a level's slots come in the order of their numbers.

pub(super) const NEAR_SLOTS: usize = 1000;
/// Milliseconds of a slot, and slots, of the levels of seconds, minutes, hours and days.
const LEVELS: [(u64, u16); 4] = [(1_000, 60), (60_000, 60), (3_600_000, 24), (86_400_000, 30)];
/// First list of each of those levels.
const LEVEL_LISTS: [u16; 4] = [1000, 1060, 1120, 1144];
/// First list of those beyond the day level.
const FAR_LISTS: u16 = 1174;
/// Turns of the day level are numbered from 0; their numbers have at most 33 bits.
const FAR_BITS: u16 = 33;
/// What was due already when it came.
pub(super) const LATE: u16 = FAR_LISTS + FAR_BITS;
/// Number of lists.
pub(super) const LISTS: usize = LATE as usize + 1;
/// Milliseconds of a turn of the day level.
const TURN_MS: u64 = 30 * 86_400_000;

const _: () = {
    assert!(u64::MAX / TURN_MS < 1 << FAR_BITS);
    assert!(LISTS < super::slab::PARKED as usize);
    assert!(LEVELS[3].0 * LEVELS[3].1 as u64 == TURN_MS);
};

/// The current instant, where its blocks begin and end, and which lists hold something.
#[derive(Debug)]
pub(super) struct Calendar {
    now: u64,
    /// First and last instant of the blocks around `now`: second, minute, hour, day, turn.
    first: [u64; 5],
    last: [u64; 5],
    near: [u64; NEAR_SLOTS.div_ceil(64)],
    levels: [u64; 4],
    far: u64,
}

impl Calendar {
    pub(super) fn new(now: u64) -> Self {
        let mut calendar = Self { now, first: [0; 5], last: [0; 5], near: [0; 16], levels: [0; 4], far: 0 };
        calendar.find_blocks();
        calendar
    }

    pub(super) fn now(&self) -> u64 {
        self.now
    }

    /// Moves to an instant. Lists that this passes must be empty.
    pub(super) fn set_now(&mut self, now: u64) {
        self.now = now;
        if now < self.first[0] || now > self.last[0] {
            self.find_blocks();
        }
    }

    fn find_blocks(&mut self) {
        let spans = [1_000, 60_000, 3_600_000, 86_400_000, TURN_MS];
        for (level, span) in spans.into_iter().enumerate() {
            self.first[level] = self.now - self.now % span;
            self.last[level] = self.first[level].saturating_add(span - 1);
        }
    }

    /// The list of an instant that is not before the current one.
    #[expect(clippy::cast_possible_truncation, reason = "each is a remainder below the number of slots, or below 64")]
    pub(super) fn list_of(&self, at: u64) -> u16 {
        debug_assert!(at >= self.now, "only instants ahead have a place");
        if at <= self.last[0] {
            return (at - self.first[0]) as u16;
        }
        for level in 0..LEVELS.len() {
            if at <= self.last[level + 1] {
                return LEVEL_LISTS[level] + ((at - self.first[level + 1]) / LEVELS[level].0) as u16;
            }
        }
        let differing = (at / TURN_MS) ^ (self.now / TURN_MS);
        FAR_LISTS + (63 - differing.leading_zeros()) as u16
    }

    /// The first list that holds something, and the first instant that it may hold.
    pub(super) fn next_list(&self) -> Option<(u64, u16)> {
        for (number, word) in (0u16..).zip(self.near) {
            if word != 0 {
                let slot = number * 64 + bit(word);
                return Some((self.first[0] + u64::from(slot), slot));
            }
        }
        for level in 0..LEVELS.len() {
            if self.levels[level] != 0 {
                let slot = bit(self.levels[level]);
                let start = self.first[level + 1] + u64::from(slot) * LEVELS[level].0;
                return Some((start, LEVEL_LISTS[level] + slot));
            }
        }
        if self.far != 0 {
            // List n holds the turns that first differ from the current one in bit n.
            let n = bit(self.far);
            let turn = ((self.now / TURN_MS) >> n | 1) << n;
            return Some((turn * TURN_MS, FAR_LISTS + n));
        }
        None
    }

    pub(super) fn mark(&mut self, list: u16) {
        if let Some((word, bit)) = self.word(list) {
            *word |= bit;
        }
    }

    pub(super) fn unmark(&mut self, list: u16) {
        if let Some((word, bit)) = self.word(list) {
            *word &= !bit;
        }
    }

    fn word(&mut self, list: u16) -> Option<(&mut u64, u64)> {
        if usize::from(list) < NEAR_SLOTS {
            return Some((&mut self.near[usize::from(list) / 64], 1 << (list % 64)));
        }
        if list >= LATE {
            return None;
        }
        if list >= FAR_LISTS {
            return Some((&mut self.far, 1 << (list - FAR_LISTS)));
        }
        let level = LEVEL_LISTS.partition_point(|first| *first <= list) - 1;
        Some((&mut self.levels[level], 1 << (list - LEVEL_LISTS[level])))
    }
}

#[expect(clippy::cast_possible_truncation, reason = "at most 64")]
fn bit(word: u64) -> u16 {
    word.trailing_zeros() as u16
}

use proptest::prelude::*;

use super::*;
use crate::Monotonic;

/// 2016-12-31T23:59:50Z, where the model begins; ten seconds before the end of the day.
const BEGIN: i64 = 1_483_228_790_000;
const END: i64 = BEGIN + 10_000;
const HOUR: i64 = 3_600_000;

/// A machine around midnight. Times are milliseconds since the model's beginning, in true time.
#[derive(Clone, Copy, Debug)]
struct Machine {
    truth: Option<Sign>,
    announced: Option<Sign>,
    /// When its time daemon sets the clock right and clears the kernel's flag.
    corrected: i64,
    /// Readings are off by up to this, now one way, now the other; it is in the error bound.
    jitter: i64,
}

impl Machine {
    /// What the clock shows, by stepping through the events in true time.
    fn wall(&self, t: i64) -> i64 {
        if t >= self.corrected {
            return true_wall(self.truth, t);
        }
        let free = BEGIN + t;
        match self.announced {
            Some(Sign::Insert) if free >= END => free - 1000,
            Some(Sign::Delete) if free >= END - 1000 => free + 1000,
            _ => free,
        }
    }

    fn flag(&self, t: i64) -> LeapFlag {
        if t >= self.corrected {
            return LeapFlag::None;
        }
        match self.announced {
            None => LeapFlag::None,
            Some(Sign::Insert) if BEGIN + t < END => LeapFlag::Insert,
            Some(Sign::Insert) if BEGIN + t < END + 1000 => LeapFlag::Inserting,
            Some(Sign::Delete) if BEGIN + t < END - 1000 => LeapFlag::Delete,
            Some(_) => LeapFlag::Done,
        }
    }

    fn table(&self) -> LeapTable {
        let at = Timestamp::from_unix_ms(END);
        let leaps = self.truth.map(|sign| Leap { at, sign }).into_iter().collect();
        LeapTable::new(leaps, Timestamp::from_unix_ms(END + 1_000_000_000))
    }
}

/// A clock that is always right.
fn true_wall(truth: Option<Sign>, t: i64) -> i64 {
    match truth {
        Some(Sign::Insert) if t >= 10_000 => BEGIN + t - 1000,
        Some(Sign::Delete) if t >= 9_000 => BEGIN + t + 1000,
        _ => BEGIN + t,
    }
}

/// When a due instant comes, in true time.
fn due_at(truth: Option<Sign>, due: i64) -> i64 {
    match truth {
        Some(Sign::Insert) if due >= END => due - BEGIN + 1000,
        Some(Sign::Delete) if due >= END => due - BEGIN - 1000,
        Some(Sign::Delete) if due >= END - 1000 => 9_000,
        _ => due - BEGIN,
    }
}

/// When each due instant could first be fired by a process that starts at `start` and looks at the
/// clock after each of these pauses, over and over.
fn fired(machine: &Machine, start: i64, pauses: &[i64], dues: &[i64]) -> Vec<Option<i64>> {
    let mut watch = Watch::with_table(Mode::Pause, Cow::Owned(machine.table()));
    let mut fired = vec![None; dues.len()];
    let error = Duration::from_millis(machine.jitter.unsigned_abs());
    let mut t = start;
    for (pause, off) in pauses.iter().cycle().zip([1, -1, 0, -1].iter().cycle()) {
        let now = Stamp {
            wall: Timestamp::from_unix_ms(machine.wall(t) + off * machine.jitter),
            mono: Monotonic::from_nanos(u64::try_from(t).unwrap() * 1_000_000 + 5_000_000_000),
        };
        let bounds = Bounds { leap: machine.flag(t), error, ..Bounds::default() };
        let verdict = watch.observe(now, &bounds);
        if verdict.held_for.is_none() {
            let reached = now.wall.saturating_sub(verdict.lag).saturating_sub(error).unix_ms();
            for (at, due) in fired.iter_mut().zip(dues) {
                if *due <= reached {
                    at.get_or_insert(t);
                }
            }
        }
        // Fine steps where it matters.
        t += if t < 25_000 || (t - machine.corrected).abs() < 5_000 { *pause } else { pause * 40 };
        if t > 2 * HOUR {
            return fired;
        }
    }
    fired
}

fn sign() -> impl Strategy<Value = Option<Sign>> {
    prop_oneof![Just(None), Just(Some(Sign::Insert)), Just(Some(Sign::Delete))]
}

proptest! {
    #[test]
    fn nothing_is_early_or_lost_whatever_the_kernel_was_told(
        truth in sign(), announced in sign(), corrected in 11_000_i64..HOUR - 60_000, jitter in 0..4_i64,
        start in prop_oneof![Just(0_i64), 0_i64..20_000, 0..HOUR],
        pauses in prop::collection::vec(1_i64..250, 1..20),
        dues in prop::collection::vec(END - 4_000..END + 6_000, 1..12),
        later in END..END + HOUR,
    ) {
        let machine = Machine { truth, announced, corrected, jitter };
        let mut dues = dues;
        dues.extend([END - 1000, END - 1, END, END + 1, END + 999, END + 1000, later]);
        for (due, at) in dues.iter().zip(fired(&machine, start, &pauses, &dues)) {
            let right = due_at(truth, *due);
            let at = at.expect("what is due is fired in the end");
            prop_assert!(at >= right, "due {} at {right}, fired at {at}", due - END);
            // A clock told the opposite of the truth is two seconds slow, one told nothing a
            // second fast and held back by one; a pause in the fine steps or outside of them.
            prop_assert!(at.max(start) <= right.max(start) + 4_300 + 250 * 40, "due {} at {right}, fired at {at}", due - END);
        }
    }
}

fn check(truth: Option<Sign>, announced: Option<Sign>, corrected: i64, expect: [i64; 6]) {
    let machine = Machine { truth, announced, corrected, jitter: 0 };
    let dues = [END - 1500, END - 1000, END - 1, END, END + 500, END + 1000];
    let late: Vec<i64> = fired(&machine, 0, &[1], &dues)
        .iter()
        .zip(dues)
        .map(|(at, due)| at.expect("fired") - due_at(truth, due))
        .collect();
    assert_eq!(late, expect, "{machine:?}");
}

#[test]
fn an_announced_second_costs_nothing() {
    check(Some(Sign::Insert), Some(Sign::Insert), HOUR, [0; 6]);
    check(Some(Sign::Delete), Some(Sign::Delete), HOUR, [0; 6]);
    check(None, None, HOUR, [0; 6]);
}

#[test]
fn readings_that_jitter_are_taken_for_no_step_and_nothing_is_early() {
    let dues = [END - 1500, END - 1001, END - 1000, END - 1, END, END + 1, END + 500, END + 1000];
    let signs = [None, Some(Sign::Insert), Some(Sign::Delete)];
    for (truth, announced) in signs.into_iter().flat_map(|truth| signs.map(|announced| (truth, announced))) {
        let machine = Machine { truth, announced, corrected: HOUR, jitter: 3 };
        // Whichever way the first reading after the jump is off.
        for start in 0..4 {
            for (due, at) in dues.iter().zip(fired(&machine, start, &[1], &dues)) {
                let (at, right) = (at.expect("fired"), due_at(truth, *due));
                assert!(at >= right, "{machine:?} from {start}: due {} at {right}, fired at {at}", due - END);
            }
        }
    }
}

#[test]
fn an_unannounced_second_is_held_by_the_table_and_costs_nothing_either() {
    check(Some(Sign::Insert), None, 70_000, [0; 6]);
}

#[test]
fn a_false_announcement_makes_tasks_late_and_never_early() {
    // Inserted falsely: the clock is a second slow.
    check(None, Some(Sign::Insert), HOUR, [0, 0, 0, 1000, 1000, 1000]);
    // Left out falsely: the clock is a second fast, and not believed.
    check(None, Some(Sign::Delete), HOUR, [0; 6]);
    // Left out in truth, but not announced: the clock is a second slow.
    check(Some(Sign::Delete), None, HOUR, [0, 0, 1000, 1000, 1000, 1000]);
}

#[test]
fn everything_is_held_during_the_inserted_second_even_what_was_due_before() {
    let machine = Machine { truth: Some(Sign::Insert), announced: Some(Sign::Insert), corrected: HOUR, jitter: 0 };
    for announced in [machine.announced, None] {
        let machine = Machine { announced, ..machine };
        let mut watch = Watch::with_table(Mode::Pause, Cow::Owned(machine.table()));
        let held: Vec<i64> = (0..20_000_i64)
            .step_by(10)
            .filter(|t| {
                let mono = Monotonic::from_nanos(t.unsigned_abs() * 1_000_000);
                let now = Stamp { wall: Timestamp::from_unix_ms(machine.wall(*t)), mono };
                watch.observe(now, &Bounds { leap: machine.flag(*t), ..Bounds::default() }).held_for.is_some()
            })
            .collect();
        assert_eq!((held.first(), held.last(), held.len()), (Some(&10_000), Some(&10_990), 100), "{announced:?}");
    }
}

#[test]
fn a_smeared_host_holds_nothing() {
    let machine = Machine { truth: Some(Sign::Insert), announced: None, corrected: HOUR, jitter: 0 };
    let mut watch = Watch::with_table(Mode::Smear, Cow::Owned(machine.table()));
    for t in 0..20_000_i64 {
        let mono = Monotonic::from_nanos(t.unsigned_abs() * 1_000_000);
        let now = Stamp { wall: Timestamp::from_unix_ms(machine.wall(t)), mono };
        assert_eq!(watch.observe(now, &Bounds::default()), Verdict::default());
    }
}

#[test]
fn an_announcement_that_is_taken_back_in_time_is_forgotten() {
    let table = LeapTable::new(Vec::new(), Timestamp::MAX);
    let mut watch = Watch::with_table(Mode::Pause, Cow::Owned(table));
    let mut look = |ms: i64, leap| {
        let now = Stamp {
            wall: Timestamp::from_unix_ms(BEGIN + ms),
            mono: Monotonic::from_nanos(ms.unsigned_abs() * 1_000_000),
        };
        watch.observe(now, &Bounds { leap, ..Bounds::default() }).edge
    };
    assert_eq!(look(0, LeapFlag::Insert), Some(Timestamp::from_unix_ms(END)));
    assert_eq!(look(10, LeapFlag::None), None);
    assert_eq!(look(7_990, LeapFlag::Insert), Some(Timestamp::from_unix_ms(END)));
    assert_eq!(look(8_010, LeapFlag::None), Some(Timestamp::from_unix_ms(END)), "too late");
}

#[test]
fn the_next_leap_second_is_the_listed_or_the_announced_one() {
    let watch = Watch::new(Mode::Pause);
    let at = |text: &str| Timestamp::from_unix_ms(text.parse::<jiff::Timestamp>().unwrap().as_millisecond());
    let next = |now, leap| watch.next(at(now), &Bounds { leap, ..Bounds::default() });
    let insert = |text| Some(Leap { at: at(text), sign: Sign::Insert });
    assert_eq!(next("2016-10-01T00:00:00Z", LeapFlag::None), insert("2017-01-01T00:00:00Z"));
    assert_eq!(next("2026-11-20T12:00:00Z", LeapFlag::None), None);
    assert_eq!(next("2026-12-31T12:00:00Z", LeapFlag::Insert), insert("2027-01-01T00:00:00Z"));
}

#[test]
fn before_a_midnight_without_its_last_second_lies_what_was_before_that_second() {
    let at = Timestamp::from_unix_ms(END);
    let table = LeapTable::new(vec![Leap { at, sign: Sign::Delete }], Timestamp::from_unix_ms(END + HOUR));
    let mut watch = Watch::with_table(Mode::Pause, std::borrow::Cow::Owned(table));
    let bounds = Bounds { error: Duration::from_millis(300), ..Bounds::default() };
    let mut lag = |wall: i64, mono_ms: u64| {
        let mono = Monotonic::from_nanos(mono_ms * 1_000_000);
        watch.observe(Stamp { wall: Timestamp::from_unix_ms(wall), mono }, &bounds).lag
    };
    assert_eq!(lag(END - 1001, 0), Duration::ZERO);
    // 300 ms fast: true UTC is 23:59:58.700 when it jumps, not 23:59:59.700.
    assert_eq!(lag(END, 1), Duration::from_secs(1));
    assert_eq!(lag(END - 1, 2), Duration::from_secs(1), "a reading that jitters");
    assert_eq!(lag(END + 299, 300), Duration::from_secs(1));
    assert_eq!(lag(END + 300, 301), Duration::ZERO);
}

//! Every clock fault has the effect that it claims, measured from true time.

#![cfg(madsim)]
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "a test: a failed step is a failed test, and it measures from true time"
)]

use std::time::Duration;

use escapement::clock::SharedClock;
use escapement_engine::{
    Timestamp,
    cluster_time::{LeapFlag, SyncState},
};
use escapement_sim::clock::{
    Claim, ClockEvent, ClockFault, ClockPlan, Clocks, Correct, Daemon, LeapPlan, LeapSign, NodePlan, TrueLeap,
};
use madsim::{runtime::Runtime, time::sleep};
use rand::{SeedableRng as _, rngs::StdRng};

/// 2016-12-31T00:00:00Z, the day of the last leap second.
const DAY: i64 = 1_483_142_400_000;
const MIDNIGHT: i64 = DAY + 86_400_000;

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// Runs `work` with the clock of one node, and the clocks of all.
fn with_clock<F: Future<Output = ()>>(plan: ClockPlan, work: impl FnOnce(SharedClock, Clocks) -> F) {
    let runtime = Runtime::with_seed_and_config(7, madsim::Config::default());
    runtime.block_on(async move {
        let clocks = Clocks::new(plan, 7);
        work(clocks.of("node"), clocks).await;
    });
}

fn plan(node: NodePlan) -> ClockPlan {
    ClockPlan { epoch_unix_ms: DAY, leap: None, nodes: [("node".to_owned(), node)].into() }
}

fn event(at_ms: u64, fault: ClockFault) -> NodePlan {
    NodePlan { events: vec![ClockEvent { at_ms, fault }], ..NodePlan::default() }
}

fn elapsed() -> Duration {
    madsim::time::TimeHandle::current().elapsed()
}

/// Sleeps until this much true time has passed since the run began.
async fn until(at: Duration) {
    sleep(at.saturating_sub(elapsed())).await;
}

/// How fast the clock is, in milliseconds, where there is no leap second.
fn fast_ms(clock: &SharedClock) -> i64 {
    clock.now().unix_ms() - DAY - elapsed().as_millis() as i64
}

#[test]
fn a_clock_without_faults_is_right_and_starts_at_the_chosen_epoch() {
    with_clock(plan(NodePlan::default()), |clock, _| async move {
        assert_eq!(clock.now().unix_ms() / 1000, DAY / 1000);
        let (wall, mono) = (clock.now(), clock.monotonic());
        clock.sleep(ms(90_000)).await;
        assert!((90_000..=90_002).contains(&clock.now().since(wall).as_millis()));
        assert!((90_000..=90_002).contains(&clock.monotonic().since(mono).as_millis()));
        assert_eq!(clock.bounds().sync, SyncState::Unsynchronised);
    });
}

#[test]
fn an_offset_stays_and_a_drift_grows_on_both_clocks_and_in_sleeps() {
    let node = NodePlan { offset_us: 250_000, drift_ppm: 400, ..NodePlan::default() };
    with_clock(plan(node), |clock, _| async move {
        assert_eq!(fast_ms(&clock), 250);
        let mono = clock.monotonic();
        until(ms(1_000_000)).await;
        assert!((649..=651).contains(&fast_ms(&clock)), "{}", fast_ms(&clock));
        assert!((1_000_390..=1_000_410).contains(&clock.monotonic().since(mono).as_millis()));
        let begin = elapsed();
        clock.sleep(ms(100_000)).await;
        let slept = (elapsed() - begin).as_millis();
        assert!((99_960..=99_963).contains(&slept), "a fast clock's sleep is short: {slept} ms");
    });
}

#[test]
fn a_step_moves_the_wall_clock_both_ways_and_nothing_else() {
    for by_us in [3_000_000, -2_500_000] {
        with_clock(plan(event(10_000, ClockFault::Step { by_us })), |clock, _| async move {
            until(ms(9_999)).await;
            assert_eq!(fast_ms(&clock), 0);
            let mono = clock.monotonic();
            until(ms(10_001)).await;
            assert_eq!(fast_ms(&clock), by_us / 1000);
            assert!(clock.monotonic().since(mono) < ms(5));
        });
    }
}

#[test]
fn jitter_stays_within_its_bound_is_there_and_never_turns_the_monotonic_clock_back() {
    let node = NodePlan { jitter_us: 5_000, ..NodePlan::default() };
    with_clock(plan(node), |clock, _| async move {
        let (mut seen, mut mono) = (std::collections::BTreeSet::new(), clock.monotonic());
        for _ in 0..500 {
            sleep(ms(1)).await;
            let fast = fast_ms(&clock);
            assert!((-6..=5).contains(&fast), "{fast}");
            seen.insert(fast);
            assert!(clock.monotonic() >= mono);
            mono = clock.monotonic();
        }
        assert!(seen.len() > 5, "{seen:?}");
    });
}

#[test]
fn a_suspended_machine_does_nothing_and_only_its_battery_clock_goes_on() {
    for wall_goes_on in [true, false] {
        let fault = ClockFault::Suspend { for_ms: 60_000, wall_goes_on };
        with_clock(plan(event(10_000, fault)), |clock, clocks| async move {
            let node = madsim::runtime::Handle::current().create_node().name("node").build();
            clocks.drive("node", |_| {});
            let (mono, sleeper) = (clock.monotonic(), std::sync::Arc::clone(&clock));
            let slept = node.spawn(async move {
                sleeper.sleep(ms(20_000)).await;
                elapsed()
            });
            until(ms(75_000)).await;
            assert!((14_990..=15_010).contains(&clock.monotonic().since(mono).as_millis()));
            assert!((-60_001..=0).contains(&fast_ms(&clock)));
            assert_eq!(fast_ms(&clock) > -10, wall_goes_on, "{}", fast_ms(&clock));
            let slept = slept.await.unwrap();
            assert!((80_000..=80_020).contains(&slept.as_millis()), "20 s of its own time: {slept:?}");
        });
    }
}

fn daemon(correct: Correct) -> Option<Daemon> {
    Some(Daemon { first_ms: 60_000, interval_ms: 60_000, accuracy_us: 10_000, correct })
}

#[test]
fn a_daemon_steps_the_clock_right_within_its_accuracy_at_each_interval() {
    let node = NodePlan { offset_us: -800_000, drift_ppm: 500, daemon: daemon(Correct::Step), ..NodePlan::default() };
    with_clock(plan(node), |clock, _| async move {
        until(ms(59_000)).await;
        assert!(fast_ms(&clock) < -700);
        for round in 1..20_u64 {
            until(ms(round * 60_000 + 1)).await;
            assert!((-11..=11).contains(&fast_ms(&clock)), "{}", fast_ms(&clock));
            until(ms(round * 60_000 + 59_990)).await;
            assert!((18..=41).contains(&fast_ms(&clock)), "it drifts 30 ms away: {}", fast_ms(&clock));
        }
    });
}

#[test]
fn a_daemon_that_slews_brings_the_clock_back_without_a_step() {
    let node = NodePlan { offset_us: 90_000, daemon: daemon(Correct::Slew { ppm: 500 }), ..NodePlan::default() };
    with_clock(plan(node), |clock, _| async move {
        let mut last = clock.now();
        while elapsed() < ms(300_000) {
            sleep(ms(100)).await;
            let now = clock.now();
            assert!((98..=103).contains(&now.since(last).as_millis()), "no step");
            last = now;
        }
        // It takes 30 ms a minute away.
        assert!((-12..=12).contains(&fast_ms(&clock)), "{}", fast_ms(&clock));
    });
}

#[test]
fn honest_bounds_hold_and_wrong_ones_do_not() {
    for seed in 0..20 {
        let node = NodePlan::honest(&mut StdRng::seed_from_u64(seed), 600_000);
        with_clock(plan(node.clone()), |clock, _| async move {
            for _ in 0..1000 {
                sleep(ms(600)).await;
                let truth = DAY + elapsed().as_millis() as i64;
                assert!(clock.earliest().unix_ms() <= truth, "seed {seed}: {node:?}");
                let latest = clock.now().saturating_add(clock.bounds().error).unix_ms() + 1;
                assert!(truth <= latest, "seed {seed}: {node:?}");
            }
        });
    }
    let node = NodePlan { offset_us: 2_000_000, claim: Claim::Fixed { error_us: 500 }, ..NodePlan::default() };
    with_clock(plan(node), |clock, _| async move {
        assert_eq!(clock.bounds().error, Duration::from_micros(500));
        assert!(clock.earliest().unix_ms() > DAY + 1_900);
    });
}

/// How fast a clock is against UTC as Linux counts it, at these true times around midnight.
fn around_leap(sign: LeapSign, node: NodePlan, at: &[i64]) -> Vec<(i64, LeapFlag)> {
    let leap = TrueLeap { at_unix_ms: MIDNIGHT, sign };
    let plan = ClockPlan { leap: Some(leap), ..plan(node) };
    let (at, found) = (at.to_vec(), std::sync::Arc::new(std::sync::Mutex::new(Vec::new())));
    let kept = std::sync::Arc::clone(&found);
    with_clock(plan, |clock, clocks| async move {
        for at in at {
            until(ms((86_400_000 + at) as u64)).await;
            // The first instant that has not come by now is what UTC shows.
            let timeline = clocks.timeline();
            let near = (MIDNIGHT + at - 3_000..).map(Timestamp::from_unix_ms);
            let utc = near.take_while(|it| timeline.elapsed_at(*it) <= elapsed()).last().unwrap().unix_ms();
            kept.lock().unwrap().push((clock.now().unix_ms() - utc, clock.bounds().leap));
        }
    });
    std::sync::Arc::into_inner(found).expect("the run is over").into_inner().unwrap()
}

#[test]
fn an_announced_second_is_stepped_over() {
    use LeapFlag::{Done, Insert, Inserting};
    let found = around_leap(LeapSign::Insert, NodePlan::default(), &[-100, 100, 900, 1_100]);
    // During 23:59:60 UTC shows no instant of its own: the last one is 23:59:59.999.
    assert_eq!(found, [(0, Insert), (-899, Inserting), (-99, Inserting), (0, Done)]);
    let found = around_leap(LeapSign::Delete, NodePlan::default(), &[-1_100, -900, 500]);
    assert_eq!(found, [(0, LeapFlag::Delete), (0, Done), (0, Done)]);
}

#[test]
fn an_unannounced_second_leaves_the_clock_a_second_off_until_its_daemon_finds_out() {
    // At the half of each minute, so not at midnight.
    let daemon = daemon(Correct::Step).map(|daemon| Daemon { first_ms: 30_000, ..daemon });
    let node = NodePlan { leap: LeapPlan::Unannounced, daemon, ..NodePlan::default() };
    let offs = |sign, at: &[i64]| around_leap(sign, node.clone(), at).iter().map(|it| it.0).collect::<Vec<_>>();
    let found = offs(LeapSign::Insert, &[1_500, 29_000, 31_500]);
    assert!((990..=1010).contains(&found[0]) && (990..=1010).contains(&found[1]) && found[2].abs() <= 11, "{found:?}");
    let found = offs(LeapSign::Delete, &[500, 29_000, 30_500]);
    assert!((-1010..=-990).contains(&found[0]) && found[2].abs() <= 11, "{found:?}");
}

#[test]
fn a_clock_that_its_daemon_sets_to_after_the_second_does_not_step_over_it_as_well() {
    // Some 120 ms slow at midnight, and set right before it comes to its own 23:59:59.
    let daemon = daemon(Correct::Step).map(|daemon| Daemon { first_ms: 59_100, ..daemon });
    let node = NodePlan { drift_ppm: -2000, daemon, ..NodePlan::default() };
    let found = around_leap(LeapSign::Delete, node, &[-1_050, -850, 500]);
    assert_eq!(found[0].1, LeapFlag::Delete);
    let offs: Vec<i64> = found.iter().map(|it| it.0).collect();
    assert!((-140..=-95).contains(&offs[0]) && offs[1].abs() <= 12 && offs[2].abs() <= 15, "{offs:?}");
}

#[test]
fn a_smeared_second_is_spread_from_noon_to_noon() {
    let node = NodePlan { leap: LeapPlan::Smear, ..NodePlan::default() };
    let noon = 43_200_000;
    let found = around_leap(LeapSign::Insert, node, &[-noon - 1000, -noon / 2, -100, 1_000, noon / 2, noon + 2_000]);
    let offs: Vec<i64> = found.iter().map(|it| it.0).collect();
    for (off, expected) in offs.iter().zip([0, -250, -500, 500, 250, 0]) {
        assert!((off - expected).abs() <= 2, "{offs:?}");
    }
    assert!(found.iter().all(|it| it.1 == LeapFlag::None));
}

#[test]
fn a_false_announcement_makes_a_step_that_is_not_true() {
    for (sign, off) in [(LeapSign::Insert, -1000), (LeapSign::Delete, 1000)] {
        let told = TrueLeap { at_unix_ms: DAY + 60_000, sign };
        let node = NodePlan { leap: LeapPlan::False(told), ..NodePlan::default() };
        with_clock(plan(node), |clock, _| async move {
            until(ms(58_000)).await;
            assert_eq!(fast_ms(&clock), 0);
            assert_ne!(clock.bounds().leap, LeapFlag::None);
            until(ms(60_500)).await;
            assert_eq!(fast_ms(&clock), off);
        });
    }
}

#[test]
fn timers_fire_a_second_early_after_the_leap_second_as_in_2012() {
    let leap = TrueLeap { at_unix_ms: DAY + 60_000, sign: LeapSign::Insert };
    let node = NodePlan { leap: LeapPlan::Early { by_ms: 1000, for_ms: 30_000 }, ..NodePlan::default() };
    with_clock(ClockPlan { leap: Some(leap), ..plan(node) }, |clock, _| async move {
        let slept = |span| {
            let clock = std::sync::Arc::clone(&clock);
            async move {
                let begin = elapsed();
                clock.sleep(ms(span)).await;
                (elapsed() - begin).as_millis()
            }
        };
        assert!((5_000..=5_002).contains(&slept(5_000).await), "before");
        until(ms(59_000)).await;
        assert!((4_000..=4_002).contains(&slept(5_000).await), "across");
        assert!((4_000..=4_002).contains(&slept(5_000).await), "after");
        assert!(slept(700).await <= 2, "and shorter ones at once");
        until(ms(91_000)).await;
        assert!((5_000..=5_002).contains(&slept(5_000).await), "over");
    });
}

#[test]
fn a_plan_prints_and_reads_back() {
    let node = NodePlan::honest(&mut StdRng::seed_from_u64(3), 60_000);
    let plan = plan(node);
    assert_eq!(serde_json::from_str::<ClockPlan>(&plan.to_string()).unwrap(), plan);
}

#[test]
fn one_node_more_changes_no_other_nodes_clock() {
    let node = NodePlan { jitter_us: 900, daemon: daemon(Correct::Step), drift_ppm: 90, ..NodePlan::default() };
    let readings = |plan: ClockPlan| {
        let found = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
        let kept = std::sync::Arc::clone(&found);
        with_clock(plan.clone(), |clock, clocks| async move {
            for _ in 0..200 {
                sleep(ms(1_000)).await;
                if plan.nodes.len() > 1 {
                    clocks.of("other").now();
                }
                kept.lock().unwrap().push(clock.now());
            }
        });
        found.lock().unwrap().clone()
    };
    let mut more = plan(node.clone());
    more.nodes.insert("other".to_owned(), NodePlan { jitter_us: 5, ..node.clone() });
    assert_eq!(readings(plan(node)), readings(more));
}

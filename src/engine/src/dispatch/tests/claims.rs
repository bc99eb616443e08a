use super::*;
use crate::Token;

#[test]
fn nothing_is_planned_a_millisecond_early() {
    let mut d = owner(Options::default());
    let a = lane(&mut d, "a");
    open(&mut d, 1, &["a"], 10);
    assert_eq!(offer(&mut d, 1, 5_000, a, Priority::High), Offered::Held);
    assert_eq!(d.next_wakeup(), Some(at(5_000)).min(d.next_wakeup()));
    d.advance(at(4_999));
    assert_eq!((d.plan(at(4_999), 10), d.next_due()), (vec![], Some(at(5_000))));
    d.advance(at(5_000));
    // The clock was set back a little: the task waits it out.
    assert_eq!((d.plan(at(4_990), 10), d.next_due()), (vec![], Some(at(5_000))));
    assert_eq!(d.plan(at(5_000), 10).len(), 1);
}

#[test]
fn a_clock_set_back_far_makes_ready_tasks_wait_again() {
    let mut d = owner(Options::default());
    let a = lane(&mut d, "a");
    open(&mut d, 1, &["a"], 10);
    offer(&mut d, 1, 100_000, a, Priority::High);
    offer(&mut d, 2, 50_000, a, Priority::Low);
    assert_eq!(d.advance(at(200_000)), 2);
    assert_eq!(d.advance(at(60_000)), 0);
    let planned = d.plan(at(60_000), 10);
    assert_eq!(planned.iter().map(|p| p.id).collect::<Vec<_>>(), [task(2)], "the high one must not be in its way");
    assert_eq!(d.advance(at(100_000)), 1);
    assert_eq!(d.plan(at(100_000), 10).len(), 1);
}

#[test]
fn a_hot_lane_leaves_a_shared_worker_every_second_turn_even_one_credit_at_a_time() {
    let mut d = owner(Options::default());
    let (hot, cold) = (lane(&mut d, "hot"), lane(&mut d, "cold"));
    open(&mut d, 1, &["hot", "cold"], 0);
    for n in 0..1000 {
        offer(&mut d, n, -1000, hot, Priority::High);
    }
    for n in 2000..2010 {
        offer(&mut d, n, 0, cold, Priority::Low);
    }
    let mut served = Vec::new();
    for credit in 1..=20 {
        d.session_credits(session(1), credit);
        let planned = d.plan(at(0), 100);
        assert_eq!(planned.len(), 1);
        served.push(planned[0].lane);
    }
    assert_eq!(served.iter().filter(|lane| **lane == cold).count(), 10, "{served:?}");
}

#[test]
fn the_least_loaded_session_takes_the_next_task_and_equals_take_turns() {
    let mut d = owner(Options::default());
    let a = lane(&mut d, "a");
    open(&mut d, 1, &["a"], 9);
    open(&mut d, 2, &["a"], 3);
    for n in 0..12 {
        offer(&mut d, n, 0, a, Priority::Medium);
    }
    let chosen: Vec<_> = d.plan(at(0), 12).iter().map(|p| p.session == session(1)).collect();
    let (one, two) = (true, false);
    assert_eq!(chosen, [one, two, one, one, two, one, one, one, two, one, one, one]);
    assert_eq!(d.plan(at(0), 6), [], "no credit is left");
}

#[test]
fn round_robin_gives_each_session_its_turn() {
    let mut d = owner(Options { placement: Placement::RoundRobin, ..Options::default() });
    let a = lane(&mut d, "a");
    open(&mut d, 1, &["a"], 100);
    open(&mut d, 2, &["a"], 2);
    for n in 0..6 {
        offer(&mut d, n, 0, a, Priority::Medium);
    }
    let chosen: Vec<_> = d.plan(at(0), 6).iter().map(|p| p.session).collect();
    let (one, two) = (session(1), session(2));
    assert_eq!(chosen, [one, two, one, two, one, one]);
}

#[test]
fn a_stream_is_read_once_in_a_refresh_interval() {
    let options = Options::default();
    let mut d = owner(options);
    let a = lane(&mut d, "a");
    // Stored: one entry each second, for an hour.
    let stored: Vec<_> = (0..3600).map(|n| (at(n * 1000), task(n.unsigned_abs()))).collect();
    d.discover(ShardId(0), a, Priority::Medium);
    open(&mut d, 1, &["a"], 10_000);
    let (mut planned, mut now) = (0, at(0));
    while planned < stored.len() {
        d.advance(now);
        planned += d.plan(now, 100).len();
        for request in d.load_requests(now, 10) {
            let rest: Vec<_> = stored.iter().copied().filter(|row| Some(*row) > request.after).collect();
            let rows: Vec<_> = rest.iter().copied().filter(|row| row.0 <= request.until).collect();
            let next_due = rest.get(rows.len()).map(|row| row.0);
            d.loaded(request.load, &rows, LoadOutcome::End { next_due });
        }
        now = d.next_wakeup().map_or(now, |next| now.max(next));
    }
    assert!((56..=62).contains(&d.stats().loads), "{} pages in an hour", d.stats().loads);
}

#[test]
fn a_queue_without_workers_costs_bounded_memory_and_no_reads() {
    let mut d = owner(Options::default());
    let dead = lane(&mut d, "dead");
    d.discover(ShardId(0), dead, Priority::Medium);
    let mut pages = 0;
    for second in 0..1000 {
        for request in d.load_requests(at(second * 1000), 10) {
            let first = request.after.map_or(0, |(due, _)| due.unix_ms() + 1_000_000_001);
            let rows: Vec<_> = (first..first + 1000).map(|n| (at(n - 1_000_000_000), task(n.unsigned_abs()))).collect();
            d.loaded(request.load, &rows, LoadOutcome::Full);
            pages += 1;
        }
        d.advance(at(second * 1000));
    }
    assert_eq!((pages, d.stats().ready), (8, 8000));
    let stats = d.lane_stats(dead, at(0));
    assert_eq!((stats.ready, stats.ready_beyond), (8000, true));
    // Another queue is served all the same.
    let live = lane(&mut d, "live");
    open(&mut d, 1, &["live", "dead"], 1);
    offer(&mut d, 1, 0, live, Priority::Low);
    d.session_close(session(1));
    open(&mut d, 2, &["live"], 1);
    assert_eq!(d.plan(at(1_000_000), 10).len(), 1);
}

#[test]
fn descending_offers_keep_the_earliest_and_put_back_the_rest() {
    let mut d = owner(Options { stream_entries_max: 100, page_rows: 10, ..Options::default() });
    let a = lane(&mut d, "a");
    for n in 0..10_000u64 {
        offer(&mut d, n, 200_000 - n.cast_signed() * 10, a, Priority::Medium);
        assert!(d.stats().entries <= 200);
    }
    d.advance(at(200_000));
    let ready: Vec<_> = d.lanes.get(a).ready.items().iter().map(|item| item.due).collect();
    assert!((100..=200).contains(&ready.len()));
    assert_eq!(ready.iter().max(), Some(&at(100_010 + (ready.len() as i64 - 1) * 10)), "the earliest, without a gap");
    assert_eq!(d.load_requests(at(200_000), 10).len(), usize::from(ready.len() <= 90));
}

#[test]
fn many_streams_share_memory_fairly() {
    let options = Options { entries_max: 1000, ..Options::default() };
    let mut d = owner(options);
    for stream in 0..40u64 {
        let lane = lane(&mut d, &format!("q{stream}"));
        for n in 0..1000 {
            offer(&mut d, stream * 1000 + n, 1000 + n.cast_signed(), lane, Priority::Medium);
        }
        d.load_requests(at(0), 0);
        assert!(d.stats().entries <= 1250, "{} entries", d.stats().entries);
    }
    let fewest = (0..40).map(|n| {
        let lane = d.find_lane(&namespace(), &queue(&format!("q{n}"))).unwrap();
        let stream = d.streams.find((ShardId(0), lane, Priority::Medium)).unwrap();
        d.streams.get(stream).len
    });
    assert!(fewest.min().unwrap() >= 20);
}

#[test]
fn a_session_that_closes_gives_up_what_runs_and_what_is_in_flight() {
    let mut d = owner(Options::default());
    let a = lane(&mut d, "a");
    open(&mut d, 1, &["a"], 3);
    for n in 1..=3 {
        offer(&mut d, n, 0, a, Priority::Medium);
    }
    d.plan(at(0), 3);
    d.fired(task(1), session(1), Token(4));
    assert_eq!(d.session_close(session(1)), [(task(1), Token(4))]);
    assert_eq!(d.fired(task(2), session(1), Token(1)), Fired::SessionGone);
    assert!(d.not_fired(task(3), session(1), NotFired::Retry));
    open(&mut d, 2, &["a"], 3);
    assert_eq!(d.plan(at(0), 3).iter().map(|p| p.id).collect::<Vec<_>>(), [task(3)]);
    assert_eq!(d.lane_stats(a, at(0)).in_flight, 1);
}

#[test]
fn adopted_attempts_wait_for_their_session_and_count_for_its_queue() {
    let mut d = owner(Options::default());
    let a = lane(&mut d, "a");
    d.adopt_running(task(1), session(1), Token(3), a);
    d.adopt_running(task(1), session(1), Token(2), a);
    assert_eq!(d.running(task(1)), Some((session(1), Token(3), a)));
    assert!(!d.session_credits(session(1), 5), "it did not come yet");
    d.session_open(session(1), &namespace(), &[(queue("a"), 2)], 10);
    offer(&mut d, 2, 0, a, Priority::Medium);
    offer(&mut d, 3, 0, a, Priority::Medium);
    assert_eq!(d.plan(at(0), 10).len(), 1, "two of the queue at the same time, and it has one");
    assert_eq!(d.session(session(1)).map(|s| (s.assigned, s.busy)), Some((1, 2)));
    // One that never comes is forgotten with its last attempt.
    d.adopt_running(task(9), session(9), Token(1), a);
    assert_eq!(d.running_of(session(9)), [(task(9), Token(1))]);
    assert!(d.finished(task(9), Token(1)).is_some());
    assert_eq!(d.session(session(9)), None);
}

#[test]
fn a_draining_session_never_takes_work_again() {
    let mut d = owner(Options::default());
    let a = lane(&mut d, "a");
    open(&mut d, 1, &["a"], 9);
    offer(&mut d, 1, 0, a, Priority::Medium);
    assert!(d.session_state(session(1), SessionState::Draining));
    assert!(d.session_state(session(1), SessionState::Active));
    open(&mut d, 1, &["a"], 9);
    assert_eq!(d.plan(at(0), 1), []);
}

#[test]
fn a_shard_that_was_given_up_leaves_nothing_but_attempts() {
    let mut d = owner(Options::default());
    let a = lane(&mut d, "a");
    open(&mut d, 1, &["a"], 1);
    for n in 0..50u64 {
        offer(&mut d, n, n.cast_signed() * 10_000, a, Priority::Medium);
    }
    let planned = d.plan(at(0), 1);
    d.discover(ShardId(0), a, Priority::Low);
    let page = d.load_requests(at(0), 1).remove(0);
    d.disown_shard(ShardId(0));
    let stats = d.stats();
    assert_eq!((stats.entries, stats.streams, stats.loads_in_flight, d.next_wakeup()), (0, 0, 0, None));
    assert_eq!(offer(&mut d, 99, 0, a, Priority::Medium), Offered::NotOwned);
    // What comes for the old time does nothing to the new one.
    d.own_shard(ShardId(0));
    d.discover(ShardId(0), a, Priority::Low);
    d.loaded(page.load, &[(at(1), task(7))], LoadOutcome::Full);
    assert_eq!(d.stats().entries, 0);
    assert_eq!(d.fired(planned[0].id, session(1), Token(1)), Fired::Running);
}

/// A stream of which one page is being read, and which the store knows to hold these rows.
fn reading(d: &mut Dispatcher, a: LaneId) -> LoadRequest {
    d.discover(ShardId(0), a, Priority::Medium);
    d.load_requests(at(0), 1).remove(0)
}

#[test]
fn a_page_brings_back_nothing_that_was_cancelled_or_moved_while_it_was_read() {
    let mut d = owner(Options::default());
    let (a, b) = (lane(&mut d, "a"), lane(&mut d, "b"));
    let page = reading(&mut d, a);
    d.withdraw(task(1));
    assert_eq!(offer(&mut d, 2, 900_000, a, Priority::Medium), Offered::Left);
    offer(&mut d, 3, 50, b, Priority::High);
    let rows = [(at(10), task(1)), (at(20), task(2)), (at(30), task(3)), (at(40), task(4))];
    d.loaded(page.load, &rows, LoadOutcome::End { next_due: None });
    assert_eq!(
        [1, 2, 3, 4].map(|n| d.entries.find(task(n)).map(|slot| d.entries.due(slot))),
        [None, None, Some(at(50)), Some(at(40))]
    );
    let stream = d.streams.find((ShardId(0), a, Priority::Medium)).unwrap();
    assert_eq!(d.streams.get(stream).beyond, Some(at(900_000)));
}

#[test]
fn a_page_with_more_news_than_can_be_kept_is_read_again() {
    let mut d = owner(Options::default());
    let a = lane(&mut d, "a");
    let page = reading(&mut d, a);
    for n in 10..100 {
        offer(&mut d, n, 90, a, Priority::High);
    }
    d.loaded(page.load, &[(at(60), task(1))], LoadOutcome::End { next_due: None });
    assert_eq!(d.entries.find(task(1)), None);
    let page = d.load_requests(at(0), 10).remove(0);
    assert_eq!((page.priority, page.after), (Priority::Medium, None));
    // Without news in between the page is right, whatever memory thought.
    offer(&mut d, 1, 80, a, Priority::Low);
    d.loaded(page.load, &[(at(70), task(2))], LoadOutcome::End { next_due: None });
    d.rescan(ShardId(0));
    for page in d.load_requests(at(0), 10).iter().filter(|page| page.priority == Priority::Low) {
        d.loaded(page.load, &[(at(60), task(1))], LoadOutcome::End { next_due: None });
    }
    assert_eq!(d.entries.find(task(1)).map(|slot| d.entries.due(slot)), Some(at(60)));
}

#[test]
fn a_stream_seen_before_all_were_found_is_read_from_its_start() {
    let mut d = Dispatcher::new(Options::default(), at(0));
    d.own_shard(ShardId(0));
    let a = lane(&mut d, "a");
    assert_eq!(offer(&mut d, 5, 1000, a, Priority::Medium), Offered::Left);
    let page = d.load_requests(at(0), 1).remove(0);
    assert_eq!((page.after, page.until), (None, at(300_000)));
    d.loaded(page.load, &[(at(10), task(1)), (at(1000), task(5))], LoadOutcome::End { next_due: None });
    assert_eq!(d.stats().entries, 2);
}

#[test]
fn a_page_does_not_join_on_to_a_stream_that_was_trimmed_meanwhile() {
    let mut d = owner(Options { stream_entries_max: 4, page_rows: 2, ..Options::default() });
    let a = lane(&mut d, "a");
    offer(&mut d, 1, 1000, a, Priority::Medium);
    offer(&mut d, 2, 400_000, a, Priority::Medium);
    let page = d.load_requests(at(200_000), 1).remove(0);
    assert!(page.after >= Some((at(1000), task(1))));
    for n in 10..18 {
        offer(&mut d, n, 900 - n.cast_signed(), a, Priority::Medium);
    }
    assert_eq!(d.stats().entries, 4, "trimmed to the earliest");
    d.loaded(page.load, &[(at(400_000), task(2))], LoadOutcome::End { next_due: None });
    assert_eq!(d.stats().entries, 4);
    let stream = d.streams.get(d.streams.find((ShardId(0), a, Priority::Medium)).unwrap());
    assert_eq!((stream.frontier, stream.beyond), (Some((at(886), task(14))), Some(at(887))));
}

#[test]
fn a_full_stream_leaves_later_entries_in_the_store() {
    let mut d = owner(Options { stream_entries_max: 100, page_rows: 10, ..Options::default() });
    let a = lane(&mut d, "a");
    for n in 0..150u64 {
        let held = offer(&mut d, n, n.cast_signed(), a, Priority::Medium);
        assert_eq!(held == Offered::Held, n < 100);
    }
    assert_eq!((d.stats().entries, d.lane_stats(a, at(100)).ready_beyond), (100, true));
}

#[test]
fn taking_any_tasks_out_of_the_ready_ones_keeps_the_rest_in_order() {
    let mut d = owner(Options::default());
    let a = lane(&mut d, "a");
    open(&mut d, 1, &["a"], 1_000_000);
    let mut chance = 12345u64;
    let mut draw = |below: u64| {
        chance = chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (chance >> 33) % below
    };
    for _ in 0..50 {
        let mut left = std::collections::BTreeSet::new();
        for n in 0..200 {
            let (due, priority) = (-draw(500).cast_signed(), PRIORITIES[usize::try_from(draw(3)).unwrap()]);
            offer(&mut d, n, due, a, priority);
            left.insert((priority, at(due), task(n)));
        }
        for _ in 0..100 {
            let gone = task(draw(200));
            d.withdraw(gone);
            left.retain(|(_, _, id)| *id != gone);
        }
        let planned: Vec<_> = d.plan(at(0), 1000).iter().map(|p| (p.priority, p.due, p.id)).collect();
        assert_eq!(planned, left.into_iter().collect::<Vec<_>>());
        for (_, _, id) in planned {
            d.not_fired(id, session(1), NotFired::Gone);
        }
    }
}

#[test]
fn an_idle_stream_that_a_scan_finds_again_is_read_from_its_start() {
    let mut d = owner(Options::default());
    let a = lane(&mut d, "a");
    offer(&mut d, 1, 200_000, a, Priority::Medium);
    d.withdraw(task(1));
    assert_eq!(d.load_requests(at(0), 1), []);
    d.discover(ShardId(0), a, Priority::Medium);
    assert_eq!(d.load_requests(at(0), 1)[0].after, None);
    d.discover(ShardId(0), a, Priority::Medium);
    assert_eq!(d.load_requests(at(0), 1), [], "one at a time");
}

#[test]
fn a_rescan_starts_over_also_while_a_page_of_the_last_is_read() {
    let mut d = owner(Options { page_rows: 1, ..Options::default() });
    let a = lane(&mut d, "a");
    offer(&mut d, 1, 10, a, Priority::Medium);
    offer(&mut d, 2, 20, a, Priority::Medium);
    d.rescan(ShardId(0));
    let page = d.load_requests(at(0), 1).remove(0);
    assert_eq!(page.after, None);
    // Committed after that page was read, and its announcement is lost.
    d.rescan(ShardId(0));
    d.loaded(page.load, &[(at(10), task(1))], LoadOutcome::Full);
    let page = d.load_requests(at(0), 1).remove(0);
    assert_eq!(page.after, None);
    d.loaded(page.load, &[(at(5), task(3))], LoadOutcome::Full);
    assert_eq!(d.load_requests(at(0), 1)[0].after, Some((at(5), task(3))));
    assert_eq!(d.stats().entries, 3);
}

//! Any steps in any order, what must hold after each, and what must come of them in the end.

use proptest::prelude::*;

use super::*;
use crate::dispatch::attempts::Phase;

#[derive(Clone, Debug)]
enum Op {
    Submit {
        lane: usize,
        priority: usize,
        due_in: i64,
    },
    /// Many at once in one stream, each due before the last.
    Burst(usize),
    Cancel(usize),
    Move {
        pick: usize,
        lane: usize,
        due_in: i64,
    },
    Announce(usize),
    LoseAnnouncement,
    Tick(i64),
    Plan(usize),
    CommitFire {
        pick: usize,
        fails: bool,
    },
    TellFire(usize),
    Request(usize),
    Read(usize),
    Adopt {
        pick: usize,
        fails: bool,
    },
    Complete {
        pick: usize,
        retry_in: Option<i64>,
    },
    Grant {
        session: u64,
        more: u64,
    },
    OldGrant {
        session: u64,
    },
    Open {
        session: u64,
        lanes: u8,
        busy_max: u32,
    },
    Pause {
        session: u64,
        paused: bool,
    },
    Close(u64),
    Rescan(u32),
    TakeOver {
        shard: u32,
        lose_it: bool,
    },
    FindStreams(u32),
}

fn due_in() -> impl Strategy<Value = i64> {
    prop_oneof![4 => -50i64..300, 2 => 0i64..2500, 1 => prop::sample::select(vec![0, 999, 1000, 1001, 9000])]
}

fn op() -> impl Strategy<Value = Op> {
    // Most of it in one stream of each shard, so that it fills.
    let lane = || prop_oneof![4 => Just(0usize), 1 => 1..3usize];
    let priority = prop_oneof![4 => Just(1usize), 1 => 0..3usize];
    let submit = (lane(), priority, due_in());
    prop_oneof![
        12 => submit.prop_map(|(lane, priority, due_in)| Op::Submit { lane, priority, due_in }),
        1 => (2..12usize).prop_map(Op::Burst),
        3 => any::<usize>().prop_map(Op::Cancel),
        3 => (any::<usize>(), lane(), due_in()).prop_map(|(pick, lane, due_in)| Op::Move { pick, lane, due_in }),
        8 => (1..6usize).prop_map(Op::Announce),
        1 => Just(Op::LoseAnnouncement),
        6 => prop_oneof![8 => 1i64..200, 2 => 200i64..3000, 1 => -100i64..0, 1 => -3000i64..-1000].prop_map(Op::Tick),
        6 => (1..6usize).prop_map(Op::Plan),
        6 => (any::<usize>(), prop::bool::weighted(0.2)).prop_map(|(pick, fails)| Op::CommitFire { pick, fails }),
        6 => any::<usize>().prop_map(Op::TellFire),
        6 => (1..4usize).prop_map(Op::Request),
        6 => any::<usize>().prop_map(Op::Read),
        6 => (any::<usize>(), prop::bool::weighted(0.15)).prop_map(|(pick, fails)| Op::Adopt { pick, fails }),
        4 => (any::<usize>(), prop::option::of(due_in())).prop_map(|(pick, retry_in)| Op::Complete { pick, retry_in }),
        5 => (0..3u64, 1..5u64).prop_map(|(session, more)| Op::Grant { session, more }),
        1 => (0..3u64).prop_map(|session| Op::OldGrant { session }),
        2 => (0..3u64, 1..8u8, 0..3u32).prop_map(|(session, lanes, busy_max)| Op::Open { session, lanes, busy_max }),
        1 => (0..3u64, any::<bool>()).prop_map(|(session, paused)| Op::Pause { session, paused }),
        1 => (0..3u64).prop_map(Op::Close),
        1 => (0..2u32).prop_map(Op::Rescan),
        2 => (0..2u32).prop_map(Op::FindStreams),
        1 => (0..2u32, any::<bool>()).prop_map(|(shard, lose_it)| Op::TakeOver { shard, lose_it }),
    ]
}

impl World {
    fn step(&mut self, op: &Op) {
        match *op {
            Op::Submit { lane, priority, due_in } => {
                self.submitted += 1;
                let id = task(self.submitted);
                self.put((shard_of(id), self.lanes[lane], PRIORITIES[priority], self.instant(due_in), id));
            }
            Op::Burst(count) => {
                for n in (0..count).rev() {
                    // Every second one is of the same shard.
                    self.submitted += 2;
                    let (id, due) = (task(self.submitted), self.instant(60 * i64::try_from(n).unwrap()));
                    self.put((shard_of(id), self.lanes[0], Priority::Medium, due, id));
                    self.announce();
                }
            }
            Op::Cancel(pick) => {
                if let Some(row) = nth(&self.due, pick) {
                    self.due.remove(&row);
                    self.row_of.remove(&row.4);
                    self.news.push_back(News::Cancelled(row.4));
                }
            }
            Op::Move { pick, lane, due_in } => {
                if let Some((shard, _, priority, _, id)) = nth(&self.due, pick) {
                    self.put((shard, self.lanes[lane], priority, self.instant(due_in), id));
                }
            }
            Op::Announce(count) => {
                for _ in 0..count {
                    self.announce();
                }
            }
            Op::LoseAnnouncement => {
                if let Some(News::Due(row)) = self.news.front() {
                    self.lost.insert(row.4);
                    self.news.pop_front();
                }
            }
            Op::Tick(by) => self.now = at(self.now.unix_ms() + by),
            Op::Plan(max) => {
                self.plan(max);
            }
            Op::CommitFire { pick, fails } => self.commit_fire(pick, fails),
            Op::TellFire(pick) => {
                self.tell_fire(pick);
            }
            Op::Request(max) => self.request(max),
            Op::Read(pick) => self.read(pick),
            Op::Adopt { pick, fails } => {
                self.adopt(pick, fails);
            }
            Op::Complete { pick, retry_in } => self.complete(pick, retry_in),
            Op::Rescan(shard) => {
                if self.dispatcher.owns(ShardId(shard)) {
                    self.dispatcher.rescan(ShardId(shard));
                    self.find_streams(ShardId(shard));
                }
            }
            Op::TakeOver { shard, lose_it } => self.begin_take_over(shard, lose_it),
            Op::FindStreams(shard) => self.end_take_over(shard),
            _ => self.step_session(op),
        }
    }

    /// Few instants, so that many tasks share one.
    fn instant(&self, by: i64) -> Timestamp {
        at((self.now.unix_ms() + by) / 50 * 50)
    }

    fn complete(&mut self, pick: usize, retry_in: Option<i64>) {
        let running: Vec<_> = self.running.iter().map(|(id, (_, token))| (*id, *token)).collect();
        if running.is_empty() {
            return;
        }
        let (id, token) = running[pick % running.len()];
        let (shard, lane) = (shard_of(id), self.lanes[pick % 3]);
        let retry = retry_in.map(|by| (shard, lane, Priority::Medium, self.instant(by), id));
        self.end(id, token, retry);
    }

    fn step_session(&mut self, op: &Op) {
        match *op {
            Op::Grant { session: n, more } => {
                if let Some(worker) = self.workers.get_mut(&session(n)) {
                    worker.granted += more;
                    assert!(self.dispatcher.session_credits(session(n), worker.granted));
                }
            }
            Op::OldGrant { session: n } => {
                let granted = self.workers.get(&session(n)).map_or(0, |worker| worker.granted);
                self.dispatcher.session_credits(session(n), granted / 2);
            }
            Op::Open { session: n, lanes, busy_max } => {
                let lanes: Vec<usize> = (0..3).filter(|lane| lanes & (1 << lane) != 0).collect();
                let queues: Vec<_> = lanes.iter().map(|lane| (queue(["a", "b", "c"][*lane]), busy_max)).collect();
                let worker = self.workers.entry(session(n)).or_default();
                worker.granted += 2;
                (worker.paused, worker.busy_max) = (false, busy_max);
                worker.lanes = lanes.into_iter().map(|lane| self.lanes[lane]).collect();
                self.dispatcher.session_open(session(n), &namespace(), &queues, worker.granted);
            }
            Op::Pause { session: n, paused } => {
                let state = if paused { SessionState::Paused } else { SessionState::Active };
                if self.dispatcher.session_state(session(n), state) {
                    self.workers.get_mut(&session(n)).unwrap().paused = paused;
                }
            }
            Op::Close(n) => {
                let expected = self.dispatcher.running_of(session(n));
                let running = self.dispatcher.session_close(session(n));
                assert_eq!(running, expected);
                self.workers.remove(&session(n));
                for (id, token) in running {
                    self.end(id, token, None);
                }
                // A new incarnation has a new id; here it gets the same only when nothing of the old is left.
                while let Some(index) = self.fires.iter().position(|f| f.planned.session == session(n)) {
                    let fire = self.fires.remove(index);
                    self.fires.insert(0, fire);
                    if self.fires[0].result.is_none() {
                        self.fires[0].result = Some(Err(NotFired::Retry));
                    }
                    let first_done = 0;
                    self.tell_fire(first_done);
                }
            }
            _ => unreachable!("the other steps are done"),
        }
    }

    /// Every stored entry whose news was told is in memory, being fired, or waits beyond.
    fn check(&self) {
        let told = |id: &TaskId| {
            !self.lost.contains(id)
                && !self.news.iter().any(|news| match news {
                    News::Due(row) => row.4 == *id,
                    News::Cancelled(other) | News::Over(other, _) => other == id,
                })
        };
        let d = &self.dispatcher;
        for row in self.due.iter().filter(|row| d.owns(row.0) && told(&row.4)) {
            let (shard, lane, priority, due, id) = *row;
            let stream = d.streams.find((shard, lane, priority));
            let held =
                d.entries.find(id).is_some_and(|s| d.entries.due(s) == due && Some(d.entries.stream(s)) == stream);
            let in_flight = d.attempts.find(id).is_some_and(|s| match d.attempts.get(s).phase {
                Phase::InFlight { origin, again, .. } => [Some(origin), again]
                    .into_iter()
                    .flatten()
                    .any(|o| (o.shard, o.lane, o.priority, o.due, id) == *row),
                Phase::Running { .. } => false,
            });
            let beyond = stream
                .map(|s| d.streams.get(s))
                .is_some_and(|s| !s.is_within((due, id)) && s.beyond.is_some_and(|beyond| beyond <= due));
            // A take-over may not have found the stream yet.
            let unknown = stream.is_none() && !d.owned[&shard].streams_complete;
            assert!(held || in_flight || beyond || unknown, "{row:?} is lost: {:?}", stream.map(|s| d.streams.get(s)));
        }
        let mut entries = 0;
        for id in d.streams.all() {
            let stream = d.streams.get(id);
            entries += stream.len;
            assert!(stream.len <= 2 * STREAM_MAX, "{stream:?}");
            let frontier = stream.frontier.map(|(due, _)| due);
            assert!(
                stream.beyond.is_none_or(|beyond| beyond == Timestamp::MIN || Some(beyond) >= frontier),
                "{stream:?}"
            );
            assert!(stream.beyond != Some(Timestamp::MIN) || frontier.is_none(), "{stream:?}");
            assert_eq!(d.entries.list(stream.head).count(), stream.len as usize);
        }
        assert_eq!(entries, d.entries.len());
        let ready: usize = d.lanes.iter().map(|(_, lane)| lane.ready.len()).sum();
        assert_eq!(ready, d.ready_len());
        for (id, worker) in &self.workers {
            let view = d.session(*id).unwrap();
            assert_eq!((view.granted, view.assigned), (worker.granted, worker.used), "{id}");
            assert_eq!(view.busy as usize, worker.has.len(), "{id}");
        }
        for (lane, state) in d.lanes.iter() {
            let has = self.workers.values().flat_map(|w| w.has.values()).filter(|l| **l == lane).count();
            let gone =
                self.fires.iter().filter(|f| f.planned.lane == lane && !self.workers.contains_key(&f.planned.session));
            assert_eq!((state.in_flight + state.running) as usize, has + gone.count());
        }
    }

    /// Everything is told, and somebody takes everything: then everything is fired, by sleeping only as long as
    /// the dispatcher says.
    fn drain(&mut self) {
        while self.announce() {}
        for shard in [0, 1] {
            if !self.dispatcher.owns(ShardId(shard)) {
                self.begin_take_over(shard, false);
            }
            self.end_take_over(shard);
            self.dispatcher.rescan(ShardId(shard));
            self.find_streams(ShardId(shard));
        }
        for n in 0..3 {
            self.step_session(&Op::Close(n));
        }
        self.step_session(&Op::Open { session: 9, lanes: 7, busy_max: 0 });
        self.step_session(&Op::Grant { session: 9, more: 1_000_000 });
        for _ in 0..20_000 {
            while self.announce() {}
            self.request(10);
            for _ in 0..10 {
                self.read(0);
            }
            while self.adopt(0, false) {}
            let planned = self.plan(1000);
            for _ in 0..planned + self.fires.len() {
                self.commit_fire(0, false);
            }
            while self.tell_fire(0) {}
            while !self.running.is_empty() {
                self.complete(0, None);
            }
            self.check_drained_part();
            if planned == 0 && self.pages.is_empty() {
                let Some(next) = self.dispatcher.next_wakeup() else { break };
                self.now = self.now.max(next);
            }
        }
        assert!(self.due.is_empty(), "never fired: {:?}", self.due);
        assert_eq!(self.dispatcher.stats().attempts, 0);
        assert_eq!(self.dispatcher.stats().entries, 0);
    }

    fn check_drained_part(&mut self) {
        while self.announce() {}
        self.lost.clear();
    }
}

fn shard_of(id: TaskId) -> ShardId {
    ShardId(u32::from(id.as_bytes()[11] % 2))
}

fn nth(rows: &BTreeSet<Row>, pick: usize) -> Option<Row> {
    rows.iter().nth(pick % rows.len().max(1)).copied()
}

fn run(ops: &[Op]) -> Vec<Planned> {
    let mut world = World::new();
    for op in ops {
        world.step(op);
        world.check();
    }
    world.drain();
    world.trace
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20000, max_shrink_iters: 20_000, ..ProptestConfig::default() })]

    #[test]
    fn whatever_order_things_happen_in_everything_is_planned_in_time_once_and_in_order(
        ops in prop::collection::vec(op(), 1..250),
    ) {
        let trace = run(&ops);
        prop_assert_eq!(&trace, &run(&ops), "the same calls gave another plan");
    }
}

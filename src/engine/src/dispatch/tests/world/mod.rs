//! The dispatcher against a store that commits, announces and reads in whatever order chance wants.
//! The store is the truth: what the dispatcher does is checked against it after every step.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

mod steps;

use super::*;
use crate::Token;

/// Shard, lane, priority, due, id: the key of the due index.
type Row = (ShardId, LaneId, Priority, Timestamp, TaskId);

#[derive(Debug)]
enum News {
    Due(Row),
    Cancelled(TaskId),
    Over(TaskId, Token),
}

#[derive(Debug)]
struct Page {
    request: LoadRequest,
    read: Option<(Vec<(Timestamp, TaskId)>, LoadOutcome)>,
}

#[derive(Debug)]
struct Fire {
    planned: Planned,
    result: Option<Result<Token, NotFired>>,
}

/// A session as a test sees it: naive sums.
#[derive(Debug, Default)]
struct Worker {
    granted: u64,
    used: u64,
    paused: bool,
    busy_max: u32,
    lanes: Vec<LaneId>,
    /// Attempts that the dispatcher was not told to be over.
    has: BTreeMap<TaskId, LaneId>,
}

struct World {
    now: Timestamp,
    dispatcher: Dispatcher,
    lanes: Vec<LaneId>,
    due: BTreeSet<Row>,
    row_of: BTreeMap<TaskId, Row>,
    tokens: BTreeMap<TaskId, Token>,
    /// Attempts that run, in the store.
    running: BTreeMap<TaskId, (SessionId, Token)>,
    news: VecDeque<News>,
    lost: BTreeSet<TaskId>,
    pages: Vec<Page>,
    fires: Vec<Fire>,
    workers: BTreeMap<SessionId, Worker>,
    submitted: u64,
    trace: Vec<Planned>,
}

const STREAM_MAX: u32 = 6;

impl World {
    fn new() -> Self {
        let options = Options {
            window: Duration::from_millis(1000),
            refresh: Duration::from_millis(200),
            stream_entries_max: STREAM_MAX,
            entries_max: 60,
            page_rows: 2,
            placement: Placement::LeastLoaded,
        };
        let now = at(100_000);
        let mut dispatcher = Dispatcher::new(options, now);
        let lanes = ["a", "b", "c"].map(|name| dispatcher.lane(&namespace(), &queue(name))).into();
        let mut world = Self {
            now,
            dispatcher,
            lanes,
            due: BTreeSet::new(),
            row_of: BTreeMap::new(),
            tokens: BTreeMap::new(),
            running: BTreeMap::new(),
            news: VecDeque::new(),
            lost: BTreeSet::new(),
            pages: Vec::new(),
            fires: Vec::new(),
            workers: BTreeMap::new(),
            submitted: 0,
            trace: Vec::new(),
        };
        for shard in [0, 1] {
            world.begin_take_over(shard, false);
            world.end_take_over(shard);
        }
        world
    }

    fn begin_take_over(&mut self, shard: u32, lose_it: bool) {
        self.dispatcher.disown_shard(ShardId(shard));
        if !lose_it {
            self.dispatcher.own_shard(ShardId(shard));
            // The scan and the pages after this see what was lost before.
            self.lost.retain(|id| self.row_of.get(id).is_some_and(|row| row.0 != ShardId(shard)));
        }
    }

    fn end_take_over(&mut self, shard: u32) {
        let shard = ShardId(shard);
        if self.dispatcher.owned.get(&shard).is_some_and(|state| !state.streams_complete) {
            self.find_streams(shard);
            self.dispatcher.streams_complete(shard);
        }
    }

    fn find_streams(&mut self, shard: ShardId) {
        for (_, lane, priority, ..) in self.due.iter().filter(|row| row.0 == shard) {
            self.dispatcher.discover(shard, *lane, *priority);
        }
    }

    fn put(&mut self, row: Row) {
        if let Some(old) = self.row_of.insert(row.4, row) {
            self.due.remove(&old);
        }
        self.due.insert(row);
        self.news.push_back(News::Due(row));
    }

    fn announce(&mut self) -> bool {
        let Some(news) = self.news.pop_front() else { return false };
        match news {
            News::Due((shard, lane, priority, due, id)) => {
                self.lost.remove(&id);
                self.dispatcher.offer(id, due, shard, lane, priority, self.now);
            }
            News::Cancelled(id) => {
                self.dispatcher.withdraw(id);
            }
            News::Over(id, token) => {
                // It may be over before the dispatcher heard that it was fired.
                if let Some(ended) = self.dispatcher.finished(id, token) {
                    assert_eq!(self.workers.get_mut(&ended.session).unwrap().has.remove(&id), Some(ended.lane));
                }
            }
        }
        true
    }

    fn plan(&mut self, max: usize) -> usize {
        self.dispatcher.advance(self.now);
        let mut ready = self.ready_by_lane();
        let planned = self.dispatcher.plan(self.now, max);
        for task in &planned {
            assert!(task.due <= self.now, "early: {task:?} at {}", self.now);
            let best = ready.get_mut(&task.lane).unwrap().pop_first();
            assert_eq!(best, Some((task.priority, task.due, task.id)), "a better one was passed over");
            let worker = self.workers.get_mut(&task.session).unwrap();
            worker.used += 1;
            assert!(worker.used <= worker.granted, "more than {} granted", worker.granted);
            assert!(!worker.paused, "a paused session got work");
            // An attempt whose end was not announced yet gives way to the next.
            for other in self.workers.values_mut() {
                other.has.remove(&task.id);
            }
            let worker = self.workers.get_mut(&task.session).unwrap();
            worker.has.insert(task.id, task.lane);
            let busy = worker.has.values().filter(|lane| **lane == task.lane).count();
            assert!(worker.lanes.contains(&task.lane));
            assert!(worker.busy_max == 0 || busy <= worker.busy_max as usize, "{busy} at the same time");
            self.fires.push(Fire { planned: *task, result: None });
        }
        if planned.len() < max {
            for (lane, rest) in ready.iter().filter(|(_, rest)| !rest.is_empty()) {
                let best = rest.first().unwrap();
                assert!(best.1 > self.now || !self.workers.values().any(|w| w.takes(*lane)), "{lane} was left out");
            }
        }
        self.trace.extend(&planned);
        planned.len()
    }

    fn ready_by_lane(&self) -> BTreeMap<LaneId, BTreeSet<(Priority, Timestamp, TaskId)>> {
        let entries = &self.dispatcher.entries;
        let lanes = self.dispatcher.lanes.iter();
        lanes
            .map(|(id, lane)| {
                let items = lane.ready.items().iter();
                (id, items.map(|item| (item.priority, item.due, entries.id(item.slot))).collect())
            })
            .collect()
    }

    fn commit_fire(&mut self, pick: usize, fails: bool) {
        let open: Vec<usize> = (0..self.fires.len()).filter(|n| self.fires[*n].result.is_none()).collect();
        if open.is_empty() {
            return;
        }
        let fire = &mut self.fires[open[pick % open.len()]];
        let Planned { id, due, lane, shard, priority, session } = fire.planned;
        let row = (shard, lane, priority, due, id);
        fire.result = Some(if fails {
            Err(NotFired::Retry)
        } else if self.due.remove(&row) {
            self.row_of.remove(&id);
            let token = self.tokens.entry(id).or_default();
            *token = token.next();
            assert!(self.running.insert(id, (session, *token)).is_none(), "fired twice");
            Ok(*token)
        } else {
            Err(NotFired::Gone)
        });
    }

    fn tell_fire(&mut self, pick: usize) -> bool {
        let done: Vec<usize> = (0..self.fires.len()).filter(|n| self.fires[*n].result.is_some()).collect();
        if done.is_empty() {
            return false;
        }
        let Fire { planned: Planned { id, session, .. }, result } = self.fires.remove(done[pick % done.len()]);
        let worker = self.workers.get_mut(&session);
        match result.unwrap() {
            Ok(token) => match self.dispatcher.fired(id, session, token) {
                Fired::Running => assert!(worker.is_some()),
                Fired::Withdrawn => {
                    if let Some(worker) = worker {
                        worker.used -= 1;
                        worker.has.remove(&id);
                    }
                    self.end(id, token, None);
                }
                Fired::SessionGone => {
                    self.end(id, token, None);
                }
                Fired::Unknown => panic!("it was planned"),
            },
            Err(why) => {
                assert!(self.dispatcher.not_fired(id, session, why));
                if let Some(worker) = worker {
                    worker.used -= 1;
                    worker.has.remove(&id);
                }
            }
        }
        true
    }

    /// Ends an attempt in the store, unless that happened already.
    fn end(&mut self, id: TaskId, token: Token, retry: Option<Row>) {
        if self.running.get(&id).is_some_and(|(_, running)| *running == token) {
            self.running.remove(&id);
            self.news.push_back(News::Over(id, token));
            if let Some(row) = retry {
                self.put(row);
            }
        }
    }

    fn request(&mut self, max: usize) {
        for request in self.dispatcher.load_requests(self.now, max) {
            let same = |page: &Page| page.request.load == request.load;
            assert!(!self.pages.iter().any(same), "one page at a time");
            assert!(request.after.is_none_or(|(due, _)| due <= request.until), "an inverted range");
            self.pages.push(Page { request, read: None });
        }
    }

    fn read(&mut self, pick: usize) {
        let open: Vec<usize> = (0..self.pages.len()).filter(|n| self.pages[*n].read.is_none()).collect();
        if open.is_empty() {
            return;
        }
        let page = &mut self.pages[open[pick % open.len()]];
        let LoadRequest { shard, lane, priority, after, until, limit, .. } = page.request;
        let of_stream = self.due.iter().filter(|row| (row.0, row.1, row.2) == (shard, lane, priority));
        let marks: Vec<_> = of_stream.map(|row| (row.3, row.4)).filter(|mark| Some(*mark) > after).collect();
        let rows: Vec<_> = marks.iter().copied().filter(|row| row.0 <= until).take(limit as usize).collect();
        let outcome = if rows.len() == limit as usize {
            LoadOutcome::Full
        } else {
            LoadOutcome::End { next_due: marks.iter().map(|mark| mark.0).find(|due| *due > until) }
        };
        page.read = Some((rows, outcome));
    }

    fn adopt(&mut self, pick: usize, fails: bool) -> bool {
        let done: Vec<usize> = (0..self.pages.len()).filter(|n| self.pages[*n].read.is_some()).collect();
        if done.is_empty() {
            return false;
        }
        let page = self.pages.remove(done[pick % done.len()]);
        let (rows, outcome) = page.read.unwrap();
        if fails {
            self.dispatcher.load_failed(page.request.load);
        } else {
            self.dispatcher.loaded(page.request.load, &rows, outcome);
        }
        true
    }
}

impl Worker {
    fn takes(&self, lane: LaneId) -> bool {
        let busy = self.has.values().filter(|l| **l == lane).count();
        !self.paused
            && self.used < self.granted
            && self.lanes.contains(&lane)
            && (self.busy_max == 0 || busy < self.busy_max as usize)
    }
}

mod claims;
mod flight;
mod world;

use super::*;
use crate::{SessionId, TaskId};

fn at(ms: i64) -> Timestamp {
    Timestamp::from_unix_ms(ms)
}

fn task(n: u64) -> TaskId {
    TaskId::from_bytes((u128::from(n) << 32 | 7).to_be_bytes())
}

fn session(n: u64) -> SessionId {
    SessionId::from_bytes((u128::from(n) << 64 | 1).to_be_bytes())
}

fn namespace() -> Namespace {
    Namespace::default()
}

fn queue(name: &str) -> QueueName {
    QueueName::new(name).unwrap()
}

const PRIORITIES: [Priority; 3] = [Priority::High, Priority::Medium, Priority::Low];

fn owner(options: Options) -> Dispatcher {
    let mut dispatcher = Dispatcher::new(options, at(0));
    dispatcher.own_shard(ShardId(0));
    dispatcher.streams_complete(ShardId(0));
    dispatcher
}

fn offer(d: &mut Dispatcher, n: u64, due: i64, lane: LaneId, priority: Priority) -> Offered {
    let now = d.entries.now();
    d.offer(task(n), at(due), ShardId(0), lane, priority, now)
}

fn lane(d: &mut Dispatcher, name: &str) -> LaneId {
    d.lane(&namespace(), &queue(name))
}

fn open(d: &mut Dispatcher, n: u64, queues: &[&str], credits: u64) {
    let queues: Vec<_> = queues.iter().map(|name| (queue(name), 0)).collect();
    d.session_open(session(n), &namespace(), &queues, credits);
}

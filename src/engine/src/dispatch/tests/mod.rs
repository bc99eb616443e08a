mod claims;
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

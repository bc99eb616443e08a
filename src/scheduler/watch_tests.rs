//! Watches of a whole scheduler: what a lost hint left out, and what watching costs.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use escapement_engine::{
    TaskId, Timestamp, Token,
    name::{Namespace, Priority, QueueName},
    retry::RetryPolicy,
};
use futures_util::StreamExt as _;

use super::{Scheduler, SchedulerOptions, watch::WATCHES_MAX};
use crate::{
    api::backend::{Backend as _, WatchEvent},
    clock::SharedClock,
    edge::SystemClock,
    error::Reason,
    keyspace,
    model::{NewTask, Payload, TaskState, Template},
    records::{Head, Record as _},
    rng::Rng,
    store::{Abort, Database, MemoryEngine, TransactionKind},
};

fn task(n: u128, now: Timestamp) -> NewTask {
    NewTask {
        id: TaskId::from_parts(now, n),
        namespace: Namespace::default(),
        template: Template {
            queue: QueueName::new("q").unwrap(),
            payload: Payload::default(),
            priority: Priority::Medium,
            retry: RetryPolicy::default(),
            attempt_timeout: Duration::from_secs(60),
            labels: std::collections::BTreeMap::new(),
        },
        due: now.saturating_add(Duration::from_secs(3600)),
        deadline: None,
        idempotency: None,
        submitted: now,
        occurrence: None,
        content_hash: 1,
    }
}

/// Writes rows as another server would: no hint comes with them.
async fn write(db: &Database, key: Bytes, value: Bytes) {
    let by_hand = TransactionKind::idempotent("test");
    let written = db.run(by_hand, |tx, _| {
        let (key, value) = (key.clone(), value.clone());
        async move { Ok::<_, Abort<String>>(tx.set(key, value)?) }
    });
    written.await.unwrap();
}

#[tokio::test]
async fn many_watches_cost_one_poll_and_show_what_no_hint_told() {
    let clock: SharedClock = Arc::new(SystemClock::new());
    let db = Database::over(Arc::new(MemoryEngine::new(Arc::clone(&clock))), Arc::clone(&clock), Rng::from_seed(1));
    let options = SchedulerOptions { shards: 2, ..SchedulerOptions::default() };
    let scheduler = Scheduler::start(db.clone(), Arc::clone(&clock), Rng::from_seed(2), options).await.unwrap();
    let tasks: Vec<_> = (1..=20).map(|n| task(n, clock.now())).collect();
    for result in scheduler.submit(tasks.clone()).await {
        assert!(result.unwrap().created);
    }
    let mut watches = Vec::new();
    for n in 0..100 {
        let task = &tasks[n % tasks.len()];
        let mut watch = scheduler.watch_task(task.namespace.clone(), task.id).await.unwrap();
        let Some(Ok(WatchEvent::Task(view))) = watch.next().await else { panic!("the task as it stands") };
        assert_eq!(view.state, TaskState::Scheduled);
        watches.push(tokio::spawn(async move { watch.next().await }));
    }
    let count = |kind: &str| db.metrics().get(kind).map_or(0, |it| it.started);
    let polled = async |times: u64| {
        let until = count("watch-poll") + times;
        while count("watch-poll") < until {
            clock.sleep(Duration::from_millis(5)).await;
        }
    };
    // The first poll may tell of a change before it looked.
    polled(2).await;
    let before = count("read");
    polled(2).await;
    assert_eq!(count("read"), before, "nothing has changed, so nobody reads");

    let changed = &tasks[3];
    let shard = changed.id.shard(2);
    let head = Head {
        state: TaskState::Cancelled,
        attempts: 0,
        token: Token(0),
        due: changed.due,
        finished: Some(clock.now()),
        last: None,
        result: None,
        cancel_reason: "elsewhere".to_owned(),
        ended_by: None,
    };
    write(&db, keyspace::head(shard, changed.id), head.encode()).await;
    for (n, watch) in watches.into_iter().enumerate() {
        if n % tasks.len() != 3 {
            assert!(!watch.is_finished(), "watch {n} of another task");
            watch.abort();
            continue;
        }
        match watch.await.unwrap() {
            Some(Ok(WatchEvent::Task(view))) => assert_eq!(view.cancel_reason, "elsewhere"),
            event => panic!("watch {n}: {event:?}"),
        }
    }
}

#[tokio::test]
async fn too_many_watches_are_refused_with_the_limit() {
    let clock: SharedClock = Arc::new(SystemClock::new());
    let db = Database::over(Arc::new(MemoryEngine::new(Arc::clone(&clock))), Arc::clone(&clock), Rng::from_seed(1));
    let options = SchedulerOptions { shards: 2, ..SchedulerOptions::default() };
    let scheduler = Scheduler::start(db, Arc::clone(&clock), Rng::from_seed(2), options).await.unwrap();
    let task = task(1, clock.now());
    assert!(scheduler.submit(vec![task.clone()]).await[0].is_ok());
    let held: Vec<_> = (0..WATCHES_MAX).map(|_| scheduler.shared().watches.subscribe(task.id).unwrap()).collect();
    let refused = scheduler.watch_task(task.namespace.clone(), task.id).await.map(drop).unwrap_err();
    assert_eq!(refused.reason, Reason::Overloaded);
    assert_eq!(refused.reason.grpc_code(), tonic::Code::ResourceExhausted);
    assert_eq!(refused.message, "10000 watches are open, which is the limit of one server");
    drop(held);
    assert!(scheduler.watch_task(task.namespace.clone(), task.id).await.is_ok());
}

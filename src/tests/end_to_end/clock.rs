//! A server acts by how wrong its clock may be, not only by what it shows.

use std::{borrow::Cow, sync::Arc, time::Duration};

use escapement::{
    client::{ClientError, NewTask, proto},
    clock::ManualClock,
    edge::SystemClock,
    error::Reason,
    server::StoreUrl,
    worker::{Context, Output, TaskFailure, Worker},
};
use escapement_engine::{
    TaskId, Timestamp,
    cluster_time::{Bounds, SyncState},
    leap::{Leap, LeapTable, Sign},
};

use super::world::{World, options, reached, world_with};

/// 2026-11-24T12:00:00Z.
const NOON: Timestamp = Timestamp::from_unix_ms(1_795_521_600_000);

fn manual(at: Timestamp) -> Arc<ManualClock> {
    Arc::new(ManualClock::new(at, Arc::new(SystemClock::new())))
}

fn unsure(error: Duration) -> Bounds {
    Bounds { error, sync: SyncState::Synchronised, ..Bounds::default() }
}

fn worker(world: &World) -> escapement::worker::WorkerHandle {
    let handler = |_: Context| async { Ok::<_, TaskFailure>(Output::empty()) };
    Worker::builder(&world.endpoint).queue("work", handler).build().unwrap().start()
}

async fn due(world: &World, at: Timestamp) -> TaskId {
    world.client.submit(NewTask::new("work").due_at(at)).await.unwrap().id
}

/// Ends when the scheduler has looked at the clock and has nothing to do by it.
async fn settled(world: &World) {
    for _ in 0..3000 {
        // Each status is a turn of the core, after a look at the clock.
        if world.server.scheduler().status().await.in_flight == 0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("the scheduler never came to rest");
}

async fn is_waiting(world: &World, id: TaskId) {
    settled(world).await;
    assert_eq!(world.client.get(id).await.unwrap().state(), proto::TaskState::Scheduled);
}

#[tokio::test]
async fn a_task_starts_when_its_instant_has_certainly_passed() {
    let clock = manual(NOON);
    clock.set_bounds(unsure(Duration::from_millis(300)));
    let world = world_with(options(StoreUrl::Memory), Arc::clone(&clock) as _).await;
    let worker = worker(&world);
    let instant = NOON.saturating_add(Duration::from_secs(10));
    let id = due(&world, instant).await;
    clock.set(instant.saturating_add(Duration::from_millis(299)));
    is_waiting(&world, id).await;
    clock.set(instant.saturating_add(Duration::from_millis(300)));
    reached(&world.client, id, proto::TaskState::Succeeded).await;
    let wait = world.client.status().await.unwrap().clock.unwrap().wait_us;
    assert_eq!(wait, 300_000, "what the clock's error cost is counted");
    // What is to start at once does not wait for it.
    let id = world.client.submit(NewTask::new("work")).await.unwrap().id;
    reached(&world.client, id, proto::TaskState::Succeeded).await;
    worker.drain().await.unwrap();
    world.server.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_server_whose_clock_is_rejected_refuses_and_fires_nothing() {
    let clock = manual(NOON);
    let world = world_with(options(StoreUrl::Memory), Arc::clone(&clock) as _).await;
    let worker = worker(&world);
    let id = due(&world, NOON.saturating_add(Duration::from_secs(1))).await;
    clock.set_bounds(unsure(Duration::from_millis(5001)));
    clock.set(NOON.saturating_add(Duration::from_secs(60)));
    is_waiting(&world, id).await;
    let clock_status = world.client.status().await.unwrap().clock.unwrap();
    assert_eq!(clock_status.health(), proto::ClockHealth::Rejected);
    assert_eq!(clock_status.error_us, 5_001_000);
    let patient = escapement::client::Client::builder(&world.endpoint).deadline(Duration::from_millis(200)).build();
    let refused: ClientError = patient.unwrap().submit(NewTask::new("work")).await.unwrap_err();
    assert_eq!(refused.reason(), Reason::ClockRejected, "{refused}");
    worker.drain().await.unwrap();
    world.server.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_clock_that_may_be_a_second_off_raises_an_alert_and_works() {
    let clock = manual(NOON);
    clock.set_bounds(unsure(Duration::from_millis(1001)));
    let world = world_with(options(StoreUrl::Memory), Arc::clone(&clock) as _).await;
    let worker = worker(&world);
    let id = due(&world, NOON).await;
    clock.set(NOON.saturating_add(Duration::from_secs(2)));
    reached(&world.client, id, proto::TaskState::Succeeded).await;
    let clock_status = world.client.status().await.unwrap().clock.unwrap();
    assert_eq!(clock_status.health(), proto::ClockHealth::Alert);
    worker.drain().await.unwrap();
    world.server.shutdown().await.unwrap();
}

#[tokio::test]
async fn firing_is_held_for_a_leap_second_that_the_clock_was_not_told_of() {
    let midnight = Timestamp::from_unix_ms(1_798_761_600_000);
    let before = |ms| midnight.saturating_sub(Duration::from_millis(ms));
    let after = |ms| midnight.saturating_add(Duration::from_millis(ms));
    let clock = manual(before(60_000));
    let mut options = options(StoreUrl::Memory);
    let leap = Leap { at: midnight, sign: Sign::Insert };
    options.scheduler.leap_table = Cow::Owned(LeapTable::new(vec![leap], Timestamp::MAX));
    let world = world_with(options, Arc::clone(&clock) as _).await;
    let worker = worker(&world);
    let (old, new) = (due(&world, before(500)).await, due(&world, midnight).await);
    clock.set(before(501));
    is_waiting(&world, old).await;
    // The inserted second: even what was due before waits.
    clock.set(after(999));
    is_waiting(&world, old).await;
    is_waiting(&world, new).await;
    // It is over: the clock is a second fast.
    clock.set(after(1000));
    reached(&world.client, old, proto::TaskState::Succeeded).await;
    reached(&world.client, new, proto::TaskState::Succeeded).await;
    let later = due(&world, after(5000)).await;
    clock.set(after(5999));
    is_waiting(&world, later).await;
    // The time daemon sets it right: now it is to be believed.
    clock.set(after(4999));
    is_waiting(&world, later).await;
    clock.set(after(5000));
    reached(&world.client, later, proto::TaskState::Succeeded).await;
    worker.drain().await.unwrap();
    world.server.shutdown().await.unwrap();
}

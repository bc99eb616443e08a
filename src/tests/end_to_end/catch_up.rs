//! Schedules that are far behind, with payloads as large as they may be.

use std::{sync::Arc, time::Duration};

use escapement::{client::NewSchedule, clock::ManualClock, edge::SystemClock, error::Reason, server::StoreUrl};
use escapement_engine::{Timestamp, limits::SCHEDULE_PAYLOAD_BYTES_MAX};

use super::world::{options, world_with};

const SCHEDULES: usize = 4;
/// Missed instants of each: together far more bytes than one transaction holds.
const MISSED: u64 = 100;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn schedules_with_large_payloads_make_up_for_all_that_was_missed() {
    let begin = Timestamp::from_unix_ms(1_767_225_600_000);
    let clock = Arc::new(ManualClock::new(begin, Arc::new(SystemClock::new())));
    let world = world_with(options(StoreUrl::Memory), Arc::clone(&clock) as _).await;
    let schedule = |n: usize, bytes| NewSchedule::cron(format!("s{n}"), "* * * * *", "q").payload(vec![7; bytes], "");
    for n in 0..SCHEDULES {
        world.client.create_schedule(schedule(n, SCHEDULE_PAYLOAD_BYTES_MAX)).await.unwrap();
    }
    clock.set(begin.saturating_add(Duration::from_secs(60 * MISSED)));
    for n in 0..SCHEDULES {
        let id = format!("s{n}");
        let mut made = 0;
        for _ in 0..3000 {
            made = world.client.get_schedule(&id).await.unwrap().occurrence_count;
            if made == MISSED {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert_eq!(made, MISSED, "schedule {id}");
    }

    let error = world.client.create_schedule(schedule(9, SCHEDULE_PAYLOAD_BYTES_MAX + 1)).await.unwrap_err();
    assert_eq!(error.reason(), Reason::InvalidArgument);
    assert!(error.to_string().contains("must be at most 65536 bytes (got `65537 bytes`)"), "{error}");
}

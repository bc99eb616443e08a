//! A crontab, imported, lives through a year in three zones with both changes of the clocks
//! in each: what ran is what an independent oracle says, instant by instant.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::Duration,
};

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use escapement::{
    client::NewSchedule,
    clock::ManualClock,
    edge::SystemClock,
    server::StoreUrl,
    worker::{Context, Output, Worker},
};
use escapement_engine::{
    Timestamp,
    calendar::crontab::{self, Flavour},
};

use super::{
    oracle,
    world::{World, options, world_with},
};

/// 2026-01-01T00:00:00Z.
const BEGIN_S: i64 = 1_767_225_600;
const DAYS: i64 = 365;
const STEP: Duration = Duration::from_secs(8 * 3600);

/// Jobs in the style of real ones, some of them in the hours that the clocks skip and repeat.
const CRONTAB: &str = "\
# m h dom mon dow command
SHELL=/bin/sh
CRON_TZ=Europe/Berlin
17 * * * * hourly
25 6 * * * daily
30 2 * * * in-the-gap
0,30 2,3 * * 0 twice-an-hour-on-sundays
47 6 * * 7 weekly
52 6 1 * * monthly
0 12 13 * 5 the-13th-or-a-friday
CRON_TZ=America/New_York
30 1,2 * * * folded-and-skipped
*/50 * * * * uneven
15 9-17/2 * * 1-5 office-hours
CRON_TZ=Australia/Lord_Howe
*/45 */3 * * * three-quarters
10 2 * 4,10 * half-hour-shift
45 1 * * 6,0 weekend
";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_year_of_a_crontab_equals_the_oracle() {
    let begin = Timestamp::from_unix_ms(BEGIN_S * 1000);
    let clock = Arc::new(ManualClock::new(begin, Arc::new(SystemClock::new())));
    let world = world_with(options(StoreUrl::Memory), Arc::clone(&clock) as _).await;

    let parsed = crontab::parse(CRONTAB, Flavour::User);
    let mut jobs = BTreeMap::new();
    for job in &parsed.jobs {
        let (zone, name) = (job.zone.as_ref().unwrap().name().to_owned(), job.command.clone());
        let expression = job.expression.to_string();
        let schedule = NewSchedule::cron(&name, &expression, "cron").time_zone(&zone).start_at(begin);
        world.client.create_schedule(schedule).await.unwrap();
        jobs.insert(name, (expression, zone));
    }
    assert_eq!(jobs.len(), 13, "nothing of the crontab was lost: {:?}", parsed.notes);

    let ran = Arc::new(Mutex::new(BTreeMap::<String, Vec<i64>>::new()));
    let worker = recorder(&world, &ran);
    let end_s = BEGIN_S + DAYS * 24 * 3600;
    let mut now = begin;
    while now.unix_ms() < end_s * 1000 {
        now = now.saturating_add(STEP);
        clock.set(now);
        quiet(&world).await;
    }

    let at = |seconds| DateTime::<Utc>::from_timestamp(seconds, 0).unwrap();
    let ran = ran.lock().unwrap();
    let mut total = 0;
    for (name, (expression, zone)) in &jobs {
        let expected = oracle::runs(expression, zone.parse::<Tz>().unwrap(), at(BEGIN_S), at(end_s));
        let found = &ran[name];
        let distinct: BTreeSet<i64> = found.iter().copied().collect();
        assert_eq!(distinct.len(), found.len(), "{name}: none twice");
        let (missing, extra): (Vec<_>, Vec<_>) =
            (expected.difference(&distinct).collect(), distinct.difference(&expected).collect());
        assert!(
            missing.is_empty() && extra.is_empty(),
            "{name} {expression} {zone}: missing {missing:?}, extra {extra:?}"
        );
        total += found.len();
    }
    println!("{} jobs, {DAYS} days, {total} occurrences, each equal to the oracle's", jobs.len());
    worker.drain().await.unwrap();
}

/// A worker that notes the nominal instant of each occurrence by its schedule.
fn recorder(world: &World, ran: &Arc<Mutex<BTreeMap<String, Vec<i64>>>>) -> escapement::worker::WorkerHandle {
    let ran = Arc::clone(ran);
    let handler = move |ctx: Context| {
        let occurrence = ctx.occurrence().expect("a schedule made it").clone();
        let nominal = occurrence.nominal.expect("nobody triggers anything here");
        assert_eq!(nominal, ctx.due(), "an occurrence is due at its nominal instant");
        let seconds = nominal.unix_ms() / 1000;
        ran.lock().unwrap().entry(occurrence.schedule_id.to_string()).or_default().push(seconds);
        async { Ok(Output::empty()) }
    };
    Worker::builder(&world.endpoint).concurrency(500).queue("cron", handler).build().unwrap().start()
}

/// Waits until everything that has come due has been run.
async fn quiet(world: &World) {
    for _ in 0..60_000 {
        let status = world.server.scheduler().status().await;
        let busy = status.ticks_due + status.in_flight + status.queues.iter().map(|q| q.ready + q.running).sum::<u64>();
        if busy == 0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    panic!("never quiet: {:?}", world.server.scheduler().status().await);
}

//! Each fault alone, at every opportunity, and what whoever asks the store sees of it.
//! Counters that the store keeps of itself are no witness here.

use std::time::Duration;

use bytes::Bytes;
use escapement::store::{
    StoreError, Version,
    engine::{CommitReceipt, CommitRequest, Engine, Mutation, ReadVersionRequest},
};
use escapement_sim::{
    simulate,
    store::{Fault, FaultPlan, FaultyEngine, SimStore, Switch},
};
use madsim::time::{TimeHandle, sleep, timeout};

use super::run::RECOVERY_VERSIONS;

const ALWAYS: u32 = 1_000_000;
/// Far longer than a batch takes, and exact: no network lies between.
const HOLD_MS: u64 = 700;
const HOLD: Duration = Duration::from_millis(HOLD_MS);
/// Longer than everything that ends.
const LONG: Duration = Duration::from_secs(60);

/// What `scenario` sees of a store on which this fault alone is on.
fn alone<F: Future>(fault: Fault, switch: Switch, scenario: impl FnOnce(SimStore, FaultyEngine) -> F) -> F::Output {
    simulate(1, async {
        let store = SimStore::new(FaultPlan::calm(1).with(fault, switch)).unwrap();
        let engine = store.boot();
        scenario(store, engine).await
    })
}

fn held() -> Switch {
    Switch::chance(ALWAYS).hold(HOLD_MS, HOLD_MS)
}

/// Of a transaction to which every fault of read versions applies.
fn asked() -> ReadVersionRequest {
    ReadVersionRequest {
        batch_priority: true,
        causal_read_risky: true,
        tags: vec!["scan".into()],
        ..ReadVersionRequest::default()
    }
}

async fn set(engine: &FaultyEngine, value: &'static str) -> Result<CommitReceipt, StoreError> {
    let mutations = vec![Mutation::Set("key".into(), value.into())];
    engine.commit(CommitRequest { mutations, ..CommitRequest::default() }).await
}

async fn get(engine: &FaultyEngine, version: Version) -> Result<Option<Bytes>, StoreError> {
    Ok(engine.get_many(vec!["key".into()], version).await?.remove(0))
}

async fn took<T>(work: impl Future<Output = T>) -> (T, Duration) {
    let from = TimeHandle::current().elapsed();
    let result = work.await;
    (result, TimeHandle::current().elapsed() - from)
}

fn code<T>(result: Result<T, StoreError>) -> Option<i32> {
    result.err().map(|error| error.code)
}

#[test]
fn a_fault_that_refuses_a_read_or_a_read_version_is_seen_as_its_code() {
    let spans = || Switch::during([(0, 1000)]);
    let always = || Switch::chance(ALWAYS);
    for (fault, switch, expected) in [
        (Fault::ReadVersionProxyMemory, always(), 1078),
        (Fault::VersionChangedReading, always(), 1039),
        (Fault::BatchThrottled, always(), 1051),
        (Fault::TagThrottled, always(), 1213),
        (Fault::Locked, spans(), 1038),
    ] {
        let seen = alone(fault, switch, |_, engine| async move { code(engine.read_version(&asked()).await) });
        assert_eq!(seen, Some(expected), "{fault:?}");
    }
    for (fault, expected) in [(Fault::TooOld, 1007), (Fault::FutureVersion, 1009), (Fault::ProcessBehind, 1037)] {
        let seen = alone(fault, always(), |_, engine| async move {
            let version = engine.read_version(&asked()).await.unwrap();
            code(get(&engine, version).await)
        });
        assert_eq!(seen, Some(expected), "{fault:?}");
    }
}

#[test]
fn a_fault_of_some_transactions_spares_the_others() {
    let calm = ReadVersionRequest::default;
    let (batch, locked) = (|| Switch::chance(ALWAYS), || Switch::during([(0, 1000)]));
    for (fault, switch, spared) in [
        (Fault::BatchThrottled, batch(), ReadVersionRequest { batch_priority: false, ..asked() }),
        (Fault::BatchStarved, held(), ReadVersionRequest { batch_priority: false, ..asked() }),
        (Fault::TagThrottled, batch(), ReadVersionRequest { tags: Vec::new(), ..asked() }),
        (Fault::Locked, locked(), ReadVersionRequest { lock_aware: true, ..calm() }),
        (Fault::StaleReadVersion, held(), calm()),
    ] {
        let (seen, took) = alone(fault, switch, |_, engine| async move { took(engine.read_version(&spared)).await });
        assert!(seen.is_ok() && took < HOLD, "{fault:?}: {seen:?} after {took:?}");
    }
    let commit = |lock_aware: bool| {
        alone(Fault::Locked, locked(), |store, engine| async move {
            let mutations = vec![Mutation::Set("key".into(), "value".into())];
            let seen = engine.commit(CommitRequest { mutations, lock_aware, ..CommitRequest::default() }).await;
            (code(seen), store.rows().len())
        })
    };
    assert_eq!(commit(true), (None, 1));
    assert_eq!(commit(false), (Some(StoreError::DATABASE_LOCKED), 0));
}

#[test]
fn a_recovery_fails_what_is_in_flight_pauses_everything_and_lets_versions_jump() {
    let begins_ms = 1000;
    let switch = || Switch::during([(begins_ms, begins_ms + HOLD_MS)]);
    let (before, in_flight, reads, commits) = alone(Fault::Recovery, switch(), |_, engine| async move {
        let before = set(&engine, "before").await.unwrap().version;
        // Just before it begins: a batch takes a millisecond at least.
        sleep(Duration::from_micros(begins_ms * 1000 - 200).saturating_sub(TimeHandle::current().elapsed())).await;
        let in_flight = code(set(&engine, "in flight").await);
        let at = TimeHandle::current().elapsed();
        let ((read, reads), (commit, commits)) =
            tokio::join!(took(engine.read_version(&ReadVersionRequest::default())), took(set(&engine, "after")));
        let (read, commit) = (read.unwrap(), commit.unwrap().version);
        assert!(read < commit);
        (before, in_flight, (read, at + reads), (commit, at + commits))
    });
    assert_eq!(in_flight, Some(StoreError::COMMIT_UNKNOWN_RESULT));
    let over = Duration::from_millis(begins_ms + HOLD_MS);
    for (version, at) in [reads, commits] {
        assert!(at >= over && at < over + HOLD, "answered at {at:?}");
        assert!(version.0 >= before.0 + RECOVERY_VERSIONS, "{version:?} after {before:?}");
    }
    // No more than it takes: a second has a million.
    assert!(commits.0.0 < before.0 + RECOVERY_VERSIONS + 5_000_000, "{commits:?}");
}

#[test]
fn a_fault_that_refuses_a_commit_is_seen_as_its_code_and_the_commit_is_there_or_not_as_it_says() {
    let spans = || Switch::during([(0, 1000)]);
    let always = || Switch::chance(ALWAYS);
    for (fault, switch, expected, applied) in [
        (Fault::CommitProxyMemory, always(), 1042, false),
        (Fault::SpuriousConflict, always(), 1020, false),
        (Fault::Locked, spans(), 1038, false),
        (Fault::UnknownNotApplied, always(), 1021, false),
        (Fault::UnknownApplied, always(), 1021, true),
        (Fault::VersionChangedLate, held(), 1039, true),
    ] {
        let (seen, rows) = alone(fault, switch, |store, engine| async move {
            let seen = code(set(&engine, "value").await);
            sleep(LONG).await;
            (seen, store.rows().len())
        });
        assert_eq!((seen, rows), (Some(expected), usize::from(applied)), "{fault:?}");
    }
}

#[test]
fn a_fault_that_delays_makes_whoever_asks_wait_for_its_hold() {
    let calm = || Switch::chance(0);
    let read = |switch: Switch| {
        alone(Fault::SlowRead, switch, |_, engine| async move {
            let version = engine.read_version(&asked()).await.unwrap();
            took(get(&engine, version)).await.1
        })
    };
    assert!(read(held()) >= HOLD && read(calm()) < HOLD, "SlowRead");
    for fault in [Fault::SlowReadVersion, Fault::BatchStarved] {
        let version = |switch: Switch| {
            alone(fault, switch, |_, engine| async move { took(engine.read_version(&asked())).await.1 })
        };
        assert!(version(held()) >= HOLD && version(calm()) < HOLD, "{fault:?}");
    }
    for fault in [Fault::SlowCommit, Fault::StalledCommit, Fault::AnswerLostApplied, Fault::AnswerLostNotApplied] {
        let commit = |switch: Switch| alone(fault, switch, |_, engine| async move { took(set(&engine, "v")).await.1 });
        assert!(commit(held()) >= HOLD && commit(calm()) < HOLD, "{fault:?}");
    }
}

#[test]
fn unavailability_is_waited_out() {
    let span = || Switch::during([(0, HOLD_MS)]);
    let read = alone(Fault::StorageUnavailable, span(), |_, engine| async move {
        let version = engine.read_version(&asked()).await.unwrap();
        get(&engine, version).await.unwrap();
        TimeHandle::current().elapsed()
    });
    assert!(read >= HOLD, "a read was answered after {read:?}");
    let commit = alone(Fault::CommitsUnavailable, span(), |_, engine| async move {
        set(&engine, "value").await.unwrap();
        TimeHandle::current().elapsed()
    });
    assert!(commit >= HOLD, "a commit was answered after {commit:?}");
}

#[test]
fn a_stale_read_version_is_given_only_to_whoever_accepts_the_risk() {
    let (acknowledged, risky, safe) = alone(Fault::StaleReadVersion, held(), |_, engine| async move {
        set(&engine, "old").await.unwrap();
        sleep(Duration::from_millis(50)).await;
        let acknowledged = set(&engine, "new").await.unwrap().version;
        let risky = engine.read_version(&asked()).await.unwrap();
        let safe = engine.read_version(&ReadVersionRequest { causal_read_risky: false, ..asked() }).await.unwrap();
        assert_eq!(get(&engine, risky).await.unwrap().as_deref(), Some(&b"old"[..]));
        (acknowledged, risky, safe)
    });
    assert!(risky < acknowledged && acknowledged <= safe, "{risky:?} {acknowledged:?} {safe:?}");
}

#[test]
fn watches_are_lost_late_spurious_and_too_many() {
    // Whether the value changes; when the watch fires, from when it was set, if ever.
    let watch = |fault: Fault, changes: bool| {
        alone(fault, held(), |_, engine| async move {
            let version = engine.read_version(&ReadVersionRequest::default()).await.unwrap();
            let watch = tokio::spawn(took(engine.watch("key".into(), None, version)));
            sleep(Duration::from_millis(1)).await;
            if changes {
                set(&engine, "changed").await.unwrap();
            }
            timeout(LONG, watch).await.ok().map(|fired| fired.unwrap())
        })
    };
    assert_eq!(watch(Fault::WatchLost, true), None, "it is lost though the value changed");
    let (fired, after) = watch(Fault::WatchSpurious, false).expect("it fires though nothing changed");
    assert!(fired.is_ok() && after >= HOLD, "{fired:?} after {after:?}");
    let (fired, after) = watch(Fault::WatchLate, true).expect("it fires in the end");
    assert!(fired.is_ok() && after >= HOLD, "{fired:?} after {after:?}");
    let (fired, _) = watch(Fault::WatchTooMany, true).expect("it is refused");
    assert_eq!(code(fired), Some(StoreError::TOO_MANY_WATCHES));
    let (fired, after) = watch(Fault::TooOld, true).expect("without these faults it fires");
    assert!(fired.is_ok() && after < HOLD, "{fired:?} after {after:?}");
    assert_eq!(watch(Fault::TooOld, false), None, "and is silent while nothing changes");
}

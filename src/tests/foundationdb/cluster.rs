//! Where the adapter does more than pass on: prefixes, phases of a transaction, early refusals.

use std::time::Duration;

use bytes::Bytes;
use escapement::store::{
    ConflictKind, KeySelector, MutationKind, RangeOptions, StoreError, StreamingMode, Transaction, TransactionOption,
};

use super::Area;

async fn set(area: &Area, under: &str, keys: &[&str]) {
    let tx = area.under(under).begin();
    for key in keys {
        tx.set(key.to_string(), format!("{under}{key}")).unwrap();
    }
    tx.raw().commit().await.unwrap();
}

fn selector(key: &'static str, or_equal: bool, offset: i32) -> KeySelector {
    KeySelector { key: Bytes::from(key), or_equal, offset }
}

fn text(key: &[u8]) -> String {
    key.escape_ascii().to_string()
}

async fn keys(tx: &Transaction, range: RangeOptions) -> Vec<String> {
    tx.get_range(range).await.unwrap().rows.iter().map(|(key, _)| text(key)).collect()
}

fn code<T>(result: Result<T, StoreError>) -> i32 {
    result.err().expect("refused").code
}

#[tokio::test(flavor = "multi_thread")]
async fn neighbours_are_neither_seen_nor_cleared() {
    let Some(area) = Area::new("neighbours") else { return };
    area.clear().await;
    set(&area, "a/", &["1", "2"]).await;
    set(&area, "b/", &["1", "2", "3"]).await;
    set(&area, "c/", &["0", "9"]).await;
    let tx = area.under("b/").begin();
    assert_eq!(keys(&tx, RangeOptions::new("", &b"\xff"[..])).await, ["1", "2", "3"]);
    assert_eq!(tx.get("2").await.unwrap().unwrap(), "b/2");
    let find = async |selector| text(&tx.raw().get_key(selector, false).await.unwrap());
    assert_eq!(find(KeySelector::first_greater_or_equal("")).await, "1");
    assert_eq!(find(KeySelector::last_less_than("1")).await, "");
    assert_eq!(find(KeySelector::first_greater_than("3")).await, "\\xff");
    assert_eq!(find(selector("2", false, -5)).await, "");
    assert_eq!(find(selector("2", false, 2)).await, "3");
    assert_eq!(find(selector("2", false, 3)).await, "\\xff");
    assert_eq!(find(selector("3", true, -1)).await, "2");
    assert_eq!(find(KeySelector::last_less_than(&b"\xff"[..])).await, "3");
    let mut range = RangeOptions::new("", "");
    (range.begin, range.end) = (selector("2", false, -3), selector("2", false, 7));
    assert_eq!(keys(&tx, range).await, ["1", "2", "3"]);
    tx.clear_range("", &b"\xff"[..]).unwrap();
    tx.raw().commit().await.unwrap();
    let root = area.under("").begin();
    assert_eq!(keys(&root, RangeOptions::new("", &b"\xff"[..])).await, ["a/1", "a/2", "c/0", "c/9"]);
    area.clear().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_selector_that_runs_off_the_edge_conflicts_with_no_neighbour() {
    let Some(area) = Area::new("edges") else { return };
    area.clear().await;
    set(&area, "b/", &["1"]).await;
    let db = area.under("b/");
    let find_off_both_edges = async |between: (&'static str, &'static str)| {
        let tx = db.begin();
        assert_eq!(tx.raw().get_key(KeySelector::last_less_than("1"), false).await.unwrap(), "");
        assert_eq!(tx.raw().get_key(KeySelector::first_greater_than("1"), false).await.unwrap(), &b"\xff"[..]);
        tx.set("1", "").unwrap();
        set(&area, between.0, &[between.1]).await;
        tx.raw().commit().await
    };
    find_off_both_edges(("a/", "9")).await.unwrap();
    find_off_both_edges(("c/", "0")).await.unwrap();
    assert_eq!(code(find_off_both_edges(("b/", "0")).await), StoreError::NOT_COMMITTED);
    area.clear().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_versionstamped_key_gets_the_stamp_that_the_commit_tells() {
    let Some(area) = Area::new("stamps") else { return };
    area.clear().await;
    let db = area.under("b/");
    let tx = db.begin();
    let key = [&b"log/"[..], &[0; 10], b"/x", &4u32.to_le_bytes()].concat();
    tx.raw().mutate(MutationKind::SetVersionstampedKey, key.into(), "value".into()).unwrap();
    let stamp = tx.raw().versionstamp();
    tx.raw().commit().await.unwrap();
    let stamp = stamp.await.unwrap();
    let version = tx.raw().committed_version().unwrap();
    assert_eq!(stamp.0[..8], version.0.to_be_bytes());
    let expected = [&b"log/"[..], &stamp.0, b"/x"].concat();
    let page = db.begin().get_range(RangeOptions::new("", &b"\xff"[..])).await.unwrap();
    assert_eq!(page.rows, [(Bytes::from(expected), Bytes::from("value"))]);
    area.clear().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_outlives_its_transaction_and_fires_on_a_change_under_its_prefix_only() {
    let Some(area) = Area::new("watches") else { return };
    area.clear().await;
    let tx = area.under("b/").begin();
    let watch = tx.raw().watch("k".into());
    tx.raw().commit().await.unwrap();
    drop(tx);
    let watch = tokio::spawn(watch);
    set(&area, "a/", &["k"]).await;
    set(&area, "", &["k"]).await;
    set(&area, "b/", &["another"]).await;
    assert!(!watch.is_finished(), "fired by a neighbour");
    set(&area, "b/", &["k"]).await;
    watch.await.unwrap().unwrap();
    let uncommitted = {
        let tx = area.under("b/").begin();
        tx.raw().watch("k".into())
    };
    assert_eq!(code(uncommitted.await), StoreError::TRANSACTION_CANCELLED);
    area.clear().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_refused_at_the_call_and_spoils_nothing() {
    let Some(area) = Area::new("refusals") else { return };
    let db = area.under("b/");
    let tx = db.begin();
    let max = 10_000 - area.options.prefix.as_bytes().len() - 2;
    assert_eq!(code(tx.set(vec![b'k'; max + 1], "")), StoreError::KEY_TOO_LARGE);
    assert_eq!(code(tx.set("k", vec![0; 100_001])), StoreError::VALUE_TOO_LARGE);
    assert_eq!(code(tx.set(&b"\xff"[..], "")), StoreError::KEY_OUTSIDE_LEGAL_RANGE);
    assert_eq!(code(tx.clear_range("b", "a")), StoreError::INVERTED_RANGE);
    assert_eq!(
        code(tx.raw().add_conflict_range("b".into(), "a".into(), ConflictKind::Read)),
        StoreError::INVERTED_RANGE
    );
    assert_eq!(
        code(tx.raw().mutate(MutationKind::SetVersionstampedKey, "abc".into(), "".into())),
        StoreError::CLIENT_INVALID_OPERATION
    );
    assert_eq!(code(tx.raw().set_option(TransactionOption::SizeLimit(3))), StoreError::INVALID_OPTION_VALUE);
    assert_eq!(code(tx.raw().set_option(TransactionOption::Tag("t".repeat(17)))), StoreError::TAG_TOO_LONG);
    let mut range = RangeOptions::new("", "z");
    range.mode = StreamingMode::Exact;
    assert_eq!(code(tx.get_range(range).await.map(|_| ())), StoreError::EXACT_MODE_WITHOUT_LIMITS);
    tx.set(vec![b'k'; max], "").unwrap();
    tx.raw().commit().await.unwrap();
    area.clear().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_is_used_up_by_its_commit_and_new_after_a_reset() {
    let Some(area) = Area::new("phases") else { return };
    let tx = area.under("b/").begin();
    assert_eq!(code(tx.raw().committed_version()), StoreError::NO_COMMIT_VERSION);
    tx.set("k", "1").unwrap();
    tx.raw().commit().await.unwrap();
    let first = tx.raw().committed_version().unwrap();
    assert_eq!(code(tx.set("k", "2")), StoreError::USED_DURING_COMMIT);
    assert_eq!(code(tx.get("k").await), StoreError::USED_DURING_COMMIT);
    assert_eq!(code(tx.raw().commit().await), StoreError::USED_DURING_COMMIT);
    tx.raw().reset();
    assert_eq!(tx.get("k").await.unwrap().unwrap(), "1");
    tx.set("k", "2").unwrap();
    tx.raw().commit().await.unwrap();
    assert!(tx.raw().committed_version().unwrap() > first);
    tx.raw().reset();
    tx.raw().cancel();
    assert_eq!(code(tx.set("k", "3")), StoreError::TRANSACTION_CANCELLED);
    assert_eq!(code(tx.get("k").await), StoreError::TRANSACTION_CANCELLED);
    assert_eq!(code(tx.raw().on_error(StoreError::new(1020)).await), StoreError::TRANSACTION_CANCELLED);
    area.clear().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_race_is_tried_again_with_the_options_that_survive() {
    let Some(area) = Area::new("retries") else { return };
    area.clear().await;
    let db = area.under("b/");
    let tx = db.begin();
    tx.raw().set_option(TransactionOption::RetryLimit(2)).unwrap();
    tx.raw().set_option(TransactionOption::PriorityBatch).unwrap();
    for retries_left in [2, 1, 0] {
        tx.get("k").await.unwrap();
        tx.set("k", "mine").unwrap();
        set(&area, "b/", &["k"]).await;
        let error = tx.raw().commit().await.unwrap_err();
        assert_eq!(error.code, StoreError::NOT_COMMITTED);
        let again = tx.raw().on_error(error).await;
        assert_eq!(again.is_ok(), retries_left > 0, "{again:?}");
    }
    // Nobody has reset it: it is still being committed.
    assert_eq!(code(tx.get("k").await), StoreError::USED_DURING_COMMIT);
    // An error that is not the commit's own, after a commit.
    tx.raw().reset();
    tx.set("k", "3").unwrap();
    tx.raw().commit().await.unwrap();
    tx.raw().on_error(StoreError::new(StoreError::FUTURE_VERSION)).await.unwrap();
    assert_eq!(tx.get("k").await.unwrap().unwrap(), "3");
    assert_eq!(code(tx.raw().on_error(StoreError::new(StoreError::TRANSACTION_TOO_LARGE)).await), 2101);
    area.clear().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_priorities_and_tags_are_taken() {
    let Some(area) = Area::new("priorities") else { return };
    let db = area.under("b/");
    for option in [
        TransactionOption::PriorityBatch,
        TransactionOption::PrioritySystemImmediate,
        TransactionOption::CausalReadRisky,
        TransactionOption::LockAware,
        TransactionOption::Tag("scan".to_owned()),
    ] {
        let tx = db.begin();
        tx.raw().set_option(option).unwrap();
        assert_eq!(tx.get("none").await.unwrap(), None);
        tx.set("k", "").unwrap();
        tx.raw().commit().await.unwrap();
        tx.raw().read_version().await.expect("it read at a version, and has it still");
    }
    assert!(db.metrics()["by-hand"].read_version.count >= 5);
    assert_eq!(db.metrics()["by-hand"].commit.count, 5);
    area.clear().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_ends_with_every_way_to_give_up_its_transaction() {
    let Some(area) = Area::new("given-up") else { return };
    type GiveUp = fn(&Transaction) -> futures_util::future::BoxFuture<'_, ()>;
    let ways: [(&str, GiveUp); 3] = [
        ("reset", |tx| Box::pin(async { tx.raw().reset() })),
        ("on_error", |tx| {
            Box::pin(async { tx.raw().on_error(StoreError::new(StoreError::NOT_COMMITTED)).await.unwrap() })
        }),
        ("cancel", |tx| Box::pin(async { tx.raw().cancel() })),
    ];
    for (way, give_up) in ways {
        let tx = area.under("b/").begin();
        let watch = tokio::spawn(tx.raw().watch("k".into()));
        give_up(&tx).await;
        let ended = watch.await.unwrap();
        assert_eq!(code(ended), StoreError::TRANSACTION_CANCELLED, "after {way}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn commits_that_get_lost_again_and_again_prolong_neither_time_nor_retries() {
    let Some(area) = Area::new("lost") else { return };
    let db = area.under("b/");
    // Each 1039 is followed by another transaction of the client, which counts anew.
    let changed = || StoreError::new(StoreError::CLUSTER_VERSION_CHANGED);
    let tx = db.begin();
    let begun = area.clock.monotonic();
    let ended = loop {
        tx.raw().set_option(TransactionOption::TimeoutMs(300)).unwrap();
        tx.raw().set_option(TransactionOption::MaxRetryDelayMs(5)).unwrap();
        if let Err(ended) = tx.raw().on_error(changed()).await {
            break ended;
        }
        assert!(area.clock.monotonic().since(begun) < Duration::from_secs(30), "a timeout of 0.3 s does not come");
    };
    assert_eq!(ended.code, StoreError::TRANSACTION_TIMED_OUT);
    let tx = db.begin();
    tx.raw().set_option(TransactionOption::RetryLimit(3)).unwrap();
    for _ in 0..3 {
        tx.raw().on_error(changed()).await.unwrap();
        tx.raw().set_option(TransactionOption::RetryLimit(3)).unwrap();
    }
    assert_eq!(code(tx.raw().on_error(changed()).await), StoreError::CLUSTER_VERSION_CHANGED);
}

//! Watches begin with the commit, live on after it, and fail with it.

use std::time::Duration;

use escapement::store::{MutationKind, StoreError};

use super::super::support::{Setup, Tx, Write, code, is_pending};

pub(crate) async fn a_watch_fires_after_a_change_and_not_before(it: &Setup) {
    it.write(&[("a", "1")]).await;
    let tx = it.begin();
    let mut watch = tx.raw.raw().watch(it.key("a"));
    assert!(is_pending(&mut watch));
    tx.commit().await.unwrap();
    drop(tx);
    it.write(&[("a", "1"), ("b", "2")]).await;
    it.clock.sleep(Duration::from_millis(50)).await;
    assert!(is_pending(&mut watch), "the value is the same");
    it.write(&[("a", "2")]).await;
    it.soon("the watch fires", watch).await.unwrap();
}

pub(crate) async fn a_watch_outlives_its_committed_transaction_whatever_becomes_of_that(it: &Setup) {
    let ends: [fn(&Tx<'_>); 3] = [
        |tx| tx.raw.raw().reset(),
        |tx| tx.raw.raw().cancel(),
        |tx| {
            tx.raw.raw().reset();
            // Another life of the same transaction, and its end.
            tx.set("b", "").unwrap();
            tx.raw.raw().cancel();
            tx.raw.raw().reset();
        },
    ];
    for end in ends {
        it.write(&[("a", "1")]).await;
        let tx = it.begin();
        let mut watch = tx.raw.raw().watch(it.key("a"));
        assert!(is_pending(&mut watch));
        tx.commit().await.unwrap();
        end(&tx);
        assert!(is_pending(&mut watch), "the end of the transaction is none of the watch");
        it.write(&[("a", "2")]).await;
        it.soon("the watch fires", watch).await.unwrap();
    }
}

pub(crate) async fn every_kind_of_change_fires_a_watch(it: &Setup) {
    let changes: [Write; 5] = [
        |tx| tx.set("a", "2"),
        |tx| tx.clear("a"),
        |tx| tx.clear_range("", "z"),
        |tx| tx.mutate(MutationKind::Add, "a", b"\x01"),
        |tx| tx.set_stamped_value("a", ""),
    ];
    for (number, change) in changes.into_iter().enumerate() {
        it.write(&[("a", "1")]).await;
        let tx = it.begin();
        let watch = tx.raw.raw().watch(it.key("a"));
        tx.commit().await.unwrap();
        let other = it.begin();
        change(&other).unwrap();
        other.commit().await.unwrap();
        it.soon(&format!("change {number} fires the watch"), watch).await.unwrap();
    }
}

pub(crate) async fn a_watch_on_a_missing_key_fires_when_it_comes_to_be(it: &Setup) {
    let tx = it.begin();
    let watch = tx.raw.raw().watch(it.key("a"));
    tx.commit().await.unwrap();
    it.write(&[("a", "")]).await;
    it.soon("the watch fires", watch).await.unwrap();
}

pub(crate) async fn a_watch_compares_with_what_its_transaction_wrote(it: &Setup) {
    it.write(&[("a", "1")]).await;
    let tx = it.begin();
    tx.set("a", "2").unwrap();
    tx.mutate(MutationKind::AppendIfFits, "n", b"x").unwrap();
    let mut on_set = tx.raw.raw().watch(it.key("a"));
    let mut on_append = tx.raw.raw().watch(it.key("n"));
    assert!(is_pending(&mut on_set) && is_pending(&mut on_append));
    tx.commit().await.unwrap();
    it.clock.sleep(Duration::from_millis(50)).await;
    assert!(is_pending(&mut on_set) && is_pending(&mut on_append), "its own commit is no change");
    it.write(&[("n", "xy")]).await;
    it.soon("the watch fires", on_append).await.unwrap();
    it.write(&[("a", "1")]).await;
    it.soon("the watch fires", on_set).await.unwrap();
}

pub(crate) async fn a_change_between_the_read_and_the_commit_fires_at_once(it: &Setup) {
    it.write(&[("a", "1")]).await;
    let tx = it.begin();
    tx.get("a").await.unwrap();
    let mut watch = tx.raw.raw().watch(it.key("a"));
    // What is watched for is a change from the value at the read version.
    assert!(is_pending(&mut watch));
    it.write(&[("a", "2")]).await;
    tx.commit().await.unwrap();
    it.soon("the watch fires", watch).await.unwrap();
}

pub(crate) async fn a_later_write_of_the_transaction_itself_fires_its_watch(it: &Setup) {
    it.write(&[("a", "1"), ("b", "1")]).await;
    let tx = it.begin();
    tx.get("a").await.unwrap();
    tx.get("b").await.unwrap();
    let watch = tx.raw.raw().watch(it.key("a"));
    let mut same = tx.raw.raw().watch(it.key("b"));
    assert!(is_pending(&mut same));
    tx.set("a", "2").unwrap();
    tx.set("b", "1").unwrap();
    tx.commit().await.unwrap();
    it.soon("the watch fires", watch).await.unwrap();
    assert!(is_pending(&mut same), "that write changes nothing");
}

pub(crate) async fn a_watch_of_a_transaction_that_is_not_committed_is_cancelled(it: &Setup) {
    let [reset, retried, dropped, cancelled] = [(); 4].map(|()| it.begin());
    let mut watches = Vec::new();
    for tx in [&reset, &retried, &dropped, &cancelled] {
        let mut watch = tx.raw.raw().watch(it.key("a"));
        assert!(is_pending(&mut watch));
        watches.push(watch);
    }
    reset.raw.raw().reset();
    retried.on_error(StoreError::NOT_COMMITTED).await.unwrap();
    drop(dropped);
    cancelled.raw.raw().cancel();
    cancelled.raw.raw().reset();
    for watch in watches {
        assert_eq!(code(it.soon("the watch fails", watch).await), StoreError::TRANSACTION_CANCELLED);
    }
}

pub(crate) async fn a_watch_fails_with_its_commit(it: &Setup) {
    it.write(&[("a", "1")]).await;
    let tx = it.begin();
    tx.get("a").await.unwrap();
    let mut watch = tx.raw.raw().watch(it.key("b"));
    assert!(is_pending(&mut watch));
    tx.set("c", "").unwrap();
    it.write(&[("a", "2")]).await;
    assert_eq!(code(tx.commit().await), StoreError::NOT_COMMITTED);
    assert_eq!(code(it.soon("the watch fails", watch).await), StoreError::NOT_COMMITTED);
}

pub(crate) async fn more_watches_than_the_database_allows_are_refused_until_others_end(it: &Setup) {
    let tx = it.begin();
    let mut watches: Vec<_> =
        (0..it.watches_max).map(|number| tx.raw.raw().watch(it.key(format!("w/{number}")))).collect();
    // Futures may be lazy: each is asked once.
    assert!(watches.iter_mut().all(is_pending));
    tx.commit().await.unwrap();
    for watch in &mut watches {
        assert!(is_pending(watch), "as many as are allowed");
    }
    it.until("one more is refused", async || {
        let one_more = it.begin();
        let mut watch = one_more.raw.raw().watch(it.key("more"));
        let _ = is_pending(&mut watch);
        one_more.commit().await.unwrap();
        let refused = futures_util::future::select(watch, it.clock.sleep(Duration::from_millis(200))).await;
        match refused {
            futures_util::future::Either::Left((result, _)) => {
                assert_eq!(code(result), StoreError::TOO_MANY_WATCHES);
                Some(())
            }
            futures_util::future::Either::Right(_) => None,
        }
    })
    .await;
    // Whoever lets go of a watch makes room.
    watches.truncate(it.watches_max / 2);
    let watch = it
        .until("there is room again", async || {
            let again = it.begin();
            let mut watch = again.raw.raw().watch(it.key("again"));
            let _ = is_pending(&mut watch);
            again.commit().await.unwrap();
            let tried = futures_util::future::select(watch, it.clock.sleep(Duration::from_millis(200))).await;
            match tried {
                futures_util::future::Either::Left((result, _)) => {
                    assert_eq!(code(result), StoreError::TOO_MANY_WATCHES);
                    None
                }
                futures_util::future::Either::Right((_, watch)) => Some(watch),
            }
        })
        .await;
    it.write(&[("again", "now")]).await;
    it.soon("the watch fires", watch).await.unwrap();
}

pub(crate) async fn watches_that_fired_make_room_for_others(it: &Setup) {
    // Two rounds of them are more than the database allows.
    let at_once = it.watches_max / 2 + 1;
    for round in 0..3 {
        let tx = it.begin();
        let mut watches: Vec<_> = (0..at_once).map(|_| tx.raw.raw().watch(it.key("w"))).collect();
        assert!(watches.iter_mut().all(is_pending));
        tx.commit().await.unwrap();
        assert!(watches.iter_mut().all(is_pending), "round {round}");
        it.write(&[("w", &format!("{round}"))]).await;
        let fired = it.soon("the watches fire", futures_util::future::join_all(watches)).await;
        let refused = fired.iter().find(|end| end.is_err());
        assert_eq!(refused, None, "round {round}");
    }
}

//! Isolation: no anomaly that a serial order could not explain. The names are those of the
//! literature (Adya's G classes, Berenson's P classes, as the Hermitage project tests them).

use escapement::store::{KeySelector, StoreError};
use futures_util::future::join_all;

use super::super::support::{Setup, Write, code};

/// P4.
pub(crate) async fn lost_updates_are_refused(it: &Setup) {
    it.write(&[("a", "1")]).await;
    let (one, two) = (it.begin(), it.begin());
    for tx in [&one, &two] {
        assert_eq!(tx.get("a").await.unwrap().as_deref(), Some("1"));
    }
    one.set("a", "2").unwrap();
    two.set("a", "3").unwrap();
    one.commit().await.unwrap();
    assert_eq!(code(two.commit().await), StoreError::NOT_COMMITTED);
    assert_eq!(it.value("a").await.as_deref(), Some("2"));
}

/// G2-item.
pub(crate) async fn write_skew_is_refused(it: &Setup) {
    it.write(&[("a", "1"), ("b", "1")]).await;
    let (one, two) = (it.begin(), it.begin());
    for tx in [&one, &two] {
        tx.get("a").await.unwrap();
        tx.get("b").await.unwrap();
    }
    one.set("a", "0").unwrap();
    two.set("b", "0").unwrap();
    one.commit().await.unwrap();
    assert_eq!(code(two.commit().await), StoreError::NOT_COMMITTED);
    assert_eq!(it.dump().await, ["a=0", "b=1"]);
}

/// G2, P3: what a range read did not find counts as read.
pub(crate) async fn phantoms_are_refused(it: &Setup) {
    // Another transaction adds, changes, clears one, or clears all within the range.
    let changes: [Write; 5] = [
        |tx| tx.set("m", "new"),
        |tx| tx.set("b", "2"),
        |tx| tx.clear("b"),
        |tx| tx.clear_range("a", "z"),
        |tx| tx.clear_range("c", "d"),
    ];
    for (number, change) in changes.iter().enumerate() {
        it.write(&[("b", "1")]).await;
        let (reader, other) = (it.begin(), it.begin());
        assert_eq!(reader.rows(it.range("a", "z")).await.unwrap(), ["b=1"]);
        reader.set("zz", "seen").unwrap();
        change(&other).unwrap();
        other.commit().await.unwrap();
        assert_eq!(code(reader.commit().await), StoreError::NOT_COMMITTED, "change {number}");
        it.wipe().await;
    }
}

pub(crate) async fn phantoms_in_front_of_a_selected_key_are_refused(it: &Setup) {
    it.write(&[("a", ""), ("d", "")]).await;
    let select = |from, or_equal, offset| KeySelector { key: it.key(from), or_equal, offset };
    for selector in [select("b", false, 1), select("d", false, 0), select("a", true, 1), select("c", true, 0)] {
        let (reader, other) = (it.begin(), it.begin());
        reader.raw.raw().get_key(selector.clone(), false).await.unwrap();
        reader.set("zz", "").unwrap();
        other.set("c", "").unwrap();
        other.commit().await.unwrap();
        assert_eq!(code(reader.commit().await), StoreError::NOT_COMMITTED, "{selector:?}");
        it.clear("c").await;
    }
}

/// G0.
pub(crate) async fn blind_writes_of_one_transaction_stay_together(it: &Setup) {
    let (one, two) = (it.begin(), it.begin());
    one.set("a", "1").unwrap();
    two.set("a", "2").unwrap();
    two.set("b", "2").unwrap();
    one.set("b", "1").unwrap();
    one.commit().await.unwrap();
    two.commit().await.unwrap();
    assert_eq!(it.dump().await, ["a=2", "b=2"], "the later commit wins, as a whole");
}

/// G1a.
pub(crate) async fn writes_that_are_not_committed_are_seen_by_nobody(it: &Setup) {
    it.write(&[("a", "1")]).await;
    let open = it.begin();
    open.set("a", "2").unwrap();
    open.set("b", "2").unwrap();
    assert_eq!(it.dump().await, ["a=1"]);
    open.raw.raw().cancel();
    assert_eq!(it.dump().await, ["a=1"]);
    let refused = it.begin();
    refused.get("a").await.unwrap();
    refused.set("b", "3").unwrap();
    it.write(&[("a", "4")]).await;
    assert_eq!(code(refused.commit().await), StoreError::NOT_COMMITTED);
    assert_eq!(it.dump().await, ["a=4"], "nothing of a refused commit is there");
}

/// G1b.
pub(crate) async fn only_the_last_value_of_a_transaction_is_ever_seen(it: &Setup) {
    let writer = it.begin();
    writer.set("a", "draft").unwrap();
    let before = it.begin();
    assert_eq!(before.get("a").await.unwrap(), None);
    writer.set("a", "final").unwrap();
    writer.commit().await.unwrap();
    assert_eq!(before.get("a").await.unwrap(), None);
    assert_eq!(it.value("a").await.as_deref(), Some("final"));
}

/// G1c.
pub(crate) async fn two_transactions_never_both_read_what_the_other_overwrites(it: &Setup) {
    it.write(&[("a", "0"), ("b", "0")]).await;
    let (one, two) = (it.begin(), it.begin());
    one.set("a", "1").unwrap();
    two.set("b", "1").unwrap();
    assert_eq!(one.get("b").await.unwrap().as_deref(), Some("0"));
    assert_eq!(two.get("a").await.unwrap().as_deref(), Some("0"));
    let committed = join_all([one.commit(), two.commit()]).await;
    let refused = committed.iter().filter(|result| result.is_err()).count();
    assert_eq!(refused, 1, "just one of them: {committed:?}");
}

/// G-single, P2: one transaction reads at one version.
pub(crate) async fn all_reads_of_a_transaction_are_of_one_version(it: &Setup) {
    it.write(&[("a", "1"), ("b", "1")]).await;
    let reader = it.begin();
    assert_eq!(reader.get("a").await.unwrap().as_deref(), Some("1"));
    it.write(&[("a", "2"), ("b", "2"), ("c", "2")]).await;
    it.clear("a").await;
    assert_eq!(reader.get("b").await.unwrap().as_deref(), Some("1"));
    assert_eq!(reader.get_snapshot("b").await.unwrap().as_deref(), Some("1"));
    assert_eq!(reader.rows(it.range("a", "z")).await.unwrap(), ["a=1", "b=1"]);
    assert_eq!(reader.key_at("a", false, 1).await.unwrap(), "a");
    reader.commit().await.unwrap();
}

/// A sum that every transfer keeps is kept in every read, while transfers go on.
pub(crate) async fn readers_see_invariants_hold_while_writers_move_on(it: &Setup) {
    const ACCOUNTS: usize = 4;
    const SUM: i64 = 400;
    let name = |number: usize| format!("{}", (b'a' + u8::try_from(number).unwrap()) as char);
    let balance = |value: Option<String>| value.unwrap().parse::<i64>().unwrap();
    it.write(&[("a", "100"), ("b", "100"), ("c", "100"), ("d", "100")]).await;
    let transfers = join_all((0..4).map(|writer| async move {
        let mut refused = 0;
        for round in 0..25_usize {
            let (from, to) = (name((writer + round) % ACCOUNTS), name((writer * round + 1) % ACCOUNTS));
            if from == to {
                continue;
            }
            loop {
                let tx = it.begin();
                let have = balance(tx.get(&from).await.unwrap());
                let there = balance(tx.get(&to).await.unwrap());
                tx.set(&from, &format!("{}", have - 7)).unwrap();
                tx.set(&to, &format!("{}", there + 7)).unwrap();
                match tx.commit().await {
                    Ok(()) => break,
                    Err(error) if error.code == StoreError::NOT_COMMITTED => refused += 1,
                    Err(error) => panic!("{error}"),
                }
            }
        }
        refused
    }));
    let readers = join_all((0..2).map(|_| async move {
        for _ in 0..40 {
            let tx = it.begin();
            let mut sum = 0;
            for number in 0..ACCOUNTS {
                sum += balance(tx.get(&name(number)).await.unwrap());
                yield_now().await;
            }
            assert_eq!(sum, SUM);
            tx.commit().await.unwrap();
        }
    }));
    futures_util::future::join(transfers, readers).await;
    let rows = it.dump().await;
    let sum: i64 = rows.iter().map(|row| row.split_once('=').unwrap().1.parse::<i64>().unwrap()).sum();
    assert_eq!(sum, SUM, "{rows:?}");
}

async fn yield_now() {
    tokio::task::yield_now().await;
}

/// Strict serializability: who begins after an acknowledgement sees what was acknowledged.
pub(crate) async fn a_transaction_sees_every_commit_that_was_acknowledged_before_it_began(it: &Setup) {
    let mut last = None;
    for round in 0..20 {
        let tx = it.begin();
        tx.set("a", &format!("{round}")).unwrap();
        tx.commit().await.unwrap();
        let version = tx.raw.raw().committed_version().unwrap();
        assert!(last < Some(version), "commit versions rise");
        let reader = it.begin();
        assert!(reader.raw.raw().read_version().await.unwrap() >= version);
        assert_eq!(reader.get("a").await.unwrap(), Some(format!("{round}")));
        last = Some(version);
    }
}

pub(crate) async fn a_read_at_an_older_version_sees_what_was_then(it: &Setup) {
    it.write(&[("a", "1"), ("b", "1")]).await;
    let before = it.begin().raw.raw().read_version().await.unwrap();
    it.write(&[("a", "2"), ("c", "2")]).await;
    it.clear("b").await;
    let old = it.begin();
    old.raw.raw().set_read_version(before);
    assert_eq!(old.raw.raw().read_version().await.unwrap(), before);
    assert_eq!(old.rows(it.everything()).await.unwrap(), ["a=1", "b=1"]);
    assert_eq!(old.get("c").await.unwrap(), None);
    assert_eq!(it.dump().await, ["a=2", "c=2"]);
    old.set("d", "").unwrap();
    assert_eq!(code(old.commit().await), StoreError::NOT_COMMITTED, "what it read has changed since");
}

pub(crate) async fn concurrent_increments_that_read_are_never_lost(it: &Setup) {
    const EACH: usize = 10;
    it.write(&[("n", "0")]).await;
    join_all((0..4).map(|_| async move {
        for _ in 0..EACH {
            loop {
                let tx = it.begin();
                let value: usize = tx.get("n").await.unwrap().unwrap().parse().unwrap();
                yield_now().await;
                tx.set("n", &format!("{}", value + 1)).unwrap();
                match tx.commit().await {
                    Ok(()) => break,
                    Err(error) => assert_eq!(error.code, StoreError::NOT_COMMITTED),
                }
            }
        }
    }))
    .await;
    assert_eq!(it.value("n").await.unwrap(), format!("{}", 4 * EACH));
}

//! Versionstamps: what they say about the order of commits.

use bytes::Bytes;
use escapement::store::{MutationKind, StoreError, Versionstamp, versionstamp};
use futures_util::future::join_all;

use super::super::support::{Setup, code, is_pending, stamped};

/// Commits a transaction that stamps a key and a value; gives its stamp.
async fn stamp_one(it: &Setup, number: usize) -> Versionstamp {
    let tx = it.begin();
    tx.set_stamped_key("log/", "", &format!("{number}")).unwrap();
    tx.set_stamped_value(&format!("value/{number}"), "").unwrap();
    let mut stamp = tx.raw.raw().versionstamp();
    assert!(is_pending(&mut stamp), "nobody knows it before the commit");
    tx.commit().await.unwrap();
    let stamp = it.soon("the stamp comes with the commit", stamp).await.unwrap();
    let version = tx.raw.raw().committed_version().unwrap();
    assert_eq!(stamp.0[..8], version.0.to_be_bytes(), "a stamp begins with the commit's version");
    stamp
}

pub(crate) async fn a_transaction_is_told_the_stamp_that_is_in_its_keys_and_values(it: &Setup) {
    let stamp = stamp_one(it, 7).await;
    let tx = it.begin();
    assert_eq!(tx.raw.get(it.key("value/7")).await.unwrap().unwrap()[..], stamp.0);
    let key: Bytes = [&it.key("log/")[..], &stamp.0].concat().into();
    assert_eq!(tx.raw.get(key).await.unwrap().as_deref(), Some(&b"7"[..]));
}

pub(crate) async fn stamps_rise_from_commit_to_commit(it: &Setup) {
    let mut last = None;
    for number in 0..20 {
        let stamp = stamp_one(it, number).await;
        assert!(last < Some(stamp));
        last = Some(stamp);
    }
    let rows = it.begin().rows(it.range("log/", "log0")).await.unwrap();
    let order: Vec<usize> = rows.iter().map(|row| row.rsplit_once('=').unwrap().1.parse().unwrap()).collect();
    assert_eq!(order, (0..20).collect::<Vec<_>>(), "keys lie in the order of their commits");
}

pub(crate) async fn stamps_of_concurrent_commits_differ_and_order_them(it: &Setup) {
    let stamps = join_all((0..40).map(|number| stamp_one(it, number))).await;
    let mut sorted: Vec<(Versionstamp, usize)> = stamps.into_iter().zip(0..).collect();
    sorted.sort_unstable();
    assert!(sorted.windows(2).all(|pair| pair[0].0 < pair[1].0), "no stamp twice: {sorted:?}");
    let rows = it.begin().rows(it.range("log/", "log0")).await.unwrap();
    let order: Vec<usize> = rows.iter().map(|row| row.rsplit_once('=').unwrap().1.parse().unwrap()).collect();
    assert_eq!(order, sorted.iter().map(|(_, number)| *number).collect::<Vec<_>>());
}

/// Whoever comes later in a batch sees its key's value replaced by the last of the batch.
pub(crate) async fn the_greatest_stamp_is_the_last_write(it: &Setup) {
    let stamps = join_all((0..20).map(|_| async {
        let tx = it.begin();
        tx.set_stamped_value("last", "").unwrap();
        let stamp = tx.raw.raw().versionstamp();
        tx.commit().await.unwrap();
        stamp.await.unwrap()
    }))
    .await;
    let last = it.begin().raw.get(it.key("last")).await.unwrap().unwrap();
    assert_eq!(last[..], stamps.iter().max().unwrap().0);
}

pub(crate) async fn stamps_within_one_transaction_are_equal(it: &Setup) {
    let tx = it.begin();
    for tail in ["a", "b", "c"] {
        tx.set_stamped_key("k/", tail, tail).unwrap();
        tx.set_stamped_value(&format!("v/{tail}"), tail).unwrap();
    }
    let stamp = tx.raw.raw().versionstamp();
    tx.commit().await.unwrap();
    let stamp = stamp.await.unwrap();
    let after = it.begin();
    for tail in ["a", "b", "c"] {
        let key: Bytes = [&it.key("k/")[..], &stamp.0, tail.as_bytes()].concat().into();
        assert_eq!(after.raw.get(key).await.unwrap().as_deref(), Some(tail.as_bytes()));
        let value = after.raw.get(it.key(format!("v/{tail}"))).await.unwrap().unwrap();
        assert_eq!(value[..], [&stamp.0, tail.as_bytes()].concat());
    }
}

pub(crate) async fn a_stamp_is_put_where_the_offset_says(it: &Setup) {
    let tx = it.begin();
    let value = stamped(b"before", b"after");
    tx.raw.raw().mutate(MutationKind::SetVersionstampedValue, it.key("v"), value).unwrap();
    let stamp = tx.raw.raw().versionstamp();
    tx.commit().await.unwrap();
    let stamp = stamp.await.unwrap();
    let found = it.begin().raw.get(it.key("v")).await.unwrap().unwrap();
    assert_eq!(found[..], [&b"before"[..], &stamp.0, b"after"].concat());
}

pub(crate) async fn offsets_that_point_outside_are_refused(it: &Setup) {
    let tx = it.begin();
    let wrong: [&[u8]; 5] = [b"", b"abc", b"----------\x01\0\0\0", b"----------\xff\xff\xff\xff", b"---\0\0\0\0"];
    for bytes in wrong {
        let value = tx.mutate(MutationKind::SetVersionstampedValue, "v", bytes);
        assert_eq!(code(value), StoreError::CLIENT_INVALID_OPERATION, "value {bytes:?}");
    }
    let key = Bytes::from([&it.key("k")[..], &[b'-'; 10], &u32::MAX.to_le_bytes()].concat());
    let refused = tx.raw.raw().mutate(MutationKind::SetVersionstampedKey, key, Bytes::new());
    assert_eq!(code(refused), StoreError::CLIENT_INVALID_OPERATION);
}

pub(crate) async fn a_stamp_that_never_came_to_be_fails_with_its_transaction(it: &Setup) {
    it.write(&[("a", "1")]).await;
    let refused = it.begin();
    refused.get("a").await.unwrap();
    refused.set_stamped_value("b", "").unwrap();
    let stamp = refused.raw.raw().versionstamp();
    it.write(&[("a", "2")]).await;
    assert_eq!(code(refused.commit().await), StoreError::NOT_COMMITTED);
    assert!(it.soon("the stamp fails", stamp).await.is_err());
    let reset = it.begin();
    reset.set_stamped_value("b", "").unwrap();
    let stamp = reset.raw.raw().versionstamp();
    reset.raw.raw().reset();
    assert_eq!(code(it.soon("the stamp fails", stamp).await), StoreError::TRANSACTION_CANCELLED);
    assert_eq!(it.dump().await, ["a=2"]);
}

pub(crate) async fn keys_stamped_before_the_read_version_stay_readable(it: &Setup) {
    stamp_one(it, 1).await;
    // The read version is that of a later commit.
    it.write(&[("later", "")]).await;
    let tx = it.begin();
    tx.raw.raw().read_version().await.unwrap();
    tx.set_stamped_key("log/", "", "2").unwrap();
    assert_eq!(tx.keys(it.range("log/", "log0").limit(1)).await.unwrap().len(), 1);
    assert_eq!(code(tx.keys(it.range("log/", "log0")).await), StoreError::ACCESSED_UNREADABLE);
    assert_eq!(versionstamp::STAMP_BYTES, 10);
}

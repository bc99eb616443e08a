//! Key selectors, at the edges and through own writes.

use bytes::Bytes;
use escapement::store::{KeySelector, RangeOptions, StoreError, TransactionOption};

use super::super::support::{Setup, Tx, code, text};

/// Rows on both sides of the prefix's middle, so that selectors that walk out of "m" find them.
async fn fence(it: &Setup, keys: &[&str]) {
    let rows: Vec<_> = ["a", "b"].iter().chain(keys).chain(["y", "z"].iter()).map(|key| (*key, "")).collect();
    it.write(&rows).await;
}

async fn around(tx: &Tx<'_>, key: &str) -> [String; 4] {
    // Last less than, last less or equal, first greater or equal, first greater than.
    let mut found: [String; 4] = Default::default();
    for (place, (or_equal, offset)) in [(false, 0), (true, 0), (false, 1), (true, 1)].into_iter().enumerate() {
        found[place] = tx.key_at(key, or_equal, offset).await.unwrap();
    }
    found
}

pub(crate) async fn the_four_named_selectors_find_their_keys(it: &Setup) {
    fence(it, &["mb", "md"]).await;
    let tx = it.begin();
    assert_eq!(around(&tx, "mb").await, ["b", "mb", "mb", "md"]);
    assert_eq!(around(&tx, "mc").await, ["mb", "mb", "md", "md"]);
    assert_eq!(around(&tx, "md").await, ["mb", "md", "md", "y"]);
    assert_eq!(around(&tx, "ma").await, ["b", "b", "mb", "mb"]);
    assert_eq!(around(&tx, "me").await, ["md", "md", "y", "y"]);
    assert_eq!(around(&tx, "mb\0").await, ["mb", "mb", "md", "md"]);
    let named = [
        KeySelector::last_less_than(it.key("mb")),
        KeySelector::last_less_or_equal(it.key("mb")),
        KeySelector::first_greater_or_equal(it.key("mb")),
        KeySelector::first_greater_than(it.key("mb")),
    ];
    for (selector, expected) in named.into_iter().zip(["b", "mb", "mb", "md"]) {
        assert_eq!(it.name(&tx.raw.raw().get_key(selector, false).await.unwrap()), expected);
    }
}

pub(crate) async fn offsets_walk_key_by_key_in_both_directions(it: &Setup) {
    fence(it, &["m1", "m2", "m3", "m4"]).await;
    let tx = it.begin();
    let expected = ["b", "m1", "m2", "m3", "m4", "y"];
    for (step, key) in (-1..5).zip(expected) {
        assert_eq!(tx.key_at("m2", false, step).await.unwrap(), key, "first_greater_or_equal(m2) + {step} - 1");
    }
    for (step, key) in (-2..4).zip(expected) {
        assert_eq!(tx.key_at("m2", true, step).await.unwrap(), key, "first_greater_than(m2) + {step} - 1");
    }
    for (step, key) in (-3..3).zip(expected) {
        assert_eq!(tx.key_at("m3x", false, step).await.unwrap(), key, "between two keys, {step}");
    }
}

pub(crate) async fn offsets_walk_over_own_writes_and_clears(it: &Setup) {
    fence(it, &["mb", "md", "mf", "mh"]).await;
    let tx = it.begin();
    tx.set("mc", "").unwrap();
    tx.clear("md").unwrap();
    tx.clear_range("mg", "mi").unwrap();
    tx.set("mh5", "").unwrap();
    // Now: a b mb mc mf mh5 y z.
    for (offset, key) in (1..).zip(["mb", "mc", "mf", "mh5", "y", "z"]) {
        assert_eq!(tx.key_at("m", false, offset).await.unwrap(), key, "{offset} forward");
    }
    for (back, key) in (0..).zip(["mh5", "mf", "mc", "mb", "b", "a"]) {
        assert_eq!(tx.key_at("n", false, -back).await.unwrap(), key, "{back} back");
    }
    assert_eq!(around(&tx, "md").await, ["mc", "mc", "mf", "mf"], "around a cleared key");
    assert_eq!(around(&tx, "mh").await, ["mf", "mf", "mh5", "mh5"], "within a cleared range");
    tx.clear_range("m", "n").unwrap();
    assert_eq!(around(&tx, "mc").await, ["b", "b", "y", "y"], "all of it cleared");
}

pub(crate) async fn before_the_first_key_is_the_empty_key(it: &Setup) {
    it.write(&[("a", "")]).await;
    let tx = it.begin();
    let at = async |or_equal, offset| {
        let selector = KeySelector { key: Bytes::new(), or_equal, offset };
        tx.raw.raw().get_key(selector, false).await.unwrap()
    };
    assert_eq!(at(false, 0).await, "", "nothing is less than the empty key");
    assert_eq!(at(false, -7).await, "");
    assert!(at(false, 1).await <= it.key("a"), "the first key of all");
}

pub(crate) async fn beyond_the_last_key_is_the_end_of_the_key_space(it: &Setup) {
    it.write(&[("a", "")]).await;
    let tx = it.begin();
    let end = Bytes::from_static(b"\xff");
    let at = async |or_equal, offset| {
        let selector = KeySelector { key: end.clone(), or_equal, offset };
        tx.raw.raw().get_key(selector, false).await.unwrap()
    };
    assert_eq!(at(false, 1).await, end);
    assert_eq!(at(true, 1).await, end);
    assert_eq!(at(false, 9).await, end);
    let last = at(false, 0).await;
    assert!(last >= it.key("a") && last < end, "the last key of all: {}", text(&last));
}

pub(crate) async fn selectors_beyond_the_end_of_the_key_space_are_refused(it: &Setup) {
    let tx = it.begin();
    let beyond = KeySelector::last_less_than(Bytes::from_static(b"\xff\x01"));
    assert_eq!(code(tx.raw.raw().get_key(beyond.clone(), false).await), StoreError::KEY_OUTSIDE_LEGAL_RANGE);
    let range = RangeOptions { end: beyond, ..it.range("a", "z") };
    assert_eq!(code(tx.raw.get_range(range).await), StoreError::KEY_OUTSIDE_LEGAL_RANGE);
}

pub(crate) async fn ranges_end_where_their_selectors_resolve_to(it: &Setup) {
    fence(it, &["mb", "md", "mf", "mh"]).await;
    let tx = it.begin();
    let at = |key: &str, or_equal, offset| KeySelector { key: it.key(key), or_equal, offset };
    let cases: [(KeySelector, KeySelector, &[&str]); 8] = [
        (at("mb", true, 1), at("mf", true, 1), &["md", "mf"]),
        (at("md", false, 0), at("mg", true, 0), &["mb", "md"]),
        (at("mb", false, 2), at("mb", false, 4), &["md", "mf"]),
        (at("mb", false, 0), at("mh", false, 2), &["b", "mb", "md", "mf", "mh"]),
        (at("m", false, 1), at("n", false, 0), &["mb", "md", "mf"]),
        (at("mf", false, 1), at("mc", false, 1), &[]),
        (at("mf", false, 1), at("mf", false, 1), &[]),
        (at("md", false, 1), at("mb", false, 3), &["md"]),
    ];
    for (begin, end, expected) in cases {
        let range = RangeOptions { begin, end, ..it.everything() };
        assert_eq!(tx.keys(range.clone()).await.unwrap(), expected, "{range:?}");
        let mut reversed = tx.keys(range.clone().reverse()).await.unwrap();
        reversed.reverse();
        assert_eq!(reversed, expected, "reversed {range:?}");
    }
}

pub(crate) async fn keys_are_ordered_by_their_bytes(it: &Setup) {
    let keys = ["", "\0", "\0\0", "\0\x01", "a", "a\0", "aa", "b", "\u{7f}"];
    for key in keys.iter().rev() {
        it.write(&[(key, "")]).await;
    }
    let found = it.begin().keys(it.everything()).await.unwrap();
    assert_eq!(found, keys.map(|key| text(key.as_bytes())));
}

pub(crate) async fn selectors_of_a_range_see_own_writes_though_snapshots_do_not(it: &Setup) {
    it.write(&[("b", ""), ("d", ""), ("f", ""), ("h", "")]).await;
    let tx = it.begin();
    // Twice is as good as once.
    tx.option(TransactionOption::SnapshotRywDisable);
    tx.option(TransactionOption::SnapshotRywDisable);
    tx.clear("b").unwrap();
    let selector = |offset| KeySelector { key: it.key("a"), or_equal: false, offset };
    let range = RangeOptions { begin: selector(2), end: selector(3), ..it.everything() };
    assert_eq!(tx.keys(range.clone()).await.unwrap(), ["f"], "the second of d, f, h");
    assert_eq!(tx.rows_snapshot(range).await.unwrap(), ["d="], "the second of b, d, f, h");
}

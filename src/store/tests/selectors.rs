//! Key selectors, at the edges and through own writes.

use super::*;

fn selector(key: &'static str, or_equal: bool, offset: i32) -> KeySelector {
    KeySelector { key: Bytes::from(key), or_equal, offset }
}

#[test]
fn the_four_named_selectors_find_their_keys() {
    let it = setup(&[("b", ""), ("d", "")]);
    let tx = it.db.begin();
    let check = |key: &'static str, expected: [&str; 4]| {
        let found = [
            KeySelector::last_less_than(key),
            KeySelector::last_less_or_equal(key),
            KeySelector::first_greater_or_equal(key),
            KeySelector::first_greater_than(key),
        ]
        .map(|selector| key_at(&tx, selector));
        assert_eq!(found, expected, "around {key:?}");
    };
    check("b", ["", "b", "b", "d"]);
    check("c", ["b", "b", "d", "d"]);
    check("d", ["b", "d", "d", "\\xff"]);
    check("a", ["", "", "b", "b"]);
    check("e", ["d", "d", "\\xff", "\\xff"]);
    check("", ["", "", "b", "b"]);
}

#[test]
fn offsets_walk_over_own_writes_and_stop_at_the_ends() {
    let it = setup(&[("b", ""), ("d", ""), ("f", ""), ("h", "")]);
    let tx = it.db.begin();
    tx.set("c", "").unwrap();
    tx.clear("d").unwrap();
    tx.clear_range("g", "i").unwrap();
    tx.set("h5", "").unwrap();
    // Now: b c f h5.
    let forward = [1, 2, 3, 4, 5, 1000].map(|offset| key_at(&tx, selector("b", false, offset)));
    assert_eq!(forward, ["b", "c", "f", "h5", "\\xff", "\\xff"]);
    let back = [0, -1, -2, -3, -4, -1000].map(|offset| key_at(&tx, selector("z", false, offset)));
    assert_eq!(back, ["h5", "f", "c", "b", "", ""]);
}

#[test]
fn the_end_of_the_key_space_is_a_legal_place_but_nothing_beyond() {
    let it = setup(&[("b", "")]);
    let tx = it.db.begin();
    let end = Bytes::from_static(b"\xff");
    assert_eq!(key_at(&tx, KeySelector::last_less_than(end.clone())), "b");
    assert_eq!(key_at(&tx, KeySelector::last_less_or_equal(end.clone())), "b");
    assert_eq!(key_at(&tx, KeySelector::first_greater_than(end)), "\\xff");
    let beyond = KeySelector::last_less_than(Bytes::from_static(b"\xff\x01"));
    assert_eq!(code(now(tx.raw().get_key(beyond.clone(), false))), StoreError::KEY_OUTSIDE_LEGAL_RANGE);
    let range = RangeOptions { end: beyond, ..RangeOptions::new("a", "z") };
    assert_eq!(code(keys(&tx, range)), StoreError::KEY_OUTSIDE_LEGAL_RANGE);
}

#[test]
fn ranges_end_where_their_selectors_resolve_to() {
    let it = setup(&[("b", ""), ("d", ""), ("f", ""), ("h", "")]);
    let tx = it.db.begin();
    let check = |begin: KeySelector, end: KeySelector, expected: &[&str]| {
        let range = RangeOptions { begin, end, ..RangeOptions::new("", "") };
        assert_eq!(keys(&tx, range.clone()).unwrap(), expected);
        let mut reversed = keys(&tx, range.reverse()).unwrap();
        reversed.reverse();
        assert_eq!(reversed, expected);
    };
    check(KeySelector::first_greater_than("b"), KeySelector::first_greater_than("f"), &["d", "f"]);
    check(KeySelector::last_less_than("d"), KeySelector::last_less_or_equal("g"), &["b", "d"]);
    check(selector("b", false, 2), selector("b", false, 4), &["d", "f"]);
    check(selector("b", false, -5), selector("b", false, 50), &["b", "d", "f", "h"]);
    check(KeySelector::first_greater_or_equal("f"), KeySelector::first_greater_or_equal("c"), &[]);
    check(KeySelector::first_greater_or_equal("z"), KeySelector::first_greater_or_equal("\x7f"), &[]);
}

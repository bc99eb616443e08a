//! Key selectors, at the edges and through own writes.

use super::*;

fn selector(key: &'static str, or_equal: bool, offset: i32) -> KeySelector {
    KeySelector { key: Bytes::from(key), or_equal, offset }
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

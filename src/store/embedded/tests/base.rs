//! The base alone: clears of many rows, the empty key.

use bytes::Bytes;

use crate::store::{
    embedded::{SystemFiles, base::FjallBase},
    mvcc::{Base as _, Visit, tests::bytes},
};

fn open(dir: &tempfile::TempDir) -> FjallBase {
    FjallBase::open(dir.path(), 1 << 20).unwrap()
}

fn rows(base: &FjallBase, begin: &str, reverse: bool) -> Vec<(Bytes, Bytes)> {
    let mut rows = Vec::new();
    let mut note = |key: &[u8], value: &[u8]| {
        rows.push((Bytes::copy_from_slice(key), Bytes::copy_from_slice(value)));
        Visit::Next
    };
    assert_eq!(base.scan(begin.as_bytes(), b"\x7f", reverse, &mut note).unwrap(), Visit::Next);
    if reverse {
        rows.reverse();
    }
    rows
}

fn row(key: &str, value: &str) -> (Bytes, Bytes) {
    (bytes(key), bytes(value))
}

fn put(rows: &[(Bytes, Bytes)]) -> Vec<(Bytes, Option<Bytes>)> {
    rows.iter().map(|(key, value)| (key.clone(), Some(value.clone()))).collect()
}

#[test]
fn a_clear_of_more_rows_than_one_batch_holds_leaves_none_of_them() {
    let dir = tempfile::tempdir().unwrap();
    let base = open(&dir);
    let many: Vec<_> = (0..20_000).map(|number| row(&format!("row {number:05}"), "old")).collect();
    let around = [row("above", "old"), row("rows end here", "old")];
    base.advance(1, &[], put(&[&many[..], &around].concat())).unwrap();
    base.persist(&SystemFiles).unwrap();
    drop(base);

    let base = open(&dir);
    assert_eq!(rows(&base, "", false).len(), 20_002);
    // One row in the middle comes after the clear.
    let kept = row("row 12345", "new");
    base.advance(2, &[(bytes("row "), bytes("row!"))], put(std::slice::from_ref(&kept))).unwrap();
    let expected = [around[0].clone(), kept, around[1].clone()];
    assert_eq!(rows(&base, "", false), expected);
    base.persist(&SystemFiles).unwrap();
    drop(base);

    let base = open(&dir);
    assert_eq!(base.applied().unwrap(), 2);
    assert_eq!(rows(&base, "", false), expected, "cleared rows have come back");
}

#[test]
fn the_empty_key_is_a_row_like_others() {
    let dir = tempfile::tempdir().unwrap();
    let base = open(&dir);
    let both = [row("", "empty"), row("a", "1")];
    base.advance(1, &[], put(&both)).unwrap();
    for reverse in [false, true] {
        assert_eq!(rows(&base, "", reverse), both);
        assert_eq!(rows(&base, "\0", reverse), both[1..], "a range that begins beyond it");
    }
    for reverse in [false, true] {
        let mut seen = Vec::new();
        let mut stop = |key: &[u8], _: &[u8]| {
            seen.push(Bytes::copy_from_slice(key));
            Visit::Stop
        };
        assert_eq!(base.scan(b"", b"b", reverse, &mut stop).unwrap(), Visit::Stop);
        assert_eq!(seen, [bytes(if reverse { "a" } else { "" })]);
    }
    base.advance(2, &[(bytes("\0"), bytes("b"))], Vec::new()).unwrap();
    assert_eq!(rows(&base, "", false), both[..1], "a clear that begins beyond it");
    base.advance(3, &[(bytes(""), bytes("b"))], put(&[row("", "again")])).unwrap();
    assert_eq!(rows(&base, "", false), [row("", "again")], "written after the clear");
    base.advance(4, &[(bytes(""), bytes("b"))], Vec::new()).unwrap();
    assert_eq!(rows(&base, "", false), []);
    assert_eq!(base.get(b"").unwrap(), None);
    base.advance(5, &[], put(&both)).unwrap();
    base.advance(6, &[], vec![(bytes(""), None)]).unwrap();
    assert_eq!(rows(&base, "", false), both[1..]);
}

//! docs/KEYSPACE.md says what the code does.

use super::*;

const DOCUMENT: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/KEYSPACE.md"));

/// The cells of the table of kinds, without its head.
fn rows() -> Vec<[String; 3]> {
    let cells = |line: &str| -> Vec<String> {
        line.trim_matches('|').split('|').map(|cell| cell.trim().trim_matches('`').to_owned()).collect()
    };
    let table =
        DOCUMENT.lines().skip_while(|line| !line.starts_with("| kind |")).take_while(|line| line.starts_with('|'));
    table.skip(2).map(|line| cells(line).try_into().unwrap_or_else(|_| panic!("three cells: {line}"))).collect()
}

#[test]
fn the_document_has_exactly_one_row_for_each_kind_with_its_shape_and_what_stands_behind_it() {
    let documented: Vec<_> = rows().into_iter().map(|[code, shape, _]| (code, shape)).collect();
    let coded: Vec<_> = Kind::ALL.iter().map(|kind| (kind.code().to_string(), kind.shape())).collect();
    assert_eq!(documented, coded);
    for (kind, [_, _, value]) in Kind::ALL.iter().zip(rows()) {
        let named =
            value.strip_prefix(kind.value().name()).is_some_and(|rest| !rest.starts_with(char::is_alphanumeric));
        assert!(named, "{} is said to hold {value}, it holds {}", kind.shape(), kind.value().name());
    }
}

#[test]
fn codes_are_unique_and_none_is_left_out() {
    let found: Vec<_> = (0..=u32::from(u8::MAX)).filter_map(Kind::of).collect();
    assert_eq!(found, Kind::ALL);
    assert!(Kind::ALL.iter().all(|kind| Kind::of(kind.code()) == Some(*kind)));
}

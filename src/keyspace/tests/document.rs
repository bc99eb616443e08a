//! docs/KEYSPACE.md says what the code does.

use escapement_engine::limits::PAYLOAD_CHUNK_BYTES;

use super::*;
use crate::records::FORMAT;

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

/// The document has this, however its lines are broken.
fn says(what: &str) {
    let flowing = DOCUMENT.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(flowing.contains(what), "docs/KEYSPACE.md does not say: {what}");
}

#[test]
fn the_documents_constants_are_the_codes() {
    says(&format!("Every value is the format byte `{FORMAT}` and a protobuf message"));
    says(&format!("A value of a format above `{FORMAT}` is refused"));
    let chunk = PAYLOAD_CHUNK_BYTES;
    says(&format!("payload bytes, at most {},{:03} a chunk; never change", chunk / 1000, chunk % 1000));
    let [high, medium, low] = [Priority::High, Priority::Medium, Priority::Low].map(priority_code);
    says(&format!("priority {high} high, {medium} medium, {low} low"));
    for code in 0..=9 {
        assert_eq!(priority_of(code).map(priority_code), (low >= code && code >= high).then_some(code));
    }
}

#[test]
fn ids_and_instants_have_the_documents_form() {
    says("Ids are UUID elements (17 bytes), instants are Unix milliseconds.");
    let second = Timestamp::UNIX_EPOCH.saturating_add(std::time::Duration::from_secs(1));
    let uid = ScheduleUid::from_bytes([7; 16]);
    let expected = pack(&(Kind::Tick.code(), 3u32, 1000i64, Uuid::from_bytes([7; 16])));
    assert_eq!(tick(ShardId(3), second, uid), expected);
    assert_eq!(expected.len() - pack(&(Kind::Tick.code(), 3u32, 1000i64)).len(), 17);
}

#[test]
fn codes_are_unique_and_none_is_left_out() {
    let found: Vec<_> = (0..=u32::from(u8::MAX)).filter_map(Kind::of).collect();
    assert_eq!(found, Kind::ALL);
    assert!(Kind::ALL.iter().all(|kind| Kind::of(kind.code()) == Some(*kind)));
}

use bytes::Bytes;

use crate::store::{
    Version, Versionstamp,
    client::{limits::KEY_BYTES_MAX, versionstamp},
    fdb::keys::{InvalidPrefix, PREFIX_BYTES_MAX, Prefix},
};

fn prefix(bytes: &'static [u8]) -> Prefix {
    Prefix::new(bytes).unwrap()
}

#[test]
fn keys_get_the_prefix_and_lose_it_again() {
    for p in [&b""[..], b"a", b"a/", b"\x00", b"\x15\x01", b"a\xff"] {
        let p = prefix(p);
        for key in [&b""[..], b"\x00", b"k", b"\xfe\xff\xff", b"a", b"a/"] {
            let full = p.key(key);
            assert!(full.starts_with(p.as_bytes()));
            assert_eq!(p.strip(&full), key, "under {p}");
        }
    }
}

#[test]
fn the_order_of_keys_and_bounds_is_kept() {
    let p = prefix(b"ab");
    let keys = [&b""[..], b"\x00", b"a", b"ab", b"b", b"\xfe", b"\xfe\xff", b"\xff"];
    let full: Vec<Bytes> = keys.iter().map(|key| p.key(key)).collect();
    assert!(full.is_sorted());
    // The neighbours' keys lie outside.
    let (begin, end) = (full.first().unwrap(), full.last().unwrap());
    for neighbour in [&b"aa\xff"[..], b"a", b"ac", b"b", b"ab\xff", b"ab\xff\x00"] {
        assert!(neighbour < &begin[..] || neighbour >= &end[..], "{}", neighbour.escape_ascii());
    }
}

#[test]
#[should_panic(expected = "key ac is not under prefix `ab`")]
fn a_key_of_another_deployment_is_never_taken_for_our_own() {
    prefix(b"ab").strip(b"ac");
}

#[test]
#[should_panic(expected = "is not under prefix `ab`")]
fn nor_is_one_beyond_our_own_end() {
    prefix(b"ab").strip(b"ab\xff");
}

#[test]
fn the_place_of_a_versionstamp_moves_with_its_key() {
    let stamp = Versionstamp::new(Version(0x0102_0304_0506), 7);
    for p in [&b""[..], b"p", b"a longer prefix/"] {
        let p = prefix(p);
        for (before, after) in [(&b""[..], &b""[..]), (b"k", b""), (b"before", b"after"), (&[0xff; 300][..], b"")] {
            let mut key = [before, &[0; 10], after].concat();
            key.extend_from_slice(&u32::try_from(before.len()).unwrap().to_le_bytes());
            let own = versionstamp::resolve_key(&key, stamp).unwrap();
            let full = versionstamp::resolve_key(&p.stamped_key(&key), stamp).unwrap();
            assert_eq!(full, p.key(&own), "under {p}");
        }
    }
}

#[test]
fn a_prefix_takes_its_length_from_the_longest_key() {
    assert_eq!(prefix(b"").key_bytes_max(), KEY_BYTES_MAX);
    let p = prefix(b"escapement/");
    assert_eq!(p.key(&vec![b'k'; p.key_bytes_max()]).len(), KEY_BYTES_MAX);
}

#[test]
fn a_prefix_has_a_limit_and_stays_out_of_the_systems_keys() {
    let longest = Bytes::from(vec![b'p'; PREFIX_BYTES_MAX]);
    assert!(Prefix::new(longest).is_ok());
    let error = Prefix::new(vec![b'p'; PREFIX_BYTES_MAX + 1]).unwrap_err();
    assert_eq!(error, InvalidPrefix::TooLong { bytes: 65 });
    assert_eq!(error.to_string(), "prefix of 65 bytes; at most 64");
    assert_eq!(Prefix::new(&b"\xff"[..]), Err(InvalidPrefix::System));
    assert_eq!(Prefix::new(&b"\xff\x02/"[..]), Err(InvalidPrefix::System));
    assert!(Prefix::new(&b"\xfe\xff"[..]).is_ok());
}

#[test]
fn the_enclosing_prefixes_are_its_beginnings() {
    let enclosing: Vec<String> = prefix(b"abc").enclosing().map(|p| p.to_string()).collect();
    assert_eq!(enclosing, ["``", "`a`", "`ab`"]);
    assert_eq!(prefix(b"").enclosing().count(), 0);
}

use std::path::Path;

use proptest::prelude::*;

use crate::store::fdb::cluster_file::{ClusterFile, ClusterFileProblem};

fn parse(text: &str) -> Result<ClusterFile, String> {
    ClusterFile::parse(text).map_err(|problem| problem.to_string())
}

#[test]
fn a_cluster_file_tells_cluster_and_coordinators() {
    let file = parse("docker:Ab12@10.0.0.1:4500,10.0.0.2:4500\n").unwrap();
    assert_eq!((&*file.description, &*file.id), ("docker", "Ab12"));
    assert_eq!(file.addresses(), "10.0.0.1:4500,10.0.0.2:4500");
    assert!(!file.wants_tls());
}

#[test]
fn comments_and_blanks_are_passed_over() {
    let file =
        parse("# DO NOT EDIT!\r\n\n  my_db : x @ 127.0.0.1:4500 , # the first\n\t[::1]:4501:tls\n# end").unwrap();
    assert_eq!(file.addresses(), "127.0.0.1:4500,[::1]:4501:tls");
    assert!(file.wants_tls());
}

#[test]
fn coordinators_are_addresses_of_either_kind_or_names() {
    let file = parse("a:b@[abcd::dead:beef]:1,db-1.example.com:65535:tls,10.1.2.3:4500(fromHostname)").unwrap();
    assert_eq!(file.addresses(), "[abcd::dead:beef]:1,db-1.example.com:65535:tls,10.1.2.3:4500");
}

#[test]
fn what_is_malformed_is_named_with_its_part() {
    let form = "the form is description:ID@HOST:PORT,HOST:PORT";
    let check = |text: &str, expected: &str| {
        assert_eq!(parse(text).unwrap_err(), format!("{expected}; {form}"), "of {text:?}");
    };
    check("just words", "connection string `justwords` has no `@`");
    check("id@127.0.0.1:4500", "cluster key `id` has no `:`");
    check("my-db:id@127.0.0.1:4500", "description `my-db` may have letters, digits and `_` only");
    check("db:i_d@127.0.0.1:4500", "ID `i_d` may have letters and digits only");
    check("db:a:b@127.0.0.1:4500", "ID `a:b` may have letters and digits only");
    check("db:id@", "coordinator `` has no port");
    check("db:id@127.0.0.1:4500,", "coordinator `` has no port");
    check("db:id@127.0.0.1", "coordinator `127.0.0.1` has no port");
    check("db:id@127.0.0.1:tls", "coordinator `127.0.0.1:tls` has no port");
    check("db:id@127.0.0.1:0", "coordinator `127.0.0.1:0` has no port from 1 to 65535");
    check("db:id@127.0.0.1:+1", "coordinator `127.0.0.1:+1` has no port from 1 to 65535");
    check("db:id@127.0.0.1:70000", "coordinator `127.0.0.1:70000` has no port from 1 to 65535");
    let host = "has no IPv4 address, [IPv6 address] or host name before its port";
    check("db:id@127.0.0.999:4500", &format!("coordinator `127.0.0.999:4500` {host}"));
    check("db:id@::1:4500", &format!("coordinator `::1:4500` {host}"));
    check("db:id@:4500", &format!("coordinator `:4500` {host}"));
    check("db:id@[::1:4500", "coordinator `[::1:4500` has no valid IPv6 address in its brackets");
    check("db:id@10.0.0.1:1,10.0.0.1:1", "coordinator `10.0.0.1:1` is named twice");
    assert_eq!(
        parse("# nothing\n\n").unwrap_err(),
        "is empty; it holds one line of the form description:ID@HOST:PORT,HOST:PORT"
    );
}

#[test]
fn a_file_that_is_missing_or_no_text_is_told_as_such() {
    let dir = tempfile::tempdir().unwrap();
    let read = |path: &Path| ClusterFile::read(path).unwrap_err();
    assert!(matches!(read(&dir.path().join("none")), ClusterFileProblem::Io(_)));
    assert!(matches!(read(dir.path()), ClusterFileProblem::Io(_)));
    let binary = dir.path().join("binary");
    std::fs::write(&binary, [0xff, 0xfe, 0]).unwrap();
    assert!(matches!(read(&binary), ClusterFileProblem::NoText));
    std::fs::write(&binary, vec![b'#'; 70_000]).unwrap();
    assert!(matches!(read(&binary), ClusterFileProblem::NoText));
    assert!(matches!(read(Path::new("/dev/zero")), ClusterFileProblem::NoText), "without an end");
}

proptest! {
    #[test]
    fn what_was_read_reads_the_same_again(text in "[a-z_]{0,4}:[a-z0-9]{0,4}@[a-z0-9.:,\\[\\]]{0,40}") {
        if let Ok(file) = ClusterFile::parse(&text) {
            let again = format!("{}:{}@{}", file.description, file.id, file.addresses());
            prop_assert_eq!(ClusterFile::parse(&again).unwrap(), file);
        }
    }

    #[test]
    fn no_text_panics(text in any::<String>()) {
        let _ = ClusterFile::parse(&text);
    }
}

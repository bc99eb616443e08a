//! What the program hands to the client library, and says of one that is too old: a library of
//! the same functions in place of FoundationDB's notes what it is told, and does not start. Made
//! with the C compiler that building the adapter takes.

use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
    process::Command,
};

use escapement::error::exit;

use super::{child, program::serve_with};

/// FoundationDB's own functions that have to be there, as the loader lists them.
const LOADER: &str = include_str!("../../fdb-client/src/loader.c");

/// Functions of the stub that do something.
const KNOWING: &str = r#"
#include <stdio.h>
int fdb_get_max_api_version(void) { return MAX_API_VERSION; }
int fdb_select_api_version_impl(int runtime, int header) { return 0; }
const char *fdb_get_error(int code) { return "the stub does not start"; }
int fdb_network_set_option(int option, const unsigned char *value, int bytes) {
  fprintf(stderr, "told option %d: %.*s\n", option, bytes, (const char *)value);
  return 0;
}
int fdb_setup_network(void) { return 2009; }
"#;

/// A folder with a library that speaks API versions up to this one.
fn stub(dir: &Path, max_api_version: i32) -> PathBuf {
    let mut source = format!("#define MAX_API_VERSION {max_api_version}\n{KNOWING}");
    let names = LOADER.lines().filter_map(|line| line.trim().strip_prefix("DO(")?.split(')').next());
    for name in names.filter(|name| !KNOWING.contains(&format!(" {name}(")) && !KNOWING.contains(&format!("*{name}(")))
    {
        writeln!(source, "void {name}(void) {{}}").unwrap();
    }
    let (folder, path) = (dir.join(format!("api-{max_api_version}")), dir.join("stub.c"));
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(&path, source).unwrap();
    let mut compiler = Command::new(std::env::var_os("CC").unwrap_or_else(|| "cc".into()));
    compiler.args(["-shared", "-fPIC", "-w", "-o"]).arg(folder.join("libfdb_c.so")).arg(path);
    let compiled = child::output(&mut compiler);
    assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
    folder
}

#[test]
fn a_library_that_is_too_old_is_named_with_what_it_speaks() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("fdb.cluster"), "local:abc@127.0.0.1:1\n").unwrap();
    for (found, is_too_old) in [(720, true), (729, true), (730, false), (740, false)] {
        let folder = stub(dir.path(), found);
        let (code, text) = serve_with(dir.path(), "fdb:fdb.cluster", Some(&folder));
        assert_eq!(code, exit::START, "{text}");
        let says = format!(
            "error[CLIENT_LIBRARY_MISSING]: FoundationDB's client library speaks API versions up to {found}, and 730 is needed"
        );
        assert_eq!(text.contains(&says), is_too_old, "{found}: {text}");
        assert_eq!(text.contains("did not start: the stub does not start (2009)"), !is_too_old, "{found}: {text}");
    }
}

#[test]
fn tls_files_and_rules_are_handed_to_the_library_under_its_own_numbers() {
    let dir = tempfile::tempdir().unwrap();
    let folder = stub(dir.path(), 730);
    std::fs::write(dir.path().join("fdb.cluster"), "local:abc@127.0.0.1:1:tls\n").unwrap();
    for file in ["c.pem", "k.pem", "a.pem"] {
        std::fs::write(dir.path().join(file), "").unwrap();
    }
    let told = |settings: &str| {
        let (_, text) = serve_with(dir.path(), &format!("fdb:fdb.cluster?{settings}"), Some(&folder));
        assert!(text.contains("the stub does not start"), "{text}");
        text.lines().filter_map(|line| line.strip_prefix("told option ")).map(str::to_owned).collect::<Vec<_>>()
    };
    // FDB_NET_OPTION_TLS_CERT_PATH, _KEY_PATH, _CA_PATH and _VERIFY_PEERS of fdb.options.
    let all = "tls_certificate=c.pem&tls_key=k.pem&tls_ca=a.pem&tls_verify_peers=Check.Valid%3D1,S.CN%3Ddb";
    assert_eq!(told(all), ["43: c.pem", "46: k.pem", "53: a.pem", "47: Check.Valid=1,S.CN=db"]);
    assert_eq!(told("tls_ca=a.pem"), ["53: a.pem"], "the rest is left to FoundationDB's own variables");
    assert_eq!(told("prefix=p/"), [""; 0]);
}

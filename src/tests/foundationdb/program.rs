//! What the program says when it cannot start on FoundationDB.

use std::{path::Path, process::Command};

use escapement::error::exit;

use super::child;

/// Exit code and stderr of `escapement serve` on this store. The library is looked for in the
/// system's folders only.
fn serve(dir: &Path, store: &str) -> (u8, String) {
    serve_with(dir, store, None)
}

/// Likewise, with a folder to find the library in before.
pub(crate) fn serve_with(dir: &Path, store: &str, libraries: Option<&Path>) -> (u8, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_escapement"));
    command.args(["serve", "--listen", "127.0.0.1:0", "--store", store]).current_dir(dir).env_remove("LD_LIBRARY_PATH");
    command.envs(libraries.map(|folder| ("LD_LIBRARY_PATH", folder)));
    let output = child::output(&mut command);
    let code = output.status.code().and_then(|code| u8::try_from(code).ok());
    let text = String::from_utf8(output.stderr).unwrap();
    (code.unwrap_or_else(|| panic!("{}: {text}", output.status)), text)
}

#[test]
fn a_cluster_file_that_is_missing_or_malformed_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let (code, text) = serve(dir.path(), "fdb:none.cluster");
    assert_eq!(code, exit::START, "{text}");
    assert!(text.contains("error[CLUSTER_FILE_UNUSABLE]: cluster file none.cluster cannot be read: No such"), "{text}");

    std::fs::write(dir.path().join("fdb.cluster"), "local:abc@127.0.0.1\n").unwrap();
    let (code, text) = serve(dir.path(), "fdb:fdb.cluster?prefix=a/");
    assert_eq!(code, exit::START, "{text}");
    assert!(text.contains("cluster file fdb.cluster coordinator `127.0.0.1` has no port"), "{text}");
}

#[test]
fn tls_files_that_are_missing_are_named() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("fdb.cluster"), "local:abc@127.0.0.1:1:tls\n").unwrap();
    let (code, text) = serve(dir.path(), "fdb:fdb.cluster?tls_certificate=none.pem");
    assert_eq!(code, exit::USAGE, "{text}");
    assert!(text.contains("tls_certificate none.pem cannot be read: No such file"), "{text}");
    std::fs::write(dir.path().join("cert.pem"), "").unwrap();
    for field in ["tls_key", "tls_ca"] {
        let store = format!("fdb:fdb.cluster?tls_certificate=cert.pem&{field}=none.pem");
        let (code, text) = serve(dir.path(), &store);
        assert_eq!(code, exit::USAGE, "{text}");
        assert!(text.contains(&format!("{field} none.pem cannot be read: No such file")), "{text}");
    }
}

#[test]
fn a_missing_library_is_named_with_its_package() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("fdb.cluster"), "local:abc@127.0.0.1:1\n").unwrap();
    let (code, text) = serve(dir.path(), "fdb:fdb.cluster");
    assert_eq!(code, exit::START, "{text}");
    if text.contains("error[CLUSTER_UNREACHABLE]: cluster local:abc did not answer within 10s") {
        eprintln!("the library is installed in the system's folders; the cluster was looked for in vain");
        return;
    }
    assert!(text.contains("error[CLIENT_LIBRARY_MISSING]: FoundationDB's client library cannot be loaded"), "{text}");
    assert!(text.contains("install the package foundationdb-clients, version 7.3"), "{text}");
}

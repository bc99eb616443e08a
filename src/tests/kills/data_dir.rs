//! Data directories that a server must not touch.

use std::{fs, path::Path, process::Command};

use escapement::client::Client;

use super::{
    child,
    process::{Process, free_port, ready},
};

/// Starts a server that is to be refused; gives its exit code and what it said.
fn refused(data: &Path) -> (i32, String) {
    let mut serve = Command::new(env!("CARGO_BIN_EXE_escapement"));
    serve.args(["serve", "--listen", "127.0.0.1:0", "--data-dir", data.to_str().unwrap()]);
    let output = child::output(&mut serve);
    let text = String::from_utf8(output.stderr).unwrap();
    let first = text.lines().find(|line| line.starts_with("error")).unwrap_or(&text).to_owned();
    (output.status.code().unwrap(), first.replace(data.to_str().unwrap(), "DIR"))
}

fn tree(dir: &Path) -> Vec<(String, u64)> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).unwrap().map(Result::unwrap) {
        match entry.metadata().unwrap() {
            meta if meta.is_dir() => files.extend(tree(&entry.path())),
            meta => files.push((entry.path().display().to_string(), meta.len())),
        }
    }
    files.sort();
    files
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_data_directory_that_another_process_has_open_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let port = free_port();
    let _server = Process::server(dir.path(), port, &[]);
    let client = Client::connect(format!("http://127.0.0.1:{port}")).unwrap();
    ready(&client).await;
    let (code, error) = refused(&dir.path().join("data"));
    assert_eq!(code, 7, "{error}");
    assert!(error.starts_with("error[DATA_DIR_LOCKED]: DIR is in use by process"), "{error}");
    assert!(client.status().await.is_ok(), "the first server goes on");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_data_directory_of_a_newer_format_is_refused_and_not_touched() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let port = free_port();
    let server = Process::server(dir.path(), port, &[]);
    ready(&Client::connect(format!("http://127.0.0.1:{port}")).unwrap()).await;
    server.kill();
    let format = fs::read_to_string(data.join("FORMAT")).unwrap();
    assert!(format.contains("format 1\n"), "{format}");
    fs::write(data.join("FORMAT"), format.replace("format 1\n", "format 999\n")).unwrap();
    let files = || tree(&data).into_iter().filter(|(name, _)| !name.ends_with("LOCK")).collect::<Vec<_>>();
    let before = files();
    let (code, error) = refused(&data);
    assert_eq!(code, 7, "{error}");
    assert!(error.contains("DATA_FORMAT_NEWER") && error.contains("999"), "{error}");
    assert_eq!(files(), before, "nothing was changed");
}

#[test]
fn a_directory_of_something_else_is_refused_and_not_touched() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("thesis.txt"), "precious").unwrap();
    let (code, error) = refused(dir.path());
    assert_eq!(code, 7, "{error}");
    assert!(error.contains("DATA_DIR_UNUSABLE") && error.contains("thesis.txt"), "{error}");
    assert_eq!(fs::read_to_string(dir.path().join("thesis.txt")).unwrap(), "precious");
}

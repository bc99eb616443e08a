//! `dev`, `serve` and `worker`: what they refuse. That they run is shown by other tests, of `dev` by that of the quick start.

use std::net::TcpListener;

use super::{assert_output, run};

#[test]
fn a_server_or_worker_that_cannot_start_says_why() {
    let dir = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().to_string();
    let run = |args: &[&str]| run(dir.path(), args, &[], "").replace(&port, "127.0.0.1:TAKEN");
    let shown = [
        run(&["dev", "--listen", "0.0.0.0:7250"]),
        run(&["dev", "--server", "http://h:1"]),
        run(&["dev", "--listen", "127.0.0.1:0", "--queue", "mail"]),
        run(&["dev", "--listen", "127.0.0.1:0", "--exec=false", "--queue", "mail=exec"]),
        run(&["serve", "--listen", &port]),
        run(&["serve", "--listen", &port, "--output", "json"]),
        run(&["store", "--listen", "0.0.0.0:7251"]),
        run(&["store", "--listen", "localhost"]),
        run(&["store", "--listen", &port]),
        run(&["worker"]),
        run(&["worker", "--http", "--queue", "mail=exec"]),
        run(&["worker", "--exec=maybe"]),
    ];
    assert_output!(shown.join("\n"));
    let without_file = run(&["serve", "--listen", "127.0.0.1:0", "--store", "fdb:/etc/fdb.cluster"]);
    let expect = if cfg!(feature = "foundationdb") {
        "error[CLUSTER_FILE_UNUSABLE]: cluster file /etc/fdb.cluster"
    } else {
        "error[CONFIG_INVALID]: this build has no FoundationDB client"
    };
    assert!(without_file.contains(expect), "{without_file}");
    assert!(!dir.path().join("escapement-data").exists(), "nothing was made");
}

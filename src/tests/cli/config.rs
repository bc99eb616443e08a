use super::{assert_output, run};

#[test]
fn the_configuration_is_shown_with_its_origins() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("escapement.toml"), "[server]\nshards = 4\n[worker]\nexec_allow = [\"a\", \"b\"]\n")
        .unwrap();
    let environment = [("ESCAPEMENT_SERVER_LISTEN", "127.0.0.1:1"), ("ESCAPEMENT_FOO", "x")];
    let args = ["config", "--data-dir", "/d", "--namespace", "prod"];
    let json = run(dir.path(), &[&args[..], &["--output", "json"]].concat(), &environment, "");
    assert!(json.contains(r#""origin": "flag --data-dir""#), "{json}");
    assert_output!(run(dir.path(), &args, &environment, ""));
}

#[test]
fn a_wrong_configuration_is_refused_by_name_and_origin() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("typo.toml"), "[server]\nlisen = \"127.0.0.1:7250\"\n").unwrap();
    let run = |args: &[&str], environment: &[(&str, &str)]| run(dir.path(), args, environment, "");
    let shown = [
        run(&["status", "--config", "typo.toml"], &[]),
        run(&["status", "--config", "missing.toml"], &[]),
        run(&["status"], &[("ESCAPEMENT_CONFIG", "typo.toml")]),
        run(&["status"], &[("ESCAPEMENT_SERVER_LISTEN", "localhost")]),
        run(&["status"], &[("ESCAPEMENT_CLIENT_NAMESPAC", "x")]),
        run(&["status", "--server", "localhost:7250"], &[]),
        run(&["status", "--timeout-ms", "-1"], &[]),
        run(&["status", "--log-level", "loud"], &[]),
        run(&["status", "--namespace", "A B", "--output", "json"], &[]),
        run(&["serve", "--store", "postgres://h/db"], &[]),
        run(&["serve", "--store", "memory:", "--data-dir", "/d"], &[]),
        run(&["serve", "--store", "remote:localhost"], &[]),
        run(&["serve", "--store", "remote:[::1]:0"], &[]),
        run(&["serve", "--store", "fdb:/etc/fdb.cluster?prefx=a"], &[]),
    ];
    assert_output!(shown.join("\n"));
}

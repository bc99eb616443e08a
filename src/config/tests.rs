use std::{fmt::Write as _, fs, path::Path};

use super::*;

fn sources(file: Option<&Path>, environment: &[(&str, &str)], flags: Vec<(&'static str, Raw)>) -> Sources {
    Sources {
        file: file.map(Into::into),
        environment: environment.iter().map(|(name, value)| (name.into(), value.into())).collect(),
        flags,
    }
}

fn text(value: &str) -> Raw {
    Raw::Text(value.to_owned())
}

#[test]
fn the_document_lists_every_key_and_no_other() {
    let document = include_str!("../../docs/CONFIGURATION.md");
    let rows: Vec<&str> = document.lines().filter(|line| line.starts_with("| `")).collect();
    let expected: Vec<String> = KEYS
        .iter()
        .map(|key| {
            let flag = key.flag.map(|flag| format!("`{flag}`")).unwrap_or_default();
            let default = if key.default.is_empty() { "empty".to_owned() } else { format!("`{}`", key.default) };
            format!("| `{}` | `{}` | {flag} | {default} | {} | {} |", key.name, key.variable(), key.limit, key.about)
        })
        .collect();
    assert_eq!(rows, expected, "the table of docs/CONFIGURATION.md must read:\n{}\n", expected.join("\n"));
}

#[test]
fn a_flag_outweighs_the_environment_which_outweighs_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("c.toml");
    fs::write(&path, "[server]\nshards = 2\nsession_lease_ms = 2000\n[worker]\nqueues = [\"mail=http\"]\n").unwrap();
    let environment = [("ESCAPEMENT_SERVER_SHARDS", "3"), ("ESCAPEMENT_WORKER_CONCURRENCY", "7")];
    let flags = vec![("server.shards", text("4"))];
    let check = |sources: Sources, shards, origin: Origin| {
        let loaded = sources.load().unwrap();
        assert_eq!(loaded.setting("server.shards").origin, origin);
        assert_eq!(loaded.check().unwrap().server.shards, shards);
        loaded
    };
    check(sources(None, &[], vec![]), 32, Origin::Default);
    check(sources(Some(&path), &[], vec![]), 2, Origin::File(path.clone()));
    check(sources(Some(&path), &environment, vec![]), 3, Origin::Environment("ESCAPEMENT_SERVER_SHARDS".into()));
    let loaded = check(sources(Some(&path), &environment, flags), 4, Origin::Flag("--shards"));
    let config = loaded.check().unwrap();
    assert_eq!(config.server.session_lease, Duration::from_secs(2));
    assert_eq!(config.worker.concurrency, 7);
    assert_eq!(config.worker.queues, [(QueueName::new("mail").unwrap(), HandlerKind::Http)]);
    assert_eq!(config.worker.server, config.client.server);
}

#[test]
fn the_server_of_the_flag_is_the_workers_whatever_environment_and_file_say() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("c.toml");
    fs::write(&path, "[worker]\nserver = \"http://file:1\"\n").unwrap();
    let check = |environment: &[(&str, &str)], flags: &[&str], worker: &str| {
        let flags = flags.iter().map(|server| ("client.server", text(server))).collect();
        let config = sources(Some(&path), environment, flags).load().unwrap().check().unwrap();
        assert_eq!(config.worker.server, worker, "{environment:?}");
    };
    let environment = [("ESCAPEMENT_WORKER_SERVER", "http://env:1"), ("ESCAPEMENT_CLIENT_SERVER", "http://other:1")];
    check(&[], &[], "http://file:1");
    check(&environment, &[], "http://env:1");
    check(&environment, &["http://flag:1"], "http://flag:1");
    check(&[], &["http://flag:1"], "http://flag:1");
    check(&[("ESCAPEMENT_WORKER_SERVER", "")], &["http://flag:1"], "http://flag:1");
}

#[test]
fn the_variable_names_the_file_unless_the_flag_does() {
    let dir = tempfile::tempdir().unwrap();
    let (a, b) = (dir.path().join("a.toml"), dir.path().join("b.toml"));
    fs::write(&a, "[server]\nshards = 1").unwrap();
    fs::write(&b, "[server]\nshards = 2").unwrap();
    let environment = [(FILE_VARIABLE, b.to_str().unwrap())];
    assert_eq!(sources(None, &environment, vec![]).load().unwrap().check().unwrap().server.shards, 2);
    assert_eq!(sources(Some(&a), &environment, vec![]).load().unwrap().check().unwrap().server.shards, 1);
}

#[test]
fn what_a_command_means_by_itself_gives_way_to_what_was_said() {
    let mut loaded = sources(None, &[("ESCAPEMENT_WORKER_HTTP", "false")], vec![]).load().unwrap();
    loaded.set_default("worker.exec", "true");
    loaded.set_default("worker.http", "true");
    let worker = loaded.check().unwrap().worker;
    assert!(worker.exec && !worker.http);
}

#[test]
fn variables_of_a_running_task_are_no_settings() {
    let environment = [("ESCAPEMENT_TASK_ID", "x"), ("ESCAPEMENT_TOKEN", "1"), ("ESCAPEMENT_SIMM", "1")];
    let loaded = sources(None, &environment, vec![]).load().unwrap();
    assert_eq!(loaded.warnings, ["the variable ESCAPEMENT_SIMM is no setting of Escapement, and has no effect"]);
}

#[test]
fn stores_are_embedded_or_in_memory() {
    let check = |store: &str, data_dir: &str, expect: Option<&str>| {
        let environment = [("ESCAPEMENT_SERVER_STORE", store), ("ESCAPEMENT_SERVER_DATA_DIR", data_dir)];
        let environment = if data_dir.is_empty() { &environment[..1] } else { &environment[..] };
        let config = sources(None, environment, vec![]).load().unwrap().check();
        assert_eq!(config.ok().map(|config| config.server.store.to_string()).as_deref(), expect, "{store} {data_dir}");
    };
    check("embedded:", "", Some("embedded:./escapement-data"));
    check("embedded:", "/d", Some("embedded:/d"));
    check("embedded:/e", "", Some("embedded:/e"));
    check("embedded:/d", "/d", Some("embedded:/d"));
    check("embedded:/e", "/d", None);
    check("memory:", "", Some("memory:"));
    check("memory:", "/d", None);
}

#[test]
fn what_is_refused_is_named_with_its_origin_and_what_is_allowed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("escapement.toml");
    let mut out = String::new();
    let mut add = |result: Result<Loaded, ConfigError>| {
        let error = result.and_then(|loaded| loaded.check()).expect_err("refused").to_string();
        writeln!(out, "{}", error.replace(dir.path().to_str().unwrap(), "DIR")).unwrap();
    };
    let mut file = |content: &str| {
        fs::write(&path, content).unwrap();
        add(sources(Some(&path), &[], vec![]).load());
    };
    file("[server]\nlisen = \"x\"");
    file("[sever]\nlisten = \"x\"");
    file("listen = \"x\"");
    file("[zzz]");
    file("[srv]\nlisten = \"x\"");
    file("listn = \"x\"");
    file("[server]\nshards = \"8\"");
    file("[server]\nlisten = 7250");
    file("[worker]\nqueues = [1]");
    file("[worker]\nexec = \"yes\"");
    file("[server]\nshards = -1");
    file("[server\n");
    add(sources(Some(Path::new("/nowhere/x.toml")), &[], vec![]).load());
    let mut variable = |name: &str, value: &str| add(sources(None, &[(name, value)], vec![]).load());
    variable("ESCAPEMENT_SERVER_LISTEN", "localhost");
    variable("ESCAPEMENT_SERVER_LISTN", "x");
    variable("ESCAPEMENT_SERVER_SHARDS", "4097");
    variable("ESCAPEMENT_SERVER_STORE", "fdb:");
    variable("ESCAPEMENT_SERVER_STORE", "postgres://h");
    variable("ESCAPEMENT_SERVER_STORE", "/var/lib");
    variable("ESCAPEMENT_SERVER_DATA_DIR", "");
    variable("ESCAPEMENT_WORKER_EXEC", "1");
    variable("ESCAPEMENT_WORKER_QUEUES", "exec,mail");
    variable("ESCAPEMENT_WORKER_QUEUES", "a b=exec");
    variable("ESCAPEMENT_WORKER_NAME", "");
    variable("ESCAPEMENT_CLIENT_NAMESPACE", "Prod");
    variable("ESCAPEMENT_CLIENT_SERVER", "localhost:7250");
    variable("ESCAPEMENT_LOG_FORMAT", "xml");
    add(sources(None, &[("ESCAPEMENT_SERVER_DATA_DIR", "/d")], vec![("server.store", text("memory:"))]).load());
    insta::assert_snapshot!(out);
}

#[test]
fn a_file_without_an_end_is_refused_with_its_name_and_the_limit() {
    let error = sources(Some(Path::new("/dev/zero")), &[], vec![]).load().unwrap_err();
    assert_eq!(
        error.to_string(),
        "cannot read the configuration file /dev/zero, named by --config: it has more than 1048576 bytes"
    );
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("long.toml");
    let loads = |bytes: usize| {
        fs::write(&path, "#".repeat(bytes)).unwrap();
        sources(Some(&path), &[], vec![]).load().is_ok()
    };
    assert_eq!((loads(1 << 20), loads((1 << 20) + 1)), (true, false));
}

//! `docs/CLI.md` is kept in step with the program.

use escapement::error::Reason;

use super::{
    World,
    fake::{Script, payload, schedule, succeeded},
};

const DOCUMENT: &str = include_str!("../../../docs/CLI.md");

#[test]
fn the_document_lists_every_exit_code() {
    let listed = |code: u8| DOCUMENT.lines().any(|line| line.starts_with(&format!("| {code} |")));
    for reason in Reason::ALL {
        assert!(listed(reason.exit_code()), "{reason}");
    }
    assert!((0..=9).all(listed) && !listed(10));
}

#[test]
fn the_document_lists_every_key_of_each_json() {
    let done = succeeded(1, payload("x", "text/plain"));
    let world = World::new(Script { tasks: vec![done.clone()], schedules: vec![schedule("s")], ..Script::default() });
    world.write("jobs", "0 1 * * * x\n");
    let check = |row: &str, args: &[&str]| {
        let shown = world.run(&[args, &["--output", "json"]].concat());
        let json = shown.split("--- ").find_map(|part| part.strip_prefix("stdout\n")).unwrap_or_default();
        let json: serde_json::Value = serde_json::from_str(json).unwrap();
        let object = json.as_array().map_or(&json, |rows| &rows[0]).as_object().unwrap();
        let row = DOCUMENT.lines().find(|line| line.starts_with(row)).unwrap();
        let cell = row.split('|').nth(2).unwrap();
        // Keys stand before the first semicolon; what follows is prose.
        let cell = cell.split(';').next().unwrap();
        let mut listed: Vec<_> = cell.split('`').skip(1).step_by(2).collect();
        listed.sort_unstable();
        assert_eq!(object.keys().collect::<Vec<_>>(), listed, "{row}");
    };
    check("| `task submit` |", &["task", "submit", "--queue", "q"]);
    check("| `task get`", &["task", "get", &done.id]);
    check("| `task get`", &["task", "list"]);
    check("| `schedule create`, `get`", &["schedule", "get", "s"]);
    check("| `schedule create`, `get`", &["schedule", "list"]);
    check("| `schedule trigger`", &["schedule", "trigger", "s"]);
    check("| `schedule preview`", &["schedule", "preview", "s"]);
    check("| `schedule delete`", &["schedule", "delete", "s"]);
    check("| `import crontab` | `file`", &["import", "crontab", "jobs"]);
    check("| `status` | `version`", &["status"]);
    check("| `config` | an", &["config"]);
}

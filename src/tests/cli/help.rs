use super::{assert_output, run};

#[test]
fn every_command_explains_itself() {
    let dir = tempfile::tempdir().unwrap();
    let commands: [&[&str]; 27] = [
        &[],
        &["dev"],
        &["serve"],
        &["store"],
        &["worker"],
        &["task"],
        &["task", "submit"],
        &["task", "get"],
        &["task", "list"],
        &["task", "cancel"],
        &["task", "watch"],
        &["schedule"],
        &["schedule", "create"],
        &["schedule", "list"],
        &["schedule", "get"],
        &["schedule", "pause"],
        &["schedule", "resume"],
        &["schedule", "delete"],
        &["schedule", "trigger"],
        &["schedule", "preview"],
        &["import"],
        &["import", "crontab"],
        &["status"],
        &["config"],
        &["completions"],
        &["help"],
        &["--version"],
    ];
    for command in commands {
        let is_flag = command == ["--version"] || command == ["help"];
        let args: Vec<&str> = command.iter().copied().chain((!is_flag).then_some("--help")).collect();
        let shown = run(dir.path(), &args, &[], "");
        assert!(shown.ends_with("--- exit code 0\n") && !shown.contains("--- stderr"), "{shown}");
        let name = if command.is_empty() { "program".to_owned() } else { command.join("_") };
        insta::assert_snapshot!(format!("help_{}", name.trim_start_matches('-')), shown);
    }
}

#[test]
fn completions_are_made_for_each_shell() {
    let dir = tempfile::tempdir().unwrap();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = run(dir.path(), &["completions", shell], &[], "");
        assert!(script.contains("crontab") && script.contains("dry-run"), "{shell}");
        assert!(script.ends_with("--- exit code 0\n"), "{shell}");
    }
    assert_output!(run(dir.path(), &["completions", "tcsh"], &[], ""));
}

#[test]
fn mistakes_of_typing_are_told_as_text_or_as_json() {
    let dir = tempfile::tempdir().unwrap();
    let run = |args: &[&str]| run(dir.path(), args, &[], "");
    let shown = [
        run(&["task", "sbmit"]),
        run(&["task", "get", "17"]),
        run(&["task", "submit", "--queue", "q", "--in", "-2s"]),
        run(&["task", "submit", "--queue", "q", "--in", "5"]),
        run(&["task", "submit", "--queue", "q", "--in", "1mo"]),
        run(&["task", "submit", "--queue", "q", "--at", "tomorrow"]),
        run(&["task", "submit", "--queue", "q", "--in", "1s", "--at", "2026-11-24T12:00:00Z"]),
        run(&["task", "submit", "--queue", "q", "--max-attempts", "0"]),
        run(&["task", "submit", "--queue", "q", "--label", "novalue"]),
        run(&["task", "get", "17", "--output", "json"]),
        run(&["schedule", "create", "s", "--queue", "q", "--every", "-1h"]),
    ];
    assert_output!(shown.join("\n"));
}

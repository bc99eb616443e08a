use escapement::{
    client::proto as v1,
    error::{ApiError, Reason, Violation},
};

use super::{
    World, assert_output,
    fake::{self, Script, at, attempt, payload, refusal, succeeded, task},
};

const EXEC_RESULT: &str = r#"{"exit_code":0,"signal":null,"stdout":"hello\n\u001b[2Jevil\n","stderr":"","stdout_truncated":false,"stderr_truncated":false,"duration_ms":4}"#;

fn exec_succeeded(n: u32) -> v1::Task {
    let labels = [("team".to_owned(), "ops".to_owned())].into();
    let request = payload(r#"{"argv":["echo","hello"]}"#, "application/json");
    v1::Task { labels, payload: Some(request), ..succeeded(n, payload(EXEC_RESULT, "application/json")) }
}

fn dead_lettered(n: u32) -> v1::Task {
    let result = r#"{"exit_code":3,"signal":null,"stdout":"","stderr":"no space\n","stdout_truncated":false,"stderr_truncated":true,"duration_ms":9}"#;
    let error = v1::TaskError {
        kind: "exit".into(),
        message: "`backup`: exit code 3".into(),
        non_retryable: false,
        details: Some(payload(result, "application/json")),
    };
    let failed = |number| v1::Attempt {
        ended_at: at("2026-11-24T12:00:09Z"),
        outcome: v1::AttemptOutcome::Failed.into(),
        error: Some(error.clone()),
        ..attempt(number)
    };
    v1::Task {
        state: v1::TaskState::DeadLettered.into(),
        finished_at: at("2026-11-24T12:00:09Z"),
        attempt_count: 2,
        attempts: vec![failed(1), failed(2)],
        error: Some(error.clone()),
        schedule_id: "backup".into(),
        nominal_at: at("2026-11-24T12:00:00Z"),
        ..task(n)
    }
}

fn event(task: v1::Task) -> v1::WatchTaskResponse {
    v1::WatchTaskResponse { event: Some(v1::watch_task_response::Event::Task(task)) }
}

#[test]
fn a_task_is_shown_with_its_output_and_history() {
    let binary = v1::Payload { data: vec![0xff, 0, 1].into(), content_type: "image/png".into(), ..Default::default() };
    let tasks = vec![exec_succeeded(1), dead_lettered(2), succeeded(3, binary), task(4)];
    let world = World::new(Script { tasks: tasks.clone(), ..Script::default() });
    let shown: Vec<_> = tasks.iter().map(|task| world.run(&["task", "get", &task.id])).collect();
    assert_output!(shown.join("\n"));
}

#[test]
fn a_task_as_json_has_every_key() {
    let tasks = vec![exec_succeeded(1), dead_lettered(2)];
    let world = World::new(Script { tasks: tasks.clone(), ..Script::default() });
    let shown: Vec<_> = tasks.iter().map(|task| world.run(&["task", "get", &task.id, "--output", "json"])).collect();
    assert_output!(shown.join("\n"));
}

#[test]
fn a_submission_becomes_the_specification_that_was_typed() {
    let world = World::new(Script::default());
    world.write("letter.bin", [0xff, 0x00]);
    let submit = |args: &[&str], stdin| {
        let shown = world.run_with(&[&["task", "submit", "--queue"], args].concat(), stdin);
        let mut spec = world.fake.script.lock().unwrap().submitted.last().cloned().unwrap_or_default();
        assert_eq!(spec.id.len(), 36, "{shown}");
        spec.id.clear();
        let payload = spec.payload.take().map(|p| format!("{} {:?}", p.content_type, String::from_utf8_lossy(&p.data)));
        format!("{shown}spec: {spec:?}\npayload: {payload:?}\n")
    };
    let shown = [
        submit(&["exec", "--in", "2s", "--", "echo", "hello", "--in"], ""),
        submit(
            &[
                "q",
                "--at",
                "2026-11-24T13:00:02.0001+01:00",
                "--priority",
                "high",
                "--max-attempts",
                "3",
                "--timeout",
                "1h30m",
            ],
            "",
        ),
        submit(
            &["q", "--deadline", "2026-11-25T00:00:00Z", "--idempotency-key", "k", "--idempotency-window", "2d"],
            "",
        ),
        submit(&["q", "--label", "a=b=c", "--label", "d=", "--payload", "-text"], ""),
        submit(&["q", "--payload-file", "letter.bin"], ""),
        submit(&["q", "--payload-file", "-", "--content-type", "application/json"], "{\"a\": 1}"),
        submit(&["http", "--url", "http://localhost/", "--payload", "hello"], ""),
        submit(&["http", "--url", "http://localhost/", "--payload-file", "letter.bin"], ""),
        submit(&["q", "--namespace", "prod", "--output", "json"], ""),
    ];
    assert_output!(shown.join("\n"));
}

#[test]
fn a_submission_that_makes_no_sense_is_refused_before_it_is_sent() {
    let world = World::new(Script::default());
    let shown = [
        world.run(&["task", "submit", "--queue", "exec"]),
        world.run(&["task", "submit", "--queue", "http"]),
        world.run(&["task", "submit", "--queue", "q", "--content-type", "text/plain"]),
        world.run(&["task", "submit", "--queue", "q", "--payload-file", "missing"]),
    ];
    assert_output!(shown.join("\n"));
    assert!(world.fake.calls().is_empty());
}

#[test]
fn refusals_of_the_server_are_told_with_what_to_do() {
    let invalid = ApiError::invalid(
        vec![
            Violation::new("task.queue", "a b", "must be one word"),
            Violation::new("task.labels", "33", "must be at most 32"),
        ],
        2,
    );
    let busy =
        ApiError::new(Reason::Overloaded, "too many tasks wait").with_retry_after(std::time::Duration::from_secs(60));
    let faults = [
        invalid.clone().into(),
        invalid.into(),
        busy.clone().into(),
        busy.into(),
        refusal(Reason::StorageFull, "the disk is full"),
        refusal(Reason::TaskExists, "another task has this id"),
    ];
    let world = World::new(Script { faults: faults.into(), ..Script::default() });
    let submit = ["task", "submit", "--queue", "q"];
    let json = [&submit[..], &["--output", "json"]].concat();
    let shown = [
        world.run(&submit),
        world.run(&json),
        world.run(&submit),
        world.run(&json),
        world.run(&submit),
        world.run(&submit),
        world.run(&["task", "get", "01939f00-0000-7000-8000-000000000099"]),
    ];
    assert_output!(shown.join("\n"));
}

#[test]
fn a_server_that_is_not_there_is_told_with_its_address() {
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let world = World::new(Script::default());
    let url = format!("http://{gone}");
    let shown = world.run(&["status", "--server", &url, "--timeout-ms", "20"]);
    assert_output!(shown.replace(&gone, "GONE"));
}

#[test]
fn a_list_ends_at_its_limit_and_says_how_to_go_on() {
    let tasks = vec![exec_succeeded(1), dead_lettered(2), task(3)];
    let world = World::new(Script { tasks, ..Script::default() });
    let shown = [
        world.run(&["task", "list"]),
        world.run(&["task", "list", "--limit", "2"]),
        world.run(&["task", "list", "--page-token", "2"]),
        world.run(&["task", "list", "--all"]),
        world.run(&["task", "list", "--queue", "none"]),
        world.run(&["task", "list", "--queue", "none", "--output", "json"]),
        world.run(&["task", "list", "--limit", "0"]),
    ];
    assert_output!(shown.join("\n"));
}

#[test]
fn a_list_as_json_is_one_array() {
    let world = World::new(Script { tasks: (1..=3).map(task).collect(), ..Script::default() });
    for (args, rows) in [(["--limit", "2"], 2), (["--limit", "9"], 3)] {
        let shown = world.run(&[&["task", "list", "--output", "json"], &args[..]].concat());
        let json = shown.split("--- ").find_map(|part| part.strip_prefix("stdout\n")).unwrap();
        let json: serde_json::Value = serde_json::from_str(json).unwrap();
        assert_eq!(json.as_array().unwrap().len(), rows, "{shown}");
        assert_eq!(shown.contains(r#"{"next_page_token":"2"}"#), rows == 2, "{shown}");
    }
}

#[test]
fn a_cancelled_task_is_shown_and_an_ended_one_is_a_conflict() {
    let world = World::new(Script { tasks: vec![exec_succeeded(1), task(2)], ..Script::default() });
    let shown = [
        world.run(&["task", "cancel", &task(2).id, "--reason", "not needed"]),
        world.run(&["task", "cancel", &task(1).id]),
    ];
    assert_output!(shown.join("\n"));
}

#[test]
fn a_watch_shows_each_change_and_exits_by_the_end() {
    let running = |number| v1::Task {
        state: v1::TaskState::Running.into(),
        attempt_count: number,
        attempts: (1..=number).map(attempt).collect(),
        ..task(1)
    };
    let retry =
        v1::Task { state: v1::TaskState::Scheduled.into(), due_at: at("2026-11-24T12:00:04Z"), ..dead_lettered(1) };
    let progress = v1::Progress {
        attempt: 1,
        payload: Some(payload("50 %", "text/plain")),
        reported_at: at("2026-11-24T12:00:02.500Z"),
    };
    let progress = v1::WatchTaskResponse { event: Some(v1::watch_task_response::Event::Progress(progress)) };
    let good = vec![event(task(1)), event(running(1)), progress, event(exec_succeeded(1))];
    let bad = vec![event(running(1)), event(retry), event(dead_lettered(1))];
    let watches = [good.clone(), bad, good];
    let world = World::new(Script { watches: watches.into(), ..Script::default() });
    let shown = [
        world.run(&["task", "watch", &task(1).id]),
        world.run(&["task", "watch", &task(1).id]),
        world.run(&["task", "watch", &task(1).id, "--output", "json"]),
        world.run(&["task", "watch", &task(1).id]),
    ];
    assert_output!(shown.join("\n"));
}

#[test]
fn a_submission_can_wait_for_the_end() {
    let watches = [vec![event(exec_succeeded(1))], vec![event(dead_lettered(1))]];
    let world = World::new(Script { watches: watches.into(), ..Script::default() });
    let submit = ["task", "submit", "--queue", "exec", "--wait", "--", "echo", "hello"];
    let shown = [world.run(&submit), world.run(&submit)];
    assert!(shown[0].contains("    hello\n") && shown[0].ends_with("--- exit code 0\n"), "{}", shown[0]);
    assert!(shown[1].ends_with("--- exit code 8\n"), "{}", shown[1]);
}

#[test]
fn the_status_shows_queues_and_workers() {
    let world = World::new(Script::default());
    assert_output!([world.run(&["status"]), world.run(&["status", "--output", "json"])].join("\n"));
}

#[test]
fn a_submission_without_an_answer_is_told_with_its_id_and_repeated_under_it_is_one_task() {
    let lost = || refusal(Reason::DeadlineExceeded, "no answer in time");
    let world = World::new(Script { faults: [lost(), lost()].into(), ..Script::default() });
    let id = "11111111-1111-4111-a111-111111111111";
    let submit = ["task", "submit", "--queue", "q"];
    let with_id = [&submit[..], &["--id", id]].concat();
    let shown = [
        world.run(&submit),
        world.run(&[&with_id[..], &["--output", "json"]].concat()),
        world.run(&with_id),
        world.run(&[&submit[..], &["--id", "17"]].concat()),
    ];
    let submitted: Vec<_> = world.fake.script.lock().unwrap().submitted.iter().map(|spec| spec.id.clone()).collect();
    assert!(shown[0].contains(&format!("escapement task get {}", submitted[0])), "{}", shown[0]);
    assert_eq!(submitted[1..], [id, id]);
    assert_output!(shown.join("\n"));
}

#[test]
fn the_id_of_a_submission_stands_alone_for_scripts() {
    let world = World::new(Script::default());
    let id = "11111111-1111-4111-a111-111111111111";
    let submit = ["task", "submit", "--queue", "q", "--id", id];
    let quiet = world.run(&[&submit[..], &["--quiet"]].concat());
    assert!(quiet.ends_with(&format!("--quiet\n--- stdout\n{id}\n--- exit code 0\n")), "{quiet}");
    let piped = world.run(&submit);
    assert!(piped.contains(&format!("--- stdout\n{id}\n--- stderr\nnothing was changed")), "{piped}");
}

#[test]
fn states_may_be_typed_as_they_are_shown() {
    let world = World::new(Script { tasks: vec![dead_lettered(1)], ..Script::default() });
    for state in ["dead_lettered", "dead-lettered"] {
        let shown = world.run(&["task", "list", "--state", state]);
        assert!(shown.contains("--- exit code 0"), "{shown}");
    }
}

#[test]
fn a_watch_shows_each_line_of_a_program_once() {
    let report = |attempt, stdout: &str, stdout_bytes: u64, stderr: &str| {
        let stderr_bytes = stderr.len();
        let json = serde_json::json!({
            "stdout": stdout, "stdout_bytes": stdout_bytes, "stderr": stderr, "stderr_bytes": stderr_bytes,
        });
        let progress = v1::Progress {
            attempt,
            payload: Some(payload(&json.to_string(), "application/json")),
            reported_at: at("2026-11-24T12:00:02.500Z"),
        };
        v1::WatchTaskResponse { event: Some(v1::watch_task_response::Event::Progress(progress)) }
    };
    let watch = vec![
        report(1, "one\n", 4, ""),
        report(1, "one\ntwo\n", 8, "\u{1b}[2Jevil\n"),
        report(1, "nine\n", 40, "\u{1b}[2Jevil\n"),
        report(2, "one\n", 4, ""),
        event(exec_succeeded(1)),
    ];
    let world = World::new(Script { watches: [watch].into(), ..Script::default() });
    assert_output!(world.run(&["task", "watch", &task(1).id]));
}

#[test]
fn a_task_that_nobody_takes_is_told_and_a_retry_shows_both_instants() {
    let waiting = v1::Task { queue: "reports".into(), ..task(1) };
    let retry = v1::Task {
        state: v1::TaskState::Scheduled.into(),
        due_at: at("2026-11-24T12:00:04Z"),
        first_due_at: at("2026-11-24T12:00:00Z"),
        finished_at: None,
        ..dead_lettered(2)
    };
    let ended = v1::Task { state: v1::TaskState::DeadLettered.into(), ..retry.clone() };
    let ended = v1::Task { id: task(3).id, ..ended };
    let tasks = vec![waiting, retry, ended];
    let world = World::new(Script { tasks: tasks.clone(), ..Script::default() });
    let shown: Vec<_> = tasks.iter().map(|task| world.run(&["task", "get", &task.id])).collect();
    assert_output!(shown.join("\n"));
}

#[test]
fn the_output_of_the_last_attempt_is_that_of_the_task() {
    let mut task = dead_lettered(1);
    task.error.as_mut().unwrap().details = None;
    let world = World::new(Script { tasks: vec![task.clone()], ..Script::default() });
    let shown = world.run(&["task", "get", &task.id]);
    assert!(shown.contains("  stderr (its end)\n    no space\n"), "{shown}");
    let json = world.run(&["task", "get", &task.id, "--output", "json"]);
    let json = json.split("--- ").find_map(|part| part.strip_prefix("stdout\n")).unwrap();
    let json: serde_json::Value = serde_json::from_str(json).unwrap();
    assert_eq!(json["error"]["details"]["data"]["stderr"], "no space\n");
}

#[test]
fn hints_repeat_the_server_and_namespace_that_flags_named() {
    let world = World::new(Script { schedules: vec![fake::schedule("s")], ..Script::default() });
    let url = world.fake.url();
    let id = "11111111-1111-4111-a111-111111111111";
    let other = ["--namespace", "other", "--server", &url];
    let run = |args: &[&str]| world.run(&[&other[..], args].concat());
    let submit = ["task", "submit", "--queue", "q", "--id", id];
    let said = "escapement --server http://SERVER --namespace other";
    let check = |shown: String, expect: &str| assert!(shown.contains(expect), "{shown}");
    check(run(&submit), &format!("of it: {said} task watch {id}"));
    check(run(&["schedule", "trigger", "s"]), &format!("of it: {said} task watch "));
    check(
        run(&["task", "get", id]),
        "does not exist in namespace `other`\nwhat to do: Check the id and the namespace; ",
    );
    check(run(&["task", "get", id]), &format!("`{said} task list` shows"));
    check(
        run(&["schedule", "get", "t"]),
        &format!("in namespace `other`\nwhat to do: Check the id and the namespace; `{said} "),
    );
    world.fake.script.lock().unwrap().faults.push_back(refusal(Reason::DeadlineExceeded, "no answer in time"));
    check(run(&submit), &format!("Look it up: {said} task get {id}"));
    check(world.run(&submit), &format!("of it: escapement task watch {id}"));
}

#[test]
fn a_submission_that_was_never_sent_is_not_said_to_be_made_perhaps() {
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let world = World::new(Script::default());
    let url = format!("http://{gone}");
    let id = "11111111-1111-4111-a111-111111111111";
    let submit = ["task", "submit", "--queue", "q", "--id", id, "--timeout-ms"];
    let shown = world.run(&[&submit[..], &["300", "--server", &url]].concat());
    assert!(shown.contains("error[SERVER_UNREACHABLE]") && !shown.contains("submitted"), "{shown}");
    // Of one that was sent nobody knows.
    let stopping = (0..9).map(|_| refusal(Reason::ShuttingDown, "the server is about to stop"));
    world.fake.script.lock().unwrap().faults.extend(stopping);
    let shown = world.run(&[&submit[..], &["300"]].concat());
    assert!(shown.contains("The task may have been submitted"), "{shown}");
}

#[test]
fn an_error_about_a_task_names_it_for_programs() {
    let id = "11111111-1111-4111-a111-111111111111";
    let world = World::new(Script::default());
    let submit = ["task", "submit", "--queue", "q", "--output", "json", "--id", id];
    // The submission is answered; the watch is not.
    let shown = world.run(&[&submit[..], &["--wait"]].concat());
    assert!(shown.contains(&format!(r#""task_id":"{id}""#)), "{shown}");
    let in_the_way = "22222222-2222-4222-a222-222222222222";
    let taken = ApiError::new(Reason::IdempotencyConflict, "the key is taken").with_metadata("task_id", in_the_way);
    world.fake.script.lock().unwrap().faults.push_back(taken.into());
    let shown = world.run(&[&submit[..], &["--idempotency-key", "k"]].concat());
    assert!(shown.contains(&format!(r#""task_id":"{in_the_way}""#)), "{shown}");
}

#[test]
fn a_list_that_is_all_there_does_not_say_that_there_are_more() {
    let world = World::new(Script { tasks: (1..=3).map(task).collect(), ..Script::default() });
    let list = |limit: &str| world.run(&["task", "list", "--limit", limit]);
    assert!(list("2").contains("there are more"), "{}", list("2"));
    assert!(!list("3").contains("there are more"), "{}", list("3"));
}

#[test]
fn values_that_no_server_takes_are_refused_as_they_are_typed() {
    let world = World::new(Script::default());
    let check = |args: &[&str], expect: &str| {
        let shown = world.run(&[&["task", "submit", "--queue", "q"], args].concat());
        assert!(shown.contains(expect) && shown.ends_with("--- exit code 2\n"), "{shown}");
    };
    check(&["--idempotency-key", ""], "must have 1 to 256 bytes");
    check(&["--id", "00000000-0000-0000-0000-000000000000"], "must not be the nil UUID");
    check(&["--payload", "x", "--content-type", "json"], "must be a media type such as application/json");
    check(&["--url", "localhost:8080"], "must be a URL such as");
    check(&["--label", "a=1", "--label", "b=1", "--label", "a=2"], "labels[a] must be given once (got `2`)");
    let filtered = world.run(&["task", "list", "--label", "a=1", "--label", "a=2"]);
    assert!(filtered.contains("labels[a] must be given once"), "{filtered}");
    assert!(world.fake.calls().is_empty());
}

#[test]
fn what_was_typed_wrongly_is_told_to_programs_by_field_value_and_limit() {
    let world = World::new(Script::default());
    let check = |args: &[&str], field: &str, value: &str, limit: &str| {
        let shown = world.run(&[&["--output", "json"], args].concat());
        let json = shown.split("--- ").find_map(|part| part.strip_prefix("stderr\n")).unwrap();
        let json: serde_json::Value = serde_json::from_str(json).unwrap();
        let expect = serde_json::json!([{"field": field, "value": value, "limit": limit}]);
        assert_eq!(json["error"]["violations"], expect, "{shown}");
    };
    let submit = |args: &[&'static str]| [&["task", "submit", "--queue", "q"], args].concat();
    check(&["status", "--timeout-ms", "0"], "client.timeout_ms", "0", "must be a whole number from 1 to 86400000");
    check(&submit(&["--max-attempts", "0"]), "--max-attempts", "0", "0 is not in 1..=1000");
    check(&submit(&["--in", "soon"]), "--in", "soon", "must be a duration such as 2s, 500ms, 1h30m or 2d");
    check(&submit(&["--priority", "top"]), "--priority", "top", "must be one of high, medium, low");
    check(&["task", "submit"], "--queue", "", "must be given");
    check(&submit(&["--label", "a=1", "--label", "a=2"]), "labels[a]", "2", "must be given once");
}

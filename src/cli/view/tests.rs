use super::*;
use crate::cli::output::{Format, Ui};

fn cut() -> v1::Task {
    let payload = v1::Payload { data: "ab".into(), content_type: "text/plain".into(), truncated: true };
    v1::Task {
        id: "t".into(),
        result: Some(payload),
        schedule_id: "daily".into(),
        schedule_uid: "u".into(),
        attempts: vec![v1::Attempt { number: 41, ..v1::Attempt::default() }],
        attempts_left_out: 40,
        ..v1::Task::default()
    }
}

#[test]
fn what_was_left_out_of_a_task_is_said() {
    let text = task::describe(&cut(), &Ui::new(Format::Table, true));
    assert!(text.contains("ab (text/plain, 2 bytes, the rest was left out)"), "{text}");
    assert!(text.contains("history (without the first 40 attempts)"), "{text}");
    let json = serde_json::to_value(task::TaskView::of(&cut())).unwrap();
    assert_eq!((&json["result"]["truncated"], &json["attempts_left_out"]), (&true.into(), &40.into()));
    assert_eq!(json["schedule_uid"], "u");
}

#[test]
fn nothing_is_said_of_what_is_all_there() {
    let mut whole = cut();
    whole.attempts_left_out = 0;
    whole.result.as_mut().unwrap().truncated = false;
    let text = task::describe(&whole, &Ui::new(Format::Table, true));
    assert!(text.contains("ab (text/plain, 2 bytes)") && text.contains("history\n"), "{text}");
}

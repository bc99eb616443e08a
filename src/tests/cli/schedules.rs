use super::{
    World, assert_output,
    fake::{Script, schedule},
};

fn world() -> World {
    World::new(Script { schedules: vec![schedule("backup"), schedule("report")], ..Script::default() })
}

#[test]
fn schedules_are_shown_and_steered() {
    let world = world();
    let shown = [
        world.run(&["schedule", "list"]),
        world.run(&["schedule", "get", "backup"]),
        world.run(&["schedule", "pause", "backup"]),
        world.run(&["schedule", "resume", "backup"]),
        world.run(&["schedule", "trigger", "backup"]),
        world.run(&["schedule", "delete", "backup"]),
        world.run(&["schedule", "get", "backup"]),
        world.run(&["schedule", "get", "report", "--output", "json"]),
        world.run(&["schedule", "trigger", "report", "--output", "json"]),
        world.run(&["schedule", "delete", "report", "--output", "json"]),
        world.run(&["schedule", "list"]),
        world.run(&["schedule", "list", "--output", "json"]),
    ];
    assert_output!(shown.join("\n"));
}

#[test]
fn a_schedule_becomes_the_specification_that_was_typed() {
    let world = world();
    let create = |args: &[&str]| {
        let shown = world.run(&[&["schedule", "create", "nightly"], args].concat());
        format!("{shown}spec: {:?}\n", world.fake.script.lock().unwrap().created.last())
    };
    let cron = ["--cron", "30 2 * * *", "--zone", "Europe/Berlin", "--queue", "exec", "--", "backup", "-v"];
    let shown = [
        create(&cron),
        create(&cron),
        create(&["--every", "15m", "--queue", "q", "--deadline-after", "1h", "--end-at", "2027-01-01T00:00:00Z"]),
        world.run(&["schedule", "create", "x", "--queue", "q"]),
        world.run(&["schedule", "create", "x", "--queue", "q", "--cron", "@daily", "--every", "1h"]),
    ];
    assert_output!(shown.join("\n"));
}

#[test]
fn a_preview_shows_instants_in_utc_and_in_the_zone() {
    let world = world();
    let shown = [
        world.run(&["schedule", "preview", "backup", "--count", "3"]),
        world.run(&["schedule", "preview", "--cron", "30 2 * * *", "--zone", "Europe/Berlin", "--output", "json"]),
        world.run(&["schedule", "preview"]),
        world.run(&["schedule", "preview", "backup", "--cron", "30 2 * * *"]),
        world.run(&["schedule", "preview", "backup", "--count", "0"]),
    ];
    assert_output!(shown.join("\n"));
}

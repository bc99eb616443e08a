use std::process::Command;

use escapement::error::Reason;

use super::{
    World, assert_output,
    fake::{Script, refusal},
    run,
};

const SYSTEM: &str = "\
# /etc/cron.d/example: comments and blank lines are no matter

SHELL=/bin/bash
MAILTO=root
CRON_TZ=Europe/Berlin
30 2 * * * root [ -x /usr/sbin/backup ] && /usr/sbin/backup --all
@daily www-data cat%one%two
@reboot root /usr/sbin/once
61 * * * * root never
0 0 31 2 * root never either
*/5 * * * * root
";

#[test]
fn an_import_tells_what_became_of_each_line() {
    let world = World::new(Script::default());
    world.write("example", SYSTEM);
    let first = world.run(&["import", "crontab", "example"]);
    let specs = world.fake.script.lock().unwrap().created.clone();
    let payloads: Vec<_> = specs
        .iter()
        .map(|spec| {
            let task = spec.task.clone().unwrap();
            let payload = String::from_utf8(task.payload.unwrap().data.to_vec()).unwrap();
            format!("{} {} {:?} {payload}", spec.id, spec.time_zone, task.retry.map(|retry| retry.max_attempts))
        })
        .collect();
    let again = world.run(&["import", "crontab", "example"]);
    assert!(again.contains("0 created, 2 there before"), "{again}");
    let json = world.run(&["import", "crontab", "example", "--output", "json"]);
    assert_output!([first, payloads.join("\n"), json].join("\n"));
}

#[test]
fn the_format_is_found_by_place_and_columns_unless_it_is_named() {
    let world = World::new(Script::default());
    std::fs::create_dir_all(world.dir.path().join("cron.d")).unwrap();
    let check = |path: &str, content: &str, flag: &[&str], expect: &str| {
        world.write(path, content);
        let shown = world.run(&[&["import", "crontab", "--dry-run", path], flag].concat());
        assert!(shown.contains(expect), "{shown}");
    };
    check("cron.d/x", "0 1 * * * someone true\n", &[], "system format, by its place");
    check("x", "0 1 * * * someone true\n", &[], "user format, by its columns");
    check("x", "0 1 * * * root true\n", &[], "system format, by its columns");
    check("x", "0 1 * * * root true\n", &["--user"], "user format, by --user");
    check("x", "0 1 * * * someone true\n", &["--system"], "system format, by --system");
}

#[test]
fn a_dry_run_shows_five_instants_and_changes_nothing() {
    let world = World::new(Script::default());
    world.write("jobs", "0 12 * * * one\nCRON_TZ=Europe/Berlin\n0 12 1 1 * two\n");
    let shown = world.run(&["import", "crontab", "jobs", "--dry-run", "--zone", "Asia/Tokyo", "--prefix", "mine"]);
    let instants = |zone: &str| shown.lines().filter(|line| line.ends_with(zone)).count();
    assert_eq!((instants(" 12:00:00 +09:00"), instants(" 12:00:00 +01:00")), (5, 5), "{shown}");
    assert!(shown.contains("planned as mine-"), "{shown}");
    assert!(
        shown.ends_with(
            "dry run: 2 jobs would be imported; 0 notes on changes, 0 skipped\n\
             a run of a job is stopped after 24h; --timeout says otherwise\n\
             jobs without CRON_TZ are in Asia/Tokyo, as --zone says\n--- exit code 0\n"
        ),
        "{shown}"
    );
    assert!(world.fake.calls().is_empty());
}

#[test]
fn jobs_without_a_zone_stay_at_the_local_time_of_the_machine() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("jobs"), "0 12 * * * one\nCRON_TZ=Asia/Tokyo\n0 12 * * * two\n").unwrap();
    let check = |tz: &str, flags: &[&str], expect: &str, noted: bool| {
        let args = [&["import", "crontab", "jobs", "--dry-run"], flags].concat();
        let shown = run(dir.path(), &args, &[("TZ", tz)], "");
        let (zone, _) = expect.split_once(',').unwrap();
        assert!(shown.contains(&format!("line 1: 0 12 * * * ({zone})  one")), "{tz}: {shown}");
        assert!(shown.contains("line 3: 0 12 * * * (Asia/Tokyo)  two"), "{tz}: {shown}");
        assert!(shown.ends_with(&format!("jobs without CRON_TZ are in {expect}\n--- exit code 0\n")), "{tz}: {shown}");
        let note = "  line 1: this machine's time zone has no IANA name: UTC is taken in its place";
        assert_eq!(shown.contains(note), noted, "{tz}: {shown}");
    };
    let machine = "this machine's time zone; --zone says otherwise";
    check("America/New_York", &[], &format!("America/New_York, {machine}"), false);
    check(":America/New_York", &[], &format!("America/New_York, {machine}"), false);
    check("/usr/share/zoneinfo/Europe/Berlin", &[], &format!("Europe/Berlin, {machine}"), false);
    check("UTC", &[], &format!("UTC, {machine}"), false);
    check("", &[], &format!("UTC, {machine}"), false);
    check("America/New_York", &["--zone", "Europe/Berlin"], "Europe/Berlin, as --zone says", false);
    let nameless = "UTC, since this machine's time zone has no IANA name; --zone says otherwise";
    check("CET-1CEST,M3.5.0,M10.5.0/3", &[], nameless, true);
    check("Mars/Olympus", &[], nameless, true);
    check("Mars/Olympus", &["--zone", "UTC"], "UTC, as --zone says", false);
}

#[test]
fn without_the_variable_the_zone_is_that_of_the_system() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("jobs"), "0 12 * * * one\n").unwrap();
    let mut program = Command::new(env!("CARGO_BIN_EXE_escapement"));
    program.args(["import", "crontab", "jobs", "--dry-run"]).env_clear().current_dir(dir.path());
    let shown = String::from_utf8(program.output().unwrap().stdout).unwrap();
    // A machine without the link has a zone without a name.
    let link = std::fs::read_link("/etc/localtime").ok();
    let zone = link.as_ref().and_then(|link| Some(link.to_str()?.rsplit_once("zoneinfo/")?.1)).unwrap_or("UTC");
    assert!(shown.contains(&format!("line 1: 0 12 * * * ({zone})  one")), "{shown}");
}

#[test]
fn bytes_that_are_not_utf_8_are_told() {
    let world = World::new(Script::default());
    world.write("jobs", b"# caf\xe9\n0 1 * * * echo caf\xe9\n\n0 2 * * * echo plain\n");
    assert_output!(world.run(&["import", "crontab", "jobs"]));
}

#[test]
fn what_the_server_refuses_is_reported_and_the_rest_goes_on() {
    let faults = [refusal(Reason::ScheduleExists, "another schedule has this id")];
    let world = World::new(Script { faults: faults.into(), ..Script::default() });
    let shown = world.run_with(&["import", "crontab", "-"], "0 1 * * * one\n0 2 * * * two\n");
    assert_output!(shown);
}

#[test]
fn an_import_that_cannot_go_on_shows_how_far_it_came() {
    let world = World::new(Script::default());
    world.write("jobs", "0 1 * * * one\n0 2 * * * two\n");
    let shown = [
        world.run(&["import", "crontab", "jobs", "--zone", "Europe/Berln"]),
        world.run(&["import", "crontab", "missing"]),
        {
            world.fake.script.lock().unwrap().faults.push_back(refusal(Reason::StorageFull, "the disk is full"));
            world.run(&["import", "crontab", "jobs"])
        },
    ];
    assert_output!(shown.join("\n"));
}

#[test]
fn a_dry_run_refuses_what_the_server_would() {
    let world = World::new(Script::default());
    world.write("jobs", "0 1 * * * x\n");
    let check = |flags: &[&str], expect: &str| {
        let shown = world.run(&[&["import", "crontab", "jobs", "--dry-run"], flags].concat());
        assert!(shown.contains(expect) && shown.ends_with("--- exit code 9\n"), "{shown}");
        assert!(shown.contains("dry run: 0 jobs would be imported, 1 would be refused;"), "{shown}");
    };
    check(&["--timeout", "8d"], "because schedule.task.attempt_timeout must be 10 ms to 7 days");
    check(&["--queue", "a b"], "because schedule.task.queue must be 1 to 128 characters");
}

#[test]
fn what_hangs_on_the_account_is_told_with_the_lines() {
    let world = World::new(Script::default());
    world.write("jobs", "0 1 * * * bin/backup $USER\n0 2 * * * /bin/true\n0 3 * * * bin/clean\n");
    let shown = world.run(&["import", "crontab", "jobs", "--user"]);
    assert!(shown.contains("  lines 1, 3: cron starts this in the account's home directory"), "{shown}");
    assert!(shown.contains("  line 1: cron sets USER from the account"), "{shown}");
    assert!(shown.ends_with("--- exit code 0\n"), "{shown}");
}

#[test]
fn an_anacrontab_is_refused_as_a_whole() {
    let world = World::new(Script::default());
    world.write("anacrontab", "SHELL=/bin/sh\n1 5 cron.daily run-parts /etc/cron.daily\n@monthly 45 m run-parts x\n");
    let shown = world.run(&["import", "crontab", "anacrontab"]);
    assert!(
        shown.contains("error[USAGE]: `anacrontab` is an anacrontab") && shown.ends_with("exit code 2\n"),
        "{shown}"
    );
    assert!(world.fake.calls().is_empty());
}

#[test]
fn a_skipped_line_is_not_listed_as_carried_over() {
    let world = World::new(Script::default());
    world.write("jobs", b"61 * * * * caf\xe9\n");
    let shown = world.run(&["import", "crontab", "jobs"]);
    assert!(shown.contains("skipped: not carried over") && !shown.contains("carried over, but"), "{shown}");
}

//! Crontab files in the style of those that Debian's packages ship and that people write, and
//! what each line of them comes to.

use std::fmt::Write;

use escapement_engine::calendar::crontab::{CronJob, Crontab, Flavour, Severity, parse};
use insta::assert_snapshot;
use proptest::{prelude::Strategy, prop_assert, prop_assert_eq, prop_oneof, proptest, sample::select};

fn show_job(out: &mut String, job: &CronJob) -> std::fmt::Result {
    let zone = job.zone.as_ref().map_or(String::new(), |zone| format!(" in {zone}"));
    let user = job.user.as_ref().map_or(String::new(), |user| format!(" as {user}"));
    writeln!(out, "{:>3} job      {}{zone}{user}", job.line, job.expression)?;
    let [shell, flag, command] = job.argv();
    writeln!(out, "             {shell} {flag} {command:?}")?;
    if let Some(stdin) = &job.stdin {
        writeln!(out, "             reads {stdin:?}")?;
    }
    let named: Vec<_> = job.environment.iter().map(|(name, value)| format!("{name}={value:?}")).collect();
    writeln!(out, "             with {}", named.join(" "))
}

fn show(crontab: &Crontab) -> Result<String, std::fmt::Error> {
    let mut out = String::new();
    for variable in &crontab.variables {
        writeln!(out, "{:>3} variable {} = {:?}", variable.line, variable.name, variable.value)?;
    }
    for job in &crontab.jobs {
        show_job(&mut out, job)?;
    }
    for note in &crontab.notes {
        let severity = if note.severity == Severity::Skipped { "skipped" } else { "changed" };
        writeln!(out, "{:>3} {severity}  {:?}\n             {}", note.line, note.text, note.reason)?;
    }
    Ok(out)
}

fn check(text: &str, flavour: Flavour) -> String {
    let crontab = parse(text, flavour);
    assert_every_line_is_accounted_for(text, &crontab);
    show(&crontab).unwrap_or_default()
}

fn unaccounted(text: &str, crontab: &Crontab) -> Vec<usize> {
    let meaning = |line: &str| !line.trim_matches(['\u{feff}', ' ', '\t', '\r']).is_empty();
    let comment = |line: &str| line.trim_matches(['\u{feff}', ' ', '\t']).starts_with('#');
    let lines = text.split('\n').enumerate().filter(|(_, line)| meaning(line) && !comment(line));
    let told = |number: usize| {
        crontab.jobs.iter().any(|job| job.line == number)
            || crontab.variables.iter().any(|variable| variable.line == number)
            || crontab.notes.iter().any(|note| note.line == number)
    };
    lines.map(|(index, _)| index + 1).filter(|number| !told(*number)).collect()
}

fn assert_every_line_is_accounted_for(text: &str, crontab: &Crontab) {
    assert_eq!(unaccounted(text, crontab), Vec::<usize>::new(), "{text}");
}

#[test]
fn a_system_table_becomes_jobs_with_users() {
    assert_snapshot!(check(include_str!("files/system.crontab"), Flavour::System));
}

#[test]
fn lines_of_packages_become_jobs_with_notes() {
    assert_snapshot!(check(include_str!("files/packages.crontab"), Flavour::System));
}

#[test]
fn a_personal_table_keeps_its_variables_zones_and_input() {
    assert_snapshot!(check(include_str!("files/personal.crontab"), Flavour::User));
}

#[test]
fn mistakes_are_told_line_by_line() {
    assert_snapshot!(check(include_str!("files/mistakes.crontab"), Flavour::System));
}

#[test]
fn a_system_table_read_as_a_personal_one_raises_doubts() {
    assert_snapshot!(check("17 * * * * root run-parts /etc/hourly.jobs\n", Flavour::User));
}

#[test]
fn foreign_line_ends_marks_and_nul_bytes_are_told() {
    let text = "\u{feff}A=1\r\n# note\r\n\r\n0 1 * * * first\r\n0 2 * * * sec\0ond\r\n0 3 * * * third";
    assert_snapshot!(check(text, Flavour::User));
    assert_eq!(check("# no newline behind a comment", Flavour::User), "");
    assert_eq!(check("", Flavour::System), "");
    assert_eq!(check("\r\n\t \n", Flavour::System), "");
    // Blank to the eye only: cron, too, takes it for an entry.
    assert!(check("\u{a0}\n\u{b}\n", Flavour::User).matches("skipped").count() == 2);
}

#[test]
fn overlong_lines_are_told_and_cut() {
    let long = format!("0 1 * * * {}\n", "x".repeat(64 << 10));
    let crontab = parse(&long, Flavour::User);
    assert!(crontab.jobs.is_empty());
    let note = crontab.notes.first().map(|note| (note.line, note.text.len(), note.reason.to_string()));
    assert_eq!(note, Some((1, 200, "the line has 65546 bytes, at most 65536 are allowed".to_owned())));
}

#[test]
fn home_is_where_a_command_starts() {
    let crontab = parse("0 1 * * * a\nHOME=/srv\n0 1 * * * b\n", Flavour::User);
    let homes: Vec<_> = crontab.jobs.iter().map(CronJob::working_directory).collect();
    assert_eq!(homes, [None, Some("/srv")]);
}

fn fragment() -> impl Strategy<Value = String> {
    let whole = select(vec![
        "0 5 * * * root true",
        "*/5 1-3 L * fri root a % b",
        "@reboot root x",
        "@daily root y",
        "MAILTO=x",
        "MAILTO=",
        "CRON_TZ=Europe/Berlin",
        "CRON_TZ=Nowhere",
        "A=\"b",
        "# comment",
        "  # comment",
        "",
        "  ",
        "\u{feff}",
    ]);
    let piece = select(vec![
        " ", "\t", "*", "5", "@", "daily", "=", "\"", "'", "%", "\\", "#", "-", "root", "~", "\r", "\0", "x", "ä", "/",
        ",", "\u{b}", "\u{a0}", "\u{feff}", "LOGNAME", "SHELL",
    ]);
    let pieces = proptest::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat());
    prop_oneof![2 => whole.prop_map(str::to_owned), 1 => pieces]
}

proptest! {
    #[test]
    fn every_line_is_a_job_a_variable_or_has_a_note(
        lines in proptest::collection::vec(fragment(), 0..12),
        end in select(vec!["\n", "\r\n"]),
        system in proptest::bool::ANY,
    ) {
        let text = lines.join(end);
        let flavour = if system { Flavour::System } else { Flavour::User };
        let crontab = parse(&text, flavour);
        prop_assert_eq!(unaccounted(&text, &crontab), Vec::<usize>::new());
        // A line is not carried over and skipped at once, and none is made up.
        for note in crontab.notes.iter().filter(|note| note.severity == Severity::Skipped) {
            prop_assert!(crontab.jobs.iter().all(|job| job.line != note.line));
        }
        let count = text.split('\n').count();
        prop_assert!(crontab.jobs.is_sorted_by(|a, b| a.line < b.line));
        prop_assert!(crontab.jobs.iter().all(|job| (1..=count).contains(&job.line)));
        prop_assert!(crontab.notes.iter().all(|note| (1..=count).contains(&note.line)));
        prop_assert!(crontab.jobs.iter().all(|job| !job.command.trim().is_empty() && job.user.is_some() == system));
    }

    #[test]
    fn no_text_makes_the_parser_panic(text in "\\PC{0,60}|[ -~\\n\\t]{0,80}") {
        for flavour in [Flavour::System, Flavour::User] {
            let crontab = parse(&text, flavour);
            prop_assert_eq!(unaccounted(&text, &crontab), Vec::<usize>::new());
        }
    }
}

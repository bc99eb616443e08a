//! What may differ from cron for reasons that lie beside the lines themselves: bytes that are no
//! text, the account whose crontab it was, a file in another format.

use std::{collections::BTreeSet, fs};

use escapement_engine::calendar::crontab::{CronJob, Crontab, Reason, Severity};

use super::report::NoteReport;

/// Lines that are carried over with bytes that are not UTF-8: what is in their place is told.
pub(super) fn undecodable(bytes: &[u8], crontab: &Crontab) -> Vec<NoteReport> {
    let skipped: BTreeSet<usize> =
        crontab.notes.iter().filter(|note| note.severity == Severity::Skipped).map(|note| note.line).collect();
    let lines = bytes.split(|byte| *byte == b'\n').enumerate().map(|(index, line)| (index + 1, line));
    let lines = lines.filter(|(_, line)| std::str::from_utf8(line).is_err());
    lines
        .filter(|(number, line)| !line.trim_ascii_start().starts_with(b"#") && !skipped.contains(number))
        .map(|(line, text)| NoteReport {
            line,
            severity: Severity::Changed,
            text: String::from_utf8_lossy(text).into_owned(),
            reason: "bytes that are not UTF-8 are replaced by U+FFFD: convert the file first if they matter".to_owned(),
        })
        .collect()
}

fn changed(job: &CronJob, reason: String) -> NoteReport {
    NoteReport { line: job.line, severity: Severity::Changed, text: job.command.clone(), reason }
}

/// Jobs that seem to need what cron takes from the account: its home directory, in which it
/// starts them, and the variables HOME, LOGNAME and USER.
pub(super) fn of_account(crontab: &Crontab) -> Vec<NoteReport> {
    let mut notes = Vec::new();
    for job in &crontab.jobs {
        let home_is_set = job.working_directory().is_some();
        let command = format!("{} {}", job.command, job.stdin.as_deref().unwrap_or_default());
        if !home_is_set && has_relative_path(&job.command) {
            let reason = "cron starts this in the account's home directory, where its relative paths are; here it \
                          starts in the worker's working directory, unless the file sets HOME above it";
            notes.push(changed(job, reason.to_owned()));
        }
        let names: &[&str] = if home_is_set { &["LOGNAME", "USER"] } else { &["HOME", "LOGNAME", "USER"] };
        for name in names.iter().filter(|name| uses_variable(&command, name)) {
            let reason = format!("cron sets {name} from the account; here it is the worker's, if that has one");
            notes.push(changed(job, reason));
        }
    }
    notes
}

/// `$NAME` or `${NAME...`; for HOME `~`, too.
fn uses_variable(command: &str, name: &str) -> bool {
    let named = command.split('$').skip(1).any(|behind| {
        let behind = behind.strip_prefix('{').unwrap_or(behind);
        behind.strip_prefix(name).is_some_and(|rest| !rest.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_'))
    });
    named || name == "HOME" && words(command).any(|word| word == "~" || word.starts_with("~/"))
}

/// The words of a command, as far as one can tell without being a shell.
fn words(command: &str) -> impl Iterator<Item = &str> {
    let ends = |c: char| c.is_whitespace() || matches!(c, ';' | '|' | '&' | '(' | ')' | '<' | '>' | '`' | '"' | '\'');
    command.split(ends).filter(|word| !word.is_empty())
}

/// A word with a `/` inside, or a redirection to a plain name. A command that first goes to an
/// absolute directory has none: its paths are meant from there.
fn has_relative_path(command: &str) -> bool {
    let mut first = words(command);
    if first.next() == Some("cd") {
        return first.next().is_some_and(|dir| !dir.starts_with(['/', '~', '$']));
    }
    let is_relative = |word: &str| {
        let path = word.rsplit_once('=').map_or(word, |(_, value)| value);
        path.contains('/') && !path.starts_with(['/', '~', '$', '-']) && !path.contains(':')
    };
    let target = |behind: &str| {
        let name = behind.trim_start_matches('>').trim_start();
        name.starts_with(|c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_'))
    };
    words(command).any(is_relative) || command.split_once('>').is_some_and(|(_, behind)| target(behind))
}

/// The accounts that this machine's own list names.
pub(super) fn accounts() -> BTreeSet<String> {
    let list = fs::read_to_string("/etc/passwd").unwrap_or_default();
    list.lines().filter_map(|line| Some(line.split_once(':')?.0.to_owned())).filter(|name| !name.is_empty()).collect()
}

/// Commands of a per-user crontab that begin with an account's name, as every line of the system
/// format does. Of `root` the parser says so itself.
pub(super) fn user_columns(crontab: &Crontab, accounts: &BTreeSet<String>) -> Vec<NoteReport> {
    let told: BTreeSet<usize> =
        crontab.notes.iter().filter(|note| matches!(note.reason, Reason::UserColumn)).map(|note| note.line).collect();
    let doubt = |job: &CronJob| {
        let (first, _) = job.command.trim_start().split_once([' ', '\t'])?;
        let reason = format!(
            "the command begins with `{first}`, an account of this machine: is this file in the system format? \
             --system or --user says which it is"
        );
        (accounts.contains(first) && !told.contains(&job.line)).then(|| changed(job, reason))
    };
    crontab.jobs.iter().filter_map(doubt).collect()
}

/// Whether every line that is neither blank, comment nor variable reads `period delay job-id command`,
/// as anacrontab(5) has it. A crontab's third field, the day of the month, has no such word.
pub(super) fn is_anacrontab(text: &str) -> bool {
    let is_number = |word: &str| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit());
    let is_job = |line: &str| {
        let mut words = line.split_whitespace();
        let mut next = || words.next().unwrap_or_default();
        let (period, delay, id, command) = (next(), next(), next(), next());
        let named = period.starts_with('@');
        // Behind `@daily` a crontab has its command, which is no number.
        let id_is_a_name = named || id.bytes().filter(u8::is_ascii_alphabetic).count() > 1;
        (named || is_number(period)) && is_number(delay) && id_is_a_name && !command.is_empty()
    };
    let is_variable = |line: &str| {
        let name = line.split('=').next().unwrap_or_default().trim_end();
        name.len() < line.len() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    };
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let mut jobs = lines.filter(|line| !is_variable(line)).peekable();
    jobs.peek().is_some() && jobs.all(is_job)
}

#[cfg(test)]
mod tests {
    use escapement_engine::calendar::crontab::{Flavour, parse};

    use super::*;

    #[test]
    fn what_a_command_needs_of_the_account_is_told() {
        let check = |text: &str, expect: &[&str]| {
            let notes = of_account(&parse(text, Flavour::User));
            let told = |note: &NoteReport| expect.iter().any(|word| note.reason.contains(word));
            assert!(notes.len() == expect.len() && notes.iter().all(told), "{text}: {notes:?}");
        };
        check("0 1 * * * /bin/true --all >/dev/null 2>&1\n", &[]);
        check("0 1 * * * bin/backup\n", &["home directory"]);
        check("0 1 * * * ./backup\n", &["home directory"]);
        check("0 1 * * * backup --to=data/x\n", &["home directory"]);
        check("0 1 * * * date >> log\n", &["home directory"]);
        check("0 1 * * * curl http://localhost/a/b\n", &[]);
        check("0 1 * * * cd /srv/app && bin/run\n", &[]);
        check("0 1 * * * cd app && ./run\n", &["home directory"]);
        check("HOME=/srv\n0 1 * * * bin/backup ~/x\n", &[]);
        check("0 1 * * * ls $HOME\n", &["sets HOME"]);
        check("0 1 * * * ls ~/x\n", &["sets HOME"]);
        check("0 1 * * * ls \"${USER}\" $LOGNAME\n", &["sets USER", "sets LOGNAME"]);
        check("0 1 * * * ls $USERS $HOMES\n", &[]);
    }

    #[test]
    fn a_first_word_that_is_an_account_raises_a_doubt() {
        let accounts = ["deploy", "root"].map(str::to_owned).into();
        let lines = |text: &str| -> Vec<usize> {
            user_columns(&parse(text, Flavour::User), &accounts).iter().map(|note| note.line).collect()
        };
        assert_eq!(lines("5 4 * * * deploy /bin/x\n5 4 * * * deployed /bin/x\n5 4 * * * deploy\n"), [1]);
        // The parser's own note says it of root.
        assert_eq!(lines("5 4 * * * root /bin/x\n"), [0; 0]);
    }

    #[test]
    fn an_anacrontab_is_told_from_a_crontab() {
        let check = |text: &str, expect: bool| assert_eq!(is_anacrontab(text), expect, "{text}");
        let debian = "SHELL=/bin/sh\nSTART_HOURS_RANGE = 3-22\n\n# jobs\n1\t5\tcron.daily\trun-parts /etc/cron.daily\n\
                      @monthly\t45\tcron.monthly\tnice run-parts /etc/cron.monthly\n";
        check(debian, true);
        check("7 10 cron.weekly run-parts\n0 5 * * * x\n", false);
        check("1 5 L * * x\n", false);
        check("0 5 1 jan mon x\n", false);
        check("0 5 * * * x\n", false);
        check("@daily x y z\n", false);
        check("SHELL=/bin/sh\n", false);
    }
}

//! Job lines: times, perhaps a user, a command.

use super::{CronJob, Flavour, Reader, Reason, SHELL_DEFAULT};
use crate::calendar::CronExpr;

const BLANKS: [char; 2] = [' ', '\t'];

/// What is noted about a line that is carried over.
type Changes = Vec<Reason>;

impl Reader {
    pub(super) fn read_job(&mut self, number: usize, line: &str) {
        let mut changes = Changes::new();
        match self.job(number, line, &mut changes) {
            Ok(job) => {
                self.crontab.jobs.push(job);
                for reason in changes {
                    self.note(number, line, reason);
                }
            }
            // What would have changed does not matter any more.
            Err(reason) => self.note(number, line, reason),
        }
    }

    fn job(&self, number: usize, line: &str, changes: &mut Changes) -> Result<CronJob, Reason> {
        let times = match line.strip_prefix('-') {
            Some(rest) => {
                changes.push(Reason::NoLog);
                rest.trim_start_matches(BLANKS)
            }
            None => line,
        };
        let (expression, rest) = read_times(times)?;
        if expression.is_extended() {
            changes.push(Reason::Extended { expression: expression.to_string() });
        }
        let zone = self.zone.clone().map_err(Reason::Zone)?;
        if rest.starts_with('*') {
            return Err(Reason::SixthField);
        }
        let (user, rest) = self.read_user(rest, changes)?;
        let rest = read_flags(rest, changes);
        let (command, stdin) = split_input(rest);
        if command.trim().is_empty() {
            return Err(Reason::NoCommand);
        }
        Ok(CronJob {
            line: number,
            expression,
            zone,
            user,
            command,
            stdin,
            environment: self.environment.clone(),
            shell: self.shell().to_owned(),
        })
    }

    fn read_user<'a>(&self, rest: &'a str, changes: &mut Changes) -> Result<(Option<String>, &'a str), Reason> {
        match self.flavour {
            Flavour::User => {
                if first_word(rest).0 == "root" {
                    changes.push(Reason::UserColumn);
                }
                Ok((None, rest))
            }
            Flavour::System => {
                let (user, command) = first_word(rest);
                if user.is_empty() || command.is_empty() || command.starts_with('*') {
                    return Err(Reason::NoUser);
                }
                changes.push(Reason::User { user: user.to_owned() });
                Ok((Some(user.to_owned()), command))
            }
        }
    }

    fn shell(&self) -> &str {
        let set = self.environment.iter().find(|(name, value)| name == "SHELL" && !value.is_empty());
        set.map_or(SHELL_DEFAULT, |(_, shell)| shell)
    }
}

/// The first word, and what follows the blanks behind it.
fn first_word(text: &str) -> (&str, &str) {
    match text.split_once(BLANKS) {
        Some((word, rest)) => (word, rest.trim_start_matches(BLANKS)),
        None => (text, ""),
    }
}

fn read_times(line: &str) -> Result<(CronExpr, &str), Reason> {
    if line.starts_with('@') {
        let (name, rest) = first_word(line);
        return Ok((CronExpr::parse(name)?, rest));
    }
    let mut rest = line;
    for _ in 0..5 {
        let (field, behind) = first_word(rest);
        if field.is_empty() {
            return Err(Reason::Incomplete);
        }
        rest = behind;
    }
    // One slice of the line, so that an error's column is the line's.
    let (times, _) = line.split_at(line.len() - rest.len());
    Ok((CronExpr::parse(times)?, rest))
}

/// Leaves out `-n`, `-q` and `-s` in front of a command (OpenBSD, FreeBSD; cronie knows `-n`).
fn read_flags<'a>(mut rest: &'a str, changes: &mut Changes) -> &'a str {
    loop {
        let (word, behind) = first_word(rest);
        let flag = match word {
            "-n" => 'n',
            "-q" => 'q',
            "-s" => 's',
            _ => return rest,
        };
        changes.push(Reason::Flag { flag });
        rest = behind;
    }
}

/// Splits a command from what it reads, at the first `%` that has no `\` before it.
fn split_input(text: &str) -> (String, Option<String>) {
    let mut command = String::with_capacity(text.len());
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        match c {
            '%' if escaped => {
                command.pop();
                command.push('%');
            }
            '%' => return (command, input(&text[at + 1..])),
            _ => command.push(c),
        }
        escaped = c == '\\' && !escaped;
    }
    (command, None)
}

/// `%` is a newline, `\%` a `%`. As cron does, ends with a newline; nothing stays nothing.
fn input(text: &str) -> Option<String> {
    if text.is_empty() {
        return None;
    }
    let mut input = String::with_capacity(text.len() + 1);
    for c in text.chars() {
        match c {
            '%' if input.ends_with('\\') => {
                input.pop();
                input.push('%');
            }
            '%' => input.push('\n'),
            _ => input.push(c),
        }
    }
    if !input.ends_with('\n') {
        input.push('\n');
    }
    Some(input)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_bare_percent_sign_ends_the_command() {
        let check = |text: &str, command: &str, stdin: Option<&str>| {
            assert_eq!(split_input(text), (command.to_owned(), stdin.map(str::to_owned)), "{text}");
        };
        check("date", "date", None);
        check("date +\\%F", "date +%F", None);
        check("mail joe%Joe,%%Where?%", "mail joe", Some("Joe,\n\nWhere?\n"));
        check("cat%a", "cat", Some("a\n"));
        check("cat%", "cat", None);
        check("cat%%", "cat", Some("\n"));
        check("cat%5\\% off%b", "cat", Some("5% off\nb\n"));
        // A backslash that is itself escaped escapes nothing; both stay for the shell.
        check("echo \\\\%x", "echo \\\\", Some("x\n"));
        check("echo \\n", "echo \\n", None);
        check("%x", "", Some("x\n"));
    }
}

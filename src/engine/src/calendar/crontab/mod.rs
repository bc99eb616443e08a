//! Crontab files as they are found in the wild: text in; jobs, variables and notes out.
//!
//! What can be carried over becomes a [`CronJob`]; what cannot, or only in a changed way, is
//! told in a [`Note`] with its line. Nothing vanishes silently: every line that is neither
//! blank nor a comment is a job, a variable, or has a note.
//!
//! Read as Debian's cron and cronie read it (crontab(5); cronie's `entry.c`, `env.c` and
//! `do_command.c`):
//! - A variable holds for the lines below it. Its value may stand in quotes, and is taken as
//!   it is: `$HOME` in it stays `$HOME`.
//! - The first `%` of a command that has no `\` before it ends the command; what follows is its
//!   standard input, in which further `%` are newlines. `\%` is a `%`.
//! - `CRON_TZ` is the zone in which the lines below it are read; `TZ` reaches only the command.
//! - A job starts with `SHELL=/bin/sh` and `PATH=/usr/bin:/bin` unless the file says otherwise.
//!   cron would also set HOME, LOGNAME and USER from the account; the worker has an account of its own.
//!
//! What is read more kindly than cron would: a last line without newline, line ends of DOS, a byte order
//! mark, and everything for which [`CronExpr::is_extended`] holds. Each of them is noted,
//! because a line that cron refused has never run before.

mod job;
mod note;
mod variable;

use super::{CronExpr, UnknownZone, Zone};
pub use note::{Note, Reason, Severity};
use variable::{Line, read_variable};

/// Bytes of a line.
pub const CRONTAB_LINE_BYTES_MAX: usize = 64 << 10;

const SHELL_DEFAULT: &str = "/bin/sh";
const PATH_DEFAULT: &str = "/usr/bin:/bin";

/// Which of the two formats a file has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flavour {
    /// /etc/crontab and /etc/cron.d: a user stands between the times and the command.
    System,
    /// What `crontab -l` shows: no user.
    User,
}

/// What a file holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Crontab {
    /// The jobs, in the order of the file.
    pub jobs: Vec<CronJob>,
    /// The variables, in the order of the file.
    pub variables: Vec<Variable>,
    /// What could not be carried over as it is, in the order of the file.
    pub notes: Vec<Note>,
}

/// A variable line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variable {
    /// Line of the file, from 1.
    pub line: usize,
    /// Left of the `=`.
    pub name: String,
    /// Right of the `=`, without the quotes.
    pub value: String,
}

/// One command and its times.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CronJob {
    /// Line of the file, from 1.
    pub line: usize,
    /// When.
    pub expression: CronExpr,
    /// Where those times are read: CRON_TZ; `None` when the file does not say.
    pub zone: Option<Zone>,
    /// The account that cron would use; only in the system format.
    pub user: Option<String>,
    /// What the shell is given.
    pub command: String,
    /// What the command reads; it ends with a newline.
    pub stdin: Option<String>,
    /// Variables that cron would set, in the order in which they were first named.
    pub environment: Vec<(String, String)>,
    /// The program that runs the command.
    pub shell: String,
}

impl CronJob {
    /// What to execute: the shell, `-c`, the command.
    pub fn argv(&self) -> [String; 3] {
        [self.shell.clone(), "-c".to_owned(), self.command.clone()]
    }

    /// Where cron would start the command: HOME, if the file sets it; otherwise the home
    /// directory of the account.
    pub fn working_directory(&self) -> Option<&str> {
        self.environment.iter().find(|(name, _)| name == "HOME").map(|(_, home)| home.as_str())
    }
}

/// Reads a crontab.
pub fn parse(text: &str, flavour: Flavour) -> Crontab {
    let mut reader = Reader::new(flavour);
    let body = text.strip_prefix('\u{feff}').unwrap_or(text);
    if body.len() < text.len() {
        reader.note(1, "", Reason::ByteOrderMark);
    }
    let mut carriage_returns = CarriageReturns::default();
    let mut rest = Some(body);
    let mut number = 0;
    while let Some(from_here) = rest {
        let (raw, behind) = match from_here.split_once('\n') {
            Some((line, behind)) => (line, Some(behind)),
            None => (from_here, None),
        };
        rest = behind;
        number += 1;
        let line = raw.strip_suffix('\r').unwrap_or(raw);
        let content = line.trim_start_matches([' ', '\t']);
        if content.is_empty() || content.starts_with('#') {
            continue;
        }
        if line.len() < raw.len() {
            carriage_returns.saw(number, line);
        }
        reader.read_line(number, content);
        if behind.is_none() {
            reader.note(number, line, Reason::NoFinalNewline);
        }
    }
    if let Some((number, line)) = carriage_returns.first {
        reader.note(number, line, Reason::CarriageReturns { lines: carriage_returns.count });
    }
    let mut crontab = reader.crontab;
    crontab.notes.sort_by_key(|note| note.line);
    crontab
}

/// One note tells of all of them.
#[derive(Default)]
struct CarriageReturns<'a> {
    first: Option<(usize, &'a str)>,
    count: usize,
}

impl<'a> CarriageReturns<'a> {
    fn saw(&mut self, number: usize, line: &'a str) {
        self.first.get_or_insert((number, line));
        self.count += 1;
    }
}

/// What the lines so far say about those to come.
struct Reader {
    flavour: Flavour,
    crontab: Crontab,
    zone: Result<Option<Zone>, UnknownZone>,
    environment: Vec<(String, String)>,
}

impl Reader {
    fn new(flavour: Flavour) -> Self {
        let defaults = [("SHELL", SHELL_DEFAULT), ("PATH", PATH_DEFAULT)];
        let environment = defaults.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        Self { flavour, crontab: Crontab::default(), zone: Ok(None), environment }
    }

    fn note(&mut self, line: usize, text: &str, reason: Reason) {
        self.crontab.notes.push(Note::new(line, text, reason));
    }

    /// `line` starts with neither blank nor `#`.
    fn read_line(&mut self, number: usize, line: &str) {
        if line.len() > CRONTAB_LINE_BYTES_MAX {
            let reason = Reason::LineTooLong { bytes: line.len(), max: CRONTAB_LINE_BYTES_MAX };
            return self.note(number, line, reason);
        }
        if line.contains('\0') {
            return self.note(number, line, Reason::NulByte);
        }
        match read_variable(line) {
            Line::Variable { name, value } => self.set_variable(number, line, name, value),
            Line::BadQuotes => self.note(number, line, Reason::BadQuotes),
            Line::Other => self.read_job(number, line),
        }
    }

    fn set_variable(&mut self, number: usize, line: &str, name: String, value: String) {
        self.crontab.variables.push(Variable { line: number, name: name.clone(), value: value.clone() });
        match name.as_str() {
            "CRON_TZ" => {
                self.zone = if value.is_empty() { Ok(None) } else { Zone::new(&value).map(Some) };
                if let Err(unknown) = &self.zone {
                    let reason = Reason::Zone(unknown.clone());
                    self.note(number, line, reason);
                }
            }
            "TZ" => self.note(number, line, Reason::ZoneOfCommand),
            "MAILTO" if value.is_empty() => {}
            "MAILTO" | "MAILFROM" | "CONTENT_TYPE" | "CONTENT_TRANSFER_ENCODING" => {
                self.note(number, line, Reason::Mail);
            }
            "RANDOM_DELAY" => self.note(number, line, Reason::RandomDelay),
            // cron overrides these with the account's name.
            "LOGNAME" | "USER" => return self.note(number, line, Reason::LoginName { name }),
            _ => {}
        }
        match self.environment.iter_mut().find(|(known, _)| *known == name) {
            Some((_, old)) => *old = value,
            None => self.environment.push((name, value)),
        }
    }
}

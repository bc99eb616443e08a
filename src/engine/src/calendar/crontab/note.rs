//! What is to be said about a line.

use crate::calendar::{InvalidCron, UnknownZone};

/// Characters of a line that a note repeats.
const NOTE_TEXT_CHARS_MAX: usize = 200;

/// What a note means for its line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The line is not carried over.
    Skipped,
    /// The line is carried over, but does not do all that it did, or does more.
    Changed,
}

/// Something that could not be carried over as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// Line of the file, from 1.
    pub line: usize,
    /// The line, cut to 200 characters.
    pub text: String,
    /// What it means for the line.
    pub severity: Severity,
    /// Why; as text it is a sentence without a full stop.
    pub reason: Reason,
}

impl Note {
    pub(super) fn new(line: usize, text: &str, reason: Reason) -> Self {
        let text = text.chars().take(NOTE_TEXT_CHARS_MAX).collect();
        Self { line, text, severity: reason.severity(), reason }
    }
}

/// Why something could not be carried over as it is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// The times are wrong, or `@reboot`.
    #[error(transparent)]
    Expression(#[from] InvalidCron),
    /// CRON_TZ names no zone; stands at that line, and at each job below it.
    #[error("{0}; lines below a CRON_TZ that cannot be read are skipped, as their instants are unknown")]
    Zone(UnknownZone),
    /// Neither a variable nor five times and more.
    #[error("neither a variable nor five time fields and a command")]
    Incomplete,
    /// No user, or no command after it.
    #[error("the system format has a user and then a command behind the times; is this file in the per-user format?")]
    NoUser,
    /// Times and nothing else.
    #[error("there is no command")]
    NoCommand,
    /// `*` where user or command should be: cron, too, takes it for a mistake.
    #[error("a `*` stands behind the five time fields of a crontab, where a command should begin")]
    SixthField,
    /// Neither an argument nor a variable can hold it.
    #[error("the line has a NUL byte")]
    NulByte,
    /// A limit of this parser.
    #[error("the line has {bytes} bytes, at most {max} are allowed")]
    LineTooLong {
        /// How many there are.
        bytes: usize,
        /// How many there may be.
        max: usize,
    },
    /// A quote is not closed, or something follows it.
    #[error("the value's quotes do not match, or something follows them")]
    BadQuotes,

    /// Workers do not change their account.
    #[error("cron runs this as `{user}`; here it runs as the worker's user")]
    User {
        /// The account that the line names.
        user: String,
    },
    /// Output becomes the task's result.
    #[error("no mail is sent: a command's output is kept in its task's result")]
    Mail,
    /// cronie's random delay.
    #[error("the random delay is not applied: jobs start at their instant")]
    RandomDelay,
    /// TZ is not CRON_TZ.
    #[error("TZ reaches the commands, but not the times at which they run; CRON_TZ would")]
    ZoneOfCommand,
    /// cron sets it itself.
    #[error("{name} is not passed on: cron does not let a crontab set it")]
    LoginName {
        /// LOGNAME or USER.
        name: String,
    },
    /// The `-` in front of a line.
    #[error("the `-` in front asks cron not to log the command; it has no meaning here")]
    NoLog,
    /// `-n`, `-q` or `-s` in front of a command.
    #[error("the flag `-{flag}` of the cron daemon is left out: {}", flag_meaning(*flag))]
    Flag {
        /// n, q or s.
        flag: char,
    },
    /// More than cron knows.
    #[error("`{expression}` is more than cron understands: the line may never have run, and does run here")]
    Extended {
        /// The expression as understood here.
        expression: String,
    },
    /// Perhaps the wrong flavour was chosen.
    #[error("the command begins with `root`: is this file in the system format?")]
    UserColumn,
    /// cron ignores such a line.
    #[error("the last line has no newline at its end: cron would ignore it, here it counts")]
    NoFinalNewline,
    /// Line ends of DOS.
    #[error("carriage returns at the ends of {lines} lines are left out: cron would make them part of the commands")]
    CarriageReturns {
        /// On how many lines.
        lines: usize,
    },
    /// U+FEFF at the start.
    #[error("the byte order mark at the start of the file is left out")]
    ByteOrderMark,
}

const fn flag_meaning(flag: char) -> &'static str {
    match flag {
        'n' => "no mail is sent in any case",
        'q' => "it asks for no log entry",
        _ => "two runs of the command may overlap",
    }
}

impl Reason {
    /// What it means for the line.
    pub const fn severity(&self) -> Severity {
        match self {
            Self::Expression(_)
            | Self::Zone(_)
            | Self::Incomplete
            | Self::NoUser
            | Self::NoCommand
            | Self::SixthField
            | Self::NulByte
            | Self::LineTooLong { .. }
            | Self::BadQuotes => Severity::Skipped,
            Self::User { .. }
            | Self::Mail
            | Self::RandomDelay
            | Self::ZoneOfCommand
            | Self::LoginName { .. }
            | Self::NoLog
            | Self::Flag { .. }
            | Self::Extended { .. }
            | Self::UserColumn
            | Self::NoFinalNewline
            | Self::CarriageReturns { .. }
            | Self::ByteOrderMark => Severity::Changed,
        }
    }
}

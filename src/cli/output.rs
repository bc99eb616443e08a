//! Where text goes, and how it looks.

use std::{
    env,
    fmt::{self, Write as _},
    io::{self, IsTerminal as _, Write as _},
    process,
};

use clap::ValueEnum;
use comfy_table::{ContentArrangement, Table, presets};
use serde::Serialize;

use super::error::CliError;

/// How results look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// For people
    #[default]
    Table,
    /// For programs; the shape is kept
    Json,
}

/// The colour of a word.
#[derive(Clone, Copy, Debug)]
pub(super) enum Colour {
    Red = 31,
    Green = 32,
    Yellow = 33,
    Cyan = 36,
}

/// The terminal, or what stands in for it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ui {
    format: Format,
    colour_out: bool,
    colour_err: bool,
}

impl Ui {
    pub(super) fn new(format: Format, no_colour: bool) -> Self {
        // https://no-color.org: any value but an empty one.
        let wanted = !no_colour && env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        let colour_out = wanted && io::stdout().is_terminal();
        Self { format, colour_out, colour_err: wanted && io::stderr().is_terminal() }
    }

    pub(super) const fn is_json(&self) -> bool {
        matches!(self.format, Format::Json)
    }

    /// Whether results go to a person.
    pub(super) fn is_terminal(&self) -> bool {
        io::stdout().is_terminal()
    }

    pub(super) const fn colours_err(&self) -> bool {
        self.colour_err
    }

    /// A word of a result.
    pub(super) fn paint(&self, colour: Colour, word: &str) -> String {
        paint(self.colour_out, colour, word)
    }

    /// A result as text. A line end is added.
    pub(super) fn print(&self, text: impl fmt::Display) {
        write_or_end(format_args!("{text}\n"));
    }

    /// A result for programs, on several lines.
    pub(super) fn print_json(&self, value: &impl Serialize) {
        self.print(serde_json::to_string_pretty(value).expect("views have text keys and finite numbers"));
    }

    /// A result for programs, on one line.
    pub(super) fn print_json_line(&self, value: &impl Serialize) {
        self.print(serde_json::to_string(value).expect("views have text keys and finite numbers"));
    }

    /// Something to know that is no result.
    pub(super) fn note(&self, text: impl fmt::Display) {
        // When stderr is closed there is nobody to tell.
        let _ = writeln!(io::stderr(), "{text}");
    }

    /// A mistake of typing; the text says what to do.
    pub(super) fn usage_error(&self, text: &str) {
        self.note(format_args!("{}: {text}", paint(self.colour_err, Colour::Red, "error[USAGE]")));
    }

    pub(super) fn error(&self, error: &CliError) {
        if self.is_json() {
            let json = serde_json::json!({"error": {
                "code": error.code,
                "message": error.message,
                "violations": error.violations.iter().map(|violation| serde_json::json!({
                    "field": violation.field, "value": violation.value, "limit": violation.limit,
                })).collect::<Vec<_>>(),
                "retry_after_ms": error.retry_after.map(|wait| u64::try_from(wait.as_millis()).unwrap_or(u64::MAX)),
                "what_to_do": error.advice,
                "task_id": error.task_id.as_ref().map(ToString::to_string),
            }});
            self.note(json);
            return;
        }
        let mut text =
            format!("{}: {}", paint(self.colour_err, Colour::Red, &format!("error[{}]", error.code)), error.message);
        if error.violations.len() > 1 {
            for violation in &error.violations {
                write!(text, "\n  {violation}").expect("writing to a String never fails");
            }
        }
        if let Some(wait) = error.retry_after {
            write!(text, "\nretry after: {wait:?}").expect("writing to a String never fails");
        }
        self.note(format_args!("{text}\nwhat to do: {}", error.advice));
    }
}

fn paint(on: bool, colour: Colour, word: &str) -> String {
    if on { format!("\x1b[{}m{word}\x1b[0m", colour as u8) } else { word.to_owned() }
}

/// Whoever reads our results has had enough: that is no error.
fn write_or_end(text: fmt::Arguments<'_>) {
    let written = io::stdout().lock().write_fmt(text).and_then(|()| io::stdout().flush());
    match written {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => process::exit(0),
        Err(error) => {
            let _ = writeln!(io::stderr(), "error[INTERNAL]: cannot write to stdout: {error}");
            process::exit(crate::error::exit::INTERNAL.into());
        }
    }
}

/// A table without lines; with column names unless they were shown before.
pub(super) fn table<const N: usize>(header: Option<[&str; N]>, rows: impl IntoIterator<Item = [String; N]>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    if let Some(header) = header {
        table.set_header(header);
    }
    for row in rows {
        table.add_row(row.map(|cell| shown(&cell)));
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    let lines = table.lines().map(|line| line.trim_end().to_owned());
    lines.collect::<Vec<_>>().join("\n")
}

/// Names and values, one pair a line; pairs without a value are left out.
pub(super) fn fields<'a>(pairs: impl IntoIterator<Item = (&'a str, Option<String>)>) -> String {
    let pairs: Vec<_> = pairs.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
    let width = pairs.iter().map(|(name, _)| name.len()).max().unwrap_or_default();
    let lines =
        pairs.iter().map(|(name, value)| format!("{name:width$}  {}", shown_lines(value)).trim_end().to_owned());
    lines.collect::<Vec<_>>().join("\n")
}

/// Text of others, made harmless for a terminal: control characters are shown, not obeyed.
pub(super) fn shown(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { c.escape_default().to_string() } else { c.to_string() }).collect()
}

/// Like [`shown`], but lines and tabs stay. Our own colours stay, too: an escape that is one
/// of [`Colour`]'s or its end.
pub(super) fn shown_lines(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let ours = ["\x1b[31m", "\x1b[32m", "\x1b[33m", "\x1b[36m", "\x1b[0m"];
        if let Some(colour) = ours.into_iter().find(|colour| rest.starts_with(colour)) {
            out.push_str(colour);
            rest = &rest[colour.len()..];
            continue;
        }
        if c.is_control() && c != '\n' && c != '\t' {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
        rest = &rest[c.len_utf8()..];
    }
    out
}

/// Indents each line by two blanks.
pub(super) fn indented(text: &str) -> String {
    text.lines().map(|line| format!("  {}", shown_lines(line))).collect::<Vec<_>>().join("\n")
}

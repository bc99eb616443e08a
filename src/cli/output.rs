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
use crate::error::headline;

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

    /// Like [`fields`], with the value of one of them in a colour. It is painted when all is
    /// escaped, so that whatever stands in a text of others cannot pass for ours.
    pub(super) fn fields_painting<'a>(
        &self,
        (painted, colour): (&str, Option<Colour>),
        pairs: impl IntoIterator<Item = (&'a str, Option<String>)>,
    ) -> String {
        fields_with(pairs, |name, value| match colour.filter(|_| name == painted) {
            Some(colour) => self.paint(colour, &value),
            None => value,
        })
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
        let code = paint(self.colour_err, Colour::Red, &format!("error[{}]", error.code));
        let mut text = format!("{code}: {}", shown_lines(headline(&error.message, &error.violations)));
        if error.violations.len() > 1 {
            for violation in &error.violations {
                let violation = shown_lines(&violation.to_string());
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
    fields_with(pairs, |_, value| value)
}

/// `finish` gets each name and its value, which is escaped by then.
fn fields_with<'a>(
    pairs: impl IntoIterator<Item = (&'a str, Option<String>)>,
    finish: impl Fn(&str, String) -> String,
) -> String {
    let pairs: Vec<_> = pairs.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
    let width = pairs.iter().map(|(name, _)| name.len()).max().unwrap_or_default();
    let lines = pairs.iter().map(|(name, value)| {
        let value = finish(name, shown_lines(value));
        format!("{name:width$}  {value}").trim_end().to_owned()
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// Text of others, made harmless for a terminal: control characters are shown, not obeyed.
pub(super) fn shown(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { c.escape_default().to_string() } else { c.to_string() }).collect()
}

/// Like [`shown`], but lines and tabs stay.
pub(super) fn shown_lines(text: &str) -> String {
    text.split_inclusive(['\n', '\t'])
        .map(|part| match part.char_indices().next_back() {
            Some((end, c @ ('\n' | '\t'))) => format!("{}{c}", shown(&part[..end])),
            _ => shown(part),
        })
        .collect()
}

/// Indents each line by two blanks.
pub(super) fn indented(text: &str) -> String {
    text.lines().map(|line| format!("  {}", shown_lines(line))).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_of_others_are_escaped_and_ours_are_painted() {
        let pairs = || [("state", Some("ended".to_owned())), ("reason", Some("\u{1b}[32mfine\u{1b}[0m\ta".to_owned()))];
        let shown = |colour_out| {
            let ui = Ui { format: Format::Table, colour_out, colour_err: false };
            ui.fields_painting(("state", Some(Colour::Red)), pairs())
        };
        let reason = "reason  \\u{1b}[32mfine\\u{1b}[0m\ta";
        assert_eq!(shown(true), format!("state   \u{1b}[31mended\u{1b}[0m\n{reason}"));
        assert_eq!(shown(false), format!("state   ended\n{reason}"));
        assert_eq!(indented("a\r\u{1b}[31mb\u{9b}0m\u{1b}[0m"), "  a\\r\\u{1b}[31mb\\u{9b}0m\\u{1b}[0m");
    }
}

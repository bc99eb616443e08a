//! Variable lines: `NAME = value`.

/// What a line is, as far as variables go.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line {
    Variable { name: String, value: String },
    BadQuotes,
    Other,
}

fn starts_with_quote(text: &str) -> Option<char> {
    text.chars().next().filter(|first| matches!(first, '\'' | '"'))
}

/// Reads `NAME=value` with blanks round the `=` and quotes round either, as cronie's
/// `load_env` does. A name that starts like a time field makes no variable.
pub(super) fn read_variable(line: &str) -> Line {
    let (name, behind) = match starts_with_quote(line) {
        Some(quote) => match line[1..].split_once(quote) {
            Some((name, behind)) => (name, behind),
            None => return Line::Other,
        },
        None => line.split_at(line.find(|c: char| c == '=' || c.is_ascii_whitespace()).unwrap_or(line.len())),
    };
    let Some(value) = behind.trim_ascii_start().strip_prefix('=') else {
        return Line::Other;
    };
    if name.contains('=') || !name.starts_with(|c: char| c.is_alphabetic() || c == '_') {
        return Line::Other;
    }
    let value = value.trim_ascii();
    let value = match starts_with_quote(value) {
        None => value,
        Some(quote) => match value[1..].split_once(quote) {
            Some((inner, "")) => inner,
            _ => return Line::BadQuotes,
        },
    };
    Line::Variable { name: name.to_owned(), value: value.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_may_have_blanks_and_quotes() {
        let check = |line: &str, name: &str, value: &str| {
            assert_eq!(read_variable(line), Line::Variable { name: name.into(), value: value.into() }, "{line}");
        };
        check("SHELL=/bin/sh", "SHELL", "/bin/sh");
        check("SHELL = /bin/sh  ", "SHELL", "/bin/sh");
        check("PATH=/a:/b # all of it", "PATH", "/a:/b # all of it");
        check("A=\" b \"", "A", " b ");
        check("A=' \"b\" '  ", "A", " \"b\" ");
        check("A=b\"c\"", "A", "b\"c\"");
        check("\"A B\" = c", "A B", "c");
        check("'A'=c", "A", "c");
        check("A=", "A", "");
        check("A=\"\"", "A", "");
        check("A=b=c", "A", "b=c");
        check("OPT=5 % 3", "OPT", "5 % 3");
    }

    #[test]
    fn other_lines_are_no_variables() {
        let check = |line: &str, expect: Line| assert_eq!(read_variable(line), expect, "{line}");
        check("0 5 * * * A=b c", Line::Other);
        check("@daily A=b c", Line::Other);
        check("* * * * * x=1", Line::Other);
        check("*=5", Line::Other);
        check("5=5", Line::Other);
        check("=x", Line::Other);
        check("A B=c", Line::Other);
        check("'A=b", Line::Other);
        check("A", Line::Other);
        check("A=\"b", Line::BadQuotes);
        check("A=\"b\" c", Line::BadQuotes);
    }
}

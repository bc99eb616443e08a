//! Where in a request a field stands.

use std::fmt;

use crate::error::VALUE_CHARS_MAX;

/// The path of a field: `tasks[3].retry.max_attempts`. Built on the stack, and written out only
/// when something is wrong there.
#[derive(Clone, Copy, Debug)]
pub struct Path<'a> {
    parent: Option<&'a Self>,
    part: Part<'a>,
}

#[derive(Clone, Copy, Debug)]
enum Part<'a> {
    Field(&'a str),
    Index(usize),
    Key(&'a str),
}

impl<'a> Path<'a> {
    /// A field of the request itself.
    pub const fn root(field: &'a str) -> Self {
        Self { parent: None, part: Part::Field(field) }
    }

    /// A field of the message here.
    pub const fn field(&'a self, field: &'a str) -> Self {
        Self { parent: Some(self), part: Part::Field(field) }
    }

    /// An element of the list here, from 0.
    pub const fn index(&'a self, index: usize) -> Self {
        Self { parent: Some(self), part: Part::Index(index) }
    }

    /// An entry of the map here.
    pub const fn key(&'a self, key: &'a str) -> Self {
        Self { parent: Some(self), part: Part::Key(key) }
    }
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(parent) = self.parent {
            parent.fmt(f)?;
        }
        match self.part {
            Part::Field(name) if self.parent.is_some() => write!(f, ".{name}"),
            Part::Field(name) => f.write_str(name),
            Part::Index(index) => write!(f, "[{index}]"),
            Part::Key(key) => {
                let cut: String = key.chars().take(VALUE_CHARS_MAX).collect();
                write!(f, "[{cut:?}]")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_read_as_the_request_is_written() {
        let tasks = Path::root("tasks");
        let task = tasks.index(3);
        let retry = task.field("retry");
        assert_eq!(retry.field("max_attempts").to_string(), "tasks[3].retry.max_attempts");
        assert_eq!(task.field("labels").key("a\"b").to_string(), r#"tasks[3].labels["a\"b"]"#);
        assert_eq!(task.field("labels").key(&"k".repeat(99)).to_string().len(), "tasks[3].labels[\"\"]".len() + 64);
    }
}

//! Names that callers choose. A value of one of these types is a valid name.

use std::{fmt, sync::Arc};

use crate::limits::{NAMESPACE_CHARS_MAX, QUEUE_CHARS_MAX, SCHEDULE_ID_CHARS_MAX};

/// A name breaks its rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{value}` is not a valid {kind}: {rule}")]
pub struct InvalidName {
    /// What the name is for: "namespace", "queue", "schedule id".
    pub kind: &'static str,
    /// What was given, cut to 64 characters.
    pub value: String,
    /// The rule, with its limit.
    pub rule: &'static str,
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $kind:literal, $max:expr, $upper:literal, $rule:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// # Errors
            /// When the text breaks the rule that the type states.
            pub fn new(text: &str) -> Result<Self, InvalidName> {
                let first = text.bytes().next().is_some_and(|b| allowed(b, $upper) && b.is_ascii_alphanumeric());
                if first && text.len() <= $max && text.bytes().all(|b| allowed(b, $upper)) {
                    Ok(Self(text.into()))
                } else {
                    Err(InvalidName { kind: $kind, value: text.chars().take(64).collect(), rule: $rule })
                }
            }

            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }
    };
}

fn allowed(byte: u8, upper: bool) -> bool {
    byte.is_ascii_digit()
        || byte.is_ascii_lowercase()
        || (upper && byte.is_ascii_uppercase())
        || matches!(byte, b'.' | b'_' | b'-')
}

name! {
    /// A namespace: 1 to 64 characters of `[a-z0-9._-]`, starting with a letter or digit.
    Namespace, "namespace", NAMESPACE_CHARS_MAX, false,
    "1 to 64 characters of [a-z0-9._-], starting with a letter or digit"
}
name! {
    /// A queue: 1 to 128 characters of `[A-Za-z0-9._-]`, starting with a letter or digit.
    QueueName, "queue", QUEUE_CHARS_MAX, true,
    "1 to 128 characters of [A-Za-z0-9._-], starting with a letter or digit"
}
name! {
    /// A schedule's id: 1 to 128 characters of `[A-Za-z0-9._-]`, starting with a letter or digit.
    ScheduleId, "schedule id", SCHEDULE_ID_CHARS_MAX, true,
    "1 to 128 characters of [A-Za-z0-9._-], starting with a letter or digit"
}

impl Default for Namespace {
    fn default() -> Self {
        Self("default".into())
    }
}

/// Which of a queue's due tasks goes first. The order of the values is the order of service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Priority {
    /// Before all others.
    High,
    /// Unless said otherwise.
    #[default]
    Medium,
    /// When nothing else is due.
    Low,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_keep_to_their_characters_and_length() {
        let check = |text: &str, namespace: bool, queue: bool| {
            assert_eq!(Namespace::new(text).is_ok(), namespace, "{text}");
            assert_eq!(QueueName::new(text).is_ok(), queue, "{text}");
        };
        check("default", true, true);
        check("a.b_c-9", true, true);
        check("Mail", false, true);
        check("", false, false);
        check("-a", false, false);
        check("a b", false, false);
        check("ä", false, false);
        check(&"q".repeat(64), true, true);
        check(&"q".repeat(65), false, true);
        check(&"q".repeat(129), false, false);
    }
}

//! What can be wrong with the configuration.

use std::{io, path::PathBuf};

use super::Origin;
use crate::error::{ApiError, Reason, Violation};

/// The configuration is refused. Nothing was started.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file that was named cannot be read.
    #[error("cannot read the configuration file {}, named by {named_by}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Who named it.
        named_by: String,
        /// What the operating system says.
        source: io::Error,
    },
    /// The file is no TOML.
    #[error("{} is not valid TOML: {reason}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// What is wrong, with line and column.
        reason: String,
    },
    /// No such key.
    #[error("unknown key {key} in {origin}{}", did_you_mean(suggestion.as_deref()))]
    UnknownKey {
        /// As it was given.
        key: String,
        /// Where it stands.
        origin: Origin,
        /// The known one that is closest to it.
        suggestion: Option<String>,
    },
    /// The value breaks the key's rule.
    #[error("invalid value for {key} from {origin}: {reason} (got `{value}`)")]
    Invalid {
        /// The key.
        key: &'static str,
        /// Who set it.
        origin: Origin,
        /// To what, cut to 64 characters.
        value: String,
        /// The rule, with its limit.
        reason: String,
    },
    /// Two values that cannot both hold.
    #[error("{first} from {first_origin} and {second} from {second_origin} contradict each other: {reason}")]
    Contradiction {
        /// One key.
        first: &'static str,
        /// Who set it.
        first_origin: Origin,
        /// The other key.
        second: &'static str,
        /// Who set that.
        second_origin: Origin,
        /// Why not both.
        reason: String,
    },
}

fn did_you_mean(suggestion: Option<&str>) -> String {
    suggestion.map(|known| format!("; did you mean {known}?")).unwrap_or_default()
}

impl From<ConfigError> for ApiError {
    fn from(error: ConfigError) -> Self {
        let violation = match &error {
            ConfigError::Invalid { key, value, reason, .. } => Some(Violation::new(*key, value, reason)),
            ConfigError::UnknownKey { key, suggestion, .. } => {
                let limit = format!("must be a known key{}", did_you_mean(suggestion.as_deref()));
                Some(Violation::new(key, "", limit))
            }
            ConfigError::Contradiction { first, second, reason, .. } => {
                Some(Violation::new(*first, "", format!("must not contradict {second}: {reason}")))
            }
            ConfigError::Unreadable { .. } | ConfigError::Syntax { .. } => None,
        };
        Self { violations: violation.into_iter().collect(), ..Self::new(Reason::ConfigInvalid, error.to_string()) }
    }
}

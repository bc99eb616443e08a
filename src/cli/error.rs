//! How a command fails.

use std::{error::Error as _, time::Duration};

use clap::error::{ContextKind, ContextValue, ErrorKind};
use escapement_engine::TaskId;

use crate::{
    client::ClientError,
    config::ConfigError,
    error::{ApiError, Reason, Violation, exit},
};

/// The task that was waited for ended otherwise than succeeded.
pub(super) const EXIT_TASK_NOT_SUCCEEDED: u8 = 8;
/// Part of what was to be imported could not be carried over.
pub(super) const EXIT_IMPORT_INCOMPLETE: u8 = 9;

/// Why a command failed, what the process exits with, and what to do.
#[derive(Clone, Debug)]
pub(super) struct CliError {
    /// Stable: that of the API, or `USAGE`.
    pub(super) code: &'static str,
    pub(super) exit: u8,
    pub(super) message: String,
    pub(super) violations: Vec<Violation>,
    pub(super) retry_after: Option<Duration>,
    pub(super) advice: String,
    /// The task that the error is about: one that was submitted, or may have been although nobody
    /// said so, or one that is in the way.
    pub(super) task_id: Option<Box<TaskId>>,
}

impl CliError {
    /// What was typed makes no sense.
    pub(super) fn usage(message: impl Into<String>, advice: impl Into<String>) -> Self {
        Self {
            code: "USAGE",
            exit: exit::USAGE,
            message: message.into(),
            violations: Vec::new(),
            retry_after: None,
            advice: advice.into(),
            task_id: None,
        }
    }

    pub(super) fn internal(message: impl Into<String>) -> Self {
        ApiError::new(Reason::Internal, message).into()
    }

    /// A file of the user cannot be read.
    pub(super) fn unreadable(what: &str, path: &str, error: &std::io::Error) -> Self {
        Self::usage(format!("cannot read the {what} `{path}`: {error}"), "Check the path and its permissions.")
    }
}

/// The arguments that clap refuses: flag, value and limit, as far as it tells them.
pub(super) fn of_clap(error: &clap::Error) -> Vec<Violation> {
    let text = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => vec![text.clone()],
        Some(ContextValue::Strings(texts)) => texts.clone(),
        _ => Vec::new(),
    };
    let value = text(ContextKind::InvalidValue).concat();
    let limit = match (error.source(), text(ContextKind::ValidValue)) {
        (Some(source), _) => source.to_string(),
        (None, known) if !known.is_empty() => format!("must be one of {}", known.join(", ")),
        _ => match error.kind() {
            ErrorKind::MissingRequiredArgument => "must be given".to_owned(),
            ErrorKind::ArgumentConflict => {
                format!("must not be given together with {}", text(ContextKind::PriorArg).join(", "))
            }
            ErrorKind::UnknownArgument => "must be a known argument".to_owned(),
            kind => kind.to_string(),
        },
    };
    // `--in <DURATION>`, `<TASK_ID>`: the name is enough.
    let name = |argument: &String| {
        let name = argument.split_whitespace().next().unwrap_or_default();
        name.trim_matches(['<', '>', '[', ']', '.']).to_owned()
    };
    let arguments = text(ContextKind::InvalidArg);
    arguments.iter().map(|argument| Violation::new(name(argument), &value, limit.as_str())).collect()
}

impl From<ApiError> for CliError {
    fn from(error: ApiError) -> Self {
        let task_id = error.metadata.get("task_id").and_then(|id| id.parse().ok()).map(Box::new);
        Self {
            code: error.reason.code(),
            exit: error.reason.exit_code(),
            message: error.message,
            violations: error.violations,
            retry_after: error.retry_after,
            advice: error.reason.advice().to_owned(),
            task_id,
        }
    }
}

impl From<ClientError> for CliError {
    fn from(error: ClientError) -> Self {
        let unreachable = error.reason() == Reason::ServerUnreachable;
        let mut error = Self::from(ApiError::from(error));
        if unreachable {
            error.advice = "Check that the server runs (`escapement dev` starts one on this machine) and that \
                            --server has its address."
                .to_owned();
        }
        error
    }
}

impl From<ConfigError> for CliError {
    fn from(error: ConfigError) -> Self {
        ApiError::from(error).into()
    }
}

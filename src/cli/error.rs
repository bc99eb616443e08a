//! How a command fails.

use std::time::Duration;

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
    /// The task that may have been submitted although nobody said so.
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

impl From<ApiError> for CliError {
    fn from(error: ApiError) -> Self {
        Self {
            code: error.reason.code(),
            exit: error.reason.exit_code(),
            message: error.message,
            violations: error.violations,
            retry_after: error.retry_after,
            advice: error.reason.advice().to_owned(),
            task_id: None,
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

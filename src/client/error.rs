//! What a call of the client can end with.

use std::fmt;

use crate::{
    edge::net::ConnectError,
    error::{ApiError, Reason, Violation},
};

/// A call failed, or could not be made.
///
/// One type for all calls, because callers decide by [`ClientError::reason`], which is the
/// same whether the client or the server found the fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientError {
    error: Box<ApiError>,
    tries: u32,
    may_have_arrived: bool,
}

impl ClientError {
    pub(super) fn api(error: ApiError) -> Self {
        Self { error: Box::new(error), tries: 1, may_have_arrived: true }
    }

    pub(super) fn invalid(field: &str, value: impl fmt::Display, limit: impl Into<String>) -> Self {
        let violation = Violation::new(field, value, limit);
        let error = Box::new(ApiError::field(Reason::InvalidArgument, violation));
        Self { error, tries: 0, may_have_arrived: false }
    }

    pub(super) fn endpoint(error: ConnectError) -> Self {
        Self::invalid(
            "server",
            &error.endpoint,
            format!("must be an address such as http://127.0.0.1:7250: {}", error.reason),
        )
    }

    pub(super) fn after(self, tries: u32, may_have_arrived: bool) -> Self {
        Self { tries, may_have_arrived, ..self }
    }

    /// The stable code of what went wrong.
    pub fn reason(&self) -> Reason {
        self.error.reason
    }

    /// What went wrong, with the fields and the time to wait, if any.
    pub fn api_error(&self) -> &ApiError {
        &self.error
    }

    /// How often the call was sent, or sending it was tried. 0: the client itself refused it.
    pub fn tries(&self) -> u32 {
        self.tries
    }

    /// Whether a try may have reached a server. `false` only when that is certain: the client
    /// refused the call, or no try ever found a connection to send it on.
    pub fn may_have_arrived(&self) -> bool {
        self.may_have_arrived
    }
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)?;
        if self.tries > 1 { write!(f, " (gave up after {} tries)", self.tries) } else { Ok(()) }
    }
}

impl std::error::Error for ClientError {}

impl From<ClientError> for ApiError {
    fn from(error: ClientError) -> Self {
        let message = error.to_string();
        Self { message, ..*error.error }
    }
}

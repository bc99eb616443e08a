//! How a connection to a server is made.
//!
//! The simulator ignores keepalive and window sizes, so nothing in the protocol may lean on
//! them: they only make a dead peer known sooner than TCP would.

use std::time::Duration;

use tonic::transport::{Channel, Endpoint};

/// Longest wait for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A connection without traffic is probed this often, and given up when a probe stays
/// unanswered for as long again.
const KEEPALIVE: Duration = Duration::from_secs(10);
/// Bytes that may be under way on one stream: a payload of the largest kind fits.
const STREAM_WINDOW_BYTES: u32 = 8 << 20;

/// The address of a server cannot be used, or nobody answers there.
#[derive(Debug, thiserror::Error)]
#[error("cannot connect to `{endpoint}`: {reason}")]
pub struct ConnectError {
    /// The address, as it was given.
    pub endpoint: String,
    /// What the transport says.
    pub reason: String,
}

/// Checks the form of an address without connecting: `http://host:port`.
///
/// # Errors
/// Says what is wrong with it.
pub fn check_endpoint(endpoint: &str) -> Result<(), ConnectError> {
    let refuse = |reason: &str| Err(ConnectError { endpoint: endpoint.to_owned(), reason: reason.to_owned() });
    let Ok(parsed) = Endpoint::from_shared(endpoint.to_owned()) else {
        return refuse("not a URI; it reads http://host:port");
    };
    match (parsed.uri().scheme_str(), parsed.uri().port_u16()) {
        (Some("http"), Some(_)) => Ok(()),
        (Some("http"), None) => refuse("no port; it reads http://host:port"),
        _ => refuse("the scheme is not `http`; it reads http://host:port"),
    }
}

/// Connects to `http://host:port`, within 5 seconds.
///
/// # Errors
/// When the address is malformed, or nobody answers there in time.
pub async fn connect(endpoint: &str) -> Result<Channel, ConnectError> {
    check_endpoint(endpoint)?;
    let failed =
        |error: tonic::transport::Error| ConnectError { endpoint: endpoint.to_owned(), reason: causes(&error) };
    Endpoint::from_shared(endpoint.to_owned())
        .map_err(failed)?
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_nodelay(true)
        .tcp_keepalive(Some(KEEPALIVE))
        .http2_keep_alive_interval(KEEPALIVE)
        .keep_alive_timeout(KEEPALIVE)
        .keep_alive_while_idle(true)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(STREAM_WINDOW_BYTES)
        .connect()
        .await
        .map_err(failed)
}

/// The causes of a transport error, which itself only says that there is one.
fn causes(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source()).map(ToString::to_string);
    let mut causes: Vec<_> = causes.collect();
    // Layers that add nothing repeat what is beneath.
    causes.dedup();
    if causes.is_empty() { error.to_string() } else { causes.join(": ") }
}

//! The way to a server: down, connecting, opening a stream, up.

use std::{fmt, sync::Arc};

use escapement_engine::Monotonic;
use escapement_proto::v1::{ServerMessage, WorkerMessage, worker_service_client::WorkerServiceClient};
use futures_util::future::BoxFuture;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, Streaming, transport::Channel};

use crate::edge::net::{self, ConnectError};

/// Bytes of the largest message that a server may send: a batch of assignments with payloads.
const DECODED_BYTES_MAX: usize = 64 << 20;

/// Where the worker stands with its server.
pub(super) enum Link {
    Down {
        retry_at: Monotonic,
    },
    Connecting {
        connected: BoxFuture<'static, Result<Channel, ConnectError>>,
        give_up_at: Monotonic,
    },
    /// Hello is under way.
    Opening {
        opened: BoxFuture<'static, Result<Streaming<ServerMessage>, Status>>,
        /// Before Hello was sent.
        hello_at: Monotonic,
        give_up_at: Monotonic,
    },
    /// The stream is open; Welcome has not come yet.
    Greeting {
        incoming: Streaming<ServerMessage>,
        hello_at: Monotonic,
        give_up_at: Monotonic,
    },
    Up {
        incoming: Streaming<ServerMessage>,
    },
    /// The worker has ended its half, and waits for the server's.
    Closing {
        incoming: Streaming<ServerMessage>,
        give_up_at: Monotonic,
    },
}

/// Something happened on the way to the server.
pub(super) enum LinkEvent {
    Connected(Channel),
    Opened(Streaming<ServerMessage>),
    Message(ServerMessage),
    Broken(Breakage),
}

/// Why there is no stream any more.
#[derive(Debug)]
pub(super) enum Breakage {
    Unreachable(ConnectError),
    Failed(Status),
    Closed,
    Silent,
    Violated(String),
}

impl fmt::Display for Breakage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable(error) => error.fmt(f),
            Self::Failed(status) => write!(f, "{:?}: {}", status.code(), status.message()),
            Self::Closed => f.write_str("the server ended the stream"),
            Self::Silent => f.write_str("the server does not answer"),
            Self::Violated(rule) => write!(f, "the server broke the rules of the session: {rule}"),
        }
    }
}

impl Breakage {
    /// The server will not take this worker however often it asks.
    pub(super) fn is_refusal(&self) -> Option<&Status> {
        match self {
            Self::Failed(status) if matches!(status.code(), Code::InvalidArgument | Code::Unimplemented) => {
                Some(status)
            }
            _ => None,
        }
    }
}

impl Link {
    /// The next event. Nothing is lost when the future is dropped before it resolves.
    pub(super) async fn event(&mut self) -> LinkEvent {
        match self {
            Self::Down { .. } => std::future::pending().await,
            Self::Connecting { connected, .. } => match connected.await {
                Ok(channel) => LinkEvent::Connected(channel),
                Err(error) => LinkEvent::Broken(Breakage::Unreachable(error)),
            },
            Self::Opening { opened, .. } => match opened.await {
                Ok(incoming) => LinkEvent::Opened(incoming),
                Err(status) => LinkEvent::Broken(Breakage::Failed(status)),
            },
            Self::Greeting { incoming, .. } | Self::Up { incoming } | Self::Closing { incoming, .. } => {
                match incoming.message().await {
                    Ok(Some(message)) => LinkEvent::Message(message),
                    Ok(None) => LinkEvent::Broken(Breakage::Closed),
                    Err(status) => LinkEvent::Broken(Breakage::Failed(status)),
                }
            }
        }
    }

    /// When waiting for this state's next step has lasted too long.
    pub(super) const fn give_up_at(&self) -> Option<Monotonic> {
        match self {
            Self::Down { .. } | Self::Up { .. } => None,
            Self::Connecting { give_up_at, .. }
            | Self::Opening { give_up_at, .. }
            | Self::Greeting { give_up_at, .. }
            | Self::Closing { give_up_at, .. } => Some(*give_up_at),
        }
    }

    pub(super) const fn is_up(&self) -> bool {
        matches!(self, Self::Up { .. })
    }

    pub(super) const fn is_closing(&self) -> bool {
        matches!(self, Self::Closing { .. })
    }

    /// The server knows the session's id through this link.
    pub(super) const fn has_introduced(&self) -> bool {
        !matches!(self, Self::Down { .. } | Self::Connecting { .. })
    }
}

pub(super) fn connect(endpoint: Arc<str>) -> BoxFuture<'static, Result<Channel, ConnectError>> {
    Box::pin(async move { net::connect(&endpoint).await })
}

pub(super) fn open(
    channel: Channel,
    outgoing: mpsc::Receiver<WorkerMessage>,
) -> BoxFuture<'static, Result<Streaming<ServerMessage>, Status>> {
    Box::pin(async move {
        let mut client = WorkerServiceClient::new(channel).max_decoding_message_size(DECODED_BYTES_MAX);
        Ok(client.session(ReceiverStream::new(outgoing)).await?.into_inner())
    })
}

//! The client's stream: opens it, feeds it, notices its end, and opens the next.

use std::{sync::Arc, time::Duration};

use escapement_proto::store::{
    self as proto, ClientMessage, ServerMessage, client_message, server_message,
    store_service_client::StoreServiceClient,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, Streaming};

use super::{
    BEATS_IN_SILENCE, Incarnation, MESSAGE_BYTES_MAX, PROTOCOL_VERSION, beat,
    book::Limits,
    engine::{Link, Shared},
};
use crate::edge::net;

/// Why there is no stream any more.
#[derive(Debug, thiserror::Error)]
enum Breakage {
    #[error("{0}")]
    Unreachable(String),
    #[error("{:?}: {}", .0.code(), .0.message())]
    Failed(Status),
    #[error("the server says goodbye: {0}")]
    Goodbye(String),
    #[error("the server ended the stream")]
    Ended,
    #[error("the server does not answer")]
    Silent,
    #[error("the server broke the rules: {0}")]
    Violated(String),
    #[error("the client was closed")]
    Closed,
}

impl Breakage {
    /// Trying again is useless.
    fn is_refusal(&self) -> bool {
        match self {
            Self::Failed(status) => {
                matches!(status.code(), Code::InvalidArgument | Code::Unimplemented | Code::FailedPrecondition)
            }
            Self::Violated(_) => true,
            _ => false,
        }
    }
}

/// Keeps a stream to the server until the client is closed.
pub(super) async fn run(shared: Arc<Shared>) {
    let client = Incarnation::draw(&shared.rng);
    let mut failures = 0;
    for number in 1.. {
        let mut stream = Stream::new(&shared, client, number);
        let broken = Box::pin(stream.run()).await;
        if stream.welcomed.is_some() {
            failures = 0;
        }
        shared.book().stream_broke();
        if matches!(broken, Breakage::Closed) {
            return;
        }
        let wait = backoff(&shared, failures);
        failures = failures.saturating_add(1);
        if stream.welcomed.is_some() {
            tracing::warn!(address = shared.address, %broken, "no stream to the store any more; opening another");
        } else {
            tracing::debug!(address = shared.address, %broken, failures, "no stream to the store");
        }
        let reason = broken.to_string();
        shared.link.send_replace(if broken.is_refusal() { Link::Refused(reason) } else { Link::Down(reason) });
        tokio::select! {
            biased;
            () = closed(&shared) => return,
            () = shared.clock.sleep(wait) => {}
        }
    }
}

async fn closed(shared: &Shared) {
    while !shared.book().is_closed() {
        shared.wake.notified().await;
    }
}

/// Doubles with each failure up to its maximum; shortened by up to half, by chance.
fn backoff(shared: &Shared, failures: u32) -> Duration {
    let options = &shared.options;
    let whole = options.backoff_min.saturating_mul(1 << failures.min(16)).min(options.backoff_max);
    whole.mul_f64(1.0 - f64::from(shared.rng.u32()) / f64::from(u32::MAX) / 2.0)
}

/// One stream, from the connection to its end.
struct Stream<'a> {
    shared: &'a Shared,
    client: Incarnation,
    number: u64,
    /// What the server takes, once it has said Welcome.
    welcomed: Option<Limits>,
    ping_due: bool,
    pings: u64,
    quiet_beats: u32,
}

impl<'a> Stream<'a> {
    fn new(shared: &'a Shared, client: Incarnation, number: u64) -> Self {
        Self { shared, client, number, welcomed: None, ping_due: false, pings: 0, quiet_beats: 0 }
    }

    async fn run(&mut self) -> Breakage {
        // Room for one message: what comes up meanwhile gathers into the next.
        let (outgoing, messages) = mpsc::channel(1);
        let hello = client_message::Message::Hello(proto::Hello {
            protocol_version: PROTOCOL_VERSION,
            client_incarnation: self.client.to_wire(),
            stream_number: self.number,
        });
        send(&outgoing, hello);
        let opened = tokio::select! {
            biased;
            () = closed(self.shared) => return Breakage::Closed,
            opened = open(self.shared, messages) => opened,
            () = self.shared.clock.sleep(self.shared.options.silence_max) => return Breakage::Silent,
        };
        match opened {
            Ok(mut incoming) => self.serve(&outgoing, &mut incoming).await,
            Err(broken) => broken,
        }
    }

    async fn serve(
        &mut self,
        outgoing: &mpsc::Sender<ClientMessage>,
        incoming: &mut Streaming<ServerMessage>,
    ) -> Breakage {
        let clock = &self.shared.clock;
        let mut beat_length = beat(self.shared.options.silence_max);
        let mut beat_due = clock.sleep(beat_length);
        loop {
            if self.shared.book().is_closed() {
                let goodbye = proto::Goodbye { reason: "the client was closed".to_owned() };
                send(outgoing, client_message::Message::Goodbye(goodbye));
                return Breakage::Closed;
            }
            let sends = self.has_message();
            tokio::select! {
                biased;
                () = &mut beat_due => {
                    beat_due = clock.sleep(beat_length);
                    // Beats are counted, not the clock read: a process that was suspended
                    // missed one, and finds the answers in its buffers.
                    self.quiet_beats += 1;
                    if self.quiet_beats > BEATS_IN_SILENCE {
                        return Breakage::Silent;
                    }
                    self.ping_due = true;
                }
                Ok(room) = outgoing.reserve(), if sends => {
                    if let Some(message) = self.next_message() {
                        room.send(ClientMessage { message: Some(message) });
                    }
                }
                message = incoming.message() => {
                    self.quiet_beats = 0;
                    let handled = match message {
                        Ok(Some(message)) => self.handle(message),
                        Ok(None) => Err(Breakage::Ended),
                        Err(status) => Err(Breakage::Failed(status)),
                    };
                    match handled {
                        // The server may want to hear more often, from now on.
                        Ok(Some(silence_max)) => {
                            beat_length = beat_length.min(beat(silence_max));
                            beat_due = clock.sleep(beat_length);
                        }
                        Ok(None) => {}
                        Err(broken) => return broken,
                    }
                }
                () = self.shared.wake.notified() => {}
            }
        }
    }

    fn has_message(&self) -> bool {
        self.ping_due || self.welcomed.is_some_and(|limits| self.shared.book().has_next(limits))
    }

    fn next_message(&mut self) -> Option<client_message::Message> {
        if std::mem::take(&mut self.ping_due) {
            self.pings += 1;
            return Some(client_message::Message::Ping(proto::Ping { sequence: self.pings }));
        }
        let requests = self.shared.book().next_batch(self.welcomed?);
        (!requests.is_empty()).then_some(client_message::Message::Requests(proto::Requests { requests }))
    }

    /// `Some`: the longest silence that the server tolerates.
    fn handle(&mut self, message: ServerMessage) -> Result<Option<Duration>, Breakage> {
        match message.message {
            Some(server_message::Message::Welcome(welcome)) => return self.welcome(&welcome).map(Some),
            Some(server_message::Message::Responses(batch)) => {
                let mut book = self.shared.book();
                for proto::Response { id, result } in batch.responses {
                    let known = result.is_some_and(|result| book.answered(id, result));
                    if !known {
                        return Err(Breakage::Violated(format!("an answer to request {id}, which was not asked")));
                    }
                }
            }
            Some(server_message::Message::Pong(_)) => {}
            Some(server_message::Message::Goodbye(goodbye)) => return Err(Breakage::Goodbye(goodbye.reason)),
            None => return Err(Breakage::Violated("a message without content".to_owned())),
        }
        Ok(None)
    }

    fn welcome(&mut self, welcome: &proto::Welcome) -> Result<Duration, Breakage> {
        if welcome.protocol_version != PROTOCOL_VERSION {
            let (found, mine) = (welcome.protocol_version, PROTOCOL_VERSION);
            return Err(Breakage::Violated(format!("protocol version {found}, this program has {mine}")));
        }
        let server = Incarnation::from_wire(&welcome.server_incarnation, "welcome.server_incarnation");
        let server = server.map_err(|error| Breakage::Violated(error.to_string()))?;
        if welcome.requests_max == 0 {
            return Err(Breakage::Violated("welcome.requests_max is 0, but must be 1 or more".to_owned()));
        }
        self.welcomed = Some(Limits { requests_max: welcome.requests_max, bytes_max: welcome.bytes_max });
        // Nothing of the streams before this one is under way any more.
        let unknown = self.shared.book().settled();
        tracing::info!(
            address = self.shared.address, %server, engine = welcome.engine, stream = self.number, unknown,
            "connected to the store"
        );
        self.shared.link.send_replace(Link::Up);
        Ok(Duration::from_millis(welcome.silence_ms_max))
    }
}

/// The channel must have room.
fn send(outgoing: &mpsc::Sender<ClientMessage>, message: client_message::Message) {
    if outgoing.try_send(ClientMessage { message: Some(message) }).is_err() {
        tracing::debug!("no room for a message; the stream's end says as much");
    }
}

async fn open(shared: &Shared, messages: mpsc::Receiver<ClientMessage>) -> Result<Streaming<ServerMessage>, Breakage> {
    let channel = net::connect(&format!("http://{}", shared.address)).await;
    let channel = channel.map_err(|error| Breakage::Unreachable(error.reason))?;
    let mut client = StoreServiceClient::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX);
    let opened = client.session(ReceiverStream::new(messages)).await.map_err(Breakage::Failed)?;
    Ok(opened.into_inner())
}

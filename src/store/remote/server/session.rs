//! One stream: a single task reads it, asks the engine and writes the answers.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use bytes::Bytes;
use escapement_proto::store::{
    self as proto, ClientMessage, ServerMessage, client_message, request, response, server_message,
};
use futures_util::{
    FutureExt as _, StreamExt as _,
    future::{AbortHandle, BoxFuture, abortable},
    stream::FuturesUnordered,
};
use prost::Message as _;
use tokio::sync::mpsc;
use tonic::{Status, Streaming};

use super::{
    Shared,
    answer::{Answer, Reader},
    registry::{Admitted, Refused},
};
use crate::{
    clock::SharedClock,
    store::{
        StoreError, Version,
        remote::{BEATS_IN_SILENCE, GATHER_BYTES, Incarnation, PROTOCOL_VERSION, beat, wire},
    },
};

type Outgoing = mpsc::Sender<Result<ServerMessage, Status>>;

/// Answers that wait to be sent, beyond those to requests, whose number has a limit of its own.
/// Until there are fewer, the client is not read: it asks for watches that are refused, or fire at
/// once, and does not read that they do.
const WATCH_ANSWERS_MAX: usize = 4096;

/// How a stream ends.
enum End {
    /// The client said so, or is gone.
    Gone,
    /// This server ends.
    Ending,
    /// A newer stream of the client.
    Fenced,
    /// It says nothing, or does not read.
    Silent(&'static str),
    /// It broke the rules.
    Violated(Status),
}

impl From<wire::WireError> for End {
    fn from(error: wire::WireError) -> Self {
        Self::Violated(Status::invalid_argument(error.to_string()))
    }
}

/// Serves a stream to its end.
pub(super) async fn serve(shared: Arc<Shared>, mut inbound: Streaming<ClientMessage>, outgoing: Outgoing) {
    let hello = tokio::select! {
        biased;
        () = outgoing.closed() => return,
        hello = hello(&mut inbound) => hello,
        () = shared.clock.sleep(shared.options.silence_max) => Err(End::Silent("said no hello")),
    };
    let admitted = hello.and_then(|(client, number)| {
        let admitted = shared.registry.admit(client, number).map_err(|refused| match refused {
            Refused::Replaced { .. } => End::Violated(Status::aborted(refused.to_string())),
            Refused::Full(_) => End::Violated(Status::resource_exhausted(refused.to_string())),
        });
        admitted.map(|admitted| (client, admitted))
    });
    let end = match admitted {
        Ok((client, admitted)) => {
            let end = Box::pin(Session::new(&shared, &admitted, &outgoing).run(&mut inbound)).await;
            if let End::Silent(why) = &end {
                tracing::warn!(%client, "store client {why}; cut off");
            }
            end
        }
        Err(end) => end,
    };
    let last = match end {
        End::Gone => return,
        End::Ending => {
            let goodbye = proto::Goodbye { reason: "the store is about to stop".to_owned() };
            Ok(ServerMessage { message: Some(server_message::Message::Goodbye(goodbye)) })
        }
        End::Fenced => Err(Status::aborted("a newer stream of this client replaces this one")),
        End::Silent(why) => Err(Status::deadline_exceeded(format!("the client {why}"))),
        End::Violated(status) => Err(status),
    };
    // One that does not read is not waited for.
    tokio::select! {
        biased;
        _ = outgoing.send(last) => {}
        () = shared.clock.sleep(beat(shared.options.silence_max)) => {}
    }
}

async fn hello(inbound: &mut Streaming<ClientMessage>) -> Result<(Incarnation, u64), End> {
    let first = inbound.message().await.map_err(|_| End::Gone)?.ok_or(End::Gone)?;
    let Some(client_message::Message::Hello(hello)) = first.message else {
        return Err(End::Violated(Status::invalid_argument("the first message must be Hello")));
    };
    if hello.protocol_version != PROTOCOL_VERSION {
        let (found, mine) = (hello.protocol_version, PROTOCOL_VERSION);
        let message =
            format!("hello.protocol_version is {found}, but must be {mine}: run the same version on both sides");
        return Err(End::Violated(Status::failed_precondition(message)));
    }
    if hello.stream_number == 0 {
        return Err(wire::WireError::new("hello.stream_number", 0, "1 or more").into());
    }
    let client = Incarnation::from_wire(&hello.client_incarnation, "hello.client_incarnation")?;
    Ok((client, hello.stream_number))
}

/// What has ended, and the answer to it.
struct Done {
    id: u64,
    kind: Kind,
    answer: Answer,
}

#[derive(Clone, Copy)]
enum Kind {
    /// With the bytes that the request counts for.
    Request(usize),
    Watch,
}

/// A watch that waits.
struct Watching {
    cancel: AbortHandle,
    bytes: usize,
}

struct Session<'a> {
    shared: &'a Shared,
    admitted: &'a Admitted,
    outgoing: &'a Outgoing,
    reader: Reader,
    /// `None` once the client is welcome.
    settling: Option<BoxFuture<'static, ()>>,
    work: FuturesUnordered<BoxFuture<'static, Option<Done>>>,
    /// What is left of a message while too many answers wait.
    unread: VecDeque<proto::Request>,
    answers: VecDeque<Done>,
    welcome_due: bool,
    pong_due: Option<u64>,
    /// Requests without an answer that has been sent, and their bytes.
    requests: u32,
    request_bytes: usize,
    watches: BTreeMap<u64, Watching>,
    watch_bytes: usize,
    /// Beats since something was heard, and since something was sent that waits.
    quiet_beats: u32,
    stalled_beats: u32,
}

impl<'a> Session<'a> {
    fn new(shared: &'a Shared, admitted: &'a Admitted, outgoing: &'a Outgoing) -> Self {
        Self {
            shared,
            admitted,
            outgoing,
            reader: Reader::new(Arc::clone(&shared.engine), shared.options.answer_bytes_max),
            settling: Some(admitted.settled().boxed()),
            work: FuturesUnordered::new(),
            unread: VecDeque::new(),
            answers: VecDeque::new(),
            welcome_due: false,
            pong_due: None,
            requests: 0,
            request_bytes: 0,
            watches: BTreeMap::new(),
            watch_bytes: 0,
            quiet_beats: 0,
            stalled_beats: 0,
        }
    }

    async fn run(mut self, inbound: &mut Streaming<ClientMessage>) -> End {
        let clock: &SharedClock = &self.shared.clock;
        let beat_length = beat(self.shared.options.silence_max);
        let mut beat = clock.sleep(beat_length);
        let mut ending = self.shared.ending.subscribe();
        let mut fenced = self.admitted.fenced().boxed();
        loop {
            if let Err(end) = self.read_on() {
                return end;
            }
            let (sends, reads) = (self.has_message(), self.unread.is_empty());
            let settling = self.settling.as_mut();
            let (outgoing, settles, works) = (self.outgoing, settling.is_some(), !self.work.is_empty());
            tokio::select! {
                biased;
                _ = ending.wait_for(|ending| *ending) => return End::Ending,
                () = &mut fenced => return End::Fenced,
                () = outgoing.closed() => return End::Gone,
                () = &mut beat => {
                    beat = clock.sleep(beat_length);
                    if let Some(silent) = self.count_beat(sends, reads) {
                        return silent;
                    }
                }
                Ok(room) = outgoing.reserve(), if sends => {
                    let message = self.next_message();
                    self.stalled_beats = 0;
                    room.send(Ok(ServerMessage { message: Some(message) }));
                }
                () = async { settling.expect("its guard").await }, if settles => {
                    self.settling = None;
                    self.welcome_due = true;
                }
                Some(done) = self.work.next(), if works => {
                    if let Some(done) = done {
                        self.done(done);
                    }
                }
                message = inbound.message(), if reads => match message {
                    Ok(Some(message)) => {
                        self.quiet_beats = 0;
                        if let Err(end) = self.handle(message) {
                            return end;
                        }
                    }
                    Ok(None) | Err(_) => return End::Gone,
                },
            }
        }
    }

    /// Beats are counted, not the clock read: a process that was suspended has missed one.
    fn count_beat(&mut self, sends: bool, reads: bool) -> Option<End> {
        // One that is not read is not heard.
        self.quiet_beats = if reads { self.quiet_beats + 1 } else { 0 };
        self.stalled_beats = if sends { self.stalled_beats + 1 } else { 0 };
        if self.quiet_beats > BEATS_IN_SILENCE {
            return Some(End::Silent("says nothing"));
        }
        (self.stalled_beats > BEATS_IN_SILENCE).then_some(End::Silent("does not read"))
    }

    fn has_message(&self) -> bool {
        self.welcome_due || self.pong_due.is_some() || !self.answers.is_empty()
    }

    fn next_message(&mut self) -> server_message::Message {
        if let Some(sequence) = self.pong_due.take() {
            return server_message::Message::Pong(proto::Pong { sequence });
        }
        if std::mem::take(&mut self.welcome_due) {
            let options = &self.shared.options;
            return server_message::Message::Welcome(proto::Welcome {
                protocol_version: PROTOCOL_VERSION,
                server_incarnation: self.shared.incarnation.to_wire(),
                engine: self.shared.engine.kind().to_owned(),
                requests_max: options.requests_max,
                bytes_max: options.request_bytes_max.into(),
                silence_ms_max: u64::try_from(options.silence_max.as_millis()).unwrap_or(u64::MAX),
            });
        }
        let (mut responses, mut bytes) = (Vec::new(), 0);
        while bytes < GATHER_BYTES
            && let Some(Done { id, kind, answer }) = self.answers.pop_front()
        {
            if let Kind::Request(request_bytes) = kind {
                self.requests -= 1;
                self.request_bytes -= request_bytes;
            }
            bytes += answer.bytes;
            responses.push(proto::Response { id, result: Some(answer.result) });
        }
        server_message::Message::Responses(proto::Responses { responses })
    }

    fn done(&mut self, done: Done) {
        if matches!(done.kind, Kind::Watch)
            && let Some(watch) = self.watches.remove(&done.id)
        {
            self.watch_bytes -= watch.bytes;
        }
        self.answers.push_back(done);
    }

    fn handle(&mut self, message: ClientMessage) -> Result<(), End> {
        match message.message {
            Some(client_message::Message::Requests(_)) if self.settling.is_some() || self.welcome_due => {
                Err(End::Violated(Status::failed_precondition("requests come after Welcome")))
            }
            Some(client_message::Message::Requests(batch)) => {
                self.unread.extend(batch.requests);
                self.read_on()
            }
            Some(client_message::Message::Ping(ping)) => {
                self.pong_due = Some(ping.sequence);
                Ok(())
            }
            Some(client_message::Message::Goodbye(_)) => Err(End::Gone),
            Some(client_message::Message::Hello(_)) => {
                Err(End::Violated(Status::failed_precondition("Hello comes once, first")))
            }
            // Both sides have the same protocol version, so there is nothing unknown.
            None => Err(End::Violated(Status::invalid_argument("a message without content"))),
        }
    }

    /// Takes up requests, as long as not too many answers wait.
    fn read_on(&mut self) -> Result<(), End> {
        let answers_max = WATCH_ANSWERS_MAX + self.shared.options.requests_max as usize;
        while self.answers.len() < answers_max
            && let Some(request) = self.unread.pop_front()
        {
            self.request(request)?;
        }
        Ok(())
    }

    fn request(&mut self, request: proto::Request) -> Result<(), End> {
        let bytes = request.encoded_len();
        let id = request.id;
        match request.request {
            Some(request::Request::Watch(watch)) => {
                self.watch(id, watch);
                return Ok(());
            }
            Some(request::Request::CancelWatch(proto::CancelWatch { watch_id })) => {
                self.cancel_watch(watch_id);
                return Ok(());
            }
            None => return Err(End::Violated(Status::invalid_argument(format!("request {id} asks for nothing")))),
            _ => {}
        }
        self.requests += 1;
        self.request_bytes += bytes;
        let options = &self.shared.options;
        // A request that is larger than all of the room has it for itself.
        let fits = self.request_bytes <= options.request_bytes_max as usize || self.requests == 1;
        if self.requests > options.requests_max || !fits {
            let (requests, bytes) = (options.requests_max, options.request_bytes_max);
            let message = format!("more than {requests} requests or {bytes} bytes of them under way");
            return Err(End::Violated(Status::resource_exhausted(message)));
        }
        let kind = Kind::Request(bytes);
        let reader = self.reader.clone();
        let answer = match request.request {
            Some(request::Request::ReadVersion(request)) => reader.read_version(request).boxed(),
            Some(request::Request::GetMany(request)) => reader.get_many(request).boxed(),
            Some(request::Request::GetRange(request)) => reader.get_range(request).boxed(),
            Some(request::Request::Commit(request)) => self.commit(request)?,
            Some(request::Request::Watch(_) | request::Request::CancelWatch(_)) | None => unreachable!("see above"),
        };
        self.work.push(answer.map(move |answer| Some(Done { id, kind, answer })).boxed());
        Ok(())
    }

    /// Begins a commit. It runs to its end whatever becomes of this stream, and until then
    /// holds up the client's next one.
    fn commit(&self, request: proto::Commit) -> Result<BoxFuture<'static, Answer>, End> {
        let request = match wire::commit_from(request) {
            Ok(request) => request,
            Err(error) => return Ok(std::future::ready(Answer::error(error.into())).boxed()),
        };
        let begun = self.admitted.begin_commit().ok_or(End::Fenced)?;
        let commit = self.shared.engine.commit(request);
        let ended = tokio::spawn(async move {
            let result = commit.await;
            drop(begun);
            result
        });
        Ok(async move {
            match ended.await {
                Ok(Ok(receipt)) => Answer::small(wire::receipt_result(receipt)),
                Ok(Err(error)) => Answer::error(error),
                // It panicked, and has ended with that.
                Err(_) => {
                    Answer::error(StoreError::with(StoreError::COMMIT_UNKNOWN_RESULT, "the store failed in a commit"))
                }
            }
        }
        .boxed())
    }

    fn watch(&mut self, id: u64, watch: proto::Watch) {
        let proto::Watch { key, value, version } = watch;
        let bytes = key.len() + value.as_ref().map_or(0, Bytes::len);
        let options = &self.shared.options;
        if self.watches.len() >= options.watches_max || self.watch_bytes + bytes > options.watch_bytes_max {
            let (count, bytes) = (options.watches_max, options.watch_bytes_max);
            let context = format!("at most {count} watches and {bytes} bytes of them for each client");
            let answer = Answer::error(StoreError::with(StoreError::TOO_MANY_WATCHES, context));
            return self.answers.push_back(Done { id, kind: Kind::Watch, answer });
        }
        // Copied: a watch may wait for long, and would keep all of its message.
        let (key, value) = (Bytes::copy_from_slice(&key), value.as_deref().map(Bytes::copy_from_slice));
        let (waiting, cancel) = abortable(self.shared.engine.watch(key, value, Version(version)));
        if let Some(twice) = self.watches.insert(id, Watching { cancel, bytes }) {
            twice.cancel.abort();
            self.watch_bytes -= twice.bytes;
        }
        self.watch_bytes += bytes;
        self.work.push(
            waiting
                .map(move |fired| {
                    let answer = match fired.ok()? {
                        Ok(()) => Answer::small(response::Result::Watch(proto::WatchResult {})),
                        Err(error) => Answer::error(error),
                    };
                    Some(Done { id, kind: Kind::Watch, answer })
                })
                .boxed(),
        );
    }

    fn cancel_watch(&mut self, id: u64) {
        if let Some(watch) = self.watches.remove(&id) {
            watch.cancel.abort();
            self.watch_bytes -= watch.bytes;
        }
    }
}

#[cfg(test)]
mod tests;

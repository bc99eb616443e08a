//! The client: an engine that asks a server.

use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use escapement_proto::store::{request, response};
use futures_util::{
    FutureExt as _,
    future::{BoxFuture, ready},
};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, oneshot, watch};

use super::{
    book::{self, Book, Job},
    link, wire,
};
use crate::{
    clock::SharedClock,
    rng::Rng,
    store::{
        RangePage, StoreError, Version,
        engine::{CommitReceipt, CommitRequest, Engine, KeyRange, Mutation, RangeRead, ReadVersionRequest},
    },
};

/// Settings of a client.
#[derive(Clone, Copy, Debug)]
pub struct RemoteOptions {
    /// A stream on which nothing came for so long, though the server was asked for a sign of
    /// life, is given up and replaced.
    pub silence_max: Duration,
    /// How long [`RemoteEngine::connect`] tries to find the server.
    pub connect_max: Duration,
    /// First pause before another try, doubled with each; each pause is shortened by up to
    /// half, by chance.
    pub backoff_min: Duration,
    /// Longest pause.
    pub backoff_max: Duration,
    /// Requests that wait or are under way, watches apart. Callers of more wait.
    pub requests_max: usize,
    /// Bytes of their keys and values. Callers of more wait.
    pub request_bytes_max: u32,
    /// Watches at once; 1032 beyond.
    pub watches_max: usize,
}

impl Default for RemoteOptions {
    fn default() -> Self {
        Self {
            silence_max: Duration::from_secs(3),
            connect_max: Duration::from_secs(5),
            backoff_min: Duration::from_millis(50),
            backoff_max: Duration::from_secs(1),
            requests_max: 4096,
            request_bytes_max: 64 << 20,
            watches_max: crate::store::memory::WATCHES_MAX,
        }
    }
}

/// No store was found.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "no store answers at {address}: {reason}; check the address, and that `escapement store` of this version runs there"
)]
pub struct ConnectError {
    /// `HOST:PORT`, as it was given.
    pub address: String,
    /// What the last try came to.
    pub reason: String,
}

/// How the client stands with its server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Link {
    /// No stream; the last one, or the last try, ended so.
    Down(String),
    /// The server will not take this client, however often it asks.
    Refused(String),
    /// The server has said Welcome.
    Up,
}

/// What callers and the task of the link share.
pub(super) struct Shared {
    pub(super) address: String,
    pub(super) options: RemoteOptions,
    pub(super) clock: SharedClock,
    pub(super) rng: Rng,
    book: Mutex<Book>,
    /// Something is to be sent, or the client was closed.
    pub(super) wake: Notify,
    pub(super) link: watch::Sender<Link>,
    next_id: AtomicU64,
    requests: Arc<Semaphore>,
    bytes: Arc<Semaphore>,
    watches: Arc<Semaphore>,
}

impl Shared {
    pub(super) fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands a request to the link.
    fn submit(&self, request: request::Request, room: Vec<OwnedSemaphorePermit>) -> (u64, Answer) {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let (reply, answer) = oneshot::channel();
        self.book().add(Job::new(id, request, reply, room));
        self.wake.notify_one();
        (id, answer)
    }

    fn permits(&self, bytes: usize) -> u32 {
        u32::try_from(bytes).unwrap_or(u32::MAX).clamp(1, self.options.request_bytes_max)
    }

    /// Room for a request, if there is some at once.
    fn try_room(&self, bytes: usize) -> Option<Vec<OwnedSemaphorePermit>> {
        let one = Arc::clone(&self.requests).try_acquire_owned().ok()?;
        let bytes = Arc::clone(&self.bytes).try_acquire_many_owned(self.permits(bytes)).ok()?;
        Some(vec![one, bytes])
    }

    async fn room(&self, bytes: usize) -> Vec<OwnedSemaphorePermit> {
        let one = Arc::clone(&self.requests).acquire_owned().await.expect("never closed");
        let bytes = Arc::clone(&self.bytes).acquire_many_owned(self.permits(bytes)).await.expect("never closed");
        vec![one, bytes]
    }

    /// Asks, waits for the answer.
    async fn ask(&self, request: request::Request, bytes: usize) -> Result<response::Result, StoreError> {
        let room = self.room(bytes).await;
        wait(self.submit(request, room).1).await
    }
}

type Answer = oneshot::Receiver<Result<response::Result, StoreError>>;

async fn wait(answer: Answer) -> Result<response::Result, StoreError> {
    answer.await.unwrap_or_else(|_| Err(book::closed()))
}

/// An engine that asks a [`super::StoreServer`]. Clones are the same client; it says goodbye
/// with the last of them.
#[derive(Clone)]
pub struct RemoteEngine(Arc<Handle>);

struct Handle(Arc<Shared>);

impl Drop for Handle {
    fn drop(&mut self) {
        self.0.book().close();
        self.0.wake.notify_one();
    }
}

impl fmt::Debug for RemoteEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RemoteEngine").field(&self.0.0.address).finish()
    }
}

impl RemoteEngine {
    /// A client of the server at `HOST:PORT`, which need not be there yet: requests wait for
    /// it. Spawns the task that looks for it.
    pub fn start(address: &str, options: RemoteOptions, clock: SharedClock, rng: Rng) -> Self {
        let shared = Arc::new(Shared {
            address: address.to_owned(),
            options,
            clock,
            rng,
            book: Mutex::default(),
            wake: Notify::new(),
            link: watch::channel(Link::Down("not tried yet".to_owned())).0,
            next_id: AtomicU64::new(1),
            requests: Arc::new(Semaphore::new(options.requests_max)),
            bytes: Arc::new(Semaphore::new(options.request_bytes_max as usize)),
            watches: Arc::new(Semaphore::new(options.watches_max)),
        });
        tokio::spawn(link::run(Arc::clone(&shared)));
        Self(Arc::new(Handle(shared)))
    }

    /// As [`RemoteEngine::start`], and waits until the server has answered, at most
    /// [`RemoteOptions::connect_max`].
    ///
    /// # Errors
    /// When nobody answers in time, or who answers is no store of this protocol.
    pub async fn connect(
        address: &str,
        options: RemoteOptions,
        clock: SharedClock,
        rng: Rng,
    ) -> Result<Self, ConnectError> {
        let engine = Self::start(address, options, Arc::clone(&clock), rng);
        let mut link = engine.0.0.link.subscribe();
        let failed = |reason: String| ConnectError { address: address.to_owned(), reason };
        tokio::select! {
            biased;
            state = link.wait_for(|link| !matches!(link, Link::Down(_))) => {
                match state.map(|state| state.clone()) {
                    Ok(Link::Up) => {}
                    Ok(Link::Refused(reason) | Link::Down(reason)) => return Err(failed(reason)),
                    Err(_) => return Err(failed("the client ended".to_owned())),
                }
            }
            () = clock.sleep(options.connect_max) => {
                let reason = match &*engine.0.0.link.borrow() {
                    Link::Down(reason) | Link::Refused(reason) => reason.clone(),
                    Link::Up => "it answered too late".to_owned(),
                };
                return Err(failed(format!("{reason} (tried for {:?})", options.connect_max)));
            }
        }
        Ok(engine)
    }

    fn shared(&self) -> &Arc<Shared> {
        &self.0.0
    }
}

impl Engine for RemoteEngine {
    fn read_version(&self, request: &ReadVersionRequest) -> BoxFuture<'_, Result<Version, StoreError>> {
        let request = wire::read_version_request(request);
        self.shared().ask(request, 0).map(|answer| wire::read_version_of(answer?)).boxed()
    }

    fn get_many(
        &self,
        mut keys: Vec<Bytes>,
        version: Version,
    ) -> BoxFuture<'_, Result<Vec<Option<Bytes>>, StoreError>> {
        async move {
            let mut values = Vec::with_capacity(keys.len());
            // The server ends an answer early when values are large.
            while !keys.is_empty() {
                let bytes = keys.iter().map(Bytes::len).sum();
                let answer = self.shared().ask(wire::get_many_request(keys.clone(), version), bytes).await?;
                let read = wire::values_of(answer)?;
                if read.is_empty() || read.len() > keys.len() {
                    let context = format!("the store gave {} values of {} keys", read.len(), keys.len());
                    return Err(StoreError::with(StoreError::OPERATION_FAILED, context));
                }
                keys.drain(..read.len());
                values.extend(read);
            }
            Ok(values)
        }
        .boxed()
    }

    fn get_range(&self, read: RangeRead, version: Version) -> BoxFuture<'_, Result<RangePage, StoreError>> {
        let bytes = read.begin.len() + read.end.len();
        let request = wire::get_range_request(read, version);
        self.shared().ask(request, bytes).map(|answer| wire::page_of(answer?)).boxed()
    }

    fn commit(&self, request: CommitRequest) -> BoxFuture<'static, Result<CommitReceipt, StoreError>> {
        let shared = Arc::clone(self.shared());
        let bytes = commit_bytes(&request);
        let request = wire::commit_request(request);
        // Usually there is room: the commit is on its way before anybody polls.
        match shared.try_room(bytes) {
            Some(room) => {
                let (_, answer) = shared.submit(request, room);
                wait(answer).map(|answer| wire::receipt_of(answer?)).boxed()
            }
            None => async move { wire::receipt_of(shared.ask(request, bytes).await?) }.boxed(),
        }
    }

    fn watch(&self, key: Bytes, value: Option<Bytes>, version: Version) -> BoxFuture<'static, Result<(), StoreError>> {
        let shared = Arc::clone(self.shared());
        let Ok(room) = Arc::clone(&shared.watches).try_acquire_owned() else {
            let context = format!("at most {} watches at once", shared.options.watches_max);
            return ready(Err(StoreError::with(StoreError::TOO_MANY_WATCHES, context))).boxed();
        };
        let (id, answer) = shared.submit(wire::watch_request(key, value, version), vec![room]);
        let watching = Watching { shared, id, answer };
        async move { wire::watch_of(watching.fired().await?) }.boxed()
    }

    fn exclusive(&self) -> bool {
        false
    }

    fn kind(&self) -> &'static str {
        "remote"
    }
}

/// A watch that waits; dropping it cancels it.
struct Watching {
    shared: Arc<Shared>,
    id: u64,
    answer: Answer,
}

impl Watching {
    async fn fired(mut self) -> Result<response::Result, StoreError> {
        (&mut self.answer).await.unwrap_or_else(|_| Err(book::closed()))
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        self.answer.close();
        self.shared.book().cancel_watch(self.id);
        self.shared.wake.notify_one();
    }
}

fn commit_bytes(request: &CommitRequest) -> usize {
    let mutations = request.mutations.iter().map(|mutation| match mutation {
        Mutation::Clear(key) => key.len(),
        Mutation::Set(key, other) | Mutation::ClearRange(key, other) | Mutation::Atomic(_, key, other) => {
            key.len() + other.len()
        }
    });
    let ranges = request.read_conflicts.iter().chain(&request.write_conflicts);
    mutations.sum::<usize>() + ranges.map(|KeyRange { begin, end }| begin.len() + end.len()).sum::<usize>()
}

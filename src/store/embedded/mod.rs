//! The embedded store: durable on the local disk, one process.
//!
//! A commit is resolved, written to a log of our own and synced together with all others that
//! came meanwhile; only then is it acknowledged or readable. The last five seconds of commits
//! stay in memory, every version; what grows older goes, newest state only, to an LSM tree
//! (fjall) that is synced only before the log lets go of the same commits. Task entries that
//! come and go within seconds never reach the tree. FoundationDB's storage servers work so.
//!
//! Files: `LOCK` (held while open), `FORMAT` (text), `log/` (segments), `base/` (the tree).
//!
//! What it never does: acknowledge or show a commit before its sync has returned; go on after
//! a failed sync; start on a log that has a hole in it.

mod base;
mod commit;
mod dir;
mod error;
mod files;
mod flush;
mod frame;
mod log;
mod recovery;

use std::{
    path::Path,
    sync::{Arc, Mutex, PoisonError, atomic::Ordering},
    thread::JoinHandle,
};

use bytes::Bytes;
use futures_util::{
    FutureExt as _,
    future::{BoxFuture, ready},
};
use tokio::sync::oneshot;

use self::{
    base::FjallBase,
    commit::{Job, Shared, request_bytes},
    flush::Flusher,
    frame::FrameBuffer,
    log::{Log, LogDir},
};
pub use self::{
    error::OpenError,
    files::{LogFile, LogFiles, SystemFiles},
};
use super::{
    RangePage, StoreError, Version,
    engine::{CommitReceipt, CommitRequest, Engine, RangeRead, ReadVersionRequest},
    mvcc::{Core, VERSIONS_PER_SECOND, Versions, Window, after_restart},
};
use crate::clock::SharedClock;

/// Settings of an embedded store.
#[derive(Clone, Debug)]
pub struct EmbeddedOptions {
    /// Milliseconds for which versions stay readable; a transaction lasts no longer.
    pub window_ms: u64,
    /// The same when memory is short.
    pub window_ms_min: u64,
    /// Bytes of the window. Above three quarters of it the window gets shorter, at all of it
    /// commits wait.
    pub window_bytes_max: usize,
    /// Bytes of commits that are queued or wait for their sync. Beyond it, callers wait.
    pub queue_bytes_max: usize,
    /// Bytes of a log segment; a single larger commit has one for itself.
    pub segment_bytes: u64,
    /// Bytes of the base's block cache.
    pub cache_bytes: u64,
    /// Free bytes of disk below which nothing is moved to the base.
    pub disk_free_bytes_min: u64,
    /// Watches at once.
    pub watches_max: usize,
    /// The files of the log, and the one that tells the format; tests put their own here.
    pub files: Arc<dyn LogFiles>,
}

impl Default for EmbeddedOptions {
    fn default() -> Self {
        Self {
            window_ms: 5000,
            window_ms_min: 1000,
            window_bytes_max: 1 << 30,
            queue_bytes_max: 64 << 20,
            segment_bytes: 64 << 20,
            cache_bytes: 64 << 20,
            disk_free_bytes_min: 64 << 20,
            watches_max: super::memory::WATCHES_MAX,
            files: Arc::new(SystemFiles),
        }
    }
}

/// What an embedded store has done since it was opened, and what it holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EmbeddedStats {
    /// Commits acknowledged.
    pub commits: u64,
    /// Batches that they were resolved in: versions.
    pub batches: u64,
    /// Syncs of the log for them.
    pub syncs: u64,
    /// Bytes written to the log for them.
    pub log_bytes: u64,
    /// Bytes that the window holds, roughly.
    pub window_bytes: usize,
    /// Bytes that the keys of conflicts take, roughly. They go with commits after they are too
    /// old, or within seconds when none come.
    pub resolver_bytes: usize,
    /// Versions from the window's oldest batch to the newest: microseconds.
    pub window_span: u64,
    /// Batches handed to the base.
    pub flushes: u64,
    /// Bytes of keys and values handed to the base.
    pub base_bytes: u64,
    /// Times that commits had to wait for memory.
    pub stalls: u64,
}

/// A durable store in a directory. Clones are the same store; it closes with the last of them.
#[derive(Clone, Debug)]
pub struct EmbeddedEngine(Arc<Opened>);

#[derive(Debug)]
struct Opened {
    shared: Arc<Shared>,
    threads: Mutex<Option<Threads>>,
}

#[derive(Debug)]
struct Threads {
    handles: Vec<JoinHandle<()>>,
    _lock: dir::DirLock,
}

impl EmbeddedEngine {
    /// Opens the store in `dir`, which is created if it is not there, and recovers what a
    /// crash left behind. Blocks.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open(dir: &Path, options: EmbeddedOptions, clock: SharedClock) -> Result<Self, OpenError> {
        let lock = dir::lock(dir, &*options.files)?;
        let is_new = dir::check_format(dir, &*options.files)?;
        let (base_path, log_path) = (dir.join("base"), dir.join("log"));
        std::fs::create_dir_all(&log_path).map_err(OpenError::io("create", log_path.clone()))?;
        let base = FjallBase::open(&base_path, options.cache_bytes)?;
        let applied = base.applied().map_err(|source| OpenError::Base { path: base_path, source: Box::new(source) })?;
        let log_dir = LogDir::new(Arc::clone(&options.files), log_path.clone());
        let mut window = Window::default();
        let recovered =
            recovery::recover(&log_dir, applied, is_new, |version, changes| window.replay(version, &changes))?;
        let begun = Log::begin(log_dir.clone(), recovered.next_number, recovered.last_version, options.segment_bytes);
        let mut log = begun.map_err(OpenError::io("begin a segment in", log_path.clone()))?;
        if let Some(tail) = recovered.tail {
            recovery::seal_tail(&log_dir, tail, recovered.next_number - 1)?;
        }
        // Where versions go on is logged before any is given out.
        let first = after_restart(recovered.last_version);
        let noted = log.append(&mut FrameBuffer::default(), first);
        noted.map_err(|error| OpenError::io(error.what, log_path)(error.source))?;
        if is_new {
            dir::mark_ready(dir, &*log_dir.files)?;
        }
        let versions = Versions::new(clock, first);
        let span = versions_in(options.window_ms);
        let core = Core::new(base, versions, window, span, options.watches_max);
        let shared = Arc::new(Shared::new(core, options.queue_bytes_max, options.window_bytes_max));
        let flusher = Flusher {
            log: log_dir,
            span_min: versions_in(options.window_ms_min.min(options.window_ms)),
            disk_free_bytes_min: options.disk_free_bytes_min,
        };
        let threads = Threads { handles: spawn(&shared, log, flusher)?, _lock: lock };
        Ok(Self(Arc::new(Opened { shared, threads: Mutex::new(Some(threads)) })))
    }

    /// Finishes what is queued and lets go of the directory. Later commits and reads of old
    /// data are refused with 1000. Blocks for about one sync.
    pub fn close(&self) {
        self.0.close();
    }

    /// What it has done and holds.
    pub fn stats(&self) -> EmbeddedStats {
        let shared = &self.0.shared;
        let counters = &shared.counters;
        let (window_bytes, oldest) = {
            let window = shared.core.window();
            (window.bytes(), window.oldest())
        };
        let resolver_bytes = shared.core.held_bytes().saturating_sub(window_bytes);
        EmbeddedStats {
            commits: counters.commits.load(Ordering::Relaxed),
            batches: counters.batches.load(Ordering::Relaxed),
            syncs: counters.syncs.load(Ordering::Relaxed),
            log_bytes: counters.log_bytes.load(Ordering::Relaxed),
            window_bytes,
            resolver_bytes,
            window_span: oldest.map_or(0, |oldest| shared.core.versions.readable().saturating_sub(oldest)),
            flushes: counters.flushes.load(Ordering::Relaxed),
            base_bytes: shared.core.base.bytes(),
            stalls: counters.stalls.load(Ordering::Relaxed),
        }
    }
}

fn versions_in(ms: u64) -> u64 {
    ms.saturating_mul(VERSIONS_PER_SECOND / 1000)
}

fn spawn(shared: &Arc<Shared>, log: Log, flusher: Flusher) -> Result<Vec<JoinHandle<()>>, OpenError> {
    let start = |name: &str, run: Box<dyn FnOnce(&Shared) + Send>| {
        let shared = Arc::clone(shared);
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || run(&shared));
        thread.map_err(OpenError::io("start a thread for", "the store"))
    };
    Ok(vec![
        start("store-sync", Box::new(move |shared| commit::sync_loop(shared, log)))?,
        start("store-stage", Box::new(commit::stage_loop))?,
        start("store-flush", Box::new(move |shared| flush::flush_loop(shared, &flusher)))?,
    ])
}

impl Opened {
    fn close(&self) {
        let threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(threads) = threads else { return };
        self.shared.begin_close();
        let Threads { handles, _lock } = threads;
        for handle in handles {
            // A thread that panicked has said so itself.
            let _ = handle.join();
        }
        self.shared.core.end_watches();
        // Before the directory's lock goes.
        self.shared.core.base.close();
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        self.close();
    }
}

impl Engine for EmbeddedEngine {
    fn read_version(&self, _request: &ReadVersionRequest) -> BoxFuture<'_, Result<Version, StoreError>> {
        ready(Ok(Version(self.0.shared.core.versions.read()))).boxed()
    }

    fn get_many(&self, keys: Vec<Bytes>, version: Version) -> BoxFuture<'_, Result<Vec<Option<Bytes>>, StoreError>> {
        ready(self.0.shared.core.get_many(&keys, version)).boxed()
    }

    fn get_range(&self, read: RangeRead, version: Version) -> BoxFuture<'_, Result<RangePage, StoreError>> {
        ready(self.0.shared.core.get_range(&read, version)).boxed()
    }

    fn commit(&self, request: CommitRequest) -> BoxFuture<'static, Result<CommitReceipt, StoreError>> {
        let shared = Arc::clone(&self.0.shared);
        let bytes = request_bytes(&request);
        let permits = shared.permits(bytes);
        let (done, receipt) = oneshot::channel();
        // Usually there is room: the commit is on its way before anybody polls.
        let mut waiting = Some((request, done));
        if let Ok(room) = Arc::clone(&shared.room).try_acquire_many_owned(permits)
            && let Some((request, done)) = waiting.take()
        {
            shared.submit(Job { request, bytes, done, room });
        }
        async move {
            if let Some((request, done)) = waiting {
                let room = Arc::clone(&shared.room).acquire_many_owned(permits).await;
                let room = room.map_err(|_| StoreError::new(StoreError::OPERATION_FAILED))?;
                shared.submit(Job { request, bytes, done, room });
            }
            let lost = || StoreError::with(StoreError::COMMIT_UNKNOWN_RESULT, "the store's thread ended");
            receipt.await.unwrap_or_else(|_| Err(lost()))
        }
        .boxed()
    }

    fn watch(&self, key: Bytes, value: Option<Bytes>, _version: Version) -> BoxFuture<'static, Result<(), StoreError>> {
        match self.0.shared.core.watch(key, value) {
            Ok(registered) => registered.wait().boxed(),
            Err(refused) => ready(Err(refused)).boxed(),
        }
    }

    fn exclusive(&self) -> bool {
        true
    }

    fn kind(&self) -> &'static str {
        "embedded"
    }
}

#[cfg(test)]
mod tests;

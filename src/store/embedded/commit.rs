//! The way of a commit: queue, stage, sync, acknowledgement.
//!
//! The *sync thread* takes what is queued, resolves it (the *stage*: conflicts, versions, the
//! window, the frame's bytes), writes the frame, syncs it, publishes the version and
//! acknowledges. So a lone commit costs one wake-up and one sync. While a sync is under way
//! and enough is queued, the *stage thread* resolves that already, so that the next frame is
//! ready when the sync returns. Everything staged during one sync shares the next.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::{
    base::FjallBase,
    frame::FrameBuffer,
    log::{AppendError, Log},
};
use crate::store::{
    StoreError, Version,
    engine::{CommitReceipt, CommitRequest, KeyRange, Mutation},
    mvcc::{Core, Stage},
};

/// Commits resolved in one go; versionstamps allow 65,536.
const BATCH_JOBS_MAX: usize = 2048;
/// Bytes of them.
const BATCH_BYTES_MAX: usize = 4 << 20;
/// Bytes of a frame after which no more is staged for it.
const FRAME_BYTES_MAX: usize = 16 << 20;
/// Queued commits or bytes that are worth waking the stage thread for.
const STAGE_JOBS_MIN: usize = 32;
const STAGE_BYTES_MIN: usize = 64 << 10;
/// Bytes that one permit of the queue stands for.
const PERMIT_BYTES: usize = 1024;
/// Pause between two steps of forgetting conflicts.
const FORGET_PAUSE: Duration = Duration::from_millis(1);
/// How often a stalled commit looks again, if nobody wakes it.
const STALL_WAIT: Duration = Duration::from_millis(50);

/// One queued commit.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) request: CommitRequest,
    pub(super) bytes: usize,
    pub(super) done: oneshot::Sender<Result<CommitReceipt, StoreError>>,
    pub(super) room: OwnedSemaphorePermit,
}

/// A commit that waits for its sync.
#[derive(Debug)]
struct Ack {
    done: oneshot::Sender<Result<CommitReceipt, StoreError>>,
    receipt: CommitReceipt,
    _room: OwnedSemaphorePermit,
}

#[derive(Debug, Default)]
struct Queue {
    jobs: VecDeque<Job>,
    bytes: usize,
    /// The sync thread waits for work.
    is_idle: bool,
    /// The stage thread has staged something that the sync thread has not taken.
    has_staged: bool,
    /// Commits wait until the window has room.
    is_stalled: bool,
    is_closing: bool,
}

/// What the next frame will be.
#[derive(Debug, Default)]
struct Group {
    frame: FrameBuffer,
    acks: Vec<Ack>,
    version: Option<Version>,
}

#[derive(Debug, Default)]
struct Staging {
    stage: Stage,
    group: Group,
    batches: u64,
    /// Why no commit is taken any more.
    poison: Option<StoreError>,
}

/// Counters, ever growing.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) commits: AtomicU64,
    pub(super) batches: AtomicU64,
    pub(super) syncs: AtomicU64,
    pub(super) log_bytes: AtomicU64,
    pub(super) flushes: AtomicU64,
    pub(super) stalls: AtomicU64,
}

/// What the threads share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) core: Core<FjallBase>,
    pub(super) room: Arc<Semaphore>,
    pub(super) room_permits: u32,
    pub(super) window_bytes_max: usize,
    pub(super) counters: Counters,
    /// The base cannot take anything at present, and why.
    pub(super) base_trouble: Mutex<Option<String>>,
    pub(super) wants_flush: AtomicBool,
    queue: Mutex<Queue>,
    to_sync: Condvar,
    to_stage: Condvar,
    pub(super) to_flush: Condvar,
    staging: Mutex<Staging>,
}

fn hold<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Roughly the bytes that a request keeps in memory.
pub(super) fn request_bytes(request: &CommitRequest) -> usize {
    let of_mutation = |mutation: &Mutation| match mutation {
        Mutation::Set(one, two) | Mutation::ClearRange(one, two) | Mutation::Atomic(_, one, two) => {
            one.len() + two.len() + 64
        }
        Mutation::Clear(key) => key.len() + 64,
    };
    let ranges = request.read_conflicts.iter().chain(&request.write_conflicts);
    let of_ranges = ranges.map(|KeyRange { begin, end }| begin.len() + end.len() + 64).sum::<usize>();
    request.mutations.iter().map(of_mutation).sum::<usize>() + of_ranges
}

impl Shared {
    pub(super) fn new(core: Core<FjallBase>, queue_bytes_max: usize, window_bytes_max: usize) -> Self {
        let permits = (queue_bytes_max / PERMIT_BYTES).clamp(1, Semaphore::MAX_PERMITS);
        let room_permits = u32::try_from(permits).unwrap_or(u32::MAX);
        Self {
            core,
            room: Arc::new(Semaphore::new(permits)),
            room_permits,
            window_bytes_max,
            counters: Counters::default(),
            base_trouble: Mutex::default(),
            wants_flush: AtomicBool::new(false),
            queue: Mutex::default(),
            to_sync: Condvar::new(),
            to_stage: Condvar::new(),
            to_flush: Condvar::new(),
            staging: Mutex::default(),
        }
    }

    /// Permits of the queue that a request of so many bytes takes.
    pub(super) fn permits(&self, bytes: usize) -> u32 {
        u32::try_from(bytes / PERMIT_BYTES + 1).unwrap_or(u32::MAX).min(self.room_permits)
    }

    /// Queues a commit.
    pub(super) fn submit(&self, job: Job) {
        let mut queue = hold(&self.queue);
        if queue.is_closing {
            drop(queue);
            refuse(job, &closed());
            return;
        }
        queue.bytes += job.bytes;
        queue.jobs.push_back(job);
        if queue.is_idle {
            queue.is_idle = false;
            drop(queue);
            self.to_sync.notify_one();
        } else if queue.jobs.len() == STAGE_JOBS_MIN || queue.bytes >= STAGE_BYTES_MIN {
            drop(queue);
            self.to_stage.notify_one();
        }
    }

    /// Lets the threads finish what is queued, and end.
    pub(super) fn begin_close(&self) {
        hold(&self.queue).is_closing = true;
        self.to_sync.notify_all();
        self.to_stage.notify_all();
        self.to_flush.notify_all();
    }

    pub(super) fn is_closing(&self) -> bool {
        hold(&self.queue).is_closing
    }

    /// The flusher's pause: until the time is over, or somebody needs room.
    pub(super) fn wait_for_flush(&self, pause: Duration) {
        let queue = hold(&self.queue);
        if !queue.is_closing && !self.wants_flush.swap(false, Ordering::AcqRel) {
            drop(self.to_flush.wait_timeout(queue, pause));
        }
    }

    /// Forgets conflicts that have grown old while no commits came, which would take them along: the
    /// first commit after a pause finds no million of them. Ends early when a flush is wanted.
    pub(super) fn forget_old_conflicts(&self) {
        while self.core.forget_some_conflicts(&mut hold(&self.staging).stage) {
            // A lock taken again at once would keep the commits out.
            let queue = hold(&self.queue);
            if queue.is_closing || self.wants_flush.load(Ordering::Acquire) {
                return;
            }
            drop(self.to_flush.wait_timeout(queue, FORGET_PAUSE));
        }
    }

    /// The window has become smaller.
    pub(super) fn flushed(&self) {
        let mut queue = hold(&self.queue);
        if std::mem::take(&mut queue.is_stalled) {
            drop(queue);
            self.to_sync.notify_one();
        }
    }

    /// Resolves queued commits into the next frame. Whether there is anything to sync or
    /// publish now.
    fn stage_some(&self, staging: &mut Staging, by_stage_thread: bool) {
        while staging.group.frame.len() < FRAME_BYTES_MAX {
            let jobs = self.take_jobs(staging, by_stage_thread);
            if jobs.is_empty() {
                return;
            }
            self.stage_batch(staging, jobs);
        }
    }

    fn take_jobs(&self, staging: &mut Staging, by_stage_thread: bool) -> Vec<Job> {
        let mut is_full = self.core.held_bytes() > self.window_bytes_max;
        if is_full {
            // Conflicts go with commits, of which there are none now.
            self.core.forget_conflicts(&mut staging.stage);
            is_full = self.core.held_bytes() > self.window_bytes_max;
        }
        let mut queue = hold(&self.queue);
        if by_stage_thread && (queue.is_idle || queue.jobs.len() < STAGE_JOBS_MIN && queue.bytes < STAGE_BYTES_MIN) {
            return Vec::new();
        }
        // A store that closes flushes no more: waiting for it would never end.
        let may_wait = staging.poison.is_none() && !queue.is_closing;
        if is_full && may_wait && !queue.jobs.is_empty() && self.trouble().is_none() {
            queue.is_stalled = true;
            self.counters.stalls.fetch_add(1, Ordering::Relaxed);
            self.wants_flush.store(true, Ordering::Release);
            self.to_flush.notify_one();
            return Vec::new();
        }
        let mut bytes = 0;
        let mut jobs = Vec::new();
        while jobs.len() < BATCH_JOBS_MAX && bytes < BATCH_BYTES_MAX {
            let Some(job) = queue.jobs.pop_front() else { break };
            bytes += job.bytes;
            jobs.push(job);
        }
        queue.bytes -= bytes;
        queue.has_staged |= by_stage_thread && !jobs.is_empty();
        drop(queue);
        let refusal = staging.poison.clone().or_else(|| if is_full { self.trouble() } else { None });
        if let Some(error) = refusal {
            jobs.drain(..).for_each(|job| refuse(job, &error));
        }
        jobs
    }

    fn trouble(&self) -> Option<StoreError> {
        let trouble = hold(&self.base_trouble).clone()?;
        Some(StoreError::with(StoreError::OPERATION_FAILED, format!("memory is full and cannot be flushed: {trouble}")))
    }

    fn stage_batch(&self, staging: &mut Staging, jobs: Vec<Job>) {
        let group = &mut staging.group;
        let frame = &mut group.frame;
        frame.begin_batch();
        let requests = jobs.iter().map(|job| &job.request);
        let (version, results) = self.core.process(&mut staging.stage, requests, |change| frame.push(change));
        let any = results.iter().any(Result::is_ok);
        frame.end_batch(version.0, any);
        staging.batches += u64::from(any);
        group.version = Some(version);
        for (job, result) in jobs.into_iter().zip(results) {
            match result {
                Ok(receipt) => group.acks.push(Ack { done: job.done, receipt, _room: job.room }),
                // A conflict needs no sync: at worst it is with a commit that then fails.
                Err(error) => refuse(job, &error),
            }
        }
    }

    /// Ends `group`, and what was staged on top of it, with `error`; undoes all of it.
    fn fail(&self, group: &mut Group, error: &AppendError) {
        let context = if error.is_fatal {
            format!(
                "cannot {}: {}; it is not known whether this commit is durable, and no more are accepted until the \
                 store is opened again",
                error.what, error.source
            )
        } else {
            format!("cannot {}: {}; the commit was not applied", error.what, error.source)
        };
        tracing::error!(error = %context, "commits failed");
        let code = match error.is_fatal || !super::error::is_full(&error.source) {
            true => StoreError::OPERATION_FAILED,
            false => StoreError::STORAGE_FULL,
        };
        let error_of_commits = StoreError::with(code, context);
        let mut staging = hold(&self.staging);
        if error.is_fatal {
            staging.poison = Some(StoreError::with(
                StoreError::OPERATION_FAILED,
                format!(
                    "no commits are accepted until the store is opened again: cannot {}: {}",
                    error.what, error.source
                ),
            ));
        }
        self.core.undo_unpublished();
        let mut acks = std::mem::take(&mut group.acks);
        acks.append(&mut staging.group.acks);
        staging.group.frame.clear();
        staging.group.version = None;
        drop(staging);
        for ack in acks {
            // Whoever asked may have gone.
            let _ = ack.done.send(Err(error_of_commits.clone()));
        }
    }
}

fn refuse(job: Job, error: &StoreError) {
    // Whoever asked may have gone.
    let _ = job.done.send(Err(error.clone()));
}

fn closed() -> StoreError {
    StoreError::with(StoreError::OPERATION_FAILED, "the store is closed")
}

/// The sync thread.
pub(super) fn sync_loop(shared: &Shared, mut log: Log) {
    let mut group = Group::default();
    loop {
        {
            let mut staging = hold(&shared.staging);
            shared.stage_some(&mut staging, false);
            std::mem::swap(&mut staging.group, &mut group);
            let batches = std::mem::take(&mut staging.batches);
            shared.counters.batches.fetch_add(batches, Ordering::Relaxed);
            hold(&shared.queue).has_staged = false;
        }
        if let Some(version) = group.version.take() {
            sync_group(shared, &mut log, &mut group, version);
            continue;
        }
        let mut queue = hold(&shared.queue);
        if queue.is_stalled {
            drop(shared.to_sync.wait_timeout(queue, STALL_WAIT));
            hold(&shared.queue).is_stalled = false;
        } else if queue.jobs.is_empty() && !queue.has_staged {
            if queue.is_closing {
                break;
            }
            queue.is_idle = true;
            while queue.is_idle && !queue.is_closing {
                queue = shared.to_sync.wait(queue).unwrap_or_else(PoisonError::into_inner);
            }
            queue.is_idle = false;
        }
    }
    let is_sound = hold(&shared.staging).poison.is_none();
    if is_sound && let Err(error) = log.close() {
        tracing::warn!(error = %error.source, "could not mark the end of the log; the next start reads it as after a crash");
    }
}

fn sync_group(shared: &Shared, log: &mut Log, group: &mut Group, version: Version) {
    if group.frame.is_empty() {
        // All were refused; the version must become readable all the same.
        shared.core.publish(version, false);
        return;
    }
    let bytes = group.frame.len() as u64;
    match log.append(&mut group.frame, version.0) {
        Ok(()) => {
            shared.core.publish(version, true);
            shared.counters.syncs.fetch_add(1, Ordering::Relaxed);
            shared.counters.log_bytes.fetch_add(bytes, Ordering::Relaxed);
            shared.counters.commits.fetch_add(group.acks.len() as u64, Ordering::Relaxed);
            for ack in group.acks.drain(..) {
                // Whoever asked may have gone.
                let _ = ack.done.send(Ok(ack.receipt));
            }
        }
        Err(error) => shared.fail(group, &error),
    }
    group.frame.clear();
    group.frame.shrink(2 * FRAME_BYTES_MAX);
}

/// The stage thread.
pub(super) fn stage_loop(shared: &Shared) {
    loop {
        {
            let mut queue = hold(&shared.queue);
            loop {
                if queue.is_closing {
                    return;
                }
                let is_worth_it = queue.jobs.len() >= STAGE_JOBS_MIN || queue.bytes >= STAGE_BYTES_MIN;
                if is_worth_it && !queue.is_idle && !queue.is_stalled {
                    break;
                }
                queue = shared.to_stage.wait(queue).unwrap_or_else(PoisonError::into_inner);
            }
        }
        let mut staging = hold(&shared.staging);
        shared.stage_some(&mut staging, true);
        let is_full = staging.group.frame.len() >= FRAME_BYTES_MAX;
        drop(staging);
        if is_full {
            // The sync thread takes this frame before more can be staged.
            let queue = hold(&shared.queue);
            if queue.has_staged && !queue.is_closing {
                drop(shared.to_stage.wait_timeout(queue, STALL_WAIT));
            }
        }
    }
}

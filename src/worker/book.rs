//! What a session holds: the attempts that run, the completions that wait for an answer,
//! and the credits. No waiting and no I/O; the session feeds it what happened.

use std::{
    collections::BTreeMap,
    ops::Bound::{Excluded, Unbounded},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use escapement_engine::{
    Monotonic, ScheduleUid, TaskId, Timestamp, Token,
    limits::PAYLOAD_BYTES_MAX,
    name::{QueueName, ScheduleId},
};
use escapement_proto::v1;
use tokio::sync::{Notify, mpsc};

use super::{
    CancelCause, Context, Occurrence, Payload, TaskFailure, TaskInfo, Verdict,
    attempt::{AttemptKey, Control, Ended, Ending, Job},
    completion,
    context::Surroundings,
    handle::Tally,
    options::Options,
    outbox::Outbox,
};

/// Running and unanswered attempts together are at most this many times the slots: so a
/// server that answers no completion cannot fill the memory.
const HELD_PER_SLOT_MAX: usize = 2;
/// Bytes of the reports of one message. A single larger one goes alone.
const PROGRESS_BYTES_MAX: usize = 1_000_000;

/// The server broke a rule of the session.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Violation(pub(super) String);

#[derive(Debug)]
struct Running {
    control: Control,
    /// Its completion is wanted. Otherwise it only keeps its slot until it has ended.
    held: bool,
}

pub(super) struct Book {
    options: Arc<Options>,
    slots: usize,
    running: BTreeMap<AttemptKey, Running>,
    pub(super) outbox: Outbox,
    payload_bytes_max: usize,
    /// Credits given and used on the present stream.
    granted: u64,
    assigned: u64,
    progress_changed: Arc<Notify>,
    /// Where the next message of progress goes on, when the last one was full.
    progress_cursor: Option<AttemptKey>,
    ended: mpsc::Sender<Ended>,
    pub(super) tally: Tally,
}

impl Book {
    pub(super) fn new(options: Arc<Options>, progress_changed: Arc<Notify>, ended: mpsc::Sender<Ended>) -> Self {
        Self {
            slots: usize::try_from(options.concurrency).expect("10,000 at most"),
            options,
            running: BTreeMap::new(),
            outbox: Outbox::default(),
            payload_bytes_max: PAYLOAD_BYTES_MAX,
            granted: 0,
            assigned: 0,
            progress_changed,
            progress_cursor: None,
            ended,
            tally: Tally::default(),
        }
    }

    pub(super) fn running(&self) -> usize {
        self.running.len()
    }

    /// Nothing runs and nothing waits for an answer.
    pub(super) fn is_empty(&self) -> bool {
        self.running.is_empty() && self.outbox.len() == 0
    }

    /// Attempts that the worker could take on now.
    fn room(&self) -> usize {
        let slots = self.slots.saturating_sub(self.running.len());
        slots.min((self.slots * HELD_PER_SLOT_MAX).saturating_sub(self.running.len() + self.outbox.len()))
    }

    /// For the Hello of a new stream: what is held, and the first credits.
    pub(super) fn begin_stream(&mut self, wants_work: bool) -> (Vec<v1::HeldAttempt>, u64) {
        self.assigned = 0;
        self.granted = if wants_work { self.room() as u64 } else { 0 };
        let running = self.running.iter().filter(|(_, running)| running.held).map(|(key, _)| key);
        let held = running.chain(self.outbox.keys()).map(held_attempt).collect();
        (held, self.granted)
    }

    /// The server took this session back.
    pub(super) fn welcomed(&mut self, welcome: &v1::Welcome) -> Result<(), Violation> {
        if welcome.payload_bytes_max > 0 {
            self.payload_bytes_max = usize::try_from(welcome.payload_bytes_max).unwrap_or(usize::MAX);
        }
        self.tally.welcomes += 1;
        for lost in &welcome.lost {
            self.release(&key_of(&lost.task_id, lost.token)?, CancelCause::Lost);
        }
        // Those named lost as well: only a verdict says what became of a completion.
        self.outbox.send_all_again();
        Ok(())
    }

    /// Takes an attempt on. `None` when it is known already, or has no handler.
    pub(super) fn assign(&mut self, assignment: v1::Assignment) -> Result<Option<Job>, Violation> {
        let info = task_info(assignment)?;
        let key = AttemptKey { task_id: info.task_id, token: info.token };
        if self.running.contains_key(&key) || self.outbox.contains(&key) {
            return Ok(None);
        }
        if self.assigned >= self.granted {
            return Err(Violation(format!("task {} was assigned beyond the {} credits", key.task_id, self.granted)));
        }
        self.assigned += 1;
        self.tally.assigned += 1;
        self.release_older(key);
        let Some(queue) = self.options.queues.get(&info.queue) else {
            let message = format!("this worker does not take from queue `{}`", info.queue);
            self.complete(key, Ending::Failed(TaskFailure::retryable("no-handler", message)));
            return Ok(None);
        };
        let control = Control::new(Arc::clone(&self.progress_changed));
        let around = Surroundings {
            clock: Arc::clone(&self.options.clock),
            cancel_grace: self.options.cancel_grace,
            payload_bytes_max: self.payload_bytes_max,
        };
        let job = Job {
            key,
            handler: Arc::clone(&queue.handler),
            context: Context::new(info, around, control.cancel_signal(), control.progress()),
            queue_slots: queue.slots.clone(),
            cancel: control.cancel_signal(),
            stop: control.stop_signal(),
            ended: self.ended.clone(),
        };
        self.running.insert(key, Running { control, held: true });
        Ok(Some(job))
    }

    /// A newer attempt of the same task says that the older ones are over.
    fn release_older(&mut self, newer: AttemptKey) {
        let first = AttemptKey { task_id: newer.task_id, token: Token(0) };
        let older: Vec<_> = self.running.range(first..newer).map(|(key, _)| *key).collect();
        for key in older {
            self.release(&key, CancelCause::Lost);
        }
    }

    /// The server wants an attempt to stop.
    pub(super) fn cancel(&mut self, cancel: &v1::CancelAttempt) -> Result<(), Violation> {
        let key = key_of(&cancel.task_id, cancel.token)?;
        match cancel.cause() {
            v1::CancelCause::TimedOut => {
                if let Some(running) = self.running.get(&key) {
                    running.control.cancel(CancelCause::TimedOut);
                }
            }
            v1::CancelCause::Lost => self.release(&key, CancelCause::Lost),
            v1::CancelCause::Cancelled | v1::CancelCause::Unspecified => self.release(&key, CancelCause::Cancelled),
        }
        Ok(())
    }

    /// The attempt is ours no more. Where another may run already, there is no grace.
    fn release(&mut self, key: &AttemptKey, cause: CancelCause) {
        let Some(running) = self.running.get_mut(key) else { return };
        if running.held {
            running.held = false;
            self.tally.released += 1;
        }
        match cause {
            CancelCause::Lost | CancelCause::LeaseLost => running.control.stop(cause),
            CancelCause::Cancelled | CancelCause::TimedOut | CancelCause::Shutdown => running.control.cancel(cause),
        }
    }

    /// The lease ran out: everything may run elsewhere soon.
    pub(super) fn lose_everything(&mut self) {
        let keys: Vec<_> = self.running.keys().copied().collect();
        for key in keys {
            self.release(&key, CancelCause::LeaseLost);
        }
        self.tally.released += self.outbox.discard_all() as u64;
    }

    /// The worker ends: handlers are told, and their attempts completed as failed.
    pub(super) fn shut_down(&self) {
        for running in self.running.values() {
            running.control.cancel(CancelCause::Shutdown);
        }
    }

    /// A handler has ended; its slot is free.
    pub(super) fn ended(&mut self, ended: Ended) {
        let Ended { key, ending } = ended;
        if self.running.remove(&key).is_some_and(|running| running.held) {
            self.complete(key, ending);
        }
    }

    fn complete(&mut self, key: AttemptKey, ending: Ending) {
        if let Some(completion) = completion::of_ending(key, ending, self.payload_bytes_max, &mut self.tally) {
            self.outbox.push(key, completion);
        }
    }

    /// The server said what became of a completion.
    pub(super) fn answered(&mut self, verdict: &v1::CompletionVerdict) -> Result<(), Violation> {
        let key = key_of(&verdict.task_id, verdict.token)?;
        if !self.outbox.answered(&key) {
            return Ok(());
        }
        let answer = Verdict::from(verdict.verdict());
        if let Some(told) = &self.options.on_verdict {
            told(key.task_id, key.token, answer);
        }
        if answer.is_refusal() {
            self.tally.refused += 1;
            tracing::warn!(
                task = %key.task_id, token = %key.token, verdict = answer.code(),
                current_token = verdict.current_token, message = verdict.message, "completion refused"
            );
        }
        Ok(())
    }

    fn credits(&self) -> u64 {
        self.assigned + self.room() as u64
    }

    /// Slots have become free that the server does not know of.
    pub(super) fn has_grant(&self) -> bool {
        self.credits() > self.granted
    }

    pub(super) fn grant(&mut self) -> v1::Grant {
        self.granted = self.granted.max(self.credits());
        v1::Grant { credits_total: self.granted }
    }

    /// The newest report of each attempt that made one, and whether more are left.
    pub(super) fn progress(&mut self) -> (Option<v1::ProgressReports>, bool) {
        let mut reports = Vec::new();
        let mut bytes = 0;
        let from = self.progress_cursor.take().map_or(Unbounded, Excluded);
        for (key, running) in self.running.range((from, Unbounded)) {
            let Some(Payload { data, content_type, truncated }) =
                running.control.progress().take().filter(|_| running.held)
            else {
                continue;
            };
            bytes += data.len() + content_type.len() + 64;
            let task_id = Bytes::copy_from_slice(key.task_id.as_bytes());
            let payload = Some(v1::Payload { data, content_type, truncated });
            reports.push(v1::ProgressReport { task_id, token: key.token.0, payload });
            if bytes >= PROGRESS_BYTES_MAX {
                self.progress_cursor = Some(*key);
                break;
            }
        }
        ((!reports.is_empty()).then_some(v1::ProgressReports { reports }), self.progress_cursor.is_some())
    }

    pub(super) fn resend_overdue(&mut self, now: Monotonic, wait: Duration) {
        self.outbox.resend_overdue(now, wait);
    }
}

fn held_attempt(key: &AttemptKey) -> v1::HeldAttempt {
    v1::HeldAttempt { task_id: Bytes::copy_from_slice(key.task_id.as_bytes()), token: key.token.0 }
}

fn key_of(task_id: &[u8], token: u64) -> Result<AttemptKey, Violation> {
    let Some(task_id) = TaskId::from_slice(task_id) else {
        return Err(Violation(format!("a task id has {} bytes; it has 16", task_id.len())));
    };
    Ok(AttemptKey { task_id, token: Token(token) })
}

fn task_info(assignment: v1::Assignment) -> Result<TaskInfo, Violation> {
    let AttemptKey { task_id, token } = key_of(&assignment.task_id, assignment.token)?;
    let invalid = |error: escapement_engine::name::InvalidName| Violation(error.to_string());
    let occurrence = if assignment.schedule_id.is_empty() {
        None
    } else {
        let schedule_id = ScheduleId::new(&assignment.schedule_id).map_err(invalid)?;
        Some(Occurrence {
            schedule_id,
            nominal: assignment.nominal_unix_ms.map(Timestamp::from_unix_ms),
            schedule_uid: ScheduleUid::from_slice(&assignment.schedule_uid),
        })
    };
    let payload = assignment.payload.unwrap_or_default();
    Ok(TaskInfo {
        task_id,
        token,
        queue: QueueName::new(&assignment.queue).map_err(invalid)?,
        payload: Payload { data: payload.data, content_type: payload.content_type, truncated: payload.truncated },
        attempt: assignment.attempt,
        max_attempts: assignment.max_attempts,
        due: Timestamp::from_unix_ms(assignment.due_unix_ms),
        attempt_timeout: Some(assignment.attempt_timeout_ms).filter(|ms| *ms > 0).map(Duration::from_millis),
        deadline: assignment.deadline_unix_ms.map(Timestamp::from_unix_ms),
        occurrence,
    })
}

//! The client's requests: those that wait to be sent, those that wait for their answers, and
//! what becomes of each when a stream breaks. Pure bookkeeping; the module's documentation
//! tells why it is right.

use std::collections::{BTreeMap, VecDeque};

use escapement_proto::store::{self as proto, request, response};
use prost::Message as _;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::GATHER_BYTES;
use crate::store::StoreError;

/// What comes of a request. `Err` when the store could not be asked to the end.
pub(super) type Reply = oneshot::Sender<Result<response::Result, StoreError>>;

/// One request of a caller.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) id: u64,
    /// `None` once a commit was handed to a stream.
    request: Option<request::Request>,
    kind: Kind,
    bytes: usize,
    reply: Reply,
    /// The caller's room, given back with the job.
    _room: Vec<OwnedSemaphorePermit>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Read,
    Commit,
    Watch,
}

impl Job {
    pub(super) fn new(id: u64, request: request::Request, reply: Reply, room: Vec<OwnedSemaphorePermit>) -> Self {
        let kind = match request {
            request::Request::Commit(_) => Kind::Commit,
            request::Request::Watch(_) => Kind::Watch,
            _ => Kind::Read,
        };
        let request = proto::Request { id, request: Some(request) };
        let bytes = request.encoded_len();
        Self { id, request: request.request, kind, bytes, reply, _room: room }
    }

    /// Whether nobody waits for its answer any more.
    fn is_abandoned(&self) -> bool {
        self.reply.is_closed()
    }
}

/// What the server takes at once.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) requests_max: u32,
    pub(super) bytes_max: u64,
}

/// See the module's documentation.
#[derive(Debug, Default)]
pub(super) struct Book {
    waiting: VecDeque<Job>,
    /// Handed to the present stream.
    sent: BTreeMap<u64, Job>,
    requests: u32,
    bytes: u64,
    /// Handed to a stream that broke: they may still be under way.
    unsettled: Vec<Job>,
    /// Watches of which nobody wants to hear any more.
    cancelled: Vec<u64>,
    /// Nothing more is taken.
    closed: bool,
}

impl Book {
    /// Takes a request. When nothing more is taken, it is dropped, which its caller notices.
    pub(super) fn add(&mut self, job: Job) {
        if !self.closed {
            self.waiting.push_back(job);
        }
    }

    /// Nobody waits for this watch any more.
    pub(super) fn cancel_watch(&mut self, id: u64) {
        // One that waits to be sent is found abandoned then.
        if self.sent.contains_key(&id) {
            self.cancelled.push(id);
        }
    }

    /// Whether [`Book::next_batch`] has something.
    pub(super) fn has_next(&self, limits: Limits) -> bool {
        !self.cancelled.is_empty() || self.waiting.front().is_some_and(|job| self.has_room(job, limits))
    }

    fn has_room(&self, job: &Job, limits: Limits) -> bool {
        // A request that is larger than all of the room has it for itself.
        let fits = self.bytes.saturating_add(job.bytes as u64) <= limits.bytes_max || self.requests == 0;
        job.kind == Kind::Watch || (self.requests < limits.requests_max && fits)
    }

    /// What goes into the next message. Empty if all of it was abandoned.
    pub(super) fn next_batch(&mut self, limits: Limits) -> Vec<proto::Request> {
        let mut batch = Vec::new();
        for watch_id in self.cancelled.drain(..) {
            if self.sent.remove(&watch_id).is_some() {
                let cancel = request::Request::CancelWatch(proto::CancelWatch { watch_id });
                batch.push(proto::Request { id: watch_id, request: Some(cancel) });
            }
        }
        let mut bytes = 0;
        while bytes < GATHER_BYTES
            && let Some(mut job) = self.take_waiting(limits)
        {
            bytes += job.bytes;
            // A commit is never sent again, so nothing of it is kept.
            let request = if job.kind == Kind::Commit { job.request.take() } else { job.request.clone() };
            batch.push(proto::Request { id: job.id, request });
            if job.kind != Kind::Watch {
                self.requests += 1;
                self.bytes += job.bytes as u64;
            }
            self.sent.insert(job.id, job);
        }
        batch
    }

    fn take_waiting(&mut self, limits: Limits) -> Option<Job> {
        loop {
            let first = self.waiting.front()?;
            // A commit goes on though its caller is gone: it may rely on that.
            if first.is_abandoned() && first.kind != Kind::Commit {
                self.waiting.pop_front();
            } else if self.has_room(first, limits) {
                return self.waiting.pop_front();
            } else {
                return None;
            }
        }
    }

    /// An answer has come. `false`: to nothing that was asked.
    pub(super) fn answered(&mut self, id: u64, result: response::Result) -> bool {
        let Some(job) = self.sent.remove(&id) else {
            // A watch may fire while its cancellation is under way; its id is gone then.
            return matches!(result, response::Result::Watch(_) | response::Result::Error(_));
        };
        if job.kind != Kind::Watch {
            self.requests -= 1;
            self.bytes -= job.bytes as u64;
        }
        // The caller may be gone.
        let _ = job.reply.send(Ok(result));
        true
    }

    /// The stream broke. What was sent and may be repeated waits again, in its old order.
    pub(super) fn stream_broke(&mut self) {
        self.cancelled.clear();
        (self.requests, self.bytes) = (0, 0);
        let (commits, repeated): (Vec<Job>, Vec<Job>) =
            std::mem::take(&mut self.sent).into_values().partition(|job| job.kind == Kind::Commit);
        self.unsettled.extend(commits);
        for job in repeated.into_iter().rev() {
            self.waiting.push_front(job);
        }
        // Also unsent commits: those whose callers have given up would only surprise.
        self.waiting.retain(|job| !job.is_abandoned());
    }

    /// The server says that nothing of older streams is under way any more. How many commits
    /// that leaves unknown.
    pub(super) fn settled(&mut self) -> usize {
        let context = "the stream to the store broke before the answer";
        let count = self.unsettled.len();
        for job in self.unsettled.drain(..) {
            let _ = job.reply.send(Err(StoreError::with(StoreError::COMMIT_UNKNOWN_RESULT, context)));
        }
        count
    }

    /// Ends everything. Commits may still be under way, so it is not 1021.
    pub(super) fn close(&mut self) {
        self.closed = true;
        let jobs = self.waiting.drain(..).chain(std::mem::take(&mut self.sent).into_values());
        for job in jobs.chain(self.unsettled.drain(..)) {
            let _ = job.reply.send(Err(closed()));
        }
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed
    }
}

/// What a request gets after the client was closed.
pub(super) fn closed() -> StoreError {
    StoreError::with(StoreError::OPERATION_CANCELLED, "the client of the remote store was closed")
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::store::{Version, engine::CommitRequest, remote::wire};

    const LIMITS: Limits = Limits { requests_max: 3, bytes_max: 1000 };

    type Answer = oneshot::Receiver<Result<response::Result, StoreError>>;

    fn job(id: u64, request: request::Request) -> (Job, Answer) {
        let (reply, answer) = oneshot::channel();
        (Job::new(id, request, reply, Vec::new()), answer)
    }

    fn read(id: u64) -> (Job, Answer) {
        job(id, wire::get_many_request(vec![Bytes::from_static(b"k")], Version(1)))
    }

    fn commit(id: u64) -> (Job, Answer) {
        job(id, wire::commit_request(CommitRequest::default()))
    }

    fn ids(batch: &[proto::Request]) -> Vec<u64> {
        batch.iter().map(|request| request.id).collect()
    }

    #[test]
    fn no_more_is_sent_than_the_server_takes() {
        let mut book = Book::default();
        let answers: Vec<_> = (1..=5)
            .map(|id| {
                let (job, answer) = read(id);
                book.add(job);
                answer
            })
            .collect();
        assert_eq!(ids(&book.next_batch(LIMITS)), [1, 2, 3]);
        assert!(!book.has_next(LIMITS));
        assert!(book.answered(2, wire::values_result(vec![None])));
        assert_eq!(ids(&book.next_batch(LIMITS)), [4]);
        drop(answers);
    }

    #[test]
    fn no_more_bytes_are_sent_than_the_server_takes() {
        let large = |id| job(id, wire::get_many_request(vec![Bytes::from(vec![0; 400])], Version(1)));
        let mut book = Book::default();
        let answers: Vec<_> = (1..=5)
            .map(|id| {
                let (job, answer) = large(id);
                book.add(job);
                answer
            })
            .collect();
        assert_eq!(ids(&book.next_batch(LIMITS)), [1, 2], "the third would make it more than 1000");
        book.answered(1, wire::values_result(vec![None]));
        assert_eq!(ids(&book.next_batch(LIMITS)), [3]);
        book.stream_broke();
        assert_eq!(ids(&book.next_batch(LIMITS)), [2, 3], "on another stream nothing of it counts any more");
        drop(answers);
    }

    #[test]
    fn requests_gather_into_a_message_until_it_is_full() {
        let limits = Limits { requests_max: 100, bytes_max: u64::MAX };
        let mut book = Book::default();
        let answers: Vec<_> = (1..=5)
            .map(|id| {
                let keys = vec![Bytes::from(vec![0; GATHER_BYTES / 5 * 2])];
                let (job, answer) = job(id, wire::get_many_request(keys, Version(1)));
                book.add(job);
                answer
            })
            .collect();
        assert_eq!(ids(&book.next_batch(limits)), [1, 2, 3]);
        assert_eq!(ids(&book.next_batch(limits)), [4, 5]);
        drop(answers);
    }

    #[test]
    fn a_request_larger_than_all_the_room_goes_alone() {
        let mut book = Book::default();
        let large = wire::get_many_request(vec![Bytes::from(vec![0; 2000])], Version(1));
        let ((small, _a), (large, _b)) = (read(1), job(2, large));
        book.add(small);
        book.add(large);
        assert_eq!(ids(&book.next_batch(LIMITS)), [1]);
        assert!(!book.has_next(LIMITS));
        book.answered(1, wire::values_result(vec![None]));
        assert_eq!(ids(&book.next_batch(LIMITS)), [2]);
    }

    #[test]
    fn reads_are_repeated_and_sent_commits_end_with_1021_only_once_settled() {
        let mut book = Book::default();
        let limits = Limits { requests_max: 3, ..LIMITS };
        let ((first, _a), (sent, mut sent_answer), (third, _b), (unsent, mut unsent_answer)) =
            (read(1), commit(2), read(3), commit(4));
        for job in [first, sent, third, unsent] {
            book.add(job);
        }
        assert_eq!(ids(&book.next_batch(limits)), [1, 2, 3]);
        book.stream_broke();
        assert!(sent_answer.try_recv().is_err(), "it may still be under way");
        book.stream_broke();
        assert!(sent_answer.try_recv().is_err(), "so, too, after a second try");
        assert_eq!(book.settled(), 1);
        assert_eq!(sent_answer.try_recv().unwrap().unwrap_err().code, StoreError::COMMIT_UNKNOWN_RESULT);
        assert_eq!(ids(&book.next_batch(limits)), [1, 3, 4], "in their old order, the sent commit not among them");
        assert!(unsent_answer.try_recv().is_err());
        assert!(book.answered(4, wire::error_result(StoreError::new(1020))));
        assert!(unsent_answer.try_recv().unwrap().is_ok());
    }

    #[test]
    fn what_nobody_waits_for_is_not_sent() {
        let mut book = Book::default();
        let ((gone, answer), (stays, _a)) = (read(1), read(2));
        book.add(gone);
        book.add(stays);
        drop(answer);
        assert_eq!(ids(&book.next_batch(LIMITS)), [2]);
    }

    #[test]
    fn an_unsent_commit_whose_caller_has_given_up_is_not_sent_after_its_stream_broke() {
        let mut book = Book::default();
        let ((gone, answer), (stays, _a)) = (commit(1), commit(2));
        book.add(gone);
        drop(answer);
        book.stream_broke();
        assert_eq!(ids(&book.next_batch(LIMITS)), [0; 0]);
        book.add(stays);
        assert_eq!(ids(&book.next_batch(LIMITS)), [2], "one that is waited for is");
        assert_eq!(book.settled(), 0, "what was never sent leaves nothing unknown");
    }

    #[test]
    fn a_commit_whose_caller_is_gone_goes_on_as_long_as_its_stream_does() {
        let mut book = Book::default();
        let (gone, answer) = commit(1);
        book.add(gone);
        drop(answer);
        assert_eq!(ids(&book.next_batch(LIMITS)), [1]);
    }

    #[test]
    fn a_watch_is_set_again_and_cancelled_once() {
        let mut book = Book::default();
        let watch = |id| job(id, wire::watch_request(Bytes::from_static(b"k"), None, Version(1)));
        let ((first, _a), (second, gone)) = (watch(1), watch(2));
        book.add(first);
        book.add(second);
        assert_eq!(ids(&book.next_batch(LIMITS)), [1, 2]);
        drop(gone);
        book.cancel_watch(2);
        book.stream_broke();
        assert_eq!(ids(&book.next_batch(LIMITS)), [1]);
        book.cancel_watch(1);
        let batch = book.next_batch(LIMITS);
        assert!(matches!(&batch[..], [proto::Request { request: Some(request::Request::CancelWatch(_)), .. }]));
        assert!(!book.has_next(LIMITS));
    }
}

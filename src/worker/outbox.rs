//! Completions that wait for their answer.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use escapement_engine::Monotonic;
use escapement_proto::v1::{Completion, Completions};
use prost::Message as _;

use super::attempt::AttemptKey;

/// Completions of one message.
const BATCH_MAX: usize = 500;
/// Bytes of the completions of one message. A single larger one goes alone.
const BATCH_BYTES_MAX: usize = 1_000_000;

#[derive(Debug)]
struct Waiting {
    completion: Completion,
    /// When it was sent on the present stream.
    sent: Option<Monotonic>,
}

/// Holds every completion until the server's verdict.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    waiting: BTreeMap<AttemptKey, Waiting>,
    /// To be sent, oldest first. May name some that were answered meanwhile.
    unsent: VecDeque<AttemptKey>,
    /// Those sent and unanswered, by the instant of sending.
    sent: BTreeSet<(Monotonic, AttemptKey)>,
}

impl Outbox {
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    pub(super) fn contains(&self, key: &AttemptKey) -> bool {
        self.waiting.contains_key(key)
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = &AttemptKey> {
        self.waiting.keys()
    }

    pub(super) fn push(&mut self, key: AttemptKey, completion: Completion) {
        self.waiting.insert(key, Waiting { completion, sent: None });
        self.unsent.push_back(key);
    }

    /// The server gave its verdict. False when nothing waited for it.
    pub(super) fn answered(&mut self, key: &AttemptKey) -> bool {
        let Some(waiting) = self.waiting.remove(key) else { return false };
        if let Some(sent) = waiting.sent {
            self.sent.remove(&(sent, *key));
        }
        true
    }

    /// Forgets everything: the attempts belong to others now.
    pub(super) fn discard_all(&mut self) -> usize {
        let discarded = self.waiting.len();
        *self = Self::default();
        discarded
    }

    /// A new stream knows nothing of what the old one was told.
    pub(super) fn send_all_again(&mut self) {
        self.sent.clear();
        for waiting in self.waiting.values_mut() {
            waiting.sent = None;
        }
        self.unsent = self.waiting.keys().copied().collect();
    }

    /// Puts those back in line that were sent `wait` ago or longer.
    pub(super) fn resend_overdue(&mut self, now: Monotonic, wait: Duration) {
        while let Some((sent, key)) = self.sent.first().copied()
            && now.since(sent) >= wait
        {
            self.sent.pop_first();
            if let Some(waiting) = self.waiting.get_mut(&key) {
                waiting.sent = None;
                self.unsent.push_back(key);
            }
        }
    }

    /// When [`Outbox::resend_overdue`] has something to do.
    pub(super) fn overdue_at(&self, wait: Duration) -> Option<Monotonic> {
        self.sent.first().map(|(sent, _)| sent.saturating_add(wait))
    }

    pub(super) fn has_unsent(&self) -> bool {
        !self.unsent.is_empty()
    }

    /// The next message, of what has gathered since the last.
    pub(super) fn next_batch(&mut self, now: Monotonic) -> Option<Completions> {
        let mut completions = Vec::new();
        let mut bytes = 0;
        while let Some(key) = self.unsent.front().copied() {
            let Some(waiting) = self.waiting.get_mut(&key).filter(|waiting| waiting.sent.is_none()) else {
                self.unsent.pop_front();
                continue;
            };
            bytes += waiting.completion.encoded_len() + 8;
            if completions.len() == BATCH_MAX || (bytes > BATCH_BYTES_MAX && !completions.is_empty()) {
                break;
            }
            self.unsent.pop_front();
            waiting.sent = Some(now);
            self.sent.insert((now, key));
            completions.push(waiting.completion.clone());
        }
        (!completions.is_empty()).then_some(Completions { completions })
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use escapement_engine::{TaskId, Token};
    use escapement_proto::v1::{Payload, completion::Outcome};

    use super::*;

    fn at(ms: u64) -> Monotonic {
        Monotonic::from_nanos(ms * 1_000_000)
    }

    fn filled(count: u8, bytes: usize) -> (Outbox, Vec<AttemptKey>) {
        let mut outbox = Outbox::default();
        let keys: Vec<_> =
            (0..count).map(|n| AttemptKey { task_id: TaskId::from_bytes([n; 16]), token: Token(1) }).collect();
        for key in &keys {
            let payload =
                Payload { data: Bytes::from(vec![0; bytes]), content_type: String::new(), ..Default::default() };
            let completion = Completion {
                task_id: Bytes::copy_from_slice(key.task_id.as_bytes()),
                token: 1,
                outcome: Some(Outcome::Succeeded(payload)),
            };
            outbox.push(*key, completion);
        }
        (outbox, keys)
    }

    fn sizes(outbox: &mut Outbox) -> Vec<usize> {
        std::iter::from_fn(|| outbox.next_batch(at(0))).map(|batch| batch.completions.len()).collect()
    }

    #[test]
    fn a_message_holds_at_most_a_megabyte_unless_one_completion_is_larger() {
        assert_eq!(sizes(&mut filled(10, 300_000).0), [3, 3, 3, 1]);
        assert_eq!(sizes(&mut filled(2, 2_000_000).0), [1, 1]);
        assert_eq!(sizes(&mut filled(200, 0).0), [200]);
    }

    #[test]
    fn a_message_holds_at_most_500_completions() {
        let mut outbox = Outbox::default();
        for n in 0..1_001 {
            outbox.push(AttemptKey { task_id: TaskId::from_bytes([0; 16]), token: Token(n) }, Completion::default());
        }
        assert_eq!(sizes(&mut outbox), [500, 500, 1]);
    }

    #[test]
    fn a_completion_is_sent_again_until_it_is_answered() {
        let (mut outbox, keys) = filled(2, 1);
        let wait = Duration::from_secs(1);
        assert_eq!(outbox.next_batch(at(0)).unwrap().completions.len(), 2);
        assert!(outbox.answered(&keys[0]));
        assert!(!outbox.answered(&keys[0]), "a second verdict finds nothing");
        assert_eq!(outbox.overdue_at(wait), Some(at(1_000)));
        outbox.resend_overdue(at(999), wait);
        assert!(outbox.next_batch(at(999)).is_none());
        outbox.resend_overdue(at(1_000), wait);
        assert_eq!(outbox.next_batch(at(1_000)).unwrap().completions[0].task_id, keys[1].task_id.as_bytes()[..]);
        outbox.send_all_again();
        assert_eq!(outbox.next_batch(at(1_001)).unwrap().completions.len(), 1);
        assert!(outbox.answered(&keys[1]));
        assert_eq!((outbox.len(), outbox.overdue_at(wait)), (0, None));
    }
}

//! Bounds the bytes of payloads on their way from the store to the workers: from when a firing
//! transaction reads them until the transport takes the message that carries them.
//!
//! Each bound is checked before a payload is added: one that finds any room gets all that it needs,
//! so the largest payload waits no longer than the smallest, and a bound is exceeded by one payload
//! at most. All together: 256 MiB and one payload, whatever credits the workers grant.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

/// Bytes of payloads on their way to all workers.
pub(crate) const TOTAL_BYTES_MAX: usize = 256 << 20;
/// Bytes of payloads on their way to one stream of a worker: one that reads slowly must not take
/// the room of the others.
pub(crate) const STREAM_BYTES_MAX: usize = 16 << 20;
/// Bytes of payloads that one firing transaction reads.
pub(crate) const TRANSACTION_BYTES_MAX: usize = 8 << 20;

const _: () = assert!(TRANSACTION_BYTES_MAX <= STREAM_BYTES_MAX && STREAM_BYTES_MAX <= TOTAL_BYTES_MAX / 4);

/// The room of one scheduler.
#[derive(Debug, Default)]
pub(crate) struct PayloadRoom(Arc<AtomicUsize>);

impl PayloadRoom {
    /// The share of a stream that opens.
    pub(crate) fn stream(&self) -> StreamRoom {
        StreamRoom(Arc::new(Share { total: Arc::clone(&self.0), used: AtomicUsize::new(0) }))
    }

    /// Bytes on their way.
    #[cfg(test)]
    pub(crate) fn used(&self) -> usize {
        self.0.load(Ordering::Acquire)
    }
}

/// The share of one stream.
#[derive(Clone, Debug)]
pub(crate) struct StreamRoom(Arc<Share>);

#[derive(Debug)]
struct Share {
    total: Arc<AtomicUsize>,
    used: AtomicUsize,
}

impl StreamRoom {
    /// Room for a payload, until it is dropped. `None` when stream or scheduler has none left.
    pub(crate) fn take(&self, bytes: usize) -> Option<Taken> {
        if !admit(&self.0.used, STREAM_BYTES_MAX, bytes) {
            return None;
        }
        if !admit(&self.0.total, TOTAL_BYTES_MAX, bytes) {
            self.0.used.fetch_sub(bytes, Ordering::AcqRel);
            return None;
        }
        Some(Taken { share: Arc::clone(&self.0), bytes })
    }

    /// Room for a payload that is on its way already.
    pub(crate) fn take_anyhow(&self, bytes: usize) -> Taken {
        self.0.used.fetch_add(bytes, Ordering::AcqRel);
        self.0.total.fetch_add(bytes, Ordering::AcqRel);
        Taken { share: Arc::clone(&self.0), bytes }
    }
}

fn admit(used: &AtomicUsize, max: usize, bytes: usize) -> bool {
    let add = |used: usize| (used < max || bytes == 0).then_some(used + bytes);
    used.fetch_update(Ordering::AcqRel, Ordering::Acquire, add).is_ok()
}

/// Room that a payload takes; given back when dropped.
#[derive(Debug)]
pub(crate) struct Taken {
    share: Arc<Share>,
    bytes: usize,
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.share.used.fetch_sub(self.bytes, Ordering::AcqRel);
        self.share.total.fetch_sub(self.bytes, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAYLOAD: usize = 1 << 20;

    #[test]
    fn a_stream_that_is_not_read_leaves_the_others_their_room() {
        let room = PayloadRoom::default();
        let (slow, fast) = (room.stream(), room.stream());
        let stuck: Vec<_> = std::iter::from_fn(|| slow.take(PAYLOAD)).collect();
        assert_eq!(stuck.len(), STREAM_BYTES_MAX / PAYLOAD);
        let taken = fast.take(PAYLOAD).expect("room of its own");
        // What has no payload needs no room.
        assert!(slow.take(0).is_some());
        drop((stuck, taken));
        assert!(slow.take(PAYLOAD).is_some());
        assert_eq!(room.used(), 0);
    }

    #[test]
    fn all_streams_together_stay_within_the_bound_and_one_payload() {
        let room = PayloadRoom::default();
        let streams: Vec<_> = (0..100).map(|_| room.stream()).collect();
        let largest = 8 << 20;
        let mut taken: Vec<_> = streams.iter().flat_map(|it| std::iter::from_fn(|| it.take(largest - 1))).collect();
        assert!((TOTAL_BYTES_MAX..TOTAL_BYTES_MAX + largest).contains(&room.used()), "{}", room.used());
        // The largest one gets the next room, however small that is.
        while room.used() >= TOTAL_BYTES_MAX {
            taken.pop();
        }
        assert!(streams[99].take(largest).is_some());
    }
}

//! What one request comes to: the engine is asked, within a bound on what the answers take.

use std::sync::Arc;

use bytes::Bytes;
use escapement_proto::store::{self as proto, response};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::store::{
    RangePage, StoreError, Version,
    engine::Engine,
    limits::{KEY_BYTES_MAX, VALUE_BYTES_MAX},
    remote::wire,
};

/// Bytes of keys and values after which an answer ends early.
const ANSWER_BYTES_MAX: usize = 1 << 20;
/// The last row or value may reach beyond that.
const ANSWER_BYTES_CEILING: usize = ANSWER_BYTES_MAX + KEY_BYTES_MAX + VALUE_BYTES_MAX;
/// Keys read at once, between looks at how large the answer has become.
const KEYS_AT_ONCE: usize = 64;
/// What a row or value takes beyond its bytes.
const ROW_OVERHEAD_BYTES: usize = 64;
/// Answers without keys and values.
const SMALL_BYTES: usize = 128;

/// An answer and the room that it takes until it has been sent.
pub(super) struct Answer {
    pub(super) result: response::Result,
    pub(super) bytes: usize,
    _room: Option<OwnedSemaphorePermit>,
}

impl Answer {
    /// One that needs no room of its own: it is no larger than its request.
    pub(super) fn small(result: response::Result) -> Self {
        Self { result, bytes: SMALL_BYTES, _room: None }
    }

    pub(super) fn error(error: StoreError) -> Self {
        Self::small(wire::error_result(error))
    }

    fn sized(result: response::Result, bytes: usize, mut room: OwnedSemaphorePermit) -> Self {
        let spare = room.num_permits().saturating_sub(bytes);
        drop(room.split(spare));
        Self { result, bytes: SMALL_BYTES + bytes, _room: Some(room) }
    }
}

/// Reads of one client.
#[derive(Clone, Debug)]
pub(super) struct Reader {
    engine: Arc<dyn Engine>,
    /// Bytes of answers.
    room: Arc<Semaphore>,
    room_max: u32,
}

impl Reader {
    pub(super) fn new(engine: Arc<dyn Engine>, room_max: u32) -> Self {
        Self { engine, room: Arc::new(Semaphore::new(room_max as usize)), room_max }
    }

    pub(super) async fn read_version(self, request: proto::ReadVersion) -> Answer {
        match self.engine.read_version(&wire::read_version_from(request)).await {
            Ok(version) => Answer::small(wire::read_version_result(version)),
            Err(error) => Answer::error(error),
        }
    }

    /// Values of the first keys, as many as an answer takes.
    pub(super) async fn get_many(self, request: proto::GetMany) -> Answer {
        let proto::GetMany { keys, version } = request;
        let room = self.reserve(keys.len().saturating_mul(VALUE_BYTES_MAX + ROW_OVERHEAD_BYTES)).await;
        let (mut values, mut bytes) = (Vec::with_capacity(keys.len()), 0);
        for chunk in keys.chunks(KEYS_AT_ONCE) {
            let read = match self.engine.get_many(chunk.to_vec(), Version(version)).await {
                Ok(read) if read.len() == chunk.len() => read,
                Ok(_) => return Answer::error(miscounted()),
                Err(error) => return Answer::error(error),
            };
            for value in read {
                bytes += ROW_OVERHEAD_BYTES + value.as_ref().map_or(0, Bytes::len);
                values.push(value);
                if bytes >= ANSWER_BYTES_MAX {
                    return Answer::sized(wire::values_result(values), bytes, room);
                }
            }
        }
        Answer::sized(wire::values_result(values), bytes, room)
    }

    pub(super) async fn get_range(self, request: proto::GetRange) -> Answer {
        let (mut read, version) = wire::get_range_from(request);
        read.target_bytes = match read.target_bytes {
            0 => ANSWER_BYTES_MAX,
            bytes => bytes.min(ANSWER_BYTES_MAX),
        };
        // What overhead adds to small rows has its bound, too.
        let rows_max = ANSWER_BYTES_MAX / ROW_OVERHEAD_BYTES;
        read.limit = if read.limit == 0 { rows_max } else { read.limit.min(rows_max) };
        let room = self.reserve(read.limit.saturating_mul(KEY_BYTES_MAX + VALUE_BYTES_MAX)).await;
        match self.engine.get_range(read, version).await {
            Ok(page) => {
                let bytes = page_bytes(&page);
                Answer::sized(wire::page_result(page), bytes, room)
            }
            Err(error) => Answer::error(error),
        }
    }

    /// Waits for room for an answer of at most `bytes`.
    async fn reserve(&self, bytes: usize) -> OwnedSemaphorePermit {
        let bytes = u32::try_from(bytes.min(ANSWER_BYTES_CEILING)).unwrap_or(u32::MAX);
        let room = Arc::clone(&self.room).acquire_many_owned(bytes.min(self.room_max)).await;
        room.expect("the semaphore is never closed")
    }
}

fn page_bytes(page: &RangePage) -> usize {
    page.rows.iter().map(|(key, value)| ROW_OVERHEAD_BYTES + key.len() + value.len()).sum()
}

fn miscounted() -> StoreError {
    StoreError::with(StoreError::OPERATION_FAILED, "the engine gave another number of values than keys")
}

#[cfg(test)]
mod tests;

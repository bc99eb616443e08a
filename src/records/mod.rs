//! What stands behind each key: one format byte, then a protobuf message (the messages are
//! in proto/escapement/records/v1). Encoding cannot fail; decoding refuses what cannot be.

mod cluster;
mod lease;
mod schedule;
mod task;

use bytes::{BufMut as _, Bytes, BytesMut};
use escapement_engine::{
    SessionId, TaskId,
    name::{Namespace, Priority, QueueName, ScheduleId},
};
use prost::Message;

pub use cluster::{Cluster, Member, NewerFormat, ShardLease};
pub use lease::{DueEntry, Lease};
pub use schedule::{ScheduleDeletion, ScheduleRow, Tick};
pub use task::{Head, IdempotencyRow, PayloadMeta, StoredTask, TaskStateCode, chunks};

use crate::keyspace;

/// The format of every record that this program writes, and the newest that it reads.
pub const FORMAT: u8 = 1;
/// Formats stay below this, where text begins: what somebody else wrote is seldom taken for ours.
const FORMAT_END: u8 = 32;
/// The format of the keyspace that this program writes, and the newest that it reads.
pub const KEYSPACE_FORMAT: u32 = 1;

/// A stored value is not what its key promises.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("stored {record} record is malformed: {what}")]
pub struct RecordError {
    /// Kind of record.
    pub record: &'static str,
    /// What is wrong.
    pub what: String,
}

impl RecordError {
    fn new(record: &'static str, what: impl Into<String>) -> Self {
        Self { record, what: what.into() }
    }
}

/// A record that can be kept in the store.
pub trait Record: Sized {
    /// Its name in errors.
    const NAME: &'static str;
    /// Its protobuf message.
    type Message: Message + Default;

    /// To the message.
    fn to_message(&self) -> Self::Message;

    /// From the message.
    ///
    /// # Errors
    /// When the message says what no record of this kind can say.
    fn from_message(message: Self::Message) -> Result<Self, RecordError>;

    /// The stored bytes.
    fn encode(&self) -> Bytes {
        let message = self.to_message();
        let mut out = BytesMut::with_capacity(1 + message.encoded_len());
        out.put_u8(FORMAT);
        message.encode_raw(&mut out);
        out.freeze()
    }

    /// Reads the stored bytes.
    ///
    /// # Errors
    /// When the format is another, the bytes are no such message, or its content cannot be.
    fn decode(bytes: &Bytes) -> Result<Self, RecordError> {
        let format = bytes.first().copied();
        if format != Some(FORMAT) {
            let found = format.map_or_else(|| "none".to_owned(), |byte| byte.to_string());
            return Err(RecordError::new(Self::NAME, format!("format {found}, this program reads {FORMAT}")));
        }
        let message =
            Self::Message::decode(bytes.slice(1..)).map_err(|error| RecordError::new(Self::NAME, error.to_string()))?;
        Self::from_message(message)
    }
}

fn read_namespace(record: &'static str, text: &str) -> Result<Namespace, RecordError> {
    Namespace::new(text).map_err(|error| RecordError::new(record, error.to_string()))
}

fn read_queue(record: &'static str, text: &str) -> Result<QueueName, RecordError> {
    QueueName::new(text).map_err(|error| RecordError::new(record, error.to_string()))
}

fn read_schedule_id(record: &'static str, text: &str) -> Result<ScheduleId, RecordError> {
    ScheduleId::new(text).map_err(|error| RecordError::new(record, error.to_string()))
}

fn read_session(record: &'static str, bytes: &[u8]) -> Result<SessionId, RecordError> {
    SessionId::from_slice(bytes).ok_or_else(|| RecordError::new(record, "session id is not 16 bytes"))
}

fn read_task_id(record: &'static str, bytes: &[u8]) -> Result<TaskId, RecordError> {
    TaskId::from_slice(bytes).ok_or_else(|| RecordError::new(record, "task id is not 16 bytes"))
}

fn read_priority(record: &'static str, code: u32) -> Result<Priority, RecordError> {
    keyspace::priority_of(code).ok_or_else(|| RecordError::new(record, format!("{code} is no priority")))
}

fn millis(span: std::time::Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;

//! A version of the program to come, as far as others can tell: its records have a field that
//! today's code does not know. Everything else of it is today's code.

use std::sync::Arc;

use bytes::{BufMut as _, Bytes, BytesMut};
use escapement::{
    keyspace::{Key, Value},
    store::{
        RangePage, StoreError, Version,
        engine::{CommitReceipt, CommitRequest, Engine, Mutation, RangeRead, ReadVersionRequest},
    },
};
use futures_util::{FutureExt as _, future::BoxFuture};

use super::tally::Counter;

/// Field 2000 of a message, of type string: its tag, the length, the text.
const FIELD: &[u8] = b"\x82\x7d\x05later";

/// A client of the store, as a node of today's version or of a later one has it.
#[derive(Debug)]
pub(super) struct Versioned {
    engine: Arc<dyn Engine>,
    /// Records that it writes have the field.
    is_later: bool,
    /// Counts records with the field that a node of today's version read.
    met: Counter,
}

impl Versioned {
    pub(super) fn new(engine: Arc<dyn Engine>, is_later: bool, met: Counter) -> Self {
        Self { engine, is_later, met }
    }

    fn meet<'a>(&self, values: impl Iterator<Item = &'a Bytes>) {
        if !self.is_later {
            self.met.add(values.filter(|value| value.ends_with(FIELD)).count());
        }
    }
}

impl Engine for Versioned {
    fn read_version(&self, request: &ReadVersionRequest) -> BoxFuture<'_, Result<Version, StoreError>> {
        self.engine.read_version(request)
    }

    fn get_many(&self, keys: Vec<Bytes>, version: Version) -> BoxFuture<'_, Result<Vec<Option<Bytes>>, StoreError>> {
        async move {
            let values = self.engine.get_many(keys, version).await?;
            self.meet(values.iter().flatten());
            Ok(values)
        }
        .boxed()
    }

    fn get_range(&self, read: RangeRead, version: Version) -> BoxFuture<'_, Result<RangePage, StoreError>> {
        async move {
            let page = self.engine.get_range(read, version).await?;
            self.meet(page.rows.iter().map(|(_, value)| value));
            Ok(page)
        }
        .boxed()
    }

    fn commit(&self, mut request: CommitRequest) -> BoxFuture<'static, Result<CommitReceipt, StoreError>> {
        if self.is_later {
            request.mutations.iter_mut().for_each(extend);
        }
        self.engine.commit(request)
    }

    fn watch(&self, key: Bytes, value: Option<Bytes>, version: Version) -> BoxFuture<'static, Result<(), StoreError>> {
        self.engine.watch(key, value, version)
    }

    fn exclusive(&self) -> bool {
        self.engine.exclusive()
    }

    fn kind(&self) -> &'static str {
        self.engine.kind()
    }
}

/// Chunks have no fields. A record that came with the field and is written as it was keeps one.
fn extend(mutation: &mut Mutation) {
    let Mutation::Set(key, value) = mutation else { return };
    let is_record = Key::parse(key).is_ok_and(|key| matches!(key.kind().value(), Value::Record(_)));
    if is_record && !value.ends_with(FIELD) {
        let mut longer = BytesMut::with_capacity(value.len() + FIELD.len());
        longer.put_slice(value);
        longer.put_slice(FIELD);
        *value = longer.freeze();
    }
}

#[cfg(test)]
mod tests {
    use escapement::{
        keyspace,
        records::{Cluster, Record as _},
    };
    use escapement_engine::{ShardId, TaskId, Timestamp};

    use super::*;

    #[test]
    fn records_get_a_field_that_today_passes_over_and_chunks_get_none() {
        let today = Cluster { format_version: 1, shards: 4 };
        let mut record = Mutation::Set(keyspace::cluster(), today.encode());
        extend(&mut record);
        extend(&mut record);
        let Mutation::Set(_, value) = record else { panic!("still sets a record") };
        assert_eq!(value.len(), today.encode().len() + FIELD.len());
        assert_eq!(Cluster::decode(&value).unwrap(), today);

        let chunk = keyspace::payload(ShardId(0), TaskId::from_parts(Timestamp::from_unix_ms(1), 1), 0);
        let before = Mutation::Set(chunk, Bytes::from_static(b"bytes"));
        let mut after = before.clone();
        extend(&mut after);
        assert_eq!(after, before);
    }
}

//! A database with a prefix of its own, and short forms for what the cases do all the time.

use std::{future::Future, time::Duration};

use bytes::Bytes;
use escapement::{
    clock::SharedClock,
    store::{
        Abort, ConflictKind, Database, KeySelector, MutationKind, RangeOptions, RangePage, StoreError, Transaction,
        TransactionKind, TransactionOption, Try,
    },
};
use futures_util::{
    FutureExt as _,
    future::{Either, select},
};

/// Longest wait for something that must happen; not a measure of speed.
const PATIENCE: Duration = Duration::from_secs(60);

const WRITE: TransactionKind = TransactionKind::idempotent("conformance-write");

/// What a case runs on.
#[derive(Debug)]
pub(crate) struct Setup {
    /// The database.
    pub(crate) db: Database,
    /// The clock that the database's client goes by.
    pub(crate) clock: SharedClock,
    /// What stands before every key. Nothing else may be there, nobody else may write there.
    pub(crate) space: Bytes,
    /// Bytes of the longest key: 10,000, or less by a prefix that the database puts before it.
    pub(crate) key_bytes_max: usize,
    /// Watches that the database allows at once.
    pub(crate) watches_max: usize,
}

impl Setup {
    pub(crate) fn key(&self, name: impl AsRef<[u8]>) -> Bytes {
        [&self.space[..], name.as_ref()].concat().into()
    }

    /// Beyond all keys of this setup.
    pub(crate) fn end(&self) -> Bytes {
        self.key(b"\xff")
    }

    pub(crate) fn range(&self, begin: &str, end: &str) -> RangeOptions {
        RangeOptions::new(self.key(begin), self.key(end))
    }

    pub(crate) fn everything(&self) -> RangeOptions {
        RangeOptions::new(self.key(""), self.end())
    }

    /// The key without the prefix, for people.
    pub(crate) fn name(&self, key: &[u8]) -> String {
        text(key.strip_prefix(&self.space[..]).unwrap_or(key))
    }

    pub(crate) fn begin(&self) -> Tx<'_> {
        Tx { raw: self.db.begin(), setup: self }
    }

    /// Writes rows in a transaction of its own.
    pub(crate) async fn write(&self, rows: &[(&str, &str)]) {
        self.run(|tx| {
            for (key, value) in rows {
                tx.set(self.key(key), Bytes::copy_from_slice(value.as_bytes()))?;
            }
            Ok(())
        })
        .await;
    }

    /// Clears one key, likewise.
    pub(crate) async fn clear(&self, key: &str) {
        self.run(|tx| tx.clear(self.key(key))).await;
    }

    /// Clears all that a case has left behind.
    pub(crate) async fn wipe(&self) {
        self.run(|tx| tx.clear_range(self.space.clone(), self.end())).await;
    }

    /// Blind writes, which may be tried again.
    pub(crate) async fn run(&self, write: impl Fn(&Transaction) -> Result<(), StoreError> + Send + Sync) {
        let done = self.db.run(WRITE, |tx, _: Try| {
            let written = write(&tx);
            async move { written.map_err(Abort::<String>::from) }
        });
        done.await.unwrap_or_else(|error| panic!("{error}"));
    }

    /// What `work` gives, which begins transactions of its own: done again where its version got
    /// too old for it (1007), as happens on a busy machine to whoever reads or writes much.
    pub(crate) async fn steadily<T>(&self, work: impl AsyncFn() -> Result<T, StoreError>) -> T {
        let done = async {
            loop {
                match work().await {
                    Ok(value) => return value,
                    Err(error) if error.code == StoreError::TRANSACTION_TOO_OLD => {}
                    Err(error) => panic!("{error}"),
                }
            }
        };
        self.soon("the transaction is quick enough", done).await
    }

    /// Value of a key, in a new transaction.
    pub(crate) async fn value(&self, key: &str) -> Option<String> {
        self.begin().get(key).await.unwrap()
    }

    /// All rows, in a new transaction.
    pub(crate) async fn dump(&self) -> Vec<String> {
        self.begin().rows(self.everything()).await.unwrap()
    }

    /// What `future` gives; fails if that takes for ever.
    pub(crate) async fn soon<T>(&self, what: &str, future: impl Future<Output = T>) -> T {
        let future = std::pin::pin!(future);
        match select(future, self.clock.sleep(PATIENCE)).await {
            Either::Left((value, _)) => value,
            Either::Right(_) => panic!("still not after {PATIENCE:?}: {what}"),
        }
    }

    /// Repeats `look` until it gives something.
    pub(crate) async fn until<T>(&self, what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
        let found = async {
            loop {
                if let Some(found) = look().await {
                    return found;
                }
                self.clock.sleep(Duration::from_millis(100)).await;
            }
        };
        self.soon(what, found).await
    }
}

/// A transaction whose keys are named without the prefix.
#[derive(Debug)]
pub(crate) struct Tx<'a> {
    pub(crate) raw: Transaction,
    setup: &'a Setup,
}

/// One write, as a table of them holds it.
pub(crate) type Write = fn(&Tx<'_>) -> Result<(), StoreError>;

impl Tx<'_> {
    pub(crate) async fn get(&self, key: &str) -> Result<Option<String>, StoreError> {
        Ok(self.raw.get(self.setup.key(key)).await?.map(|value| text(&value)))
    }

    pub(crate) async fn get_snapshot(&self, key: &str) -> Result<Option<String>, StoreError> {
        Ok(self.raw.get_snapshot(self.setup.key(key)).await?.map(|value| text(&value)))
    }

    /// Rows as `key=value`, every page of them.
    pub(crate) async fn rows(&self, range: RangeOptions) -> Result<Vec<String>, StoreError> {
        let rows = all_pages(&self.raw, range, false).await?;
        Ok(rows.iter().map(|(key, value)| format!("{}={}", self.setup.name(key), text(value))).collect())
    }

    pub(crate) async fn rows_snapshot(&self, range: RangeOptions) -> Result<Vec<String>, StoreError> {
        let rows = all_pages(&self.raw, range, true).await?;
        Ok(rows.iter().map(|(key, value)| format!("{}={}", self.setup.name(key), text(value))).collect())
    }

    /// Keys alone.
    pub(crate) async fn keys(&self, range: RangeOptions) -> Result<Vec<String>, StoreError> {
        let rows = all_pages(&self.raw, range, false).await?;
        Ok(rows.iter().map(|(key, _)| self.setup.name(key)).collect())
    }

    /// The key at a selector beside `key`.
    pub(crate) async fn key_at(&self, key: &str, or_equal: bool, offset: i32) -> Result<String, StoreError> {
        let selector = KeySelector { key: self.setup.key(key), or_equal, offset };
        Ok(self.setup.name(&self.raw.raw().get_key(selector, false).await?))
    }

    pub(crate) fn set(&self, key: &str, value: &str) -> Result<(), StoreError> {
        self.raw.set(self.setup.key(key), Bytes::copy_from_slice(value.as_bytes()))
    }

    pub(crate) fn clear(&self, key: &str) -> Result<(), StoreError> {
        self.raw.clear(self.setup.key(key))
    }

    pub(crate) fn clear_range(&self, begin: &str, end: &str) -> Result<(), StoreError> {
        self.raw.clear_range(self.setup.key(begin), self.setup.key(end))
    }

    pub(crate) fn mutate(&self, kind: MutationKind, key: &str, operand: &[u8]) -> Result<(), StoreError> {
        self.raw.raw().mutate(kind, self.setup.key(key), Bytes::copy_from_slice(operand))
    }

    /// Sets the key `name` + stamp + `tail`.
    pub(crate) fn set_stamped_key(&self, name: &str, tail: &str, value: &str) -> Result<(), StoreError> {
        let key = stamped(&self.setup.key(name), tail.as_bytes());
        self.raw.raw().mutate(MutationKind::SetVersionstampedKey, key, Bytes::copy_from_slice(value.as_bytes()))
    }

    /// Sets the key to its commit's stamp + `tail`.
    pub(crate) fn set_stamped_value(&self, key: &str, tail: &str) -> Result<(), StoreError> {
        let value = stamped(b"", tail.as_bytes());
        self.raw.raw().mutate(MutationKind::SetVersionstampedValue, self.setup.key(key), value)
    }

    pub(crate) fn conflict(&self, kind: ConflictKind, begin: &str, end: &str) -> Result<(), StoreError> {
        self.raw.raw().add_conflict_range(self.setup.key(begin), self.setup.key(end), kind)
    }

    pub(crate) fn option(&self, option: TransactionOption) {
        self.raw.raw().set_option(option).unwrap();
    }

    pub(crate) async fn commit(&self) -> Result<(), StoreError> {
        self.raw.raw().commit().await
    }

    pub(crate) async fn on_error(&self, code: i32) -> Result<(), StoreError> {
        self.raw.raw().on_error(StoreError::new(code)).await
    }
}

/// `head`, room for a stamp, `tail`, and the offset that says where the room is.
pub(crate) fn stamped(head: &[u8], tail: &[u8]) -> Bytes {
    let offset = u32::try_from(head.len()).unwrap().to_le_bytes();
    [head, &[b'-'; 10], tail, &offset].concat().into()
}

/// All rows of a range, or as many as its limit says, however many pages that takes.
pub(crate) async fn all_pages(
    tx: &Transaction,
    mut range: RangeOptions,
    snapshot: bool,
) -> Result<Vec<(Bytes, Bytes)>, StoreError> {
    let mut all = Vec::new();
    loop {
        let RangePage { rows, more } = tx.raw().get_range(range.clone(), snapshot).await?;
        let last = rows.last().map(|(key, _)| key.clone());
        let count = rows.len();
        all.extend(rows);
        let Some(last) = last.filter(|_| more) else { return Ok(all) };
        if range.limit > 0 {
            range.limit = range.limit.saturating_sub(count);
            if range.limit == 0 {
                return Ok(all);
            }
        }
        if range.reverse {
            range.end = KeySelector::first_greater_or_equal(last);
        } else {
            range.begin = KeySelector::first_greater_than(last);
        }
    }
}

pub(crate) fn text(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}

#[track_caller]
pub(crate) fn code<T>(result: Result<T, StoreError>) -> i32 {
    match result {
        Ok(_) => panic!("this must fail"),
        Err(error) => error.code,
    }
}

/// Whether the future has not resolved yet.
pub(crate) fn is_pending<F: Future + Unpin>(future: &mut F) -> bool {
    future.now_or_never().is_none()
}

//! What lies below the window: the state as of one older version.

use std::fmt;

use bytes::Bytes;

use crate::store::StoreError;

/// What a visitor of rows wants next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Visit {
    /// The next row.
    Next,
    /// No more.
    Stop,
    /// No more in this scan; the caller starts another from here (forward: the first key,
    /// reverse: the first key beyond).
    Seek(Bytes),
}

/// The state as of one version. Reads and writes may run at once: every key that a write
/// changes is hidden by the window until the write is complete.
pub(crate) trait Base: Send + Sync + fmt::Debug + 'static {
    /// Value of a key.
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError>;

    /// Shows the rows of `begin..end`, from the end if `reverse`, until the visitor has enough.
    /// Returns what the visitor said last.
    fn scan(
        &self,
        begin: &[u8],
        end: &[u8],
        reverse: bool,
        visit: &mut dyn FnMut(&[u8], &[u8]) -> Visit,
    ) -> Result<Visit, StoreError>;

    /// Removes the rows of `cleared`, then applies `changes`, and has the state of `version`
    /// from then on. Durable whenever the base likes; in one step, except that removals of
    /// `cleared` may be seen earlier.
    fn advance(
        &self,
        version: u64,
        cleared: &[(Bytes, Bytes)],
        changes: Vec<(Bytes, Option<Bytes>)>,
    ) -> Result<(), StoreError>;
}

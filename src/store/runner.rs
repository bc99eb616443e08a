//! The one retry loop.
//!
//! The hard part is not trying again but knowing when not to. A commit whose answer was lost
//! (1021, 1039) may have happened: running the body again would do everything twice, unless
//! the body leaves a marker in the transaction and looks for it first. So a kind of
//! transaction has to say that it does ([`TransactionKind::idempotent`]); any other is given
//! back as [`RunError::MaybeCommitted`]. And a commit that was cut off (1025, 1031, 1101) may
//! even happen later: it is never tried again.
//!
//! Source: FoundationDB's developer guide, "Transactions with unknown results".

use std::{
    fmt,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use super::{
    Abort, Committed, Database, RetryClass, StoreError, Transaction, TransactionOption, Try,
    client::limits::TAG_BYTES_MAX,
};

/// Tries unless the kind says otherwise.
const TRIES_MAX: u32 = 100;
/// Time in all unless the kind says otherwise.
const TOTAL_MAX: Duration = Duration::from_secs(30);

/// A kind of transaction: its name in errors and metrics, and how it is to be run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TransactionKind {
    name: &'static str,
    idempotent: bool,
    batch: bool,
    tag: Option<&'static str>,
    tries_max: u32,
    total_max: Duration,
}

impl TransactionKind {
    /// A kind that must not be run again once it may have been committed.
    pub const fn new(name: &'static str) -> Self {
        Self { name, idempotent: false, batch: false, tag: None, tries_max: TRIES_MAX, total_max: TOTAL_MAX }
    }

    /// A kind that may be run again even when it may have been committed: it leaves a marker
    /// and looks for it, or doing it twice is the same as doing it once. It looks in every try,
    /// the first included: after 1039 the first commit may land later than the second, and only
    /// the conflict of its look with the second's marker stops it.
    pub const fn idempotent(name: &'static str) -> Self {
        Self { idempotent: true, ..Self::new(name) }
    }

    /// Served after everything else.
    #[must_use]
    pub const fn batch(self) -> Self {
        Self { batch: true, ..self }
    }

    /// Named so to FoundationDB, which can slow down what bears a tag: by itself, when one tag
    /// keeps a storage server busy, or when an operator says so. So a tag is for what can wait.
    /// The name is the cluster's, not a deployment's.
    ///
    /// # Panics
    /// When it is longer than [`TAG_BYTES_MAX`].
    #[must_use]
    pub const fn tag(self, tag: &'static str) -> Self {
        assert!(tag.len() <= TAG_BYTES_MAX, "FoundationDB takes no longer tag");
        Self { tag: Some(tag), ..self }
    }

    /// Tries at most; at least 1.
    #[must_use]
    pub const fn tries_max(self, tries: u32) -> Self {
        Self { tries_max: if tries == 0 { 1 } else { tries }, ..self }
    }

    /// Time in all, from the first try on; in whole milliseconds, zero: no limit.
    #[must_use]
    pub const fn total_max(self, span: Duration) -> Self {
        Self { total_max: span, ..self }
    }

    /// Its name.
    pub const fn name(&self) -> &'static str {
        self.name
    }
}

/// What follows from a failed try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It certainly was not committed: try again.
    Retry,
    /// It may have been committed, and whoever looks will find the marker: try again.
    RetryMaybeCommitted,
    /// Give up. `unknown`: it may have been committed, or may still be.
    Fatal {
        /// Whether nobody knows if it was committed.
        unknown: bool,
    },
}

/// Where a try failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// Before the commit: nothing can have happened.
    Body,
    Commit,
}

/// What follows from `error`, leaving limits of tries and time aside.
pub(super) fn decide(kind: &TransactionKind, stage: Stage, error: &StoreError) -> Decision {
    match (error.class(), stage) {
        (RetryClass::Retry, _) | (RetryClass::MaybeCommitted, Stage::Body) => Decision::Retry,
        (RetryClass::MaybeCommitted, Stage::Commit) if kind.idempotent => Decision::RetryMaybeCommitted,
        (RetryClass::MaybeCommitted, Stage::Commit) => Decision::Fatal { unknown: true },
        (RetryClass::Fatal, Stage::Body) => Decision::Fatal { unknown: false },
        (RetryClass::Fatal, Stage::Commit) => Decision::Fatal { unknown: !is_refusal(error.code) },
    }
}

/// Whether a commit that fails so was turned away before anything was written. All others
/// (an I/O error, a cut-off commit, a code we do not know) leave it open.
fn is_refusal(code: i32) -> bool {
    let in_use = code == StoreError::USED_DURING_COMMIT;
    let by_name = [StoreError::ACCESSED_UNREADABLE, StoreError::STORAGE_FULL].contains(&code);
    !in_use && (by_name || (2000..3000).contains(&code))
}

/// Why a transaction was not committed, as far as anybody knows.
#[derive(Debug, thiserror::Error)]
pub enum RunError<E> {
    /// Its body refused.
    #[error("{0}")]
    Refused(E),
    /// It may have been committed, in some try, or may still be: look before doing it again.
    #[error("transaction {kind}: may have been committed (tries: {tries}): {error}")]
    MaybeCommitted {
        /// Name of the transaction's kind.
        kind: &'static str,
        /// Tries that were made.
        tries: u32,
        /// What the last one failed with.
        error: StoreError,
    },
    /// The store failed: it certainly was not committed.
    #[error("transaction {kind}: not committed (tries: {tries}, {}): {error}", Outlook(*class))]
    Store {
        /// Name of the transaction's kind.
        kind: &'static str,
        /// Tries that were made.
        tries: u32,
        /// Whether trying again later can help.
        class: RetryClass,
        /// What the last one failed with.
        error: StoreError,
    },
}

struct Outlook(RetryClass);

impl fmt::Display for Outlook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            RetryClass::Retry | RetryClass::MaybeCommitted => "gave up",
            RetryClass::Fatal => "cannot be retried",
        })
    }
}

impl Database {
    /// Runs a transaction until it is committed, refused, or beyond help.
    ///
    /// `body` is called once for each try, each time with a fresh view; what it wrote is
    /// committed after it has returned `Ok`. Dropping the future gives up: no further try is
    /// made, but a commit already sent may happen.
    ///
    /// # Errors
    /// [`RunError::Refused`] if the body refuses; [`RunError::MaybeCommitted`] if nobody
    /// knows whether a try was committed; [`RunError::Store`] if certainly none was.
    pub async fn run<T, E, B, F>(&self, kind: TransactionKind, mut body: B) -> Result<Committed<T>, RunError<E>>
    where
        B: FnMut(Transaction, Try) -> F + Send,
        F: Future<Output = Result<T, Abort<E>>> + Send,
    {
        let inner = self.inner();
        let metrics = inner.metrics.kind(kind.name);
        add(&metrics.started);
        let tx = Transaction::new(inner.source.begin(metrics.clone()));
        let mut attempt = Try { number: 1, maybe_committed: false };
        let mut last: Option<StoreError> = None;
        loop {
            let (stage, error) = match try_once(&tx, &kind, &mut body, attempt).await {
                Ok(committed) => {
                    add(&metrics.committed);
                    return Ok(committed);
                }
                Err(Failure::Refused(refusal)) => {
                    add(&metrics.refused);
                    return Err(RunError::Refused(refusal));
                }
                Err(Failure::Store(stage, error)) => (stage, error),
            };
            let decision = decide(&kind, stage, &error);
            let unknown = matches!(decision, Decision::RetryMaybeCommitted | Decision::Fatal { unknown: true });
            if unknown {
                add(&metrics.maybe_committed);
            }
            attempt.maybe_committed |= unknown;
            let again = !matches!(decision, Decision::Fatal { .. }) && attempt.number < kind.tries_max;
            if !again || tx.raw().on_error(error.clone()).await.is_err() {
                add(&metrics.failed);
                return Err(give_up(&kind, attempt, error, last.as_ref()));
            }
            metrics.count_retry(error.code);
            attempt.number += 1;
            last = Some(error);
        }
    }
}

enum Failure<E> {
    Refused(E),
    Store(Stage, StoreError),
}

async fn try_once<T, E, B, F>(
    tx: &Transaction,
    kind: &TransactionKind,
    body: &mut B,
    attempt: Try,
) -> Result<Committed<T>, Failure<E>>
where
    B: FnMut(Transaction, Try) -> F + Send,
    F: Future<Output = Result<T, Abort<E>>> + Send,
{
    let in_body = |error| Failure::Store(Stage::Body, error);
    // The timeout counts from the first try on, whichever try sets it; priorities and tags do
    // not survive a retry.
    let total_ms = u64::try_from(kind.total_max.as_millis()).unwrap_or(u64::MAX);
    tx.raw().set_option(TransactionOption::TimeoutMs(total_ms)).map_err(in_body)?;
    if kind.batch {
        tx.raw().set_option(TransactionOption::PriorityBatch).map_err(in_body)?;
    }
    if let Some(tag) = kind.tag {
        tx.raw().set_option(TransactionOption::Tag(tag.to_owned())).map_err(in_body)?;
    }
    let value = match body(tx.clone(), attempt).await {
        Ok(value) => value,
        Err(Abort::Store(error)) => return Err(in_body(error)),
        Err(Abort::Refuse(refusal)) => return Err(Failure::Refused(refusal)),
    };
    tx.raw().commit().await.map_err(|error| Failure::Store(Stage::Commit, error))?;
    Ok(Committed { value, version: tx.raw().committed_version().ok() })
}

fn give_up<E>(kind: &TransactionKind, attempt: Try, mut error: StoreError, last: Option<&StoreError>) -> RunError<E> {
    let (kind, tries) = (kind.name, attempt.number);
    let out_of_time = error.code == StoreError::TRANSACTION_TIMED_OUT;
    if let Some(last) = last.filter(|_| out_of_time) {
        // That the time was over says nothing of what had taken it.
        error.context = format!("the try before: {last}").into();
    }
    if attempt.maybe_committed {
        return RunError::MaybeCommitted { kind, tries, error };
    }
    let class = if out_of_time { RetryClass::Retry } else { error.class() };
    RunError::Store { kind, tries, class, error }
}

fn add(counter: &AtomicU64) {
    counter.fetch_add(1, Relaxed);
}

//! Opening the cluster, and the source of transactions.

use std::{path::Path, sync::Arc, time::Duration};

use escapement_fdb_client::{
    self as library, ClientError, TlsOptions,
    foundationdb::{self as fdb},
};

use super::{
    FdbOptions, OpenError, Prefix, PrefixError, TlsFiles, check_prefix, cluster_file::ClusterFile,
    transaction::FdbTransaction,
};
use crate::{
    clock::SharedClock,
    store::{Database, RunError, Source, StoreError, Transact, TransactionKind, metrics::KindMetrics},
};

/// FoundationDB's client, with the prefix of one deployment.
struct FdbSource {
    db: Arc<fdb::Database>,
    prefix: Prefix,
    clock: SharedClock,
}

impl std::fmt::Debug for FdbSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FdbSource").field("prefix", &self.prefix).finish_non_exhaustive()
    }
}

impl Source for FdbSource {
    fn begin(&self, metrics: Arc<KindMetrics>) -> Arc<dyn Transact> {
        let (db, clock) = (Arc::clone(&self.db), Arc::clone(&self.clock));
        Arc::new(FdbTransaction::new(db, self.prefix.clone(), clock, metrics))
    }

    fn exclusive(&self) -> bool {
        false
    }

    fn kind(&self) -> &'static str {
        "foundationdb"
    }
}

impl From<ClientError> for OpenError {
    fn from(error: ClientError) -> Self {
        match error {
            ClientError::LibraryMissing(_) | ClientError::LibraryTooOld { .. } => Self::Library(error.to_string()),
            ClientError::Start { .. } | ClientError::OtherOptions | ClientError::Stopped => {
                Self::Client(error.to_string())
            }
        }
    }
}

impl FdbSource {
    fn database(db: &Arc<fdb::Database>, prefix: &Prefix, clock: &SharedClock) -> Database {
        let source = Self { db: Arc::clone(db), prefix: prefix.clone(), clock: Arc::clone(clock) };
        Database::from_source(Box::new(source))
    }
}

/// Opens a deployment: the cluster answers, and what lies under the prefix is ours or nothing.
///
/// # Errors
/// See [`OpenError`]. Nothing has been written.
pub async fn open(options: &FdbOptions, clock: SharedClock) -> Result<Database, OpenError> {
    let (db, file) = connection(options)?;
    let root = FdbSource::database(&db, &Prefix::default(), &clock);
    let waited = options.connect_max.max(Duration::from_millis(1));
    let kind = TransactionKind::idempotent("check-prefix").total_max(waited);
    check_prefix(&root, &options.prefix, kind).await.map_err(|error| of_check(&file, waited, error))?;
    tracing::info!(cluster = %file.description, prefix = %options.prefix, "FoundationDB answers");
    Ok(FdbSource::database(&db, &options.prefix, &clock))
}

/// A database of which nothing is known yet: whether the cluster answers, and what it holds,
/// shows at the first transaction. For tests and tools; servers use [`open`].
///
/// # Errors
/// When a file, the client library or an option cannot be used.
pub fn connect(options: &FdbOptions, clock: &SharedClock) -> Result<Database, OpenError> {
    Ok(FdbSource::database(&connection(options)?.0, &options.prefix, clock))
}

fn connection(options: &FdbOptions) -> Result<(Arc<fdb::Database>, ClusterFile), OpenError> {
    let file = options.read_files()?;
    let path = text("cluster_file", &options.cluster_file)?;
    library::start(&tls_options(&options.tls)?)?;
    let db = fdb::Database::from_path(&path)
        .map_err(|error| OpenError::Client(format!("{path}: {} ({})", error.message(), error.code())))?;
    Ok((Arc::new(db), file))
}

/// Stops FoundationDB's client for good; every database of this process ends with it. A process
/// that ends by itself does this by itself.
pub fn stop() {
    library::stop();
}

fn tls_options(files: &TlsFiles) -> Result<TlsOptions, OpenError> {
    let file = |field, path: &Option<_>| path.as_deref().map(|path| text(field, path)).transpose();
    Ok(TlsOptions {
        certificate: file("tls_certificate", &files.certificate)?,
        key: file("tls_key", &files.key)?,
        ca: file("tls_ca", &files.ca)?,
        verify_peers: files.verify_peers.clone(),
    })
}

/// The client takes paths as text only.
fn text(field: &'static str, path: &Path) -> Result<String, OpenError> {
    let refuse = || OpenError::Tls { field, path: path.to_owned(), problem: "is not UTF-8".to_owned() };
    path.to_str().map(str::to_owned).ok_or_else(refuse)
}

fn of_check(file: &ClusterFile, waited: Duration, error: RunError<PrefixError>) -> OpenError {
    let error = match error {
        RunError::Refused(refused) => return OpenError::Prefix(refused),
        RunError::Store { error, .. } | RunError::MaybeCommitted { error, .. } => error,
    };
    let description = format!("{}:{}", file.description, file.id);
    if error.code != StoreError::TRANSACTION_TIMED_OUT {
        return OpenError::Refused { description, error };
    }
    let tls =
        if file.wants_tls() { ", and that the TLS certificate, key and authorities fit the servers'" } else { "" };
    OpenError::Unreachable { description, coordinators: file.addresses(), tls, waited, error }
}

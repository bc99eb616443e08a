//! What a store on FoundationDB is opened with, and why it is not opened.

use std::{path::PathBuf, time::Duration};

use super::{
    cluster_file::{ClusterFile, ClusterFileProblem},
    keys::Prefix,
    prefix_check::PrefixError,
};
use crate::{error::Reason, store::StoreError};

/// How long the cluster may take to answer when the store is opened.
pub const CONNECT_MAX: Duration = Duration::from_secs(10);

/// A store on FoundationDB.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FdbOptions {
    /// The cluster file. FoundationDB's client rewrites it when the coordinators move.
    pub cluster_file: PathBuf,
    /// What stands before every key.
    pub prefix: Prefix,
    /// Needed where the cluster file's addresses end in `:tls`.
    pub tls: TlsFiles,
    /// How long the cluster may take to answer at first; later, calls have limits of their own.
    pub connect_max: Duration,
}

impl FdbOptions {
    /// Without TLS files, with the default patience.
    pub fn new(cluster_file: impl Into<PathBuf>, prefix: Prefix) -> Self {
        Self { cluster_file: cluster_file.into(), prefix, tls: TlsFiles::default(), connect_max: CONNECT_MAX }
    }
}

/// Files and rules for TLS. What is absent is left to FoundationDB: the variables
/// `FDB_TLS_CERTIFICATE_FILE`, `FDB_TLS_KEY_FILE`, `FDB_TLS_CA_FILE`, `FDB_TLS_VERIFY_PEERS`, then
/// its default paths.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsFiles {
    /// PEM file with our certificate and its chain.
    pub certificate: Option<PathBuf>,
    /// PEM file with the certificate's private key.
    pub key: Option<PathBuf>,
    /// PEM file with the authorities that we trust.
    pub ca: Option<PathBuf>,
    /// What the servers' certificates must say, in FoundationDB's notation: `Check.Valid=1`, ...
    pub verify_peers: Option<String>,
}

/// Why a store on FoundationDB was not opened. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// This program was built without it.
    #[error("this build has no FoundationDB client; build it with `--features foundationdb`")]
    NotBuilt,
    /// The cluster file is missing or malformed.
    #[error("cluster file {} {problem}", path.display())]
    ClusterFile {
        /// Its path.
        path: PathBuf,
        /// What is wrong.
        problem: ClusterFileProblem,
    },
    /// A path or rule for TLS cannot be used.
    #[error("{field} {} {problem}", path.display())]
    Tls {
        /// Which.
        field: &'static str,
        /// What was given.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// The client library is not installed, or too old.
    #[error("{0}")]
    Library(String),
    /// The client library refused to start.
    #[error("{0}")]
    Client(String),
    /// The cluster did not answer.
    #[error(
        "cluster {description} did not answer within {waited:?}: {error}; check that its processes run and that this \
         machine reaches a majority of its coordinators {coordinators}{tls}"
    )]
    Unreachable {
        /// The cluster file's description and id.
        description: String,
        /// The coordinators' addresses.
        coordinators: String,
        /// A hint for clusters with TLS.
        tls: &'static str,
        /// How long was waited.
        waited: Duration,
        /// What the client said.
        error: StoreError,
    },
    /// The cluster answered, but not to our use.
    #[error("cluster {description} refused: {error}")]
    Refused {
        /// The cluster file's description and id.
        description: String,
        /// What the client said.
        error: StoreError,
    },
    /// The prefix is not ours alone.
    #[error(transparent)]
    Prefix(#[from] PrefixError),
}

impl OpenError {
    /// The stable code that goes with it.
    pub fn reason(&self) -> Reason {
        match self {
            Self::NotBuilt | Self::Tls { .. } => Reason::ConfigInvalid,
            Self::ClusterFile { .. } => Reason::ClusterFileUnusable,
            Self::Library(_) => Reason::ClientLibraryMissing,
            Self::Client(_) | Self::Unreachable { .. } | Self::Refused { .. } => Reason::ClusterUnreachable,
            Self::Prefix(PrefixError::FormatTooNew { .. }) => Reason::DataFormatNewer,
            Self::Prefix(PrefixError::Locked) => Reason::DatabaseLocked,
            Self::Prefix(PrefixError::Foreign { .. } | PrefixError::Within { .. }) => Reason::PrefixInUse,
        }
    }
}

impl FdbOptions {
    /// Reads what can be read without the client library.
    #[cfg_attr(not(feature = "foundationdb"), expect(dead_code, reason = "only a client opens what they name"))]
    pub(super) fn read_files(&self) -> Result<ClusterFile, OpenError> {
        let path = &self.cluster_file;
        let file = ClusterFile::read(path).map_err(|problem| OpenError::ClusterFile { path: path.clone(), problem })?;
        let writable = std::fs::metadata(path).is_ok_and(|metadata| !metadata.permissions().readonly());
        if !writable {
            tracing::warn!(path = %path.display(), "the cluster file is read-only: moved coordinators will be forgotten");
        }
        self.tls.check()?;
        Ok(file)
    }
}

impl TlsFiles {
    /// The library would take a missing file for a failing network.
    fn check(&self) -> Result<(), OpenError> {
        let files = [("tls_certificate", &self.certificate), ("tls_key", &self.key), ("tls_ca", &self.ca)];
        for (field, path) in files {
            if let Some(path) = path
                && let Err(error) = std::fs::File::open(path)
            {
                let problem = format!("cannot be read: {error}");
                return Err(OpenError::Tls { field, path: path.clone(), problem });
            }
        }
        Ok(())
    }
}

//! What can be said of the adapter without FoundationDB.

mod cluster_file;
mod keys;
#[cfg(feature = "foundationdb")]
mod native;
mod prefix_check;

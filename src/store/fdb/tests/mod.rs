//! What can be said of the adapter without FoundationDB.

mod cluster_file;
mod keys;
mod prefix_check;

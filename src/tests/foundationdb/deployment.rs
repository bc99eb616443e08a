//! Opening a deployment on a cluster that others use, too.

use std::sync::Arc;

use escapement::{
    error::Reason,
    keyspace,
    records::{Cluster, Record as _},
    store::fdb,
};

use super::Area;

#[tokio::test(flavor = "multi_thread")]
async fn a_prefix_with_foreign_keys_is_refused_and_deployments_lie_side_by_side() {
    let Some(area) = Area::new("deployments") else { return };
    area.clear().await;
    let open = async |under: &str| fdb::open(&area.options_under(under), Arc::clone(&area.clock)).await;
    let db = open("a/").await.unwrap();
    assert_eq!((db.kind(), db.exclusive()), ("foundationdb", false));
    let tx = db.begin();
    tx.set(keyspace::cluster(), Cluster { format_version: 1, shards: 4 }.encode()).unwrap();
    tx.raw().commit().await.unwrap();
    open("a/").await.unwrap();
    open("b/").await.unwrap();
    let within = open("a/b/").await.unwrap_err();
    assert_eq!(within.reason(), Reason::PrefixInUse);
    let around = open("").await.unwrap_err();
    assert_eq!(around.reason(), Reason::PrefixInUse);
    assert!(around.to_string().contains("a/\\x15\\x01"), "{around}");
    area.clear().await;
}

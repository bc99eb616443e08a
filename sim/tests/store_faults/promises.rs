//! The log finds out a store that breaks its word: each of these lies in one way.

use std::sync::Arc;

use bytes::Bytes;
use escapement::store::{
    RangePage, StoreError, Version,
    engine::{CommitReceipt, CommitRequest, Engine, Mutation, RangeRead, ReadVersionRequest},
};
use escapement_sim::{
    simulate,
    store::{FaultPlan, FaultyEngine, SimStore, Tap},
};
use futures_util::{FutureExt as _, future::BoxFuture};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lie {
    None,
    /// Acknowledges what it never commits.
    Loses,
    /// Says this code, and commits.
    CommitsAnd(i32),
    /// Says 1021, and commits afterwards.
    CommitsAfter1021,
}

#[derive(Debug)]
struct Liar {
    engine: FaultyEngine,
    lie: Lie,
}

impl Engine for Liar {
    fn read_version(&self, request: &ReadVersionRequest) -> BoxFuture<'_, Result<Version, StoreError>> {
        self.engine.read_version(request)
    }

    fn get_many(&self, keys: Vec<Bytes>, version: Version) -> BoxFuture<'_, Result<Vec<Option<Bytes>>, StoreError>> {
        self.engine.get_many(keys, version)
    }

    fn get_range(&self, read: RangeRead, version: Version) -> BoxFuture<'_, Result<RangePage, StoreError>> {
        self.engine.get_range(read, version)
    }

    fn commit(&self, request: CommitRequest) -> BoxFuture<'static, Result<CommitReceipt, StoreError>> {
        let (engine, lie) = (self.engine.clone(), self.lie);
        async move {
            match lie {
                Lie::None => engine.commit(request).await,
                Lie::Loses => Ok(CommitReceipt { version: Version(7), batch_index: 0 }),
                Lie::CommitsAnd(code) => engine.commit(request).await.and(Err(StoreError::new(code))),
                Lie::CommitsAfter1021 => {
                    tokio::spawn(engine.commit(request));
                    Err(StoreError::new(StoreError::COMMIT_UNKNOWN_RESULT))
                }
            }
        }
        .boxed()
    }

    fn watch(&self, key: Bytes, value: Option<Bytes>, version: Version) -> BoxFuture<'static, Result<(), StoreError>> {
        self.engine.watch(key, value, version)
    }

    fn exclusive(&self) -> bool {
        false
    }

    fn kind(&self) -> &'static str {
        "liar"
    }
}

fn broken_by(lie: Lie) -> Vec<String> {
    simulate(1, async move {
        let store = SimStore::new(FaultPlan::calm(1)).unwrap();
        let client = Tap::new(Arc::new(Liar { engine: store.boot(), lie }), store.log().clone(), "client");
        let mutations = vec![Mutation::Set("key".into(), "value".into())];
        let _ = client.commit(CommitRequest { mutations, ..CommitRequest::default() }).await;
        madsim::time::sleep(std::time::Duration::from_secs(1)).await;
        store.log().broken_promises()
    })
}

#[test]
fn a_store_that_breaks_its_word_is_found_out() {
    assert_eq!(broken_by(Lie::None), Vec::<String>::new());
    assert_eq!(broken_by(Lie::CommitsAnd(1021)), Vec::<String>::new(), "that is what 1021 says");
    for (lie, found) in [
        (Lie::Loses, "acknowledged at Version(7), and lost"),
        (Lie::CommitsAnd(1020), "told that it was not committed (1020)"),
        (Lie::CommitsAfter1021, "still in flight after 1021"),
    ] {
        let broken = broken_by(lie);
        assert!(broken.len() == 1 && broken[0].contains(found), "{lie:?}: {broken:?}");
    }
}

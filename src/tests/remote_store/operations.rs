//! Everything that an engine does, from a client's side.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use escapement::{
    rng::Rng,
    store::{
        EmbeddedEngine, EmbeddedOptions, MemoryEngine, MutationKind, RangeOptions, RunError, StoreError,
        TransactionKind, TransactionOption,
        engine::{Engine as _, RangeRead, ReadVersionRequest},
        remote::{RemoteEngine, RemoteOptions, ServerOptions},
    },
};
use futures_util::{FutureExt as _, future::join_all};

use super::{
    gate::Gate,
    world::{Served, client, clock, code, database, eventually, get, options, set},
};

async fn memory() -> (MemoryEngine, Served) {
    let engine = MemoryEngine::new(clock());
    let served = Served::start(Arc::new(engine.clone())).await;
    (engine, served)
}

#[tokio::test]
async fn a_transaction_reads_writes_and_conflicts_as_on_any_store() {
    let (_engine, served) = memory().await;
    let db = database(client(served.address).await);
    assert_eq!((db.kind(), db.exclusive()), ("remote", false));
    let tx = db.begin();
    for n in 0..10_u8 {
        tx.set(vec![b'k', n], vec![n]).unwrap();
    }
    tx.raw().mutate(MutationKind::Add, Bytes::from_static(b"sum"), 5_u64.to_le_bytes().to_vec().into()).unwrap();
    tx.raw().commit().await.unwrap();

    let (first, second) = (db.begin(), db.begin());
    for tx in [&first, &second] {
        let rows = tx.get_range(RangeOptions::new(&b"k"[..], &b"l"[..]).limit(3).reverse()).await.unwrap().rows;
        assert_eq!(rows.iter().map(|(_, value)| value[0]).collect::<Vec<_>>(), [9, 8, 7]);
        tx.set(&b"k\x09"[..], &b"x"[..]).unwrap();
    }
    first.raw().commit().await.unwrap();
    assert_eq!(second.raw().commit().await.unwrap_err().code, StoreError::NOT_COMMITTED);
    assert_eq!(db.begin().get(&b"sum"[..]).await.unwrap().as_deref(), Some(&5_u64.to_le_bytes()[..]));
}

#[tokio::test]
async fn a_lock_aware_transaction_is_so_to_the_server_in_its_reads_and_its_commit() {
    let gate = Gate::new();
    let served = Served::start(gate.clone()).await;
    let db = database(client(served.address).await);
    for is_lock_aware in [true, false] {
        let tx = db.begin();
        if is_lock_aware {
            tx.raw().set_option(TransactionOption::LockAware).unwrap();
        }
        tx.get(&b"k"[..]).await.unwrap();
        tx.set(&b"k"[..], &b"v"[..]).unwrap();
        tx.raw().commit().await.unwrap();
        assert_eq!(gate.take_lock_aware(), [("read version", is_lock_aware), ("commit", is_lock_aware)]);
    }
}

#[tokio::test]
async fn many_transactions_at_once_lose_no_update() {
    let (_engine, served) = memory().await;
    let db = database(client(served.address).await);
    let add = |n: u64| {
        let db = db.clone();
        async move {
            let kind = TransactionKind::idempotent("count");
            db.run(kind, |tx, _| async move {
                let key = Bytes::from(format!("counter-{}", n % 16));
                let value = tx.get(key.clone()).await?;
                let count = value.map_or(0, |value| u64::from_be_bytes(value[..].try_into().expect("8 bytes")));
                tx.set(key, (count + 1).to_be_bytes().to_vec())?;
                Ok::<_, escapement::store::Abort<String>>(())
            })
            .await
        }
    };
    let outcomes: Vec<Result<_, RunError<String>>> = join_all((0..400).map(add)).await;
    assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
    let rows = db.begin().get_range(RangeOptions::new(&b"counter-"[..], &b"counter."[..])).await.unwrap().rows;
    let total: u64 = rows.iter().map(|(_, value)| u64::from_be_bytes(value[..].try_into().unwrap())).sum();
    assert_eq!((rows.len(), total), (16, 400));
}

#[tokio::test]
async fn the_largest_transaction_fits_and_large_answers_come_in_parts() {
    let (_engine, served) = memory().await;
    let db = database(client(served.address).await);
    let tx = db.begin();
    let value = Bytes::from(vec![7; 99_000]);
    let keys: Vec<Bytes> = (0..100_u8).map(|n| Bytes::from(vec![b'k', n])).collect();
    for key in &keys {
        tx.set(key.clone(), value.clone()).unwrap();
    }
    tx.raw().commit().await.unwrap();
    let tx = db.begin();
    let values = tx.get_many(keys.clone()).await.unwrap();
    assert!(values.len() == 100 && values.iter().all(|found| found.as_ref() == Some(&value)));
    let (mut rows, mut begin) = (Vec::new(), keys[0].clone());
    loop {
        let page = tx.get_range(RangeOptions::new(begin, &b"l"[..])).await.unwrap();
        rows.extend(page.rows);
        if !page.more {
            break;
        }
        begin = Bytes::from([&rows.last().unwrap().0[..], &[0]].concat());
    }
    assert_eq!(rows.iter().map(|(key, _)| key.clone()).collect::<Vec<_>>(), keys);

    let engine = client(served.address).await;
    let version = engine.read_version(&ReadVersionRequest::default()).await.unwrap();
    let (begin, end) = (Bytes::from_static(b"k"), Bytes::from_static(b"l"));
    let read = RangeRead { begin, end, limit: 0, target_bytes: 0, reverse: false };
    let page = engine.get_range(read, version).await.unwrap();
    assert!(page.more && (1..20).contains(&page.rows.len()), "{} rows at once", page.rows.len());
}

#[tokio::test]
async fn a_watch_fires_on_a_change_and_a_dropped_one_makes_room() {
    let (engine, served) = memory().await;
    let options = RemoteOptions { watches_max: 1, ..options() };
    let client =
        RemoteEngine::connect(&served.address.to_string(), options, clock(), Rng::from_entropy()).await.unwrap();
    let receipt = client.commit(set("k", "old")).await.unwrap();
    let old = Some(Bytes::from_static(b"old"));
    let watch = |key: &'static [u8]| client.watch(Bytes::from_static(key), old.clone(), receipt.version);
    let dropped = watch(b"k");
    assert_eq!(watch(b"k").await.unwrap_err().code, StoreError::TOO_MANY_WATCHES);
    drop(dropped);
    let mut kept = None;
    eventually("room for another watch", async || {
        get(&client, "k").await;
        let mut next = watch(b"k");
        let refused = (&mut next).now_or_never().is_some();
        kept = Some(next);
        !refused
    })
    .await;
    engine.commit(set("k", "new")).await.unwrap();
    kept.unwrap().await.unwrap();
}

#[tokio::test]
async fn watches_beyond_what_the_server_keeps_for_a_client_are_refused_with_1032() {
    let engine = Arc::new(MemoryEngine::new(clock()));
    let options = ServerOptions { watches_max: 3, ..ServerOptions::default() };
    let served = Served::start_with(engine, "127.0.0.1:0".parse().unwrap(), options).await;
    let client = client(served.address).await;
    let receipt = client.commit(set("k", "v")).await.unwrap();
    let watch = || client.watch(Bytes::from_static(b"k"), Some(Bytes::from_static(b"v")), receipt.version);
    let _kept = [watch(), watch(), watch()];
    assert_eq!(watch().await.unwrap_err().code, StoreError::TOO_MANY_WATCHES);
}

#[tokio::test]
async fn a_store_that_closes_ends_watches_with_1101_its_own_and_those_of_clients() {
    let dir = tempfile::tempdir().unwrap();
    let engine = EmbeddedEngine::open(dir.path(), EmbeddedOptions::default(), clock()).unwrap();
    let served = Served::start(Arc::new(engine.clone())).await;
    let client = client(served.address).await;
    let mut own = engine.watch(Bytes::from_static(b"k"), None, Default::default());
    let mut watch = client.watch(Bytes::from_static(b"k"), None, Default::default());
    // Sent after the watch, so that this has arrived by then.
    get(&client, "k").await;
    assert!((&mut own).now_or_never().is_none() && (&mut watch).now_or_never().is_none());
    tokio::task::spawn_blocking(move || engine.close()).await.unwrap();
    let soon = tokio::time::timeout(Duration::from_secs(30), futures_util::future::join(own, watch)).await;
    let (own, watch) = soon.expect("nobody waits for what cannot come");
    let codes = [own, watch].map(|end| end.unwrap_err().code);
    assert_eq!(codes, [StoreError::OPERATION_CANCELLED; 2]);
}

#[tokio::test]
async fn a_store_that_is_not_there_is_told_in_time_with_its_address() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = free.local_addr().unwrap().to_string();
    let options = RemoteOptions { connect_max: Duration::from_millis(300), ..options() };
    // It accepts, and says nothing.
    let error = RemoteEngine::connect(&address, options, clock(), Rng::from_entropy()).await.unwrap_err();
    assert_eq!(error.address, address);
    assert!(error.reason.contains("tried for 300ms"), "{error}");
    drop(free);
    let error = RemoteEngine::connect(&address, options, clock(), Rng::from_entropy()).await.unwrap_err();
    assert!(error.reason.contains("refused"), "{error}");
    assert!(error.to_string().contains("`escapement store`"), "{error}");
}

#[tokio::test]
async fn requests_of_a_closed_client_end() {
    let (_engine, served) = memory().await;
    let client = client(served.address).await;
    let watch = client.watch(Bytes::from_static(b"k"), None, Default::default());
    let commit = client.commit(set("k", "v"));
    drop(client);
    assert_eq!(watch.await.unwrap_err().code, StoreError::OPERATION_CANCELLED);
    // It may still be under way, so it must not be 1021.
    match commit.await {
        Ok(_) => {}
        refused => assert_eq!(code(refused), StoreError::OPERATION_CANCELLED),
    }
}

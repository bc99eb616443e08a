//! What becomes of requests whose stream breaks.

use std::sync::Arc;

use bytes::Bytes;
use escapement::store::{StoreError, engine::Engine as _};
use futures_util::FutureExt as _;

use super::{
    gate::Gate,
    relay::{Flow, Relay},
    world::{SILENCE_SHORT, Served, client, code, eventually, get, impatient_client, set},
};

#[tokio::test]
async fn a_commit_whose_answer_is_lost_ends_with_1021_only_when_it_is_not_in_flight() {
    let gate = Gate::new();
    let served = Served::start(gate.clone()).await;
    let relay = Relay::start(served.address).await;
    let client = impatient_client(relay.address).await;
    gate.set_open(false);
    let mut commit = client.commit(set("k", "v"));
    eventually("the commit has begun", async || gate.commits() == (1, 0)).await;
    relay.cut();
    // The next stream is there, but not welcome while the commit is under way.
    eventually("another connection", async || relay.connections() == 2).await;
    let waits = async {
        for _ in 0..100 {
            tokio::time::sleep(SILENCE_SHORT / 80).await;
            assert_eq!(relay.connections(), 2, "a server that is not ready yet gives signs of life");
        }
    };
    tokio::select! {
        biased;
        ended = &mut commit => panic!("ended while in flight: {ended:?}"),
        () = waits => {}
    }
    gate.set_open(true);
    assert_eq!(code(commit.await), StoreError::COMMIT_UNKNOWN_RESULT);
    assert_eq!(gate.commits(), (1, 1), "it had ended by then, and was not sent again");
    assert_eq!(get(&client, "k").await.as_deref(), Some(&b"v"[..]));
}

#[tokio::test]
async fn a_commit_that_arrives_on_a_replaced_stream_is_ignored() {
    let gate = Gate::new();
    let served = Served::start(gate.clone()).await;
    let relay = Relay::start(served.address).await;
    let client = impatient_client(relay.address).await;
    // The cut network holds what the client sends, and the answers of the server.
    relay.to_server(0, Flow::Hold);
    relay.to_client(0, Flow::Hold);
    let commit = client.commit(set("k", "v"));
    // The silence is noticed, the stream replaced, the commit unknown.
    assert_eq!(code(commit.await), StoreError::COMMIT_UNKNOWN_RESULT);
    assert_eq!(relay.connections(), 2);
    // The network heals: the commit arrives after its end was told.
    relay.to_server(0, Flow::Pass);
    relay.to_client(0, Flow::Pass);
    for number in 0..20 {
        client.commit(set("other", "v")).await.unwrap();
        assert_eq!(gate.commits(), (number + 1, number + 1), "only the commits of the new stream begin");
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    assert_eq!(get(&client, "k").await, None);
}

#[tokio::test]
async fn reads_are_sent_again_and_watches_set_again() {
    let gate = Gate::new();
    let served = Served::start(gate.clone()).await;
    let relay = Relay::start(served.address).await;
    let client = impatient_client(relay.address).await;
    let receipt = client.commit(set("k", "old")).await.unwrap();
    let old = Some(Bytes::from_static(b"old"));
    let watch = client.watch(Bytes::from_static(b"k"), old.clone(), receipt.version);
    relay.to_client(0, Flow::Hold);
    assert_eq!(get(&client, "k").await, old, "read on the second stream");
    assert_eq!(relay.connections(), 2);
    relay.cut();
    eventually("a third connection", async || relay.connections() == 3).await;
    gate.commit(set("k", "new")).await.unwrap();
    watch.await.unwrap();
    assert_eq!(get(&client, "k").await.as_deref(), Some(&b"new"[..]));
}

#[tokio::test]
async fn a_change_while_there_is_no_stream_fires_the_watch() {
    let gate = Gate::new();
    let served = Served::start(gate.clone()).await;
    let relay = Relay::start(served.address).await;
    let client = impatient_client(relay.address).await;
    let receipt = client.commit(set("k", "old")).await.unwrap();
    let mut watch = client.watch(Bytes::from_static(b"k"), Some(Bytes::from_static(b"old")), receipt.version);
    get(&client, "k").await;
    assert!((&mut watch).now_or_never().is_none());
    relay.to_client(0, Flow::Hold);
    gate.commit(set("k", "new")).await.unwrap();
    watch.await.unwrap();
}

#[tokio::test]
async fn a_server_that_stops_says_goodbye_and_its_successor_goes_on() {
    let gate = Gate::new();
    let served = Served::start(gate.clone()).await;
    let address = served.address;
    let client = client(address).await;
    client.commit(set("k", "1")).await.unwrap();
    served.stop().await;
    let commit = client.commit(set("k", "2"));
    let read = tokio::spawn({
        let client = client.clone();
        async move { get(&client, "k").await }
    });
    let _served = Served::start_with(gate.clone() as Arc<_>, address, Default::default()).await;
    // Never sent, so it is no unknown one.
    commit.await.unwrap();
    read.await.unwrap();
    assert_eq!(get(&client, "k").await.as_deref(), Some(&b"2"[..]));
    assert_eq!(gate.commits(), (2, 2));
}

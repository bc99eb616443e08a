//! What a client has under way at once is bounded: callers of more wait.

use std::sync::Arc;

use bytes::Bytes;
use escapement::{
    rng::Rng,
    store::{
        Version,
        engine::{CommitRequest, Engine as _, ReadVersionRequest},
        remote::{RemoteEngine, RemoteOptions},
    },
};
use futures_util::FutureExt as _;

use super::{
    gate::Gate,
    world::{Served, clock, eventually, options, set},
};

/// Bytes that a commit made by [`sized`] counts for, besides those of its value.
const BESIDES: usize = 4;

/// A commit that counts for so many bytes.
fn sized(key: &'static str, bytes: usize) -> CommitRequest {
    assert_eq!(key.len(), 1);
    // The key itself, and the two ends of its conflict range.
    set(key, "x".repeat(bytes - BESIDES).leak())
}

/// A client of a store whose commits are held up, and a version that it may read.
async fn held(options: RemoteOptions) -> (Arc<Gate>, Served, RemoteEngine, Version) {
    let gate = Gate::new();
    let served = Served::start(gate.clone()).await;
    let client = RemoteEngine::connect(&served.address.to_string(), options, clock(), Rng::from_entropy()).await;
    let client = client.unwrap();
    let version = client.read_version(&ReadVersionRequest::default()).await.unwrap();
    gate.set_open(false);
    (gate, served, client, version)
}

/// Resolves when everything has arrived that was handed to the stream so far: watches need no
/// room, keep their place in line, and this one fires at once.
async fn all_has_arrived(client: &RemoteEngine, version: Version) {
    client.watch(Bytes::from_static(b"k"), Some(Bytes::from_static(b"other")), version).await.unwrap();
}

#[tokio::test]
async fn as_many_bytes_as_fit_are_under_way_and_callers_of_more_wait() {
    let (gate, _served, client, version) = held(RemoteOptions { request_bytes_max: 100, ..options() }).await;
    let fit = [client.commit(sized("a", 60)), client.commit(sized("b", 40))];
    eventually("both have begun", async || gate.commits() == (2, 0)).await;
    let mut commit = client.commit(sized("c", BESIDES));
    let mut read = client.get_many(vec![Bytes::from_static(b"a")], version);
    assert!((&mut commit).now_or_never().is_none() && (&mut read).now_or_never().is_none());
    all_has_arrived(&client, version).await;
    assert_eq!(gate.commits(), (2, 0), "there was no room for the third");
    assert!((&mut read).now_or_never().is_none(), "nor for the read");
    gate.set_open(true);
    for begun in fit {
        begun.await.unwrap();
    }
    commit.await.unwrap();
    assert_eq!(read.await.unwrap(), [None]);
    assert_eq!(gate.commits(), (3, 3));
}

#[tokio::test]
async fn a_request_larger_than_all_of_the_room_has_it_for_itself() {
    let (gate, _served, client, version) = held(RemoteOptions { request_bytes_max: 100, ..options() }).await;
    let large = client.commit(sized("a", 1000));
    eventually("it has begun", async || gate.commits() == (1, 0)).await;
    let mut small = client.commit(sized("b", BESIDES));
    assert!((&mut small).now_or_never().is_none());
    all_has_arrived(&client, version).await;
    assert_eq!(gate.commits(), (1, 0));
    // It waits for all of the room, too.
    let mut next = client.commit(sized("c", 1000));
    assert!((&mut next).now_or_never().is_none());
    gate.set_open(true);
    large.await.unwrap();
    small.await.unwrap();
    next.await.unwrap();
}

#[tokio::test]
async fn as_many_requests_as_are_allowed_are_under_way_and_callers_of_more_wait() {
    let (gate, _served, client, version) = held(RemoteOptions { requests_max: 2, ..options() }).await;
    let allowed = [client.commit(sized("a", BESIDES)), client.commit(sized("b", BESIDES))];
    eventually("both have begun", async || gate.commits() == (2, 0)).await;
    let mut commit = client.commit(sized("c", BESIDES));
    let mut read = client.get_many(vec![Bytes::from_static(b"a")], version);
    assert!((&mut commit).now_or_never().is_none() && (&mut read).now_or_never().is_none());
    all_has_arrived(&client, version).await;
    assert_eq!(gate.commits(), (2, 0));
    assert!((&mut read).now_or_never().is_none());
    gate.set_open(true);
    for begun in allowed {
        begun.await.unwrap();
    }
    commit.await.unwrap();
    read.await.unwrap();
}

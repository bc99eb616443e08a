//! Versions of the program in one cluster: nodes of a later one, a store of a format that
//! today's program does not know, and a store that an earlier version left.

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use escapement::{
    edge::SystemClock,
    keyspace,
    records::{Cluster, FORMAT, KEYSPACE_FORMAT, Record as _},
    rng::Rng,
    store::Database,
};
use madsim::time::sleep;

use super::{
    later::Versioned,
    strikes::{DOWN, until},
    tally::Counter,
    world::{World, lock},
};
use crate::{
    history::What,
    nemesis::{Nemesis, Newer},
};

/// What is known of versions while a run goes on.
#[derive(Debug, Default)]
pub(super) struct Versions {
    /// Nodes whose processes are of a later version.
    later: Mutex<BTreeSet<String>>,
    /// There while the store has a newer format.
    raised: Mutex<Option<Raised>>,
    /// What was done to a store of a newer format.
    touched: Mutex<Vec<String>>,
    /// Records with a field of a later version that a node of today's version read.
    pub(super) met: Counter,
    /// Starts that were refused for the store's format.
    pub(super) refused: Counter,
}

#[derive(Debug)]
struct Raised {
    /// The record of today's format.
    was: Bytes,
    /// Commits that had been sent before.
    sent: usize,
}

impl World {
    /// The store as a process on this node has it.
    pub(super) fn database(&self, name: &str, store: SocketAddr) -> Database {
        if !self.plan.strikes.iter().any(|strike| strike.what == Nemesis::Upgrade) {
            return self.store.database(name, store);
        }
        let is_later = lock(&self.versions.later).contains(name);
        let client = Versioned::new(self.store.client(name, store), is_later, self.versions.met.clone());
        Database::over(Arc::new(client), Arc::new(SystemClock::new()), Rng::from_entropy())
    }

    /// A rolling upgrade of the servers to a later version, and back.
    pub(super) async fn upgrade(self: &Arc<Self>, from_ms: u64, end_ms: u64) {
        let servers = self.plan.servers();
        let third = end_ms.saturating_sub(from_ms) / 3;
        let step = third / servers.len() as u64;
        for (begin_ms, is_later) in [(from_ms, true), (from_ms + 2 * third, false)] {
            for (turn, server) in (0..).zip(&servers) {
                until(begin_ms + turn * step).await;
                self.kill(server);
                match is_later {
                    true => drop(lock(&self.versions.later).insert(server.clone())),
                    false => drop(lock(&self.versions.later).remove(server)),
                }
                sleep(DOWN).await;
                self.start(server);
            }
        }
    }

    /// A version with a newer format has had the store, and is gone: until it is put back, every
    /// scheduler that starts has to refuse it, and to leave it as it is.
    pub(super) async fn raise_format(self: &Arc<Self>, newer: Newer, end_ms: u64) {
        let servers = self.plan.servers();
        servers.iter().for_each(|server| self.kill(server));
        let known = self.store.rows().into_iter().find(|(key, _)| *key == keyspace::cluster());
        let Some((key, was)) = known.filter(|_| lock(&self.versions.raised).is_none()) else {
            servers.iter().for_each(|server| self.start(server));
            return;
        };
        let record = match newer {
            Newer::Keyspace => match Cluster::decode(&was) {
                Ok(cluster) => Cluster { format_version: KEYSPACE_FORMAT + 1, ..cluster }.encode(),
                Err(error) => panic!("the cluster's own record: {error}"),
            },
            // What a later version has written behind its number cannot be known.
            Newer::Record => Bytes::from_static(&[FORMAT + 1, b'?']),
        };
        *lock(&self.versions.raised) = Some(Raised { was, sent: self.store.log().sent().len() });
        self.store.overwrite(vec![(key, record)]);
        servers.iter().for_each(|server| self.start(server));
        until(end_ms).await;
        self.lower_format();
    }

    /// Puts the format of today back, if the store has another, and notes what was written meanwhile.
    pub(super) fn lower_format(&self) {
        let Some(Raised { was, sent }) = lock(&self.versions.raised).take() else { return };
        let commits = self.store.log().sent().split_off(sent);
        let what = commits.iter().map(|commit| {
            let at = commit.at.as_secs_f64();
            format!("{} sent a commit at {at:.6} s, though the store had a newer format", commit.node)
        });
        lock(&self.versions.touched).extend(what);
        self.store.overwrite(vec![(keyspace::cluster(), was)]);
    }

    /// Commits that were sent to a store of a newer format.
    pub(super) fn touched(&self) -> Vec<String> {
        lock(&self.versions.touched).clone()
    }

    /// Goes on from the store that an earlier version left, if the plan says so.
    pub(super) async fn go_on(&self) {
        let Some(earlier) = self.plan.earlier() else { return };
        for event in &earlier.events {
            self.log.add_at(event.at, &event.node, event.what.clone());
            if let What::Effect { id, token, accepted: true } = &event.what {
                self.sink.known(id, *token);
            }
        }
        self.ops_from(earlier.last_op());
        self.store.overwrite(earlier.rows.clone());
        until(earlier.header.stopped_ms).await;
    }

    /// All processes of servers and workers are stopped at once, and what they had in the store by then
    /// is theirs to find.
    pub(super) fn stop(&self) {
        let mut nodes = self.plan.servers();
        nodes.extend(self.plan.workers());
        nodes.iter().for_each(|node| self.kill(node));
        self.note("", What::Fault { kind: "upgrade".to_owned(), detail: "stopped, to be started anew".to_owned() });
    }
}

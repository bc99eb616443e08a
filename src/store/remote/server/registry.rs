//! Who is connected, and which streams of whom are fenced.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::watch;

use crate::store::remote::Incarnation;

/// All clients that have a stream or a commit under way.
#[derive(Debug)]
pub(super) struct Registry {
    sessions_max: usize,
    clients: Mutex<Clients>,
}

#[derive(Debug, Default)]
struct Clients {
    by_incarnation: BTreeMap<Incarnation, Client>,
    sessions: usize,
}

#[derive(Debug)]
struct Client {
    /// Number of its newest stream; older ones are fenced.
    newest: watch::Sender<u64>,
    /// Commits that its streams have begun and that have not ended.
    commits: watch::Sender<usize>,
    sessions: usize,
}

/// Why a stream is not let in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refused {
    #[error("stream {number} of this client comes after stream {newest}; numbers only grow")]
    Replaced { number: u64, newest: u64 },
    #[error("{0} streams are open, which is all that this server takes")]
    Full(usize),
}

/// A stream that was let in; dropping it takes it out.
#[derive(Debug)]
pub(super) struct Admitted {
    registry: Arc<Registry>,
    client: Incarnation,
    number: u64,
    newest: watch::Receiver<u64>,
    commits: watch::Receiver<usize>,
}

/// A commit that has begun; dropping it ends it.
#[derive(Debug)]
pub(super) struct Begun {
    registry: Arc<Registry>,
    client: Incarnation,
}

impl Registry {
    pub(super) fn new(sessions_max: usize) -> Arc<Self> {
        Arc::new(Self { sessions_max, clients: Mutex::default() })
    }

    /// Lets a client's stream in, and fences its older ones: from here on they begin nothing.
    /// Numbers begin at 1.
    pub(super) fn admit(self: &Arc<Self>, client: Incarnation, number: u64) -> Result<Admitted, Refused> {
        assert!(number > 0, "streams are numbered from 1");
        let mut clients = self.lock();
        if clients.sessions >= self.sessions_max {
            return Err(Refused::Full(self.sessions_max));
        }
        let entry = clients.by_incarnation.entry(client).or_insert_with(|| Client {
            newest: watch::channel(0).0,
            commits: watch::channel(0).0,
            sessions: 0,
        });
        let newest = *entry.newest.borrow();
        if number <= newest {
            return Err(Refused::Replaced { number, newest });
        }
        entry.newest.send_replace(number);
        entry.sessions += 1;
        let (newest, commits) = (entry.newest.subscribe(), entry.commits.subscribe());
        clients.sessions += 1;
        drop(clients);
        Ok(Admitted { registry: Arc::clone(self), client, number, newest, commits })
    }

    fn lock(&self) -> MutexGuard<'_, Clients> {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.lock().by_incarnation.is_empty()
    }
}

impl Clients {
    /// A client of which nothing is left can begin nothing, so its fence guards nothing.
    fn forget_if_idle(&mut self, client: Incarnation) {
        let idle = |client: &Client| client.sessions == 0 && *client.commits.borrow() == 0;
        if self.by_incarnation.get(&client).is_some_and(idle) {
            self.by_incarnation.remove(&client);
        }
    }
}

impl Admitted {
    /// Begins a commit, unless a newer stream has fenced this one.
    pub(super) fn begin_commit(&self) -> Option<Begun> {
        let clients = self.registry.lock();
        let client = clients.by_incarnation.get(&self.client).expect("it has this session");
        if *client.newest.borrow() != self.number {
            return None;
        }
        client.commits.send_modify(|count| *count += 1);
        drop(clients);
        Some(Begun { registry: Arc::clone(&self.registry), client: self.client })
    }

    /// Resolves when no commit of the client is under way. Before its first commit, a stream
    /// learns so that those of its predecessors have ended.
    pub(super) fn settled(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut commits = self.commits.clone();
        async move {
            // The sender goes with the last session and commit: then there is none, either.
            let _ = commits.wait_for(|count| *count == 0).await;
        }
    }

    /// Resolves when a newer stream has fenced this one.
    pub(super) fn fenced(&self) -> impl Future<Output = ()> + Send + use<> {
        let (mut newest, number) = (self.newest.clone(), self.number);
        async move {
            let _ = newest.wait_for(|newest| *newest > number).await;
        }
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        let mut clients = self.registry.lock();
        clients.sessions -= 1;
        if let Some(client) = clients.by_incarnation.get_mut(&self.client) {
            client.sessions -= 1;
        }
        clients.forget_if_idle(self.client);
    }
}

impl Drop for Begun {
    fn drop(&mut self) {
        let mut clients = self.registry.lock();
        if let Some(client) = clients.by_incarnation.get(&self.client) {
            client.commits.send_modify(|count| *count -= 1);
        }
        clients.forget_if_idle(self.client);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    const CLIENT: Incarnation = Incarnation([7; 16]);

    #[test]
    fn a_newer_stream_fences_the_older_and_is_settled_once_its_commits_have_ended() {
        let registry = Registry::new(10);
        let old = registry.admit(CLIENT, 1).unwrap();
        let begun = old.begin_commit().unwrap();
        let new = registry.admit(CLIENT, 2).unwrap();
        assert!(old.begin_commit().is_none(), "what arrives late begins nothing");
        assert!(old.fenced().now_or_never().is_some());
        assert!(new.settled().now_or_never().is_none(), "the old stream's commit is under way");
        drop(old);
        assert!(new.settled().now_or_never().is_none(), "its end is not the stream's");
        drop(begun);
        assert!(new.settled().now_or_never().is_some());
        assert!(new.begin_commit().is_some() && new.fenced().now_or_never().is_none());
    }

    #[test]
    fn a_commit_that_outlives_all_streams_still_holds_up_the_next() {
        let registry = Registry::new(10);
        let old = registry.admit(CLIENT, 1).unwrap();
        let begun = old.begin_commit().unwrap();
        drop(old);
        assert!(!registry.is_empty());
        let new = registry.admit(CLIENT, 2).unwrap();
        assert!(new.settled().now_or_never().is_none());
        drop(begun);
        assert!(new.settled().now_or_never().is_some());
        drop(new);
        assert!(registry.is_empty(), "nothing is kept of a client that is gone");
    }

    #[test]
    fn an_older_stream_is_refused_and_so_is_one_too_many() {
        let registry = Registry::new(2);
        let _new = registry.admit(CLIENT, 5).unwrap();
        let refused = registry.admit(CLIENT, 5).unwrap_err();
        assert_eq!(refused, Refused::Replaced { number: 5, newest: 5 });
        let _other = registry.admit(Incarnation([8; 16]), 1).unwrap();
        assert_eq!(registry.admit(CLIENT, 6).unwrap_err(), Refused::Full(2));
        assert!(_new.begin_commit().is_some(), "a stream that was refused fences nothing");
    }
}

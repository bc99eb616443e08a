//! Every commit in the order of commits, and what clients were told of those that they sent.
//!
//! Nodes cannot know this log: it is for whoever judges a run. A client's sending and the
//! commit that came of it are brought together by their bytes, so a workload that wants each
//! commit told from all others writes something unique in each.

use std::{
    collections::BTreeMap,
    fmt,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use escapement::store::{
    RetryClass, StoreError, Version,
    engine::{CommitRequest, Mutation},
};

use super::plan::Fault;

/// Number of a sending, from 0.
pub(super) type SendId = usize;

/// A commit that was applied.
#[derive(Clone, Debug)]
pub struct CommitEntry {
    /// Version of its batch.
    pub version: Version,
    /// Its place in the batch.
    pub batch_index: u16,
    /// True time at which it was applied.
    pub at: Duration,
    /// True time at which it had arrived.
    pub arrived: Duration,
    /// What was asked for: read version, conflict ranges, mutations.
    pub request: CommitRequest,
    /// The last fault that it met.
    pub fault: Option<Fault>,
    /// Which of [`CommitLog::sent`] it came from; `None`: its client is not tapped.
    pub sent: Option<usize>,
}

/// What a client was told of a commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// It happened, at this version.
    Acknowledged(Version),
    /// It failed with this code.
    Failed(i32),
    /// The client stopped waiting: a timeout (1031), a cancel (1025), or its death.
    CutOff,
}

/// A commit that a client sent.
#[derive(Clone, Debug)]
pub struct Sent {
    /// Name of the client's node.
    pub node: String,
    /// True time.
    pub at: Duration,
    /// True time at which the store got it; `None`: it was lost on the way.
    pub arrived: Option<Duration>,
    /// What it was told, and when.
    pub told: Option<(Duration, Told)>,
    /// Which entries came of it; more than one would be a defect of the store.
    pub landed: Vec<usize>,
}

/// The log. Clones are the same one.
#[derive(Clone, Debug, Default)]
pub struct CommitLog(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    entries: Vec<CommitEntry>,
    sent: Vec<Sent>,
    /// Commits applied, by the node that sent them.
    landed: BTreeMap<String, usize>,
    /// Sendings that have not arrived, by their bytes.
    under_way: BTreeMap<u64, Vec<SendId>>,
    /// All sendings, by their bytes.
    twins: BTreeMap<u64, Vec<SendId>>,
    /// The bytes of each sending.
    fingerprints: Vec<u64>,
}

impl CommitLog {
    /// All commits, in the order of commits.
    pub fn entries(&self) -> Vec<CommitEntry> {
        self.lock().entries.clone()
    }

    /// All that was sent by tapped clients, in the order of sending.
    pub fn sent(&self) -> Vec<Sent> {
        self.lock().sent.clone()
    }

    /// The newest version at which anything was committed.
    pub fn newest(&self) -> Version {
        self.lock().entries.last().map_or(Version(0), |entry| entry.version)
    }

    /// How many commits of this client's node were applied.
    pub fn landed_of(&self, node: &str) -> usize {
        self.lock().landed.get(node).copied().unwrap_or(0)
    }

    /// Sendings after which the commit landed although its client had been cut off.
    pub fn landed_after_cut_off(&self) -> usize {
        let inner = self.lock();
        let is_late = |sent: &&Sent| match sent.told {
            Some((at, Told::CutOff)) => sent.landed.iter().any(|entry| inner.entries[*entry].at > at),
            _ => false,
        };
        inner.sent.iter().filter(is_late).count()
    }

    /// Sendings of which the client was told `code`: those that landed, and those that did not.
    pub fn told(&self, code: i32) -> (usize, usize) {
        let inner = self.lock();
        let told = inner.sent.iter().filter(|sent| matches!(sent.told, Some((_, Told::Failed(c))) if c == code));
        let (landed, not): (Vec<_>, Vec<_>) = told.partition(|sent| !sent.landed.is_empty());
        (landed.len(), not.len())
    }

    /// Where the store broke its word; empty, if it is what it claims to be.
    pub fn broken_promises(&self) -> Vec<String> {
        let inner = self.lock();
        let places: Vec<_> = inner.entries.iter().map(|entry| (entry.version, entry.batch_index)).collect();
        let order = places.windows(2).filter(|pair| pair[0] >= pair[1]);
        let order: Vec<_> = order.map(|pair| format!("commits out of order: {pair:?}")).collect();
        let sent = inner.sent.iter().enumerate().filter_map(|(id, sent)| {
            let broken = broken_promise(sent, &inner.entries)?;
            Some(format!("commit {id} of {} at {:?}: {broken}", sent.node, sent.at))
        });
        order.into_iter().chain(sent).collect()
    }

    pub(super) fn send(&self, node: &str, at: Duration, request: &CommitRequest) -> SendId {
        let mut inner = self.lock();
        let id = inner.sent.len();
        inner.sent.push(Sent { node: node.to_owned(), at, arrived: None, told: None, landed: Vec::new() });
        let bytes = fingerprint(request);
        inner.under_way.entry(bytes).or_default().push(id);
        inner.twins.entry(bytes).or_default().push(id);
        inner.fingerprints.push(bytes);
        id
    }

    pub(super) fn tell(&self, id: SendId, at: Duration, told: Told) {
        let mut inner = self.lock();
        match told {
            Told::Acknowledged(version) => inner.untwine(id, version),
            Told::Failed(code) if StoreError::new(code).class() == RetryClass::Retry => inner.give_away(id),
            Told::Failed(_) | Told::CutOff => {}
        }
        inner.sent[id].told = Some((at, told));
    }

    /// Which sending has just arrived: of equal ones the newest, as the older may be lost.
    pub(super) fn arrive(&self, at: Duration, request: &CommitRequest) -> Option<SendId> {
        let mut inner = self.lock();
        let id = inner.under_way.get_mut(&fingerprint(request))?.pop()?;
        inner.sent[id].arrived = Some(at);
        Some(id)
    }

    pub(super) fn append(&self, mut entry: CommitEntry) {
        let mut inner = self.lock();
        entry.sent = entry.sent.map(|id| inner.in_flight_twin(id).unwrap_or(id));
        if let Some(id) = entry.sent {
            let number = inner.entries.len();
            inner.sent[id].landed.push(number);
            let node = inner.sent[id].node.clone();
            *inner.landed.entry(node).or_default() += 1;
        }
        inner.entries.push(entry);
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Two clients that make the same cluster send the same bytes at once, and which of them
    /// arrived first was a guess. Whoever is told of a version sent the commit of that version.
    fn untwine(&mut self, id: SendId, version: Version) {
        let landed_there = |sent: &Sent| sent.landed.iter().any(|entry| self.entries[*entry].version == version);
        if landed_there(&self.sent[id]) {
            return;
        }
        let is_free = |sent: &Sent| !matches!(sent.told, Some((_, Told::Acknowledged(told))) if told == version);
        let twins = self.twins.get(&self.fingerprints[id]).into_iter().flatten();
        let twin = twins.copied().find(|twin| landed_there(&self.sent[*twin]) && is_free(&self.sent[*twin]));
        if let Some(twin) = twin {
            self.swap(id, twin);
        }
    }

    /// The same for one that was told 1021 before anything of it was applied: then it is no longer in
    /// flight, and what lands now is a twin that nobody has been told of yet.
    fn in_flight_twin(&mut self, id: SendId) -> Option<SendId> {
        if !matches!(self.sent[id].told, Some((_, Told::Failed(StoreError::COMMIT_UNKNOWN_RESULT)))) {
            return None;
        }
        let in_flight = |twin: &SendId| {
            let sent = &self.sent[*twin];
            sent.landed.is_empty() && matches!(sent.told, None | Some((_, Told::CutOff)))
        };
        let twins = self.twins.get(&self.fingerprints[id]).into_iter().flatten();
        let twin = twins.copied().find(in_flight)?;
        let arrived = self.sent[id].arrived;
        self.sent[id].arrived = std::mem::replace(&mut self.sent[twin].arrived, arrived);
        Some(twin)
    }

    /// The same for one that is told that it certainly was not committed: a twin was, of which
    /// nobody knows that it was not.
    fn give_away(&mut self, id: SendId) {
        if self.sent[id].landed.is_empty() {
            return;
        }
        let is_open = |sent: &Sent| match sent.told {
            Some((_, Told::Acknowledged(_))) => false,
            Some((_, Told::Failed(code))) => StoreError::new(code).class() != RetryClass::Retry,
            Some((_, Told::CutOff)) | None => true,
        };
        let twins = self.twins.get(&self.fingerprints[id]).into_iter().flatten();
        let may_have_landed = |twin: &SendId| self.sent[*twin].landed.is_empty() && is_open(&self.sent[*twin]);
        let twin = twins.copied().find(|twin| *twin != id && may_have_landed(twin));
        if let Some(twin) = twin {
            self.swap(id, twin);
        }
    }

    fn swap(&mut self, id: SendId, twin: SendId) {
        let (arrived, landed) = (self.sent[id].arrived, std::mem::take(&mut self.sent[id].landed));
        self.sent[id].arrived = std::mem::replace(&mut self.sent[twin].arrived, arrived);
        self.sent[id].landed = std::mem::replace(&mut self.sent[twin].landed, landed);
        for (owner, other) in [(id, twin), (twin, id)] {
            for entry in self.sent[owner].landed.clone() {
                debug_assert_eq!(self.entries[entry].sent, Some(other));
                self.entries[entry].sent = Some(owner);
            }
        }
    }
}

fn broken_promise(sent: &Sent, entries: &[CommitEntry]) -> Option<String> {
    let landed: Vec<_> = sent.landed.iter().map(|entry| &entries[*entry]).collect();
    if landed.len() > 1 {
        return Some(format!("applied {} times", landed.len()));
    }
    let landed = landed.first();
    let (told_at, told) = sent.told.as_ref()?;
    match (told, landed) {
        (Told::Acknowledged(version), None) => Some(format!("acknowledged at {version:?}, and lost")),
        (Told::Acknowledged(version), Some(entry)) if entry.version != *version || entry.at > *told_at => {
            Some(format!("acknowledged at {version:?}, applied at {:?}", entry.version))
        }
        (Told::Failed(StoreError::COMMIT_UNKNOWN_RESULT), Some(entry)) if entry.at > *told_at => {
            Some(format!("still in flight after 1021: told at {told_at:?}, applied at {:?}", entry.at))
        }
        (Told::Failed(code), Some(entry)) if StoreError::new(*code).class() == RetryClass::Retry => {
            Some(format!("told that it was not committed ({code}), applied at {:?}", entry.at))
        }
        _ => None,
    }
}

/// Of all bytes of a commit; equal in every process.
fn fingerprint(request: &CommitRequest) -> u64 {
    let CommitRequest { read_version, read_conflicts, write_conflicts, mutations, lock_aware } = request;
    let mut hasher = DefaultHasher::new();
    (read_version, lock_aware).hash(&mut hasher);
    for ranges in [read_conflicts, write_conflicts] {
        ranges.len().hash(&mut hasher);
        ranges.iter().for_each(|range| (&range.begin, &range.end).hash(&mut hasher));
    }
    for mutation in mutations {
        match mutation {
            Mutation::Set(key, value) => (0, key, value).hash(&mut hasher),
            Mutation::Clear(key) => (1, key).hash(&mut hasher),
            Mutation::ClearRange(begin, end) => (2, begin, end).hash(&mut hasher),
            Mutation::Atomic(kind, key, operand) => (3, kind, key, operand).hash(&mut hasher),
        }
    }
    hasher.finish()
}

/// One line for each commit.
impl fmt::Display for CommitLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = self.lock();
        for entry in &inner.entries {
            let CommitEntry { version, batch_index, at, request, fault, sent, .. } = entry;
            write!(f, "{:>12.6} commit {}.{batch_index}", at.as_secs_f64(), version.0)?;
            if let Some(sent) = sent.map(|id| &inner.sent[id]) {
                write!(f, " of {} ({:?})", sent.node, sent.told)?;
            }
            if let Some(fault) = fault {
                write!(f, " {fault:?}")?;
            }
            writeln!(f, " {:?}", request.mutations)?;
        }
        Ok(())
    }
}

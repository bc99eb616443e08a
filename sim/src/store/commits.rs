//! The way of a commit: its fate is drawn when it arrives; it waits for its batch; it is
//! judged and applied; its client hears of it, or does not.

use std::{sync::Arc, time::Duration};

use escapement::store::{
    StoreError,
    engine::{CommitReceipt, CommitRequest},
};
use tokio::sync::oneshot;

use super::{
    cluster::{Shared, true_time},
    dice::Effect,
    log::{CommitEntry, SendId},
    plan::Fault,
};

pub(super) type Answer = Result<CommitReceipt, StoreError>;

/// What awaits a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// To be judged by its conflicts, and told so.
    Fair,
    /// Turned away with this code.
    Refused(Fault, i32),
    /// Told 1021; applied or not.
    Unknown { applied: bool },
    /// Told 1039 at once, judged later.
    Late,
    /// Applied or not, and told only when nobody listens.
    Unheard { applied: bool },
}

impl Fate {
    /// Whether it is never applied.
    const fn is_doomed(self) -> bool {
        matches!(self, Self::Refused(..) | Self::Unknown { applied: false } | Self::Unheard { applied: false })
    }

    const fn fault(self) -> Option<Fault> {
        match self {
            Self::Fair => None,
            Self::Refused(fault, _) => Some(fault),
            Self::Unknown { applied: true } => Some(Fault::UnknownApplied),
            Self::Unknown { applied: false } => Some(Fault::UnknownNotApplied),
            Self::Late => Some(Fault::VersionChangedLate),
            Self::Unheard { applied: true } => Some(Fault::AnswerLostApplied),
            Self::Unheard { applied: false } => Some(Fault::AnswerLostNotApplied),
        }
    }
}

/// The first of these that strikes is a commit's fate.
const FATES: [Fate; 7] = [
    Fate::Refused(Fault::CommitProxyMemory, StoreError::COMMIT_PROXY_MEMORY_LIMIT),
    Fate::Refused(Fault::SpuriousConflict, StoreError::NOT_COMMITTED),
    Fate::Unknown { applied: true },
    Fate::Unknown { applied: false },
    Fate::Late,
    Fate::Unheard { applied: true },
    Fate::Unheard { applied: false },
];

/// A commit that has arrived and is not decided.
#[derive(Debug)]
pub(super) struct InFlight {
    request: CommitRequest,
    arrived: Duration,
    sent: Option<SendId>,
    fate: Fate,
    fault: Option<Fault>,
    /// `None` once the client has been told.
    answer: Option<oneshot::Sender<Answer>>,
}

impl InFlight {
    fn tell(&mut self, answer: Answer) {
        if let Some(sender) = self.answer.take() {
            // Whoever asked may have gone.
            let _ = sender.send(answer);
        }
    }
}

/// What ends the commits in flight all at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// A recovery of the database: clients are told.
    Recovery,
    /// The death of the node: there is nobody to tell them.
    Restart,
}

impl Shared {
    /// Takes a commit in. It runs to its end, whoever waits for the answer.
    pub(super) fn accept(self: &Arc<Self>, request: CommitRequest) -> oneshot::Receiver<Answer> {
        let (sender, answer) = oneshot::channel();
        let arrived = true_time();
        // Every generator draws for every commit: what another fault does changes nothing.
        let struck = FATES.map(|fate| fate.fault().is_some_and(|fault| self.dice.strikes(fault, arrived)));
        let fate = FATES.into_iter().zip(struck).find_map(|(fate, struck)| struck.then_some(fate));
        let sent = self.log.arrive(arrived, &request);
        let fate = fate.unwrap_or(Fate::Fair);
        let commit = InFlight { request, arrived, sent, fate, fault: fate.fault(), answer: Some(sender) };
        let mut state = self.state();
        let id = state.next_id;
        state.next_id += 1;
        state.in_flight.insert(id, commit);
        drop(state);
        tokio::spawn(Arc::clone(self).carry(id));
        answer
    }

    async fn carry(self: Arc<Self>, id: u64) {
        self.outlast_recovery().await;
        let Some((fate, lock_aware)) = self.look(id) else { return };
        if !lock_aware && self.dice.strikes(Fault::Locked, true_time()) {
            return self.refuse(id, Fault::Locked, StoreError::DATABASE_LOCKED);
        }
        self.outlast(Fault::CommitsUnavailable).await;
        match fate {
            Fate::Refused(fault, code) => return self.refuse(id, fault, code),
            Fate::Unknown { applied: false } => {
                return self.refuse(id, Fault::UnknownNotApplied, StoreError::COMMIT_UNKNOWN_RESULT);
            }
            Fate::Unheard { applied: false } => return self.drop_unheard(id).await,
            Fate::Late => {
                self.dice.hit(Fault::VersionChangedLate);
                if let Some(commit) = self.state().in_flight.get_mut(&id) {
                    commit.tell(Err(StoreError::new(StoreError::CLUSTER_VERSION_CHANGED)));
                }
                self.clock.sleep(self.dice.hold(Fault::VersionChangedLate)).await;
            }
            Fate::Fair | Fate::Unknown { applied: true } | Fate::Unheard { applied: true } => {
                self.hold_up(id, Fault::SlowCommit).await;
                self.hold_up(id, Fault::StalledCommit).await;
            }
        }
        self.outlast_recovery().await;
        self.enqueue(id);
    }

    async fn hold_up(&self, id: u64, fault: Fault) {
        if self.dice.strikes(fault, true_time()) {
            if let Some(commit) = self.state().in_flight.get_mut(&id) {
                commit.fault = Some(fault);
            }
            self.dice.hit(fault);
            self.clock.sleep(self.dice.hold(fault)).await;
        }
    }

    /// `None`: a recovery has decided it meanwhile.
    fn look(&self, id: u64) -> Option<(Fate, bool)> {
        self.state().in_flight.get(&id).map(|commit| (commit.fate, commit.request.lock_aware))
    }

    fn refuse(&self, id: u64, fault: Fault, code: i32) {
        let Some(mut commit) = self.state().in_flight.remove(&id) else { return };
        self.dice.hit(fault);
        commit.tell(Err(StoreError::new(code)));
    }

    async fn drop_unheard(&self, id: u64) {
        let Some(mut commit) = self.state().in_flight.remove(&id) else { return };
        self.dice.hit(Fault::AnswerLostNotApplied);
        self.clock.sleep(self.dice.hold(Fault::AnswerLostNotApplied)).await;
        commit.tell(Err(StoreError::new(StoreError::COMMIT_UNKNOWN_RESULT)));
    }

    /// Puts it into the next batch.
    fn enqueue(self: &Arc<Self>, id: u64) {
        let mut state = self.state();
        state.queue.push_back(id);
        if !std::mem::replace(&mut state.batching, true) {
            drop(state);
            tokio::spawn(Arc::clone(self).batch());
        }
    }

    /// Commits batch after batch until nothing waits.
    async fn batch(self: Arc<Self>) {
        loop {
            self.clock.sleep(self.dice.ordinary(self.plan.knobs.batch_ms)).await;
            self.outlast_recovery().await;
            let commits = self.next_batch();
            let answers = self.commit(commits);
            // Applied, and nobody knows yet: here the node may die.
            self.clock.sleep(self.dice.ordinary(self.plan.knobs.batch_ms)).await;
            for (commit, answer) in answers {
                self.announce(commit, answer);
            }
            let mut state = self.state();
            if state.queue.is_empty() {
                state.batching = false;
                return;
            }
        }
    }

    fn next_batch(&self) -> Vec<InFlight> {
        let mut state = self.state();
        let state = &mut *state;
        let count = state.queue.len().min(self.plan.knobs.batch_commits_max);
        // A recovery takes commits out of the queue without looking for them there.
        state.queue.drain(..count).filter_map(|id| state.in_flight.remove(&id)).collect()
    }

    /// Judges and applies a batch, and logs it, all in one instant.
    fn commit(&self, commits: Vec<InFlight>) -> Vec<(InFlight, Answer)> {
        if commits.is_empty() {
            return Vec::new();
        }
        let requests: Vec<_> = commits.iter().map(|commit| commit.request.clone()).collect();
        let answers = self.memory.commit_batch(&requests);
        let at = true_time();
        let judged: Vec<_> = commits.into_iter().zip(answers).collect();
        if judged.iter().filter(|(_, answer)| answer.is_ok()).count() > 1 {
            self.dice.effect(Effect::SharedBatch);
        }
        for (commit, answer) in &judged {
            self.note(commit, answer, at);
        }
        self.remember(at);
        judged
    }

    fn note(&self, commit: &InFlight, answer: &Answer, at: Duration) {
        let is_late = commit.fate == Fate::Late;
        match answer {
            Ok(CommitReceipt { version, batch_index }) => {
                if is_late {
                    self.dice.effect(Effect::LandedAfterVersionChange);
                }
                let InFlight { request, arrived, sent, fault, .. } = commit;
                self.log.append(CommitEntry {
                    version: *version,
                    batch_index: *batch_index,
                    at,
                    arrived: *arrived,
                    request: request.clone(),
                    fault: *fault,
                    sent: *sent,
                });
            }
            Err(_) if is_late => self.dice.effect(Effect::LateCommitRefused),
            Err(error) => match error.code {
                StoreError::NOT_COMMITTED => self.dice.effect(Effect::RealConflict),
                StoreError::TRANSACTION_TOO_OLD => self.dice.effect(Effect::TooOldByClock),
                _ => {}
            },
        }
    }

    fn announce(self: &Arc<Self>, mut commit: InFlight, answer: Answer) {
        match (commit.fate, answer) {
            (Fate::Unknown { .. }, Ok(_)) => {
                self.dice.hit(Fault::UnknownApplied);
                commit.tell(Err(StoreError::new(StoreError::COMMIT_UNKNOWN_RESULT)));
            }
            (Fate::Unheard { .. }, Ok(receipt)) => {
                self.dice.hit(Fault::AnswerLostApplied);
                let (hold, clock) = (self.dice.hold(Fault::AnswerLostApplied), Arc::clone(&self.clock));
                tokio::spawn(async move {
                    clock.sleep(hold).await;
                    commit.tell(Ok(receipt));
                });
            }
            (_, answer) => commit.tell(answer),
        }
    }

    /// Decides everything in flight: applied or not, as the seed says.
    pub(super) fn settle(&self, end: End) {
        let mut state = self.state();
        let in_flight = std::mem::take(&mut state.in_flight);
        state.queue.clear();
        drop(state);
        let (applied, dropped) = match end {
            End::Recovery => (Effect::AppliedInRecovery, Effect::DroppedInRecovery),
            End::Restart => (Effect::AppliedInRestart, Effect::DroppedInRestart),
        };
        for mut commit in in_flight.into_values() {
            let (wanted, gently) = (self.dice.toss(Fault::Recovery), self.dice.toss(Fault::Recovery));
            if !wanted || commit.fate.is_doomed() {
                self.dice.effect(dropped);
                // Both are true of it.
                let code = if gently { StoreError::NOT_COMMITTED } else { StoreError::COMMIT_UNKNOWN_RESULT };
                commit.tell(Err(StoreError::new(code)));
                continue;
            }
            if end == End::Recovery {
                commit.fault = Some(Fault::Recovery);
            }
            for (mut commit, answer) in self.commit(vec![commit]) {
                if answer.is_ok() {
                    self.dice.effect(applied);
                }
                commit.tell(Err(StoreError::new(StoreError::COMMIT_UNKNOWN_RESULT)));
            }
        }
    }
}

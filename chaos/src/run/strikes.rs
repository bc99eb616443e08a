//! What the strikes of a plan do to the world.

use std::{sync::Arc, time::Duration};

use madsim::time::{TimeHandle, sleep};

use super::world::World;
use crate::{
    history::What,
    nemesis::{Nemesis, Strike},
    plan::STORE,
};

/// How long a process is down in a rolling restart.
pub(super) const DOWN: Duration = Duration::from_millis(500);
/// How often the log of commits is looked at by whoever waits for one.
const LOOK: Duration = Duration::from_millis(1);

/// Sleeps until this much true time has passed since the run began.
pub(super) async fn until(at_ms: u64) {
    sleep(Duration::from_millis(at_ms).saturating_sub(TimeHandle::current().elapsed())).await;
}

impl World {
    /// All strikes. Ends with the last one; whoever drops it leaves the world as it is.
    pub(super) async fn strike(self: Arc<Self>) {
        let strikes = self.plan.strikes.clone();
        let all = strikes.into_iter().enumerate().map(|(number, strike)| {
            let world = Arc::clone(&self);
            async move {
                until(strike.at_ms).await;
                world.begin_fault(&strike);
                let end_ms = (strike.at_ms + strike.for_ms).min(world.plan.safety_ms);
                world.clone().carry_out(number, &strike, end_ms).await;
                world.note("", What::Fault { kind: strike.what.kind().to_owned(), detail: "over".to_owned() });
            }
        });
        futures_util::future::join_all(all).await;
    }

    fn begin_fault(&self, strike: &Strike) {
        let detail = serde_json::to_string(strike).unwrap_or_default();
        self.note("", What::Fault { kind: strike.what.kind().to_owned(), detail });
    }

    async fn carry_out(self: Arc<Self>, number: usize, strike: &Strike, end_ms: u64) {
        match &strike.what {
            Nemesis::Kill { node } => self.down(std::slice::from_ref(node), end_ms).await,
            Nemesis::KillAfterCommit { node } => {
                self.next_commit_of(node, end_ms).await;
                self.down(std::slice::from_ref(node), end_ms).await;
            }
            Nemesis::RestartAll => {
                let mut all = self.plan.servers();
                all.extend(self.plan.workers());
                all.push(STORE.to_owned());
                self.down(&all, end_ms).await;
            }
            Nemesis::RollingRestart => self.roll(strike.at_ms, end_ms).await,
            Nemesis::Pause { node } => {
                self.pause(node);
                until(end_ms).await;
                self.resume(node);
            }
            Nemesis::Upgrade => self.upgrade(strike.at_ms, end_ms).await,
            Nemesis::NewerFormat { newer } => self.raise_format(*newer, end_ms).await,
            // The clocks know.
            Nemesis::Clock { .. } => {}
            network => {
                self.set_network(number, Some(network.clone()));
                until(end_ms).await;
                self.set_network(number, None);
            }
        }
    }

    async fn down(self: &Arc<Self>, nodes: &[String], end_ms: u64) {
        for node in nodes {
            self.kill(node);
        }
        until(end_ms).await;
        for node in nodes.iter().rev() {
            self.start(node);
        }
    }

    async fn roll(self: &Arc<Self>, from_ms: u64, end_ms: u64) {
        let mut nodes = self.plan.servers();
        nodes.extend(self.plan.workers());
        let step = end_ms.saturating_sub(from_ms) / nodes.len() as u64;
        for (turn, node) in (0..).zip(&nodes) {
            until(from_ms + turn * step).await;
            self.kill(node);
            sleep(DOWN).await;
            self.start(node);
        }
    }

    /// Until the store has applied a commit of this node: it does not know yet.
    async fn next_commit_of(&self, node: &str, end_ms: u64) {
        let before = self.store.log().landed_of(node);
        while self.store.log().landed_of(node) == before {
            if TimeHandle::current().elapsed() >= Duration::from_millis(end_ms) {
                return;
            }
            sleep(LOOK).await;
        }
    }

    /// Everything is as it should be: processes run, the network and the store are whole.
    pub(super) fn heal(self: &Arc<Self>) {
        self.heal_network();
        self.store.heal();
        self.lower_format();
        for node in self.plan.nodes() {
            self.resume(&node);
            self.start(&node);
        }
        self.note("", What::Healed);
    }
}

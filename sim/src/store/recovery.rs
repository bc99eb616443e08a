//! New generations of the transaction system: by a fault, or because the node died.

use std::{sync::Arc, time::Duration};

use super::{
    cluster::{Shared, true_time},
    commits::End,
    plan::{Fault, Span},
};

impl Shared {
    /// Whoever served before is dead.
    pub(super) fn boot(self: &Arc<Self>) {
        let mut state = self.state();
        let is_first = state.next_id == 0;
        state.batching = false;
        state.paused_until = None;
        drop(state);
        if !is_first {
            self.settle(End::Restart);
            self.memory.skip_versions(self.plan.knobs.recovery_versions);
        }
        tokio::spawn(Arc::clone(self).recoveries());
    }

    /// Recovers whenever the plan says so.
    async fn recoveries(self: Arc<Self>) {
        let spans = self.dice.switch(Fault::Recovery).map(|switch| switch.during.clone()).unwrap_or_default();
        for span in spans {
            let now = true_time();
            if span.until() <= now {
                continue;
            }
            self.clock.sleep(span.from().saturating_sub(now)).await;
            if self.dice.is_healed() {
                return;
            }
            self.recover(span).await;
        }
    }

    async fn recover(&self, span: Span) {
        self.dice.hit(Fault::Recovery);
        self.state().paused_until = Some(span.until());
        self.settle(End::Recovery);
        self.clock.sleep(span.until().saturating_sub(true_time())).await;
        self.memory.skip_versions(self.plan.knobs.recovery_versions);
        self.state().paused_until = None;
    }

    /// Waits while a recovery goes on.
    pub(super) async fn outlast_recovery(&self) {
        loop {
            let paused_until = self.state().paused_until;
            let Some(until) = paused_until else { return };
            let left = until.saturating_sub(true_time());
            self.clock.sleep(left.max(Duration::from_millis(1))).await;
        }
    }
}

//! What time it is, as the core acts by it: the machine's clock, what the other schedulers' clocks say of
//! it, and leap seconds, looked at once for each turn of the core.

use std::{
    collections::BTreeSet,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use escapement_engine::{
    Monotonic, SessionId, Timestamp,
    cluster_time::{Bounds, ClusterTime, Exchange, Health, Look, OwnClock, Stamp, SyncState},
    leap::{TableAge, Verdict, Watch},
    planted::{Bug, planted},
};

use crate::{api::backend::ClockStatus, clock::Clock, scheduler::SchedulerOptions};

/// How often the age of the list of leap seconds is looked at.
const TABLE_PAUSE: Duration = Duration::from_secs(86_400);

/// The instant of one look at the clocks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Now {
    /// The best guess at true time: for the record, never to decide whether something is due.
    pub(super) wall: Timestamp,
    /// True time is not before this: what is due by it may be fired.
    pub(super) due: Timestamp,
    /// For intervals.
    pub(super) mono: Monotonic,
    /// Whether anything may be fired at all.
    pub(super) fit: Fit,
}

/// Whether a node may fire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fit {
    /// It may.
    Fire,
    /// A leap second is going on, for about this long.
    Leap(Duration),
    /// The clock is rejected.
    Rejected,
}

/// Whether the clock is fit to take tasks by; for those beside the core.
#[derive(Debug, Default)]
pub(crate) struct Rejected(AtomicBool);

impl Rejected {
    /// Whether the clock is rejected.
    pub(crate) fn get(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Looks at the clocks, and says when something about them changes.
#[derive(Debug)]
pub(super) struct Time {
    cluster: ClusterTime,
    leap: Watch,
    own: OwnClock,
    found: Look,
    verdict: Verdict,
    table_at: Monotonic,
    wait: Duration,
}

impl Time {
    /// The first look.
    pub(super) fn begin(clock: &dyn Clock, options: &SchedulerOptions, rejected: &Rejected) -> Self {
        let mut leap = Watch::with_table(options.leap_mode, options.leap_table.clone());
        let mut cluster = ClusterTime::default();
        let (own, verdict) = observe(clock, &mut leap);
        let found = cluster.look(&own);
        let mut time = Self { cluster, leap, own, found, verdict, table_at: own.now.mono, wait: Duration::ZERO };
        if own.bounds.sync == SyncState::Unsynchronised {
            tracing::info!(
                "no time daemon keeps this machine's clock right, says its kernel; tasks run by the clock as it is"
            );
        }
        time.health_changed(Health::InBounds, rejected);
        time
    }

    /// Looks at the clocks.
    pub(super) fn look(&mut self, clock: &dyn Clock, rejected: &Rejected) -> Now {
        let before = (self.found.health, self.own.bounds.sync, self.verdict.held_for.is_some());
        (self.own, self.verdict) = observe(clock, &mut self.leap);
        self.found = self.cluster.look(&self.own);
        if self.found.health != before.0 {
            self.health_changed(before.0, rejected);
        }
        if before.1 == SyncState::Synchronised && self.own.bounds.sync != SyncState::Synchronised {
            tracing::warn!("nobody keeps this machine's clock right any more; its error bound grows from now on");
        }
        if self.verdict.held_for.is_some() != before.2 {
            match self.verdict.held_for {
                Some(held_for) => tracing::info!(?held_for, "leap second: firing is held"),
                None => tracing::info!("leap second over: firing goes on"),
            }
        }
        if self.own.now.mono >= self.table_at {
            self.table_at = self.own.now.mono.saturating_add(TABLE_PAUSE);
            self.table_aged();
        }
        self.now()
    }

    /// The last look.
    pub(super) fn now(&self) -> Now {
        let fit = match (self.found.health, self.verdict.held_for) {
            (Health::Rejected, _) => Fit::Rejected,
            (_, Some(held_for)) => Fit::Leap(held_for),
            (_, None) => Fit::Fire,
        };
        let due = if planted(Bug::BestGuessFires) { self.found.best } else { self.found.earliest };
        Now { wall: self.found.best, due, mono: self.own.now.mono, fit }
    }

    /// How long from `wall`, read just now, until `at` has certainly come.
    pub(super) fn until(&self, at: Timestamp, wall: Timestamp) -> Duration {
        let elapsed = wall.unix_ms().saturating_sub(self.own.now.wall.unix_ms());
        let earliest = Timestamp::from_unix_ms(self.found.earliest.unix_ms().saturating_add(elapsed));
        at.since(earliest)
    }

    /// Counts what the clock's error costs at most: tasks of these due instants are fired now.
    pub(super) fn count_wait(&mut self, dues: impl Iterator<Item = Timestamp>) {
        let Look { earliest, best, .. } = self.found;
        // What was due longer ago than that did not wait for the clock.
        let uncertain = best.since(earliest);
        self.wait += dues.map(|due| uncertain.saturating_sub(earliest.since(due))).sum::<Duration>();
    }

    /// A measurement of another node's clock.
    pub(super) fn measured(&mut self, node: SessionId, exchange: &Exchange) {
        if let Err(error) = self.cluster.measured(node, exchange) {
            tracing::debug!(%node, %error, "measuring a clock failed");
        }
    }

    /// The other schedulers are these.
    pub(super) fn members(&mut self, others: BTreeSet<SessionId>) {
        self.cluster.set_members(others);
    }

    /// For people.
    pub(super) fn status(&self) -> ClockStatus {
        let Bounds { error, sync, .. } = self.own.bounds;
        let Look { majority, skew_us, peers, health, .. } = self.found;
        ClockStatus {
            health,
            sync,
            error,
            skew_us,
            majority,
            peers: u32::try_from(peers).unwrap_or(u32::MAX),
            leap_mode: self.leap.mode(),
            leap_next: self.leap.next(self.own.now.wall, &self.own.bounds),
            leap_table_expires: Some(self.leap.table().expires()),
            wait: self.wait,
        }
    }

    fn health_changed(&mut self, before: Health, rejected: &Rejected) {
        let Look { skew_us, majority, health, .. } = self.found;
        let error = self.own.bounds.error;
        rejected.0.store(health == Health::Rejected, Ordering::Relaxed);
        match health {
            Health::InBounds if before == Health::InBounds => {}
            Health::InBounds => tracing::info!(skew_us, ?error, "the clock is in bounds again"),
            Health::Alert => tracing::warn!(skew_us, ?error, majority, "the clock is off by more than a second"),
            Health::Rejected => tracing::error!(
                skew_us,
                ?error,
                "the clock is off by more than 5 s; nothing is fired or accepted until it is right again"
            ),
        }
    }

    fn table_aged(&self) {
        let expires = self.leap.table().expires();
        match self.leap.table().age(self.own.now.wall) {
            TableAge::Valid => {}
            TableAge::Expiring(_) => {
                tracing::warn!(%expires, "the list of leap seconds expires soon; update the program")
            }
            TableAge::Expired => tracing::warn!(%expires, "the list of leap seconds has expired; update the program"),
        }
    }
}

fn observe(clock: &dyn Clock, leap: &mut Watch) -> (OwnClock, Verdict) {
    let now = Stamp { wall: clock.now(), mono: clock.monotonic() };
    let bounds = clock.bounds();
    let verdict = leap.observe(now, &bounds);
    (OwnClock { now, bounds, leap_lag: verdict.lag, leap_edge: verdict.edge }, verdict)
}

//! A whole run as data: cluster, settings, clocks, store, work and faults. A plan is one JSON
//! object; printed it is one line, and whoever edits the line runs what it says.
//!
//! Chance only makes plans (see [`crate::scenario`]); it decides nothing that a plan says.

use std::{collections::BTreeMap, fmt};

use escapement_sim::{
    clock::{Claim, ClockEvent, ClockFault, ClockPlan, LeapPlan, NodePlan, TrueLeap},
    store::{Fault, FaultPlan, Switch},
};
use serde::{Deserialize, Serialize};

use crate::{
    earlier::{self, Earlier},
    history::Header,
    nemesis::{Nemesis, Strike},
    workload::Workload,
};

/// Name of the store's node.
pub const STORE: &str = "store";

/// What a run does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// Of the simulator: scheduling of tasks, latency of each message.
    pub seed: u64,
    /// Name of the scenario that it was made for.
    pub scenario: String,
    /// The cluster.
    pub shape: Shape,
    /// Its settings.
    pub knobs: Knobs,
    /// Faults come in the first so many milliseconds; then everything heals.
    pub safety_ms: u64,
    /// True UTC when the run begins, Unix milliseconds.
    pub epoch_unix_ms: i64,
    /// The run goes on from the store of this name, which an earlier version left: see
    /// [`crate::earlier`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub earlier: Option<String>,
    /// The leap second that there is in truth.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leap: Option<TrueLeap>,
    /// Clocks that are not simply right, by node.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub clocks: BTreeMap<String, NodePlan>,
    /// What goes wrong with the store.
    pub store: FaultPlan,
    /// What clients do.
    pub workloads: Vec<Workload>,
    /// What goes wrong with everything else.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub strikes: Vec<Strike>,
}

/// How many of what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shape {
    /// Schedulers, 1 to 5: one serves, the others stand by.
    pub servers: u32,
    /// Workers, 1 to 20.
    pub workers: u32,
    /// Clients, 1 to 10.
    pub clients: u32,
    /// Slots of each worker.
    pub slots: u32,
    /// Workers that report only after their lease has run out, 0 to 3.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub late: u32,
}

fn is_zero(count: &u32) -> bool {
    *count == 0
}

/// Settings of the schedulers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Knobs {
    /// Shards.
    pub shards: u32,
    /// Lease of a worker's session, milliseconds.
    pub session_lease_ms: u64,
    /// Lease of a scheduler, milliseconds.
    pub member_lease_ms: u64,
    /// How far ahead tasks are held in memory, milliseconds.
    pub hot_window_ms: u64,
    /// Entries of one stream in memory.
    pub stream_entries_max: u32,
    /// Tasks in one firing transaction.
    pub fire_batch_max: u32,
    /// Firing transactions in flight.
    pub fires_in_flight_max: u32,
    /// How often everything is read again, milliseconds.
    pub rescan_ms: u64,
    /// Rows of a page of the due index.
    #[serde(default = "page_rows")]
    pub due_page_rows: u32,
    /// Rows of a page of leases, ticks and idempotency keys.
    #[serde(default = "page_rows")]
    pub scan_page_rows: u32,
    /// Tasks of a page that a client lists.
    #[serde(default = "page_rows")]
    pub list_page_size: u32,
    /// Schedulers take the hosts' clocks as smeared.
    #[serde(default)]
    pub smear: bool,
    /// The schedulers' list of leap seconds has the true one.
    #[serde(default)]
    pub leap_listed: bool,
}

/// What every plan had before pages were a knob.
const fn page_rows() -> u32 {
    1000
}

impl Default for Knobs {
    fn default() -> Self {
        Self {
            shards: 8,
            session_lease_ms: 3000,
            member_lease_ms: 2000,
            hot_window_ms: 300_000,
            stream_entries_max: 65_536,
            fire_batch_max: 256,
            fires_in_flight_max: 8,
            rescan_ms: 10_000,
            due_page_rows: page_rows(),
            scan_page_rows: page_rows(),
            list_page_size: page_rows(),
            smear: false,
            leap_listed: false,
        }
    }
}

/// A plan cannot be followed.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// It is no JSON of a plan.
    #[error("not a plan: {0}")]
    Syntax(#[from] serde_json::Error),
    /// Its store cannot.
    #[error("store: {0}")]
    Store(#[from] escapement_sim::store::PlanError),
    /// A value is out of range.
    #[error("{field} is {value}; it has to be {limit}")]
    Value {
        /// Where.
        field: String,
        /// What stands there.
        value: String,
        /// What may.
        limit: String,
    },
}

fn require(holds: bool, field: &str, value: &dyn fmt::Display, limit: &str) -> Result<(), PlanError> {
    match holds {
        true => Ok(()),
        false => Err(PlanError::Value { field: field.to_owned(), value: value.to_string(), limit: limit.to_owned() }),
    }
}

impl Plan {
    /// Reads what [`Plan`]'s `Display` wrote, perhaps edited since.
    ///
    /// # Errors
    /// Names the field that cannot be followed.
    pub fn from_json(text: &str) -> Result<Self, PlanError> {
        let plan: Self = serde_json::from_str(text)?;
        plan.check()?;
        Ok(plan)
    }

    /// Whether it can be followed.
    ///
    /// # Errors
    /// Names the field that cannot.
    pub fn check(&self) -> Result<(), PlanError> {
        let Shape { servers, workers, clients, slots, late } = self.shape;
        require((1..=5).contains(&servers), "shape.servers", &servers, "1 to 5")?;
        require((1..=20).contains(&workers), "shape.workers", &workers, "1 to 20")?;
        require((1..=10).contains(&clients), "shape.clients", &clients, "1 to 10")?;
        require((1..=1000).contains(&slots), "shape.slots", &slots, "1 to 1000")?;
        require(late <= 3, "shape.late", &late, "0 to 3")?;
        require((1000..=86_400_000).contains(&self.safety_ms), "safety_ms", &self.safety_ms, "1 s to a day")?;
        let Knobs { due_page_rows, scan_page_rows, list_page_size, .. } = self.knobs;
        require((1..=1000).contains(&due_page_rows), "knobs.due_page_rows", &due_page_rows, "1 to 1000")?;
        require((1..=1000).contains(&scan_page_rows), "knobs.scan_page_rows", &scan_page_rows, "1 to 1000")?;
        require((1..=1000).contains(&list_page_size), "knobs.list_page_size", &list_page_size, "1 to 1000")?;
        self.store.check()?;
        if let Some(name) = &self.earlier {
            let known = Earlier::names().collect::<Vec<_>>().join(" or ");
            require(self.earlier().is_some(), "earlier", name, &known)?;
        }
        if let Some(earlier::Header { epoch_unix_ms, stopped_ms, .. }) = self.earlier().map(|earlier| &earlier.header) {
            let limit = format!("{epoch_unix_ms}, where the earlier store's time begins");
            require(self.epoch_unix_ms == *epoch_unix_ms, "epoch_unix_ms", &self.epoch_unix_ms, &limit)?;
            let limit = format!("more than the {stopped_ms} that the earlier store took");
            require(self.safety_ms > *stopped_ms, "safety_ms", &self.safety_ms, &limit)?;
        }
        let nodes = self.nodes();
        for name in self.clocks.keys() {
            require(nodes.contains(name), "clocks", name, "of nodes that there are")?;
        }
        for (n, strike) in self.strikes.iter().enumerate() {
            for name in strike.what.nodes() {
                require(nodes.contains(name), &format!("strikes[{n}]"), name, "against nodes that there are")?;
            }
        }
        Ok(())
    }

    /// The store that the run goes on from, if it does.
    pub fn earlier(&self) -> Option<&'static Earlier> {
        self.earlier.as_deref().and_then(Earlier::named)
    }

    /// Names of all nodes: the store, servers, workers, clients, late workers.
    pub fn nodes(&self) -> Vec<String> {
        let mut nodes = vec![STORE.to_owned()];
        nodes.extend(self.servers());
        nodes.extend(self.workers());
        nodes.extend(self.clients());
        nodes.extend(named("late", self.shape.late));
        nodes
    }

    /// Names of the schedulers' nodes.
    pub fn servers(&self) -> Vec<String> {
        named("server", self.shape.servers)
    }

    /// Names of the workers' nodes.
    pub fn workers(&self) -> Vec<String> {
        named("worker", self.shape.workers)
    }

    /// Names of the clients' nodes.
    pub fn clients(&self) -> Vec<String> {
        named("client", self.shape.clients)
    }

    /// Clocks of all nodes, with the faults that strike them.
    pub fn clock_plan(&self) -> ClockPlan {
        let mut nodes = self.clocks.clone();
        for name in self.nodes().iter().filter(|name| *name != STORE) {
            // A machine of today knows its clock to some milliseconds.
            let claim = Claim::Honest { slack_us: 3000 };
            nodes.entry(name.clone()).or_insert_with(|| NodePlan { claim, ..NodePlan::default() });
        }
        for strike in &self.strikes {
            if let Nemesis::Clock { node, fault } = &strike.what
                && let Some(plan) = nodes.get_mut(node)
            {
                plan.events.push(ClockEvent { at_ms: strike.at_ms, fault: *fault });
            }
        }
        ClockPlan { epoch_unix_ms: self.epoch_unix_ms, leap: self.leap, nodes }
    }

    /// How much earlier than due a handler may start, in nanoseconds: what the schedulers'
    /// clocks may be fast by beyond the bounds that they state.
    pub fn early_ns_max(&self) -> u64 {
        let clocks = self.clock_plan();
        let servers = self.servers();
        let beyond = servers.iter().filter_map(|name| clocks.nodes.get(name)).map(|node| self.fast_us_beyond(node));
        beyond.max().unwrap_or(0).saturating_mul(1000)
    }

    fn fast_us_beyond(&self, node: &NodePlan) -> u64 {
        let claims = node.events.iter().filter_map(|event| match event.fault {
            ClockFault::Claim(claim) => Some(claim),
            _ => None,
        });
        let stated = |claim| match claim {
            Claim::Honest { .. } => None,
            Claim::Unsynchronised => Some(0),
            Claim::Fixed { error_us } => Some(u64::from(error_us)),
        };
        // The least that it ever states; nothing to excuse while it is honest.
        let Some(stated) = claims.chain([node.claim]).filter_map(stated).min() else { return 0 };
        let span_us = (self.safety_ms + self.drain_ms_max()) * 1000;
        let drifts = node.events.iter().filter_map(|event| match event.fault {
            ClockFault::Drift { ppm } => Some(ppm),
            _ => None,
        });
        let drift = u64::from(drifts.chain([node.drift_ppm]).map(i32::unsigned_abs).max().unwrap_or(0));
        let steps = node.events.iter().map(|event| match event.fault {
            ClockFault::Step { by_us } => by_us.unsigned_abs(),
            // A clock that stood still and one that went on differ by that much.
            ClockFault::Suspend { for_ms, .. } => for_ms * 1000,
            _ => 0,
        });
        let noise = node.events.iter().map(|event| match event.fault {
            ClockFault::Jitter { us } => u64::from(us),
            _ => 0,
        });
        let daemon = node.daemon.map_or(0, |daemon| u64::from(daemon.accuracy_us));
        let wrong = node.offset_us.unsigned_abs()
            + steps.sum::<u64>()
            + span_us * drift / 1_000_000
            + u64::from(node.jitter_us)
            + noise.max().unwrap_or(0)
            + daemon;
        wrong.saturating_sub(stated)
    }

    /// Whether the rates of all clocks are within bounds, and no process is ever suspended.
    pub fn rates_in_bounds(&self) -> bool {
        let clocks = self.clock_plan();
        let is_fine = |node: &NodePlan| {
            let wild = node.drift_ppm.abs() > DRIFT_PPM_MAX || matches!(node.leap, LeapPlan::Early { .. });
            !wild
                && !node.events.iter().any(|event| match event.fault {
                    ClockFault::Drift { ppm } => ppm.abs() > DRIFT_PPM_MAX,
                    ClockFault::Suspend { .. } => true,
                    _ => false,
                })
        };
        let is_paused = |strike: &Strike| matches!(strike.what, Nemesis::Pause { .. });
        clocks.nodes.values().all(is_fine) && !self.strikes.iter().any(is_paused)
    }

    /// Whether nothing ever goes wrong: all clocks are right, and nobody strikes.
    pub fn is_calm(&self) -> bool {
        self.earlier.is_none()
            && self.shape.late == 0
            && self.strikes.is_empty()
            && self.clocks.is_empty()
            && self.store.faults.is_empty()
            && self.leap.is_none()
    }

    /// After everything has healed, all that is due is over within this many milliseconds: two
    /// leases of each kind, two scans, the longest life of a task, and what the slots need for
    /// all the work, twice.
    pub fn drain_ms_max(&self) -> u64 {
        let Knobs { session_lease_ms, member_lease_ms, rescan_ms, .. } = self.knobs;
        let slots = u64::from(self.shape.workers * self.shape.slots);
        let work: u64 = self.workloads.iter().map(Workload::work_ms).sum();
        let life = self.workloads.iter().map(Workload::life_ms).max().unwrap_or(0);
        let earlier = self.earlier().map(|earlier| &earlier.header);
        let work = work + earlier.map_or(0, |earlier| earlier.work_ms);
        let life = life.max(earlier.map_or(0, |earlier| earlier.life_ms));
        2 * (session_lease_ms + member_lease_ms + rescan_ms) + life + 2 * work / slots.max(1) + SETTLE_MS
    }

    /// The transaction that fires a task is in flight for at most so many milliseconds: each kind of
    /// fault of the store that is planned and each strike can hold it up once, for as long as it
    /// ever does, but for no longer than it is tried.
    pub fn fire_ms_max(&self) -> u64 {
        let store = self.store.faults.iter().map(|(fault, switch)| fire_held_ms(*fault, switch));
        let servers = self.servers();
        let commits = |node: &String| node == STORE || servers.contains(node);
        let strikes = self.strikes.iter().map(|strike| match &strike.what {
            // Of workers and clients alone: those who commit, and their links, are left alone.
            what if !what.nodes().is_empty() && !what.nodes().into_iter().any(commits) => 0,
            Nemesis::Clock { fault: ClockFault::Suspend { for_ms, .. }, .. } => *for_ms,
            // Calls of clients; what becomes of a worker's stream delays no transaction.
            Nemesis::SlowLink { .. }
            | Nemesis::DuplicateCalls { .. }
            | Nemesis::LostAnswers { .. }
            | Nemesis::LoseReports { .. }
            | Nemesis::LoseOrders { .. }
            | Nemesis::RepeatReports { .. }
            | Nemesis::Clock { .. } => 0,
            _ => strike.for_ms + RECONNECT_MS,
        });
        let clocks_differ = !self.clocks.is_empty()
            || self.leap.is_some()
            || self.strikes.iter().any(|strike| matches!(strike.what, Nemesis::Clock { .. }));
        let clocks = if clocks_differ { SKEW_MS_MAX } else { 0 };
        Header::FIRE_MS_MIN + clocks + store.chain(strikes).map(|ms| ms.min(Header::TRIED_MS_MAX)).sum::<u64>()
    }

    /// Strikes, work, wrong clocks and faults of the store: what there is to leave out.
    pub fn events(&self) -> usize {
        let work: usize = self.workloads.iter().map(|workload| workload.items().len()).sum();
        self.strikes.len() + work + self.clocks.len() + self.store.faults.len()
    }
}

/// A clock's rate is within bounds up to here, as the schedulers assume.
const DRIFT_PPM_MAX: i32 = 500;
/// Until connections are made anew, clocks are accepted again, and what was held up comes.
const SETTLE_MS: u64 = 60_000;

/// Backoffs of a transaction that fails now and then.
const BACKOFF_MS: u64 = 2000;
/// Until a client of the store has noticed a silence and is connected again.
const RECONNECT_MS: u64 = 5000;
/// By more than this no scheduler's clock is wrong that it acts by: 5 s, and what it takes to see it.
const SKEW_MS_MAX: u64 = 7000;

/// For how long a fault of the store holds up one firing at most.
fn fire_held_ms(fault: Fault, switch: &Switch) -> u64 {
    let spans = switch.during.iter().map(|span| span.until_ms - span.from_ms);
    match fault {
        Fault::Locked | Fault::Recovery | Fault::StorageUnavailable | Fault::CommitsUnavailable => {
            spans.max().unwrap_or(0) + BACKOFF_MS
        }
        // Firing uses no watches and no tags, accepts no stale versions, and goes before batches.
        Fault::BatchThrottled
        | Fault::BatchStarved
        | Fault::TagThrottled
        | Fault::StaleReadVersion
        | Fault::WatchLate
        | Fault::WatchSpurious
        | Fault::WatchLost
        | Fault::WatchTooMany => 0,
        // The only ones after which backoffs are long.
        Fault::CommitProxyMemory | Fault::ReadVersionProxyMemory => Header::TRIED_MS_MAX,
        _ => switch.hold_ms.1 + BACKOFF_MS,
    }
}

fn named(kind: &str, count: u32) -> Vec<String> {
    (1..=count).map(|n| format!("{kind}-{n}")).collect()
}

/// As one line of JSON, which [`Plan::from_json`] reads.
impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&serde_json::to_string(self).map_err(|_| fmt::Error)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario;

    #[test]
    fn a_firing_is_in_flight_for_as_long_as_the_plan_can_hold_it_up() {
        let check = |change: fn(&mut Plan), expected_ms| {
            let mut plan = scenario::plan("calm", 1).unwrap();
            change(&mut plan);
            assert_eq!(plan.fire_ms_max(), expected_ms, "{plan}");
        };
        fn with(plan: &mut Plan, fault: Fault, switch: Switch) {
            plan.store = plan.store.clone().with(fault, switch);
        }
        fn strike(plan: &mut Plan, for_ms: u64, what: Nemesis) {
            plan.strikes.push(Strike { at_ms: 1000, for_ms, what });
        }
        check(|_| {}, 1000);
        check(|plan| with(plan, Fault::SlowCommit, Switch::chance(1).hold(5, 500)), 3500);
        // After 30 s it is given up, and planned anew.
        check(|plan| with(plan, Fault::StalledCommit, Switch::chance(1).hold(10_000, 50_000)), 32_000);
        check(|plan| with(plan, Fault::Locked, Switch::during([(1000, 1100), (2000, 4000)])), 5000);
        check(|plan| with(plan, Fault::WatchLate, Switch::chance(1).hold(10_000, 50_000)), 1000);
        check(|plan| strike(plan, 3000, Nemesis::PartitionNode { node: STORE.into() }), 9000);
        check(|plan| strike(plan, 3000, Nemesis::LostAnswers { ppm: 1 }), 1000);
        check(|plan| strike(plan, 3000, Nemesis::Kill { node: "server-1".into() }), 9000);
        check(|plan| strike(plan, 3000, Nemesis::Kill { node: "worker-1".into() }), 1000);
        fn halves(left: &[&str]) -> Nemesis {
            Nemesis::PartitionHalves { left: left.iter().map(|node| (*node).to_owned()).collect() }
        }
        check(|plan| strike(plan, 3000, halves(&["worker-1", "client-1"])), 1000);
        check(|plan| strike(plan, 3000, halves(&["worker-1", STORE])), 9000);
        check(
            |plan| strike(plan, 0, Nemesis::Clock { node: "server-1".into(), fault: ClockFault::Step { by_us: 1 } }),
            8000,
        );
        let both = |plan: &mut Plan| {
            with(plan, Fault::SlowCommit, Switch::chance(1).hold(5, 500));
            strike(plan, 3000, Nemesis::RollingRestart);
        };
        check(both, 11_500);
    }
}

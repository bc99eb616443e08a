//! The production trait over a machine's model, and the suspension of its node.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use escapement::clock::{Clock, SharedClock};
use escapement_engine::{Monotonic, Timestamp, cluster_time::Bounds};
use futures_util::{FutureExt as _, future::BoxFuture};
use madsim::{
    runtime::Handle,
    time::{TimeHandle, sleep},
};
use rand::{SeedableRng as _, rngs::StdRng};

use super::{
    model::Model,
    plan::{ClockFault, ClockPlan, NodePlan},
    timeline::Timeline,
};

/// The simulator sleeps no shorter.
const SLEEP_MIN: Duration = Duration::from_millis(1);

/// The clocks of all nodes of a run. Clones are the same ones.
#[derive(Clone, Debug)]
pub struct Clocks(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    plan: ClockPlan,
    seed: u64,
    nodes: Mutex<BTreeMap<String, Arc<NodeClock>>>,
}

impl Clocks {
    /// The clocks of this plan.
    pub fn new(plan: ClockPlan, seed: u64) -> Self {
        Self(Arc::new(Inner { plan, seed, nodes: Mutex::default() }))
    }

    /// What is wrong with them.
    pub fn plan(&self) -> &ClockPlan {
        &self.0.plan
    }

    /// True time.
    pub fn timeline(&self) -> Timeline {
        Timeline::of(&self.0.plan)
    }

    /// The clock of a node.
    pub fn of(&self, name: &str) -> SharedClock {
        let mut nodes = self.0.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        let clock = nodes.entry(name.to_owned()).or_insert_with(|| {
            let right = NodePlan::default();
            let plan = self.0.plan.nodes.get(name).unwrap_or(&right);
            let rng = StdRng::seed_from_u64(fork(self.0.seed, name));
            Arc::new(NodeClock(Arc::new(Mutex::new(Model::new(self.timeline(), self.0.plan.leap, plan, rng)))))
        });
        Arc::clone(clock) as SharedClock
    }

    /// Suspends and resumes a node as its plan says, telling `note` what was done. To be called once for each
    /// node, when it is there.
    pub fn drive(&self, name: &str, note: impl Fn(&'static str) + Send + 'static) {
        let Some(plan) = self.0.plan.nodes.get(name) else { return };
        let suspend = |event: &super::plan::ClockEvent| match event.fault {
            ClockFault::Suspend { for_ms, .. } => Some((event.at_ms, for_ms)),
            _ => None,
        };
        let mut suspended: Vec<(u64, u64)> = plan.events.iter().filter_map(suspend).collect();
        suspended.sort_unstable();
        let name = name.to_owned();
        madsim::task::spawn(async move {
            for (at_ms, for_ms) in suspended {
                sleep(Duration::from_millis(at_ms).saturating_sub(elapsed())).await;
                note("suspended");
                Handle::current().pause(name.as_str());
                sleep(Duration::from_millis(for_ms)).await;
                Handle::current().resume(name.as_str());
                note("resumed");
            }
        });
    }
}

/// A generator's seed for one node: FNV-1a over the name, so that names, not their order, decide.
fn fork(seed: u64, name: &str) -> u64 {
    name.bytes().fold(0xcbf2_9ce4_8422_2325 ^ seed, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
}

/// True time since the run began.
fn elapsed() -> Duration {
    TimeHandle::current().elapsed()
}

fn elapsed_ns() -> i128 {
    elapsed().as_nanos().cast_signed()
}

struct NodeClock(Arc<Mutex<Model>>);

impl fmt::Debug for NodeClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NodeClock")
    }
}

fn with<T>(model: &Mutex<Model>, work: impl FnOnce(&mut Model, i128) -> T) -> T {
    work(&mut model.lock().unwrap_or_else(PoisonError::into_inner), elapsed_ns())
}

impl Clock for NodeClock {
    fn now(&self) -> Timestamp {
        let wall = with(&self.0, Model::wall);
        Timestamp::from_unix_ms(i64::try_from(wall.div_euclid(1_000_000)).unwrap_or(i64::MAX))
    }

    fn monotonic(&self) -> Monotonic {
        Monotonic::from_nanos(u64::try_from(with(&self.0, Model::monotonic)).unwrap_or(0))
    }

    fn bounds(&self) -> Bounds {
        with(&self.0, Model::bounds)
    }

    fn sleep(&self, span: Duration) -> BoxFuture<'static, ()> {
        let model = Arc::clone(&self.0);
        let span = span.as_nanos().min(u128::from(u64::MAX)).cast_signed();
        let target = with(&model, Model::exact) + span;
        async move {
            loop {
                // A timer that fires early does not look at the clock again.
                let (left, early, wait) = with(&model, |model, now| {
                    let (left, early) = (target - model.exact(now), model.timers_early(now));
                    (left, early, model.wait(now, left - early))
                });
                if left <= 0 {
                    return;
                }
                if left <= early {
                    // Even a broken timer takes a moment, or those who wait by it would stop true time.
                    return sleep(SLEEP_MIN).await;
                }
                let (need, next) = wait;
                let nanos = u64::try_from(need.min(next)).unwrap_or(u64::MAX);
                sleep(Duration::from_nanos(nanos).clamp(SLEEP_MIN, Duration::from_secs(86_400))).await;
            }
        }
        .boxed()
    }
}

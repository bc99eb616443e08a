//! One run: a store, clients, kills and cuts; then everything heals, and is judged.

use std::{fmt::Write as _, net::SocketAddr, sync::atomic::Ordering::Relaxed, time::Duration};

use escapement::{rng::Rng, store::StoreError};
use escapement_sim::{
    fork, simulate,
    store::{CommitEntry, Effect, Fault, FaultPlan, Sent, SimStore, Told},
};
use madsim::{
    net::NetSim,
    runtime::{Handle, NodeHandle},
    time::sleep,
};

use super::{
    judge::{contents, judge},
    ops::{Lane, Ledger, Mutant, Outcome},
};

const STORE: &str = "10.0.9.1:7251";
const CLIENTS: usize = 3;
const LANES: usize = 4;
const STEPS: usize = 42;
/// Faults strike for so long.
const RUN_MS: u64 = 40_000;
/// Beyond the longest hold of any fault.
const CALM: Duration = Duration::from_secs(70);

/// What else must have happened, besides faults and effects of the store.
pub(crate) const RARE: [&str; 14] = [
    "landed-after-cut-off",
    "answer-lost-in-network-applied",
    "answer-lost-in-network-not-applied",
    "watch-fired",
    "reader-compared",
    "recovery-skipped-100-million-versions",
    "too-old-in-a-window-of-100-ms",
    "too-old-in-a-window-of-1000-ms",
    "too-old-in-a-window-of-5000-ms",
    "too-old-in-a-window-of-10000-ms",
    "batch-of-at-most-two-was-full",
    "told-1021-by-the-fault-and-applied",
    "told-1021-by-the-store-and-not-applied",
    "stale-version-noticed",
];
/// What the knobs make of a version's life, in the order of [`RARE`].
const WINDOWS_MS: [u64; 4] = [100, 1000, 5000, 10_000];
/// Versions that pass in a second, and that a recovery skips.
const VERSIONS_PER_SECOND: u64 = 1_000_000;
pub(super) const RECOVERY_VERSIONS: u64 = 100_000_000;

pub(crate) fn run(seed: u64, mutant: Mutant) -> String {
    simulate(seed, async move {
        let store = SimStore::new(FaultPlan::everything(seed, RUN_MS)).unwrap();
        let ledger = Ledger::default();
        let mut server = serve(&store, node("store", "10.0.9.1"));
        let mut clients = Vec::new();
        let mut lanes = Vec::new();
        for number in 1..=CLIENTS {
            let name = format!("client-{number}");
            let node = node(&name, &format!("10.0.1.{number}"));
            lanes.push(node.spawn(client(store.clone(), ledger.clone(), name, mutant, seed)));
            clients.push(node);
        }
        disturb(&store, &mut server, &clients, &Rng::from_seed(seed ^ 0xD157)).await;
        for lane in lanes {
            lane.await.unwrap();
        }
        store.heal();
        sleep(CALM).await;
        let judged = node("judge", "10.0.1.100").spawn({
            let store = store.clone();
            async move { contents(&store.database("judge", address())).await }
        });
        let broken = judge(&ledger, store.log(), &judged.await.unwrap());
        report(&store, &ledger, &broken)
    })
}

async fn client(store: SimStore, ledger: Ledger, name: String, mutant: Mutant, seed: u64) {
    let db = store.database(&name, address());
    let lanes = (0..LANES).map(|number| {
        let name = format!("{name}.{number}");
        let rng = fork(seed, &name);
        let lane = Lane { db: db.clone(), ledger: ledger.clone(), mutant, name, rng };
        tokio::spawn(async move {
            for step in 0..STEPS {
                lane.step(step + number).await;
                sleep(Duration::from_millis(u64::from(lane.rng.u32() % 1500))).await;
            }
        })
    });
    for lane in lanes.collect::<Vec<_>>() {
        lane.await.unwrap();
    }
    ledger.note_retries(&db);
}

/// Kills the store's node now and then, and cuts clients off from it, either way or both ways.
async fn disturb(store: &SimStore, server: &mut NodeHandle, clients: &[NodeHandle], rng: &Rng) {
    let pause = |from: u64, to: u64| sleep(Duration::from_millis(from + rng.u64() % (to - from)));
    let net = NetSim::current();
    for _ in 0..4 {
        pause(1000, 4000).await;
        Handle::current().kill(server.id());
        pause(50, 2000).await;
        *server = serve(store, restarted("store"));
        pause(500, 3000).await;
        let (client, there) = (&clients[rng.u32() as usize % clients.len()], rng.u32() % 3);
        let ways = [(client.id(), server.id()), (server.id(), client.id())];
        let cut = ways.iter().enumerate().filter(|(way, _)| *way as u32 != there);
        cut.for_each(|(_, (from, to))| net.clog_link(*from, *to));
        pause(200, 4000).await;
        ways.iter().for_each(|(from, to)| net.unclog_link(*from, *to));
    }
}

fn serve(store: &SimStore, node: NodeHandle) -> NodeHandle {
    let store = store.clone();
    node.spawn(async move { store.serve(address()).await });
    node
}

fn node(name: &str, ip: &str) -> NodeHandle {
    Handle::current().create_node().name(name).ip(ip.parse().unwrap()).build()
}

/// A killed node, with its name and address.
fn restarted(name: &str) -> NodeHandle {
    Handle::current().restart(name);
    Handle::current().get_node(name).unwrap()
}

fn address() -> SocketAddr {
    STORE.parse().unwrap()
}

fn report(store: &SimStore, ledger: &Ledger, broken: &[String]) -> String {
    let mut report = store.log().to_string();
    let outcomes = ledger.outcomes();
    for (key, outcome) in &outcomes {
        writeln!(report, "{key}: {outcome:?}").unwrap();
    }
    let count = |outcome| outcomes.values().filter(|known| **known == outcome).count();
    let names =
        [("acknowledged", Outcome::Acknowledged), ("not-done", Outcome::NotDone), ("unknown", Outcome::Unknown)];
    let outcomes = names.map(|(name, outcome)| (format!("outcome {name}"), count(outcome)));
    let rare = RARE.iter().map(|name| format!("rare {name}")).zip(rare(store, ledger));
    let faults = store.hits().into_iter().map(|(fault, hits)| (format!("fault {fault:?}"), hits as usize));
    let effects = store.effects().into_iter().map(|(effect, seen)| (format!("effect {effect:?}"), seen as usize));
    let retries = ledger.retries().into_iter().map(|(code, count)| (format!("retry {code}"), count as usize));
    for (name, number) in outcomes.into_iter().chain(retries).chain(rare).chain(faults).chain(effects) {
        writeln!(report, "count {name} {number}").unwrap();
    }
    for what in broken {
        writeln!(report, "broken: {what}").unwrap();
    }
    report
}

/// In the order of [`RARE`].
fn rare(store: &SimStore, ledger: &Ledger) -> [usize; 14] {
    let (log, entries) = (store.log(), store.log().entries());
    let unknown = |sent: &&Sent| matches!(sent.told, Some((_, Told::Failed(StoreError::COMMIT_UNKNOWN_RESULT))));
    let told_so = [Some(Fault::UnknownApplied), Some(Fault::Recovery)];
    let unheard = |sent: &&Sent| sent.landed.iter().any(|entry| !told_so.contains(&entries[*entry].fault));
    let applied = |sent: &&Sent| sent.landed.iter().any(|entry| entries[*entry].fault == Some(Fault::UnknownApplied));
    let sent = log.sent();
    let (effects, knobs) = (store.effects(), &store.plan().knobs);
    let seen_if = |is_so: bool, effect| if is_so { effects[&effect] as usize } else { 0 };
    let [window_1, window_2, window_3, window_4] =
        WINDOWS_MS.map(|window_ms| seen_if(knobs.window_ms == window_ms, Effect::TooOldByClock));
    let skipped = |pair: &&[CommitEntry]| {
        // Rounded up by less than a second.
        let passed = (pair[1].at.as_secs() - pair[0].at.as_secs()) * VERSIONS_PER_SECOND;
        pair[1].version.0 - pair[0].version.0 + VERSIONS_PER_SECOND >= RECOVERY_VERSIONS + passed
    };
    [
        log.landed_after_cut_off(),
        sent.iter().filter(unknown).filter(unheard).count(),
        sent.iter().filter(unknown).filter(|sent| sent.arrived.is_none()).count(),
        ledger.watches_fired.load(Relaxed) as usize,
        ledger.reads.load(Relaxed) as usize,
        entries.windows(2).filter(skipped).count(),
        window_1,
        window_2,
        window_3,
        window_4,
        seen_if(knobs.batch_commits_max == 2, Effect::SharedBatch),
        sent.iter().filter(unknown).filter(applied).count(),
        sent.iter().filter(unknown).filter(|sent| sent.arrived.is_some() && sent.landed.is_empty()).count(),
        ledger.stale_reads.load(Relaxed) as usize,
    ]
}

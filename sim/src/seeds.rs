//! One process for each seed: the tokio that lies beneath draws from a counter of the whole
//! process, so only in a process of its own does a seed give the same run again.
//!
//! A test runs itself as a child. The child does the work and prints; the parent judges what
//! all children printed.

use std::{
    process::Command,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use escapement::rng::Rng;
use madsim::runtime::Runtime;

/// Runs `scenario` in the simulator from this seed. One process must do that only once.
pub fn simulate<F: Future>(seed: u64, scenario: F) -> F::Output {
    let mut runtime = Runtime::with_seed_and_config(seed, madsim::Config::default());
    runtime.set_allow_system_thread(true);
    runtime.block_on(scenario)
}

/// A generator of its own for what has this name, whatever else draws from the seed.
pub fn fork(seed: u64, name: &str) -> Rng {
    let named = name.bytes().fold(0, |hash, byte| mixed(hash ^ u64::from(byte)).wrapping_add(1));
    Rng::from_seed(mixed(seed ^ named))
}

/// Spreads close seeds far apart (the finalizer of SplitMix64, Steele et al., 2014).
fn mixed(seed: u64) -> u64 {
    let seed = (seed ^ (seed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let seed = (seed ^ (seed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    seed ^ (seed >> 31)
}

/// Set for the child that runs one seed, and by whoever wants to see one seed again.
pub const SEED: &str = "ESCAPEMENT_SIM_SEED";
/// How many seeds a test runs, instead of the few that it runs by default.
pub const SEEDS: &str = "ESCAPEMENT_SIM_SEEDS";

/// Stands before each line that a child prints for its parent.
const MARK: &str = "| ";

/// The seeds of one test.
#[derive(Clone, Copy, Debug)]
pub struct Seeds {
    test: &'static str,
    count: u64,
}

impl Seeds {
    /// Seeds 1 to `count`, unless the environment says how many, for the test that has this
    /// path inside its binary.
    pub fn new(test: &'static str, count: u64) -> Self {
        let wanted = std::env::var(SEEDS).ok().map(|text| match text.parse() {
            Ok(wanted) if wanted > 0 => wanted,
            _ => panic!("{SEEDS}={text}: it has to be a number of seeds from 1 on"),
        });
        Self { test, count: wanted.unwrap_or(count) }
    }

    /// In the parent: what the child of each seed printed, in the order of the seeds. In the
    /// child: does `work`, prints what it returns, and is done (`None`).
    pub fn each(&self, work: impl FnOnce(u64) -> String) -> Option<Vec<(u64, String)>> {
        if let Ok(seed) = std::env::var(SEED) {
            let seed = seed.parse().unwrap_or_else(|_| panic!("{SEED}={seed}: it has to be a number"));
            print(&work(seed));
            return None;
        }
        let (next, outputs) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
        let seeds: Vec<u64> = (1..=self.count).collect();
        let jobs = std::thread::available_parallelism().map_or(1, usize::from).min(seeds.len());
        std::thread::scope(|scope| {
            for _ in 0..jobs {
                scope.spawn(|| {
                    while let Some(seed) = seeds.get(next.fetch_add(1, Relaxed)) {
                        let output = self.child(*seed);
                        outputs.lock().unwrap_or_else(PoisonError::into_inner).push((*seed, output));
                    }
                });
            }
        });
        let mut outputs = outputs.into_inner().unwrap_or_else(PoisonError::into_inner);
        outputs.sort_unstable_by_key(|(seed, _)| *seed);
        Some(outputs)
    }

    /// Runs one seed in a process of its own; what it printed.
    pub fn child(&self, seed: u64) -> String {
        let program = std::env::current_exe().expect("the test knows its own program");
        let output = Command::new(program)
            .args([self.test, "--exact", "--nocapture", "--test-threads=1"])
            .env(SEED, seed.to_string())
            .output()
            .expect("the test runs itself");
        let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        let test = self.test;
        assert!(output.status.success(), "{test} fails; run it with {SEED}={seed}\n{stdout}\n{stderr}");
        let lines = stdout.lines().filter_map(|line| line.strip_prefix(MARK));
        lines.collect::<Vec<_>>().join("\n")
    }
}

#[expect(clippy::print_stdout, reason = "this is how a child reports")]
fn print(text: &str) {
    println!();
    for line in text.lines() {
        println!("{MARK}{line}");
    }
}

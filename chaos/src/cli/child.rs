//! One run in a process of its own, and what it tells its parent.

use std::{
    collections::BTreeMap,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    path::PathBuf,
    process::{Command, Stdio},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use escapement_chaos::{
    plan::Plan,
    run::{self, run_plan},
    scenario,
};
use serde::{Deserialize, Serialize};

use super::exit;

/// A run that takes longer, in real time, is stuck.
const STUCK: Duration = Duration::from_secs(300);
/// So many violations are told of one run.
const TOLD_MAX: usize = 20;

/// Which run.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Which {
    /// Seed.
    #[arg(default_value_t = 1)]
    pub(super) seed: u64,
    /// Name of the scenario.
    #[arg(long, default_value = "swarm")]
    pub(super) scenario: String,
    /// File with a plan, instead of seed and scenario.
    #[arg(long)]
    pub(super) plan: Option<PathBuf>,
    /// Takes part in the trace: what the processes logged.
    #[arg(long)]
    pub(super) logs: bool,
}

impl Which {
    /// The plan that these name.
    pub(super) fn plan(&self) -> Result<Plan, String> {
        match &self.plan {
            Some(path) => {
                let text = std::fs::read_to_string(path);
                let text = text.map_err(|error| format!("cannot read {}: {error}", path.display()))?;
                Plan::from_json(&text).map_err(|error| format!("{}: {error}", path.display()))
            }
            None => scenario::plan(&self.scenario, self.seed).ok_or_else(|| {
                let names: Vec<_> = scenario::SCENARIOS.iter().map(|scenario| scenario.name).collect();
                format!("there is no scenario `{}`; there are {}", self.scenario, names.join(", "))
            }),
        }
    }
}

/// Something that must never be.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Found {
    pub(super) invariant: String,
    pub(super) subject: String,
    pub(super) what: String,
    pub(super) at_s: f64,
}

/// What a run tells.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Verdict {
    pub(super) scenario: String,
    pub(super) seed: u64,
    /// Exit code of the run.
    pub(super) code: u8,
    pub(super) violations: Vec<Found>,
    #[serde(default)]
    pub(super) panic: Option<String>,
    pub(super) faults: BTreeMap<String, u64>,
    pub(super) rarities: BTreeMap<String, u64>,
    pub(super) simulated_ms: u64,
    pub(super) cpu_ms: u64,
    pub(super) events: usize,
    pub(super) trace_hash: u64,
}

impl Verdict {
    /// What failed, in one word: that by which two failures are alike.
    pub(super) fn kind(&self) -> String {
        match (&self.panic, self.violations.first(), self.code) {
            (Some(_), ..) => "panic".to_owned(),
            (None, Some(first), _) => first.invariant.clone(),
            (None, None, exit::GREEN) => "green".to_owned(),
            (None, None, _) => "died".to_owned(),
        }
    }

    /// For people: what failed, and how to see it again.
    pub(super) fn report(&self) -> String {
        let mut lines = Vec::new();
        if let Some(panic) = &self.panic {
            lines.push(format!("panic: {panic}"));
        }
        for Found { invariant, subject, what, at_s } in self.violations.iter().take(5) {
            lines.push(format!("{invariant} {subject} at {at_s:.6} s: {what}"));
        }
        if self.violations.len() > 5 {
            lines.push(format!("... and {} more", self.violations.len() - 5));
        }
        lines.push(format!("again: cargo chaos replay {} --scenario {}", self.seed, self.scenario));
        lines.join("\n")
    }

    fn died(scenario: &str, seed: u64, why: String) -> Self {
        Self {
            scenario: scenario.to_owned(),
            seed,
            code: exit::DIED,
            violations: Vec::new(),
            panic: Some(why),
            faults: BTreeMap::new(),
            rarities: BTreeMap::new(),
            simulated_ms: 0,
            cpu_ms: 0,
            events: 0,
            trace_hash: 0,
        }
    }
}

pub(super) fn main(args: &Which) -> super::Outcome {
    watch();
    let plan = args.plan()?;
    let logs = args.logs.then(|| run::capture_logs(plan.nodes()));
    let outcome = run_plan(&plan);
    let code = code_of(&outcome);
    let mut hasher = DefaultHasher::new();
    outcome.trace.hash(&mut hasher);
    logs.inspect(|logs| logs.text().hash(&mut hasher));
    let violations = outcome.report.violations.iter().take(TOLD_MAX).map(|violation| Found {
        invariant: violation.invariant.to_owned(),
        subject: violation.subject.clone(),
        what: violation.what.clone(),
        at_s: Duration::from_nanos(violation.at.0).as_secs_f64(),
    });
    let verdict = Verdict {
        scenario: outcome.history.header.scenario.clone(),
        seed: outcome.history.header.seed,
        code,
        violations: violations.collect(),
        panic: outcome.panic.clone(),
        simulated_ms: u64::try_from(outcome.simulated.as_millis()).unwrap_or(u64::MAX),
        cpu_ms: cpu_ms(),
        events: outcome.history.events.len(),
        trace_hash: hasher.finish(),
        faults: outcome.faults,
        rarities: outcome.rarities,
    };
    println!("{}", serde_json::to_string(&verdict).map_err(|error| error.to_string())?);
    Ok(code)
}

/// The exit code of a run.
pub(super) fn code_of(outcome: &run::Outcome) -> u8 {
    match (&outcome.panic, outcome.is_green()) {
        (Some(_), _) => exit::PANIC,
        (None, true) => exit::GREEN,
        (None, false) => exit::VIOLATION,
    }
}

/// Ends the process when it does not end by itself.
pub(super) fn watch() {
    #[expect(clippy::disallowed_methods, reason = "real time: outside of the simulation")]
    std::thread::spawn(|| {
        std::thread::sleep(STUCK);
        eprintln!("the run did not end within {STUCK:?} of real time");
        std::process::exit(exit::DIED.into());
    });
}

/// Processor time of this process; 0 where the system does not tell.
fn cpu_ms() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The second field is a name in parentheses, which may hold spaces; user and system time
    // are the 14th and 15th, in hundredths of a second.
    let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let ticks: u64 = fields.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
    ticks * 10
}

/// Runs one plan in a process of its own.
pub(super) fn spawn(args: &[String], scenario: &str, seed: u64) -> Verdict {
    let Ok(program) = std::env::current_exe() else {
        return Verdict::died(scenario, seed, "this program does not know where it is".to_owned());
    };
    let output = Command::new(program).arg("one").args(args).stdin(Stdio::null()).output();
    let output = match output {
        Ok(output) => output,
        Err(error) => return Verdict::died(scenario, seed, error.to_string()),
    };
    let stdout = String::from_utf8_lossy(&output.stdout);
    let verdict = stdout.lines().last().and_then(|line| serde_json::from_str(line).ok());
    verdict.unwrap_or_else(|| {
        let stderr = String::from_utf8_lossy(&output.stderr);
        let last: Vec<_> = stderr.lines().rev().take(5).collect();
        let told = last.into_iter().rev().collect::<Vec<_>>().join(" / ");
        Verdict::died(scenario, seed, format!("its process ended with {}: {told}", output.status))
    })
}

/// The arguments that name a seed of a scenario.
pub(super) fn seed_args(scenario: &str, seed: u64) -> Vec<String> {
    vec![seed.to_string(), "--scenario".to_owned(), scenario.to_owned()]
}

/// Does `work` for each of `items`, `jobs` at a time, until it says that it is enough.
pub(super) fn each<T: Sync>(items: &[T], jobs: usize, work: impl Fn(&T) -> bool + Sync) {
    let (next, enough) = (AtomicUsize::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        for _ in 0..jobs.max(1) {
            scope.spawn(|| {
                while !enough.load(Relaxed)
                    && let Some(item) = items.get(next.fetch_add(1, Relaxed))
                {
                    if !work(item) {
                        enough.store(true, Relaxed);
                    }
                }
            });
        }
    });
}

/// As many as there are processors.
pub(super) fn jobs(wanted: Option<usize>) -> usize {
    wanted.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from))
}

/// Gathers verdicts from several threads, and shows how far they are.
pub(super) struct Gathered {
    verdicts: Mutex<Vec<Verdict>>,
    total: usize,
    quiet: bool,
}

impl Gathered {
    pub(super) fn new(total: usize, quiet: bool) -> Self {
        Self { verdicts: Mutex::default(), total, quiet }
    }

    pub(super) fn add(&self, verdict: Verdict) {
        let mut verdicts = self.verdicts.lock().unwrap_or_else(PoisonError::into_inner);
        verdicts.push(verdict);
        if !self.quiet && std::io::IsTerminal::is_terminal(&std::io::stderr()) {
            let failed = verdicts.iter().filter(|verdict| verdict.code != exit::GREEN).count();
            eprint!("\r{}/{} seeds, {failed} failed, {} \x1b[K", verdicts.len(), self.total, rate(&verdicts));
            if verdicts.len() == self.total {
                eprintln!();
            }
        }
    }

    /// In the order of the seeds.
    pub(super) fn all(self) -> Vec<Verdict> {
        let mut verdicts = self.verdicts.into_inner().unwrap_or_else(PoisonError::into_inner);
        verdicts.sort_by_key(|verdict| verdict.seed);
        verdicts
    }
}

/// Simulated seconds for each second of a processor.
pub(super) fn rate(verdicts: &[Verdict]) -> String {
    let simulated: u64 = verdicts.iter().map(|verdict| verdict.simulated_ms).sum();
    let cpu: u64 = verdicts.iter().map(|verdict| verdict.cpu_ms).sum();
    format!("{} simulated seconds a CPU second", simulated / cpu.max(1))
}

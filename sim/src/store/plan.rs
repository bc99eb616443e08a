//! Which faults strike, when, and how hard: plain data.

use std::{collections::BTreeMap, fmt, time::Duration};

use serde::{Deserialize, Serialize};

/// Certainty, in millionths.
pub(super) const ALWAYS_PPM: u32 = 1_000_000;
/// Longest that anything is held up, and longest run: a day.
const SPAN_MS_MAX: u64 = 24 * 3600 * 1000;

macro_rules! faults {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// What can go wrong. The numbers are FoundationDB's error codes.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(rename_all = "kebab-case")]
        pub enum Fault {
            $($(#[$doc])* $name,)*
        }

        impl Fault {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];
        }
    };
}

faults! {
    /// A commit without any conflict is refused with 1020: resolvers err on the safe side.
    SpuriousConflict,
    /// 1021 for a commit that was applied.
    UnknownApplied,
    /// 1021 for a commit that was not.
    UnknownNotApplied,
    /// 1039 at once; the commit is judged, and perhaps applied, only after the hold.
    VersionChangedLate,
    /// 1039 for a read or a read version.
    VersionChangedReading,
    /// The commit is applied; its answer comes after the hold, when the client has gone.
    AnswerLostApplied,
    /// The commit is dropped; 1021 comes after the hold, when the client has gone.
    AnswerLostNotApplied,
    /// 1007 for a read although its version is within the window.
    TooOld,
    /// 1009 for a read.
    FutureVersion,
    /// 1037 for a read.
    ProcessBehind,
    /// 1042 for a commit.
    CommitProxyMemory,
    /// 1078 for a read version.
    ReadVersionProxyMemory,
    /// 1051 for a read version at batch priority.
    BatchThrottled,
    /// A read version at batch priority waits for the hold.
    BatchStarved,
    /// 1213 for a read version of a tagged transaction.
    TagThrottled,
    /// 1038 for whoever is not lock-aware. Has spans.
    Locked,
    /// A new generation of the transaction system: what is in flight ends with 1021 or 1020,
    /// some of it applied; nothing is answered during the pause; versions jump. Each span is
    /// one pause; the chance has no meaning.
    Recovery,
    /// A read version of before the hold, where `causal_read_risky` allows it.
    StaleReadVersion,
    /// A watch fires the hold after the change.
    WatchLate,
    /// A watch fires after the hold though nothing changed.
    WatchSpurious,
    /// A watch never fires.
    WatchLost,
    /// 1032.
    WatchTooMany,
    /// A read version waits for the hold.
    SlowReadVersion,
    /// A read waits for the hold.
    SlowRead,
    /// A commit waits for the hold before it is judged.
    SlowCommit,
    /// The same, but for longer than clients wait.
    StalledCommit,
    /// Storage answers no reads until the span is over. Has spans.
    StorageUnavailable,
    /// Commits are not taken up until the span is over. Has spans.
    CommitsUnavailable,
}

impl Fault {
    /// Whether it lasts for spans of time, so that its switch must have them.
    pub const fn has_spans(self) -> bool {
        matches!(self, Self::Locked | Self::Recovery | Self::StorageUnavailable | Self::CommitsUnavailable)
    }
}

/// A stretch of true time since the start of the run, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Span {
    /// Its first instant.
    pub from_ms: u64,
    /// The first instant after it.
    pub until_ms: u64,
}

impl Span {
    pub(super) fn from(self) -> Duration {
        Duration::from_millis(self.from_ms)
    }

    pub(super) fn until(self) -> Duration {
        Duration::from_millis(self.until_ms)
    }

    pub(super) fn contains(self, now: Duration) -> bool {
        (self.from()..self.until()).contains(&now)
    }
}

/// When a fault strikes, and for how long.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Switch {
    /// Chance at each opportunity, in millionths.
    pub chance_ppm: u32,
    /// Only then; empty: always.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub during: Vec<Span>,
    /// How long it holds something up, at least and at most, in milliseconds.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub hold_ms: (u64, u64),
}

fn is_zero(hold: &(u64, u64)) -> bool {
    *hold == (0, 0)
}

impl Switch {
    /// Strikes with this chance at any time.
    pub fn chance(chance_ppm: u32) -> Self {
        Self { chance_ppm, during: Vec::new(), hold_ms: (0, 0) }
    }

    /// Strikes at every opportunity within these spans.
    pub fn during(spans: impl IntoIterator<Item = (u64, u64)>) -> Self {
        let during = spans.into_iter().map(|(from_ms, until_ms)| Span { from_ms, until_ms }).collect();
        Self { chance_ppm: ALWAYS_PPM, during, hold_ms: (0, 0) }
    }

    /// Holds for that many milliseconds, at least and at most.
    #[must_use]
    pub fn hold(self, from_ms: u64, to_ms: u64) -> Self {
        Self { hold_ms: (from_ms, to_ms), ..self }
    }
}

/// How the database behaves when nothing is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Knobs {
    /// How long a version stays readable, in milliseconds: 100 to 10,000.
    pub window_ms: u64,
    /// Watches at once.
    pub watches_max: usize,
    /// A commit waits so long for its batch, at least and at most.
    pub batch_ms: (u64, u64),
    /// Commits in a batch: 1 to 10,000.
    pub batch_commits_max: usize,
    /// Versions that a recovery skips.
    pub recovery_versions: u64,
}

impl Default for Knobs {
    fn default() -> Self {
        Self {
            window_ms: 5000,
            watches_max: 10_000,
            batch_ms: (1, 4),
            batch_commits_max: 100,
            recovery_versions: 100_000_000,
        }
    }
}

/// Everything that goes wrong with the store in one run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FaultPlan {
    /// Where the generators of the faults start from.
    pub seed: u64,
    /// Those that are on.
    pub faults: BTreeMap<Fault, Switch>,
    /// The rest.
    pub knobs: Knobs,
}

/// A plan cannot be followed.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// It is no JSON of a plan.
    #[error("not a fault plan: {0}")]
    Syntax(#[from] serde_json::Error),
    /// A value is out of range.
    #[error("{field}: {value}; it has to be {limit}")]
    Value {
        /// Where.
        field: String,
        /// What stands there.
        value: String,
        /// What may stand there.
        limit: &'static str,
    },
}

impl FaultPlan {
    /// Reads what [`FaultPlan`]'s `Display` wrote, perhaps edited since.
    ///
    /// # Errors
    /// Names the field that cannot be followed.
    pub fn from_json(text: &str) -> Result<Self, PlanError> {
        let plan: Self = serde_json::from_str(text)?;
        plan.check()?;
        Ok(plan)
    }

    /// With this fault on.
    #[must_use]
    pub fn with(mut self, fault: Fault, switch: Switch) -> Self {
        self.faults.insert(fault, switch);
        self
    }

    /// Whether it can be followed.
    ///
    /// # Errors
    /// Names the field that cannot.
    pub fn check(&self) -> Result<(), PlanError> {
        let Knobs { window_ms, batch_ms, batch_commits_max, .. } = &self.knobs;
        require((100..=10_000).contains(window_ms), || "knobs.window_ms".into(), window_ms, "100 to 10,000")?;
        let is_range = batch_ms.0 <= batch_ms.1 && batch_ms.1 <= 1000;
        require(is_range, || "knobs.batch_ms".into(), batch_ms, "a range up to 1000")?;
        let fits = (1..=10_000).contains(batch_commits_max);
        require(fits, || "knobs.batch_commits_max".into(), batch_commits_max, "1 to 10,000")?;
        self.faults.iter().try_for_each(|(fault, switch)| check_switch(*fault, switch))
    }
}

fn check_switch(fault: Fault, switch: &Switch) -> Result<(), PlanError> {
    let Switch { chance_ppm, during, hold_ms } = switch;
    let field = |name: &str| format!("faults.{fault:?}.{name}");
    require(*chance_ppm <= ALWAYS_PPM, || field("chance_ppm"), chance_ppm, "at most 1,000,000")?;
    let is_range = hold_ms.0 <= hold_ms.1 && hold_ms.1 <= SPAN_MS_MAX;
    require(is_range, || field("hold_ms"), hold_ms, "a range up to a day")?;
    let ascends = during.iter().all(|span| span.from_ms < span.until_ms && span.until_ms <= SPAN_MS_MAX)
        && during.is_sorted_by(|a, b| a.until_ms < b.from_ms);
    require(ascends, || field("during"), during, "spans up to a day, one after the other")?;
    let has_end = !fault.has_spans() || !during.is_empty();
    require(has_end, || field("during"), during, "at least one span: this fault lasts for spans")
}

fn require(
    holds: bool,
    field: impl FnOnce() -> String,
    value: &impl fmt::Debug,
    limit: &'static str,
) -> Result<(), PlanError> {
    if holds {
        return Ok(());
    }
    Err(PlanError::Value { field: field(), value: format!("{value:?}"), limit })
}

/// As JSON, which [`FaultPlan::from_json`] reads.
impl fmt::Display for FaultPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = serde_json::to_string_pretty(self).map_err(|_| fmt::Error)?;
        f.write_str(&text)
    }
}

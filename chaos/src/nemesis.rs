//! What goes wrong with network, processes and clocks, as data. What it does to a running
//! world is told in [`crate::run`].

use std::collections::BTreeSet;

use escapement_sim::clock::ClockFault;
use serde::{Deserialize, Serialize};

/// Something goes wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Strike {
    /// When, in true milliseconds since the run began.
    pub at_ms: u64,
    /// For how long; what happens in an instant takes 0.
    #[serde(default)]
    pub for_ms: u64,
    /// What.
    #[serde(flatten)]
    pub what: Nemesis,
}

/// Which messages of a node are held up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Way {
    /// Those to it.
    In,
    /// Those from it.
    Out,
    /// All.
    Both,
}

/// What of a store is newer than the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Newer {
    /// The keyspace: its number stands in the cluster's record.
    Keyspace,
    /// Records: the cluster's own cannot be read.
    Record,
}

/// What goes wrong. Nodes go by name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "do")]
pub enum Nemesis {
    /// These on one side, all others on the other.
    PartitionHalves {
        /// One side.
        left: Vec<String>,
    },
    /// One is cut off from all.
    PartitionNode {
        /// Which.
        node: String,
    },
    /// What these send does not reach those; the other way is open.
    PartitionOneWay {
        /// Senders.
        from: Vec<String>,
        /// Those who hear nothing.
        to: Vec<String>,
    },
    /// Two sides that only meet at one node.
    PartitionBridge {
        /// One side.
        left: Vec<String>,
        /// Sees both; all others are on the other side.
        bridge: String,
    },
    /// Nodes in a ring, each of which reaches the nearer half of all.
    PartitionRing {
        /// In this order.
        ring: Vec<String>,
    },
    /// A region is cut off: its nodes reach each other, and nobody else.
    PartitionRegion {
        /// Its nodes.
        region: Vec<String>,
    },
    /// A node's messages are held up.
    Clog {
        /// Whose.
        node: String,
        /// Which.
        way: Way,
    },
    /// Messages are lost, and sent again later.
    Loss {
        /// How many, in millionths.
        ppm: u32,
    },
    /// All messages take this long.
    SlowNetwork {
        /// At least, milliseconds.
        min_ms: u64,
        /// At most.
        max_ms: u64,
    },
    /// Calls from one node to another, and the answers, take this much longer.
    SlowLink {
        /// Caller.
        from: String,
        /// Who is called.
        to: String,
        /// Milliseconds each way.
        ms: u64,
    },
    /// Calls arrive twice.
    DuplicateCalls {
        /// How many, in millionths.
        ppm: u32,
    },
    /// Calls are carried out, and the answer is lost.
    LostAnswers {
        /// How many, in millionths.
        ppm: u32,
    },
    /// Streams of workers break, and what the worker said last is lost: its server never heard it.
    LoseReports {
        /// At how many of the workers' messages, in millionths.
        ppm: u32,
    },
    /// Streams of workers break, and what the server said last is lost: its worker never heard it.
    LoseOrders {
        /// At how many of the servers' messages, in millionths.
        ppm: u32,
    },
    /// Completions, credits and progress of workers arrive twice.
    RepeatReports {
        /// How many, in millionths.
        ppm: u32,
    },
    /// A process is gone, and is started again after the time.
    Kill {
        /// Which.
        node: String,
    },
    /// The same, as soon as a commit of its is applied and before it can know.
    KillAfterCommit {
        /// Which.
        node: String,
    },
    /// A process does not run; its machine's clock goes on.
    Pause {
        /// Which.
        node: String,
    },
    /// Servers and workers are restarted, one after the other, evenly over the time.
    RollingRestart,
    /// All processes are gone at once, the store's too, and are started again after the time.
    RestartAll,
    /// In the first third of the time servers are restarted, one after the other, as a later version, whose
    /// records have a field that today's does not know; in the last third, as today's again.
    Upgrade,
    /// All servers die, and for the time the store has a format that they do not know.
    NewerFormat {
        /// What of it is newer.
        newer: Newer,
    },
    /// A clock.
    Clock {
        /// Whose.
        node: String,
        /// What happens to it.
        fault: ClockFault,
    },
}

impl Nemesis {
    /// Every kind, by the name under which it is counted.
    pub const KINDS: &'static [&'static str] = &[
        "partition-halves",
        "partition-node",
        "partition-one-way",
        "partition-bridge",
        "partition-ring",
        "partition-region",
        "clog",
        "loss",
        "slow-network",
        "slow-link",
        "duplicate-calls",
        "lost-answers",
        "lose-reports",
        "lose-orders",
        "repeat-reports",
        "kill",
        "kill-after-commit",
        "pause",
        "rolling-restart",
        "restart-all",
        "upgrade",
        "newer-format",
        "clock-step",
        "clock-drift",
        "clock-jitter",
        "clock-claim",
        "clock-suspend",
    ];

    /// The name under which it is counted.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::PartitionHalves { .. } => "partition-halves",
            Self::PartitionNode { .. } => "partition-node",
            Self::PartitionOneWay { .. } => "partition-one-way",
            Self::PartitionBridge { .. } => "partition-bridge",
            Self::PartitionRing { .. } => "partition-ring",
            Self::PartitionRegion { .. } => "partition-region",
            Self::Clog { .. } => "clog",
            Self::Loss { .. } => "loss",
            Self::SlowNetwork { .. } => "slow-network",
            Self::SlowLink { .. } => "slow-link",
            Self::DuplicateCalls { .. } => "duplicate-calls",
            Self::LostAnswers { .. } => "lost-answers",
            Self::LoseReports { .. } => "lose-reports",
            Self::LoseOrders { .. } => "lose-orders",
            Self::RepeatReports { .. } => "repeat-reports",
            Self::Kill { .. } => "kill",
            Self::KillAfterCommit { .. } => "kill-after-commit",
            Self::Pause { .. } => "pause",
            Self::RollingRestart => "rolling-restart",
            Self::RestartAll => "restart-all",
            Self::Upgrade => "upgrade",
            Self::NewerFormat { .. } => "newer-format",
            Self::Clock { fault, .. } => match fault {
                ClockFault::Step { .. } => "clock-step",
                ClockFault::Drift { .. } => "clock-drift",
                ClockFault::Jitter { .. } => "clock-jitter",
                ClockFault::Claim(_) => "clock-claim",
                ClockFault::Suspend { .. } => "clock-suspend",
            },
        }
    }

    /// The nodes that it names.
    pub fn nodes(&self) -> Vec<&String> {
        match self {
            Self::PartitionHalves { left: nodes }
            | Self::PartitionRing { ring: nodes }
            | Self::PartitionRegion { region: nodes } => nodes.iter().collect(),
            Self::PartitionOneWay { from, to } => from.iter().chain(to).collect(),
            Self::PartitionBridge { left, bridge } => left.iter().chain([bridge]).collect(),
            Self::SlowLink { from, to, .. } => vec![from, to],
            Self::PartitionNode { node }
            | Self::Clog { node, .. }
            | Self::Kill { node }
            | Self::KillAfterCommit { node }
            | Self::Pause { node }
            | Self::Clock { node, .. } => vec![node],
            Self::Loss { .. }
            | Self::SlowNetwork { .. }
            | Self::DuplicateCalls { .. }
            | Self::LostAnswers { .. }
            | Self::LoseReports { .. }
            | Self::LoseOrders { .. }
            | Self::RepeatReports { .. }
            | Self::RollingRestart
            | Self::NewerFormat { .. }
            | Self::Upgrade
            | Self::RestartAll => Vec::new(),
        }
    }

    /// The links that it cuts, from sender to receiver, in a cluster of these nodes.
    pub fn cuts(&self, nodes: &[String]) -> BTreeSet<(String, String)> {
        let mut cuts = BTreeSet::new();
        let mut cut = |from: &str, to: &str| {
            if from != to {
                cuts.insert((from.to_owned(), to.to_owned()));
            }
        };
        for (n, from) in nodes.iter().enumerate() {
            for to in &nodes[n + 1..] {
                let (there, back) = (self.is_cut(from, to), self.is_cut(to, from));
                if there {
                    cut(from, to);
                }
                if back {
                    cut(to, from);
                }
            }
        }
        cuts
    }

    fn is_cut(&self, from: &String, to: &String) -> bool {
        match self {
            Self::PartitionHalves { left } | Self::PartitionRegion { region: left } => {
                left.contains(from) != left.contains(to)
            }
            Self::PartitionNode { node } => from == node || to == node,
            Self::PartitionOneWay { from: senders, to: deaf } => senders.contains(from) && deaf.contains(to),
            Self::PartitionBridge { left, bridge } => {
                from != bridge && to != bridge && left.contains(from) != left.contains(to)
            }
            Self::PartitionRing { ring } => {
                let place = |name| ring.iter().position(|node| node == name);
                let (Some(a), Some(b)) = (place(from), place(to)) else { return false };
                let apart = a.abs_diff(b);
                apart.min(ring.len() - apart) > ring.len().div_ceil(4)
            }
            Self::Clog { node, way } => {
                let (inward, outward) = (to == node, from == node);
                match way {
                    Way::In => inward,
                    Way::Out => outward,
                    Way::Both => inward || outward,
                }
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nodes(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn check(nemesis: &Nemesis, expected: &[&str]) {
        let cuts = nemesis.cuts(&nodes(&["a", "b", "c", "d", "e"]));
        let cuts: Vec<_> = cuts.iter().map(|(from, to)| format!("{from}{to}")).collect();
        assert_eq!(cuts, expected, "{nemesis:?}");
    }

    #[test]
    fn partitions_cut_the_links_that_their_names_promise() {
        check(&Nemesis::PartitionNode { node: "a".into() }, &["ab", "ac", "ad", "ae", "ba", "ca", "da", "ea"]);
        check(&Nemesis::PartitionOneWay { from: nodes(&["a"]), to: nodes(&["b", "c"]) }, &["ab", "ac"]);
        check(
            &Nemesis::PartitionHalves { left: nodes(&["a", "b"]) },
            &["ac", "ad", "ae", "bc", "bd", "be", "ca", "cb", "da", "db", "ea", "eb"],
        );
        check(
            &Nemesis::PartitionBridge { left: nodes(&["a"]), bridge: "b".into() },
            &["ac", "ad", "ae", "ca", "da", "ea"],
        );
        check(&Nemesis::Clog { node: "a".into(), way: Way::In }, &["ba", "ca", "da", "ea"]);
        // Of eight in a ring each reaches the four nearest, and itself: a majority.
        let ring = nodes(&["a", "b", "c", "d", "e", "f", "g", "h"]);
        let cuts = Nemesis::PartitionRing { ring: ring.clone() }.cuts(&ring);
        let reached = ring.iter().filter(|to| !cuts.contains(&("a".to_owned(), (*to).clone())));
        assert_eq!(reached.collect::<Vec<_>>(), ["a", "b", "c", "g", "h"]);
    }

    #[test]
    fn every_kind_is_listed_once() {
        let kinds: BTreeSet<_> = Nemesis::KINDS.iter().collect();
        assert_eq!(kinds.len(), Nemesis::KINDS.len());
        assert!(kinds.contains(&Nemesis::RestartAll.kind()));
    }
}

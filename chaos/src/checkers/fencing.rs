//! S3: tokens of one task strictly increase, and no write under an old token is accepted: by
//! commits where they are seen, and by whatever handlers have effects on. Epochs of a shard are
//! such tokens, too: they rise with each owner, and nobody fires a task of a shard that another
//! node has taken over.

use std::collections::BTreeMap;

use super::Findings;
use crate::history::{Change, History, TrueTime, What};

pub(super) fn check(history: &History, findings: &mut Findings) {
    sessions(history, findings);
    effects(history, findings);
    commits(history, findings);
    owners(history, findings);
}

/// Owners are known by the node that committed their lease.
fn owners(history: &History, findings: &mut Findings) {
    let mut owners: BTreeMap<u32, (&str, &str, u64)> = BTreeMap::new();
    for event in &history.events {
        let What::Commit { changes, .. } = &event.what else { continue };
        for change in changes {
            match change {
                Change::ShardLease { shard, owner, epoch } => {
                    let before = owners.insert(*shard, (owner, &event.node, *epoch));
                    // One that goes frees its shards in its own epoch.
                    if before.is_some_and(|(known, _, last)| {
                        *epoch < last || (*epoch == last && !owner.is_empty() && known != owner)
                    }) {
                        findings.add(
                            &format!("shard {shard}"),
                            event.at,
                            format!("epoch {epoch} of {owner} after {before:?}"),
                        );
                    }
                }
                Change::Lease { id, shard, .. } if !event.node.is_empty() => {
                    if let Some((_, node, epoch)) = owners.get(shard).filter(|(_, node, _)| *node != event.node) {
                        let what = format!("fired by {}, while {node} owns shard {shard} in epoch {epoch}", event.node);
                        findings.add(id, event.at, what);
                    }
                }
                _ => {}
            }
        }
    }
}

/// One token is given to one session only.
fn sessions(history: &History, findings: &mut Findings) {
    for (id, task) in history.tasks() {
        let mut given: BTreeMap<u64, &str> = BTreeMap::new();
        for start in &task.starts {
            let first = given.entry(start.token).or_insert(&start.session);
            if *first != start.session {
                let what = format!("token {} was given to {first} and to {}", start.token, start.session);
                findings.add(&id, start.at, what);
            }
        }
    }
}

/// An accepted effect is never under a lower token than one before it.
fn effects(history: &History, findings: &mut Findings) {
    for (id, task) in history.tasks() {
        let mut highest = 0;
        for (at, token, _) in task.effects.iter().filter(|(_, _, accepted)| *accepted) {
            if *token < highest {
                findings.add(&id, *at, format!("an effect under token {token} was accepted after {highest}"));
            }
            highest = highest.max(*token);
        }
    }
}

/// What commits left of one task.
#[derive(Default)]
struct Fence {
    highest: u64,
    lease: Option<u64>,
}

fn commits(history: &History, findings: &mut Findings) {
    let mut fences: BTreeMap<&str, Fence> = BTreeMap::new();
    let mut commits: Vec<_> = history
        .events
        .iter()
        .filter_map(|event| match &event.what {
            What::Commit { version, batch_index, changes, .. } => Some((*version, *batch_index, event.at, changes)),
            _ => None,
        })
        .collect();
    commits.sort_by_key(|(version, batch_index, ..)| (*version, *batch_index));
    for (_, _, at, changes) in commits {
        // Within a commit, what stood before it decides.
        for change in changes {
            judge(&fences, change, at, findings);
        }
        for change in changes {
            match change {
                Change::Lease { id, token, .. } => {
                    let fence = fences.entry(id).or_default();
                    (fence.lease, fence.highest) = (Some(*token), fence.highest.max(*token));
                }
                Change::LeaseCleared { id } => fences.entry(id).or_default().lease = None,
                _ => {}
            }
        }
    }
}

fn judge(fences: &BTreeMap<&str, Fence>, change: &Change, at: TrueTime, findings: &mut Findings) {
    match change {
        Change::Lease { id, token, .. } => {
            let highest = fences.get(id.as_str()).map_or(0, |fence| fence.highest);
            if *token <= highest {
                findings.add(id, at, format!("a lease under token {token} was committed after {highest}"));
            }
        }
        Change::Head { id, token, .. } => {
            let fence = fences.get(id.as_str());
            let (highest, lease) = fence.map_or((0, None), |fence| (fence.highest, fence.lease));
            // A cancellation of a task that waits, and a passed deadline, leave the last token.
            if lease.unwrap_or(highest) != *token {
                let what = format!("an end under token {token} was committed, and {lease:?} stood (highest {highest})");
                findings.add(id, at, what);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use crate::{
        checkers::testing::{Story, check_as, cleared, head, lease},
        history::{Change, EndState},
    };

    #[test]
    fn a_token_belongs_to_one_session() {
        check_as(
            "S3",
            |story| {
                story.start("a", 1, "w1", 0).start("a", 2, "w2", 0);
            },
            0,
        );
        check_as(
            "S3",
            |story| {
                story.start("a", 1, "w1", 0).start("a", 1, "w2", 0);
            },
            1,
        );
    }

    #[test]
    fn effects_are_accepted_under_rising_tokens_only() {
        check_as(
            "S3",
            |story| {
                story.effect("a", 1, true).effect("a", 2, true).effect("a", 1, false);
            },
            0,
        );
        check_as(
            "S3",
            |story| {
                story.effect("a", 2, true).effect("a", 1, true);
            },
            1,
        );
    }

    #[test]
    fn only_the_owner_of_a_shard_fires_and_epochs_rise() {
        let owns = |owner: &str, epoch| vec![Change::ShardLease { shard: 0, owner: owner.to_owned(), epoch }];
        let fired_by = |node: &'static str| {
            move |story: &mut Story| {
                story.commit_of("s1", owns("one", 1)).commit_of("s1", vec![lease("a", 1)]);
                story.commit_of("s2", owns("two", 2)).commit_of(node, vec![lease("b", 1)]);
            }
        };
        check_as("S3", fired_by("s2"), 0);
        check_as("S3", fired_by("s1"), 1);
        let epochs = |second: &'static str, epoch| {
            move |story: &mut Story| {
                story.commit_of("s1", owns("one", 1)).commit_of("s2", owns(second, epoch));
            }
        };
        check_as("S3", epochs("two", 2), 0);
        check_as("S3", epochs("two", 1), 1);
        check_as("S3", epochs("", 1), 0);
    }

    #[test]
    fn commits_raise_tokens_and_end_only_what_stands() {
        let end = |token| vec![cleared("a"), head("a", EndState::Succeeded, 1, token)];
        let run = |lease_tokens: [u64; 2], ends: [u64; 2]| {
            move |story: &mut Story| {
                for (token, ended) in lease_tokens.into_iter().zip(ends) {
                    story.commit(vec![lease("a", token)]).commit(end(ended));
                }
            }
        };
        check_as("S3", run([1, 2], [1, 2]), 0);
        check_as("S3", run([1, 1], [1, 1]), 1);
        check_as("S3", run([2, 1], [2, 1]), 1);
        check_as("S3", run([1, 2], [1, 1]), 1);
    }
}

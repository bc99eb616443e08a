//! Compares what clients were told with the log of commits and with what is in the store.

use std::collections::BTreeMap;

use escapement::store::{Database, TransactionKind, engine::Mutation};
use escapement_sim::store::CommitLog;

use super::ops::{FAMILIES, Ledger, Outcome, keys, number};

/// What the store holds in the end: each counter, and the keys beside it.
pub(crate) type Contents = BTreeMap<&'static str, (u64, Vec<String>)>;

pub(crate) async fn contents(db: &Database) -> Contents {
    let kind = TransactionKind::idempotent("final");
    let read = db.run(kind, |tx, _| async move {
        let mut contents = Contents::new();
        for (counter, prefix) in FAMILIES {
            let names = keys(&tx, prefix).await?.into_iter().map(|key| String::from_utf8(key.to_vec()).unwrap());
            contents.insert(counter, (number(tx.get(counter).await?), names.collect()));
        }
        Ok::<_, escapement::store::Abort<String>>(contents)
    });
    read.await.expect("a healed store answers").value
}

/// How often each operation's commit is in the log.
fn landings(log: &CommitLog) -> BTreeMap<String, usize> {
    let mut landings = BTreeMap::new();
    for entry in log.entries() {
        for mutation in &entry.request.mutations {
            let Mutation::Set(key, _) = mutation else { continue };
            let key = String::from_utf8(key.to_vec()).unwrap();
            if FAMILIES.iter().any(|(_, prefix)| key.starts_with(prefix)) {
                *landings.entry(key).or_default() += 1;
            }
        }
    }
    landings
}

/// Everything that is not as it must be.
pub(crate) fn judge(ledger: &Ledger, log: &CommitLog, contents: &Contents) -> Vec<String> {
    let (outcomes, landings) = (ledger.outcomes(), landings(log));
    let mut broken = ledger.broken();
    broken.extend(log.broken_promises());
    for (key, landed) in &landings {
        if *landed > 1 {
            broken.push(format!("{key} happened twice ({landed} times)"));
        }
        if !outcomes.contains_key(key) {
            broken.push(format!("{key} was made by nobody"));
        }
    }
    for (key, outcome) in &outcomes {
        let landed = landings.contains_key(key);
        match outcome {
            Outcome::Acknowledged if !landed => broken.push(format!("{key} was acknowledged and is not in the log")),
            Outcome::NotDone if landed => broken.push(format!("{key} failed for certain and is in the log")),
            _ => {}
        }
    }
    for (counter, prefix) in FAMILIES {
        let (value, keys) = &contents[counter];
        let landed = landings.iter().filter(|(key, _)| key.starts_with(prefix));
        let (names, times): (Vec<_>, Vec<_>) = landed.map(|(key, times)| (key, *times)).unzip();
        if !names.iter().copied().eq(keys) {
            broken.push(format!("{prefix}: the store has {keys:?}, the log {names:?}"));
        }
        if *value != times.iter().sum::<usize>() as u64 {
            broken.push(format!("{counter} is {value}, the log has {} increments", times.iter().sum::<usize>()));
        }
    }
    broken
}

//! Stores that an earlier version left: rows as its program wrote them, and what had happened
//! until it was stopped. A run that goes on from one starts today's program on these rows, and
//! the checkers judge both lives as one history.
//!
//! A file of `chaos/fixtures` is one such store: JSON lines, the first a [`Header`], then rows, then
//! events. It is made once, by the version that it is of (`escapement-chaos store`), and never
//! again: what it shows is that its bytes are still read.

use std::{fmt::Write as _, sync::OnceLock};

use bytes::Bytes;
use escapement::records::{FORMAT, KEYSPACE_FORMAT};
use serde::{Deserialize, Serialize};

use crate::{
    history::{Event, ScheduleAction, What},
    plan::Plan,
    workload::Workload,
};

/// Stores that a plan can go on from, by name: one of each format that is still served, at least.
const STORES: &[(&str, &str)] = &[("format-1", include_str!("../fixtures/store-format-1.jsonl"))];

/// What is known of the store as a whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    /// Format of its records.
    pub record_format: u8,
    /// Format of its keyspace.
    pub keyspace_format: u32,
    /// Version of the program that wrote it.
    pub written_by: String,
    /// True UTC when its life began, Unix milliseconds.
    pub epoch_unix_ms: i64,
    /// All of its processes were stopped at once after so many milliseconds of true time.
    pub stopped_ms: u64,
    /// Milliseconds of all its handlers together, about.
    pub work_ms: u64,
    /// The longest that one of its tasks may take from its instant to its end.
    pub life_ms: u64,
}

/// A row, in hexadecimal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    key: String,
    value: String,
}

/// A store, and how it came to be.
#[derive(Clone, Debug, PartialEq)]
pub struct Earlier {
    /// Of the whole.
    pub header: Header,
    /// Keys and values, in the order of keys.
    pub rows: Vec<(Bytes, Bytes)>,
    /// What had happened, in the order of true time.
    pub events: Vec<Event>,
}

impl Earlier {
    /// The store of this name; `None` if there is none.
    ///
    /// # Panics
    /// When its file is not what it should be.
    pub fn named(name: &str) -> Option<&'static Self> {
        static PARSED: OnceLock<Vec<(&str, Earlier)>> = OnceLock::new();
        let parse = |(name, text): &(&'static str, &str)| {
            (*name, Self::parse(text).unwrap_or_else(|error| panic!("fixture {name}: {error}")))
        };
        let parsed = PARSED.get_or_init(|| STORES.iter().map(parse).collect());
        parsed.iter().find(|(known, _)| *known == name).map(|(_, store)| store)
    }

    /// Names of all of them.
    pub fn names() -> impl Iterator<Item = &'static str> {
        STORES.iter().map(|(name, _)| *name)
    }

    /// The store that a run of `plan` had when it was stopped, written by today's program.
    pub(crate) fn of_today(plan: &Plan, stopped_ms: u64, rows: Vec<(Bytes, Bytes)>, events: Vec<Event>) -> Self {
        let header = Header {
            record_format: FORMAT,
            keyspace_format: KEYSPACE_FORMAT,
            written_by: env!("CARGO_PKG_VERSION").to_owned(),
            epoch_unix_ms: plan.epoch_unix_ms,
            stopped_ms,
            work_ms: plan.workloads.iter().map(Workload::work_ms).sum(),
            life_ms: plan.workloads.iter().map(Workload::life_ms).max().unwrap_or(0),
        };
        Self { header, rows, events }
    }

    /// Ids of the schedules that its clients made.
    pub fn schedules(&self) -> impl Iterator<Item = &str> {
        self.events.iter().filter_map(|event| match &event.what {
            What::ScheduleCall { schedule, action: ScheduleAction::Create { .. }, .. } => Some(schedule.as_str()),
            _ => None,
        })
    }

    /// The number of the last call.
    pub fn last_op(&self) -> u64 {
        let op = |event: &Event| match event.what {
            What::Submit { op, .. } | What::Cancel { op, .. } | What::ScheduleCall { op, .. } => op,
            _ => 0,
        };
        self.events.iter().map(op).max().unwrap_or(0)
    }

    /// As the text of a fixture.
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        let mut line = |line: serde_json::Result<String>| {
            let _ = writeln!(text, "{}", line.expect("plain data becomes JSON"));
        };
        line(serde_json::to_string(&self.header));
        for (key, value) in &self.rows {
            line(serde_json::to_string(&Row { key: hex(key), value: hex(value) }));
        }
        self.events.iter().for_each(|event| line(serde_json::to_string(event)));
        text
    }

    fn parse(text: &str) -> Result<Self, String> {
        let mut lines = text.lines().enumerate();
        let failed = |number: usize, error: &dyn std::fmt::Display| format!("line {}: {error}", number + 1);
        let (_, first) = lines.next().ok_or("it is empty")?;
        let header = serde_json::from_str(first).map_err(|error| failed(0, &error))?;
        let (mut rows, mut events) = (Vec::new(), Vec::new());
        for (number, line) in lines {
            if line.starts_with("{\"key\"") {
                let row: Row = serde_json::from_str(line).map_err(|error| failed(number, &error))?;
                let bytes = |text: &str| unhex(text).ok_or_else(|| failed(number, &"not hexadecimal"));
                rows.push((bytes(&row.key)?, bytes(&row.value)?));
            } else {
                events.push(serde_json::from_str(line).map_err(|error| failed(number, &error))?);
            }
        }
        Ok(Self { header, rows, events })
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Option<Bytes> {
    let digits: Option<Vec<u8>> =
        text.chars().map(|digit| digit.to_digit(16).and_then(|digit| u8::try_from(digit).ok())).collect();
    let digits = digits.filter(|digits| digits.len().is_multiple_of(2))?;
    Some(digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use escapement::keyspace::{Key, Kind};

    use super::*;

    #[test]
    fn a_store_of_each_format_has_rows_of_every_kind_and_reads_back() {
        for name in Earlier::names() {
            let store = Earlier::named(name).unwrap();
            assert_eq!(Earlier::parse(&store.to_text()).unwrap(), *store);
            let kinds: BTreeSet<Kind> = store.rows.iter().map(|(key, _)| Key::parse(key).unwrap().kind()).collect();
            // No handler of the workloads has a result.
            let expected: BTreeSet<Kind> = Kind::ALL.iter().copied().filter(|kind| *kind != Kind::Result).collect();
            assert_eq!(kinds, expected, "{name}");
            let record = |(key, value): &(Bytes, Bytes)| match Key::parse(key).unwrap().kind().value() {
                escapement::keyspace::Value::Record(_) => value[0] == store.header.record_format,
                escapement::keyspace::Value::Raw(_) => true,
            };
            assert!(store.rows.iter().all(record), "{name}");
        }
    }

    #[test]
    fn a_damaged_store_is_refused_by_its_line() {
        let text = Earlier::named("format-1").unwrap().to_text();
        let first = text.lines().next().unwrap();
        let check = |line: &str, expected: &str| {
            let error = Earlier::parse(&format!("{first}\n{line}\n")).unwrap_err();
            assert!(error.contains(expected), "{error}");
        };
        check(r#"{"key":"1","value":""}"#, "line 2: not hexadecimal");
        check(r#"{"key":"0g","value":""}"#, "line 2: not hexadecimal");
        check("{}", "line 2");
        assert!(Earlier::parse("").is_err());
    }
}

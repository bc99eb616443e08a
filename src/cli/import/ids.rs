//! Ids of imported schedules.
//!
//! An id is made of the file's name and of what the job is: times, zone, command and all that
//! the command gets. So the same job of the same file always has the same id, wherever it
//! stands in the file, and importing the file again finds it there; a job that was changed is
//! another schedule. Two equal lines of one file are two jobs, as cron sees it: the second
//! gets a number.

use std::{collections::BTreeMap, path::Path};

use escapement_engine::{
    calendar::{Zone, crontab::CronJob},
    limits::SCHEDULE_ID_CHARS_MAX,
};
use xxhash_rust::xxh3::xxh3_64;

/// Characters of the file's name that an id keeps.
const STEM_CHARS_MAX: usize = 64;

/// Gives ids to the jobs of one file, in their order.
#[derive(Debug)]
pub(super) struct Ids {
    prefix: String,
    seen: BTreeMap<String, u32>,
}

impl Ids {
    /// `prefix` replaces the file's name.
    pub(super) fn new(path: &str, prefix: Option<&str>) -> Self {
        let stem = match (prefix, path) {
            (Some(prefix), _) => prefix.to_owned(),
            (None, "-") => "stdin".to_owned(),
            (None, path) => Path::new(path).file_name().unwrap_or_default().to_string_lossy().into_owned(),
        };
        Self { prefix: clean(&stem), seen: BTreeMap::new() }
    }

    pub(super) fn next(&mut self, job: &CronJob, zone: &Zone) -> String {
        let id = format!("{}-{:016x}", self.prefix, content_hash(job, zone));
        let count = self.seen.entry(id.clone()).or_default();
        *count += 1;
        let id = if *count == 1 { id } else { format!("{id}-{count}") };
        debug_assert!(id.len() <= SCHEDULE_ID_CHARS_MAX, "a stem of 64 and a hash of 16 fit");
        id
    }
}

/// Characters that an id cannot have become `-`; it starts with a letter or digit.
fn clean(stem: &str) -> String {
    let allowed = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-') { c } else { '-' };
    let clean: String = stem.chars().map(allowed).collect();
    let clean = clean.trim_start_matches(['.', '_', '-']);
    let clean: String = clean.chars().take(STEM_CHARS_MAX).collect();
    if clean.is_empty() { "crontab".to_owned() } else { clean }
}

/// XXH3 is frozen: the hash is the same in every version of this program.
fn content_hash(job: &CronJob, zone: &Zone) -> u64 {
    let mut text = String::new();
    let mut add = |part: &str| {
        // Length first: no two lists of parts give the same text.
        text.push_str(&part.len().to_string());
        text.push(':');
        text.push_str(part);
    };
    add(job.expression.as_str());
    add(zone.name());
    add(job.user.as_deref().unwrap_or_default());
    job.argv().iter().for_each(|word| add(word));
    // A command that reads nothing differs from one that reads an empty text.
    add(if job.stdin.is_some() { "reads" } else { "" });
    add(job.stdin.as_deref().unwrap_or_default());
    for (name, value) in &job.environment {
        add(name);
        add(value);
    }
    xxh3_64(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use escapement_engine::calendar::crontab::{Flavour, parse};

    use super::*;

    fn ids(path: &str, text: &str) -> Vec<String> {
        let mut ids = Ids::new(path, None);
        parse(text, Flavour::User).jobs.iter().map(|job| ids.next(job, &Zone::utc())).collect()
    }

    #[test]
    fn an_id_depends_on_the_file_name_and_the_job_but_not_on_its_line() {
        let one = ids("/etc/jobs", "0 1 * * * a\n0 2 * * * b\n");
        let moved = ids("elsewhere/jobs", "# a comment\n\n0 2 * * * b\n0 1 * * * a\n");
        assert_eq!(one, [moved[1].as_str(), moved[0].as_str()]);
        let changed = ids("jobs", "0 1 * * * c\n0 3 * * * b\nX=1\n0 1 * * * a\n");
        assert!(changed.iter().all(|id| !one.contains(id)), "{changed:?}");
        assert!(ids("other", "0 1 * * * a\n")[0] != one[0]);
        assert!(one[0].starts_with("jobs-"), "{one:?}");
    }

    #[test]
    fn equal_lines_are_two_jobs() {
        let twice = ids("jobs", "0 1 * * * a\n0 1 * * * a\n");
        assert_eq!(twice[1], format!("{}-2", twice[0]));
    }

    #[test]
    fn the_hash_never_changes() {
        // Changing it would import every job a second time.
        insta::assert_snapshot!(ids("jobs", "MAILTO=x\n30 2 * * 1-5 echo a%b\n").join("\n"), @"jobs-56ee0e6f938ab603");
    }

    #[test]
    fn every_file_name_becomes_a_valid_id() {
        let check = |stem: &str, expect: &str| assert_eq!(clean(stem), expect);
        check("e2scrub_all", "e2scrub_all");
        check(".placeholder", "placeholder");
        check("my jobs.txt", "my-jobs.txt");
        check("\u{e4}", "crontab");
        check("...", "crontab");
        check(&"x".repeat(300), &"x".repeat(64));
    }
}

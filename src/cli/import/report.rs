//! What an import did, line by line.

use std::{fmt::Write as _, time::Duration};

use escapement_engine::{
    Timestamp,
    calendar::{
        Zone,
        crontab::{CronJob, Flavour, Note, Severity},
    },
};
use serde::Serialize;

use super::crontab::Detected;
use crate::cli::{
    output::{Ui, shown},
    values,
};

/// What became of a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It is a schedule now.
    Created,
    /// It was one before.
    Unchanged,
    /// The server does not take it; why.
    Refused(String),
    /// A dry run: the instants that would come next.
    Planned(Vec<Timestamp>),
}

#[derive(Serialize)]
pub(super) struct JobReport {
    line: usize,
    schedule_id: String,
    cron: String,
    time_zone: String,
    command: String,
    /// "created", "unchanged", "refused" or "planned".
    outcome: &'static str,
    refused_because: Option<String>,
    /// In a dry run.
    next: Option<Vec<String>>,
    #[serde(skip)]
    instants: Vec<Timestamp>,
}

impl JobReport {
    pub(super) fn new(job: &CronJob, zone: &Zone, schedule_id: String, outcome: Outcome) -> Self {
        let (word, refused_because, instants) = match outcome {
            Outcome::Created => ("created", None, None),
            Outcome::Unchanged => ("unchanged", None, None),
            Outcome::Refused(why) => ("refused", Some(why), None),
            Outcome::Planned(instants) => ("planned", None, Some(instants)),
        };
        Self {
            line: job.line,
            schedule_id,
            cron: job.expression.to_string(),
            time_zone: zone.name().to_owned(),
            command: job.command.clone(),
            outcome: word,
            refused_because,
            next: instants.as_ref().map(|instants| instants.iter().map(Timestamp::to_string).collect()),
            instants: instants.unwrap_or_default(),
        }
    }
}

/// What is to be said about a line.
#[derive(Clone, Debug)]
pub(super) struct NoteReport {
    pub(super) line: usize,
    pub(super) severity: Severity,
    pub(super) text: String,
    pub(super) reason: String,
}

impl NoteReport {
    pub(super) fn of(note: &Note) -> Self {
        Self { line: note.line, severity: note.severity, text: note.text.clone(), reason: note.reason.to_string() }
    }
}

#[derive(Serialize)]
struct NoteView<'a> {
    line: usize,
    text: &'a str,
    reason: &'a str,
}

impl<'a> NoteView<'a> {
    fn of(note: &'a NoteReport) -> Self {
        Self { line: note.line, text: &note.text, reason: &note.reason }
    }
}

pub(super) struct Report {
    file: String,
    format: &'static str,
    detected_by: &'static str,
    notes: Vec<NoteReport>,
    dry_run: bool,
    /// Longest time that a run may take.
    timeout: Duration,
    /// Of jobs without a zone of their own: which, and why.
    pub(super) zone: String,
    pub(super) jobs: Vec<JobReport>,
    /// Jobs that were not reached, since the import ended before.
    pub(super) untried: usize,
}

#[derive(Serialize)]
struct ReportView<'a> {
    file: &'a str,
    format: &'a str,
    dry_run: bool,
    timeout_ms: u64,
    jobs: &'a [JobReport],
    untried: usize,
    changed: Vec<NoteView<'a>>,
    skipped: Vec<NoteView<'a>>,
}

impl Report {
    pub(super) fn new(
        file: &str,
        detected: &Detected,
        notes: Vec<NoteReport>,
        dry_run: bool,
        timeout: Duration,
    ) -> Self {
        let format = match detected.flavour {
            Flavour::System => "system",
            Flavour::User => "user",
        };
        Self {
            file: file.to_owned(),
            format,
            detected_by: detected.because,
            notes,
            dry_run,
            timeout,
            zone: String::new(),
            jobs: Vec::new(),
            untried: 0,
        }
    }

    /// Everything was carried over, if perhaps changed.
    pub(super) fn is_complete(&self) -> bool {
        self.with(Severity::Skipped).next().is_none() && self.jobs.iter().all(|job| job.refused_because.is_none())
    }

    fn with(&self, severity: Severity) -> impl Iterator<Item = &NoteReport> {
        self.notes.iter().filter(move |note| note.severity == severity)
    }

    /// What is to be said of several lines is said once, in the place of the first.
    fn by_reason(&self, severity: Severity) -> Vec<(&str, Vec<&NoteReport>)> {
        let mut groups: Vec<(&str, Vec<&NoteReport>)> = Vec::new();
        for note in self.with(severity) {
            match groups.iter_mut().find(|(reason, _)| *reason == note.reason) {
                Some((_, notes)) => notes.push(note),
                None => groups.push((&note.reason, vec![note])),
            }
        }
        groups
    }

    pub(super) fn print(&self, ui: &Ui) {
        if ui.is_json() {
            ui.print_json(&ReportView {
                file: &self.file,
                format: self.format,
                dry_run: self.dry_run,
                timeout_ms: u64::try_from(self.timeout.as_millis()).unwrap_or(u64::MAX),
                jobs: &self.jobs,
                untried: self.untried,
                changed: self.with(Severity::Changed).map(NoteView::of).collect(),
                skipped: self.with(Severity::Skipped).map(NoteView::of).collect(),
            });
        } else {
            ui.print(self.describe().trim_end());
        }
    }

    fn describe(&self) -> String {
        let mut out = format!("{}: {} format, by {}\n", shown(&self.file), self.format, self.detected_by);
        for job in &self.jobs {
            job.describe(&mut out);
        }
        let sections = [
            (Severity::Changed, "changed: carried over, but not quite as cron has it"),
            (Severity::Skipped, "skipped: not carried over"),
        ];
        for (severity, title) in sections {
            if self.with(severity).next().is_some() {
                add(&mut out, format_args!("\n{title}\n"));
            }
            for (reason, notes) in self.by_reason(severity) {
                let lines: Vec<_> = notes.iter().map(|note| note.line.to_string()).collect();
                let plural = if notes.len() == 1 { "" } else { "s" };
                add(&mut out, format_args!("  line{plural} {}: {}\n", lines.join(", "), shown(reason)));
                for note in notes.iter().filter(|_| severity == Severity::Skipped) {
                    add(&mut out, format_args!("    {}\n", shown(&note.text)));
                }
            }
        }
        add(&mut out, format_args!("\n{}", self.summary()));
        out
    }

    fn summary(&self) -> String {
        let count = |outcome: &str| self.jobs.iter().filter(|job| job.outcome == outcome).count();
        let skipped = self.with(Severity::Skipped).count();
        let changed = self.with(Severity::Changed).count();
        let timeout = values::show_duration(self.timeout);
        let notes = format!(
            "{}, {skipped} skipped\na run of a job is stopped after {timeout}; --timeout says otherwise",
            counted(changed, "note on changes", "notes on changes")
        );
        if self.dry_run {
            let refused = match count("refused") {
                0 => String::new(),
                refused => format!(", {refused} would be refused"),
            };
            let planned = counted(count("planned"), "job", "jobs");
            let zone = &self.zone;
            return format!("dry run: {planned} would be imported{refused}; {notes}\n{zone}");
        }
        let refused = match count("refused") {
            0 => String::new(),
            refused => format!("{refused} refused by the server, "),
        };
        let untried = match self.untried {
            0 => String::new(),
            untried => format!("{untried} not tried, "),
        };
        format!("{} created, {} there before, {refused}{untried}{notes}", count("created"), count("unchanged"))
    }
}

impl JobReport {
    fn describe(&self, out: &mut String) {
        let Self { line, schedule_id, cron, time_zone, command, outcome, .. } = self;
        add(
            out,
            format_args!("\nline {line}: {cron} ({time_zone})  {}\n  {outcome} as {schedule_id}\n", shown(command)),
        );
        if let Some(why) = &self.refused_because {
            add(out, format_args!("  because {}\n", shown(why)));
        }
        for at in &self.instants {
            let local = values::show_local(*at, time_zone).unwrap_or_default();
            add(out, format_args!("  {at}  {local}\n"));
        }
    }
}

fn counted(count: usize, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

fn add(out: &mut String, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).expect("writing to a String never fails");
}

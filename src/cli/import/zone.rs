//! The zone of the jobs for which the crontab names none: cron runs them in local time.

use escapement_engine::calendar::{
    Zone,
    crontab::{Crontab, Severity},
};
use jiff::tz::TimeZone;

use super::report::NoteReport;

/// Who chose it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    Flag,
    Machine,
    /// Nobody: the machine's zone has no name that a schedule could bear.
    Nameless,
}

/// The zone of jobs without CRON_TZ.
#[derive(Clone, Debug)]
pub(super) struct DefaultZone {
    pub(super) zone: Zone,
    origin: Origin,
}

impl DefaultZone {
    /// That of the flag, or else this machine's: the variable TZ, or else the system's setting.
    pub(super) fn find(flag: Option<&Zone>) -> Self {
        if let Some(zone) = flag {
            return Self { zone: zone.clone(), origin: Origin::Flag };
        }
        let machine = TimeZone::try_system().ok();
        match machine.and_then(|tz| Zone::new(tz.iana_name()?).ok()) {
            Some(zone) => Self { zone, origin: Origin::Machine },
            None => Self { zone: Zone::utc(), origin: Origin::Nameless },
        }
    }

    /// The jobs that may have moved.
    pub(super) fn notes(&self, crontab: &Crontab) -> Vec<NoteReport> {
        let moved = crontab.jobs.iter().filter(|job| job.zone.is_none() && self.origin == Origin::Nameless);
        moved
            .map(|job| NoteReport {
                line: job.line,
                severity: Severity::Changed,
                text: format!("{} {}", job.expression, job.command),
                reason: "this machine's time zone has no IANA name: UTC is taken in its place; --zone names another"
                    .to_owned(),
            })
            .collect()
    }

    /// On one line.
    pub(super) fn describe(&self) -> String {
        let why = match self.origin {
            Origin::Flag => "as --zone says",
            Origin::Machine => "this machine's time zone; --zone says otherwise",
            Origin::Nameless => "since this machine's time zone has no IANA name; --zone says otherwise",
        };
        format!("jobs without CRON_TZ are in {}, {why}", self.zone)
    }
}

//! `escapement import crontab`.

use std::{
    fs,
    io::{self, Read as _},
    path::Path,
    time::Duration,
};

use clap::Args;
use escapement_engine::{
    calendar::{
        Rule, Zone,
        crontab::{self, CronJob, Crontab, Flavour, Reason},
    },
    name::Namespace,
};

use super::{
    doubts,
    ids::Ids,
    report::{JobReport, NoteReport, Outcome, Report},
    zone::DefaultZone,
};
use crate::{
    api::{ApiLimits, validate::request},
    cli::{
        Context,
        error::{CliError, EXIT_IMPORT_INCOMPLETE},
        values,
    },
    client::{Client, NewSchedule, proto as v1},
    clock::Clock as _,
    edge::SystemClock,
    error::{ApiError, Reason as ApiReason},
    worker::exec::ExecRequest,
};

/// Instants of each job that a dry run shows.
const PREVIEW_COUNT: usize = 5;
/// Bytes of a file that is read: more than any crontab daemon takes.
const FILE_BYTES_MAX: usize = 16 << 20;

#[derive(Debug, Args)]
#[command(after_help = "Exit code 9: something could not be carried over; the report says what and why.
Importing a file again creates nothing new: the ids come from the file's name and each job's content.")]
pub(in crate::cli) struct CrontabArgs {
    /// The crontab; `-` reads stdin
    #[arg(value_name = "FILE")]
    file: String,
    /// The file has the system format, with a user in front of the command [default: by name, then by columns]
    #[arg(long, conflicts_with = "user")]
    system: bool,
    /// The file has the per-user format
    #[arg(long)]
    user: bool,
    /// Create nothing; show the next five instants of each job
    #[arg(long)]
    dry_run: bool,
    /// Time zone of jobs for which the file names none by CRON_TZ [default: this machine's]
    #[arg(long, value_name = "ZONE")]
    zone: Option<Zone>,
    /// Start of the schedules' ids, instead of the file's name
    #[arg(long, value_name = "TEXT")]
    prefix: Option<String>,
    /// Queue of the tasks; its workers run programs
    #[arg(long, value_name = "QUEUE", default_value = "exec")]
    queue: String,
    /// Longest time that a job may run, 10ms to 7d
    #[arg(long, value_name = "DURATION", value_parser = values::duration, default_value = "1d", allow_hyphen_values = true)]
    timeout: Duration,
}

/// Whose format the file has, and how that was found out.
pub(super) struct Detected {
    pub(super) flavour: Flavour,
    pub(super) because: &'static str,
}

pub(super) async fn run(args: &CrontabArgs, context: &Context) -> Result<u8, CliError> {
    let bytes = read(&args.file).map_err(|error| CliError::unreadable("crontab", &args.file, &error))?;
    if bytes.len() > FILE_BYTES_MAX {
        let message = format!("`{}` has more than {FILE_BYTES_MAX} bytes", args.file);
        return Err(CliError::usage(message, "Check that it is a crontab; split it if it is."));
    }
    let text = String::from_utf8_lossy(&bytes);
    if doubts::is_anacrontab(&text) {
        return Err(CliError::usage(
            format!(
                "`{}` is an anacrontab: its lines are period, delay, job id and command, and no crontab's",
                args.file
            ),
            "Make a schedule of each job: escapement schedule create cron.daily --cron @daily --queue exec -- COMMAND",
        ));
    }
    let detected = detect(args, &text);
    let crontab = crontab::parse(&text, detected.flavour);
    let zone = DefaultZone::find(args.zone.as_ref());
    let mut notes: Vec<_> = crontab.notes.iter().map(NoteReport::of).collect();
    notes.extend(doubts::undecodable(&bytes, &crontab));
    notes.extend(doubts::of_account(&crontab));
    if detected.flavour == Flavour::User && !args.user {
        notes.extend(doubts::user_columns(&crontab, &doubts::accounts()));
    }
    notes.extend(zone.notes(&crontab));
    notes.sort_by_key(|note| note.line);
    let mut report = Report::new(&args.file, &detected, notes, args.dry_run, args.timeout);
    report.zone = zone.describe();
    let mut ids = Ids::new(&args.file, args.prefix.as_deref());
    let client = context.client()?;
    for job in &crontab.jobs {
        let zone = job.zone.as_ref().unwrap_or(&zone.zone);
        let id = ids.next(job, zone);
        let schedule = schedule(args, job, zone, &id);
        let outcome = if args.dry_run {
            match refusal(schedule, &context.config.client.namespace) {
                None => Outcome::Planned(preview(job, zone)),
                Some(why) => Outcome::Refused(why),
            }
        } else {
            // An answer about this job is part of the report; no answer ends the import.
            match create(&client, schedule).await {
                Ok(outcome) => outcome,
                Err(error) => {
                    report.untried = crontab.jobs.len() - report.jobs.len();
                    report.print(&context.ui);
                    return Err(error);
                }
            }
        };
        report.jobs.push(JobReport::new(job, zone, id, outcome));
    }
    report.print(&context.ui);
    Ok(if report.is_complete() { 0 } else { EXIT_IMPORT_INCOMPLETE })
}

fn read(path: &str) -> io::Result<Vec<u8>> {
    let limit = u64::try_from(FILE_BYTES_MAX).unwrap_or(u64::MAX) + 1;
    let mut bytes = Vec::new();
    if path == "-" {
        io::stdin().lock().take(limit).read_to_end(&mut bytes)?;
    } else {
        fs::File::open(path)?.take(limit).read_to_end(&mut bytes)?;
    }
    Ok(bytes)
}

fn detect(args: &CrontabArgs, text: &str) -> Detected {
    let detected = |flavour, because| Detected { flavour, because };
    if args.system {
        return detected(Flavour::System, "--system");
    }
    if args.user {
        return detected(Flavour::User, "--user");
    }
    let path = Path::new(&args.file);
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let parent = path.parent().and_then(Path::file_name);
    if parent.is_some_and(|name| name == "cron.d") || path == Path::new("/etc/crontab") {
        return detected(Flavour::System, "its place");
    }
    if parent.is_some_and(|name| name == "crontabs") || path.parent().is_some_and(|dir| dir.ends_with("spool/cron")) {
        return detected(Flavour::User, "its place");
    }
    let as_user = crontab::parse(text, Flavour::User);
    if looks_like_system(&as_user) {
        detected(Flavour::System, "its columns")
    } else {
        detected(Flavour::User, "its columns")
    }
}

/// Every command begins with a word that reads like an account and is followed by a command;
/// `root` counts as an account for sure.
fn looks_like_system(as_user: &Crontab) -> bool {
    const ACCOUNTS: [&str; 12] =
        ["root", "daemon", "bin", "sys", "mail", "news", "www-data", "nobody", "backup", "list", "munin", "smmsp"];
    let first_words = || as_user.jobs.iter().map(|job| job.command.split_whitespace().next().unwrap_or_default());
    let column_notes = as_user.notes.iter().filter(|note| matches!(note.reason, Reason::UserColumn)).count();
    let jobs = as_user.jobs.len();
    jobs > 0 && (column_notes == jobs || first_words().all(|word| ACCOUNTS.contains(&word)))
}

fn preview(job: &CronJob, zone: &Zone) -> Vec<escapement_engine::Timestamp> {
    let rule = Rule::Cron { expr: job.expression.clone(), zone: zone.clone() };
    rule.upcoming(SystemClock::new().now()).take(PREVIEW_COUNT).collect()
}

fn schedule(args: &CrontabArgs, job: &CronJob, zone: &Zone, id: &str) -> NewSchedule {
    NewSchedule::cron(id, job.expression.as_str(), &args.queue)
        .time_zone(zone.name())
        .attempt_timeout(args.timeout)
        // cron runs a job once, whether it succeeds or not.
        .max_attempts(1)
        .label("import", "crontab")
        .payload(program(job).to_payload().data, "application/json")
}

/// Why the server would refuse the schedule, by the checks of the server itself, with the limits
/// that it has unless its operator set others.
fn refusal(schedule: NewSchedule, namespace: &Namespace) -> Option<String> {
    let request = v1::CreateScheduleRequest { schedule: Some(schedule.into_spec(namespace.as_str())) };
    let checked = request::create_schedule(request, SystemClock::new().now(), &ApiLimits::default());
    checked.err().map(|error| error.message)
}

async fn create(client: &Client, schedule: NewSchedule) -> Result<Outcome, CliError> {
    match client.create_schedule(schedule).await {
        Ok(created) if created.created => Ok(Outcome::Created),
        Ok(_) => Ok(Outcome::Unchanged),
        Err(error) if is_about_the_job(error.reason()) => Ok(Outcome::Refused(ApiError::from(error).message)),
        Err(error) => Err(error.into()),
    }
}

/// Other jobs of the file may fare better.
const fn is_about_the_job(reason: ApiReason) -> bool {
    matches!(reason, ApiReason::InvalidArgument | ApiReason::ScheduleExists | ApiReason::RequestTooLarge)
}

fn program(job: &CronJob) -> ExecRequest {
    ExecRequest {
        env: job.environment.iter().cloned().collect(),
        stdin: job.stdin.clone(),
        cwd: job.working_directory().map(Into::into),
        ..ExecRequest::new(job.argv())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_format_is_known_by_the_columns() {
        let check = |text: &str, system: bool| {
            assert_eq!(looks_like_system(&crontab::parse(text, Flavour::User)), system, "{text}");
        };
        check("0 1 * * * root backup\n@daily www-data clean\n", true);
        check("0 1 * * * root backup\n", true);
        check("0 1 * * * backup --all\n0 1 * * * /bin/true\n", false);
        check("0 1 * * * root backup\n0 1 * * * /usr/bin/clean\n", false);
        check("# nothing\n", false);
    }
}

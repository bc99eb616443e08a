//! What is to be done: the flags that `task submit` and `schedule create` share.

use std::{
    fs,
    io::{self, Read as _},
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use clap::{Args, ValueEnum};
use escapement_engine::{limits::PAYLOAD_BYTES_CEILING, name};

use super::{error::CliError, values};
use crate::worker::{exec::ExecRequest, http::HttpRequest};

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum Priority {
    High,
    Medium,
    Low,
}

impl From<Priority> for name::Priority {
    fn from(priority: Priority) -> Self {
        match priority {
            Priority::High => Self::High,
            Priority::Medium => Self::Medium,
            Priority::Low => Self::Low,
        }
    }
}

#[derive(Debug, Args)]
pub(super) struct WorkArgs {
    /// Queue: the kind of work. `exec` runs a program, `http` posts to a URL
    #[arg(long, value_name = "QUEUE")]
    pub(super) queue: String,
    /// Which goes first when several tasks of the queue are due [default: medium]
    #[arg(long, value_enum)]
    pub(super) priority: Option<Priority>,
    /// Attempts in all, 1 to 1000 [default: 5]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(super) max_attempts: Option<u32>,
    /// Longest time that one attempt may take, 10ms to 7d; it is stopped then, so give long jobs more [default: 1m]
    #[arg(long, value_name = "DURATION", value_parser = values::duration, allow_hyphen_values = true)]
    pub(super) timeout: Option<Duration>,
    /// Label; may be repeated
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = values::label)]
    pub(super) labels: Vec<(String, String)>,
    /// Payload as text
    #[arg(long, value_name = "TEXT", conflicts_with = "payload_file", allow_hyphen_values = true)]
    payload: Option<String>,
    /// Payload from a file; `-` reads stdin
    #[arg(long, value_name = "FILE")]
    payload_file: Option<String>,
    /// Media type of the payload [default: text/plain; charset=utf-8, of a file application/octet-stream]
    #[arg(long, value_name = "TYPE", value_parser = values::content_type)]
    content_type: Option<String>,
    /// Post the payload to this URL (for queue http)
    #[arg(long, value_name = "URL", value_parser = values::url, conflicts_with = "command")]
    url: Option<String>,
    /// Run this program (for queue exec)
    #[arg(last = true, value_name = "COMMAND", conflicts_with_all = ["payload", "payload_file"])]
    command: Vec<String>,
}

/// Bytes and their media type.
pub(super) type Payload = (Vec<u8>, String);

impl WorkArgs {
    /// The payload that was asked for; checks what no single flag shows.
    pub(super) fn read_payload(&self) -> Result<Option<Payload>, CliError> {
        values::labels_once(&self.labels)?;
        let given = self.given()?;
        if !self.command.is_empty() {
            let payload = ExecRequest::new(&self.command).to_payload();
            return Ok(Some((payload.data.to_vec(), payload.content_type)));
        }
        if let Some(url) = &self.url {
            return Ok(Some(http_request(url, given)));
        }
        match (self.queue.as_str(), &given) {
            ("exec", None) => Err(CliError::usage(
                "queue exec needs a program to run",
                "Put it behind `--`: escapement task submit --queue exec -- echo hello",
            )),
            ("http", None) => Err(CliError::usage(
                "queue http needs a URL to post to",
                "Add --url: escapement task submit --queue http --url http://localhost:8080/ --payload hello",
            )),
            _ if given.is_none() && self.content_type.is_some() => {
                Err(CliError::usage("--content-type without a payload", "Add --payload or --payload-file."))
            }
            _ => Ok(given),
        }
    }

    fn given(&self) -> Result<Option<Payload>, CliError> {
        let content_type = |usual: &str| self.content_type.clone().unwrap_or_else(|| usual.to_owned());
        if let Some(text) = &self.payload {
            return Ok(Some((text.clone().into_bytes(), content_type("text/plain; charset=utf-8"))));
        }
        let Some(path) = &self.payload_file else { return Ok(None) };
        let bytes = read_file(path).map_err(|error| CliError::unreadable("payload", path, &error))?;
        if bytes.len() > PAYLOAD_BYTES_CEILING {
            return Err(CliError::usage(
                format!("the payload `{path}` has more than {PAYLOAD_BYTES_CEILING} bytes, which no server takes"),
                "Keep large payloads elsewhere and pass a reference.",
            ));
        }
        Ok(Some((bytes, content_type("application/octet-stream"))))
    }
}

/// Reads no more than needed to know that it is too much.
fn read_file(path: &str) -> io::Result<Vec<u8>> {
    let limit = u64::try_from(PAYLOAD_BYTES_CEILING).unwrap_or(u64::MAX) + 1;
    let mut bytes = Vec::new();
    if path == "-" {
        io::stdin().lock().take(limit).read_to_end(&mut bytes)?;
    } else {
        fs::File::open(path)?.take(limit).read_to_end(&mut bytes)?;
    }
    Ok(bytes)
}

fn http_request(url: &str, body: Option<Payload>) -> Payload {
    let mut request = HttpRequest::new(url);
    if let Some((bytes, content_type)) = body {
        request.headers.insert("content-type".to_owned(), content_type);
        match String::from_utf8(bytes) {
            Ok(text) => request.body = Some(text),
            Err(error) => request.body_base64 = Some(STANDARD.encode(error.as_bytes())),
        }
    }
    let payload = request.to_payload();
    (payload.data.to_vec(), payload.content_type)
}

/// Sets on a task or a schedule what the flags say: both builders have the same setters.
macro_rules! apply_work {
    ($builder:expr, $work:expr) => {{
        let work = $work;
        let mut builder = $builder;
        if let Some((bytes, content_type)) = work.read_payload()? {
            builder = builder.payload(bytes, content_type);
        }
        if let Some(priority) = work.priority {
            builder = builder.priority(priority.into());
        }
        if let Some(attempts) = work.max_attempts {
            builder = builder.max_attempts(attempts);
        }
        if let Some(span) = work.timeout {
            builder = builder.attempt_timeout(span);
        }
        for (key, value) in &work.labels {
            builder = builder.label(key, value);
        }
        builder
    }};
}
pub(super) use apply_work;
